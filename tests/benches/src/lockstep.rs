//! A broker for one client, that goes on only when it is told: the same run does the same work each time.

use std::io::{BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use imd_tests::wait::eventually;

use crate::wire::{
    CONNACK, CONNECT, DISCONNECT, PINGREQ, PINGRESP, PUBACK, PUBLISH_QOS_1, SUBACK, SUBSCRIBE, packet,
    put_text, read_packet,
};

/// A client under valgrind is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// A broker that waits for its client.
#[derive(Debug)]
pub struct Lockstep {
    listener: TcpListener,
}

/// The broker's end of a client's connection.
#[derive(Debug)]
pub struct Line {
    stream: TcpStream,
    packets: BufReader<TcpStream>,
    next: u16,
}

impl Default for Lockstep {
    fn default() -> Self {
        Self::start()
    }
}

impl Lockstep {
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
        listener.set_nonblocking(true).expect("a socket can be set up");
        Self { listener }
    }

    /// # Panics
    /// Never: it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("a listener has an address")
    }

    /// Takes the client's login up to its marker, which it gives back.
    ///
    /// # Panics
    /// When the client does anything else.
    #[must_use]
    pub fn login(&self) -> Line {
        let dialled = || self.listener.accept().map_err(|error| error.kind());
        let (stream, _) = eventually(PATIENCE, "the client to dial", dialled);
        stream.set_nodelay(true).expect("a socket can be set up");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a socket can be set up");
        let packets = BufReader::new(stream.try_clone().expect("a socket can be shared"));
        let mut line = Line {
            stream,
            packets,
            next: 0,
        };
        let (kind, _) = line.read();
        assert_eq!(kind, CONNECT);
        // A new session, success, no properties.
        line.write(&packet(CONNACK, &[0, 0, 0]));
        loop {
            match line.read() {
                (SUBSCRIBE, body) => line.write(&packet(SUBACK, &suback(&body))),
                // The marker is retained.
                (kind, body) if kind & 0xF0 == PUBLISH_QOS_1 & 0xF0 => {
                    let publish = Publish::read(&body);
                    line.write(&packet(PUBACK, &publish.id.to_be_bytes()));
                    line.publish(&[(publish.topic, publish.payload)]);
                    line.await_acknowledgements(1);
                    return line;
                }
                (kind, _) => panic!("{kind:#x} in a login"),
            }
        }
    }
}

impl Line {
    /// Sends these in one piece.
    pub fn publish(&mut self, messages: &[(String, Vec<u8>)]) {
        let mut bytes = Vec::new();
        for (topic, payload) in messages {
            self.next = if self.next == u16::MAX { 1 } else { self.next + 1 };
            let mut body = Vec::new();
            put_text(&mut body, topic);
            body.extend(self.next.to_be_bytes());
            body.push(0);
            body.extend(payload);
            bytes.extend(packet(PUBLISH_QOS_1, &body));
        }
        self.write(&bytes);
    }

    /// Waits for so many acknowledgements, and takes the receipts that come between.
    pub fn await_acknowledgements(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            match self.read() {
                (PUBACK, _) => left -= 1,
                other => self.take(&other),
            }
        }
    }

    /// Waits for so many messages of the client's, and acknowledges them in one piece.
    pub fn take_messages(&mut self, count: usize) {
        let mut answers = Vec::new();
        let mut left = count;
        while left > 0 {
            let (kind, body) = self.read();
            if kind & 0xF0 == PUBLISH_QOS_1 & 0xF0 {
                answers.extend(packet(PUBACK, &Publish::read(&body).id.to_be_bytes()));
                left -= 1;
            } else {
                self.take(&(kind, body));
            }
        }
        self.write(&answers);
    }

    fn take(&mut self, (kind, body): &(u8, Vec<u8>)) {
        match *kind {
            PINGREQ => self.write(&packet(PINGRESP, &[])),
            PUBACK | DISCONNECT => {}
            kind if kind & 0xF0 == PUBLISH_QOS_1 & 0xF0 => {
                self.write(&packet(PUBACK, &Publish::read(body).id.to_be_bytes()));
            }
            kind => panic!("{kind:#x} is nothing a client sends here"),
        }
    }

    fn read(&mut self) -> (u8, Vec<u8>) {
        read_packet(&mut self.packets).expect("the client is there")
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the client is there");
    }
}

/// A PUBLISH with QoS 1.
struct Publish {
    topic: String,
    id: u16,
    payload: Vec<u8>,
}

impl Publish {
    fn read(body: &[u8]) -> Self {
        let word = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        let topic_end = 2 + usize::from(word(0));
        let (properties, length) = variable_integer(&body[topic_end + 2..]);
        Self {
            topic: String::from_utf8_lossy(&body[2..topic_end]).into_owned(),
            id: word(topic_end),
            payload: body[topic_end + 2 + length + properties..].to_vec(),
        }
    }
}

/// Grants QoS 1 to all of a SUBSCRIBE.
fn suback(subscribe: &[u8]) -> Vec<u8> {
    let (properties, length) = variable_integer(&subscribe[2..]);
    let mut left = &subscribe[2 + length + properties..];
    let mut answer = vec![subscribe[0], subscribe[1], 0];
    while let [high, low, rest @ ..] = left {
        left = &rest[usize::from(u16::from_be_bytes([*high, *low])) + 1..];
        answer.push(1);
    }
    answer
}

/// A number of MQTT, and how many bytes it took.
fn variable_integer(bytes: &[u8]) -> (usize, usize) {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate() {
        number |= usize::from(byte & 0x7F) << (7 * at);
        if *byte < 0x80 {
            return (number, at + 1);
        }
    }
    panic!("a number of MQTT ends")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_of_a_subscribe_is_granted() {
        let mut subscribe = vec![0, 7, 0];
        for filter in ["a/+", "b"] {
            put_text(&mut subscribe, filter);
            subscribe.push(1);
        }
        assert_eq!(suback(&subscribe), [0, 7, 0, 1, 1]);
    }

    #[test]
    fn a_publish_is_read_past_its_properties() {
        let mut body = Vec::new();
        put_text(&mut body, "t");
        body.extend([0, 9, 2, 1, 1, b'x']);
        let publish = Publish::read(&body);
        assert_eq!(
            (publish.topic.as_str(), publish.id, publish.payload.as_slice()),
            ("t", 9, &b"x"[..])
        );
    }
}
