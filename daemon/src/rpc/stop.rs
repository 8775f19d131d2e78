//! The wish to stop, and why: asked by one, seen by all.

use std::future::{Future, pending};
use std::sync::Arc;

use tokio::sync::watch;

/// Told once; the first reason stays. Whoever looks later sees it too.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    reason: watch::Sender<Option<Arc<str>>>,
}

impl Stop {
    /// Asks for the stop. False if it was asked for before.
    pub fn ask(&self, reason: &str) -> bool {
        self.reason.send_if_modified(|known| {
            let first = known.is_none();
            if first {
                *known = Some(reason.into());
            }
            first
        })
    }

    /// Why, if it was asked for.
    #[must_use]
    pub fn reason(&self) -> Option<Arc<str>> {
        self.reason.borrow().clone()
    }

    /// Waits until it is asked for, and says why.
    pub fn asked(&self) -> impl Future<Output = Arc<str>> + Send + use<> {
        let mut reason = self.reason.subscribe();
        async move {
            loop {
                if let Some(reason) = reason.borrow_and_update().clone() {
                    return reason;
                }
                if reason.changed().await.is_err() {
                    // Nobody is left who could ask.
                    pending::<()>().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays_and_is_seen_by_those_before_and_after() {
        let stop = Stop::default();
        let before = stop.asked();
        assert_eq!(stop.reason(), None);
        assert!(stop.ask("SIGTERM"));
        assert!(!stop.ask("an app"));
        assert_eq!(&*before.await, "SIGTERM");
        assert_eq!(&*stop.asked().await, "SIGTERM");
        assert_eq!(stop.reason().as_deref(), Some("SIGTERM"));
    }
}
