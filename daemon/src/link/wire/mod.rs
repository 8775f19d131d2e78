//! Bytes to packets and back: the only room that knows the MQTT library.
//!
//! One [`Wire`] serves one network connection and is thrown away with it. The library's own reconnecting
//! and its timers are never used, any error it tells ends the link, and what it takes without a word but
//! MQTT forbids is refused here. Reason codes it does not know are masked before it reads a packet, and the
//! server's own number is kept.

mod incoming;
mod outgoing;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use imd_core::io::Protocol;
use mqtt_protocol_core::mqtt::connection::ConnectionOptions;
use mqtt_protocol_core::mqtt::connection::prelude::Event;
use mqtt_protocol_core::mqtt::packet::Packet as AnyPacket;
use mqtt_protocol_core::mqtt::packet::prelude::GenericPacketTrait as _;
use mqtt_protocol_core::mqtt::result_code::MqttError;
use mqtt_protocol_core::mqtt::{Connection, Version, role};

use super::frame::{MAXIMUM_PACKET_SIZE, Violation};

/// How many messages the server may send before the first is acknowledged (MQTT 5 alone can say so): as many
/// as there are packet ids. Mosquitto 2.0.11 does not keep to less under load, and the codec takes that for a
/// fault, which comes again at every reconnect. The memory is bounded by what is read ahead of the store.
const RECEIVE_MAXIMUM: u16 = u16::MAX;

/// What an acknowledgement names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PacketId(pub(super) u16);

/// What a CONNECT says.
pub(super) struct Connect<'a> {
    pub(super) client_id: &'a str,
    pub(super) user_name: Option<&'a str>,
    pub(super) password: &'a str,
    pub(super) clean: bool,
    pub(super) keep_alive: Duration,
    pub(super) session_expiry: Duration,
}

/// What a PUBLISH of ours says.
pub(super) struct Publish<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: Arc<[u8]>,
    pub(super) retain: bool,
    /// It was sent on an earlier connection of the same session, under this id.
    pub(super) again: Option<PacketId>,
}

/// Why a PUBLISH was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unsent {
    /// The server takes no packet of this size. Nothing was written, and the connection goes on.
    TooLarge {
        size: usize,
        limit: u32,
    },
    Violation(Violation),
}

/// What the server sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Accepted(Accepted),
    Refused(Farewell),
    Message(Message),
    PublishAcknowledged {
        packet: PacketId,
        reason: u8,
        words: Words,
    },
    SubscribeAcknowledged {
        packet: PacketId,
        reasons: Vec<u8>,
        words: Words,
    },
    UnsubscribeAcknowledged {
        packet: PacketId,
    },
    Pong,
    Disconnect(Farewell),
}

/// A CONNACK with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) session_present: bool,
    pub(super) keep_alive: Option<Duration>,
    /// Whether the server keeps retained messages.
    pub(super) retain_available: bool,
    /// How many messages may wait for the server's acknowledgement.
    pub(super) receive_maximum: u16,
    /// The largest packet the server takes; `None`: it names no limit.
    pub(super) maximum_packet_size: Option<u32>,
    pub(super) words: Words,
}

/// A refusing CONNACK, or a DISCONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Farewell {
    /// The number as it came.
    pub(super) raw: u8,
    /// The same as a reason code of MQTT 5.
    pub(super) reason: u8,
    pub(super) words: Words,
}

/// The server's words, as they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) reason_string: Option<String>,
    pub(super) server_reference: Option<String>,
    pub(super) user_properties: Vec<(String, String)>,
}

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// `None`: QoS 0, which has no acknowledgement.
    pub(super) packet: Option<PacketId>,
    pub(super) topic: String,
    pub(super) retain: bool,
    pub(super) payload: Bytes,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The CONNACK is awaited.
    First,
    Open,
    /// The server, or we, have said the last word.
    Over,
}

/// The MQTT of one network connection.
pub(super) struct Wire {
    connection: Connection<role::Client>,
    protocol: Protocol,
    phase: Phase,
    /// The largest packet the server takes.
    maximum_packet_size: Option<u32>,
}

impl Wire {
    pub(super) fn new(protocol: Protocol) -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAXIMUM_PACKET_SIZE);
        let (version, options) = match protocol {
            Protocol::V5 => (Version::V5_0, options.receive_maximum(RECEIVE_MAXIMUM)),
            // A 3.1.1 server is never told a limit, so none is held against it.
            Protocol::V311 => (Version::V3_1_1, options),
        };
        Self {
            connection: Connection::with_options(version, options),
            protocol,
            phase: Phase::First,
            maximum_packet_size: None,
        }
    }
}

impl Words {
    /// The first user property of this name.
    pub(super) fn user_property(&self, name: &str) -> Option<&str> {
        self.user_properties
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value.as_str()))
    }
}

/// What the library wants done: bytes to send, a packet received, an error.
fn absorb(events: Vec<Event>, output: &mut BytesMut) -> (Option<AnyPacket>, Option<MqttError>) {
    let mut received = None;
    let mut failed = None;
    for event in events {
        match event {
            Event::RequestSendPacket { packet, .. } => {
                output.extend_from_slice(&packet.to_continuous_buffer());
            }
            Event::NotifyPacketReceived(packet) => received = Some(packet),
            Event::NotifyError(error) => failed = failed.or(Some(error)),
            // Ids are the library's own; its timers are not used, and a close follows an error or our own
            // farewell.
            Event::NotifyPacketIdReleased(_)
            | Event::RequestTimerReset { .. }
            | Event::RequestTimerCancel(_)
            | Event::RequestClose => {}
        }
    }
    (received, failed)
}

#[cfg(test)]
mod tests;
