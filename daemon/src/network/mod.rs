//! What the machine's network looks like, looked at again whenever the kernel says that something has changed.
//! No network manager is needed, and nothing runs while nothing changes.

mod bell;
mod view;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use self::bell::Bell;
pub use self::view::View;

/// A change comes in many messages: so long without one, and it has settled.
const QUIET: Duration = Duration::from_millis(100);

/// A network that does not settle is looked at after this long all the same.
const RESTLESS: Duration = Duration::from_millis(500);

/// Begins to watch: the receiver has what is seen at once, and each later view that differs. Where the kernel
/// tells nothing (a sandbox without AF_NETLINK) that is logged once, and no network is ever missed.
/// To be called inside the runtime.
#[must_use]
pub fn watch() -> watch::Receiver<View> {
    let (sender, receiver) = watch::channel(View::unknown());
    // The bell first, so that what changes during the first look is not missed.
    match Bell::new().and_then(|bell| Ok((bell, View::look()?))) {
        Ok((bell, view)) => {
            tracing::debug!(%view, "the network");
            sender.send_replace(view);
            tokio::spawn(keep_looking(bell, sender));
        }
        Err(error) => {
            tracing::warn!(%error, "the kernel does not tell of changes of the network: they are found out by the keep-alive");
        }
    }
    receiver
}

async fn keep_looking(mut bell: Bell, views: watch::Sender<View>) {
    loop {
        let looked = async {
            bell.rings().await?;
            settle(&mut bell).await?;
            View::look()
        };
        let view = tokio::select! {
            view = looked => view,
            () = views.closed() => return,
        };
        match view {
            Ok(view) => {
                views.send_if_modified(|before| {
                    let is_another = *before != view;
                    if is_another {
                        tracing::debug!(%view, "the network has changed");
                        *before = view;
                    }
                    is_another
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the network cannot be looked at any more");
                views.send_replace(View::unknown());
                return;
            }
        }
    }
}

/// Waits until the bell is quiet, but not for ever.
async fn settle(bell: &mut Bell) -> std::io::Result<()> {
    let quiet = async {
        loop {
            match timeout(QUIET, bell.rings()).await {
                Ok(rung) => rung?,
                Err(_) => return Ok(()),
            }
        }
    };
    timeout(RESTLESS, quiet).await.unwrap_or(Ok(()))
}
