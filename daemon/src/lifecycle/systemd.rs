//! What systemd is told. Without systemd all of it does nothing.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::store::{Store, StoreError};

/// Calls are answered.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Calls are answered, with why they are refused: `systemctl status` shows it.
pub(super) fn refusing(why: &str) {
    // A line break would end the word.
    let line = why.replace('\n', "; ");
    tell(&[NotifyState::Ready, NotifyState::Status(&line)]);
}

/// Nothing is refused any more.
pub(super) fn recovered() {
    tell(&[NotifyState::Status("")]);
}

/// The orderly stop has begun.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells the watchdog that the daemon lives, twice in its period: each tick has been through this loop and
/// through the store's thread, so that a hang of either becomes a death, which apps notice at once. A store that
/// repairs a database answers nothing else meanwhile: it lives for as long as it gets on.
pub(super) async fn watchdog(store: &Store) -> Infallible {
    ticks(|| store.ping(), || store.progress()).await
}

/// As [`watchdog`], where there is no store yet.
pub(super) async fn watchdog_of_the_loop() -> Infallible {
    ticks(|| std::future::ready(Ok(())), || 0).await
}

async fn ticks<F: Future<Output = Result<(), StoreError>>>(
    sign_of_life: impl Fn() -> F,
    progress: impl Fn() -> u64,
) -> Infallible {
    match sd_notify::watchdog_enabled() {
        Some(period) => ticks_within(period, sign_of_life, progress, || tell(&[NotifyState::Watchdog])).await,
        None => std::future::pending().await,
    }
}

async fn ticks_within<F: Future<Output = Result<(), StoreError>>>(
    period: Duration,
    sign_of_life: impl Fn() -> F,
    progress: impl Fn() -> u64,
    tick: impl Fn(),
) -> Infallible {
    loop {
        let mut sign = pin!(sign_of_life());
        let mut seen = progress();
        let lives = loop {
            tokio::select! {
                lives = &mut sign => break lives,
                () = tokio::time::sleep(period / 4) => {
                    if std::mem::replace(&mut seen, progress()) != seen {
                        tick();
                    }
                }
            }
        };
        match lives {
            Ok(()) => tick(),
            Err(error) => tracing::warn!(%error, "no sign of life to systemd's watchdog"),
        }
        tokio::time::sleep(period / 2).await;
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "systemd cannot be told how the daemon is");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    const PERIOD: Duration = Duration::from_secs(60);

    /// How many ticks there were in ten minutes.
    async fn counted<F: Future<Output = Result<(), StoreError>>>(
        sign_of_life: impl Fn() -> F,
        progress: impl Fn() -> u64,
    ) -> u32 {
        let ticks = Cell::new(0);
        let tick = || ticks.set(ticks.get() + 1);
        let all = ticks_within(PERIOD, sign_of_life, progress, tick);
        assert!(tokio::time::timeout(10 * PERIOD, all).await.is_err());
        ticks.get()
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_hangs_gives_no_ticks_and_one_that_gets_on_with_a_repair_does() {
        assert_eq!(counted(pending, || 0).await, 0);
        let steps = Cell::new(0);
        let repairs = || {
            steps.set(steps.get() + 1);
            steps.get()
        };
        assert!(counted(pending, repairs).await >= 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_answers_gives_two_ticks_in_each_period() {
        let ticks = counted(|| ready(Ok(())), || 0).await;
        assert!((19..=21).contains(&ticks), "{ticks}");
    }
}
