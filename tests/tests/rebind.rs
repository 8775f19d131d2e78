//! An app with one client for its life, and the real daemon that dies in every way.

#![cfg(test)]

use std::time::Duration;

use imd_client::{
    Client, Code, ConnectOptions, ConnectionStatusChanges, DaemonLoss, EventKind, Sent, Start, Status,
};
use imd_proto::imd::v1::ConnectPhase;
use imd_tests::APP_KEY;
use imd_tests::daemon::{Daemon, config};
use imd_tests::mosquitto::Mosquitto;
use imd_tests::wait::{SOON, eventually, timed, when};
use rustix::process::Signal;

fn app(daemon: &Daemon) -> Client {
    Client::builder(APP_KEY)
        .app_id("org.example.Chat")
        .socket(daemon.home().socket())
        .build()
        .unwrap()
}

/// An app that is connected as alice.
fn connected(daemon: &Daemon, broker: &Mosquitto) -> Client {
    let client = app(daemon);
    let options = ConnectOptions::new().user_id("alice");
    client.blocking().connect(broker.token("alice"), options).unwrap();
    client
}

#[track_caller]
fn await_connected(client: &Client) {
    eventually(SOON, "the app to read CONNECTED", || {
        let status = client.connection_status();
        when(status.is_connected(), status)
    });
}

/// The losses among the changes so far.
fn losses(changes: ConnectionStatusChanges) -> Vec<DaemonLoss> {
    use tokio_stream::StreamExt as _;

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        changes
            .filter_map(|status| Status::clone(&status).loss)
            .collect()
            .await
    })
}

/// Waits until the daemon knows the app as one that holds the connection.
#[track_caller]
fn await_registered(daemon: &Daemon, client: &Client) {
    eventually(SOON, "the app among those that hold the connection", || {
        let apps = daemon.rpc().apps().unwrap();
        let holds = apps.iter().any(|app| {
            app.instance_id == client.instance_id() && app.connect_phase() == ConnectPhase::Succeeded
        });
        when(holds, apps)
    });
}

#[test]
fn a_killed_and_a_restarted_daemon_are_told_apart_and_the_connection_is_the_apps_again() {
    let broker = Mosquitto::start();
    let mut daemon = Daemon::for_server(&broker.url());
    let client = connected(&daemon, &broker);
    let changes = client.connection_status_changes();
    let first = client.connection_status().daemon_run_id.clone();
    let mut runs = vec![first];
    for restart in [false, true, false] {
        if restart {
            daemon.restart();
        } else {
            daemon.kill9();
            daemon.start();
        }
        await_connected(&client);
        await_registered(&daemon, &client);
        runs.push(client.connection_status().daemon_run_id.clone());
        let second = client
            .blocking()
            .connect(broker.token("alice"), ConnectOptions::new());
        assert_eq!(second.unwrap_err().code(), Code::RC_CONNECTION_EXIST);
    }
    runs.dedup();
    assert_eq!(runs.len(), 4, "each is another run");
    drop(client);
    let [killed, stopped, again] = losses(changes).try_into().unwrap();
    assert_eq!([killed, again], [DaemonLoss::Died, DaemonLoss::Died]);
    assert!(matches!(stopped, DaemonLoss::Stopped { .. }), "{stopped:?}");
}

#[test]
fn with_nothing_remembered_the_app_brings_the_connection_back() {
    let broker = Mosquitto::start();
    let mut daemon = Daemon::configured(&config(&broker.url(), "remember = false"));
    let client = connected(&daemon, &broker);
    for _ in 0..2 {
        daemon.kill9();
        daemon.start();
        await_connected(&client);
        await_registered(&daemon, &client);
    }
    // What has ended is not brought back, whoever ended it.
    let other = app(&daemon);
    other.blocking().disconnect().unwrap();
    eventually(SOON, "the app to read SIGN_OUT", || {
        let status = client.connection_status();
        when(status.name == "SIGN_OUT", status)
    });
    daemon.kill9();
    daemon.start();
    eventually(SOON, "the daemon again", || {
        let status = client.connection_status();
        when(!status.is_daemon_lost(), status)
    });
    client.blocking().version().unwrap();
    assert_eq!(daemon.status().status_name, "UNCONNECTED");
}

#[test]
fn a_daemon_that_is_stopped_for_a_while_ends_every_call_in_time_and_no_binding() {
    let broker = Mosquitto::start();
    let mut daemon = Daemon::for_server(&broker.url());
    let client = connected(&daemon, &broker);
    let changes = client.connection_status_changes();
    daemon.process().signal(Signal::STOP);
    let blocking = client.blocking();
    let (refused, took) = timed(|| blocking.fetch_connection_status().unwrap_err());
    assert_eq!(
        (refused.code(), refused.sent()),
        (Code::IMD_DEADLINE_EXCEEDED, Sent::Unknown)
    );
    assert!(took < Duration::from_secs(10), "{took:?}");
    let (refused, took) = timed(|| blocking.send_text("bob", "hello").accepted().unwrap_err());
    assert_eq!(refused.code(), Code::IMD_DEADLINE_EXCEEDED);
    assert!(took < Duration::from_secs(10), "{took:?}");
    daemon.process().signal(Signal::CONT);
    eventually(SOON, "an answer", || blocking.fetch_connection_status());
    assert_eq!(daemon.rpc().apps().unwrap().len(), 1, "the same binding");
    drop((client, blocking));
    assert_eq!(losses(changes), []);
}

#[test]
fn calls_given_up_while_the_daemon_hangs_cost_an_app_no_binding() {
    const CALLS: usize = 40;
    let mut daemon = Daemon::configured("");
    let app = app(&daemon);
    let changes = app.connection_status_changes();
    daemon.process().signal(Signal::STOP);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for call in (0..CALLS).map(|_| app.version()).collect::<Vec<_>>() {
        let silent = runtime.block_on(call).unwrap_err();
        assert_eq!(silent.code(), Code::IMD_DEADLINE_EXCEEDED);
    }
    daemon.process().signal(Signal::CONT);
    // The daemon reads all the cancelled ones before it reads this.
    let version = app.blocking().version().unwrap();
    assert_eq!(version.run_id, app.connection_status().daemon_run_id);
    drop(app);
    assert_eq!(losses(changes), []);
}

#[test]
fn a_daemon_killed_while_it_hangs_is_replaced_and_the_events_go_on() {
    let broker = Mosquitto::start();
    let mut daemon = Daemon::for_server(&broker.url());
    let client = connected(&daemon, &broker);
    let blocking = client.blocking();
    let mut events = blocking.subscribe(Start::Tail);
    let started = events.next().unwrap().unwrap();
    assert_eq!(started.kind, EventKind::Started { recovered: true });
    daemon.process().signal(Signal::STOP);
    // Whatever it is in the middle of: the uid makes it one message.
    let sending = blocking.send_text("bob", "hello");
    daemon.kill9();
    daemon.start();
    let accepted = sending.accepted().unwrap();
    let message = events
        .map(Result::unwrap)
        .find_map(|event| {
            assert!(!matches!(event.kind, EventKind::Started { .. }), "{event:?}");
            if let EventKind::Message(message) = event.kind {
                Some(message)
            } else {
                None
            }
        })
        .unwrap();
    assert_eq!(message.uid, accepted.uid);
    assert_eq!(sending.sent().unwrap().uid, accepted.uid);
}
