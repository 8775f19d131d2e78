//! Lines on standard error, so that who watches a long run sees that it goes on.

use std::cell::Cell;
use std::time::Duration;

use imd::clock;
use imd_core::time::BootTime;

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(15);

/// A figure for the person who reads the run's output.
pub fn say(figure: &str) {
    eprintln!("{figure}");
}

/// How far something is.
#[derive(Debug)]
pub struct Progress {
    what: String,
    total: usize,
    start: BootTime,
    said: Cell<BootTime>,
}

impl Progress {
    /// Of `total` rounds, messages or whatever `what` says.
    #[must_use]
    pub fn of(total: usize, what: &str) -> Self {
        let start = clock::now().boot;
        Self {
            what: what.to_owned(),
            total,
            start,
            said: Cell::new(start),
        }
    }

    /// Says so if it is time, with what `detail` adds.
    pub fn at(&self, done: usize, detail: impl FnOnce() -> String) {
        let now = clock::now().boot;
        if now.since(self.said.get()) < INTERVAL {
            return;
        }
        self.said.set(now);
        eprintln!(
            "{} of {} {} after {} s; {}",
            done,
            self.total,
            self.what,
            now.since(self.start).as_secs(),
            detail()
        );
    }

    /// Says what came of it, and how long it took.
    pub fn done(&self, result: &str) {
        let taken = clock::now().boot.since(self.start);
        eprintln!(
            "{} {} in {:.1} s: {result}",
            self.total,
            self.what,
            taken.as_secs_f64()
        );
    }
}
