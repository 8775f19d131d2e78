//! imctl as a person or a script meets it: what it prints, and how it ends.

#![cfg(test)]

#[path = "../../../client-lib/tests/fake/mod.rs"]
mod fake;
mod messages;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Output, Stdio};

use fake::{Connect, FakeDaemon, error, opened, status};
use imd_proto::code::Code;
use imd_proto::imd::v1;

fn imctl(daemon: &FakeDaemon, line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_imctl"));
    command
        .arg("--socket")
        .arg(daemon.socket())
        .args(line.split(' '))
        .env("TZ", "UTC")
        .env_remove("IMD_SOCKET")
        .env_remove("IMD_INSTANCE")
        .stdin(Stdio::null());
    command
}

fn run(daemon: &FakeDaemon, line: &str) -> Output {
    imctl(daemon, line).output().unwrap()
}

fn run_with_input(daemon: &FakeDaemon, line: &str, input: &str) -> Output {
    let mut child = piped(&mut imctl(daemon, line));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn piped(command: &mut Command) -> Child {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn assert_ended(output: &Output, exit: i32) {
    assert_eq!(output.status.code(), Some(exit), "{output:?}");
}

fn suspended() -> v1::ConnectionStatus {
    v1::ConnectionStatus {
        attempt: 3,
        next_retry_time: Some(prost_types::Timestamp {
            seconds: 1_700_000_002,
            nanos: 0,
        }),
        next_retry_in: Some(prost_types::Duration {
            seconds: 2,
            nanos: 500_000_000,
        }),
        last_code: 32_061,
        last_code_name: "CONNECTION_REFUSED".to_owned(),
        storage_full: "no room on /home".to_owned(),
        ..status(13, 4, "nobody listens")
    }
}

#[test]
fn status_is_one_object_with_numbers_and_names() {
    let daemon = FakeDaemon::start();
    daemon.script.publish(suspended());
    let output = run(&daemon, "--json status");
    assert_ended(&output, 0);
    assert_eq!(
        stdout(&output),
        concat!(
            r#"{"status":13,"status_name":"SUSPEND","generation":4,"reason":"nobody listens","attempt":3,"#,
            r#""next_retry_time":"2023-11-14T22:13:22.000Z","next_retry_in_ms":2500,"#,
            r#""last_code":32061,"last_code_name":"CONNECTION_REFUSED","network":"AVAILABLE","#,
            r#""app_key":"demo","user_id":"alice","server":"mqtt://127.0.0.1:1883","#,
            r#""change_time":"2023-11-14T22:13:20.000Z","offline_sync":"NOT_CONNECTED","#,
            r#""storage_full":"no room on /home"}"#,
            "\n"
        )
    );
    let words = stdout(&run(&daemon, "status"));
    assert!(words.starts_with("SUSPEND (13)\n"), "{words}");
    assert!(words.contains("  disk full no room on /home"), "{words}");
    assert!(words.contains("CONNECTION_REFUSED (32061)"), "{words}");
    assert!(!words.contains('\u{1b}'), "no colours into a pipe");
}

#[test]
fn without_a_daemon_every_command_ends_with_3_and_says_why() {
    let mut daemon = FakeDaemon::start();
    daemon.kill();
    for line in [
        "status",
        "watch",
        "wait --connected",
        "disconnect",
        "send --to bob hello",
        "history --with bob",
        "conversations",
        "search hello",
        "outbox",
        "groups",
        "apps",
        "timeline",
    ] {
        let output = run(&daemon, line);
        assert_ended(&output, 3);
        assert!(
            stderr(&output).starts_with("IPC_DISCONNECT (-2): no daemon at "),
            "{output:?}"
        );
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn wrong_usage_ends_with_2() {
    let daemon = FakeDaemon::start();
    for line in [
        "nonsense",
        "wait",
        "connect --app-key k",
        "status --token x",
        "send hello",
        "history",
    ] {
        assert_ended(&run(&daemon, line), 2);
    }
}

#[test]
fn a_silent_daemon_ends_with_4() {
    let daemon = FakeDaemon::start();
    daemon.script.silence("GetStatus");
    let output = run(&daemon, "status");
    assert_ended(&output, 4);
    assert!(stderr(&output).starts_with("IMD_DEADLINE_EXCEEDED (90001): "));
}

#[test]
fn watch_prints_the_current_status_then_changes_and_goes_on_with_the_next_daemon() {
    let mut daemon = FakeDaemon::start();
    let mut watch = piped(&mut imctl(&daemon, "--json watch"));
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || {
        let line = lines.next().unwrap().unwrap();
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        object["status_name"].as_str().unwrap().to_owned()
    };
    assert_eq!(next(), "UNCONNECTED");
    daemon.script.publish(status(1, 2, "attempt 1"));
    assert_eq!(next(), "CONNECTING");
    daemon.kill();
    assert_eq!(next(), "DAEMON_LOST");
    daemon.script.publish(status(13, 1, "attempt 1 failed"));
    daemon.restart();
    assert_eq!(next(), "SUSPEND");
    daemon.script.publish(status(0, 2, "connected"));
    assert_eq!(next(), "CONNECTED");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn a_reader_that_has_gone_ends_watch_quietly() {
    let daemon = FakeDaemon::start();
    let mut watch = piped(&mut imctl(&daemon, "watch"));
    let mut lines = BufReader::new(watch.stdout.take().unwrap());
    lines.read_line(&mut String::new()).unwrap();
    // Nothing is published: there is no write that could fail.
    drop(lines);
    let output = watch.wait_with_output().unwrap();
    assert_ended(&output, 0);
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn wait_ends_when_connected_or_in_time() {
    let daemon = FakeDaemon::start();
    let output = run(&daemon, "wait --connected --timeout 1");
    assert_ended(&output, 4);
    assert!(
        stderr(&output).starts_with("RC_CONNECT_TIMEOUT (34006): not connected within 1 s"),
        "{output:?}"
    );

    let waiting = piped(&mut imctl(&daemon, "wait --connected --timeout 20"));
    daemon.script.wait_for_bound(1);
    daemon.script.publish(status(0, 2, "connected"));
    let output = waiting.wait_with_output().unwrap();
    assert_ended(&output, 0);
    assert!(stdout(&output).starts_with("CONNECTED (0)\n"));
}

#[test]
fn wait_goes_on_over_a_death_and_within_its_timeout_waits_for_a_daemon() {
    let mut daemon = FakeDaemon::start();
    let waiting = piped(&mut imctl(&daemon, "wait --connected"));
    daemon.script.wait_for_bound(1);
    daemon.kill();
    let output = run(&daemon, "wait --connected --timeout 1");
    assert_ended(&output, 4);
    assert!(stderr(&output).contains("DAEMON_LOST (-2)"), "{output:?}");

    let coming = piped(&mut imctl(&daemon, "wait --connected --timeout 20"));
    daemon.script.publish(status(0, 1, "connected"));
    daemon.restart();
    for waiting in [waiting, coming] {
        let output = waiting.wait_with_output().unwrap();
        assert_ended(&output, 0);
        assert!(stdout(&output).starts_with("CONNECTED (0)\n"));
    }
}

#[test]
fn connect_prints_the_callbacks_and_never_the_token() {
    let daemon = FakeDaemon::start();
    let line = "--json connect --app-key demo --token-file - --user-id alice --time-limit 30";
    let output = run_with_input(&daemon, line, "canary\n");
    assert_ended(&output, 0);
    let said = stdout(&output);
    let events: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(events.len(), 2, "{said}");
    assert_eq!(events[0]["event"], "onDatabaseOpened");
    assert_eq!(events[0]["code"], 0);
    assert_eq!(events[1]["event"], "onSuccess");
    assert_eq!(events[1]["user_id"], "alice");
    assert!(events[1]["elapsed_ms"].is_u64());
    assert!(!said.contains("canary"));

    let requests = daemon.script.connects.lock().unwrap();
    assert_eq!(requests[0].token, "canary", "without its line break");
    assert_eq!(requests[0].user_id, "alice");
    assert_eq!(requests[0].time_limit_seconds, 30);
}

#[test]
fn an_error_of_connect_is_an_event_and_words_and_an_exit_status() {
    let daemon = FakeDaemon::start();
    for (connect, exit, words) in [
        (
            Connect::Refuse(Code::RC_CONNECTION_EXIST, "bob holds it"),
            1,
            "RC_CONNECTION_EXIST (34001): bob holds it\n",
        ),
        (
            Connect::Play(vec![opened(), error(34_006, "too slow", "")]),
            4,
            "RC_CONNECT_TIMEOUT (34006): too slow\n",
        ),
        (
            Connect::Play(vec![opened(), error(47_011, "closed", "wait")]),
            1,
            "UNLISTED (47011): closed\nwait\n",
        ),
    ] {
        daemon.script.connect(connect);
        let output = run_with_input(&daemon, "--json connect --app-key demo --token-file -", "t");
        assert_ended(&output, exit);
        assert!(stderr(&output).starts_with(words), "{output:?}");
        let last: serde_json::Value = serde_json::from_str(stdout(&output).lines().last().unwrap()).unwrap();
        assert_eq!(last["event"], "onError");
    }
}

#[test]
fn a_token_file_that_cannot_be_read_is_named() {
    let daemon = FakeDaemon::start();
    let output = run(&daemon, "connect --app-key demo --token-file /nowhere/token");
    assert_ended(&output, 1);
    assert!(
        stderr(&output).starts_with("INVALID_PARAMETER_TOKEN (34407): /nowhere/token cannot be read"),
        "{output:?}"
    );
}

#[test]
fn disconnect_shows_what_has_become_of_the_connection() {
    let daemon = FakeDaemon::start();
    let output = run(&daemon, "disconnect");
    assert_ended(&output, 0);
    assert!(stdout(&output).starts_with("SIGN_OUT (12)\n"), "{output:?}");
    assert_ended(&run(&daemon, "--json logout"), 0);
}

#[test]
fn apps_are_a_table_or_objects() {
    let daemon = FakeDaemon::start();
    assert_eq!(
        stdout(&run(&daemon, "apps")),
        concat!(
            "APP               VERSION  PID  APP KEY  CONNECT    BEHIND  SINCE\n",
            "org.example.Chat  1.0      42   demo     SUCCEEDED  3       2023-11-14 22:13:20.000\n"
        )
    );
    assert_eq!(
        stdout(&run(&daemon, "apps --json")),
        concat!(
            r#"{"app_id":"org.example.Chat","instance_id":"one","app_version":"1.0","pid":42,"#,
            r#""bind_time":"2023-11-14T22:13:20.000Z","app_key":"demo","connect_phase":"SUCCEEDED","#,
            r#""lag":3,"subscriptions":1}"#,
            "\n"
        )
    );
}

#[test]
fn the_timeline_is_told_oldest_first() {
    let daemon = FakeDaemon::start();
    let change = |seconds, status, name: &str, code| v1::StatusChange {
        time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        status,
        status_name: name.to_owned(),
        generation: 1,
        reason: "why".to_owned(),
        last_code: code,
        last_code_name: String::new(),
        daemon_run_id: "one".to_owned(),
    };
    *daemon.script.changes.lock().unwrap() = vec![
        change(1_700_000_000, 1, "CONNECTING", 0),
        change(1_700_000_001, 13, "SUSPEND", 30_011),
    ];
    assert_eq!(
        stdout(&run(&daemon, "timeline")),
        concat!(
            "2023-11-14 22:13:20.000  CONNECTING (1)  why\n",
            "2023-11-14 22:13:21.000  SUSPEND (13)  RC_SOCKET_DISCONNECTED (30011)  why\n"
        )
    );
    assert_eq!(
        stdout(&run(&daemon, "--json timeline")).lines().last(),
        Some(concat!(
            r#"{"time":"2023-11-14T22:13:21.000Z","status":13,"status_name":"SUSPEND","generation":1,"#,
            r#""reason":"why","last_code":30011,"last_code_name":"RC_SOCKET_DISCONNECTED","daemon_run_id":"one"}"#
        ))
    );
}

#[test]
fn the_timeline_tells_the_runs_of_the_daemon_too() {
    let daemon = FakeDaemon::start();
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let run = |run: &str, started, ended| v1::DaemonRun {
        daemon_run_id: run.to_owned(),
        start_time: time(started),
        end_time: ended,
        version: "0.0.1".to_owned(),
        pid: 7,
    };
    *daemon.script.runs.lock().unwrap() = vec![
        run("one", 1_700_000_000, time(1_700_000_009)),
        run("two", 1_700_000_010, None),
        run("three", 1_700_000_020, None),
    ];
    *daemon.script.changes.lock().unwrap() = vec![v1::StatusChange {
        time: time(1_700_000_011),
        status: 0,
        status_name: "CONNECTED".to_owned(),
        reason: "connected".to_owned(),
        daemon_run_id: "two".to_owned(),
        ..Default::default()
    }];
    assert_eq!(
        stdout(&imctl(&daemon, "timeline").output().unwrap()),
        concat!(
            "2023-11-14 22:13:20.000  imd 0.0.1 starts, pid 7\n",
            "2023-11-14 22:13:29.000  imd ends\n",
            "2023-11-14 22:13:30.000  imd 0.0.1 starts, pid 7\n",
            "2023-11-14 22:13:31.000  CONNECTED (0)  connected\n",
            "some time after          imd ended without a word: killed, or the power went\n",
            "2023-11-14 22:13:40.000  imd 0.0.1 starts, pid 7\n"
        )
    );
}

#[test]
fn metrics_are_printed_as_they_are_or_as_objects() {
    let daemon = FakeDaemon::start();
    let text = stdout(&run(&daemon, "metrics"));
    assert!(
        text.starts_with("# TYPE a counter\n") && text.ends_with("\n# EOF\n"),
        "{text}"
    );
    assert_eq!(
        stdout(&run(&daemon, "metrics --json")),
        "{\"name\":\"a_total\",\"labels\":{\"code\":\"-1\"},\"value\":2.0}\n"
    );
}

#[test]
fn a_screen_needs_a_terminal() {
    let daemon = FakeDaemon::start();
    let output = run(&daemon, "watch --screen");
    assert_ended(&output, 1);
    assert!(
        stderr(&output).contains("--screen needs a terminal"),
        "{output:?}"
    );
    assert!(output.stdout.is_empty());
}

#[test]
fn a_token_names_its_user_app_and_end() {
    use base64::Engine as _;
    let daemon = FakeDaemon::start();
    let line = "token --app-key demo --user alice --secret-file - --ttl -3600";
    let output = run_with_input(&daemon, line, "secret\n");
    assert_ended(&output, 0);
    let token = stdout(&output);
    let payload = token.trim().split('.').nth(1).unwrap();
    let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(payload)
        .unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["app"]),
        (&"alice".into(), &"demo".into())
    );
    let claim = |name: &str| claims[name].as_i64().unwrap();
    assert_eq!(claim("exp") - claim("iat"), -3600);
    assert!(!token.contains("secret"));
}

#[test]
fn completions_are_made_for_a_shell_and_a_closed_pipe_ends_them_quietly() {
    let daemon = FakeDaemon::start();
    let script = stdout(&run(&daemon, "completions bash"));
    assert!(script.contains("_imctl"));

    let mut child = piped(&mut imctl(&daemon, "completions zsh"));
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_ended(&output, 0);
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn an_output_that_cannot_be_written_is_the_systems_fault_and_not_imds() {
    let daemon = FakeDaemon::start();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = imctl(&daemon, "completions bash").stdout(full).output().unwrap();
    assert_ended(&output, 1);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.starts_with("imctl: standard output cannot be written: "),
        "{said}"
    );
    assert!(!said.contains("90008"), "{said}");
}

/// imctl beside a program `imd` of the test's own.
fn doctor(daemon: &FakeDaemon, check_config: &str) -> Output {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (imctl, imd) = (directory.path().join("imctl"), directory.path().join("imd"));
    std::fs::hard_link(env!("CARGO_BIN_EXE_imctl"), &imctl).unwrap();
    std::fs::write(&imd, format!("#!/bin/sh\n{check_config}\n")).unwrap();
    let socket = daemon.socket();
    let modes = [
        (imd.as_path(), 0o755),
        (socket.as_path(), 0o600),
        (socket.parent().unwrap(), 0o700),
    ];
    for (path, mode) in modes.iter().filter(|(path, _)| path.exists()) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(*mode)).unwrap();
    }
    Command::new(imctl)
        .arg("--json")
        .arg("--socket")
        .arg(daemon.socket())
        .arg("doctor")
        .output()
        .unwrap()
}

/// Without those about the machine around.
fn verdicts(output: &Output) -> Vec<String> {
    let of_machine = |line: &String| {
        let check = line.split(' ').next().unwrap();
        ["daemons", "systemd", "linger"].contains(&check)
    };
    let line = |line: &str| {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| object[name].as_str().unwrap().to_owned();
        format!("{} {}", text("check"), text("verdict"))
    };
    let all = stdout(output);
    all.lines().map(line).filter(|line| !of_machine(line)).collect()
}

#[test]
fn doctor_looks_from_outside_and_then_asks_the_daemon() {
    let daemon = FakeDaemon::start();
    let finding = |check: &str, verdict: v1::Verdict| v1::Finding {
        check: check.to_owned(),
        verdict: verdict.into(),
        text: "as seen".to_owned(),
        mend: String::new(),
    };
    *daemon.script.findings.lock().unwrap() = vec![finding("database", v1::Verdict::Ok)];
    let output = doctor(&daemon, "exit 0");
    assert_ended(&output, 0);
    assert_eq!(
        verdicts(&output),
        [
            "socket.path OK",
            "socket.directory OK",
            "socket.file OK",
            "config.file OK",
            "daemon.version WARNING",
            "database OK"
        ]
    );

    daemon
        .script
        .findings
        .lock()
        .unwrap()
        .push(finding("broker.client_id", v1::Verdict::Insecure));
    let output = doctor(&daemon, "exit 0");
    assert_ended(&output, 1);
    assert!(verdicts(&output).contains(&"broker.client_id INSECURE".to_owned()));
}

#[test]
fn doctor_says_what_is_wrong_with_the_configuration_and_that_there_is_no_daemon() {
    let mut daemon = FakeDaemon::start();
    let output = doctor(&daemon, "echo 'line 3: unknown key' >&2; exit 1");
    assert_ended(&output, 1);
    assert!(verdicts(&output).contains(&"config.file FAILED".to_owned()));
    assert!(stdout(&output).contains("line 3: unknown key"));

    daemon.kill();
    let output = doctor(&daemon, "exit 0");
    assert_ended(&output, 3);
    assert_eq!(
        verdicts(&output).last().map(String::as_str),
        Some("daemon FAILED")
    );
    let found = r#"{"check":"disk","verdict":"WARNING","text":"little","mend":"Make room."}"#;
    let output = doctor(
        &daemon,
        &format!("if [ \"$1\" = examine ]; then echo '{found}'; fi"),
    );
    assert_ended(&output, 3);
    assert_eq!(
        verdicts(&output).last().map(String::as_str),
        Some("disk WARNING"),
        "without a daemon its program is asked"
    );
}
