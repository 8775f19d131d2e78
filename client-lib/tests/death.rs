//! A daemon that is not there, dies, hangs or says goodbye; and what the status says then.

#![cfg(test)]

mod fake;

use std::sync::mpsc;
use std::time::Duration;

use fake::{FakeDaemon, Script, status};
use imd_client::{Client, Code, ConnectionStatus, Sent};

fn client(daemon: &FakeDaemon) -> Client {
    Client::builder("demo").socket(daemon.socket()).build().unwrap()
}

/// Fails where a call takes longer than its deadline and a generous second.
fn in_time<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(call()));
    told.recv_timeout(Duration::from_secs(3)).expect("the call hangs")
}

#[test]
fn without_a_daemon_build_says_so_and_names_the_path() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("imd.sock");
    let error = Client::builder("demo").socket(&path).build().err().unwrap();
    assert_eq!((error.code(), error.sent()), (Code::IPC_DISCONNECT, Sent::No));
    assert!(error.text().contains(path.to_str().unwrap()), "{error}");
    assert!(
        error.action().starts_with("Start the daemon"),
        "{}",
        error.action()
    );

    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let error = Client::builder("demo").socket(&path).build().err().unwrap();
    assert_eq!(error.code(), Code::IPC_DISCONNECT);
    assert!(error.text().contains("nobody listens"), "{error}");
}

#[test]
fn a_socket_that_is_accepted_by_nobody_fails_build_in_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("imd.sock");
    let _stopped = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let error = in_time(move || Client::builder("demo").socket(path).build())
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::IMD_DEADLINE_EXCEEDED);
}

#[test]
fn a_listener_that_speaks_something_else_fails_build() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("imd.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        use std::io::Write as _;
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
    });
    let error = in_time(move || Client::builder("demo").socket(path).build())
        .err()
        .unwrap();
    assert_eq!(error.code(), Code::IPC_DISCONNECT, "{error}");
}

#[test]
fn a_refused_bind_or_init_fails_build_with_the_daemons_code() {
    for (call, code) in [("Bind", Code::IMD_VERSION_SKEW), ("Init", Code::INVALID_APP_KEY)] {
        let daemon = FakeDaemon::start();
        daemon.script.refuse(call, code);
        let error = Client::builder("demo")
            .socket(daemon.socket())
            .build()
            .err()
            .unwrap();
        assert_eq!((error.code(), error.sent()), (code, Sent::Yes));
        daemon.script.wait_for_bound(0);
    }
}

#[test]
fn a_silent_daemon_fails_build_and_every_call_in_time() {
    for call in ["Bind", "Init"] {
        let daemon = FakeDaemon::start();
        daemon.script.silence(call);
        let socket = daemon.socket();
        let error = in_time(move || Client::builder("demo").socket(socket).build())
            .err()
            .unwrap();
        assert_eq!(error.code(), Code::IMD_DEADLINE_EXCEEDED, "{call}");
    }
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    daemon.script.silence("GetStatus");
    let asking = client.clone();
    let error = in_time(move || asking.blocking().fetch_connection_status()).unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::IMD_DEADLINE_EXCEEDED, Sent::Unknown)
    );
    assert!(!client.connection_status().is_daemon_lost(), "the link is alive");
}

#[test]
fn a_death_ends_calls_in_flight_and_later_ones_with_ipc_disconnect() {
    let mut daemon = FakeDaemon::start();
    daemon.script.silence("GetVersion");
    let client = client(&daemon);
    let waiting = client.version();
    daemon.script.wait_for_call("GetVersion");
    daemon.kill();
    let error = pollster::block_on(waiting).unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::IPC_DISCONNECT, Sent::Unknown)
    );

    let later = client.clone();
    let error = in_time(move || later.blocking().disconnect()).unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::IPC_DISCONNECT, Sent::No));
}

#[test]
fn a_listener_gets_the_current_value_first_then_changes_then_the_loss_once() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let (tell, told) = mpsc::channel();
    let listener = client.add_connection_status_listener(move |status| {
        tell.send((status.connection, status.reason.clone())).unwrap();
    });
    let next = || told.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(next().0, ConnectionStatus::Unconnected);
    daemon.script.publish(status(1, 2, "attempt 1"));
    assert_eq!(next().0, ConnectionStatus::Connecting);
    daemon.script.publish(status(0, 3, "connected"));
    assert_eq!(next().0, ConnectionStatus::Connected);

    daemon.kill();
    assert_eq!(next().0, ConnectionStatus::DaemonLost);
    assert_eq!(client.connection_status().number(), -2);
    drop(client);
    // The last Client's end ends the listener: all that it was told is here.
    assert_eq!(told.recv_timeout(Duration::from_secs(20)).ok(), None);
    drop(listener);
}

#[test]
fn a_failed_call_never_leaves_a_status_that_reads_connected() {
    for _ in 0..20 {
        let script = Script::default();
        script.publish(status(0, 9, "connected"));
        script.silence("Logout");
        let mut daemon = FakeDaemon::with(script);
        let client = client(&daemon);
        assert!(client.connection_status().is_connected());
        let call = client.logout();
        daemon.script.wait_for_call("Logout");
        daemon.kill();
        pollster::block_on(call).unwrap_err();
        assert!(client.connection_status().is_daemon_lost());
    }
}

#[test]
fn a_dropped_guard_takes_the_listener_away() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let (tell, told) = mpsc::channel();
    let listener = client.add_connection_status_listener(move |_| tell.send(()).unwrap());
    told.recv_timeout(Duration::from_secs(20)).unwrap();
    drop(listener);
    assert_eq!(
        told.recv_timeout(Duration::from_secs(20)),
        Err(mpsc::RecvTimeoutError::Disconnected),
        "the listener is gone, though the client is not"
    );
}

#[test]
fn the_most_calls_at_a_time_are_bounded_and_the_next_is_told_so() {
    let daemon = FakeDaemon::start();
    daemon.script.silence("ListApps");
    let client = client(&daemon);
    let waiting: Vec<_> = (0..65).map(|_| client.apps()).collect();
    let last = waiting.into_iter().next_back().unwrap();
    let error = pollster::block_on(last).unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::IMD_TOO_MANY, Sent::No));
}

#[test]
fn an_observer_binds_without_an_app_key() {
    let daemon = FakeDaemon::start();
    let client = Client::observer().socket(daemon.socket()).build().unwrap();
    let version = client.blocking().version().unwrap();
    assert_eq!((version.version.as_str(), version.pid), ("0.0.0", 4711));
    let apps = client.blocking().apps().unwrap();
    assert_eq!(apps[0].app_id, "org.example.Chat");
    assert!(daemon.script.app_keys.lock().unwrap().is_empty());
}
