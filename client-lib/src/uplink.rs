//! The link of the moment, or why there is none: what all calls go through.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::call::{Link, LinkNumber, gone};
use crate::clock::{self, BootTime};
use crate::error::{Error, Sent};
use crate::status::DaemonLoss;

/// Before a link that is up is asked again for what it did not give.
const PAUSE: Duration = Duration::from_secs(1);

/// Whether there is a binding.
#[derive(Clone)]
pub(crate) enum Binding {
    Bound(Arc<Link>),
    Lost { since: BootTime, loss: DaemonLoss },
}

/// Followed by whoever has something to go on with.
#[derive(Clone)]
pub(crate) struct Uplink(watch::Receiver<Binding>);

impl Uplink {
    pub(crate) fn new(binding: Binding) -> (watch::Sender<Binding>, Self) {
        let (sender, receiver) = watch::channel(binding);
        (sender, Self(receiver))
    }

    pub(crate) fn now(&self) -> Binding {
        self.0.borrow().clone()
    }

    /// The link for a call that is made at once or not at all.
    pub(crate) fn link(&self, name: &str) -> Result<Arc<Link>, Error> {
        match self.now() {
            Binding::Bound(link) => Ok(link),
            Binding::Lost { loss, .. } => Err(gone(name, &loss, Sent::No)),
        }
    }

    /// The link, if calls can be made.
    pub(crate) fn up(&self) -> Option<Arc<Link>> {
        match self.now() {
            Binding::Bound(link) if link.lost().is_none() => Some(link),
            Binding::Bound(_) | Binding::Lost { .. } => None,
        }
    }

    /// Waits for a link that is not `previous`.
    pub(crate) async fn next(&self, previous: Option<LinkNumber>) -> Arc<Link> {
        let mut binding = self.0.clone();
        loop {
            if let Binding::Bound(link) = &*binding.borrow_and_update()
                && previous != Some(link.number)
            {
                return Arc::clone(link);
            }
            if binding.changed().await.is_err() {
                // The library's thread is ending, and this with it.
                return std::future::pending().await;
            }
        }
    }

    /// As [`next`](Self::next), for a link of which something was asked that it does not give while it is up:
    /// after a while it may be asked again.
    pub(crate) async fn retry(&self, link: &Link) -> Arc<Link> {
        let next = self.next(Some(link.number));
        let paused = async {
            tokio::select! {
                () = tokio::time::sleep(PAUSE) => {}
                () = link.ended() => {}
            }
            self.up()
        };
        tokio::select! {
            biased;
            link = next => link,
            Some(link) = paused => link,
        }
    }

    /// Why there is no daemon.
    pub(crate) fn loss(&self) -> DaemonLoss {
        match self.now() {
            Binding::Bound(link) => link.lost().unwrap_or(DaemonLoss::Died),
            Binding::Lost { loss, .. } => loss,
        }
    }

    /// Since when there has been no daemon.
    pub(crate) fn lost_since(&self) -> BootTime {
        match self.now() {
            Binding::Lost { since, .. } => since,
            Binding::Bound(_) => clock::now(),
        }
    }
}
