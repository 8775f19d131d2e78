//! alice and bob, each with a daemon and an app that keeps a journal.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use imd_client::{BlockingClient, Client};
use imd_tests::APP_KEY;
use imd_tests::daemon::Daemon;
use imd_tests::journal::Journal;
use imd_tests::process::Process;
use imd_tests::wait::{SOON, eventually, when};

/// A user: a daemon, and perhaps an app as a process of its own.
pub(crate) struct Side {
    pub(crate) daemon: Daemon,
    pub(crate) journal: Journal,
    app: Option<(Process, Vec<String>)>,
}

impl Side {
    pub(crate) fn new(daemon: Daemon) -> Self {
        let journal = Journal::at(daemon.home().path("journal"));
        let app = None;
        Self { daemon, journal, app }
    }

    pub(crate) fn connected(url: &str, user: &str, token: &str) -> Self {
        let daemon = Daemon::for_server(url);
        daemon.connect(user, token);
        Self::new(daemon)
    }

    /// One more app that reads, with a journal of its own that does not wait for the disk.
    pub(crate) fn skimmer(&self, name: &str) -> Reader {
        let journal = Journal::at(self.daemon.home().path(name));
        let socket = self.daemon.home().socket();
        let paths = [&socket, journal.path()].map(|path| path.display().to_string());
        let arguments: Vec<String> = ["skim".to_owned()].into_iter().chain(paths).collect();
        let process = start(&arguments);
        eventually(SOON, "the further reader's place", || {
            when(journal.length() > 0, ())
        });
        Reader { process, journal }
    }

    /// The daemon's memory.
    pub(crate) fn memory_kb(&mut self) -> u64 {
        let path = format!("/proc/{}/status", self.daemon.pid());
        let status = fs::read_to_string(path).unwrap();
        let resident = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        resident.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// The files of the accounts' databases.
    pub(crate) fn databases(&self) -> Vec<PathBuf> {
        let mut databases = Vec::new();
        find_databases(&self.daemon.home().data_directory(), &mut databases);
        databases
    }

    /// Moves the last tries of what is in the outbox back. The daemon must be down.
    /// Tells how many rows there were.
    pub(crate) fn pass_time(&self, milliseconds: i64) -> usize {
        let mut changed = 0;
        for database in self.databases() {
            let connection = rusqlite::Connection::open(database).unwrap();
            let change = "UPDATE outbox SET last_try = last_try - ?1";
            changed += connection.execute(change, [milliseconds]).unwrap_or(0);
        }
        changed
    }

    fn stop_file(&self) -> PathBuf {
        self.daemon.home().path("stop")
    }

    /// Starts an app that sends so many messages, or until [`Side::await_sent`].
    pub(crate) fn start_sender(&mut self, to: &str, count: usize) {
        let stop = self.stop_file().display().to_string();
        self.start_app("send", &[to.to_owned(), count.to_string(), stop]);
    }

    /// Starts an app that reads, and waits until it has its place in the log.
    pub(crate) fn start_reader(&mut self) {
        self.start_app("read", &[]);
        eventually(SOON, "the reader's place", || when(self.journal.length() > 0, ()));
    }

    fn start_app(&mut self, mode: &str, rest: &[String]) {
        let socket = self.daemon.home().socket();
        let paths = [&socket, self.journal.path()];
        let mut arguments = vec![mode.to_owned()];
        arguments.extend(paths.map(|path| path.display().to_string()));
        arguments.extend_from_slice(rest);
        self.app = Some((start(&arguments), arguments));
    }

    /// SIGKILL for the app, and a start.
    pub(crate) fn kill_app(&mut self) {
        let (process, arguments) = self.app.as_mut().unwrap();
        process.kill9();
        *process = start(arguments);
    }

    /// SIGKILL for the daemon, and a start.
    pub(crate) fn kill_daemon(&mut self) {
        self.daemon.kill9();
        self.daemon.start();
    }

    /// Lets the sender end in order, and gives all uids that were accepted.
    pub(crate) fn stop_sender(&mut self) -> Vec<String> {
        fs::write(self.stop_file(), "").unwrap();
        self.await_sent(SOON)
    }

    /// Waits for the end of the sender, and gives all uids that were accepted.
    pub(crate) fn await_sent(&mut self, deadline: Duration) -> Vec<String> {
        let (mut process, _) = self.app.take().unwrap();
        assert!(process.wait(deadline).success());
        self.journal.lines()
    }

    /// Waits until the journal has so many lines more than it had.
    pub(crate) fn await_growth(&self, lines: usize) {
        self.journal
            .await_growth(lines, SOON * 3, || self.daemon.status().reason);
    }

    /// An app of this user, within the test.
    pub(crate) fn client(&self) -> BlockingClient {
        let builder = Client::builder(APP_KEY).app_id("org.example.Test");
        let client = builder.socket(self.daemon.home().socket()).build().unwrap();
        client.blocking()
    }

    /// Waits until a dial was refused: the link is known to be gone, and no short life is counted.
    pub(crate) fn await_refused(&self) {
        self.daemon
            .await_status_that("SUSPEND after a refused dial", |status| {
                status.status_name == "SUSPEND" && status.reason.contains("refused")
            });
    }
}

/// One more app that reads.
pub(crate) struct Reader {
    pub(crate) process: Process,
    pub(crate) journal: Journal,
}

fn find_databases(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_databases(&path, found);
        } else if fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3")) {
            found.push(path);
        }
    }
}

fn start(arguments: &[String]) -> Process {
    Process::start(Command::new(env!("CARGO_BIN_EXE_journal")).args(arguments))
}
