//! The connect: pending over a death, kept over a death, and never fought for.

use std::sync::mpsc;
use std::time::Duration;

use imd_client::{Client, Code, ConnectCallback, ConnectOptions, DatabaseOpenStatus, Error, Sent, UserId};
use imd_proto::imd::v1;

use super::fake::{Connect, FakeDaemon, Script, opened, status, success, wait};
use super::{client, next_daemon, next_loss};

struct Teller(mpsc::Sender<String>);

impl ConnectCallback for Teller {
    fn on_database_opened(&mut self, status: DatabaseOpenStatus) {
        self.0
            .send(format!("onDatabaseOpened {}", status.code.0))
            .unwrap();
    }

    fn on_success(self: Box<Self>, user_id: UserId) {
        self.0.send(format!("onSuccess {user_id}")).unwrap();
    }

    fn on_error(self: Box<Self>, error: Error) {
        self.0.send(format!("onError {}", error.code().0)).unwrap();
    }
}

fn connect_with(client: &Client, options: ConnectOptions) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    client.connect_with("token", options, Teller(tell));
    told
}

#[track_caller]
fn told(calls: &mpsc::Receiver<String>) -> String {
    calls.recv_timeout(Duration::from_secs(20)).unwrap()
}

/// That was all: the callback's end has come.
#[track_caller]
fn assert_over(calls: &mpsc::Receiver<String>) {
    let more = calls.recv_timeout(Duration::from_secs(20));
    assert_eq!(more, Err(mpsc::RecvTimeoutError::Disconnected));
}

fn connects(daemon: &FakeDaemon) -> Vec<v1::ConnectRequest> {
    daemon.script.connects.lock().unwrap().clone()
}

/// What a daemon says that remembers nothing.
fn blank() -> v1::ConnectionStatus {
    v1::ConnectionStatus {
        app_key: String::new(),
        user_id: String::new(),
        ..status(2, 1, "no app has asked for a connection")
    }
}

/// An app that is connected, and its daemon.
fn connected() -> (FakeDaemon, Client) {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    wait(client.connect("token", ConnectOptions::new())).unwrap();
    (daemon, client)
}

/// Kills the daemon, lets the next one begin with this status, and waits until that is told.
fn killed_and_back(daemon: &mut FakeDaemon, client: &Client, begins: v1::ConnectionStatus) {
    let mut changes = client.connection_status_changes();
    daemon.kill();
    next_loss(&mut changes);
    daemon.script.publish(begins);
    daemon.restart();
    next_daemon(&mut changes);
}

#[test]
fn a_daemon_killed_before_the_database_is_open_is_asked_again_under_the_same_id() {
    let mut daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![]));
    let client = client(&daemon);
    let options = ConnectOptions::new()
        .time_limit(Duration::from_secs(30))
        .user_id("alice");
    let calls = connect_with(&client, options);
    daemon.script.wait_for_call("Connect");
    daemon.script.connect(Connect::Play(success("alice")));
    killed_and_back(&mut daemon, &client, blank());
    assert_eq!(told(&calls), "onDatabaseOpened 0");
    assert_eq!(told(&calls), "onSuccess alice");
    assert_over(&calls);
    let [first, second] = connects(&daemon).try_into().unwrap();
    assert!(!first.connect_id.is_empty());
    assert_eq!(first.connect_id, second.connect_id);
    assert_eq!(
        (second.token.as_str(), second.user_id.as_str()),
        ("token", "alice")
    );
    assert!(!first.database_opened_seen && !second.database_opened_seen);
    assert_eq!(first.time_limit_seconds, 30);
    assert!(
        (1..=30).contains(&second.time_limit_seconds),
        "{}",
        second.time_limit_seconds
    );
}

#[test]
fn on_database_opened_is_not_told_again_by_the_next_daemon() {
    let mut daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![opened()]));
    let client = client(&daemon);
    let calls = connect_with(&client, ConnectOptions::new());
    assert_eq!(told(&calls), "onDatabaseOpened 0");
    // It tells it again, whatever it is asked.
    daemon.script.connect(Connect::Play(success("alice")));
    killed_and_back(&mut daemon, &client, blank());
    assert_eq!(told(&calls), "onSuccess alice");
    assert_over(&calls);
    let [_, second] = connects(&daemon).try_into().unwrap();
    assert!(second.database_opened_seen);
    assert!(!second.resumes, "it is still the app's wish");
    assert_eq!(second.time_limit_seconds, 0, "it had none");
}

#[test]
fn an_orderly_stop_is_no_error_of_a_connect_either() {
    let mut daemon = FakeDaemon::start();
    daemon.script.connect(Connect::PlayAndStop(vec![opened()]));
    let client = client(&daemon);
    let connecting = client.connect("token", ConnectOptions::new());
    wait(connecting.database_opened()).unwrap();
    daemon.script.say_goodbye("an update");
    daemon.script.wait_for_bound(0);
    daemon.script.connect(Connect::Play(success("alice")));
    daemon.restart();
    assert_eq!(wait(connecting).unwrap().as_str(), "alice");
}

#[test]
fn without_a_daemon_the_time_limit_is_the_librarys_and_another_connect_may_follow() {
    let mut daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![opened()]));
    let client = client(&daemon);
    let options = ConnectOptions::new().time_limit(Duration::from_secs(1));
    let connecting = client.connect("token", options);
    wait(connecting.database_opened()).unwrap();
    daemon.kill();
    let error = wait(connecting).unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::RC_CONNECT_TIMEOUT, Sent::Unknown)
    );
    daemon.script.connect(Connect::Play(success("alice")));
    let connecting = client.connect("token", ConnectOptions::new());
    daemon.restart();
    wait(connecting).unwrap();
    let [first, second] = connects(&daemon).try_into().unwrap();
    assert_ne!(first.connect_id, second.connect_id);
}

#[test]
fn a_daemon_that_says_nothing_does_not_make_a_limited_connect_endless() {
    let daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![opened()]));
    let client = client(&daemon);
    let options = ConnectOptions::new().time_limit(Duration::from_secs(1));
    let error = wait(client.connect("token", options)).unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::RC_CONNECT_TIMEOUT, Sent::Unknown)
    );
    assert!(!client.connection_status().is_daemon_lost());
}

#[test]
fn a_connect_waits_for_a_daemon_that_is_not_there_yet() {
    let mut daemon = FakeDaemon::to_come(Script::default());
    let client = Client::builder("demo")
        .socket(daemon.socket())
        .wait_for_daemon(true)
        .build()
        .unwrap();
    let limited = client.connect("token", ConnectOptions::new().time_limit(Duration::from_secs(1)));
    let error = wait(limited).unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::RC_CONNECT_TIMEOUT, Sent::No));
    let connecting = client.connect("token", ConnectOptions::new());
    let second = wait(client.connect("token", ConnectOptions::new())).unwrap_err();
    assert_eq!(
        (second.code(), second.sent()),
        (Code::RC_CONNECTION_EXIST, Sent::No)
    );
    daemon.restart();
    assert_eq!(wait(connecting).unwrap().as_str(), "alice");
}

#[test]
fn a_hang_of_the_next_daemon_does_not_end_a_connect() {
    let mut daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![opened()]));
    let client = client(&daemon);
    let connecting = client.connect("token", ConnectOptions::new());
    wait(connecting.database_opened()).unwrap();
    daemon.script.silence("Connect");
    daemon.restart();
    daemon.script.wait_for_calls("Connect", 2);
    daemon.script.connect(Connect::Play(success("alice")));
    daemon.script.behave();
    wait(connecting).unwrap();
}

#[test]
fn a_silent_first_answer_is_not_the_end_of_a_connect() {
    let daemon = FakeDaemon::start();
    daemon.script.silence("Connect");
    let client = client(&daemon);
    let calls = connect_with(&client, ConnectOptions::new());
    daemon.script.wait_for_calls("Connect", 2);
    daemon.script.behave();
    assert_eq!(told(&calls), "onDatabaseOpened 0");
    assert_eq!(told(&calls), "onSuccess alice");
    assert_over(&calls);
    let mut ids: Vec<_> = connects(&daemon)
        .into_iter()
        .map(|connect| connect.connect_id)
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "it is one connect for the daemon, too");
}

#[test]
fn a_connect_that_is_never_answered_ends_with_its_time_limit_alone() {
    let daemon = FakeDaemon::start();
    daemon.script.silence("Connect");
    let client = client(&daemon);
    let options = ConnectOptions::new().time_limit(Duration::from_secs(3));
    let error = wait(client.connect("token", options)).unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::RC_CONNECT_TIMEOUT, Sent::Unknown)
    );
    assert!(error.text().contains("no word of the daemon"), "{error}");
    assert!(!client.connection_status().is_daemon_lost());
}

#[test]
fn a_daemon_that_remembered_is_told_who_holds_the_connection() {
    let (mut daemon, client) = connected();
    killed_and_back(&mut daemon, &client, status(1, 1, "connecting"));
    daemon.script.wait_for_calls("Connect", 2);
    let [first, second] = connects(&daemon).try_into().unwrap();
    assert_eq!(first.connect_id, second.connect_id);
    assert_eq!(
        (second.user_id.as_str(), second.token.as_str()),
        ("alice", "token")
    );
    assert!(second.database_opened_seen);
    assert_eq!(second.time_limit_seconds, 0);
    assert!(
        !first.resumes && second.resumes,
        "it gives way to whoever has signed out since"
    );
}

#[test]
fn a_daemon_that_was_not_to_remember_is_asked_for_the_connection_again() {
    let (mut daemon, client) = connected();
    for count in 2..5 {
        killed_and_back(&mut daemon, &client, blank());
        daemon.script.wait_for_calls("Connect", count);
    }
    let ids: Vec<_> = connects(&daemon)
        .into_iter()
        .map(|connect| connect.connect_id)
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn what_has_ended_in_the_meantime_is_not_fought_for() {
    let with_code = |number, last_code| v1::ConnectionStatus {
        last_code,
        ..status(number, 1, "it has ended")
    };
    for begins in [
        with_code(3, 31_010),
        with_code(4, 31_004),
        with_code(6, 31_009),
        with_code(12, 0),
        with_code(14, 34_006),
        with_code(2, 31_002),
        // Signed out, and started again since.
        with_code(2, 0),
    ] {
        let (mut daemon, client) = connected();
        let said = format!("{begins:?}");
        killed_and_back(&mut daemon, &client, begins);
        // The app may connect again as soon as the library has seen the end: there is nothing to hold then.
        wait(async {
            while let Err(error) = client.connect("another", ConnectOptions::new()).await {
                assert_eq!(error.code(), Code::RC_CONNECTION_EXIST, "{said}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let tokens: Vec<_> = connects(&daemon)
            .into_iter()
            .map(|connect| connect.token)
            .collect();
        assert_eq!(tokens, ["token", "another"], "{said}");
    }
}

#[test]
fn what_the_app_saw_end_before_the_death_is_not_taken_up() {
    for by_app in [false, true] {
        let (mut daemon, client) = connected();
        let mut changes = client.connection_status_changes();
        if by_app {
            client.blocking().disconnect().unwrap();
        } else {
            daemon.script.publish(status(3, 50, "kicked"));
            while next_daemon(&mut changes).number() != 3 {}
        }
        killed_and_back(&mut daemon, &client, blank());
        wait(client.connect("another", ConnectOptions::new())).unwrap();
        let tokens: Vec<_> = connects(&daemon)
            .into_iter()
            .map(|connect| connect.token)
            .collect();
        assert_eq!(tokens, ["token", "another"]);
    }
}

#[test]
fn a_second_connect_is_refused_while_there_is_no_daemon() {
    let (mut daemon, client) = connected();
    let mut changes = client.connection_status_changes();
    daemon.kill();
    next_loss(&mut changes);
    let error = wait(client.connect("token", ConnectOptions::new())).unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::RC_CONNECTION_EXIST, Sent::No)
    );
    assert_eq!(connects(&daemon).len(), 1);
}

#[test]
fn a_sign_out_that_may_have_been_carried_out_lets_go_of_the_connection() {
    let (mut daemon, client) = connected();
    daemon.script.silence("Logout");
    let logout = client.logout();
    daemon.script.wait_for_call("Logout");
    let mut changes = client.connection_status_changes();
    daemon.kill();
    assert_eq!(wait(logout).unwrap_err().sent(), Sent::Unknown);
    next_loss(&mut changes);
    daemon.script.publish(blank());
    daemon.restart();
    next_daemon(&mut changes);
    wait(client.connect("another", ConnectOptions::new())).unwrap();
    assert_eq!(connects(&daemon).len(), 2, "the old one is not taken up");
}

#[test]
fn a_refused_resumption_frees_the_app_for_another_connect() {
    let (mut daemon, client) = connected();
    daemon.script.connect(Connect::Refuse(
        Code::RC_CONN_CANCELED,
        "disconnected by another app",
    ));
    killed_and_back(&mut daemon, &client, status(1, 1, "connecting"));
    daemon.script.wait_for_calls("Connect", 2);
    daemon.script.connect(Connect::Play(success("alice")));
    wait(async {
        while client.connect("another", ConnectOptions::new()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}
