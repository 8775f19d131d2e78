//! Deaths that no connect notices.

use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use imd_tests::count;
use imd_tests::daemon::config;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::supervisor::{Happening, Supervisor};
use imd_tests::wait::{SOON, eventually, when};
use rustix::process::Signal;

use super::SERVER;

#[test]
fn a_killed_daemon_is_replaced_and_no_connect_is_refused() {
    let systemd = Supervisor::listening(&config(SERVER, ""));
    systemd.start();
    let socket = systemd.home().socket();
    let connects = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let dialer = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                UnixStream::connect(&socket)?;
                connects.fetch_add(1, Ordering::Relaxed);
            }
            std::io::Result::Ok(())
        });
        for _ in 0..count(10, 300) {
            let killed = systemd.await_ready();
            let before = connects.load(Ordering::Relaxed);
            systemd.signal(Signal::KILL);
            // Asked of a socket where nobody is: the successor answers.
            let pid = systemd.rpc().version().unwrap().pid;
            assert_eq!(u32::try_from(pid), Ok(systemd.await_successor(killed)));
            eventually(SOON, "a connect meanwhile", || {
                when(connects.load(Ordering::Relaxed) > before, ())
            });
        }
        is_over.store(true, Ordering::Relaxed);
        dialer.join().unwrap().unwrap();
    });
    let journal = systemd.journal();
    let kills = journal.iter().filter(|one| match one {
        Happening::Ended { status, .. } => status.signal() == Some(9),
        Happening::Started { .. }
        | Happening::Said { .. }
        | Happening::Pretended { .. }
        | Happening::WatchdogMissed { .. }
        | Happening::Overdue { .. } => false,
    });
    assert_eq!(kills.count(), count(10, 300));
    assert_eq!(systemd.starts(), count(10, 300) + 1);
}

#[test]
fn the_connection_comes_back_with_no_app_present() {
    let broker = Mosquitto::start();
    let systemd = Supervisor::listening(&config(&broker.url(), ""));
    let token = broker.token("alice");
    systemd
        .home()
        .connect(&token, &["--user-id", "alice"])
        .expect_code(0);
    let killed = systemd.await_ready();
    systemd.signal(Signal::KILL);
    systemd.await_successor(killed);
    eventually(SOON, "the second login", || {
        let logins = broker.logins();
        when(logins.len() == 2, logins)
    });
}
