//! Writes the status changes down, so that `imctl timeline` knows of the runs before this one.
//!
//! Woken by a change alone. It never holds the connection up: a change that cannot be written stays in memory
//! until the next one.

use std::sync::Arc;

use imd_core::time::UnixTime;
use tokio::sync::oneshot;

use crate::clock;
use crate::hub::{Hub, Published};
use crate::store::{StatusNote, Store};

/// Writes until it is stopped.
pub(super) struct Journal {
    hub: Arc<Hub>,
    store: Store,
    run: String,
    /// All changes up to this generation are written.
    written: u64,
}

impl Journal {
    pub(super) fn new(hub: Arc<Hub>, store: Store, run: String) -> Self {
        Self {
            hub,
            store,
            run,
            written: 0,
        }
    }

    /// `stopped`: the link has ended, so no further change comes.
    pub(super) async fn run(mut self, version: String, started: UnixTime, stopped: oneshot::Receiver<()>) {
        let mut changes = self.hub.status.watch();
        let start = StatusNote::Started {
            time: started.as_millis(),
            run: self.run.clone(),
            version,
            pid: std::process::id(),
        };
        self.note(vec![start]).await;
        let mut stopped = std::pin::pin!(stopped);
        loop {
            self.catch_up().await;
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                // Whoever would have stopped it is gone as well.
                _ = &mut stopped => break,
            }
        }
        self.catch_up().await;
        let end = StatusNote::Stopped {
            time: clock::now().unix.as_millis(),
            run: self.run.clone(),
        };
        self.note(vec![end]).await;
    }

    async fn catch_up(&mut self) {
        let newer = self.hub.status.history_after(self.written);
        let Some(last) = newer.last() else { return };
        let last = last.status.generation;
        if self
            .note(newer.iter().map(|one| self.changed(one)).collect())
            .await
        {
            self.written = last;
        }
    }

    fn changed(&self, published: &Published) -> StatusNote {
        let status = &published.status;
        StatusNote::Changed {
            time: published.changed.as_millis(),
            run: self.run.clone(),
            generation: status.generation,
            status: status.status.number(),
            reason: status.reason.clone(),
            code: status.last_code.map_or(0, |code| code.0),
        }
    }

    async fn note(&self, notes: Vec<StatusNote>) -> bool {
        let noted = self.store.note_statuses(notes).await;
        if let Err(error) = &noted {
            tracing::warn!(%error, "the status changes wait to be written down");
        }
        noted.is_ok()
    }
}
