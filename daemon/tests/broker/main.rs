//! The demo's broker from outside: a client on a socket, and what the broker's events say.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests fail as tests do"
)]

mod access;
mod client;
mod delivery;
mod faults;
mod lifecycle;

use imd::demo::broker::{Broker, BrokerConfig, Event};

pub(crate) fn broker() -> Broker {
    Broker::start(BrokerConfig::default()).unwrap()
}

/// Waits until the client id has no connection any more.
pub(crate) async fn gone(broker: &Broker, client_id: &str) {
    broker
        .wait_for(
            |event| matches!(event, Event::Disconnected { client_id: id, .. } if id == client_id),
            client::DEADLINE,
        )
        .await
        .unwrap();
}
