//! What the server sends.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use imd_core::io::Protocol;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::packet::{Packet as AnyPacket, Property, Qos, v5_0};
use mqtt_protocol_core::mqtt::result_code::{
    ConnectReasonCode, DisconnectReasonCode, MqttError, PubackReasonCode, SubackReasonCode,
};

use super::super::frame::{
    CONNACK, DISCONNECT, Frame, PINGRESP, PUBACK, PUBLISH, SUBACK, UNSUBACK, Violation, reason_of_return_code,
};
use super::{Accepted, Farewell, Message, Packet, PacketId, Phase, Wire, Words, absorb};

impl Wire {
    /// The next whole packet in `input`, if there is one. After an error nothing more is read; `output` may
    /// then have a DISCONNECT that names the fault.
    pub(in crate::link) fn receive(
        &mut self,
        input: &mut BytesMut,
        output: &mut BytesMut,
    ) -> Result<Option<Packet>, Violation> {
        let received = match self.phase {
            Phase::Over => return Ok(None),
            Phase::First => self.receive_first(input),
            Phase::Open => match Frame::take(input) {
                Ok(Some(frame)) => self.receive_frame(frame, output).map(Some),
                Ok(None) => Ok(None),
                Err(violation) => Err(violation),
            },
        };
        match &received {
            Ok(Some(Packet::Refused(_) | Packet::Disconnect(_))) => self.phase = Phase::Over,
            Ok(_) => {}
            Err(_) => {
                self.tell_violation(output);
                self.phase = Phase::Over;
            }
        }
        received
    }

    fn receive_first(&mut self, input: &mut BytesMut) -> Result<Option<Packet>, Violation> {
        match input.first() {
            None => return Ok(None),
            Some(byte) if byte >> 4 == CONNACK => {}
            Some(byte) => {
                let hint = if input.starts_with(b"H") { " (HTTP?)" } else { "" };
                return Err(Violation(format!(
                    "the server's first byte is {byte:#04x} and begins no CONNACK{hint}"
                )));
            }
        }
        let Some(frame) = Frame::take(input)? else {
            return Ok(None);
        };
        let accepted = match (frame.byte(1), self.protocol) {
            (None, _) => return Err(malformed(&frame)),
            // This long is the CONNACK of a server that has no MQTT 5.
            (Some(code), Protocol::V5) if frame.body().len() == 2 => {
                let reason = if code == 0 {
                    0x84
                } else {
                    reason_of_return_code(code)
                };
                return Ok(Some(Packet::Refused(Farewell {
                    raw: code,
                    reason,
                    words: Words::default(),
                })));
            }
            (Some(0), _) => self.receive_acceptance(&frame)?,
            (Some(code), Protocol::V5) => return refusal(frame, code).map(Some),
            (Some(code), Protocol::V311) => {
                return Ok(Some(Packet::Refused(Farewell {
                    raw: code,
                    reason: reason_of_return_code(code),
                    words: Words::default(),
                })));
            }
        };
        self.phase = Phase::Open;
        Ok(Some(Packet::Accepted(accepted)))
    }

    fn receive_acceptance(&mut self, frame: &Frame) -> Result<Accepted, Violation> {
        check_flags(frame)?;
        if frame.byte(0).is_some_and(|flags| flags > 1) {
            return Err(malformed(frame));
        }
        let packet = self.feed(frame, &mut BytesMut::new())?;
        if let AnyPacket::V3_1_1Connack(connack) = &packet {
            return Ok(Accepted {
                session_present: connack.session_present(),
                keep_alive: None,
                retain_available: true,
                receive_maximum: u16::MAX,
                maximum_packet_size: None,
                words: Words::default(),
            });
        }
        let AnyPacket::V5_0Connack(connack) = &packet else {
            return Err(malformed(frame));
        };
        let mut accepted = Accepted {
            session_present: connack.session_present(),
            keep_alive: None,
            retain_available: true,
            receive_maximum: u16::MAX,
            maximum_packet_size: None,
            words: Words::of(connack.props()),
        };
        for property in connack.props() {
            if let Property::ServerKeepAlive(seconds) = property {
                accepted.keep_alive = Some(Duration::from_secs(seconds.val().into()));
            } else if let Property::RetainAvailable(available) = property {
                accepted.retain_available = available.val() != 0;
            } else if let Property::ReceiveMaximum(most) = property {
                accepted.receive_maximum = most.val();
            } else if let Property::MaximumPacketSize(largest) = property {
                accepted.maximum_packet_size = Some(largest.val());
                self.maximum_packet_size = Some(largest.val());
            } else if let Property::MaximumQos(highest) = property
                && highest.val() == 0
            {
                return Err(Violation::new(
                    "the server takes QoS 0 alone, so it would acknowledge no message",
                ));
            }
        }
        Ok(accepted)
    }

    fn receive_frame(&mut self, mut frame: Frame, output: &mut BytesMut) -> Result<Packet, Violation> {
        match frame.packet_type() {
            PUBLISH => {}
            PUBACK | SUBACK | UNSUBACK | PINGRESP | DISCONNECT => check_flags(&frame)?,
            CONNACK => return Err(Violation::new("the server sent a second CONNACK")),
            other => {
                return Err(Violation(format!(
                    "the server sent a packet of type {other}, which nothing here asks for"
                )));
            }
        }
        match frame.packet_type() {
            PUBLISH => self.receive_message(&frame, output),
            PUBACK => self.receive_puback(frame, output),
            SUBACK => self.receive_suback(frame, output),
            UNSUBACK => self.receive_unsuback(frame, output),
            DISCONNECT if self.protocol == Protocol::V5 => farewell(&mut frame).map(Packet::Disconnect),
            _ => self.feed(&frame, output).map(|_| Packet::Pong),
        }
    }

    fn receive_message(&mut self, frame: &Frame, output: &mut BytesMut) -> Result<Packet, Violation> {
        let packet = self.feed(frame, output)?;
        let (qos, packet_id, message) = if let AnyPacket::V5_0Publish(publish) = &packet {
            let message = (publish.topic_name(), publish.retain(), publish.payload());
            (publish.qos(), publish.packet_id(), message)
        } else if let AnyPacket::V3_1_1Publish(publish) = &packet {
            let message = (publish.topic_name(), publish.retain(), publish.payload());
            (publish.qos(), publish.packet_id(), message)
        } else {
            return Err(malformed(frame));
        };
        let (topic, retain, payload) = message;
        if qos == Qos::ExactlyOnce {
            return Err(Violation::new(
                "the server sent a message with QoS 2, though QoS 1 was subscribed",
            ));
        }
        if packet_id == Some(0) {
            return Err(Violation::new("the server sent a message with packet id 0"));
        }
        if topic.is_empty() || topic.contains(['#', '+', '\0']) {
            return Err(Violation::new(
                "the server sent a message whose topic is empty or has a wildcard in it",
            ));
        }
        Ok(Packet::Message(Message {
            packet: packet_id.map(PacketId),
            topic: topic.to_owned(),
            retain,
            payload: Bytes::copy_from_slice(payload.as_slice()),
        }))
    }

    fn receive_puback(&mut self, mut frame: Frame, output: &mut BytesMut) -> Result<Packet, Violation> {
        let reason = frame.byte(2).unwrap_or_default();
        if reason >= 0x80 && PubackReasonCode::try_from(reason).is_err() {
            frame.mask(2);
        }
        let packet = self.feed(&frame, output)?;
        if let AnyPacket::V5_0Puback(puback) = &packet {
            Ok(Packet::PublishAcknowledged {
                packet: PacketId(puback.packet_id()),
                reason,
                words: puback
                    .props()
                    .as_ref()
                    .map(|all| Words::of(all))
                    .unwrap_or_default(),
            })
        } else if let AnyPacket::V3_1_1Puback(puback) = &packet {
            Ok(Packet::PublishAcknowledged {
                packet: PacketId(puback.packet_id()),
                reason: 0,
                words: Words::default(),
            })
        } else {
            Err(malformed(&frame))
        }
    }

    fn receive_suback(&mut self, mut frame: Frame, output: &mut BytesMut) -> Result<Packet, Violation> {
        let begin = match self.protocol {
            Protocol::V5 => frame.end_of_properties(2),
            Protocol::V311 => Some(2),
        };
        let begin = begin.ok_or_else(|| malformed(&frame))?;
        let reasons = frame.body().get(begin..).unwrap_or_default().to_vec();
        for (at, reason) in reasons.iter().enumerate() {
            if *reason >= 0x80
                && (self.protocol == Protocol::V311 || SubackReasonCode::try_from(*reason).is_err())
            {
                frame.mask(begin + at);
            }
        }
        let packet = self.feed(&frame, output)?;
        let (packet, words) = if let AnyPacket::V5_0Suback(suback) = &packet {
            (suback.packet_id(), Words::of(suback.props()))
        } else if let AnyPacket::V3_1_1Suback(suback) = &packet {
            (suback.packet_id(), Words::default())
        } else {
            return Err(malformed(&frame));
        };
        Ok(Packet::SubscribeAcknowledged {
            packet: PacketId(packet),
            reasons,
            words,
        })
    }

    fn receive_unsuback(&mut self, mut frame: Frame, output: &mut BytesMut) -> Result<Packet, Violation> {
        if self.protocol == Protocol::V5 {
            let begin = frame.end_of_properties(2).ok_or_else(|| malformed(&frame))?;
            // What it says of a filter changes nothing here: one that is still there is dropped again when
            // something comes.
            for at in begin..frame.body().len() {
                frame.mask(at);
            }
        }
        let packet = self.feed(&frame, output)?;
        let packet = if let AnyPacket::V5_0Unsuback(unsuback) = &packet {
            unsuback.packet_id()
        } else if let AnyPacket::V3_1_1Unsuback(unsuback) = &packet {
            unsuback.packet_id()
        } else {
            return Err(malformed(&frame));
        };
        Ok(Packet::UnsubscribeAcknowledged {
            packet: PacketId(packet),
        })
    }

    /// Gives the library one whole packet, and returns it as read.
    fn feed(&mut self, frame: &Frame, output: &mut BytesMut) -> Result<AnyPacket, Violation> {
        let mut cursor = Cursor::new(frame.bytes());
        let events = self.connection.recv(&mut cursor);
        match absorb(events, output) {
            (_, Some(error)) => {
                // The library may have said DISCONNECT itself.
                Err(Violation(format!("{}: {error:?}", malformed(frame))))
            }
            (Some(packet), None) => Ok(packet),
            (None, None) => Err(malformed(frame)),
        }
    }

    /// DISCONNECT with "protocol error", unless the library has said farewell already.
    fn tell_violation(&mut self, output: &mut BytesMut) {
        if self.phase != Phase::Open || self.protocol != Protocol::V5 {
            return;
        }
        let built = v5_0::Disconnect::builder()
            .reason_code(DisconnectReasonCode::ProtocolError)
            .build();
        if let Ok(disconnect) = built {
            // It refuses when it has sent one.
            let _: (Option<AnyPacket>, Option<MqttError>) =
                absorb(self.connection.send(disconnect.into()), output);
        }
    }
}

impl Words {
    fn of(properties: &[Property]) -> Self {
        let mut words = Self::default();
        for property in properties {
            if let Property::ReasonString(text) = property {
                words.reason_string = Some(text.val().to_owned());
            } else if let Property::ServerReference(text) = property {
                words.server_reference = Some(text.val().to_owned());
            } else if let Property::UserProperty(pair) = property {
                words
                    .user_properties
                    .push((pair.key().to_owned(), pair.val().to_owned()));
            }
        }
        words
    }
}

/// A refusing CONNACK of MQTT 5.
fn refusal(mut frame: Frame, code: u8) -> Result<Packet, Violation> {
    if ConnectReasonCode::try_from(code).is_err() {
        frame.mask(1);
    }
    // Where the rest cannot be read, the number still counts.
    let words = v5_0::Connack::parse(frame.body())
        .map(|(connack, _)| Words::of(connack.props()))
        .unwrap_or_default();
    Ok(Packet::Refused(Farewell {
        raw: code,
        // Some servers put 3.1.1's numbers into MQTT 5's packet.
        reason: reason_of_return_code(code),
        words,
    }))
}

/// A DISCONNECT of MQTT 5.
fn farewell(frame: &mut Frame) -> Result<Farewell, Violation> {
    let reason = frame.byte(0).unwrap_or_default();
    if DisconnectReasonCode::try_from(reason).is_err() {
        frame.mask(0);
    }
    let words = v5_0::Disconnect::parse(frame.body())
        .ok()
        .and_then(|(disconnect, _)| disconnect.props().as_ref().map(|all| Words::of(all)))
        .unwrap_or_default();
    Ok(Farewell {
        raw: reason,
        reason,
        words,
    })
}

fn check_flags(frame: &Frame) -> Result<(), Violation> {
    if frame.flags() == 0 {
        Ok(())
    } else {
        Err(malformed(frame))
    }
}

fn malformed(frame: &Frame) -> Violation {
    let name = match frame.packet_type() {
        CONNACK => "CONNACK",
        PUBLISH => "PUBLISH",
        PUBACK => "PUBACK",
        SUBACK => "SUBACK",
        UNSUBACK => "UNSUBACK",
        PINGRESP => "PINGRESP",
        DISCONNECT => "DISCONNECT",
        _ => "packet",
    };
    Violation(format!("the server sent a {name} that is not as MQTT wants it"))
}
