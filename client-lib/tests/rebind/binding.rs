//! Loss and rebinding.

use std::os::unix::net::UnixListener;
use std::time::Duration;

use imd_client::{Client, Code, ConnectionStatus, DaemonLoss, Sent};
use tokio_stream::StreamExt as _;

use super::fake::{FakeDaemon, Script, status, wait};
use super::{client, look, next, next_daemon, next_loss};

#[test]
fn a_killed_daemon_is_lost_once_and_the_next_one_is_bound_by_the_same_instance() {
    let mut daemon = FakeDaemon::start();
    daemon.script.publish(status(0, 900, "connected"));
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    let first = next(&mut changes);
    assert!(first.is_connected());
    assert_eq!((first.daemon_run_id.as_str(), &first.loss), ("run 1", &None));

    daemon.kill();
    let lost = next(&mut changes);
    assert_eq!(lost.connection, ConnectionStatus::DaemonLost);
    assert_eq!(lost.loss, Some(DaemonLoss::Died));
    assert_eq!(lost.daemon_run_id, "run 1");
    assert!(client.connection_status().is_daemon_lost());
    let error = client.blocking().version().unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::IPC_DISCONNECT, Sent::No));

    // It counts from 1 again.
    daemon.script.publish(status(1, 1, "connecting"));
    daemon.restart();
    let again = next(&mut changes);
    assert_eq!(
        (again.connection, again.generation),
        (ConnectionStatus::Connecting, 1)
    );
    assert_eq!(again.daemon_run_id, "run 2");
    daemon.script.publish(status(0, 2, "connected"));
    assert!(next(&mut changes).is_connected());
    assert_eq!(client.blocking().version().unwrap().version, "0.0.0");

    let instances = daemon.script.instances.lock().unwrap().clone();
    assert_eq!(instances, [client.instance_id(); 2]);
    assert_eq!(*daemon.script.app_keys.lock().unwrap(), ["demo", "demo"]);
}

#[test]
fn an_orderly_stop_is_told_from_a_death_and_the_run_that_stops_is_not_bound_again() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    client.blocking().shutdown("an update").unwrap();
    let reason = "a test said so".to_owned();
    assert_eq!(next_loss(&mut changes), DaemonLoss::Stopped { reason });
    let told = client.connection_status();
    assert!(
        told.reason
            .starts_with("the daemon stopped in order: a test said so"),
        "{told}"
    );
    // The fake goes on listening, as a daemon may for a moment.
    daemon.script.wait_for_calls("Bind", 3);
    assert!(client.connection_status().is_daemon_lost());

    daemon.restart();
    assert_eq!(next_daemon(&mut changes).daemon_run_id, "run 2");
}

#[test]
fn an_instance_id_that_another_process_uses_too_is_said_in_words() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    daemon.script.supersede("bound again by org.example.Copy (pid 7)");
    let reason = "another process uses the instance id of this one: bound again by org.example.Copy (pid 7)";
    let reason = reason.to_owned();
    assert_eq!(next_loss(&mut changes), DaemonLoss::Unbound { reason });
    assert_eq!(next_daemon(&mut changes).daemon_run_id, "run 1");
}

#[test]
fn a_call_that_meets_a_stopping_daemon_between_the_end_of_the_binding_and_the_goodbye_was_not_sent() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    daemon.script.refuse("GetVersion", Code::IMD_NOT_BOUND);
    let error = client.blocking().version().unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::IPC_DISCONNECT, Sent::No));
    // The Bind stream alone tells how the binding has ended.
    daemon.script.say_goodbye("an update");
    let reason = "an update".to_owned();
    assert_eq!(next_loss(&mut changes), DaemonLoss::Stopped { reason });
    // Nor is it a refusal of the app when it meets Init.
    daemon.kill();
    daemon.script.refuse("Init", Code::IMD_NOT_BOUND);
    daemon.restart();
    look(&client, |status| {
        assert_ne!(status.last_code, Some(Code::IMD_NOT_BOUND));
        status.reason.contains("the daemon has ended the binding")
    });
    daemon.script.behave();
    next_daemon(&mut changes);
}

#[test]
fn a_call_that_misses_its_deadline_loses_no_daemon() {
    let daemon = FakeDaemon::start();
    daemon.script.silence("GetVersion");
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    next(&mut changes);
    let error = client.blocking().version().unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::IMD_DEADLINE_EXCEEDED, Sent::Unknown)
    );
    daemon.script.publish(status(0, 9, "connected"));
    assert!(next(&mut changes).is_connected(), "no loss in between");
    assert_eq!(daemon.script.count("Bind"), 1);
}

#[test]
fn a_daemon_that_hangs_is_found_out_by_the_keep_alive_and_bound_when_it_goes_on() {
    let daemon = FakeDaemon::start();
    let client = Client::builder("demo")
        .socket(daemon.socket())
        .keep_alive(Duration::from_secs(1))
        .build()
        .unwrap();
    let mut changes = client.connection_status_changes();
    next(&mut changes);
    let frozen = std::sync::Arc::clone(&daemon.script.frozen);
    let hold = frozen.lock().unwrap();
    let error = client.blocking().status_changes().unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::IMD_DEADLINE_EXCEEDED, Sent::Unknown)
    );
    assert!(
        !client.connection_status().is_daemon_lost(),
        "it may only be slow"
    );
    assert_eq!(next(&mut changes).loss, Some(DaemonLoss::Hung));
    // Whoever dials it now gets no answer.
    look(&client, |status| {
        status.last_code == Some(Code::IMD_DEADLINE_EXCEEDED)
    });
    drop(hold);
    let again = next(&mut changes);
    assert_eq!(again.daemon_run_id, "run 1", "the same run");
    assert!(client.blocking().version().is_ok());
}

#[test]
fn a_daemon_of_another_protocol_is_said_in_the_status_and_a_fitting_one_is_bound() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    next(&mut changes);
    daemon.script.refuse("Bind", Code::IMD_VERSION_SKEW);
    daemon.restart();
    assert_eq!(next_loss(&mut changes), DaemonLoss::Died);
    let refused = look(&client, |status| status.last_code == Some(Code::IMD_VERSION_SKEW));
    assert!(refused.is_daemon_lost());
    assert!(refused.reason.contains("as the test says"), "{refused}");
    daemon.script.behave();
    let again = next(&mut changes);
    assert!(!again.is_daemon_lost(), "the refusal was no event: {again}");
}

#[test]
fn a_socket_that_nobody_answers_and_one_that_is_removed_are_got_over() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    std::fs::remove_file(daemon.socket()).unwrap();
    assert!(
        client.blocking().version().is_ok(),
        "the binding does not need the name"
    );
    daemon.kill();
    assert_eq!(next_loss(&mut changes), DaemonLoss::Died);
    look(&client, |status| {
        status.reason.contains("there is no such socket")
    });
    let silent = UnixListener::bind(daemon.socket()).unwrap();
    look(&client, |status| {
        status.last_code == Some(Code::IMD_DEADLINE_EXCEEDED)
    });
    drop(silent);
    daemon.restart();
    next_daemon(&mut changes);
    assert!(client.blocking().version().is_ok());
}

#[test]
fn a_client_that_waits_for_its_daemon_is_made_at_once_and_binds_when_one_comes() {
    let mut daemon = FakeDaemon::to_come(Script::default());
    let client = Client::builder("demo")
        .socket(daemon.socket())
        .wait_for_daemon(true)
        .build()
        .unwrap();
    let status = client.connection_status();
    assert_eq!(status.loss, Some(DaemonLoss::NotYetThere));
    assert_eq!(status.daemon_run_id, "");
    let error = client.blocking().version().unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::IPC_DISCONNECT, Sent::No));
    let sending = client.send_text("bob", "early");
    let mut changes = client.connection_status_changes();
    // Not even the socket's directory is there.
    assert!(!daemon.socket().parent().unwrap().exists());
    daemon.restart();
    assert_eq!(next_daemon(&mut changes).daemon_run_id, "run 1");
    wait(sending.accepted()).unwrap();
}

#[test]
fn the_end_of_the_last_client_ends_the_dialling() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    daemon.kill();
    next_loss(&mut changes);
    drop(client);
    assert!(wait(changes.next()).is_none());
    daemon.restart();
    assert_eq!(daemon.script.count("Bind"), 1);
}

#[test]
fn a_daemon_that_takes_the_app_and_dies_is_not_dialled_without_a_pause() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    next(&mut changes);
    for _ in 0..5 {
        daemon.restart();
        assert_eq!(next(&mut changes).loss, Some(DaemonLoss::Died));
        assert!(!next(&mut changes).is_daemon_lost());
    }
    assert_eq!(daemon.script.count("Bind"), 6, "one binding for each start");
}
