//! Deaths that no connect notices.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use imd_tests::count;
use imd_tests::daemon::config;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::supervisor::Supervisor;
use imd_tests::wait::{SOON, eventually, when};
use rustix::process::Signal;

use super::SERVER;

const SIGKILL: i32 = 9;

/// What an HTTP/2 client says first: the preface, and a SETTINGS frame with nothing in it.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Connects again and again until it is over, and waits each time for the daemon's first byte, or for its death.
/// Gives the first connect that was refused.
fn dial_until(is_over: &AtomicBool, greeted: &AtomicUsize, socket: &Path) -> io::Result<()> {
    while !is_over.load(Ordering::Relaxed) {
        let mut stream = UnixStream::connect(socket)?;
        let answer = stream
            .write_all(GREETING)
            .and_then(|()| stream.read_exact(&mut [0]));
        if answer.is_ok() {
            greeted.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

#[test]
fn a_killed_daemon_is_replaced_and_no_connect_is_refused() {
    let kills = count(10, 300);
    let systemd = Supervisor::listening(&config(SERVER, ""));
    systemd.start();
    let socket = systemd.home().socket();
    let is_over = Arc::new(AtomicBool::new(false));
    let greeted = Arc::new(AtomicUsize::new(0));
    let dialer = {
        let (is_over, greeted) = (Arc::clone(&is_over), Arc::clone(&greeted));
        thread::spawn(move || dial_until(&is_over, &greeted, &socket))
    };
    for _ in 0..kills {
        let killed = systemd.await_ready();
        let before = greeted.load(Ordering::Relaxed);
        systemd.signal(Signal::KILL);
        assert_eq!(systemd.await_end(killed).signal(), Some(SIGKILL));
        // Asked of a socket where nobody is: the successor answers.
        let pid = systemd.rpc().version().unwrap().pid;
        assert_eq!(u32::try_from(pid), Ok(systemd.await_successor(killed)));
        eventually(SOON, "a greeting meanwhile", || {
            when(greeted.load(Ordering::Relaxed) > before, dialer.is_finished())
        });
    }
    is_over.store(true, Ordering::Relaxed);
    dialer.join().unwrap().unwrap();
    assert_eq!(systemd.starts(), kills + 1);
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
