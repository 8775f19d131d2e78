//! What we send.

use bytes::BytesMut;
use imd_core::io::Protocol;
use mqtt_protocol_core::mqtt::packet::prelude::GenericPacketTrait as _;
use mqtt_protocol_core::mqtt::packet::{
    Packet as AnyPacket, Property, Qos, SessionExpiryInterval, SubEntry, SubOpts, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};

use super::super::frame::{Violation, without_user_name};
use super::{Connect, PacketId, Phase, Publish, Unsent, Wire, absorb};

impl Wire {
    /// Writes CONNECT.
    pub(in crate::link) fn connect(
        &mut self,
        connect: &Connect<'_>,
        output: &mut BytesMut,
    ) -> Result<(), Violation> {
        let keep_alive = u16::try_from(connect.keep_alive.as_millis().div_ceil(1000)).unwrap_or(u16::MAX);
        let packet: AnyPacket = match self.protocol {
            Protocol::V5 => {
                let expiry = u32::try_from(connect.session_expiry.as_secs()).unwrap_or(u32::MAX);
                let expiry = SessionExpiryInterval::new(expiry).map_err(unsendable)?;
                v5_0::Connect::builder()
                    .client_id(connect.client_id)
                    .and_then(|packet| packet.user_name(connect.user_name.unwrap_or_default()))
                    .and_then(|packet| packet.password(connect.password))
                    .and_then(|packet| {
                        packet
                            .clean_start(connect.clean)
                            .keep_alive(keep_alive)
                            .props(vec![Property::SessionExpiryInterval(expiry)])
                            .build()
                    })
                    .map_err(unsendable)?
                    .into()
            }
            Protocol::V311 => {
                let user_name = connect
                    .user_name
                    .ok_or_else(|| Violation::new("MQTT 3.1.1 cannot send a token without a user name"))?;
                v3_1_1::Connect::builder()
                    .client_id(connect.client_id)
                    .and_then(|packet| packet.user_name(user_name))
                    .and_then(|packet| packet.password(connect.password))
                    .and_then(|packet| packet.clean_session(connect.clean).keep_alive(keep_alive).build())
                    .map_err(unsendable)?
                    .into()
            }
        };
        if connect.user_name.is_some() {
            return self.send(packet, output);
        }
        let mut bytes = BytesMut::new();
        self.send(packet, &mut bytes)?;
        let bytes = without_user_name(&bytes, connect.password.len())
            .ok_or_else(|| Violation::new("a CONNECT without a user name could not be made"))?;
        output.extend_from_slice(&bytes);
        Ok(())
    }

    /// Writes SUBSCRIBE with QoS 1, and with what this connection itself publishes.
    pub(in crate::link) fn subscribe(
        &mut self,
        filters: &[String],
        output: &mut BytesMut,
    ) -> Result<PacketId, Violation> {
        let entries = filters
            .iter()
            .map(|filter| SubEntry::new(filter.as_str(), SubOpts::new().set_qos(Qos::AtLeastOnce)))
            .collect::<Result<Vec<_>, _>>()
            .map_err(unsendable)?;
        let packet = self.acquire()?;
        let built: Result<AnyPacket, MqttError> = match self.protocol {
            Protocol::V5 => v5_0::Subscribe::builder()
                .packet_id(packet.0)
                .entries(entries)
                .build()
                .map(Into::into),
            Protocol::V311 => v3_1_1::Subscribe::builder()
                .packet_id(packet.0)
                .entries(entries)
                .build()
                .map(Into::into),
        };
        self.send(built.map_err(unsendable)?, output)?;
        Ok(packet)
    }

    /// Writes UNSUBSCRIBE.
    pub(in crate::link) fn unsubscribe(
        &mut self,
        filter: &str,
        output: &mut BytesMut,
    ) -> Result<PacketId, Violation> {
        let packet = self.acquire()?;
        let built: Result<AnyPacket, MqttError> = match self.protocol {
            Protocol::V5 => v5_0::Unsubscribe::builder()
                .packet_id(packet.0)
                .entries([filter])
                .and_then(|builder| builder.build())
                .map(Into::into),
            Protocol::V311 => v3_1_1::Unsubscribe::builder()
                .packet_id(packet.0)
                .entries([filter])
                .and_then(|builder| builder.build())
                .map(Into::into),
        };
        self.send(built.map_err(unsendable)?, output)?;
        Ok(packet)
    }

    /// Keeps a packet id for a PUBLISH of the session's earlier connection, so that nothing else gets it.
    pub(in crate::link) fn reserve(&mut self, packet: PacketId) -> Result<(), Violation> {
        self.connection.register_packet_id(packet.0).map_err(unsendable)
    }

    /// Writes PUBLISH with QoS 1. One that is sent again goes out under its reserved id, as a duplicate.
    pub(in crate::link) fn publish(
        &mut self,
        publish: Publish<'_>,
        output: &mut BytesMut,
    ) -> Result<PacketId, Unsent> {
        let packet = match publish.again {
            Some(packet) => packet,
            None => self.acquire()?,
        };
        let (topic, dup, retain) = (publish.topic, publish.again.is_some(), publish.retain);
        let built: Result<AnyPacket, MqttError> = match self.protocol {
            Protocol::V5 => v5_0::Publish::builder()
                .topic_name(topic)
                .and_then(|builder| {
                    builder
                        .qos(Qos::AtLeastOnce)
                        .dup(dup)
                        .retain(retain)
                        .packet_id(packet.0)
                        .payload(publish.payload)
                        .build()
                })
                .map(Into::into),
            Protocol::V311 => v3_1_1::Publish::builder()
                .topic_name(topic)
                .and_then(|builder| {
                    builder
                        .qos(Qos::AtLeastOnce)
                        .dup(dup)
                        .retain(retain)
                        .packet_id(packet.0)
                        .payload(publish.payload)
                        .build()
                })
                .map(Into::into),
        };
        let built = built.map_err(unsendable)?;
        if let Some(limit) = self.maximum_packet_size
            && built.size() > limit as usize
        {
            // The library would keep the id for ever.
            absorb(self.connection.release_packet_id(packet.0), output);
            return Err(Unsent::TooLarge {
                size: built.size(),
                limit,
            });
        }
        self.send(built, output)?;
        Ok(packet)
    }

    /// Writes PUBACK for a message that came on this connection.
    pub(in crate::link) fn acknowledge(
        &mut self,
        packet: PacketId,
        output: &mut BytesMut,
    ) -> Result<(), Violation> {
        let built: Result<AnyPacket, MqttError> = match self.protocol {
            Protocol::V5 => v5_0::Puback::builder()
                .packet_id(packet.0)
                .build()
                .map(Into::into),
            Protocol::V311 => v3_1_1::Puback::builder()
                .packet_id(packet.0)
                .build()
                .map(Into::into),
        };
        self.send(built.map_err(unsendable)?, output)
    }

    /// Writes PINGREQ.
    pub(in crate::link) fn ping(&mut self, output: &mut BytesMut) -> Result<(), Violation> {
        let built: Result<AnyPacket, MqttError> = match self.protocol {
            Protocol::V5 => v5_0::Pingreq::builder().build().map(Into::into),
            Protocol::V311 => v3_1_1::Pingreq::builder().build().map(Into::into),
        };
        self.send(built.map_err(unsendable)?, output)
    }

    /// Writes DISCONNECT, if the server has taken the CONNECT: before that MQTT has no farewell.
    pub(in crate::link) fn disconnect(
        &mut self,
        end_session: bool,
        output: &mut BytesMut,
    ) -> Result<(), Violation> {
        if self.phase != Phase::Open {
            return Ok(());
        }
        self.phase = Phase::Over;
        let built: Result<AnyPacket, MqttError> = match self.protocol {
            Protocol::V5 => {
                let mut builder =
                    v5_0::Disconnect::builder().reason_code(DisconnectReasonCode::NormalDisconnection);
                if end_session {
                    let expiry = SessionExpiryInterval::new(0).map_err(unsendable)?;
                    builder = builder.props(vec![Property::SessionExpiryInterval(expiry)]);
                }
                builder.build().map(Into::into)
            }
            Protocol::V311 => v3_1_1::Disconnect::builder().build().map(Into::into),
        };
        self.send(built.map_err(unsendable)?, output)
    }

    fn acquire(&mut self) -> Result<PacketId, Violation> {
        let packet = self.connection.acquire_packet_id().map_err(unsendable)?;
        Ok(PacketId(packet))
    }

    fn send(&mut self, packet: AnyPacket, output: &mut BytesMut) -> Result<(), Violation> {
        let events = self.connection.send(packet);
        match absorb(events, output) {
            (_, None) => Ok(()),
            (_, Some(error)) => Err(unsendable(error)),
        }
    }
}

impl From<Violation> for Unsent {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

fn unsendable(error: MqttError) -> Violation {
    Violation(format!("a packet could not be made: {error:?}"))
}
