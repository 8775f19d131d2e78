//! An orderly stop ends, whatever hangs.

use std::time::Duration;

/// How long one part of the stop may take. All parts together stay below systemd's TimeoutStopSec.
pub const STOP_LIMIT: Duration = Duration::from_secs(2);

/// Waits for one part of the stop; false if it took longer than [`STOP_LIMIT`] and was left behind.
pub async fn bounded(what: &'static str, work: impl Future<Output = ()>) -> bool {
    let in_time = tokio::time::timeout(STOP_LIMIT, work).await.is_ok();
    if !in_time {
        tracing::warn!(
            what,
            limit_s = STOP_LIMIT.as_secs(),
            "did not stop in time and is left behind"
        );
    }
    in_time
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_is_waited_for() {
        assert!(bounded("a part", async {}).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_part_that_hangs_is_left_behind() {
        assert!(!bounded("a part", std::future::pending()).await);
    }
}
