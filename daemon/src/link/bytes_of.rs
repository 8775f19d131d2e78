//! The server's packets, byte by byte and without the library, so that a fault of the library cannot cancel
//! itself out in the tests.

/// One packet: its first byte and its body.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length % 128).unwrap();
        length /= 128;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes
}

pub(super) fn reason_string(value: &str) -> Vec<u8> {
    [vec![31], text(value)].concat()
}

pub(super) fn server_reference(value: &str) -> Vec<u8> {
    [vec![28], text(value)].concat()
}

pub(super) fn user_property(key: &str, value: &str) -> Vec<u8> {
    [vec![38], text(key), text(value)].concat()
}

/// Properties with their length in front.
fn properties(all: &[Vec<u8>]) -> Vec<u8> {
    let all = all.concat();
    // The length of properties is written as that of a packet.
    packet(0, &all).split_off(1)
}

pub(super) fn connack(session_present: bool, code: u8, all: &[Vec<u8>]) -> Vec<u8> {
    packet(
        0x20,
        &[vec![u8::from(session_present), code], properties(all)].concat(),
    )
}

pub(super) fn connack_311(session_present: bool, code: u8) -> Vec<u8> {
    packet(0x20, &[u8::from(session_present), code])
}

pub(super) fn suback(id: u16, reasons: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes()[..], &properties(&[]), reasons].concat())
}

pub(super) fn suback_311(id: u16, reasons: &[u8]) -> Vec<u8> {
    packet(0x90, &[&id.to_be_bytes()[..], reasons].concat())
}

pub(super) fn unsuback(id: u16, reasons: &[u8]) -> Vec<u8> {
    packet(0xB0, &[&id.to_be_bytes()[..], &properties(&[]), reasons].concat())
}

pub(super) fn unsuback_311(id: u16) -> Vec<u8> {
    packet(0xB0, &id.to_be_bytes())
}

pub(super) fn puback(id: u16) -> Vec<u8> {
    packet(0x40, &id.to_be_bytes())
}

pub(super) fn puback_refusing(id: u16, reason: u8, all: &[Vec<u8>]) -> Vec<u8> {
    packet(
        0x40,
        &[&id.to_be_bytes()[..], &[reason], &properties(all)].concat(),
    )
}

pub(super) fn publish(topic: &str, id: u16, retain: bool, payload: &[u8]) -> Vec<u8> {
    let body = [
        text(topic),
        id.to_be_bytes().to_vec(),
        properties(&[]),
        payload.to_vec(),
    ];
    packet(0x32 | u8::from(retain), &body.concat())
}

/// Without an acknowledgement.
pub(super) fn publish_qos_0(topic: &str, payload: &[u8]) -> Vec<u8> {
    packet(0x30, &[text(topic), properties(&[]), payload.to_vec()].concat())
}

/// A receive maximum, as a property.
pub(super) fn receive_maximum(most: u16) -> Vec<u8> {
    [&[33][..], &most.to_be_bytes()].concat()
}

/// A maximum packet size, as a property.
pub(super) fn maximum_packet_size(largest: u32) -> Vec<u8> {
    [&[39][..], &largest.to_be_bytes()].concat()
}

pub(super) fn publish_311(topic: &str, id: u16, retain: bool, payload: &[u8]) -> Vec<u8> {
    let body = [text(topic), id.to_be_bytes().to_vec(), payload.to_vec()];
    packet(0x32 | u8::from(retain), &body.concat())
}

pub(super) fn disconnect(reason: u8, all: &[Vec<u8>]) -> Vec<u8> {
    packet(0xE0, &[vec![reason], properties(all)].concat())
}

pub(super) const PINGRESP: [u8; 2] = [0xD0, 0];

/// What a client sent, read by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Connect {
        protocol: u8,
        flags: u8,
        body: Vec<u8>,
    },
    Subscribe {
        id: u16,
        filters: Vec<String>,
    },
    Publish {
        id: u16,
        topic: String,
        retain: bool,
        dup: bool,
        payload: Vec<u8>,
    },
    Unsubscribe {
        id: u16,
        filter: String,
    },
    Puback {
        id: u16,
    },
    Ping,
    Disconnect {
        body: Vec<u8>,
    },
}

/// The packets in `bytes`, which hold nothing else; `version` is that of MQTT, 4 or 5.
pub(super) fn sent(bytes: &[u8], version: u8) -> Vec<Sent> {
    let mut rest = bytes::BytesMut::from(bytes);
    let mut all = Vec::new();
    while let Some(frame) = super::frame::Frame::take(&mut rest).unwrap() {
        all.push(one(&frame, version));
    }
    assert!(rest.is_empty(), "half a packet was sent");
    all
}

/// One packet.
pub(super) fn one(frame: &super::frame::Frame, version: u8) -> Sent {
    let body = frame.body();
    let id = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    match frame.packet_type() {
        1 => Sent::Connect {
            protocol: body[6],
            flags: body[7],
            body: body.to_vec(),
        },
        3 => {
            let length = usize::from(id(0));
            let mut payload = length + 4;
            if version == 5 {
                payload = frame.end_of_properties(payload).unwrap();
            }
            Sent::Publish {
                id: id(2 + length),
                topic: String::from_utf8(body[2..2 + length].to_vec()).unwrap(),
                retain: frame.flags() & 1 == 1,
                dup: frame.flags() & 8 == 8,
                payload: body[payload..].to_vec(),
            }
        }
        4 => Sent::Puback { id: id(0) },
        8 => {
            let mut at = 2;
            if version == 5 {
                at = frame.end_of_properties(at).unwrap();
            }
            let mut filters = Vec::new();
            while at < body.len() {
                let length = usize::from(id(at));
                let filter = &body[at + 2..at + 2 + length];
                filters.push(String::from_utf8(filter.to_vec()).unwrap());
                assert_eq!(
                    body[at + 2 + length],
                    1,
                    "QoS 1, No Local 0, retained messages sent"
                );
                at += 2 + length + 1;
            }
            Sent::Subscribe { id: id(0), filters }
        }
        10 => {
            let mut at = 2;
            if version == 5 {
                at = frame.end_of_properties(at).unwrap();
            }
            assert_eq!(body.len(), at + 2 + usize::from(id(at)), "one filter");
            Sent::Unsubscribe {
                id: id(0),
                filter: String::from_utf8(body[at + 2..].to_vec()).unwrap(),
            }
        }
        12 => Sent::Ping,
        14 => Sent::Disconnect { body: body.to_vec() },
        other => panic!("a packet of type {other}"),
    }
}
