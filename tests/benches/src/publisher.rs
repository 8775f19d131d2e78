//! A small MQTT 5 client that only publishes, with QoS 1 and so many messages under way: fast, so that what is
//! measured is not it. It speaks as much MQTT as that takes.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use imd_proto::im::wire::v1::Envelope;
use prost::Message as _;

use crate::broker::Broker;
use crate::wire::{CONNACK, CONNECT, PUBACK, PUBLISH_QOS_1, packet, put_text, read_packet};

/// How many messages wait for the server.
const WINDOW: u16 = 512;

/// A client that is logged in.
#[derive(Debug)]
pub struct Publisher {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    next: u16,
    /// Of those sent last, how many the server has not answered.
    under_way: u16,
}

impl Publisher {
    /// Logs in as alice, who writes to everybody.
    #[must_use]
    pub fn alice(broker: &Broker) -> Self {
        Self::login(broker.address(), "alice", broker.token("alice"))
    }

    /// Logs in.
    ///
    /// # Panics
    /// When the server does not let it.
    #[must_use]
    pub fn login(address: SocketAddr, user: &str, password: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the broker takes connections");
        stream.set_nodelay(true).expect("a socket can be set up");
        let answers = BufReader::new(stream.try_clone().expect("a socket can be shared"));
        let mut publisher = Self {
            stream,
            answers,
            next: 0,
            under_way: 0,
        };
        // MQTT 5, clean start, user name and password, no keep-alive, no properties.
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 5, 0b1100_0010, 0, 0, 0];
        for text in [&format!("bench-{user}"), user, password] {
            put_text(&mut body, text);
        }
        publisher.write(&packet(CONNECT, &body));
        let (kind, answer) = publisher.read();
        assert_eq!((kind, answer.get(1)), (CONNACK, Some(&0)), "the login of {user}");
        publisher
    }

    /// Publishes; waits only while too many are under way.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) {
        while self.under_way >= WINDOW {
            self.take_answer();
        }
        self.next = if self.next == u16::MAX { 1 } else { self.next + 1 };
        let mut body = Vec::with_capacity(payload.len() + topic.len() + 5);
        put_text(&mut body, topic);
        body.extend(self.next.to_be_bytes());
        body.push(0);
        body.extend(payload);
        self.write(&packet(PUBLISH_QOS_1, &body));
        self.under_way += 1;
    }

    /// Waits until the server has everything.
    pub fn settle(&mut self) {
        while self.under_way > 0 {
            self.take_answer();
        }
    }

    fn take_answer(&mut self) {
        let (kind, answer) = self.read();
        assert_eq!(kind, PUBACK, "the server answers a publish");
        let reason = answer.get(2).copied().unwrap_or_default();
        assert!(reason < 0x80, "the server refuses a publish: {reason:#x}");
        self.under_way -= 1;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the broker reads");
    }

    fn read(&mut self) -> (u8, Vec<u8>) {
        read_packet(&mut self.answers).expect("the broker answers")
    }
}

/// A private message as alice's daemon would send it.
#[must_use]
pub fn envelope(content: Vec<u8>) -> Vec<u8> {
    Envelope {
        uid: uuid::Uuid::now_v7().to_string(),
        origin: "bench".to_owned(),
        seq: 0,
        object_name: "RC:TxtMsg".to_owned(),
        content: content.into(),
        flags: 3,
        sent_time_ms: imd::clock::now().unix.as_millis(),
    }
    .encode_to_vec()
}

/// A text message's content of this many bytes.
#[must_use]
pub fn content(bytes: usize) -> Vec<u8> {
    let frame = r#"{"content":""}"#.len();
    format!(r#"{{"content":"{}"}}"#, "x".repeat(bytes.saturating_sub(frame))).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_has_the_size_asked_for() {
        assert_eq!(content(256).len(), 256);
    }
}
