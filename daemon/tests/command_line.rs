//! The daemon's process, seen from outside: places, settings, locks, signals, exit codes.

#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;

/// A home directory of its own, with nothing in it.
struct Home {
    dir: tempfile::TempDir,
    /// Where daemons say that they are ready: their socket listens before their files are there.
    notifications: UnixDatagram,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notifications = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        notifications
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let home = Self { dir, notifications };
        fs::create_dir_all(home.path("config/imd")).unwrap();
        home
    }

    fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn config(&self, text: &str) -> &Self {
        fs::write(self.path("config/imd/imd.toml"), text).unwrap();
        self
    }

    /// imd with nothing in its environment but this home.
    fn imd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_imd"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.dir.path())
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn socket(&self) -> PathBuf {
        self.path("run/imd/imd.sock")
    }

    /// Starts a daemon, and waits until it is ready.
    fn start(&self, arguments: &[&str]) -> Daemon {
        let mut command = self.imd(arguments);
        command.env("NOTIFY_SOCKET", self.path("notify"));
        let daemon = Daemon(command.spawn().unwrap());
        while self.notification() != "READY=1" {}
        daemon
    }

    fn notification(&self) -> String {
        let mut buffer = [0; 256];
        let length = loop {
            match self.notifications.recv(&mut buffer) {
                // A receive with a time limit is not restarted when a child's end interrupts it.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                received => break received.unwrap(),
            }
        };
        String::from_utf8(buffer[..length].to_vec())
            .unwrap()
            .trim_end()
            .to_owned()
    }
}

/// A running daemon; killed when the test ends.
struct Daemon(Child);

impl Daemon {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// The exit code after an orderly end, and the log.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut status = None;
        eventually("the daemon's end", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let mut log = String::new();
        self.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        (status.unwrap().code(), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if condition() {
            return;
        }
        sleep(Duration::from_millis(10));
    }
    panic!("{what}: not within 10 s");
}

/// Runs what ends by itself.
#[track_caller]
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    assert_eq!(status.signal(), None);
    (
        status.code(),
        String::from_utf8(stdout).unwrap(),
        String::from_utf8(stderr).unwrap(),
    )
}

/// It ends with this code and says these words on standard error, and nothing on standard output.
#[track_caller]
fn refused(command: &mut Command, code: i32, words: &[&str]) {
    let (found, stdout, stderr) = run(command);
    assert_eq!(found, Some(code), "{stderr}");
    assert_eq!(stdout, "");
    for word in words {
        assert!(stderr.contains(word), "{word:?} in: {stderr}");
    }
}

#[test]
fn check_config_without_any_file_says_what_to_write_and_needs_no_runtime_directory() {
    let home = Home::new();
    let (code, stdout, _) = run(home.imd(&["--check-config"]).env_remove("XDG_RUNTIME_DIR"));
    assert_eq!(code, Some(0));
    let file = home.path("config/imd/imd.toml");
    assert!(
        stdout.contains(&format!("{} (there is none)", file.display())),
        "{stdout}"
    );
    assert!(stdout.contains("mqtt://localhost:1883"), "{stdout}");
    assert!(
        !home.path("data").exists() && !home.path("state").exists(),
        "nothing is made"
    );
}

#[test]
fn check_config_tells_the_servers_of_each_app_and_where_they_are_written() {
    let home = Home::new();
    home.config("[server]\nurls = [\"mqtt://localhost\"]\n");
    fs::create_dir_all(home.path("config/imd/apps.d")).unwrap();
    let app = home.path("config/imd/apps.d/chat.toml");
    fs::write(&app, "app_key = \"chat\"\nurls = [\"mqtt://localhost:1884\"]\n").unwrap();
    let (code, stdout, _) = run(&mut home.imd(&["--check-config"]));
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("any other app: mqtt://localhost:1883 (from "),
        "{stdout}"
    );
    let line = format!("App Key chat: mqtt://localhost:1884 (from {})", app.display());
    assert!(stdout.contains(&line), "{stdout}");
}

#[test]
fn an_error_in_the_config_file_ends_with_78_and_names_file_line_and_key() {
    let home = Home::new();
    home.config("[server]\nurl = \"mqtt://localhost\"\n");
    for arguments in [&["--check-config"][..], &[]] {
        refused(&mut home.imd(arguments), 78, &["config/imd/imd.toml:2:", "`url`"]);
    }
    home.config("[server]\nurls = [\"mqtt://im.example\"]\n");
    refused(
        &mut home.imd(&[]),
        78,
        &["imd.toml:2:", "mqtt://im.example", "plaintext = true"],
    );
    home.config("[server]\nurls = [\"mqtts://im.example\"]\nca_file = \"ca.pem\"\n");
    refused(
        &mut home.imd(&[]),
        78,
        &["imd.toml:3:", "ca_file", "absolute path"],
    );
    assert!(!home.path("data").exists(), "nothing is made");
}

#[test]
fn flags_beat_the_environment_and_the_environment_beats_the_usual_places() {
    let home = Home::new();
    home.config("usual = 1\n");
    fs::write(home.path("environment.toml"), "environment = 1\n").unwrap();
    fs::write(home.path("flag.toml"), "flag = 1\n").unwrap();
    fs::write(home.path("config/imd/work.toml"), "instance = 1\n").unwrap();
    let check = |arguments: &[&str], environment: &[(&str, PathBuf)], word: &str| {
        let mut command = home.imd(arguments);
        command.arg("--check-config").envs(environment.iter().cloned());
        refused(&mut command, 78, &[word]);
    };
    let flag = home.path("flag.toml");
    let environment = [("IMD_CONFIG", home.path("environment.toml"))];
    check(&[], &[], "`usual`");
    check(&[], &environment, "`environment`");
    check(&["--config", flag.to_str().unwrap()], &environment, "`flag`");
    check(&["--instance", "work"], &[], "`instance`");
    check(&[], &[("IMD_INSTANCE", "work".into())], "`instance`");
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    let home = Home::new();
    refused(&mut home.imd(&["--no-such-flag"]), 2, &["--no-such-flag"]);
    refused(&mut home.imd(&["--instance", "a/b"]), 2, &["a/b"]);
    refused(home.imd(&[]).env("IMD_INSTANCE", ".."), 2, &["\"..\""]);
    refused(
        home.imd(&[]).env("IMD_LOG", "verbose"),
        2,
        &["IMD_LOG", "verbose"],
    );
    refused(
        &mut home.imd(&["--config", "/no/such/file.toml"]),
        78,
        &["/no/such/file.toml"],
    );
    let (code, stdout, _) = run(&mut home.imd(&["--version"]));
    assert_eq!(
        (code, stdout),
        (Some(0), format!("imd {}\n", env!("CARGO_PKG_VERSION")))
    );
}

#[test]
fn without_a_usable_socket_place_it_does_not_start() {
    let home = Home::new();
    refused(
        home.imd(&[]).env_remove("XDG_RUNTIME_DIR"),
        1,
        &["XDG_RUNTIME_DIR is not set"],
    );
    let long = format!("/{}", "s".repeat(199));
    refused(&mut home.imd(&["--socket", &long]), 1, &["200 bytes", "107"]);
    fs::write(home.path("file.sock"), "precious").unwrap();
    let file = home.path("file.sock");
    refused(
        &mut home.imd(&["--socket", file.to_str().unwrap()]),
        1,
        &["not a socket"],
    );
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
    refused(&mut home.imd(&["--socket", "/tmp/imd-test.sock"]), 1, &["/tmp"]);
}

#[test]
fn a_data_directory_that_is_a_file_is_told_and_left_alone() {
    let home = Home::new();
    fs::write(home.path("file"), "precious").unwrap();
    let file = home.path("file");
    refused(
        home.imd(&[]).env("IMD_DATA_DIR", &file),
        1,
        &["data directory", "not a directory"],
    );
    assert_eq!(fs::read_to_string(file).unwrap(), "precious");
}

#[test]
fn a_second_daemon_is_told_the_pid_of_the_first_and_ends_with_1() {
    let home = Home::new();
    let first = home.start(&[]);
    let pid = format!("pid {}", first.0.id());
    refused(&mut home.imd(&[]), 1, &["data directory", &pid]);
    let other_socket = home.path("run/imd/other.sock");
    refused(
        home.imd(&[]).env("IMD_SOCKET", &other_socket),
        1,
        &["data directory", &pid],
    );
    let other_data = home.path("other");
    refused(
        home.imd(&[]).env("IMD_DATA_DIR", &other_data),
        1,
        &["the socket", &pid],
    );
    UnixStream::connect(home.socket()).expect("the first is unharmed");

    let _another_instance = home.start(&["--instance", "second"]);
    UnixStream::connect(home.path("run/imd/second.sock")).unwrap();
    assert!(home.path("data/imd/second/lock").exists());
}

#[test]
fn sigterm_and_sigint_end_it_in_order() {
    let home = Home::new();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let daemon = home.start(&[]);
        daemon.signal(signal);
        let (code, log) = daemon.ended();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("stopping"), "{log}");
        assert!(!home.socket().exists());
    }
}

#[test]
fn after_kill_9_the_next_one_takes_the_stale_socket_and_keeps_the_installation() {
    let home = Home::new();
    let mut daemon = home.start(&[]);
    let installation = fs::read(home.path("data/imd/imd/installation")).unwrap();
    daemon.0.kill().unwrap();
    daemon.0.wait().unwrap();
    assert!(home.socket().exists());
    let _next = home.start(&[]);
    assert_eq!(
        fs::read(home.path("data/imd/imd/installation")).unwrap(),
        installation
    );
}

#[test]
fn systemd_is_told_when_it_is_ready_alive_and_stopping() {
    let home = Home::new();
    let mut command = home.imd(&[]);
    command
        .env("NOTIFY_SOCKET", home.path("notify"))
        .env("WATCHDOG_USEC", "20000");
    let daemon = Daemon(command.spawn().unwrap());
    assert_eq!(home.notification(), "READY=1");
    for _ in 0..3 {
        assert_eq!(home.notification(), "WATCHDOG=1");
    }
    daemon.signal(rustix::process::Signal::TERM);
    let mut last = home.notification();
    while last == "WATCHDOG=1" {
        last = home.notification();
    }
    assert_eq!(last, "STOPPING=1");
    assert_eq!(daemon.ended().0, Some(0));
}

#[test]
fn the_log_has_no_colours_where_nobody_sees_them() {
    let home = Home::new();
    let daemon = home.start(&[]);
    daemon.signal(rustix::process::Signal::TERM);
    let (_, log) = daemon.ended();
    assert!(log.contains("INFO") && !log.contains('\x1b'), "{log}");
}

#[test]
fn the_small_broker_says_where_it_is_and_ends_with_a_signal() {
    let home = Home::new();
    let mut broker = Daemon(home.imd(&["broker"]).spawn().unwrap());
    let mut output = BufReader::new(broker.0.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    let hello: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = hello["url"].as_str().unwrap().strip_prefix("mqtt://").unwrap();
    std::net::TcpStream::connect(address).unwrap();
    assert_eq!(hello["app_key"], "testing");
    assert!(!hello["secret"].as_str().unwrap().is_empty());
    broker.signal(rustix::process::Signal::TERM);
    assert_eq!(broker.ended().0, Some(0));
    let left: Vec<_> = fs::read_dir(home.dir.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "it keeps nothing on disk: {left:?}");
}

#[test]
fn a_process_that_is_not_the_parent_is_none_to_die_with() {
    let home = Home::new();
    refused(&mut home.imd(&["--die-with-parent", "1"]), 1, &["not its parent"]);
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_daemon() {
    let home = Home::new();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = home.imd(&[]);
    command
        .env("NOTIFY_SOCKET", home.path("notify"))
        .env("IMD_LOG", "debug")
        .stderr(full);
    let mut daemon = Daemon(command.spawn().unwrap());
    while home.notification() != "READY=1" {}
    daemon.signal(rustix::process::Signal::TERM);
    let mut status = None;
    eventually("the daemon's end", || {
        status = daemon.0.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(0));
}
