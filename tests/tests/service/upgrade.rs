//! Restarts under load: what a package's upgrade does, and worse.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Duration;

use imd_client::{Client, ConnectOptions};
use imd_proto::imd::v1::ConnectPhase;
use imd_tests::daemon::config;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::process::Process;
use imd_tests::proxy::Proxy;
use imd_tests::supervisor::Supervisor;
use imd_tests::wait::{SOON, eventually, when};
use imd_tests::{APP_KEY, count};
use rustix::process::Signal;

/// More than a run can send.
const ENDLESS: &str = "100000000";

/// A user with a daemon under systemd, and an app that keeps a journal.
struct Side {
    systemd: Supervisor,
    app: Process,
}

impl Side {
    fn start(broker: &Mosquitto, user: &str, app: &[&str]) -> Self {
        let systemd = Supervisor::listening(&config(&broker.url(), ""));
        let token = broker.token(user);
        systemd
            .home()
            .connect(&token, &["--user-id", user])
            .expect_code(0);
        let home = systemd.home();
        let (mode, rest) = app.split_first().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_journal"));
        command.arg(mode).arg(home.socket()).arg(home.path("journal"));
        command.args(rest);
        if *mode == "send" {
            command.arg(home.path("over"));
        }
        let app = Process::start(&mut command);
        Self { systemd, app }
    }

    fn journal(&self) -> PathBuf {
        self.systemd.home().path("journal")
    }

    /// A line that is being written is none yet.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.journal()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// What a reader was told after its start: the kind of event, and of a message the uid.
    fn told(&self) -> Vec<(String, String)> {
        let lines = self.lines();
        let words = lines.iter().map(|line| line.split(' ').skip(2));
        let mut told: Vec<_> = words
            .map(|mut words| {
                let mut word = || words.next().unwrap_or_default().to_owned();
                (word(), word())
            })
            .collect();
        told.retain(|(kind, _)| kind != "started");
        told
    }

    fn await_growth(&self) {
        let before = self.lines().len();
        eventually(SOON * 3, "the journal to grow", || {
            let seen = self.lines().len();
            when(seen > before + 20, seen)
        });
    }
}

/// The daemon goes, in one way or the other; its successor is there when this returns.
fn replace_daemon(systemd: &Supervisor, orderly: bool) {
    let former = systemd.await_ready();
    if orderly {
        systemd.restart();
    } else {
        systemd.signal(Signal::KILL);
    }
    systemd.await_successor(former);
}

#[test]
fn no_accepted_message_and_no_event_is_lost_or_comes_twice() {
    let broker = Mosquitto::start();
    let bob = Side::start(&broker, "bob", &["read"]);
    eventually(SOON, "the reader's place", || when(!bob.lines().is_empty(), ()));
    let mut alice = Side::start(&broker, "alice", &["send", "bob", ENDLESS]);
    for round in 0..count(20, 600) {
        let side = if round % 2 == 0 { &alice } else { &bob };
        side.await_growth();
        replace_daemon(&side.systemd, round % 4 < 2);
    }
    fs::write(alice.systemd.home().path("over"), "").unwrap();
    assert!(alice.app.wait(SOON * 3).success());
    let accepted = alice.lines();
    eventually(Duration::from_secs(120), "the last message", || {
        let received: HashSet<_> = bob.told().into_iter().map(|(_, uid)| uid).collect();
        let lost = accepted.iter().filter(|uid| !received.contains(*uid)).count();
        when(lost == 0, lost)
    });
    let wanted: Vec<_> = accepted
        .into_iter()
        .map(|uid| ("message".to_owned(), uid))
        .collect();
    let told = bob.told();
    let differs = told.iter().zip(&wanted).position(|(is, should)| is != should);
    assert_eq!(differs.map(|at| (&told[at], &wanted[at])), None);
    assert_eq!(told.len(), wanted.len());
}

#[test]
fn a_pending_connect_outlives_every_daemon_and_succeeds_once() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.address());
    proxy.refuse();
    let systemd = Supervisor::listening(&config(&proxy.url(), ""));
    let builder = Client::builder(APP_KEY).app_id("org.example.Caller");
    let app = builder.socket(systemd.home().socket()).build().unwrap();
    let token = broker.token("alice");
    let options = ConnectOptions::new().user_id("alice");
    let caller = {
        let app = app.blocking();
        thread::spawn(move || app.connect(token, options))
    };
    for round in 0..count(20, 600) {
        eventually(SOON * 2, "the connect to reach the daemon", || {
            assert!(!caller.is_finished(), "round {round}: the connect has ended");
            let apps = systemd.rpc().apps();
            let pending = apps.as_ref().is_ok_and(|apps| {
                apps.iter().any(|one| {
                    one.instance_id == app.instance_id() && one.connect_phase() == ConnectPhase::Pending
                })
            });
            when(pending, apps)
        });
        replace_daemon(&systemd, round % 2 == 0);
    }
    proxy.accept();
    let user = caller.join().unwrap().unwrap();
    assert_eq!(user.as_str(), "alice");
}
