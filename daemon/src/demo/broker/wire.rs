//! Bytes to packets and back: the only place of the broker that knows the MQTT codec.
//!
//! The codec's gaps are closed here. Packets are framed before they reach it, so no half packet ever lives in
//! it and a large one is refused by its header. What it lets pass and the standard forbids is checked. One
//! `Wire` serves one network connection and is thrown away with it.

mod read;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use imd_core::time::BootTime;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, GenericConnection, GenericEvent};
use mqtt_protocol_core::mqtt::packet::{self, GenericPacket, GenericPacketTrait as _, Property, SubEntry};
use mqtt_protocol_core::mqtt::packet::{v3_1_1, v5_0};
use mqtt_protocol_core::mqtt::result_code::{ConnectReasonCode, ConnectReturnCode, MqttError};
use mqtt_protocol_core::mqtt::{Version, role};
use zeroize::Zeroizing;

use super::raw::{self, Announcement, Length, MAXIMUM_PACKET_SIZE};
use super::script::Reply;
use super::session::{Message, Outgoing, Subscription};
use super::topic;
use super::{Protocol, Qos};

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const TOPIC_FILTER_INVALID: u8 = 0x8F;
const TOPIC_NAME_INVALID: u8 = 0x90;
const PACKET_TOO_LARGE: u8 = 0x95;
const QOS_NOT_SUPPORTED: u8 = 0x9B;
const NO_SHARED_SUBSCRIPTIONS: u8 = 0x9E;
const NO_SUBSCRIPTION_IDENTIFIERS: u8 = 0xA1;

type Packet = GenericPacket<u16>;
type Event = GenericEvent<u16>;

/// The end of a connection that broke the protocol. What is to be said to the client stands in the output.
#[derive(Debug)]
pub(super) struct Fault(pub(super) String);

/// The client takes no packet of this size.
pub(super) struct TooLarge;

/// A packet of a client.
pub(super) enum Received {
    Connect(Box<Connect>),
    Publish {
        message: Message,
        packet_id: Option<u16>,
        dup: bool,
    },
    Puback {
        packet_id: u16,
        code: u8,
    },
    Subscribe {
        packet_id: u16,
        filters: Vec<(String, Subscription)>,
    },
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect {
        code: u8,
        session_expiry: Option<u32>,
    },
}

/// A CONNECT. It has no Debug: the password is in it.
pub(super) struct Connect {
    pub(super) protocol: Protocol,
    pub(super) client_id: String,
    pub(super) user_name: Option<String>,
    pub(super) password: Option<Zeroizing<Vec<u8>>>,
    pub(super) clean: bool,
    pub(super) keep_alive: u16,
    pub(super) session_expiry: u32,
    pub(super) receive_maximum: u16,
    /// The client wants an exchange of AUTH packets.
    pub(super) wants_authentication: bool,
}

/// The properties of a PUBLISH that go on to its receivers.
#[derive(Clone, Default)]
pub(super) struct Forwarded(packet::Properties);

/// One network connection's codec.
pub(super) struct Wire {
    codec: GenericConnection<role::Server, u16>,
    /// Known from the CONNECT on.
    protocol: Option<Protocol>,
    output: BytesMut,
}

impl Wire {
    pub(super) fn new() -> Self {
        let options = ConnectionOptions::new().maximum_packet_size_recv(MAXIMUM_PACKET_SIZE);
        Self {
            codec: GenericConnection::with_options(Version::Undetermined, options),
            protocol: None,
            output: BytesMut::new(),
        }
    }

    /// What is to be written to the socket.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// Takes one packet off the input; `None` while it is not there as a whole.
    pub(super) fn next(&mut self, input: &mut BytesMut, now: BootTime) -> Result<Option<Received>, Fault> {
        let Some(frame) = self.frame(input)? else {
            return Ok(None);
        };
        let completed = match self.protocol {
            None => raw::with_empty_user_name(&frame),
            Some(_) => None,
        };
        let bytes = completed.as_deref().unwrap_or(&frame);
        let events = self.codec.recv(&mut Cursor::new(bytes));
        let before = self.output.len();
        let packet = self.digest(events).map_err(|Fault(text)| {
            // The codec finds some faults without a word to the client.
            if self.output.len() == before {
                self.fault(PROTOCOL_ERROR, &text)
            } else {
                Fault(text)
            }
        })?;
        packet.map(|packet| self.read(packet, now)).transpose()
    }

    /// Cuts one packet off the input.
    fn frame(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, Fault> {
        let Some((first, rest)) = input.split_first() else {
            return Ok(None);
        };
        let first = *first;
        let (value, bytes) = match raw::read_length(rest) {
            Length::Known { value, bytes } => (value, bytes),
            Length::Incomplete => return Ok(None),
            Length::Malformed => return Err(self.fault(MALFORMED, "a packet length of more than four bytes")),
        };
        let size = 1 + bytes + value;
        if u32::try_from(size).is_ok_and(|size| size > MAXIMUM_PACKET_SIZE) {
            return Err(self.fault(
                PACKET_TOO_LARGE,
                &format!("a packet of {size} bytes; the limit is {MAXIMUM_PACKET_SIZE}"),
            ));
        }
        if !read::has_legal_flags(first) {
            return Err(self.fault(MALFORMED, &format!("a packet that begins with 0x{first:02x}")));
        }
        if self.protocol.is_none() && first != 0x10 {
            return Err(Fault("the first packet is not a CONNECT".to_owned()));
        }
        if input.len() < size {
            return Ok(None);
        }
        Ok(Some(input.split_to(size).freeze()))
    }

    /// Puts what the codec wants to send into the output and gives what it has received.
    fn digest(&mut self, events: Vec<Event>) -> Result<Option<Packet>, Fault> {
        let mut received = None;
        let mut fault = None;
        for event in events {
            match event {
                Event::NotifyPacketReceived(packet) => received = Some(packet),
                Event::RequestSendPacket { packet, .. } => {
                    self.output.extend_from_slice(&packet.to_continuous_buffer());
                }
                Event::NotifyError(error) => {
                    if error == MqttError::UnsupportedProtocolVersion && self.output.is_empty() {
                        // Every version before 5 reads this form, and a later one its code.
                        self.refuse(Protocol::V3_1_1, &Reply::code(1));
                    }
                    fault = Some(error.to_string());
                }
                // Deadlines are the connection's own; an end always comes with an error or is asked for.
                Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_)
                | Event::RequestClose => {}
            }
        }
        match fault {
            Some(fault) => Err(Fault(fault)),
            None => Ok(received),
        }
    }

    fn read(&mut self, packet: Packet, now: BootTime) -> Result<Received, Fault> {
        match packet {
            Packet::V3_1_1Connect(packet) => {
                self.protocol = Some(Protocol::V3_1_1);
                Ok(Received::Connect(Box::new(read::connect_v3_1_1(&packet))))
            }
            Packet::V5_0Connect(packet) => {
                self.protocol = Some(Protocol::V5);
                Ok(Received::Connect(Box::new(read::connect_v5(&packet))))
            }
            Packet::V3_1_1Publish(packet) => {
                let message = Message {
                    topic: packet.topic_name().to_owned(),
                    payload: Bytes::copy_from_slice(packet.payload().as_slice()),
                    qos: self.quality(packet.qos())?,
                    retain: packet.retain(),
                    properties: Forwarded::default(),
                    expires: None,
                    publisher: None,
                };
                self.published(message, packet.packet_id(), packet.dup())
            }
            Packet::V5_0Publish(packet) => {
                let (properties, expiry) = self.forwarded(packet.props())?;
                let message = Message {
                    topic: packet.topic_name().to_owned(),
                    payload: Bytes::copy_from_slice(packet.payload().as_slice()),
                    qos: self.quality(packet.qos())?,
                    retain: packet.retain(),
                    properties,
                    expires: expiry.map(|seconds| now + Duration::from_secs(u64::from(seconds))),
                    publisher: None,
                };
                self.published(message, packet.packet_id(), packet.dup())
            }
            Packet::V3_1_1Puback(packet) => Ok(Received::Puback {
                packet_id: packet.packet_id(),
                code: 0,
            }),
            Packet::V5_0Puback(packet) => Ok(Received::Puback {
                packet_id: packet.packet_id(),
                code: packet.reason_code().map_or(0, |code| code as u8),
            }),
            Packet::V3_1_1Subscribe(packet) => self.subscribe(packet.packet_id(), packet.entries()),
            Packet::V5_0Subscribe(packet) => {
                let identified = packet
                    .props()
                    .iter()
                    .any(|property| matches!(property, Property::SubscriptionIdentifier(_)));
                if identified {
                    return Err(self.fault(NO_SUBSCRIPTION_IDENTIFIERS, "a subscription identifier"));
                }
                self.subscribe(packet.packet_id(), packet.entries())
            }
            Packet::V3_1_1Unsubscribe(packet) => self.unsubscribe(
                packet.packet_id(),
                packet
                    .entries()
                    .iter()
                    .map(|filter| filter.as_str().to_owned())
                    .collect(),
            ),
            Packet::V5_0Unsubscribe(packet) => self.unsubscribe(
                packet.packet_id(),
                packet
                    .entries()
                    .iter()
                    .map(|filter| filter.as_str().to_owned())
                    .collect(),
            ),
            Packet::V3_1_1Pingreq(_) | Packet::V5_0Pingreq(_) => Ok(Received::Ping),
            Packet::V3_1_1Disconnect(_) => Ok(Received::Disconnect {
                code: 0,
                session_expiry: None,
            }),
            Packet::V5_0Disconnect(packet) => Ok(Received::Disconnect {
                code: packet.reason_code().map_or(0, |code| code as u8),
                session_expiry: packet.props().as_ref().and_then(read::session_expiry),
            }),
            Packet::V3_1_1Connack(_)
            | Packet::V3_1_1Suback(_)
            | Packet::V3_1_1Unsuback(_)
            | Packet::V3_1_1Pubrec(_)
            | Packet::V3_1_1Pubrel(_)
            | Packet::V3_1_1Pubcomp(_)
            | Packet::V3_1_1Pingresp(_)
            | Packet::V5_0Connack(_)
            | Packet::V5_0Suback(_)
            | Packet::V5_0Unsuback(_)
            | Packet::V5_0Pubrec(_)
            | Packet::V5_0Pubrel(_)
            | Packet::V5_0Pubcomp(_)
            | Packet::V5_0Pingresp(_)
            | Packet::V5_0Auth(_) => Err(self.fault(PROTOCOL_ERROR, "a packet a server does not take")),
        }
    }

    fn published(&mut self, message: Message, packet_id: Option<u16>, dup: bool) -> Result<Received, Fault> {
        if packet_id == Some(0) {
            return Err(self.fault(PROTOCOL_ERROR, "a PUBLISH with packet identifier 0"));
        }
        if !topic::is_valid_name(&message.topic) {
            return Err(self.fault(TOPIC_NAME_INVALID, "a PUBLISH to a name that is none"));
        }
        Ok(Received::Publish {
            message,
            packet_id,
            dup,
        })
    }

    fn subscribe(&mut self, packet_id: u16, entries: &[SubEntry]) -> Result<Received, Fault> {
        let filters: Vec<(String, Subscription)> = entries.iter().map(read::subscription).collect();
        self.check(packet_id, filters.iter().map(|(filter, _)| filter.as_str()))?;
        Ok(Received::Subscribe { packet_id, filters })
    }

    fn unsubscribe(&mut self, packet_id: u16, filters: Vec<String>) -> Result<Received, Fault> {
        self.check(packet_id, filters.iter().map(String::as_str))?;
        Ok(Received::Unsubscribe { packet_id, filters })
    }

    fn check<'a>(&mut self, packet_id: u16, mut filters: impl Iterator<Item = &'a str>) -> Result<(), Fault> {
        if packet_id == 0 {
            return Err(self.fault(PROTOCOL_ERROR, "packet identifier 0"));
        }
        let wrong = filters.find_map(|filter| {
            if filter.starts_with("$share/") {
                Some((NO_SHARED_SUBSCRIPTIONS, "a shared subscription"))
            } else if topic::is_valid_filter(filter) {
                None
            } else {
                Some((TOPIC_FILTER_INVALID, "a topic filter that is none"))
            }
        });
        match wrong {
            Some((code, what)) => Err(self.fault(code, what)),
            None => Ok(()),
        }
    }

    fn quality(&mut self, qos: packet::Qos) -> Result<Qos, Fault> {
        match qos {
            packet::Qos::AtMostOnce => Ok(Qos::AtMostOnce),
            packet::Qos::AtLeastOnce => Ok(Qos::AtLeastOnce),
            packet::Qos::ExactlyOnce => Err(self.fault(QOS_NOT_SUPPORTED, "a PUBLISH of QoS 2")),
        }
    }

    /// The properties that go on, and the message's life in seconds.
    fn forwarded(&mut self, properties: &packet::Properties) -> Result<(Forwarded, Option<u32>), Fault> {
        let mut expiry = None;
        let mut forwarded = packet::Properties::new();
        for property in properties {
            if let Property::MessageExpiryInterval(seconds) = property {
                expiry = Some(seconds.val());
            } else if matches!(property, Property::SubscriptionIdentifier(_)) {
                return Err(self.fault(PROTOCOL_ERROR, "a PUBLISH with a subscription identifier"));
            } else if !matches!(property, Property::TopicAlias(_)) {
                forwarded.push(property.clone());
            }
        }
        Ok((Forwarded(forwarded), expiry))
    }

    /// Ends the conversation: a DISCONNECT with this code where the version has one.
    fn fault(&mut self, code: u8, what: &str) -> Fault {
        if let Some(protocol) = self.protocol {
            self.output
                .extend_from_slice(&raw::disconnect(protocol, &Reply::code(code).reason(what)));
        }
        Fault(what.to_owned())
    }

    /// Accepts the CONNECT.
    pub(super) fn accept(
        &mut self,
        session_present: bool,
        reply: &Reply,
        announcement: &Announcement,
    ) -> Result<(), Fault> {
        let protocol = self.spoken()?;
        let events = match protocol {
            Protocol::V3_1_1 => {
                let connack = v3_1_1::Connack::builder()
                    .return_code(ConnectReturnCode::Accepted)
                    .session_present(session_present)
                    .build();
                self.codec.checked_send(connack.map_err(refused_by_codec)?)
            }
            Protocol::V5 => {
                let maximum =
                    packet::ReceiveMaximum::new(announcement.receive_maximum).map_err(refused_by_codec)?;
                let connack = v5_0::Connack::builder()
                    .reason_code(ConnectReasonCode::Success)
                    .session_present(session_present)
                    .props(vec![Property::ReceiveMaximum(maximum)])
                    .build();
                self.codec.checked_send(connack.map_err(refused_by_codec)?)
            }
        };
        self.sent_by_hand(
            events,
            &raw::accept(protocol, session_present, reply, announcement),
        )
    }

    /// Refuses the CONNECT.
    pub(super) fn refuse(&mut self, protocol: Protocol, reply: &Reply) {
        self.output.extend_from_slice(&raw::refuse(protocol, reply));
    }

    /// Says this, whatever it is.
    pub(super) fn say(&mut self, bytes: &[u8]) {
        self.output.extend_from_slice(bytes);
    }

    /// Sends a message.
    pub(super) fn publish(&mut self, outgoing: &Outgoing) -> Result<Result<(), TooLarge>, Fault> {
        let protocol = self.spoken()?;
        if let Some(packet_id) = outgoing.packet_id {
            self.codec
                .register_packet_id(packet_id)
                .map_err(refused_by_codec)?;
        }
        let message = &outgoing.message;
        let qos = match outgoing.packet_id {
            Some(_) => packet::Qos::AtLeastOnce,
            None => packet::Qos::AtMostOnce,
        };
        let events = match protocol {
            Protocol::V3_1_1 => {
                let mut builder = v3_1_1::Publish::builder()
                    .topic_name(message.topic.as_str())
                    .map_err(refused_by_codec)?
                    .qos(qos)
                    .retain(outgoing.retain)
                    .dup(outgoing.dup)
                    .payload(&message.payload[..]);
                if let Some(packet_id) = outgoing.packet_id {
                    builder = builder.packet_id(packet_id);
                }
                self.codec
                    .checked_send(builder.build().map_err(refused_by_codec)?)
            }
            Protocol::V5 => {
                let mut properties = message.properties.0.clone();
                if let Some(seconds) = outgoing.expiry_left {
                    let interval = packet::MessageExpiryInterval::new(seconds).map_err(refused_by_codec)?;
                    properties.push(Property::MessageExpiryInterval(interval));
                }
                let mut builder = v5_0::Publish::builder()
                    .topic_name(message.topic.as_str())
                    .map_err(refused_by_codec)?
                    .qos(qos)
                    .retain(outgoing.retain)
                    .dup(outgoing.dup)
                    .props(properties)
                    .payload(&message.payload[..]);
                if let Some(packet_id) = outgoing.packet_id {
                    builder = builder.packet_id(packet_id);
                }
                self.codec
                    .checked_send(builder.build().map_err(refused_by_codec)?)
            }
        };
        let too_large = events
            .iter()
            .any(|event| matches!(event, Event::NotifyError(MqttError::PacketTooLarge)));
        if too_large {
            if let Some(packet_id) = outgoing.packet_id {
                self.codec.release_packet_id(packet_id);
            }
            return Ok(Err(TooLarge));
        }
        self.digest(events).map(|_| Ok(()))
    }

    /// Acknowledges a PUBLISH.
    pub(super) fn puback(&mut self, packet_id: u16, code: u8) -> Result<(), Fault> {
        let protocol = self.spoken()?;
        let events = match protocol {
            Protocol::V3_1_1 => {
                let puback = v3_1_1::Puback::builder().packet_id(packet_id).build();
                self.codec.checked_send(puback.map_err(refused_by_codec)?)
            }
            Protocol::V5 => {
                let puback = v5_0::Puback::builder().packet_id(packet_id).build();
                self.codec.checked_send(puback.map_err(refused_by_codec)?)
            }
        };
        self.sent_by_hand(events, &raw::puback(protocol, packet_id, code))
    }

    /// Answers a SUBSCRIBE.
    pub(super) fn suback(&mut self, packet_id: u16, codes: &[u8]) -> Result<(), Fault> {
        let protocol = self.spoken()?;
        self.output
            .extend_from_slice(&raw::suback(protocol, packet_id, codes));
        Ok(())
    }

    /// Answers an UNSUBSCRIBE.
    pub(super) fn unsuback(&mut self, packet_id: u16, codes: &[u8]) -> Result<(), Fault> {
        let protocol = self.spoken()?;
        self.output
            .extend_from_slice(&raw::unsuback(protocol, packet_id, codes));
        Ok(())
    }

    /// Answers a PINGREQ.
    pub(super) fn pingresp(&mut self) {
        self.output.extend_from_slice(&raw::PINGRESP);
    }

    /// Says DISCONNECT, where the version lets a server say it.
    pub(super) fn disconnect(&mut self, reply: &Reply) {
        if let Some(protocol) = self.protocol {
            self.output.extend_from_slice(&raw::disconnect(protocol, reply));
        }
    }

    fn spoken(&self) -> Result<Protocol, Fault> {
        self.protocol
            .ok_or_else(|| Fault("an answer before any CONNECT".to_owned()))
    }

    /// The codec keeps count of a packet it would have written itself; these bytes go out in its place.
    fn sent_by_hand(&mut self, events: Vec<Event>, bytes: &[u8]) -> Result<(), Fault> {
        let before = self.output.len();
        let digested = self.digest(events);
        self.output.truncate(before);
        digested?;
        self.output.extend_from_slice(bytes);
        Ok(())
    }
}

fn refused_by_codec(error: MqttError) -> Fault {
    Fault(format!("the codec refused to write a packet: {error}"))
}
