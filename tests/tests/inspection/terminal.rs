//! `watch --screen` on a terminal of the test's own.

use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use imd_tests::daemon::Daemon;
use imd_tests::process::Process;
use imd_tests::scripted::Scripted;
use imd_tests::token;
use imd_tests::wait::{SOON, eventually, when};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

/// Its master side, and all that was written to it.
struct Terminal {
    master: Option<Arc<OwnedFd>>,
    slave: String,
    written: Arc<Mutex<String>>,
}

impl Terminal {
    fn open() -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let terminal = Self {
            master: Some(Arc::new(master)),
            slave,
            written: Arc::default(),
        };
        terminal.resize(100, 20);
        terminal
    }

    fn resize(&self, columns: u16, rows: u16) {
        let size = Winsize {
            ws_col: columns,
            ws_row: rows,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(self.master.as_ref().unwrap(), size).unwrap();
    }

    fn run(&self, command: &mut Command) -> Process {
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&self.slave)
            .unwrap();
        command.stdin(slave.try_clone().unwrap());
        command.stdout(slave.try_clone().unwrap()).stderr(slave);
        let process = Process::start(command);
        let mut reader = File::from(self.master.as_ref().unwrap().try_clone().unwrap());
        let written = Arc::clone(&self.written);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails when nobody has the other side open any more.
            while let Ok(count @ 1..) = reader.read(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
                written.lock().unwrap().push_str(&text);
            }
        });
        process
    }

    fn await_text(&self, text: &str) {
        eventually(SOON, text, || {
            let written = self.written.lock().unwrap().clone();
            when(written.contains(text), written)
        });
    }
}

#[test]
fn the_screen_shows_the_connection_and_gives_the_terminal_back_whatever_ends_it() {
    let broker = Scripted::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let terminal = Terminal::open();
        let mut screen = terminal.run(&mut daemon.home().imctl(&["watch", "--screen"]));
        terminal.await_text(ENTER);
        terminal.await_text("alice of demo");
        terminal.await_text("OUTBOX  0 wait");
        screen.signal(signal);
        assert!(screen.wait(SOON).success(), "{signal:?}");
        terminal.await_text(LEAVE);
    }
}

#[test]
fn the_screen_outlives_the_daemon() {
    let mut daemon = Daemon::for_server("mqtt://127.0.0.1:1");
    let terminal = Terminal::open();
    let mut screen = terminal.run(&mut daemon.home().imctl(&["watch", "--screen"]));
    terminal.await_text("UNCONNECTED (2)");
    daemon.kill9();
    terminal.await_text("DAEMON_LOST (-2)");
    terminal.written.lock().unwrap().clear();
    daemon.start();
    terminal.await_text("UNCONNECTED (2)");
    screen.signal(Signal::TERM);
    assert!(screen.wait(SOON).success());
    terminal.await_text(LEAVE);
}

#[test]
fn the_screen_says_that_the_daemon_hangs_and_when_it_goes_on() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    let terminal = Terminal::open();
    let mut screen = terminal.run(&mut daemon.home().imctl(&["watch", "--screen"]));
    terminal.await_text("OUTBOX  0 wait");
    daemon.process().signal(Signal::STOP);
    terminal.await_text("THE DAEMON DOES NOT ANSWER");
    terminal.written.lock().unwrap().clear();
    daemon.process().signal(Signal::CONT);
    terminal.await_text("OUTBOX  0 wait");
    screen.signal(Signal::TERM);
    assert!(screen.wait(SOON).success());
}

#[test]
fn the_timeline_is_drawn_on_a_terminal_as_wide_as_it_is() {
    let broker = Scripted::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &token::of("alice"));
    let terminal = Terminal::open();
    terminal.resize(60, 20);
    let mut command = daemon.home().imctl(&["timeline", "--hours", "1"]);
    assert!(terminal.run(command.env("NO_COLOR", "1")).wait(SOON).success());
    terminal.await_text("= connected");
    let written = terminal.written.lock().unwrap().clone();
    assert!(!written.contains('\u{1b}'), "NO_COLOR: {written:?}");
    let strip = written
        .lines()
        .find(|line| line.trim_end_matches('\r').len() == 60 && line.starts_with(' '));
    assert!(strip.is_some(), "{written}");
    assert!(fs::metadata(&terminal.slave).is_ok());
}
