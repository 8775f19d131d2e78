//! Hangs that become deaths, which apps notice at once.

use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use imd_tests::daemon::config;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::supervisor::{Happening, Supervisor, Unit};
use imd_tests::wait::{SOON, eventually, when};
use rustix::process::Signal;

use super::SERVER;
use super::database::Lock;

/// Shorter than SQLite's wait for a lock, and long enough for a busy machine.
const PERIOD: Duration = Duration::from_secs(3);

const SIGABRT: i32 = 6;

fn watched(server: &str) -> Supervisor {
    Supervisor::with(&config(server, ""), Unit::shipped().watchdog(PERIOD), &[])
}

/// Waits until this process has been killed for its silence, and another one is ready.
fn await_replaced(systemd: &Supervisor, hung: u32) {
    systemd.await_happening("the missed watchdog", |one| {
        *one == Happening::WatchdogMissed { pid: hung }
    });
    systemd.await_successor(hung);
    assert_eq!(systemd.await_end(hung).signal(), Some(SIGABRT));
}

#[test]
fn a_daemon_that_lives_says_so_twice_in_the_period() {
    let systemd = watched(SERVER);
    systemd.start();
    let pid = systemd.await_ready();
    eventually(SOON, "four signs of life", || {
        let words = systemd.words(pid);
        let signs = words.iter().filter(|word| *word == "WATCHDOG=1").count();
        when(signs >= 4, words)
    });
    assert_eq!(systemd.starts(), 1);
}

#[test]
fn a_stopped_daemon_is_killed_and_replaced_and_its_apps_are_told_at_once() {
    let systemd = watched(SERVER);
    let app = systemd.rpc();
    let mut bound = app.bind("org.example.App").unwrap();
    let hung = systemd.await_ready();
    systemd.signal(Signal::STOP);
    // Waits for an answer that never comes, until the kill.
    app.next(&mut bound).unwrap_err();
    await_replaced(&systemd, hung);
    assert!(systemd.rpc().version().is_ok());
}

#[test]
fn a_store_that_hangs_stops_the_signs_of_life() {
    let broker = Mosquitto::start();
    let systemd = watched(&broker.url());
    let token = broker.token("alice");
    systemd
        .home()
        .connect(&token, &["--user-id", "alice"])
        .expect_code(0);
    let hung = systemd.await_ready();
    let lock = Lock::take(systemd.home());
    // The write waits for the lock, and what is behind it for the write.
    let sent = systemd.home().run_imctl(&["send", "--to", "bob", "a message"]);
    assert_ne!(sent.code, Some(0), "{sent:?}");
    await_replaced(&systemd, hung);
    drop(lock);
    let again = systemd.home().run_imctl(&["send", "--to", "bob", "another"]);
    again.expect_code(0);
}
