//! What systemd is told. Without systemd all of it does nothing.

use std::convert::Infallible;

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
/// through the store's thread, so that a hang of either becomes a death, which apps notice at once.
pub(super) async fn watchdog(store: &Store) -> Infallible {
    ticks(|| store.ping()).await
}

/// As [`watchdog`], where there is no store yet.
pub(super) async fn watchdog_of_the_loop() -> Infallible {
    ticks(|| std::future::ready(Ok(()))).await
}

async fn ticks<F: Future<Output = Result<(), StoreError>>>(sign_of_life: impl Fn() -> F) -> Infallible {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        match sign_of_life().await {
            Ok(()) => tell(&[NotifyState::Watchdog]),
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
