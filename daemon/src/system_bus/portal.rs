//! NetworkManager's word on captive portals.

use tokio::sync::watch;
use tokio_stream::StreamExt as _;
use zbus::Connection;

use super::answered;

/// `NM_CONNECTIVITY_PORTAL`.
const PORTAL: u32 = 2;

#[zbus::proxy(
    interface = "org.freedesktop.NetworkManager",
    default_service = "org.freedesktop.NetworkManager",
    default_path = "/org/freedesktop/NetworkManager"
)]
trait NetworkManager {
    #[zbus(property)]
    fn connectivity(&self) -> zbus::Result<u32>;
}

/// Keeps `portals` as NetworkManager sees it, until the bus is gone.
pub(super) async fn tell(bus: &Connection, portals: &watch::Sender<bool>) -> zbus::Result<()> {
    let manager = answered(NetworkManagerProxy::new(bus)).await?;
    let mut changes = manager.receive_connectivity_changed().await;
    // The first item is what there is; with no NetworkManager it comes when that starts.
    while let Some(change) = changes.next().await {
        let Ok(connectivity) = change.get().await else {
            continue;
        };
        let held = connectivity == PORTAL;
        portals.send_if_modified(|before| std::mem::replace(before, held) != held);
    }
    Ok(())
}
