//! What systemd is told. Without systemd all of it does nothing.

use std::convert::Infallible;

use sd_notify::NotifyState;

use crate::store::Store;

/// The socket is there, and calls are answered.
pub(super) fn ready() {
    tell(NotifyState::Ready);
}

/// The orderly stop has begun.
pub(super) fn stopping() {
    tell(NotifyState::Stopping);
}

/// Tells the watchdog that the daemon lives, twice in its period: each tick has been through this loop and
/// through the store's thread, so that a hang of either becomes a death, which apps notice at once.
pub(super) async fn watchdog(store: &Store) -> Infallible {
    let Some(period) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    loop {
        match store.ping().await {
            Ok(()) => tell(NotifyState::Watchdog),
            Err(error) => tracing::warn!(%error, "no sign of life to systemd's watchdog"),
        }
        tokio::time::sleep(period / 2).await;
    }
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "systemd cannot be told how the daemon is");
    }
}
