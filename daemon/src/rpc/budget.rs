//! What the apps may have of something that is bounded: so much in all, and so much for one process. A client
//! that asks and does not read must cost neither memory without end nor the other apps' share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imd_proto::code::Code;
use imd_proto::status::to_status;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tonic::Status;

use super::accept::Peer;
use crate::hub::MAX_BOUND;

/// How much, in whatever is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) in_all: usize,
    pub(super) of_process: usize,
}

/// Requests that wait for their answer. A stream counts until it has begun.
pub(super) const REQUESTS: Share = Share {
    in_all: 1024,
    of_process: 384,
};

/// What has come of requests that are not answered, in bytes.
pub(super) const REQUEST_BYTES: Share = Share {
    in_all: 64 * 1024 * 1024,
    of_process: 16 * 1024 * 1024,
};

/// Calls whose answer has not been sent to its end, streams among them.
pub(super) const OPEN: Share = Share {
    in_all: 2048,
    of_process: 512,
};

/// Answers that have not been read yet, in bytes. A page is 2 MiB at most.
pub(super) const UNREAD: Share = Share {
    in_all: 64 * 1024 * 1024,
    of_process: 8 * 1024 * 1024,
};

/// Apps that are bound. An app has one client as a rule, and one binding for it.
pub(super) const BINDINGS: Share = Share {
    in_all: MAX_BOUND,
    of_process: 64,
};

/// Subscriptions. One whose reader has stopped holds one page: 64 KiB, or one message that is longer.
pub(super) const SUBSCRIPTIONS: Share = Share {
    in_all: 512,
    of_process: 128,
};

/// Counts what is held.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    what: &'static str,
    share: Share,
    used: Arc<Mutex<Used>>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Used {
    in_all: usize,
    by_process: BTreeMap<i32, usize>,
}

/// A part of the budget, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    pid: i32,
    amount: usize,
}

impl Budget {
    /// `what` is counted, in the words of the refusal.
    pub(super) fn new(what: &'static str, share: Share) -> Self {
        Self {
            what,
            share,
            used: Arc::default(),
            freed: Arc::default(),
        }
    }

    /// One that has nothing yet gets what it asks for, however much that is.
    ///
    /// # Errors
    /// The budget is used up: 90004.
    pub(super) fn take(&self, peer: &Peer, amount: usize) -> Result<Held, Status> {
        let mut held = self.count(peer.pid, 0);
        held.grow(amount)?;
        Ok(held)
    }

    /// Whether there is anything left for this process.
    ///
    /// # Errors
    /// The budget is used up: 90004.
    pub(super) fn room(&self, peer: &Peer) -> Result<(), Status> {
        self.fits(&self.lock(), peer.pid, 1)
    }

    /// Whether this process has a good part of its share already: so much that what could wait should.
    pub(super) fn is_pressed(&self, peer: &Peer) -> bool {
        let used = self.lock();
        let of_process = used.by_process.get(&peer.pid).copied().unwrap_or_default();
        of_process >= self.much()
    }

    const fn much(&self) -> usize {
        self.share.of_process / 8
    }

    /// Ends when a process that is pressed has given something back, after this was called.
    pub(super) fn freed(&self) -> Notified<'_> {
        self.freed.notified()
    }

    /// The refusal of what would be too much for this process.
    pub(super) fn refusal(&self, peer: &Peer) -> Status {
        self.too_many(&format!("process {}", peer.pid))
    }

    /// Counts what is there whether it fits or not.
    pub(super) fn count(&self, pid: i32, amount: usize) -> Held {
        self.lock().add(pid, amount);
        Held {
            budget: self.clone(),
            pid,
            amount,
        }
    }

    fn fits(&self, used: &Used, pid: i32, amount: usize) -> Result<(), Status> {
        let of_process = used.by_process.get(&pid).copied().unwrap_or_default();
        let fits = |used: usize, most: usize| used.checked_add(amount).is_some_and(|sum| sum <= most);
        let whose = if of_process > 0 && !fits(of_process, self.share.of_process) {
            format!("process {pid}")
        } else if used.in_all > 0 && !fits(used.in_all, self.share.in_all) {
            "all apps together".to_owned()
        } else {
            return Ok(());
        };
        Err(self.too_many(&whose))
    }

    fn too_many(&self, whose: &str) -> Status {
        let text = format!(
            "{whose} has too many {}: read them, or end them, first",
            self.what
        );
        to_status(Code::IMD_TOO_MANY, text)
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Used {
    fn add(&mut self, pid: i32, amount: usize) {
        if amount > 0 {
            self.in_all = self.in_all.saturating_add(amount);
            let of_process = self.by_process.entry(pid).or_default();
            *of_process = of_process.saturating_add(amount);
        }
    }
}

impl Held {
    /// Takes more of the same.
    ///
    /// # Errors
    /// The budget is used up: 90004. What was held before stays held.
    pub(super) fn grow(&mut self, amount: usize) -> Result<(), Status> {
        let mut used = self.budget.lock();
        self.budget.fits(&used, self.pid, amount)?;
        used.add(self.pid, amount);
        drop(used);
        self.amount = self.amount.saturating_add(amount);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        used.in_all = used.in_all.saturating_sub(self.amount);
        let mut was_pressed = false;
        if let Some(of_process) = used.by_process.get_mut(&self.pid) {
            was_pressed = *of_process >= self.budget.much();
            *of_process = of_process.saturating_sub(self.amount);
            if *of_process == 0 {
                used.by_process.remove(&self.pid);
            }
        }
        drop(used);
        // Nobody waits for the others.
        if was_pressed {
            self.budget.freed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use imd_proto::status::from_status;

    use super::*;

    const SHARE: Share = Share {
        in_all: 30,
        of_process: 20,
    };

    fn peer(pid: i32) -> Peer {
        Peer::for_test(pid)
    }

    #[track_caller]
    fn refused(taken: Result<Held, Status>) -> String {
        let failure = from_status(&taken.unwrap_err());
        assert_eq!(failure.code, Code::IMD_TOO_MANY);
        failure.text
    }

    #[test]
    fn one_process_cannot_take_all_and_what_is_dropped_is_free_again() {
        let budget = Budget::new("pages", SHARE);
        let first = budget.take(&peer(1), 15).unwrap();
        assert!(refused(budget.take(&peer(1), 6)).contains("process 1"));
        let second = budget.take(&peer(2), 15).unwrap();
        assert!(refused(budget.take(&peer(3), 1)).contains("all apps"));
        drop(second);
        let further = budget.take(&peer(1), 5).unwrap();
        drop((first, further));
        assert_eq!(budget.lock().in_all, 0);
        assert!(budget.lock().by_process.is_empty());
    }

    #[test]
    fn a_single_page_is_never_too_long() {
        let budget = Budget::new("pages", SHARE);
        let long = budget.take(&peer(1), 100).unwrap();
        refused(budget.take(&peer(1), 1));
        refused(budget.take(&peer(2), 1));
        drop(long);
        assert!(budget.take(&peer(2), 1).is_ok());
    }

    #[test]
    fn what_is_counted_anyway_leaves_room_for_nothing_more_until_it_is_dropped() {
        let budget = Budget::new("pages", SHARE);
        let counted = budget.count(1, 25);
        assert!(budget.room(&peer(1)).is_err());
        assert!(budget.room(&peer(2)).is_ok());
        drop(counted);
        assert!(budget.room(&peer(1)).is_ok());
    }

    #[test]
    fn what_does_not_fit_leaves_what_was_held() {
        let budget = Budget::new("bytes", SHARE);
        let mut held = budget.take(&peer(1), 15).unwrap();
        assert!(held.grow(6).is_err());
        held.grow(5).unwrap();
        assert_eq!(budget.lock().in_all, 20);
        drop(held);
        assert!(budget.lock().by_process.is_empty());
    }
}
