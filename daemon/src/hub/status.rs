//! The status as one value with a generation. A reader gets the newest value first and may skip those
//! between; the history keeps the last 1,000.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use imd_core::io::{ConnectionStatus, Network, OfflineSync, Status};
use imd_core::time::UnixTime;
use tokio::sync::watch;

use crate::clock;

/// How many changes the history keeps.
const HISTORY: usize = 1000;

/// A published status and when it was published.
#[derive(Clone, Debug)]
pub struct Published {
    pub status: Status,
    pub changed: UnixTime,
}

/// Where the link publishes and everybody reads.
pub struct StatusBoard {
    newest: watch::Sender<Arc<Published>>,
    history: Mutex<VecDeque<Arc<Published>>>,
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
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        if history.len() == HISTORY {
            history.pop_front();
        }
        history.push_back(Arc::clone(&published));
        drop(history);
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
        self.history
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
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
            history: Mutex::default(),
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
