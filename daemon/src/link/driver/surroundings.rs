//! What happens around the daemon, as the core is told of it: the network changes, the machine sleeps.

use std::future::pending;
use std::io;

use imd_core::io::{Input, LinkEvent, Network};
use tokio::sync::{oneshot, watch};

use super::Driver;
use crate::link::connection::Connection;
use crate::link::vault::Vault;
use crate::network::View;
use crate::system_bus::{News, Sleep};

/// Where what happens around the daemon is heard.
pub struct Surroundings {
    views: watch::Receiver<View>,
    news: News,
}

/// Something has happened around the daemon.
pub(super) enum Stir {
    View,
    /// A captive portal holds the network, or no longer.
    Portal,
    FallsAsleep(oneshot::Sender<()>),
    Wakes,
}

impl Surroundings {
    /// From the network's views and what the system bus tells.
    #[must_use]
    pub const fn new(views: watch::Receiver<View>, news: News) -> Self {
        Self { views, news }
    }

    /// Waits for the next happening. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Stir {
        let Self { views, news } = self;
        tokio::select! {
            Ok(()) = views.changed() => Stir::View,
            Ok(()) = news.portal.changed() => Stir::Portal,
            Some(sleep) = news.sleep.recv() => match sleep {
                Sleep::Begins { done } => Stir::FallsAsleep(done),
                Sleep::Ends => Stir::Wakes,
            },
            // Nobody tells anything.
            else => pending().await,
        }
    }

    /// What happened on the link, with what is known of the network that may explain it.
    pub(super) fn explained(&self, mut event: LinkEvent) -> LinkEvent {
        if let LinkEvent::Failed(fault) = &mut event
            && *self.news.portal.borrow()
        {
            fault
                .text
                .push_str("; a captive portal holds this network: sign in there with a browser");
        }
        event
    }
}

impl<V: Vault> Driver<V> {
    /// What there is at the start is no change.
    pub(super) fn first_look(&mut self) {
        self.network = self.surroundings.views.borrow_and_update().clone();
        if !self.network.is_connected() {
            self.tell(Input::Network(Network::Unavailable));
        }
    }

    pub(super) fn stirred(&mut self, stir: Stir) {
        match stir {
            Stir::View => self.look_at_the_network(),
            Stir::Portal => {
                let held = *self.surroundings.news.portal.borrow_and_update();
                tracing::info!(held, "captive portal");
                // Who has just signed in wants the connection now.
                if !held && self.network.is_connected() {
                    self.tell(Input::NetworkChanged);
                }
            }
            Stir::FallsAsleep(done) => {
                tracing::info!("the machine is about to sleep");
                self.falling_asleep = Some(done);
                self.tell(Input::Sleeping);
            }
            Stir::Wakes => {
                self.falling_asleep = None;
                self.tell(Input::Resumed);
            }
        }
    }

    /// The core is told; and a connection whose own address is gone is dead.
    fn look_at_the_network(&mut self) {
        let view = self.surroundings.views.borrow_and_update().clone();
        let before = std::mem::replace(&mut self.network, view);
        self.tell(match (before.is_connected(), self.network.is_connected()) {
            (_, false) => Input::Network(Network::Unavailable),
            (false, true) => Input::Network(Network::Available),
            (true, true) => Input::NetworkChanged,
        });
        if let Connection::Up(up) = &mut self.connection
            && let Some(source) = up.source
            && !self.network.is_ours(source)
        {
            let text = format!("this machine no longer has the address {source}, from which it was made");
            up.session
                .broken(&io::Error::new(io::ErrorKind::NetworkDown, text));
            self.tell_session();
        }
    }
}
