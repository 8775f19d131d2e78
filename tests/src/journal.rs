//! What an app of the program `journal` wrote down, read by the test: each look reads only what has come since
//! the last one.

use std::cell::{Ref, RefCell};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::wait::{eventually, when};

/// The journal of one app.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    seen: RefCell<Seen>,
}

/// The whole lines so far.
#[derive(Debug, Default)]
struct Seen {
    bytes: u64,
    lines: Vec<String>,
    /// The uids of the messages, in the journal's order.
    received: Vec<String>,
    distinct: HashSet<String>,
    /// What the reader was told besides messages and its start.
    told: Vec<String>,
}

impl Journal {
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        let seen = RefCell::default();
        Self { path, seen }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.look().lines.clone()
    }

    #[must_use]
    pub fn length(&self) -> usize {
        self.look().lines.len()
    }

    /// The uids of the messages that a reader's journal has, in its order.
    #[must_use]
    pub fn received(&self) -> Vec<String> {
        self.look().received.clone()
    }

    /// How many messages a reader's journal has, each counted once.
    #[must_use]
    pub fn distinct(&self) -> usize {
        self.look().distinct.len()
    }

    /// What the reader was told besides messages and its start.
    #[must_use]
    pub fn told(&self) -> Vec<String> {
        self.look().told.clone()
    }

    /// Waits until all these were received, and checks: each once, in this order, and nothing else.
    ///
    /// # Panics
    /// When one of them is missing, or there is anything else.
    #[track_caller]
    pub fn assert_receives(&self, accepted: &[String], deadline: Duration) {
        eventually(deadline, "the last message", || {
            let seen = self.look();
            let mut lost = accepted.iter().filter(|uid| !seen.distinct.contains(*uid));
            match lost.next() {
                None => Ok(()),
                Some(first) => Err((first.clone(), 1 + lost.count(), seen.told.clone())),
            }
        });
        let seen = self.look();
        let twice = seen.received.len() - seen.distinct.len();
        assert_eq!(twice, 0, "so many came twice");
        assert_eq!(
            seen.received.len(),
            accepted.len(),
            "more came than the sender's journal has"
        );
        let misplaced = seen
            .received
            .iter()
            .zip(accepted)
            .find(|(is, should)| is != should);
        assert_eq!(misplaced, None, "the order is not that of the sender");
        assert_eq!(seen.told, Vec::<String>::new());
    }

    /// Waits until it has so many lines more than it has.
    pub fn await_growth(&self, lines: usize, deadline: Duration, context: impl Fn() -> String) {
        let before = self.length();
        eventually(deadline, "the journal to grow", || {
            let length = self.length();
            when(length >= before + lines, (before, length)).map_err(|seen| (seen, context()))
        });
    }

    /// A line that is being written is none yet.
    fn look(&self) -> Ref<'_, Seen> {
        self.seen.borrow_mut().read_on(&self.path);
        self.seen.borrow()
    }
}

impl Seen {
    fn read_on(&mut self, path: &Path) {
        // There is no file before its app's first start.
        let Ok(mut file) = File::open(path) else { return };
        file.seek(SeekFrom::Start(self.bytes))
            .expect("a journal can be read from any place");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("a journal can be read");
        let whole = bytes
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        self.bytes += u64::try_from(whole).expect("a length fits");
        let lines = std::str::from_utf8(&bytes[..whole]).expect("a journal is text");
        for line in lines.lines() {
            self.note(line);
        }
    }

    fn note(&mut self, line: &str) {
        self.lines.push(line.to_owned());
        let Some(rest) = line.splitn(3, ' ').nth(2) else {
            return;
        };
        if let Some(message) = rest.strip_prefix("message ") {
            let uid = message.split(' ').next().unwrap_or_default();
            self.received.push(uid.to_owned());
            self.distinct.insert(uid.to_owned());
        } else if rest != "started" {
            self.told.push(rest.to_owned());
        }
    }
}
