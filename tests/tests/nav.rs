//! The daemon where a nav names the servers (docs/nav.md): a real Mosquitto behind a nav that answers, fails,
//! hangs and comes back.
#![expect(clippy::unwrap_used, reason = "a helper of a test fails its test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

use imd::demo::broker::{ConnectAnswer, Reply, Times, Who};
use imd_tests::certificates::Authority;
use imd_tests::daemon::Daemon;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::nav::{Does, Nav, body, naming};
use imd_tests::scripted::Scripted;
use imd_tests::wait::{SOON, eventually, timed, when};
use serde_json::Value;

/// A nav, and a broker that it names.
struct Stage {
    authority: Authority,
    nav: Nav,
    broker: Mosquitto,
    daemon: Daemon,
}

fn config(nav: &Nav, authority: &Authority) -> String {
    let (url, file) = (nav.url(), authority.file());
    format!("[server]\nnav = \"{url}\"\nca_file = \"{}\"\n", file.display())
}

impl Stage {
    fn start() -> Self {
        let authority = Authority::new();
        let broker = Mosquitto::start();
        let nav = Nav::start(&authority.sign(-1, 30), naming(&[&broker.url()]));
        let daemon = Daemon::configured(&config(&nav, &authority));
        Self {
            authority,
            nav,
            broker,
            daemon,
        }
    }

    fn connect(&self, user: &str) {
        self.daemon.connect(user, &self.broker.token(user));
    }

    fn file(&self) -> PathBuf {
        self.daemon.home().state_directory().join("nav.json")
    }

    fn entries(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.file()).unwrap_or_else(|_| r#"{"entries":[]}"#.to_owned());
        let file: Value = serde_json::from_str(&text).unwrap();
        file["entries"].as_array().unwrap().clone()
    }

    /// As if all answers had come three hours ago; the daemon does not run.
    fn grow_old(&self) {
        let mut file: Value = serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap();
        for entry in file["entries"].as_array_mut().unwrap() {
            let fetched = entry["fetched"].as_i64().unwrap();
            entry["fetched"] = (fetched - 3 * 3_600_000).into();
        }
        fs::write(self.file(), file.to_string()).unwrap();
    }
}

#[test]
fn the_first_connect_asks_once_and_a_restarted_daemon_not_at_all() {
    let mut stage = Stage::start();
    stage.connect("alice");
    assert_eq!(stage.daemon.status().server, stage.broker.url());
    let requests = stage.nav.requests();
    let [request] = requests.as_slice() else {
        panic!("one request: {requests:?}")
    };
    assert!(
        request.starts_with("GET /servers?app_key=demo&user_id=alice HTTP/1.1\r\n"),
        "{request}"
    );
    let mode = fs::metadata(stage.file()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    stage.daemon.restart();
    stage.daemon.await_status("CONNECTED");
    stage.daemon.kill9();
    stage.daemon.start();
    stage.daemon.await_status("CONNECTED");
    assert_eq!(stage.nav.requests().len(), 1);
}

#[test]
fn the_token_is_in_neither_the_request_nor_the_file() {
    let stage = Stage::start();
    stage.connect("alice");
    let token = stage.broker.token("alice");
    let kept = fs::read_to_string(stage.file()).unwrap();
    assert!(kept.contains("alice"), "{kept}");
    assert!(!kept.contains(&token), "the token is in {kept}");
    for request in stage.nav.requests() {
        assert!(!request.contains(&token), "the token is in {request}");
    }
    assert!(!stage.daemon.log().contains(&token));
}

#[test]
fn a_stale_answer_stands_in_for_a_nav_that_fails() {
    let mut stage = Stage::start();
    stage.connect("alice");
    for does in [
        Does::Status("503 Service Unavailable"),
        Does::Hangs,
        Does::Closes,
        Does::Says("{}".to_owned()),
    ] {
        stage.daemon.terminate();
        stage.grow_old();
        let before = stage.nav.requests().len();
        stage.nav.does(does);
        stage.daemon.start();
        stage.daemon.await_status("CONNECTED");
        assert_eq!(stage.nav.requests().len(), before + 1);
    }
    let doctor = stage.daemon.imctl(&["--json", "doctor"]).stdout;
    let row = doctor
        .lines()
        .find(|line| line.contains("\"server.nav\""))
        .unwrap();
    assert!(row.contains(&stage.broker.url()), "{row}");
    assert!(row.contains("not as docs/nav.md has it"), "{row}");
}

#[test]
fn a_stale_answer_gives_way_to_a_new_one() {
    let mut stage = Stage::start();
    stage.connect("alice");
    stage.daemon.terminate();
    stage.grow_old();
    let other = Mosquitto::with_users(&[("alice", stage.broker.token("alice"))]);
    stage.nav.does(naming(&[&other.url()]));
    stage.daemon.start();
    let status = stage.daemon.await_status("CONNECTED");
    assert_eq!(status.server, other.url());
}

#[test]
fn without_an_answer_the_loop_goes_on_and_says_why_until_the_nav_is_back() {
    let stage = Stage::start();
    let token = stage.broker.token("alice");
    stage.nav.does(Does::Status("404 Not Found"));
    let connect = stage.daemon.home().start_connect(&token, &["--user-id", "alice"]);
    for (does, code, text) in [
        (Does::Status("404 Not Found"), 30007, "answers 404"),
        (
            Does::Status("302 Found\r\nlocation: https://elsewhere.example/"),
            30007,
            "no redirects",
        ),
        (Does::Says("<html>".to_owned()), 30008, "not JSON"),
        (Does::Says(" ".repeat(70_000)), 30008, "more than 64 KiB"),
        (
            Does::Says(r#"{"version":1,"servers":[]}"#.to_owned()),
            30008,
            "names no server",
        ),
        (naming(&["mqtt://203.0.113.1:1883"]), 30008, "plaintext = true"),
        (Does::Closes, 30004, "HTTP"),
    ] {
        stage.nav.does(does);
        stage.daemon.await_status_that(text, |status| {
            status.last_code == code && status.reason.contains(text)
        });
    }
    stage.nav.does(naming(&[&stage.broker.url()]));
    connect.finish().expect_code(0);
    stage.daemon.await_status("CONNECTED");
}

#[test]
fn a_nav_that_hangs_or_shows_an_expired_certificate_is_told_as_such() {
    let stage = Stage::start();
    let token = stage.broker.token("alice");
    stage.nav.does(Does::Hangs);
    let _hanging = stage.daemon.home().start_connect(&token, &["--user-id", "alice"]);
    let status = stage
        .daemon
        .await_status_that("with the nav's silence", |status| status.last_code == 30005);
    assert!(status.reason.contains("does not answer within 7 s"), "{status:?}");

    let expired = Nav::start(&stage.authority.sign(-9, -2), naming(&[&stage.broker.url()]));
    let daemon = Daemon::configured(&config(&expired, &stage.authority));
    let _refused = daemon.home().start_connect(&token, &["--user-id", "alice"]);
    let status = daemon.await_status_that("with the certificate's end", |status| status.last_code == 30004);
    assert!(status.reason.contains("certificate expired on 20"), "{status:?}");
    assert!(expired.requests().is_empty());
}

#[test]
fn another_user_has_an_answer_of_their_own_and_both_are_kept() {
    let stage = Stage::start();
    stage.connect("alice");
    stage.daemon.imctl(&["logout"]).expect_code(0);
    stage.connect("bob");
    let requests = stage.nav.requests();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(requests.iter().any(|request| request.contains("user_id=bob")));
    stage.daemon.imctl(&["logout"]).expect_code(0);
    stage.connect("alice");
    assert_eq!(stage.nav.requests().len(), 2);
    assert_eq!(stage.entries().len(), 2);
}

#[test]
fn a_server_that_sends_us_elsewhere_makes_the_nav_s_answer_void() {
    let authority = Authority::new();
    let (here, there) = (Scripted::start(), Scripted::start());
    let nav = Nav::start(&authority.sign(-1, 30), naming(&[&here.url()]));
    let mut daemon = Daemon::configured(&config(&nav, &authority));
    daemon.connect("alice", "a-token");
    let file = daemon.home().state_directory().join("nav.json");
    let kept = || fs::read_to_string(&file).unwrap();
    assert!(kept().contains(&here.url()), "{}", kept());

    let address = there.broker().address().to_string();
    let reply = Reply::code(0x9D).server_reference(&address);
    here.broker()
        .script()
        .on_connect(Who::Anyone, Times::Always, ConnectAnswer::Connack(reply.clone()));
    here.broker().disconnect(Who::Anyone, reply);
    daemon.await_status_that("at the other server", |status| {
        status.status_name == "CONNECTED" && status.server == there.url()
    });
    eventually(SOON, "the entry to go", || {
        when(!kept().contains(&here.url()), kept())
    });
    nav.does(naming(&[&there.url()]));
    daemon.restart();
    let status = daemon.await_status("CONNECTED");
    assert_eq!(status.server, there.url());
    assert_eq!(nav.requests().len(), 2);
}

#[test]
fn servers_that_cannot_be_reached_make_the_nav_be_asked_again() {
    let mut stage = Stage::start();
    stage.connect("alice");
    let other = Mosquitto::with_users(&[("alice", stage.broker.token("alice"))]);
    stage.nav.does(naming(&[&other.url()]));
    stage.broker.stop();
    let status = stage.daemon.await_status_that("at the other server", |status| {
        status.status_name == "CONNECTED" && status.server == other.url()
    });
    assert_eq!(status.server, other.url());
    assert_eq!(stage.nav.requests().len(), 2);
}

#[test]
fn a_damaged_file_is_no_answer_and_says_so_in_the_log() {
    let mut stage = Stage::start();
    stage.connect("alice");
    stage.daemon.terminate();
    fs::write(stage.file(), "{").unwrap();
    stage.daemon.start();
    stage.daemon.await_status("CONNECTED");
    assert_eq!(stage.nav.requests().len(), 2);
    assert!(
        stage
            .daemon
            .log()
            .contains("what the nav said before cannot be read")
    );
    assert_eq!(stage.entries().len(), 1);
}

#[test]
fn another_nav_in_the_configuration_is_asked_afresh() {
    let mut stage = Stage::start();
    stage.connect("alice");
    stage.daemon.terminate();
    let other = Nav::start(&stage.authority.sign(-1, 30), naming(&[&stage.broker.url()]));
    stage
        .daemon
        .home()
        .write_config(&config(&other, &stage.authority));
    stage.daemon.start();
    stage.daemon.await_status("CONNECTED");
    assert_eq!((stage.nav.requests().len(), other.requests().len()), (1, 1));
}

/// What connect's user id buys: the figures are those of docs/nav.md.
#[test]
fn a_fresh_answer_saves_the_way_to_the_nav() {
    const AWAY: Duration = Duration::from_millis(100);
    let stage = Stage::start();
    stage
        .nav
        .does(Does::SaysLater(AWAY, body(&[&stage.broker.url()])));
    let mut without = Vec::new();
    let mut with = Vec::new();
    for _ in 0..5 {
        let fresh = Daemon::configured(&config(&stage.nav, &stage.authority));
        let token = stage.broker.token("alice");
        without.push(timed(|| fresh.connect("alice", &token)).1);
        fresh.imctl(&["logout"]).expect_code(0);
        let asked = stage.nav.requests().len();
        with.push(timed(|| fresh.connect("alice", &token)).1);
        assert_eq!(stage.nav.requests().len(), asked, "the answer is fresh");
    }
    with.sort();
    without.sort();
    eprintln!("imctl connect, nav {AWAY:?} away: asked {without:?}, not asked {with:?}");
    assert!(without.iter().all(|asked| *asked >= AWAY), "{without:?}");
}
