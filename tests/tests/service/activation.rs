//! The socket that systemd holds, and what the daemon says to it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::Duration;

use imd_tests::daemon::config;
use imd_tests::supervisor::{Happening, Supervisor};
use imd_tests::wait::never;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use super::SERVER;

#[test]
fn the_first_connect_starts_the_daemon_and_is_answered() {
    let systemd = Supervisor::listening(&config(SERVER, ""));
    assert_eq!(systemd.starts(), 0);
    let version = systemd.rpc().version().unwrap();
    assert_eq!(u32::try_from(version.pid), Ok(systemd.await_ready()));
    assert_eq!(systemd.starts(), 1);
}

#[test]
fn it_is_ready_only_when_calls_are_answered() {
    let systemd = Supervisor::listening(&config(SERVER, ""));
    // A start that is held up: the remembered session cannot be read yet.
    let state = systemd.home().state_directory();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .unwrap();
    let session = state.join("session.json");
    mknodat(CWD, &session, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let socket = systemd.home().socket();
    let answer = thread::spawn(move || imd_tests::rpc::Rpc::dial(&socket).unwrap().version());
    never(Duration::from_millis(500), "a daemon that is ready", || {
        let journal = systemd.journal();
        let ready = journal.iter().any(|one| matches!(one, Happening::Said { .. }));
        (ready || answer.is_finished()).then_some(journal)
    });
    // Opened, it is read: as empty, which is no session.
    drop(fs::File::options().write(true).open(&session).unwrap());
    let pid = systemd.await_ready();
    assert_eq!(u32::try_from(answer.join().unwrap().unwrap().pid), Ok(pid));
    assert_eq!(systemd.words(pid).first().map(String::as_str), Some("READY=1"));
}

#[test]
fn a_stop_is_said_and_leaves_the_socket_to_the_next_connect() {
    let systemd = Supervisor::listening(&config(SERVER, ""));
    systemd.start();
    let first = systemd.await_ready();
    systemd.stop();
    let last_words = systemd.words(first);
    assert_eq!(last_words.last().map(String::as_str), Some("STOPPING=1"));
    assert_eq!(systemd.starts(), 1, "a stop is no failure");
    let second = systemd.rpc().version().unwrap().pid;
    assert_eq!(u32::try_from(second), Ok(systemd.await_successor(first)));
}

#[test]
fn nobody_else_speaks_for_the_daemon() {
    let systemd = Supervisor::listening(&config(SERVER, ""));
    systemd.start();
    let stranger = UnixDatagram::unbound().unwrap();
    let notify = systemd.home().path("notify");
    stranger.send_to(b"STOPPING=1\n", notify).unwrap();
    let word = "STOPPING=1".to_owned();
    let pid = std::process::id();
    let pretended = Happening::Pretended { pid, word };
    systemd.await_happening("the stranger's word", |one| *one == pretended);
}
