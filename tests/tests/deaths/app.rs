//! An app, in Rust or in Python: one process for the whole test, and what it wrote down.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;
use std::time::Duration;

use imd_client::Code;
use imd_tests::daemon::Daemon;
use imd_tests::journal::Journal;
use imd_tests::process::Process;
use imd_tests::sources::root;
use imd_tests::wait::{SOON, eventually, eventually_or_tell, when};

use super::daemon::Death;

/// What the library says of a unary call.
const DEADLINE: Duration = Duration::from_secs(2);

/// What the library says of a message that waits for a daemon; then it has the deadline of a call.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(2);

/// How long it may take to fetch what the Python package needs.
const INSTALLATION: Duration = Duration::from_secs(240);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Python,
}

pub(crate) struct App {
    pub(crate) name: String,
    process: Process,
    /// The events it read.
    pub(crate) events: Journal,
    /// The losses and the bindings it was told of.
    told: Journal,
    calls: PathBuf,
    /// The uids of the messages it sent.
    sent: Journal,
}

impl App {
    /// Starts an app that sends to this user, if to any, from the file `go` in this directory on until there is
    /// `stop`, and waits until it has its place in the log.
    pub(crate) fn start(
        (language, name, to): (Language, &str, Option<&str>),
        daemon: &Daemon,
        directory: &Path,
    ) -> Self {
        let home = daemon.home();
        let path = |ending: &str| home.path(&format!("{name}{ending}"));
        let mut command = match language {
            Language::Rust => Command::new(env!("CARGO_BIN_EXE_journal")),
            Language::Python => python(),
        };
        command.arg("live").arg(home.socket()).arg(path(""));
        command.arg(directory).args(to);
        let app = Self {
            name: name.to_owned(),
            process: Process::start(&mut command),
            events: Journal::at(path("")),
            told: Journal::at(path(".told")),
            calls: path(".calls"),
            sent: Journal::at(path(".sent")),
        };
        eventually(SOON, &format!("the place of {name} in the log"), || {
            when(app.events.length() > 0, ())
        });
        app
    }

    /// Whether it has been told of its binding to the daemon after so many deaths: a loss and a binding for each,
    /// after the first binding.
    pub(crate) fn is_bound_after(&self, deaths: usize) -> Result<(), String> {
        let length = self.told.length();
        when(
            length > 2 * deaths,
            format!("{} was told {length} things", self.name),
        )
    }

    /// Checks that its process can go on: what nobody in this test has ended or stopped is no fault of the library.
    #[track_caller]
    pub(crate) fn assert_runs(&self) {
        self.process.assert_runs(&self.name);
    }

    /// What it was told and did last, and what its threads are doing.
    pub(crate) fn portrait(&self) -> String {
        let calls = fs::read_to_string(&self.calls).unwrap_or_default();
        format!(
            "\n{}: events {:?}, told {:?}, calls {:?}\n{}",
            self.name,
            self.events.lines().last(),
            self.told.lines().last(),
            calls.lines().last(),
            self.process.portrait()
        )
    }

    /// The uids of the messages it sent, in order.
    pub(crate) fn sent(&self) -> Vec<String> {
        self.sent.lines()
    }

    pub(crate) fn losses(&self) -> usize {
        self.told
            .lines()
            .iter()
            .filter(|line| line.starts_with("lost"))
            .count()
    }

    /// Waits until every call that it has begun has ended.
    pub(crate) fn await_end_of_calls(&self) {
        eventually_or_tell(
            PATIENCE + SOON,
            &format!("the end of {}'s calls", self.name),
            || {
                self.assert_runs();
                let calls = fs::read_to_string(&self.calls).unwrap();
                let last = calls.lines().last().unwrap_or_default();
                when(last == "done", last.to_owned())
            },
            || self.portrait(),
        );
    }

    /// Checks that it was told of exactly these deaths, each as what it was, and of the daemon after each.
    /// Gives how long each binding took, from the moment when the new daemon listened.
    #[track_caller]
    pub(crate) fn assert_told(&self, first_run: &str, deaths: &[Death]) -> Vec<Duration> {
        let lines = self.told.lines();
        let (told, times): (Vec<_>, Vec<_>) = lines.iter().map(|line| split_time(line)).unzip();
        let mut wanted = vec![format!("bound {first_run}")];
        for death in deaths {
            wanted.push(format!("lost {}", death.how.as_told()));
            wanted.push(format!("bound {}", death.next_run));
        }
        let wrong = told.iter().zip(&wanted).find(|(told, wanted)| told != wanted);
        assert_eq!(wrong, None, "what {} was told", self.name);
        assert_eq!(told.len(), wanted.len(), "what {} was told", self.name);
        let bound = times.iter().step_by(2).skip(1);
        bound
            .zip(deaths)
            .map(|(bound, death)| bound.saturating_sub(death.listened))
            .collect()
    }

    /// Checks that every call had one of these outcomes, within its deadline, and that this app made some.
    #[track_caller]
    pub(crate) fn assert_calls(&self, allowed: &[&str], daemon_was_lost: bool) -> Calls {
        let mut calls = Calls::default();
        let text = fs::read_to_string(&self.calls).unwrap();
        for line in text.lines().filter(|line| *line != "done") {
            let mut words = line.splitn(3, ' ');
            let (call, taken, outcome) = (
                words.next().unwrap(),
                Duration::from_micros(words.next().unwrap().parse().unwrap()),
                words.next().unwrap(),
            );
            let deadline = match call {
                "SendMessage" if daemon_was_lost => PATIENCE + DEADLINE,
                _ => DEADLINE,
            };
            assert!(taken <= deadline + SLACK, "{}: {line}", self.name);
            assert!(allowed.contains(&outcome), "{}: {line}", self.name);
            *calls.outcomes.entry(outcome.to_owned()).or_default() += 1;
            calls.longest = calls.longest.max(taken);
        }
        assert!(calls.of(ANSWER) > 0, "{} has no answer", self.name);
        calls
    }
}

pub(crate) const ANSWER: &str = "answer";

/// While there is no daemon.
pub(crate) const NEVER_SENT: &str = "-2 no";

/// In flight when the daemon died.
pub(crate) const LOST: &str = "-2 unknown";

/// The daemon is there and silent.
pub(crate) const SILENT: &str = "90001 unknown";

/// A restarted daemon has not opened the account yet.
pub(crate) const NOT_OPEN: &str = "34301 yes";

/// What came of an app's calls.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    outcomes: BTreeMap<String, usize>,
    pub(crate) longest: Duration,
}

impl Calls {
    pub(crate) fn of(&self, outcome: &str) -> usize {
        self.outcomes.get(outcome).copied().unwrap_or_default()
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (outcome, count) in &other.outcomes {
            *self.outcomes.entry(outcome.clone()).or_default() += count;
        }
        self.longest = self.longest.max(other.longest);
    }
}

impl std::fmt::Display for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (outcome, count) in &self.outcomes {
            write!(f, "{count} × {outcome}, ")?;
        }
        write!(f, "the longest {:.0?}", self.longest)
    }
}

/// `lost TIME HOW` and `bound TIME RUN` without the time, and the time since the machine was started.
fn split_time(line: &str) -> (String, Duration) {
    let (what, rest) = line.split_once(' ').unwrap();
    let (time, rest) = rest.split_once(' ').unwrap();
    let nanoseconds = time.parse().unwrap();
    (format!("{what} {rest}"), Duration::from_nanos(nanoseconds))
}

/// The app in Python, with the package, which is made ready if it is not.
fn python() -> Command {
    static READY: Once = Once::new();
    let script = root().join("client-lib/python/tests/python");
    READY.call_once(|| {
        let mut process = Process::start(Command::new(&script).args(["-c", "import imd_client"]));
        let status = process.wait(INSTALLATION);
        assert!(
            status.success(),
            "no Python with the package: run {}, which says why",
            script.display()
        );
    });
    let mut command = Command::new(script);
    command.arg(root().join("client-lib/python/tests/journal_app.py"));
    command
}

#[test]
fn the_outcomes_are_those_of_the_table() {
    for (outcome, code) in [
        (NEVER_SENT, Code::IPC_DISCONNECT),
        (LOST, Code::IPC_DISCONNECT),
        (SILENT, Code::IMD_DEADLINE_EXCEEDED),
        (NOT_OPEN, Code::RC_DB_NOT_INIT),
    ] {
        assert_eq!(outcome.split(' ').next(), Some(code.0.to_string().as_str()));
    }
}
