//! An orderly stop ends, whatever hangs: one budget for all of it.

use std::time::Duration;

/// How long the whole stop may take: below the 2 seconds that are promised, since the process has to end too.
pub const STOP_LIMIT: Duration = Duration::from_millis(1800);

/// What of it is kept for the store, which closes last.
const STORE_SHARE: Duration = Duration::from_millis(500);

/// Ends services and connection side by side, then the store. What takes too long is left behind.
/// True if the store has closed.
pub(super) async fn orderly(
    services: impl Future<Output = ()>,
    connection: impl Future<Output = ()>,
    store: impl Future<Output = ()>,
) -> bool {
    let first = STOP_LIMIT.saturating_sub(STORE_SHARE);
    tokio::join!(
        bounded("the socket's services", first, services),
        bounded("the connection", first, connection),
    );
    bounded("the store", STORE_SHARE, store).await
}

/// False if it took longer than this and was left behind.
async fn bounded(what: &'static str, limit: Duration, work: impl Future<Output = ()>) -> bool {
    let in_time = tokio::time::timeout(limit, work).await.is_ok();
    if !in_time {
        tracing::warn!(what, ?limit, "did not stop in time and is left behind");
    }
    in_time
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    /// How long the future takes on tokio's own clock, which runs ahead when nothing else is to be done.
    async fn within(limit: Duration, stop: impl Future<Output = bool>) -> Option<bool> {
        tokio::time::timeout(limit, stop).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_is_waited_for() {
        let slow = || tokio::time::sleep(Duration::from_millis(400));
        let closed = orderly(slow(), slow(), slow());
        assert_eq!(within(Duration::from_millis(801), closed).await, Some(true));
    }

    #[tokio::test(start_paused = true)]
    async fn the_whole_is_bounded_when_every_part_hangs() {
        let just_over = STOP_LIMIT + Duration::from_millis(1);
        let stop = orderly(pending(), pending(), pending());
        assert_eq!(within(just_over, stop).await, Some(false));
    }

    #[tokio::test(start_paused = true)]
    async fn the_store_is_closed_even_if_the_rest_hangs() {
        assert!(orderly(pending(), pending(), ready(())).await);
        assert!(orderly(ready(()), pending(), ready(())).await);
    }
}
