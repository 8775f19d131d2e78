//! What the machine's services tell over D-Bus: logind, that the machine is about to sleep; NetworkManager, that
//! a captive portal holds the network. Where there is no bus, or no such service, nothing is told and nothing is
//! missed: a sleep is also seen by the clocks, and a portal is only an explanation.

mod portal;
mod sleep;

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use zbus::Connection;
use zbus::connection::Builder;

pub use self::sleep::Sleep;

/// How long the bus and its services may take over an answer.
const ANSWER: Duration = Duration::from_secs(5);

/// One sleep, its end, and one more: nobody lags further behind.
const SLEEPS: usize = 4;

/// What is heard.
pub struct News {
    /// Whether a captive portal holds the network.
    pub portal: watch::Receiver<bool>,
    pub sleep: mpsc::Receiver<Sleep>,
}

impl News {
    /// None will ever come.
    #[must_use]
    pub fn none() -> Self {
        Self {
            portal: watch::channel(false).1,
            sleep: mpsc::channel(1).1,
        }
    }
}

/// Begins to listen, in a task of its own; ends when nobody wants the news any more.
/// To be called inside the runtime.
#[must_use]
pub fn listen() -> News {
    let (portals, portal) = watch::channel(false);
    let (sleeps, sleep) = mpsc::channel(SLEEPS);
    tokio::spawn(async move {
        let unwanted = sleeps.clone();
        let listening = async {
            let bus = match connect().await {
                Ok(bus) => bus,
                Err(error) => {
                    tracing::debug!(%error, "there is no system bus: sleep is seen by the clocks alone");
                    return;
                }
            };
            let (portals, sleeps) = tokio::join!(portal::tell(&bus, &portals), sleep::tell(&bus, &sleeps));
            if let Err(error) = portals {
                tracing::debug!(%error, "NetworkManager tells nothing of captive portals");
            }
            if let Err(error) = sleeps {
                tracing::debug!(%error, "logind tells nothing of sleep: it is seen by the clocks alone");
            }
        };
        tokio::select! {
            () = listening => {}
            () = unwanted.closed() => {}
        }
    });
    News { portal, sleep }
}

/// `DBUS_SYSTEM_BUS_ADDRESS`, else the usual socket.
async fn connect() -> zbus::Result<Connection> {
    answered(Builder::system().method_timeout(ANSWER).build()).await
}

/// What a call to the bus answers, if it answers in time.
async fn answered<T>(call: impl Future<Output = zbus::Result<T>>) -> zbus::Result<T> {
    timeout(ANSWER, call)
        .await
        .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
}
