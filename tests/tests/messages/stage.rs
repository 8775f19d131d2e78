//! alice and bob, each with a daemon and an app that keeps a journal.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use imd_client::{BlockingClient, Client};
use imd_tests::APP_KEY;
use imd_tests::daemon::Daemon;
use imd_tests::process::Process;
use imd_tests::wait::{SOON, eventually, when};

/// A user: a daemon, and perhaps an app as a process of its own.
pub(crate) struct Side {
    pub(crate) daemon: Daemon,
    pub(crate) app: Option<(Process, Vec<String>)>,
}

impl Side {
    pub(crate) fn connected(url: &str, user: &str, token: &str) -> Self {
        let daemon = Daemon::for_server(url);
        daemon.connect(user, token);
        Self { daemon, app: None }
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.daemon.home().path("journal")
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        Journal(self.journal()).lines()
    }

    /// The uids of the messages that the reader's journal has, in its order.
    pub(crate) fn received(&self) -> Vec<String> {
        Journal(self.journal()).received()
    }

    /// How many messages the reader's journal has, each counted once.
    pub(crate) fn distinct(&self) -> usize {
        self.received().into_iter().collect::<HashSet<_>>().len()
    }

    /// What the reader was told besides messages and its start.
    pub(crate) fn told(&self) -> Vec<String> {
        Journal(self.journal()).told()
    }

    /// Waits until all these were received, and checks: each once, in this order, and nothing else.
    #[track_caller]
    pub(crate) fn assert_receives(&self, accepted: &[String], deadline: Duration) {
        Journal(self.journal()).assert_receives(accepted, deadline);
    }

    /// One more app that reads, with a journal of its own that does not wait for the disk.
    pub(crate) fn skimmer(&self, name: &str) -> Reader {
        let journal = Journal(self.daemon.home().path(name));
        let socket = self.daemon.home().socket();
        let paths = [&socket, &journal.0].map(|path| path.display().to_string());
        let arguments: Vec<String> = ["skim".to_owned()].into_iter().chain(paths).collect();
        let process = start(&arguments);
        eventually(SOON, "the further reader's place", || {
            when(!journal.lines().is_empty(), ())
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

    /// Moves the last tries of what is in the outbox back. The daemon must be down.
    /// Tells how many rows there were.
    pub(crate) fn pass_time(&self, milliseconds: i64) -> usize {
        let mut databases = Vec::new();
        find_databases(&self.daemon.home().data_directory(), &mut databases);
        let mut changed = 0;
        for database in databases {
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
        eventually(SOON, "the reader's place", || when(!self.lines().is_empty(), ()));
    }

    fn start_app(&mut self, mode: &str, rest: &[String]) {
        let paths = [self.daemon.home().socket(), self.journal()];
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
        self.lines()
    }

    /// Waits until the journal has so many lines more than it had.
    pub(crate) fn await_growth(&self, lines: usize) {
        let before = self.lines().len();
        eventually(SOON * 3, "the journal to grow", || {
            let seen = self.lines().len();
            when(
                seen >= before + lines,
                (before, seen, self.daemon.status().reason),
            )
        });
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
    journal: Journal,
}

impl Reader {
    pub(crate) fn received(&self) -> Vec<String> {
        self.journal.received()
    }

    #[track_caller]
    pub(crate) fn assert_receives(&self, accepted: &[String], deadline: Duration) {
        self.journal.assert_receives(accepted, deadline);
    }
}

/// What an app wrote down.
struct Journal(PathBuf);

impl Journal {
    /// A line that is being written is none yet.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// The uids of the messages that the reader's journal has, in its order.
    fn received(&self) -> Vec<String> {
        let lines = self.lines();
        let words = lines.iter().map(|line| line.split(' ').skip(2));
        words
            .filter_map(|mut words| {
                (words.next() == Some("message")).then(|| words.next().unwrap().to_owned())
            })
            .collect()
    }

    /// What the reader was told besides messages and its start.
    fn told(&self) -> Vec<String> {
        let lines = self.lines();
        let rests = lines.iter().filter_map(|line| line.splitn(3, ' ').nth(2));
        rests
            .filter(|rest| !rest.starts_with("message ") && *rest != "started")
            .map(str::to_owned)
            .collect()
    }

    /// Waits until all these were received, and checks: each once, in this order, and nothing else.
    #[track_caller]
    fn assert_receives(&self, accepted: &[String], deadline: Duration) {
        eventually(deadline, "the last message", || {
            let received: HashSet<String> = self.received().into_iter().collect();
            let lost: Vec<_> = accepted.iter().filter(|uid| !received.contains(*uid)).collect();
            when(
                lost.is_empty(),
                (lost.len(), lost.first().map(|uid| (*uid).clone())),
            )
        });
        let received = self.received();
        let distinct: HashSet<&String> = received.iter().collect();
        assert_eq!(received.len() - distinct.len(), 0, "so many came twice");
        assert_eq!(
            received.len(),
            accepted.len(),
            "more came than the sender's journal has"
        );
        let misplaced = received.iter().zip(accepted).find(|(is, should)| is != should);
        assert_eq!(misplaced, None, "the order is not that of the sender");
        assert_eq!(self.told(), Vec::<String>::new());
    }
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

/// Numbers below `bound` that differ from run to run.
pub(crate) fn random(bound: usize) -> usize {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    usize::try_from(low % u64::try_from(bound).unwrap()).unwrap()
}
