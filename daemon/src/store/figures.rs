//! What the store counts, and what it can say of itself at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The upper bounds of the commit durations' classes, in milliseconds; what took longer is in the last class.
pub const COMMIT_BOUNDS: [u64; 7] = [1, 2, 5, 20, 100, 500, 2000];

const CLASSES: usize = COMMIT_BOUNDS.len() + 1;

/// Counted since the start of the daemon.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) received: AtomicU64,
    pub(super) duplicate: AtomicU64,
    pub(super) enqueued: AtomicU64,
    pub(super) sent: AtomicU64,
    pub(super) failed: AtomicU64,
    /// By class of duration.
    commits: [AtomicU64; CLASSES],
    commit_micros: AtomicU64,
}

impl Counters {
    pub(super) fn count(counter: &AtomicU64, by: usize) {
        counter.fetch_add(u64::try_from(by).unwrap_or_default(), Ordering::Relaxed);
    }

    pub(super) fn committed(&self, took: Duration) {
        let class = COMMIT_BOUNDS
            .iter()
            .position(|bound| took <= Duration::from_millis(*bound))
            .unwrap_or(COMMIT_BOUNDS.len());
        if let Some(counter) = self.commits.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.commit_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> Counted {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counted {
            received: read(&self.received),
            duplicate: read(&self.duplicate),
            enqueued: read(&self.enqueued),
            sent: read(&self.sent),
            failed: read(&self.failed),
            commits: self.commits.each_ref().map(read),
            commit_time: Duration::from_micros(read(&self.commit_micros)),
        }
    }
}

/// Counted since the start of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Messages that were stored.
    pub received: u64,
    /// Messages that had been stored before.
    pub duplicate: u64,
    /// Messages the apps wanted sent, each once.
    pub enqueued: u64,
    /// Messages the server took. One that is published again counts again.
    pub sent: u64,
    /// Messages the server refused.
    pub failed: u64,
    /// Commits by duration: at most [`COMMIT_BOUNDS`], and longer.
    pub commits: [u64; CLASSES],
    /// All commits together.
    pub commit_time: Duration,
}

/// What the store says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub counted: Counted,
    /// Jobs that wait for the store's thread.
    pub queue: usize,
    /// Bytes that can still be written; `None` if the file system does not say.
    pub free_disk: Option<u64>,
    /// `None` while no account is open.
    pub account: Option<AccountFigures>,
}

/// The open account in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFigures {
    /// Bytes of the database and its log.
    pub bytes: u64,
    pub outbox_messages: u64,
    pub outbox_bytes: u64,
    /// Entries of the event log.
    pub events: u64,
    /// What came in and could not be read, kept aside.
    pub unreadable: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_class_it_fits() {
        let counters = Counters::default();
        for millis in [0, 1, 2, 3, 100, 2000, 2001] {
            counters.committed(Duration::from_millis(millis));
        }
        let counted = counters.read();
        assert_eq!(counted.commits, [2, 1, 1, 0, 1, 0, 1, 1]);
        assert_eq!(counted.commit_time, Duration::from_millis(4107));
    }
}
