//! The orderly stop, whatever hangs.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::time::Duration;

use imd_client::{BlockingClient, Client, SentStatus};
use imd_proto::imd::v1::bind_response::Event;
use imd_tests::APP_KEY;
use imd_tests::daemon::Daemon;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::process::Process;
use imd_tests::proxy::Proxy;
use imd_tests::wait::{SOON, eventually, timed, when};
use rustix::process::Signal;

use super::database::Lock;

/// Two seconds are promised; a busy machine takes a little longer. Were each part given its own two, it would
/// be more than this.
const IN_TIME: Duration = Duration::from_secs(4);

fn client(daemon: &Daemon) -> BlockingClient {
    let builder = Client::builder(APP_KEY).app_id("org.example.Test");
    builder.socket(daemon.home().socket()).build().unwrap().blocking()
}

/// A daemon, and everything around it that can hang.
struct Hanging {
    daemon: Daemon,
    _reader: Process,
    _lock: Lock,
    _proxy: Proxy,
    _broker: Mosquitto,
}

impl Hanging {
    fn start() -> Self {
        let broker = Mosquitto::start();
        let proxy = Proxy::start(broker.address());
        let daemon = Daemon::for_server(&proxy.url());
        daemon.connect("alice", &broker.token("alice"));
        let journal = daemon.home().path("journal");
        let mut reader = Command::new(env!("CARGO_BIN_EXE_journal"));
        reader.arg("skim").arg(daemon.home().socket()).arg(&journal);
        let reader = Process::start(&mut reader);
        eventually(SOON, "the reader's place", || {
            when(std::fs::read(&journal).is_ok_and(|text| !text.is_empty()), ())
        });
        reader.signal(Signal::STOP);
        proxy.freeze();
        let lock = Lock::take(daemon.home());
        // A write that waits for the lock holds up the store: the call misses its deadline.
        let sent = daemon.imctl(&["send", "--to", "bob", "a message"]);
        assert_ne!(sent.code, Some(0), "{sent:?}");
        Self {
            daemon,
            _reader: reader,
            _lock: lock,
            _proxy: proxy,
            _broker: broker,
        }
    }
}

#[test]
fn it_takes_two_seconds_at_most_whatever_hangs() {
    let mut all = Hanging::start();
    let ((), took) = timed(|| all.daemon.terminate());
    assert!(took < IN_TIME, "the stop took {took:?}\n{}", all.daemon.log());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut all = Hanging::start();
    let process = all.daemon.process();
    // Two that differ are never taken for one.
    process.signal(Signal::TERM);
    process.signal(Signal::INT);
    let status = process.wait(SOON);
    assert_eq!(status.signal(), None);
    assert!(matches!(status.code(), Some(130 | 143)), "{status}");
}

#[test]
fn the_apps_get_a_goodbye_with_the_reason() {
    let broker = Mosquitto::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &broker.token("alice"));
    let app = daemon.rpc();
    let mut bound = app.bind("org.example.App").unwrap();
    daemon.terminate();
    let goodbye = loop {
        match app.next(&mut bound).unwrap() {
            Some(Event::Goodbye(goodbye)) => break goodbye,
            Some(Event::Hello(_) | Event::Status(_)) => {}
            None => panic!("the stream ended without a goodbye"),
        }
    };
    assert_eq!(goodbye.reason, "SIGTERM");
    assert_eq!(app.next(&mut bound).unwrap(), None);
}

#[test]
fn the_server_keeps_the_session_and_what_comes_meanwhile() {
    let broker = Mosquitto::start();
    let alice = Daemon::for_server(&broker.url());
    alice.connect("alice", &broker.token("alice"));
    let mut bob = Daemon::for_server(&broker.url());
    bob.connect("bob", &broker.token("bob"));
    bob.terminate();
    // A link that just breaks reads otherwise.
    eventually(SOON, "the broker to have read DISCONNECT", || {
        let log = broker.log();
        when(log.contains("Client desktop:demo:bob disconnected."), log)
    });
    let sent = client(&alice)
        .send_text("bob", "while you were away")
        .sent()
        .unwrap();
    bob.start();
    eventually(SOON, "the message, and the receipt for it", || {
        let message = client(&alice).get_message(&sent.uid).unwrap();
        when(
            message.sent_status == Some(SentStatus::Received),
            message.sent_status,
        )
    });
    let message = client(&bob).get_message(&sent.uid).unwrap();
    assert_eq!(message.text().as_deref(), Some("while you were away"));
}
