use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use imd_tests::daemon::{Daemon, config};
use imd_tests::home::Home;
use imd_tests::scripted::Scripted;
use imd_tests::token::{self, SECRET};
use rustix::process::Signal;

const USER: &str = "canary-user-4f1d";
const PEER: &str = "canary-peer-77ab";
const GROUP: &str = "canary-group-9c2e";
const TEXT: &str = "canary-text-meet-at-nine";
const PASSWORD: &str = "canary-password-hunter2";

#[test]
fn a_report_has_no_secret_no_message_and_no_user_in_it() {
    let broker = Scripted::start();
    let daemon = Daemon::with(&config(&broker.url(), ""), &[("IMD_LOG", "trace")]);
    let token = token::of(USER);
    daemon.connect(USER, &token);
    daemon.imctl(&["send", "--to", PEER, TEXT]).expect_code(0);
    daemon.imctl(&["join", GROUP]).expect_code(0);
    // A person has written a proxy with a password into the configuration; the daemon runs with the one before.
    let proxy = format!("[proxy]\nurl = \"socks5://{PASSWORD}:{PASSWORD}@127.0.0.1:1080\"\n");
    let written = format!("{}{proxy}# token = \"{SECRET}\"\n", config(&broker.url(), ""));
    daemon.home().write_config(&written);

    let path = daemon.home().path("report.txt");
    let finished = daemon.imctl(&["bugreport", "--output", path.to_str().unwrap()]);
    finished.expect_code(0);
    assert!(
        finished.stderr.contains("Read it before you send it"),
        "{finished:?}"
    );
    assert!(finished.stdout.is_empty(), "{finished:?}");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let report = fs::read_to_string(&path).unwrap();
    for section in [
        "Versions",
        "System",
        "Configuration",
        "Doctor",
        "Status",
        "Status changes",
        "Apps",
        "Metrics",
        "Journal",
    ] {
        assert!(
            report.contains(&format!("\n== {section}\n\n")),
            "{section}: {report}"
        );
    }
    assert!(
        report.contains("CONNECTED") && report.contains("# EOF"),
        "{report}"
    );
    for secret in [&token, USER, PEER, GROUP, TEXT, PASSWORD, SECRET] {
        assert!(!report.contains(secret), "{secret} is in the report:\n{report}");
        assert!(!finished.stderr.contains(secret), "{finished:?}");
    }
    let alias = report
        .split("\"user_id\":\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    assert!(alias.starts_with("user-"), "{alias}");
    assert!(
        !daemon.log().contains(TEXT) && !daemon.log().contains(&token),
        "nor in the log"
    );

    let again = daemon.imctl(&["bugreport", "--output", path.to_str().unwrap()]);
    again.expect_code(1);
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        report,
        "a file that is there stays"
    );
}

#[test]
fn a_report_can_be_made_without_a_daemon() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    let token = token::of(USER);
    daemon.connect(USER, &token);
    daemon.imctl(&["send", "--to", PEER, TEXT]).expect_code(0);
    daemon.imctl(&["join", GROUP]).expect_code(0);
    daemon.imctl(&["logout"]).expect_code(0);
    // What a person has written goes into the report as well.
    let note = format!(
        "# {USER} writes to {PEER} and to {GROUP}\n{}",
        config(&broker.url(), "")
    );
    daemon.home().write_config(&note);
    let report = |daemon: &Daemon| {
        let finished = daemon.imctl(&["bugreport", "--output", "-"]);
        finished.expect_code(0);
        assert!(finished.stdout.contains(" writes to user-"), "{finished:?}");
        for secret in [token.as_str(), USER, PEER, GROUP, TEXT] {
            assert!(!finished.stdout.contains(secret), "{secret}: {}", finished.stdout);
        }
        finished.stdout
    };
    daemon.process().signal(Signal::STOP);
    assert!(report(&daemon).contains("hangs"));
    daemon.process().signal(Signal::CONT);
    daemon.terminate();
    assert!(report(&daemon).contains("no daemon"));
}

#[test]
fn a_report_without_a_name_lies_where_the_person_is() {
    let home = Home::new();
    home.run_imctl(&["bugreport"]).expect_code(0);
    let found = fs::read_dir(home.path("home")).unwrap();
    let names: Vec<_> = found
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(
        names
            .iter()
            .any(|name| name.starts_with("imd-bugreport-2") && name.ends_with(".txt")),
        "{names:?}"
    );
}
