//! Init: who the app is, and which daemon it means.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use imd_proto::endpoint::{DEFAULT_INSTANCE, checked, default_socket};

use crate::bind::Identity;
use crate::channel::KEEP_ALIVE;
use crate::client::Client;
use crate::driver::Driver;
use crate::error::Error;
use crate::supervisor::Supervisor;

/// Builds a [`Client`]; [`build`](Self::build) is Init.
#[derive(Clone, Debug)]
#[must_use = "nothing is dialled before build"]
pub struct ClientBuilder {
    app_key: Option<String>,
    app_id: Option<String>,
    app_version: String,
    socket: Option<PathBuf>,
    instance: Option<String>,
    keep_alive: Duration,
    wait_for_daemon: bool,
}

impl ClientBuilder {
    pub(crate) fn new(app_key: Option<String>) -> Self {
        Self {
            app_key,
            app_id: None,
            app_version: String::new(),
            socket: None,
            instance: None,
            keep_alive: KEEP_ALIVE,
            wait_for_daemon: false,
        }
    }

    /// The app's id in reverse DNS form: `org.example.Chat`. The default is `app.` and the name of the
    /// program.
    pub fn app_id(mut self, app_id: impl Into<String>) -> Self {
        self.app_id = Some(app_id.into());
        self
    }

    /// The app's version, for people to read.
    pub fn app_version(mut self, app_version: impl Into<String>) -> Self {
        self.app_version = app_version.into();
        self
    }

    /// The daemon's socket. It beats all other ways of naming the daemon.
    pub fn socket(mut self, socket: impl Into<PathBuf>) -> Self {
        self.socket = Some(socket.into());
        self
    }

    /// The daemon's instance (`imd --instance NAME`). It beats the environment.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// Whether a daemon that is not there yet is no error: [`build`](Self::build) then gives the client at once,
    /// and it binds when a daemon comes. Until then the status reads "daemon lost", a connect waits (its time
    /// limit runs), a message waits for 30 seconds, and other calls fail with -2. The default is not to.
    pub fn wait_for_daemon(mut self, wait: bool) -> Self {
        self.wait_for_daemon = wait;
        self
    }

    /// How long a daemon may be silent before it is asked whether it is alive; it then has 5 seconds to answer,
    /// or is lost. The default is 120 seconds. Calls have deadlines of their own.
    pub fn keep_alive(mut self, interval: Duration) -> Self {
        self.keep_alive = interval;
        self
    }

    /// The socket that will be dialled: the one named here, else that of the instance named here, else
    /// `IMD_SOCKET`, else that of `IMD_INSTANCE`, else `$XDG_RUNTIME_DIR/imd/imd.sock`.
    ///
    /// # Errors
    /// 90010 IMD_INVALID_SOCKET_PATH: a path too long for a socket, an instance name that is none, or no
    /// XDG_RUNTIME_DIR.
    pub fn socket_path(&self) -> Result<PathBuf, Error> {
        let set = |name| env::var_os(name).filter(|value| !value.is_empty());
        let path = match (&self.socket, &self.instance) {
            (Some(socket), _) => checked(socket.clone()),
            (None, Some(instance)) => default_socket(instance),
            (None, None) => match (set("IMD_SOCKET"), set("IMD_INSTANCE")) {
                (Some(socket), _) => checked(socket.into()),
                (None, Some(instance)) => default_socket(&instance.to_string_lossy()),
                (None, None) => default_socket(DEFAULT_INSTANCE),
            },
        };
        path.map_err(|error| Error::no_path(&error))
    }

    /// Dials the daemon, checks that the socket is one of this user's, binds, and gives the App Key.
    ///
    /// It waits for the daemon, for 2 seconds at most and a millisecond as a rule; in async code that must
    /// not wait use [`build_async`](Self::build_async).
    ///
    /// # Errors
    /// With [`wait_for_daemon`](Self::wait_for_daemon) the last one alone. Else
    /// - -2 IPC_DISCONNECT: no daemon listens;
    /// - 34257 INVALID_APP_KEY, 33003 BIZ_ERROR_INVALID_PARAMETER: the App Key or the app id is none;
    /// - 90001 IMD_DEADLINE_EXCEEDED: the daemon does not answer within 2 seconds;
    /// - 90003 IMD_VERSION_SKEW: the daemon speaks another protocol;
    /// - 90009 IMD_REFUSED_PEER: the socket is another user's;
    /// - 90010 IMD_INVALID_SOCKET_PATH: see [`socket_path`](Self::socket_path).
    pub fn build(self) -> Result<Client, Error> {
        pollster::block_on(self.build_async())
    }

    /// As [`build`](Self::build), without waiting on the calling thread. Dropping the future takes the
    /// attempt back.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub async fn build_async(self) -> Result<Client, Error> {
        let identity = Arc::new(Identity {
            socket: self.socket_path()?,
            app_id: self.app_id.unwrap_or_else(program),
            app_version: self.app_version,
            instance_id: uuid::Uuid::new_v4().to_string(),
            app_key: self.app_key,
            keep_alive: self.keep_alive,
        });
        let who = Arc::clone(&identity);
        let wait = self.wait_for_daemon;
        let boot = async move {
            if wait {
                Supervisor::wait(who)
            } else {
                Supervisor::bind(who).await
            }
        };
        let (driver, shared) = Driver::start(boot).await.map_err(Error::before_binding)?;
        Ok(Client::new(identity, driver, shared))
    }
}

/// An app id for a program that names none.
fn program() -> String {
    let name = env::current_exe()
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| "unnamed".to_owned());
    let legal = |letter: char| {
        if letter.is_ascii_alphanumeric() || letter == '-' || letter == '_' {
            letter
        } else {
            '-'
        }
    };
    format!("app.{}", name.chars().map(legal).collect::<String>())
}

#[cfg(test)]
mod tests {
    use imd_proto::code::Code;

    use super::*;

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_before_any_dialling() {
        let builder = ClientBuilder::new(None).socket("/".repeat(200));
        let refused = builder.build().err().unwrap();
        assert_eq!(refused.code(), Code::IMD_INVALID_SOCKET_PATH);
        let refused = ClientBuilder::new(None)
            .instance("a/b")
            .socket_path()
            .unwrap_err();
        assert_eq!(refused.code(), Code::IMD_INVALID_SOCKET_PATH);
    }

    #[test]
    fn a_program_without_an_app_id_gets_one_in_reverse_dns_form() {
        assert!(program().starts_with("app."));
    }
}
