//! `imd_client::testing`, used as an app's author would: the first test is a whole example.

#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use imd_client::testing::{Broker, Daemon, Error};
use imd_client::{BlockingClient, BlockingEvents, Code, ConnectOptions, ConnectionStatus};
use imd_client::{EventKind, Start, StatusListener};
use tokio_stream::StreamExt as _;

/// An app under test: it answers each message, and has no line of code for a daemon that dies.
fn echo(app: &BlockingClient, events: BlockingEvents, count: usize) -> Vec<String> {
    let read = texts(events, "alice", count, |text| {
        let sending = app.send_text("alice", format!("echo of {text}"));
        sending
            .accepted()
            .expect("a message is taken, with or without a daemon");
    });
    assert_eq!(read.len(), count);
    read
}

/// The texts that come from this user, until there are so many.
fn texts(events: BlockingEvents, from: &str, count: usize, mut see: impl FnMut(&str)) -> Vec<String> {
    let mut read = Vec::new();
    for event in events {
        if let EventKind::Message(message) = event.expect("the events go on").kind
            && message.sender_user_id == from
        {
            let text = message.text().unwrap_or_default();
            see(&text);
            read.push(text);
        }
        if read.len() == count {
            break;
        }
    }
    read
}

/// The events from here on; they have begun when this returns.
fn events_of(app: &BlockingClient) -> BlockingEvents {
    let mut events = app.subscribe(Start::Tail);
    let started = events.next().unwrap().unwrap();
    assert!(matches!(started.kind, EventKind::Started { .. }), "{started:?}");
    events
}

/// What the thread gives back, if it does so in time.
struct Awaited<T>(Receiver<T>);

impl<T: Send + 'static> Awaited<T> {
    fn start(work: impl FnOnce() -> T + Send + 'static) -> Self {
        let (tell, told) = channel();
        thread::spawn(move || tell.send(work()));
        Self(told)
    }

    #[track_caller]
    fn get(self) -> T {
        self.0
            .recv_timeout(SOON)
            .expect("it takes too long, or has panicked")
    }
}

fn connected(broker: &Broker, daemon: &Daemon, user: &str) -> BlockingClient {
    let app = daemon.client("org.example.Chat").build().unwrap().blocking();
    let token = broker.token(user).unwrap();
    let user_id = app.connect(token, ConnectOptions::new()).unwrap();
    assert_eq!(user_id.as_str(), user);
    app
}

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// The statuses an app's listener is told.
struct Told {
    statuses: Receiver<(ConnectionStatus, String)>,
    _listener: StatusListener,
}

impl Told {
    fn listen(app: &BlockingClient) -> Self {
        let (tell, statuses) = channel();
        let listener = app.client().add_connection_status_listener(move |status| {
            // The test may have ended.
            let _ = tell.send((status.connection, status.to_string()));
        });
        Self {
            statuses,
            _listener: listener,
        }
    }

    /// Waits for this status, and counts how often the daemon was lost before it.
    #[track_caller]
    fn until(&self, wanted: ConnectionStatus) -> usize {
        let mut losses = 0;
        let mut seen = Vec::new();
        while let Ok((status, text)) = self.statuses.recv_timeout(SOON) {
            if status == wanted {
                return losses;
            }
            losses += usize::from(status == ConnectionStatus::DaemonLost);
            seen.push(text);
        }
        panic!("{wanted} was not told; what was: {seen:#?}");
    }
}

#[test]
fn a_killed_daemon_is_told_once_and_its_restart_makes_the_app_whole() {
    let broker = Broker::spawn().unwrap();
    let (alices, bobs) = (Daemon::spawn(&broker).unwrap(), Daemon::spawn(&broker).unwrap());
    let alice = connected(&broker, &alices, "alice");
    let bob = connected(&broker, &bobs, "bob");

    let told = Told::listen(&bob);
    let events = events_of(&bob);
    let bobs_app = Awaited::start(move || echo(&bob, events, 2));
    let events = events_of(&alice);
    let answers = Awaited::start(move || texts(events, "bob", 2, |_| {}));
    alice.send_text("bob", "one").received().unwrap();

    bobs.kill().unwrap();
    told.until(ConnectionStatus::DaemonLost);
    alice.send_text("bob", "two").sent().unwrap();
    bobs.start().unwrap();

    let losses = told.until(ConnectionStatus::Connected);
    assert_eq!(losses, 0, "the loss was told once");
    assert_eq!(bobs_app.get(), ["one", "two"]);
    assert_eq!(answers.get(), ["echo of one", "echo of two"]);
}

#[tokio::test]
async fn an_async_test_uses_it_as_it_is() {
    let broker = Broker::spawn().unwrap();
    let daemon = Daemon::spawn(&broker).unwrap();
    let client = daemon.client("org.example.Chat").build_async().await.unwrap();
    let token = broker.token("alice").unwrap();
    client.connect(token, ConnectOptions::new()).await.unwrap();
    let mut changes = client.connection_status_changes();
    let lived_through = async {
        daemon.kill().unwrap();
        while !changes.next().await.expect("a loss is told").is_daemon_lost() {}
        daemon.start().unwrap();
        while !changes.next().await.expect("so is the way back").is_connected() {}
    };
    tokio::time::timeout(SOON, lived_through).await.unwrap();
}

#[test]
fn a_daemon_that_hangs_answers_nobody_until_it_is_resumed() {
    let broker = Broker::spawn().unwrap();
    let daemon = broker.daemon().unwrap();
    let app = connected(&broker, &daemon, "alice");
    daemon.hang().unwrap();
    let state = process_state(daemon.pid().unwrap());
    assert_eq!(state, Some('T'), "no instruction is executed");
    let error = app.fetch_connection_status().unwrap_err();
    assert_eq!(error.code(), Code::IMD_DEADLINE_EXCEEDED);
    assert!(matches!(daemon.stop(), Err(Error::State(text)) if text.contains("hangs")));
    daemon.resume().unwrap();
    assert!(app.fetch_connection_status().unwrap().is_connected());

    daemon.hang().unwrap();
    daemon.resume().unwrap();
    daemon.hang().unwrap();
    daemon.kill().unwrap();
    assert_eq!(daemon.pid(), None);
    daemon.start().unwrap();
}

#[test]
fn a_stop_is_in_order_and_the_session_outlives_it() {
    let broker = Broker::spawn().unwrap();
    let daemon = Daemon::spawn(&broker).unwrap();
    let app = connected(&broker, &daemon, "alice");
    let told = Told::listen(&app);
    daemon.stop().unwrap();
    told.until(ConnectionStatus::DaemonLost);
    assert!(daemon.log().contains("SIGTERM"), "{}", daemon.log());

    daemon.start().unwrap();
    let late = daemon.client("org.example.Late").build().unwrap().blocking();
    assert_eq!(Told::listen(&late).until(ConnectionStatus::Connected), 0);
}

#[test]
fn a_broker_that_goes_and_comes_is_the_daemons_business() {
    let broker = Broker::spawn().unwrap();
    let daemon = Daemon::spawn(&broker).unwrap();
    let app = connected(&broker, &daemon, "alice");
    let told = Told::listen(&app);
    let url = broker.url().to_owned();
    for end in [Broker::stop, Broker::kill] {
        end(&broker).unwrap();
        told.until(ConnectionStatus::Suspend);
        broker.start().unwrap();
        assert_eq!(told.until(ConnectionStatus::Connected), 0);
        assert_eq!(broker.url(), url);
    }
    broker.cut("alice").unwrap();
    told.until(ConnectionStatus::Suspend);
    told.until(ConnectionStatus::Connected);
}

#[test]
fn a_kick_is_what_another_login_does() {
    let broker = Broker::spawn().unwrap();
    let daemon = Daemon::spawn(&broker).unwrap();
    assert!(matches!(broker.kick("alice"), Err(Error::Broker(text)) if text.contains("no connection")));
    let app = connected(&broker, &daemon, "alice");
    let told = Told::listen(&app);
    broker.kick("alice").unwrap();
    told.until(ConnectionStatus::KickedOfflineByOtherClient);
}

#[test]
fn a_token_may_be_another_users_or_have_ended() {
    let broker = Broker::spawn_for("my-app").unwrap();
    let daemon = Daemon::spawn(&broker).unwrap();
    let app = daemon.client("org.example.Chat").build().unwrap().blocking();
    let ended = broker.token_for("alice", -3600).unwrap();
    let refused = app.connect(ended, ConnectOptions::new()).unwrap_err();
    assert_eq!(refused.code(), Code::RC_CONN_TOKEN_EXPIRE);
    assert!(matches!(broker.token("a/b"), Err(Error::Broker(_))));
    connected(&broker, &daemon, "alice");
}

#[test]
fn what_makes_no_sense_is_an_error_and_changes_nothing() {
    let broker = Broker::spawn().unwrap();
    let daemon = Daemon::spawn(&broker).unwrap();
    let is_refused =
        |result: Result<(), Error>| assert!(matches!(result, Err(Error::State(_))), "{result:?}");
    is_refused(broker.start());
    is_refused(daemon.start());
    is_refused(daemon.resume());
    daemon.kill().unwrap();
    for call in [Daemon::kill, Daemon::stop, Daemon::hang, Daemon::resume] {
        is_refused(call(&daemon));
    }
    broker.stop().unwrap();
    is_refused(broker.stop());
    is_refused(broker.kill());
    broker.start().unwrap();
    daemon.start().unwrap();
    connected(&broker, &daemon, "alice");
}

#[test]
fn a_daemon_that_does_not_start_says_why() {
    let broker = Broker::spawn().unwrap();
    let refused = Daemon::spawn_with(&broker, "[link]\nkeep_alife = 3").unwrap_err();
    assert!(matches!(refused, Error::Ended { .. }), "{refused:?}");
    assert!(refused.to_string().contains("keep_alife"), "{refused}");
    let refused = Broker::spawn_for("a/b").unwrap_err().to_string();
    assert!(refused.contains("App Key"), "{refused}");
}

#[test]
fn nothing_is_left_when_it_is_dropped_in_a_panic() {
    let (tell, told) = channel();
    let panicked = thread::spawn(move || {
        let broker = Broker::spawn().unwrap();
        let daemon = Daemon::spawn(&broker).unwrap();
        daemon.hang().unwrap();
        tell.send((daemon.pid().unwrap(), daemon.socket())).unwrap();
        panic!("the test fails");
    });
    assert!(panicked.join().is_err());
    let (pid, socket) = told.recv().unwrap();
    assert_eq!(process_state(pid), None);
    assert!(!socket.parent().unwrap().exists());
}

#[test]
fn a_daemon_outlives_the_thread_that_asked_for_it() {
    let (broker, daemon) = thread::spawn(|| {
        let broker = Broker::spawn().unwrap();
        let daemon = Daemon::spawn(&broker).unwrap();
        (broker, daemon)
    })
    .join()
    .unwrap();
    connected(&broker, &daemon, "alice");
}

/// The other half of the test below: holds a broker and a hung daemon until it is killed.
#[test]
fn a_process_that_holds_a_testbed() {
    let Some(file) = std::env::var_os(HOLD) else {
        return;
    };
    let broker = Broker::spawn().unwrap();
    let (running, hung) = (Daemon::spawn(&broker).unwrap(), Daemon::spawn(&broker).unwrap());
    hung.hang().unwrap();
    let line = format!("{} {}\n", running.pid().unwrap(), hung.pid().unwrap());
    fs::write(&file, line).unwrap();
    println!("holding");
    // Until the end of standard input, which never comes.
    std::io::stdin().lines().for_each(drop);
}

const HOLD: &str = "IMD_TESTING_HOLD";

#[test]
fn no_process_outlives_a_test_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pids");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_process_that_holds_a_testbed", "--nocapture"])
        .env(HOLD, &file)
        // What it cannot remove itself goes with this test.
        .env("TMPDIR", directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(holder.stdout.take().unwrap());
    let held = output
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("holding"));
    assert!(held, "the other process failed");
    let pids: Vec<u32> = words(&file).iter().map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(pids.len(), 2);
    assert!(pids.iter().all(|pid| process_state(*pid).is_some()));

    holder.kill().unwrap();
    holder.wait().unwrap();
    for pid in pids {
        eventually_gone(pid);
    }
}

fn words(file: &PathBuf) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap();
    text.split_whitespace().map(str::to_owned).collect()
}

/// `R`, `S`, `T`…; `None`: there is none, or nobody has waited for its end yet.
fn process_state(pid: u32) -> Option<char> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let state = stat.rsplit_once(')')?.1.trim_start().chars().next()?;
    (state != 'Z').then_some(state)
}

#[track_caller]
fn eventually_gone(pid: u32) {
    for _ in 0..2000 {
        if process_state(pid).is_none() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("process {pid} is still there");
}
