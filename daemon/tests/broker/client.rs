//! A small MQTT client: the codec's client role, one packet at a time, nothing by itself.

use std::net::SocketAddr;
use std::time::Duration;

use imd::demo::broker::{Broker, Protocol};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{GenericConnection, GenericEvent};
use mqtt_protocol_core::mqtt::packet::{
    GenericPacket, GenericPacketTrait as _, Property, Qos, ReceiveMaximum, SessionExpiryInterval, SubEntry,
    SubOpts, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::{Version, role};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

pub(crate) type Packet = GenericPacket<u16>;
type Event = GenericEvent<u16>;

pub(crate) struct Options<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) client_id: &'a str,
    pub(crate) user_name: Option<&'a str>,
    pub(crate) password: Option<&'a str>,
    pub(crate) clean: bool,
    pub(crate) session_expiry: u32,
    pub(crate) keep_alive: u16,
    pub(crate) receive_maximum: Option<u16>,
}

impl<'a> Options<'a> {
    pub(crate) fn new(client_id: &'a str) -> Self {
        Self {
            protocol: Protocol::V5,
            client_id,
            user_name: None,
            password: None,
            clean: false,
            session_expiry: 3600,
            keep_alive: 60,
            receive_maximum: None,
        }
    }

    pub(crate) fn v3(client_id: &'a str) -> Self {
        Self {
            protocol: Protocol::V3_1_1,
            ..Self::new(client_id)
        }
    }

    pub(crate) fn login(mut self, user_name: &'a str, password: &'a str) -> Self {
        self.user_name = Some(user_name);
        self.password = Some(password);
        self
    }

    pub(crate) fn packet(&self) -> Packet {
        match self.protocol {
            Protocol::V5 => {
                let mut props = vec![Property::SessionExpiryInterval(
                    SessionExpiryInterval::new(self.session_expiry).unwrap(),
                )];
                if let Some(maximum) = self.receive_maximum {
                    props.push(Property::ReceiveMaximum(ReceiveMaximum::new(maximum).unwrap()));
                }
                let mut builder = v5_0::Connect::builder()
                    .client_id(self.client_id)
                    .unwrap()
                    .clean_start(self.clean)
                    .keep_alive(self.keep_alive)
                    .props(props);
                if let Some(name) = self.user_name {
                    builder = builder.user_name(name).unwrap();
                }
                if let Some(password) = self.password {
                    builder = builder.password(password).unwrap();
                }
                builder.build().unwrap().into()
            }
            Protocol::V3_1_1 => {
                let mut builder = v3_1_1::Connect::builder()
                    .client_id(self.client_id)
                    .unwrap()
                    .clean_session(self.clean)
                    .keep_alive(self.keep_alive);
                if let Some(name) = self.user_name {
                    builder = builder.user_name(name).unwrap();
                }
                if let Some(password) = self.password {
                    builder = builder.password(password).unwrap();
                }
                builder.build().unwrap().into()
            }
        }
    }
}

/// What a CONNACK said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Connack {
    pub(crate) code: u8,
    pub(crate) session_present: bool,
    pub(crate) properties: Vec<(String, String)>,
}

/// A PUBLISH that came in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) payload: String,
    pub(crate) packet_id: Option<u16>,
    pub(crate) dup: bool,
    pub(crate) retain: bool,
}

pub(crate) struct Client {
    stream: TcpStream,
    codec: GenericConnection<role::Client, u16>,
    protocol: Protocol,
    input: Vec<u8>,
    next_id: u16,
}

impl Client {
    /// Connects and reads the CONNACK, whatever it says.
    pub(crate) async fn open(broker: &Broker, options: &Options<'_>) -> (Self, Connack) {
        let mut client = Self::dial(broker.address(), options.protocol).await;
        client.send(options.packet()).await;
        let connack = match client.packet().await {
            Packet::V5_0Connack(connack) => Connack {
                code: connack.reason_code() as u8,
                session_present: connack.session_present(),
                properties: connack.props().iter().filter_map(shown).collect(),
            },
            Packet::V3_1_1Connack(connack) => Connack {
                code: connack.return_code() as u8,
                session_present: connack.session_present(),
                properties: Vec::new(),
            },
            other => panic!("no CONNACK but {other}"),
        };
        (client, connack)
    }

    /// Connects and is accepted.
    pub(crate) async fn connect(broker: &Broker, options: &Options<'_>) -> Self {
        let (client, connack) = Self::open(broker, options).await;
        assert_eq!(connack.code, 0, "{connack:?}");
        client
    }

    pub(crate) async fn dial(address: SocketAddr, protocol: Protocol) -> Self {
        let version = match protocol {
            Protocol::V5 => Version::V5_0,
            Protocol::V3_1_1 => Version::V3_1_1,
        };
        Self {
            stream: TcpStream::connect(address).await.unwrap(),
            codec: GenericConnection::new(version),
            protocol,
            input: Vec::new(),
            next_id: 0,
        }
    }

    pub(crate) async fn send(&mut self, packet: Packet) {
        for event in self.codec.send(packet) {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    self.send_raw(&packet.to_continuous_buffer()).await;
                }
                Event::NotifyError(error) => panic!("the test's client may not send this: {error}"),
                Event::NotifyPacketReceived(_)
                | Event::NotifyPacketIdReleased(_)
                | Event::RequestTimerReset { .. }
                | Event::RequestTimerCancel(_)
                | Event::RequestClose => {}
            }
        }
    }

    pub(crate) async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next packet; panics after the deadline, or if the connection ends.
    pub(crate) async fn packet(&mut self) -> Packet {
        tokio::time::timeout(DEADLINE, self.try_packet())
            .await
            .expect("a packet within the deadline")
            .expect("a packet, not the end")
    }

    async fn try_packet(&mut self) -> Option<Packet> {
        loop {
            while !self.input.is_empty() {
                let mut cursor = Cursor::new(&self.input[..]);
                let events = self.codec.recv(&mut cursor);
                let taken = usize::try_from(cursor.position()).unwrap();
                self.input.drain(..taken);
                let mut received = None;
                for event in events {
                    match event {
                        Event::NotifyPacketReceived(packet) => received = Some(packet),
                        Event::NotifyError(error) => {
                            panic!("the broker sent rubbish: {error}, near {:02x?}", self.input)
                        }
                        Event::RequestSendPacket { .. }
                        | Event::NotifyPacketIdReleased(_)
                        | Event::RequestTimerReset { .. }
                        | Event::RequestTimerCancel(_)
                        | Event::RequestClose => {}
                    }
                }
                if received.is_some() {
                    return received;
                }
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The connection ends with this reason code in a DISCONNECT; `None`: without one.
    pub(crate) async fn end(&mut self) -> Option<u8> {
        tokio::time::timeout(DEADLINE, async {
            let mut code = None;
            while let Some(packet) = self.try_packet().await {
                if let Packet::V5_0Disconnect(packet) = packet {
                    code = packet.reason_code().map(|code| code as u8);
                }
            }
            code
        })
        .await
        .expect("an end within the deadline")
    }

    /// The end as the kernel tells it: `Ok` for a FIN, the error's kind for an RST.
    pub(crate) async fn raw_end(&mut self) -> Result<Vec<u8>, std::io::ErrorKind> {
        let mut bytes = Vec::new();
        tokio::time::timeout(DEADLINE, self.stream.read_to_end(&mut bytes))
            .await
            .expect("an end within the deadline")
            .map(|_| bytes)
            .map_err(|error| error.kind())
    }

    pub(crate) async fn raw_bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        tokio::time::timeout(DEADLINE, self.stream.read_exact(&mut bytes))
            .await
            .expect("bytes within the deadline")
            .unwrap();
        bytes
    }

    pub(crate) async fn subscribe(&mut self, filter: &str) -> u8 {
        self.subscribe_with(filter, SubOpts::new().set_qos(Qos::AtLeastOnce))
            .await
    }

    pub(crate) async fn subscribe_with(&mut self, filter: &str, options: SubOpts) -> u8 {
        let packet_id = self.codec.acquire_packet_id().unwrap();
        let entries = vec![SubEntry::new(filter, options).unwrap()];
        let packet: Packet = match self.protocol {
            Protocol::V5 => v5_0::Subscribe::builder()
                .packet_id(packet_id)
                .entries(entries)
                .build()
                .unwrap()
                .into(),
            Protocol::V3_1_1 => v3_1_1::Subscribe::builder()
                .packet_id(packet_id)
                .entries(entries)
                .build()
                .unwrap()
                .into(),
        };
        self.send(packet).await;
        match self.packet().await {
            Packet::V5_0Suback(packet) => packet.reason_codes()[0] as u8,
            Packet::V3_1_1Suback(packet) => packet.return_codes()[0] as u8,
            other => panic!("no SUBACK but {other}"),
        }
    }

    /// Sends a QoS 1 PUBLISH and does not wait.
    pub(crate) async fn publish_only(&mut self, topic: &str, payload: &str, retain: bool) -> u16 {
        self.next_id += 1;
        let packet_id = self.next_id;
        self.codec.register_packet_id(packet_id).unwrap();
        let packet: Packet = match self.protocol {
            Protocol::V5 => v5_0::Publish::builder()
                .topic_name(topic)
                .unwrap()
                .qos(Qos::AtLeastOnce)
                .packet_id(packet_id)
                .retain(retain)
                .payload(payload.as_bytes())
                .build()
                .unwrap()
                .into(),
            Protocol::V3_1_1 => v3_1_1::Publish::builder()
                .topic_name(topic)
                .unwrap()
                .qos(Qos::AtLeastOnce)
                .packet_id(packet_id)
                .retain(retain)
                .payload(payload.as_bytes())
                .build()
                .unwrap()
                .into(),
        };
        self.send(packet).await;
        packet_id
    }

    /// Sends a QoS 1 PUBLISH and gives the PUBACK's code.
    pub(crate) async fn publish(&mut self, topic: &str, payload: &str) -> u8 {
        let packet_id = self.publish_only(topic, payload, false).await;
        let (acknowledged, code) = self.puback().await;
        assert_eq!(acknowledged, packet_id);
        code
    }

    pub(crate) async fn puback(&mut self) -> (u16, u8) {
        match self.packet().await {
            Packet::V5_0Puback(packet) => (
                packet.packet_id(),
                packet.reason_code().map_or(0, |code| code as u8),
            ),
            Packet::V3_1_1Puback(packet) => (packet.packet_id(), 0),
            other => panic!("no PUBACK but {other}"),
        }
    }

    /// The next PUBLISH, not acknowledged.
    pub(crate) async fn message(&mut self) -> Message {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        match self.packet().await {
            Packet::V5_0Publish(packet) => Message {
                topic: packet.topic_name().to_owned(),
                payload: text(packet.payload().as_slice()),
                packet_id: packet.packet_id(),
                dup: packet.dup(),
                retain: packet.retain(),
            },
            Packet::V3_1_1Publish(packet) => Message {
                topic: packet.topic_name().to_owned(),
                payload: text(packet.payload().as_slice()),
                packet_id: packet.packet_id(),
                dup: packet.dup(),
                retain: packet.retain(),
            },
            other => panic!("no PUBLISH but {other}"),
        }
    }

    pub(crate) async fn acknowledge(&mut self, packet_id: u16) {
        let packet: Packet = match self.protocol {
            Protocol::V5 => v5_0::Puback::builder()
                .packet_id(packet_id)
                .build()
                .unwrap()
                .into(),
            Protocol::V3_1_1 => v3_1_1::Puback::builder()
                .packet_id(packet_id)
                .build()
                .unwrap()
                .into(),
        };
        self.send(packet).await;
    }

    /// The next PUBLISH, acknowledged.
    pub(crate) async fn take(&mut self) -> Message {
        let message = self.message().await;
        if let Some(packet_id) = message.packet_id {
            self.acknowledge(packet_id).await;
        }
        message
    }

    /// Answers whether a PINGRESP is the next packet: nothing else was on its way before.
    pub(crate) async fn is_quiet(&mut self) -> bool {
        let packet: Packet = match self.protocol {
            Protocol::V5 => v5_0::Pingreq::new().into(),
            Protocol::V3_1_1 => v3_1_1::Pingreq::new().into(),
        };
        self.send(packet).await;
        matches!(
            self.packet().await,
            Packet::V5_0Pingresp(_) | Packet::V3_1_1Pingresp(_)
        )
    }

    /// DISCONNECT, with another session expiry if given.
    pub(crate) async fn disconnect(&mut self, session_expiry: Option<u32>) {
        match (self.protocol, session_expiry) {
            (Protocol::V5, Some(seconds)) => {
                let [a, b, c, d] = seconds.to_be_bytes();
                self.send_raw(&[0xE0, 7, 0, 5, 17, a, b, c, d]).await;
            }
            (Protocol::V5 | Protocol::V3_1_1, _) => self.send_raw(&[0xE0, 0]).await,
        }
    }
}

fn shown(property: &Property) -> Option<(String, String)> {
    if let Property::UserProperty(pair) = property {
        Some((pair.key().to_owned(), pair.val().to_owned()))
    } else if let Property::ReasonString(text) = property {
        Some(("reason string".to_owned(), text.val().to_owned()))
    } else if let Property::ServerReference(text) = property {
        Some(("server reference".to_owned(), text.val().to_owned()))
    } else if let Property::ServerKeepAlive(seconds) = property {
        Some(("server keep alive".to_owned(), seconds.val().to_string()))
    } else if let Property::AssignedClientIdentifier(id) = property {
        Some(("client id".to_owned(), id.val().to_owned()))
    } else {
        None
    }
}
