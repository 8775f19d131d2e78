//! What the machine's network looks like, as the core is told of it.

use std::io;

use imd_core::io::{Input, Network};

use super::Driver;
use crate::link::connection::Connection;
use crate::link::vault::Vault;

impl<V: Vault> Driver<V> {
    /// What there is at the start is no change.
    pub(super) fn first_look(&mut self) {
        self.network = self.views.borrow_and_update().clone();
        if !self.network.is_connected() {
            self.tell(Input::Network(Network::Unavailable));
        }
    }

    /// The core is told; and a connection whose own address is gone is dead.
    pub(super) fn look_at_the_network(&mut self) {
        let view = self.views.borrow_and_update().clone();
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
