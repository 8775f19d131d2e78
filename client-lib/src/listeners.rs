//! Who is told of the status: one board per client, its listeners and its streams.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::BroadcastStream;

use crate::status::Status;

/// How many changes a listener may be behind; a slower one skips the oldest and never blocks the rest.
const BACKLOG: usize = 64;

/// The newest status, and those who wait for the next.
pub(crate) struct Board {
    current: Mutex<Current>,
}

struct Current {
    status: Arc<Status>,
    /// A loss is told once, whoever notices it first.
    lost: bool,
    changes: broadcast::Sender<Arc<Status>>,
}

impl Board {
    pub(crate) fn new(status: Status) -> Self {
        Self {
            current: Mutex::new(Current {
                status: Arc::new(status),
                lost: false,
                changes: broadcast::Sender::new(BACKLOG),
            }),
        }
    }

    pub(crate) fn current(&self) -> Arc<Status> {
        Arc::clone(&self.lock().status)
    }

    /// Makes a status the newest, unless it is old: the daemon tells it in more than one answer.
    pub(crate) fn publish(&self, status: Status) {
        let mut current = self.lock();
        if !current.lost && status.generation > current.status.generation {
            current.set(status);
        }
    }

    /// Makes the status read "daemon lost".
    pub(crate) fn lost(&self, reason: &str) {
        let mut current = self.lock();
        if !current.lost {
            current.lost = true;
            let generation = current.status.generation;
            current.set(Status::daemon_lost(generation, reason.to_owned()));
        }
    }

    /// The current value, then every change: none is missed between the two.
    pub(crate) fn subscribe(&self) -> ConnectionStatusChanges {
        let current = self.lock();
        ConnectionStatusChanges {
            first: Some(Arc::clone(&current.status)),
            changes: BroadcastStream::new(current.changes.subscribe()),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn set(&mut self, status: Status) {
        self.status = Arc::new(status);
        // It fails only when nobody listens.
        let _ = self.changes.send(Arc::clone(&self.status));
    }
}

/// The status as it is, then every change.
///
/// A reader that is more than 64 changes behind skips the oldest. The stream ends when the last
/// [`Client`](crate::Client) is dropped; it does not end with the daemon, whose loss is a value of its own.
pub struct ConnectionStatusChanges {
    first: Option<Arc<Status>>,
    changes: BroadcastStream<Arc<Status>>,
}

impl Stream for ConnectionStatusChanges {
    type Item = Arc<Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        loop {
            match ready!(Pin::new(&mut self.changes).poll_next(cx)) {
                Some(Ok(status)) => return Poll::Ready(Some(status)),
                Some(Err(_skipped)) => {}
                None => return Poll::Ready(None),
            }
        }
    }
}

/// Keeps a status listener. Dropping it takes the listener away; a call that has begun still ends.
#[must_use = "dropping it takes the listener away"]
pub struct StatusListener(AbortHandle);

impl StatusListener {
    pub(crate) fn new(task: AbortHandle) -> Self {
        Self(task)
    }
}

impl Drop for StatusListener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use imd_proto::imd::v1;
    use tokio_stream::StreamExt as _;

    use super::*;

    fn status(generation: u64) -> Status {
        Status::from_wire(v1::ConnectionStatus {
            status: 1,
            generation,
            ..Default::default()
        })
    }

    #[tokio::test]
    async fn a_loss_is_told_once_and_nothing_after_it() {
        let board = Board::new(status(7));
        let changes = board.subscribe();
        board.lost("killed");
        board.lost("end of file");
        board.publish(status(8));
        drop(board);
        let seen: Vec<_> = changes.map(|status| status.to_string()).collect().await;
        assert_eq!(seen, ["CONNECTING (1)", "DAEMON_LOST (-2): killed"]);
    }

    #[tokio::test]
    async fn an_old_status_is_not_told_again() {
        let board = Board::new(status(7));
        let changes = board.subscribe();
        for generation in [7, 6, 9, 8] {
            board.publish(status(generation));
        }
        drop(board);
        let seen: Vec<_> = changes.map(|status| status.generation).collect().await;
        assert_eq!(seen, [7, 9]);
    }

    #[tokio::test]
    async fn a_slow_reader_skips_the_oldest_and_ends_with_the_newest() {
        let board = Board::new(status(0));
        let changes = board.subscribe();
        for generation in 1..=1000 {
            board.publish(status(generation));
        }
        drop(board);
        let seen: Vec<_> = changes.map(|status| status.generation).collect().await;
        assert_eq!(seen.len(), BACKLOG + 1);
        assert_eq!(seen.last(), Some(&1000));
    }
}
