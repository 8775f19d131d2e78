//! Who is told of the status: one board per client, its listeners and its streams.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use tokio::sync::broadcast;
use tokio::task::AbortHandle;
use tokio_stream::wrappers::BroadcastStream;

use crate::call::LinkNumber;
use crate::rebind::Failure;
use crate::status::{DaemonLoss, Status};

/// How many changes a listener may be behind; a slower one skips the oldest and never blocks the rest.
const BACKLOG: usize = 64;

/// The newest status, and those who wait for the next.
pub(crate) struct Board {
    current: Mutex<Current>,
}

struct Current {
    status: Arc<Status>,
    /// The link it came by; `None` while the daemon is lost.
    link: Option<LinkNumber>,
    changes: broadcast::Sender<Arc<Status>>,
}

impl Board {
    /// There is no daemon, and that is told to nobody: there was none before.
    pub(crate) fn unbound() -> Self {
        Self::new(
            None,
            Status::daemon_lost(0, String::new(), DaemonLoss::NotYetThere),
        )
    }

    pub(crate) fn bound(link: LinkNumber, status: Status) -> Self {
        Self::new(Some(link), status)
    }

    fn new(link: Option<LinkNumber>, status: Status) -> Self {
        Self {
            current: Mutex::new(Current {
                status: Arc::new(status),
                link,
                changes: broadcast::Sender::new(BACKLOG),
            }),
        }
    }

    pub(crate) fn current(&self) -> Arc<Status> {
        Arc::clone(&self.lock().status)
    }

    /// The newest that came by this link; `None` when there is another one, or none.
    pub(crate) fn newest(&self, link: LinkNumber) -> Option<Arc<Status>> {
        let current = self.lock();
        (current.link == Some(link)).then(|| Arc::clone(&current.status))
    }

    /// Another daemon, or the same one again: its status is the newest, whatever its generation.
    pub(crate) fn rebound(&self, link: LinkNumber, status: Status) {
        let mut current = self.lock();
        current.link = Some(link);
        current.set(status);
    }

    /// Makes a status the newest, unless it is old: the daemon tells it in more than one answer. Whether it
    /// was.
    pub(crate) fn publish(&self, link: LinkNumber, status: Status) -> bool {
        let mut current = self.lock();
        let is_newer = current.link == Some(link) && status.generation > current.status.generation;
        if is_newer {
            current.set(status);
        }
        is_newer
    }

    /// Makes the status read "daemon lost": told once, until the next daemon.
    pub(crate) fn lost(&self, loss: &DaemonLoss) {
        let mut current = self.lock();
        if current.link.take().is_some() {
            let lost = current.status.lost(loss);
            current.set(lost);
        }
    }

    /// Why the daemon is still lost, for whoever looks. It is no news for those who wait for changes.
    pub(crate) fn attempt_failed(&self, failure: &Failure) {
        let mut current = self.lock();
        if current.link.is_some() {
            return;
        }
        let mut status = Status::clone(&current.status);
        let loss = status.loss.iter().map(DaemonLoss::to_string).collect::<String>();
        status.reason = format!("{loss}; {}", failure.text);
        status.last_code = Some(failure.code);
        current.status = Arc::new(status);
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
/// A reader that is more than 64 changes behind skips the oldest. A daemon's loss is a value of its own, once,
/// and what the next daemon says follows. The stream ends when the last [`Client`](crate::Client) is dropped.
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
    use imd_proto::code::Code;
    use imd_proto::imd::v1;
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::rebind::FailureKind;

    const FIRST: LinkNumber = LinkNumber(1);
    const SECOND: LinkNumber = LinkNumber(2);

    fn status(generation: u64, run: &str) -> Status {
        let wire = v1::ConnectionStatus {
            status: 1,
            generation,
            ..Default::default()
        };
        Status::from_wire(wire, run)
    }

    #[tokio::test]
    async fn a_loss_is_told_once_and_nothing_of_that_daemon_after_it() {
        let board = Board::bound(FIRST, status(7, "one"));
        let changes = board.subscribe();
        board.lost(&DaemonLoss::Died);
        board.lost(&DaemonLoss::Hung);
        assert!(!board.publish(FIRST, status(8, "one")));
        drop(board);
        let seen: Vec<_> = changes.map(|status| status.to_string()).collect().await;
        let lost = "DAEMON_LOST (-2): the daemon died: it is gone without a goodbye";
        assert_eq!(seen, ["CONNECTING (1)", lost]);
    }

    #[tokio::test]
    async fn a_restarted_daemon_is_heard_though_it_counts_from_1_again() {
        let board = Board::bound(FIRST, status(7, "one"));
        let changes = board.subscribe();
        board.lost(&DaemonLoss::Died);
        board.rebound(SECOND, status(1, "two"));
        assert!(!board.publish(FIRST, status(9, "one")), "it is another link's");
        assert!(board.publish(SECOND, status(2, "two")));
        board.lost(&DaemonLoss::Died);
        drop(board);
        let seen: Vec<_> = changes
            .map(|status| {
                (
                    status.daemon_run_id.clone(),
                    status.generation,
                    status.is_daemon_lost(),
                )
            })
            .collect()
            .await;
        let wanted = [
            ("one", 7, false),
            ("one", 7, true),
            ("two", 1, false),
            ("two", 2, false),
            ("two", 2, true),
        ];
        assert_eq!(seen, wanted.map(|(run, at, lost)| (run.to_owned(), at, lost)));
    }

    #[tokio::test]
    async fn why_no_daemon_takes_the_app_is_seen_by_whoever_looks_and_told_to_nobody() {
        let board = Board::bound(FIRST, status(7, "one"));
        let changes = board.subscribe();
        let failure = Failure {
            kind: FailureKind::VersionSkew,
            code: Code::IMD_VERSION_SKEW,
            text: "it speaks 9".to_owned(),
        };
        board.attempt_failed(&failure);
        assert!(
            !board.current().is_daemon_lost(),
            "a daemon that is there is not lost"
        );
        board.lost(&DaemonLoss::Died);
        for _ in 0..2 {
            board.attempt_failed(&failure);
        }
        let current = board.current();
        assert_eq!(current.last_code, Some(Code::IMD_VERSION_SKEW));
        let wanted = "the daemon died: it is gone without a goodbye; it speaks 9";
        assert_eq!(current.reason, wanted);
        drop(board);
        assert_eq!(changes.collect::<Vec<_>>().await.len(), 2);
    }

    #[tokio::test]
    async fn an_old_status_is_not_told_again() {
        let board = Board::bound(FIRST, status(7, "one"));
        let changes = board.subscribe();
        for generation in [7, 6, 9, 8] {
            board.publish(FIRST, status(generation, "one"));
        }
        drop(board);
        let seen: Vec<_> = changes.map(|status| status.generation).collect().await;
        assert_eq!(seen, [7, 9]);
    }

    #[tokio::test]
    async fn a_slow_reader_skips_the_oldest_and_ends_with_the_newest() {
        let board = Board::bound(FIRST, status(0, "one"));
        let changes = board.subscribe();
        for generation in 1..=1000 {
            board.publish(FIRST, status(generation, "one"));
        }
        drop(board);
        let seen: Vec<_> = changes.map(|status| status.generation).collect().await;
        assert_eq!(seen.len(), BACKLOG + 1);
        assert_eq!(seen.last(), Some(&1000));
    }
}
