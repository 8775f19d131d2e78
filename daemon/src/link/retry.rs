//! Asking the store again, for what must not be given up.

use std::time::Duration;

use super::vault::Kept;

/// The pauses before the store is asked again: 1, 2, 4 … 64 s.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

/// Asks until the store answers well. Whoever no longer wants the answer drops the future.
pub(super) async fn until_kept<T>(what: &'static str, attempt: impl Fn() -> Kept<T>) -> T {
    let mut pause = FIRST_PAUSE;
    loop {
        match attempt().await {
            Ok(answer) => return answer,
            Err(reason) => {
                tracing::warn!(
                    what,
                    reason,
                    again_in_s = pause.as_secs(),
                    "the store does not do it"
                );
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
