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
        let status = Status {
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
        };
        let first = Arc::new(Published {
            status,
            changed: clock::now().unix,
        });
        Self {
            newest: watch::Sender::new(first),
            history: Mutex::default(),
        }
    }
}
