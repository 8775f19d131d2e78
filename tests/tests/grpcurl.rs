//! The README's grpcurl lines, run as they are written, with a real grpcurl against a real daemon.
//!
//! `./tests/run` installs grpcurl; its binary is one for x86-64 Linux.
#![cfg(target_arch = "x86_64")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails its test"
)]

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use imd_tests::daemon::Daemon;
use imd_tests::process::{self, Finished};
use imd_tests::scripted::Scripted;
use imd_tests::sources::root;
use imd_tests::token;

/// Where `./tests/run` puts it.
fn directory() -> PathBuf {
    let directory = root().join("target/tools/grpcurl/bin");
    let is_there = directory.join("grpcurl").exists();
    assert!(
        is_there,
        "there is no grpcurl: run ./tests/run, which installs it"
    );
    directory
}

/// The README's block about grpcurl: the line that sets G and S, and those that use them.
fn lines() -> (String, Vec<String>) {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let block = readme
        .split("```")
        .find(|block| block.contains("G=\"grpcurl "))
        .unwrap_or_else(|| panic!("the README has no block about grpcurl"));
    let lines = block.lines().skip(1).map(str::to_owned);
    let (setup, calls): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("G="));
    assert_eq!(setup.len(), 1);
    let calls: Vec<_> = calls.into_iter().filter(|line| line.starts_with("$G ")).collect();
    assert!(calls.len() >= 8, "{calls:?}");
    (setup[0].clone(), calls)
}

fn shell(daemon: &Daemon, line: &str) -> Command {
    let mut command = Command::new("sh");
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .arg("-c")
        .arg(line)
        .env("PATH", format!("{}:{path}", directory().display()))
        .env("XDG_RUNTIME_DIR", daemon.home().path("run"))
        .stdin(Stdio::null());
    command
}

fn run(daemon: &Daemon, line: &str) -> Finished {
    process::run(&mut shell(daemon, line), b"")
}

/// Streams that go on until they are ended.
fn follows(line: &str) -> bool {
    ["/WatchStatus", "/Subscribe"]
        .iter()
        .any(|method| line.contains(method))
}

/// The first line a stream prints.
fn first_line(daemon: &Daemon, line: &str) -> String {
    let mut command = shell(daemon, &format!("exec {line}"));
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut text = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut text)
        .unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    text
}

#[test]
fn the_lines_of_the_readme_work_as_they_are_written() {
    let broker = Scripted::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    let (setup, calls) = lines();
    for call in calls {
        // The one thing a reader has to fill in.
        let call = call.replace(
            "\"token\":\"…\"",
            &format!("\"token\":\"{}\"", token::of("alice")),
        );
        let line = format!("{setup}; {call}");
        if follows(&call) {
            let expanded = format!(
                "sh -c '{}'",
                line.replace("; $G", "; exec $G").replace('\'', "'\\''")
            );
            assert_eq!(first_line(&daemon, &expanded), "{\n", "{call}");
        } else {
            let finished = run(&daemon, &line);
            assert_eq!(finished.code, Some(0), "{call}: {finished:?}");
            assert!(!finished.stdout.is_empty(), "{call}");
        }
    }
}

#[test]
fn describe_shows_the_comments_and_every_service_can_be_described() {
    let daemon = Daemon::for_server("mqtt://127.0.0.1:1");
    let (setup, _) = lines();
    let services = run(&daemon, &format!("{setup}; $G $S list"));
    let ours: Vec<_> = services
        .stdout
        .lines()
        .filter(|name| name.starts_with("imd.v1."))
        .collect();
    assert_eq!(ours.len(), 6, "{services:?}");
    for service in ours {
        let described = run(&daemon, &format!("{setup}; $G $S describe {service}"));
        described.expect_code(0);
        let methods = described.stdout.matches("  rpc ").count();
        let comments = described
            .stdout
            .lines()
            .filter(|line| line.starts_with("  // "))
            .count();
        assert!(methods > 0 && comments >= methods, "{}", described.stdout);
    }
    let status = run(
        &daemon,
        &format!("{setup}; $G $S describe imd.v1.ConnectionStatus"),
    );
    assert!(status.stdout.contains("\n  // "), "{}", status.stdout);
}

#[test]
fn metrics_are_to_be_had_from_any_language() {
    let daemon = Daemon::for_server("mqtt://127.0.0.1:1");
    let (setup, _) = lines();
    let answer = run(&daemon, &format!("{setup}; $G $S imd.v1.AdminService/GetMetrics"));
    let answer: serde_json::Value = serde_json::from_str(&answer.stdout).unwrap();
    let text = answer["openMetrics"].as_str().unwrap();
    assert_eq!(text, text.trim_start());
    assert!(
        text.contains("imd_status{imd_status=\"UNCONNECTED\"} 1\n") && text.ends_with("# EOF\n"),
        "{text}"
    );
}
