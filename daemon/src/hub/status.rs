//! The status as one value with a generation. A reader gets the newest value first and may skip those
//! between; the history keeps the last 1,000.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imd_core::io::{ConnectionStatus, Network, OfflineSync, Status};
use imd_core::time::UnixTime;
use tokio::sync::watch;

use crate::clock;

/// How many changes the history keeps.
const HISTORY: usize = 1000;

/// How many codes are counted apart: a server may make up any number.
const CODES: usize = 64;

/// A published status and when it was published.
#[derive(Clone, Debug)]
pub struct Published {
    pub status: Status,
    pub changed: UnixTime,
}

/// Counted since the start of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatusCounts {
    /// Attempts to connect.
    pub attempts: u64,
    /// Times that CONNECTED was reached.
    pub connected: u64,
    /// Failed attempts and ended connections, by their code.
    pub ends: BTreeMap<i32, u64>,
    /// Those of further codes than are counted apart.
    pub other_ends: u64,
}

impl StatusCounts {
    fn count(&mut self, before: &Status, after: &Status) {
        let is_another = before.status != after.status;
        let is_connecting = after.status == ConnectionStatus::Connecting;
        if is_connecting && after.attempt > 0 && (is_another || before.attempt != after.attempt) {
            self.attempts += 1;
        }
        if is_another && after.status == ConnectionStatus::Connected {
            self.connected += 1;
        }
        let has_ended = is_another && !is_connecting && after.status != ConnectionStatus::Connected;
        if let Some(code) = after.last_code.filter(|_| has_ended) {
            let is_counted = self.ends.len() < CODES || self.ends.contains_key(&code.0);
            let count = if is_counted {
                self.ends.entry(code.0).or_default()
            } else {
                &mut self.other_ends
            };
            *count += 1;
        }
    }
}

#[derive(Default)]
struct Past {
    history: VecDeque<Arc<Published>>,
    counts: StatusCounts,
}

/// Where the link publishes and everybody reads.
pub struct StatusBoard {
    newest: watch::Sender<Arc<Published>>,
    past: Mutex<Past>,
}

impl StatusBoard {
    /// Makes `status` the newest.
    pub fn publish(&self, status: Status) {
        tracing::info!(
            status = status.status.name(),
            generation = status.generation,
            attempt = status.attempt,
            reason = status.reason,
            "status"
        );
        let published = Arc::new(Published {
            status,
            changed: clock::now().unix,
        });
        let mut past = self.past();
        past.counts.count(&self.newest().status, &published.status);
        if past.history.len() == HISTORY {
            past.history.pop_front();
        }
        past.history.push_back(Arc::clone(&published));
        drop(past);
        self.newest.send_replace(published);
    }

    /// The newest value, and a wake-up for each newer one.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<Published>> {
        self.newest.subscribe()
    }

    /// The newest value.
    #[must_use]
    pub fn newest(&self) -> Arc<Published> {
        Arc::clone(&self.newest.borrow())
    }

    /// The last changes, oldest first.
    #[must_use]
    pub fn history(&self) -> Vec<Arc<Published>> {
        self.past().history.iter().cloned().collect()
    }

    /// The changes of a later generation, oldest first: all of them, unless more than the history keeps have
    /// come since.
    #[must_use]
    pub fn history_after(&self, generation: u64) -> Vec<Arc<Published>> {
        let past = self.past();
        let newer = past.history.iter().rev();
        let mut newer: Vec<_> = newer
            .take_while(|one| one.status.generation > generation)
            .cloned()
            .collect();
        newer.reverse();
        newer
    }

    /// What was counted since the start of the daemon.
    #[must_use]
    pub fn counts(&self) -> StatusCounts {
        self.past().counts.clone()
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for StatusBoard {
    fn default() -> Self {
        let first = Arc::new(Published {
            status: before_the_first(),
            changed: clock::now().unix,
        });
        Self {
            newest: watch::Sender::new(first),
            past: Mutex::default(),
        }
    }
}

/// What is so while nothing has been published. It is no change, so the history does not have it.
fn before_the_first() -> Status {
    Status {
        status: ConnectionStatus::Unconnected,
        generation: 0,
        reason: "no app has asked for a connection".to_owned(),
        attempt: 0,
        next_retry: None,
        last_code: None,
        network: Network::Available,
        app_key: None,
        user_id: None,
        server: None,
        offline_sync: OfflineSync::NotConnected,
        storage_full: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(generation: u64) -> Status {
        Status {
            generation,
            ..before_the_first()
        }
    }

    #[test]
    fn whoever_begins_to_watch_sees_the_newest_value_at_once() {
        let board = StatusBoard::default();
        assert_eq!(board.watch().borrow().status.generation, 0);
        board.publish(numbered(1));
        board.publish(numbered(2));
        assert_eq!(board.watch().borrow().status.generation, 2);
        assert_eq!(board.newest().status.generation, 2);
    }

    #[test]
    fn a_slow_reader_skips_to_the_newest_value() {
        let board = StatusBoard::default();
        let mut reader = board.watch();
        for generation in 1..=5 {
            board.publish(numbered(generation));
        }
        assert!(reader.has_changed().unwrap());
        assert_eq!(reader.borrow_and_update().status.generation, 5);
        assert!(!reader.has_changed().unwrap());
    }

    fn published(board: &StatusBoard, status: ConnectionStatus, attempt: u32, code: Option<i32>) {
        board.publish(Status {
            status,
            attempt,
            last_code: code.map(imd_core::Code),
            ..numbered(1)
        });
    }

    #[test]
    fn attempts_connections_and_ends_are_counted() {
        use ConnectionStatus::{Connected, Connecting, Suspend};
        let board = StatusBoard::default();
        for (status, attempt, code) in [
            (Connecting, 0, None),
            (Connecting, 1, None),
            (Suspend, 1, Some(32_061)),
            (Suspend, 1, Some(32_061)),
            (Connecting, 2, Some(32_061)),
            (Connected, 2, None),
            (Suspend, 0, Some(30_011)),
        ] {
            published(&board, status, attempt, code);
        }
        let counts = board.counts();
        assert_eq!((counts.attempts, counts.connected), (2, 1));
        assert_eq!(counts.ends, BTreeMap::from([(30_011, 1), (32_061, 1)]));
    }

    #[test]
    fn codes_that_a_server_makes_up_do_not_fill_the_memory() {
        let board = StatusBoard::default();
        for code in 0..1000 {
            published(&board, ConnectionStatus::Suspend, 1, Some(code));
            published(&board, ConnectionStatus::Connecting, 1, Some(code));
        }
        let counts = board.counts();
        assert_eq!((counts.ends.len(), counts.other_ends), (CODES, 1000 - 64));
    }

    #[test]
    fn whoever_writes_the_history_down_goes_on_where_he_was() {
        let board = StatusBoard::default();
        for generation in 1..=5 {
            board.publish(numbered(generation));
        }
        let after = |generation| {
            let newer = board.history_after(generation);
            newer.iter().map(|one| one.status.generation).collect::<Vec<_>>()
        };
        assert_eq!(after(0), [1, 2, 3, 4, 5]);
        assert_eq!(after(3), [4, 5]);
        assert!(after(5).is_empty());
    }

    #[test]
    fn the_history_keeps_the_last_thousand_changes_oldest_first() {
        let board = StatusBoard::default();
        assert!(board.history().is_empty());
        for generation in 1..=1003 {
            board.publish(numbered(generation));
        }
        let kept: Vec<_> = board.history().iter().map(|one| one.status.generation).collect();
        assert_eq!(kept, (4..=1003).collect::<Vec<_>>());
    }
}
