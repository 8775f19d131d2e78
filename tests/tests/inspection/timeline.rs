use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use imd_tests::daemon::Daemon;
use imd_tests::scripted::Scripted;
use imd_tests::token;
use imd_tests::wait::{SOON, eventually, when};
use serde_json::Value;

#[test]
fn the_timeline_outlives_the_daemon_and_tells_a_stop_from_a_kill() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    daemon.restart();
    daemon.await_status("CONNECTED");
    // It is written behind the change: a kill right then would take it along.
    let file = daemon.home().state_directory().join("status.jsonl");
    eventually(SOON, "both runs' CONNECTED on disk", || {
        let written = fs::read_to_string(&file).unwrap();
        let (_, of_second) = written.rsplit_once("\"what\":\"started\"").unwrap();
        when(of_second.contains("\"status\":0,"), written.clone())
    });
    daemon.kill9();
    daemon.start();
    daemon.await_status("CONNECTED");

    let words = daemon.imctl(&["timeline"]);
    words.expect_code(0);
    let count = |what: &str| words.stdout.matches(what).count();
    assert_eq!(count(" starts, pid "), 3, "{}", words.stdout);
    assert_eq!(count("  imd ends\n"), 1, "{}", words.stdout);
    assert_eq!(count("imd ended without a word"), 1, "{}", words.stdout);

    let lines = daemon.imctl(&["--json", "timeline"]);
    let changes: Vec<Value> = lines
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut runs: Vec<&str> = changes
        .iter()
        .filter(|change| change["status_name"] == "CONNECTED")
        .map(|change| change["daemon_run_id"].as_str().unwrap())
        .collect();
    runs.dedup();
    assert_eq!(runs.len(), 3, "each run was connected: {}", lines.stdout);

    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_timeline_that_cannot_be_kept_does_not_hold_the_connection_up() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.terminate();
    let file = daemon.home().state_directory().join("status.jsonl");
    fs::remove_file(&file).unwrap();
    // Even root writes no lines into a directory.
    fs::create_dir(&file).unwrap();
    daemon.start();
    daemon.connect("alice", &token::of("alice"));
    let log = daemon.log();
    assert_eq!(
        log.matches("the status changes cannot be kept").count(),
        1,
        "told once"
    );
}
