//! imd as a user runs it: a release build, its ordinary log, directories of its own.

use imd_client::{BlockingClient, Client, ConnectOptions};
use imd_tests::APP_KEY;
use imd_tests::daemon::{Daemon, config};

use crate::broker::Broker;

/// Starts a daemon for this server that logs as it does by default.
#[must_use]
pub fn daemon(url: &str) -> Daemon {
    Daemon::with(&config(url, ""), &[("IMD_LOG", "info")])
}

/// Starts a daemon that reaches this broker over TLS.
#[must_use]
pub fn encrypted_daemon(broker: &Broker) -> Daemon {
    let (port, ca_file) = (broker.tls_port(), broker.ca_file());
    let config = format!(
        "[server]\nurls = [\"mqtts://127.0.0.1:{port}\"]\nca_file = \"{}\"\n",
        ca_file.display()
    );
    Daemon::with(&config, &[("IMD_LOG", "info")])
}

/// An app on this daemon.
///
/// # Panics
/// When the daemon does not answer.
#[must_use]
pub fn client(daemon: &Daemon, app_id: &str) -> Client {
    let builder = Client::builder(APP_KEY).app_id(format!("org.example.{app_id}"));
    builder
        .socket(daemon.home().socket())
        .build()
        .expect("the daemon takes apps")
}

/// An app that waits on its own thread.
#[must_use]
pub fn app(daemon: &Daemon, app_id: &str) -> BlockingClient {
    client(daemon, app_id).blocking()
}

/// Connects this user.
///
/// # Panics
/// When the server refuses.
pub fn connect(app: &BlockingClient, broker: &Broker, user: &str) {
    let options = ConnectOptions::new().user_id(user);
    app.connect(broker.token(user).to_owned(), options)
        .expect("the broker takes the token");
}
