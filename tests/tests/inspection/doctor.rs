use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use imd::clock;
use imd_tests::daemon::{Daemon, config};
use imd_tests::home::Home;
use imd_tests::port::free_port;
use imd_tests::process::{Finished, Process};
use imd_tests::rpc::Rpc;
use imd_tests::scripted::Scripted;
use imd_tests::token;
use imd_tests::wait::{SOON, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// One check's line.
#[track_caller]
fn found(finished: &Finished, check: &str) -> Value {
    let lines = finished.stdout.lines();
    let objects = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut of_check = objects.filter(|object| object["check"] == check);
    of_check
        .next()
        .unwrap_or_else(|| panic!("nothing about {check}: {finished:?}"))
}

/// What is wrong is told with what to do about it.
#[track_caller]
fn assert_found(finished: &Finished, check: &str, verdict: &str, text: &str, mend: &str) {
    let object = found(finished, check);
    let is = |field: &str| object[field].as_str().unwrap().to_owned();
    assert_eq!(is("verdict"), verdict, "{object}");
    assert!(is("text").contains(text), "{object}");
    assert!(is("mend").contains(mend), "{object}");
}

fn doctor(home: &Home) -> Finished {
    home.run_imctl(&["--json", "doctor"])
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_healthy_daemon_has_nothing_to_mend() {
    let broker = Scripted::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    let finished = doctor(daemon.home());
    finished.expect_code(0);
    for check in [
        "socket.path",
        "socket.directory",
        "socket.file",
        "config.file",
        "config.servers",
        "daemon.version",
        "status",
        "disk",
        "database",
        "kept_aside",
        "token",
        "clock",
        "server",
    ] {
        let object = found(&finished, check);
        assert_eq!(
            (&object["verdict"], &object["mend"]),
            (&json!("OK"), &json!("")),
            "{object}"
        );
    }
    let words = daemon.imctl(&["doctor"]);
    assert!(words.stdout.contains("\nOK        database"), "{}", words.stdout);
}

#[test]
fn no_daemon_is_found_and_what_it_left_is_looked_at() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    daemon.terminate();
    let finished = doctor(daemon.home());
    finished.expect_code(3);
    assert_found(
        &finished,
        "daemon",
        "FAILED",
        "no daemon",
        "systemctl --user start imd",
    );
    for check in [
        "data.directory",
        "data.holder",
        "session.file",
        "database",
        "token",
        "clock",
        "server",
    ] {
        assert_eq!(found(&finished, check)["verdict"], "OK", "{check}");
    }
}

#[test]
fn a_home_in_which_nothing_ever_ran_is_no_riddle() {
    let home = Home::new();
    let finished = doctor(&home);
    finished.expect_code(3);
    assert_found(&finished, "daemon", "FAILED", "is not there", "imd");
    assert_found(&finished, "session.file", "SKIPPED", "nobody has signed in", "");
}

#[test]
fn a_stale_socket_is_told_from_a_missing_one() {
    let mut daemon = Daemon::for_server("mqtt://127.0.0.1:1");
    daemon.kill9();
    let finished = doctor(daemon.home());
    finished.expect_code(3);
    assert_found(
        &finished,
        "daemon",
        "FAILED",
        "stale",
        "removes the stale socket itself",
    );
}

#[test]
fn a_hung_daemon_is_told_from_a_dead_one_and_a_stopped_one_can_be_woken() {
    let mut daemon = Daemon::for_server("mqtt://127.0.0.1:1");
    let pid = daemon.pid();
    daemon.process().signal(Signal::STOP);
    let finished = doctor(daemon.home());
    finished.expect_code(4);
    assert_found(
        &finished,
        "daemon",
        "FAILED",
        "SIGSTOP",
        &format!("kill -CONT {pid}"),
    );
    // The mend mends.
    daemon.process().signal(Signal::CONT);
    assert_eq!(found(&doctor(daemon.home()), "daemon.version")["verdict"], "OK");
}

#[test]
fn a_process_that_takes_connections_and_never_answers_is_found() {
    let home = Home::new();
    let socket = home.socket();
    fs::create_dir(socket.parent().unwrap()).unwrap();
    mode(socket.parent().unwrap(), 0o700);
    let _silent = UnixListener::bind(&socket).unwrap();
    mode(&socket, 0o600);
    let finished = doctor(&home);
    finished.expect_code(4);
    assert_found(&finished, "daemon", "FAILED", "nothing answers", "kill -9");
}

#[test]
fn wrong_modes_are_found() {
    let daemon = Daemon::for_server("mqtt://127.0.0.1:1");
    let socket = daemon.home().socket();
    let directory = socket.parent().unwrap().to_owned();
    mode(&socket, 0o666);
    mode(&directory, 0o755);
    let finished = doctor(daemon.home());
    finished.expect_code(1);
    assert_found(
        &finished,
        "socket.file",
        "FAILED",
        "0666",
        "start the daemon again",
    );
    assert_found(
        &finished,
        "socket.directory",
        "FAILED",
        "0755",
        "start the daemon again",
    );
}

#[test]
fn wrong_modes_of_the_daemon_s_files_are_found() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    daemon.terminate();
    let session = daemon.home().state_directory().join("session.json");
    mode(&session, 0o644);
    mode(&daemon.home().data_directory(), 0o777);
    let finished = doctor(daemon.home());
    assert_found(&finished, "session.file", "FAILED", "0644", "chmod 0600");
    assert_found(&finished, "data.directory", "FAILED", "0777", "chmod 0700");
    // It only looks.
    assert_eq!(
        fs::metadata(&session).unwrap().permissions().mode() & 0o777,
        0o644
    );
}

#[test]
fn an_unreachable_server_is_found_with_the_daemon_and_without() {
    let port = free_port();
    let mut daemon = Daemon::for_server(&format!("mqtt://127.0.0.1:{port}"));
    let finished = doctor(daemon.home());
    finished.expect_code(1);
    assert_found(
        &finished,
        "server",
        "FAILED",
        "nothing listens",
        "whether the server runs",
    );
    daemon.terminate();
    let finished = doctor(daemon.home());
    assert_found(
        &finished,
        "server",
        "FAILED",
        "nothing listens",
        "whether the server runs",
    );
}

#[test]
fn an_error_in_the_configuration_is_found_with_its_line() {
    let home = Home::new();
    home.write_config("[server]\nurls = [\"mqtt://127.0.0.1:1\"]\nurl = 3\n");
    let finished = doctor(&home);
    assert_found(&finished, "config.file", "FAILED", "url", "imd --check-config");
}

#[test]
fn a_refused_token_is_found() {
    let broker = imd_tests::mosquitto::Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon
        .home()
        .connect("wrong", &["--user-id", "alice"])
        .expect_code(1);
    let finished = doctor(daemon.home());
    finished.expect_code(1);
    assert_found(&finished, "status", "FAILED", "TOKEN_INCORRECT", "token");
    assert_found(&finished, "token", "WARNING", "refused by the server", "new one");
}

/// A daemon that has run with this token.
fn left_with(token: &str) -> Daemon {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", token);
    daemon.terminate();
    daemon
}

#[test]
fn an_expired_token_and_a_clock_that_is_behind_are_found() {
    let now = clock::now().unix.as_millis() / 1000;
    let daemon = left_with(&token::until("alice", -3600));
    assert_found(&doctor(daemon.home()), "token", "FAILED", "expired", "new token");

    let claims = json!({ "sub": "alice", "app": imd_tests::APP_KEY, "iat": now + 7200 });
    let daemon = left_with(&token::jwt(&claims));
    let finished = doctor(daemon.home());
    assert_found(&finished, "clock", "FAILED", "behind", "timedatectl");
}

#[test]
fn a_session_written_in_the_future_tells_of_a_wrong_clock() {
    let daemon = left_with(&token::of("alice"));
    let session = daemon.home().state_directory().join("session.json");
    let file = fs::File::options().write(true).open(session).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    file.set_modified(written + std::time::Duration::from_secs(7200))
        .unwrap();
    assert_found(
        &doctor(daemon.home()),
        "clock",
        "WARNING",
        "remembered session",
        "timedatectl",
    );
}

#[test]
fn a_damaged_database_is_found_and_then_the_one_that_was_kept_aside() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    daemon.imctl(&["send", "--to", "bob", "hello"]).expect_code(0);
    daemon.terminate();
    let accounts = daemon.home().data_directory().join("accounts");
    let account = fs::read_dir(accounts).unwrap().next().unwrap().unwrap().path();
    let database = account.join("account.db");
    let mut bytes = fs::read(&database).unwrap();
    let length = bytes.len();
    bytes[100..length].fill(0x5A);
    fs::write(&database, bytes).unwrap();
    let finished = doctor(daemon.home());
    assert_found(
        &finished,
        "database",
        "FAILED",
        "is damaged",
        "keeps the file aside",
    );

    daemon.start();
    daemon.await_status("CONNECTED");
    let finished = doctor(daemon.home());
    assert_eq!(found(&finished, "database")["verdict"], "OK");
    assert_found(
        &finished,
        "kept_aside",
        "WARNING",
        ".damaged",
        "remove these files",
    );
}

#[test]
fn a_second_daemon_for_the_same_instance_is_found() {
    let daemon = Daemon::for_server("mqtt://127.0.0.1:1");
    let other = Home::new();
    other.write_config(&config("mqtt://127.0.0.1:1", ""));
    let second = Process::start(&mut other.imd());
    let pid = second.pid().to_string();
    // A process has its program's name a moment after it was made.
    let finished = eventually(SOON, "the doctor to see it", || {
        let finished = doctor(daemon.home());
        let object = found(&finished, "daemons");
        let text = object["text"].as_str().unwrap().to_owned();
        if text.split(' ').any(|word| word == pid) {
            Ok(finished)
        } else {
            Err(text)
        }
    });
    assert_found(&finished, "daemons", "WARNING", "with other places", &pid);
}

#[test]
fn a_daemon_at_another_socket_is_found_by_what_it_holds() {
    let home = Home::new();
    home.write_config(&config("mqtt://127.0.0.1:1", ""));
    let other = home.path("run/imd/other.sock");
    let _daemon = Process::start(home.imd().arg("--socket").arg(&other));
    eventually(SOON, "the daemon to answer", || {
        Rpc::dial(&other).and_then(|rpc| rpc.version())
    });
    let finished = doctor(&home);
    finished.expect_code(3);
    assert_found(
        &finished,
        "data.holder",
        "WARNING",
        "is not to be reached",
        "kill",
    );
}
