//! A daemon that cannot start, while apps wait in its socket.

use std::time::Duration;

use imd_proto::code::Code;
use imd_tests::daemon::config;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::process::Process;
use imd_tests::supervisor::{Supervisor, Unit};
use imd_tests::wait::{SOON, eventually, never};

use super::SERVER;

const MISTAKE: &str = "[server]\nurl = \"mqtt://127.0.0.1\"\n";

/// There was one process, and it ends in order when it is asked to: systemd must not take it for a failure.
#[track_caller]
fn assert_ends_after_one_start(systemd: &Supervisor) {
    let pid = systemd.await_ready();
    systemd.stop();
    assert_eq!(systemd.await_end(pid).code(), Some(0));
    assert_eq!(systemd.starts(), 1, "{:?}", systemd.journal());
}

#[test]
fn with_an_error_in_the_config_file_it_stays_and_every_call_says_which() {
    let mut systemd = Supervisor::listening(MISTAKE);
    systemd.expect_error("cannot start");
    let refused = systemd.rpc().bind("org.example.App").unwrap_err();
    assert_eq!(refused.code, Code::IMD_NO_SERVER);
    assert!(refused.text.contains("imd.toml:2: "), "{refused:?}");
    let connect = systemd.home().connect("a token", &["--user-id", "alice"]);
    connect.expect_code(1);
    assert!(connect.stderr.contains("imd.toml:2: "), "{connect:?}");
    // How it is can be asked of it all the same.
    let pid = systemd.await_ready();
    assert_eq!(u32::try_from(systemd.rpc().version().unwrap().pid), Ok(pid));
    let status = systemd.rpc().status().unwrap();
    assert_eq!(status.status_name, "UNCONNECTED");
    assert_eq!(Code(status.last_code), Code::IMD_NO_SERVER);
    assert!(status.reason.contains("imd.toml:2: "), "{status:?}");
    let words = systemd.words(pid);
    let told = words
        .iter()
        .any(|word| word.starts_with("STATUS=") && word.contains("imd.toml:2: "));
    assert!(told, "{words:?}");
    never(Duration::from_secs(2), "a second start", || {
        (systemd.starts() > 1).then(|| systemd.journal())
    });
    assert_ends_after_one_start(&systemd);
}

#[test]
fn when_the_config_file_is_mended_it_goes_on() {
    let broker = Mosquitto::start();
    let mut systemd = Supervisor::listening(MISTAKE);
    systemd.expect_error("cannot start");
    assert!(systemd.rpc().bind("org.example.App").is_err());
    let pid = systemd.await_ready();
    systemd.home().write_config(&config(&broker.url(), ""));
    eventually(SOON, "a binding", || {
        systemd.rpc().bind("org.example.App").map(drop)
    });
    let token = broker.token("alice");
    systemd
        .home()
        .connect(&token, &["--user-id", "alice"])
        .expect_code(0);
    assert_eq!(systemd.await_ready(), pid, "it is the same process");
    let words = systemd.words(pid);
    assert!(words.contains(&"STATUS=".to_owned()), "{words:?}");
    assert_ends_after_one_start(&systemd);
}

#[test]
fn a_daemon_that_systemd_does_not_know_is_named_and_waited_for() {
    let mut systemd = Supervisor::listening(&config(SERVER, ""));
    systemd.expect_error("cannot start");
    let home = systemd.home();
    let other_socket = home.path("run/imd/other.sock");
    let mut other = Process::start(home.imd().arg("--socket").arg(&other_socket));
    eventually(SOON, "the other daemon to answer", || {
        imd_tests::rpc::Rpc::dial(&other_socket).and_then(|rpc| rpc.version())
    });
    let refused = systemd.rpc().bind("org.example.App").unwrap_err();
    let pid = format!("(pid {})", other.pid());
    assert!(refused.text.contains(&pid), "{refused:?}");
    assert!(refused.text.contains("Stop it first"), "{refused:?}");
    other.terminate();
    eventually(SOON, "a binding", || {
        systemd.rpc().bind("org.example.App").map(drop)
    });
    assert_ends_after_one_start(&systemd);
}

#[test]
fn a_command_line_that_cannot_be_read_is_told_to_whoever_connects() {
    for (name, value) in [("IMD_INSTANCE", "a/b"), ("IMD_LOG", "verbose")] {
        let mut systemd = Supervisor::with(&config(SERVER, ""), Unit::shipped(), &[(name, value)]);
        systemd.expect_error("cannot start");
        let refused = systemd.rpc().bind("org.example.App").unwrap_err();
        assert_eq!(refused.code, Code::BIZ_ERROR_INVALID_PARAMETER);
        assert!(refused.text.contains(value), "{refused:?}");
        assert_ends_after_one_start(&systemd);
    }
}
