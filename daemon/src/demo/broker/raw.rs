//! Packets of a server, written byte by byte.
//!
//! The codec knows only the reason codes of the standard's tables and picks the form by the version. A test
//! wants any code in any form, so the answers to CONNECT, SUBSCRIBE and PUBLISH are written here.

use super::Protocol;
use super::script::Reply;

/// The announced and enforced limit of one packet, in both directions.
pub(super) const MAXIMUM_PACKET_SIZE: u32 = 1024 * 1024;

const CONNACK: u8 = 0x20;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xB0;
const DISCONNECT: u8 = 0xE0;

/// What the broker itself says of an accepted connection, besides what a script adds.
#[derive(Clone, Debug, Default)]
pub(super) struct Announcement {
    pub(super) receive_maximum: u16,
    pub(super) assigned_client_id: Option<String>,
    pub(super) user_id: Option<String>,
}

/// The CONNACK that accepts.
pub(super) fn accept(
    protocol: Protocol,
    session_present: bool,
    reply: &Reply,
    announcement: &Announcement,
) -> Vec<u8> {
    let body = vec![u8::from(session_present), 0];
    match protocol {
        Protocol::V3_1_1 => packet(CONNACK, body),
        Protocol::V5 => {
            let mut properties = Properties::of(reply);
            properties.two_bytes(33, announcement.receive_maximum);
            // Maximum QoS 1; no subscription identifiers, no shared subscriptions.
            properties.byte(36, 1);
            properties.four_bytes(39, MAXIMUM_PACKET_SIZE);
            properties.byte(41, 0);
            properties.byte(42, 0);
            if let Some(id) = &announcement.assigned_client_id {
                properties.text(18, id);
            }
            if let Some(user) = &announcement.user_id {
                properties.pair("im-user-id", user);
            }
            packet(CONNACK, properties.after(body))
        }
    }
}

/// The CONNACK that refuses. In 3.1.1 the code is written as it is, without properties.
pub(super) fn refuse(protocol: Protocol, reply: &Reply) -> Vec<u8> {
    let body = vec![u8::from(reply.session_present == Some(true)), reply.code];
    match protocol {
        Protocol::V3_1_1 => packet(CONNACK, body),
        Protocol::V5 => packet(CONNACK, Properties::of(reply).after(body)),
    }
}

/// A DISCONNECT; in 3.1.1 a server has none.
pub(super) fn disconnect(protocol: Protocol, reply: &Reply) -> Vec<u8> {
    match protocol {
        Protocol::V3_1_1 => Vec::new(),
        Protocol::V5 => packet(DISCONNECT, Properties::of(reply).after(vec![reply.code])),
    }
}

/// A PUBACK; in 3.1.1 it has no code.
pub(super) fn puback(protocol: Protocol, packet_id: u16, code: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if protocol == Protocol::V5 && code != 0 {
        body.push(code);
    }
    packet(PUBACK, body)
}

/// A SUBACK; in 3.1.1 every refusal is 0x80.
pub(super) fn suback(protocol: Protocol, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    match protocol {
        Protocol::V3_1_1 => body.extend(codes.iter().map(|code| (*code).min(0x80))),
        Protocol::V5 => {
            body.push(0);
            body.extend(codes);
        }
    }
    packet(SUBACK, body)
}

/// An UNSUBACK; in 3.1.1 it has no codes.
pub(super) fn unsuback(protocol: Protocol, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if protocol == Protocol::V5 {
        body.push(0);
        body.extend(codes);
    }
    packet(UNSUBACK, body)
}

/// The PINGRESP of both versions.
pub(super) const PINGRESP: [u8; 2] = [0xD0, 0];

fn packet(first: u8, body: Vec<u8>) -> Vec<u8> {
    let mut bytes = vec![first];
    push_length(&mut bytes, body.len());
    bytes.extend(body);
    bytes
}

/// The variable byte integer: seven bits a byte, the lowest first.
fn push_length(bytes: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = u8::try_from(length & 0x7F).unwrap_or_default();
        length >>= 7;
        if length == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

/// A variable byte integer and how many bytes it takes.
pub(super) enum Length {
    Known { value: usize, bytes: usize },
    Incomplete,
    Malformed,
}

/// Reads a variable byte integer of at most four bytes.
pub(super) fn read_length(bytes: &[u8]) -> Length {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Length::Known {
                value,
                bytes: index + 1,
            };
        }
    }
    if bytes.len() < 4 {
        Length::Incomplete
    } else {
        Length::Malformed
    }
}

struct Properties(Vec<u8>);

impl Properties {
    fn of(reply: &Reply) -> Self {
        let mut properties = Self(Vec::new());
        if let Some(seconds) = reply.session_expiry {
            properties.four_bytes(17, seconds);
        }
        if let Some(seconds) = reply.server_keep_alive {
            properties.two_bytes(19, seconds);
        }
        if let Some(text) = &reply.server_reference {
            properties.text(28, text);
        }
        if let Some(text) = &reply.reason_string {
            properties.text(31, text);
        }
        for (name, value) in &reply.user_properties {
            properties.pair(name, value);
        }
        properties
    }

    fn byte(&mut self, id: u8, value: u8) {
        self.0.extend([id, value]);
    }

    fn two_bytes(&mut self, id: u8, value: u16) {
        self.0.push(id);
        self.0.extend(value.to_be_bytes());
    }

    fn four_bytes(&mut self, id: u8, value: u32) {
        self.0.push(id);
        self.0.extend(value.to_be_bytes());
    }

    fn text(&mut self, id: u8, value: &str) {
        self.0.push(id);
        self.string(value);
    }

    fn pair(&mut self, name: &str, value: &str) {
        self.0.push(38);
        self.string(name);
        self.string(value);
    }

    /// A string longer than a length can say is cut: it is a test's text for people.
    fn string(&mut self, value: &str) {
        let mut end = value.len().min(usize::from(u16::MAX));
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let value = &value[..end];
        let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
        self.0.extend(length.to_be_bytes());
        self.0.extend(value.as_bytes());
    }

    fn after(self, mut body: Vec<u8>) -> Vec<u8> {
        push_length(&mut body, self.0.len());
        body.extend(self.0);
        body
    }
}

/// A CONNECT of MQTT 5 with a password and no user name: legal, but the codec refuses it. This gives the same
/// packet with an empty user name; `None` if the packet is not of that kind or is malformed.
pub(super) fn with_empty_user_name(frame: &[u8]) -> Option<Vec<u8>> {
    const FLAGS: usize = 7;
    const USER_NAME: u8 = 0x80;
    const PASSWORD: u8 = 0x40;
    const WILL: u8 = 0x04;
    let Length::Known { bytes, .. } = read_length(frame.get(1..)?) else {
        return None;
    };
    let body = frame.get(1 + bytes..)?;
    let flags = *body.get(FLAGS)?;
    if body.get(..FLAGS)? != b"\0\x04MQTT\x05" || flags & PASSWORD == 0 || flags & USER_NAME != 0 {
        return None;
    }
    let mut at = after_properties(body, FLAGS + 3)?;
    at = after_string(body, at)?;
    if flags & WILL != 0 {
        at = after_properties(body, at)?;
        at = after_string(body, at)?;
        at = after_string(body, at)?;
    }
    let mut longer = body.get(..at)?.to_vec();
    *longer.get_mut(FLAGS)? |= USER_NAME;
    longer.extend([0, 0]);
    longer.extend(body.get(at..)?);
    Some(packet(*frame.first()?, longer))
}

fn after_properties(body: &[u8], at: usize) -> Option<usize> {
    match read_length(body.get(at..)?) {
        Length::Known { value, bytes } => Some(at + bytes + value),
        Length::Incomplete | Length::Malformed => None,
    }
}

fn after_string(body: &[u8], at: usize) -> Option<usize> {
    let length: [u8; 2] = body.get(at..at + 2)?.try_into().ok()?;
    Some(at + 2 + usize::from(u16::from_be_bytes(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_outside_every_table_is_written_as_asked() {
        let reply = Reply::code(0xFE);
        assert_eq!(refuse(Protocol::V5, &reply), [0x20, 3, 0, 0xFE, 0]);
        assert_eq!(refuse(Protocol::V3_1_1, &Reply::code(1)), [0x20, 2, 0, 1]);
        assert_eq!(disconnect(Protocol::V5, &reply), [0xE0, 2, 0xFE, 0]);
        assert!(disconnect(Protocol::V3_1_1, &reply).is_empty());
        assert_eq!(puback(Protocol::V5, 7, 0xA5), [0x40, 3, 0, 7, 0xA5]);
        assert_eq!(puback(Protocol::V3_1_1, 7, 0xA5), [0x40, 2, 0, 7]);
        assert_eq!(suback(Protocol::V5, 7, &[1, 0xA5]), [0x90, 5, 0, 7, 0, 1, 0xA5]);
        assert_eq!(suback(Protocol::V3_1_1, 7, &[1, 0xA5]), [0x90, 4, 0, 7, 1, 0x80]);
    }

    #[test]
    fn lengths_are_read_back_as_written() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455] {
            let mut bytes = Vec::new();
            push_length(&mut bytes, length);
            assert!(
                matches!(read_length(&bytes), Length::Known { value, bytes: n } if value == length && n == bytes.len())
            );
            bytes.pop();
            assert!(bytes.is_empty() || matches!(read_length(&bytes), Length::Incomplete));
        }
        assert!(matches!(read_length(&[0xFF; 4]), Length::Malformed));
    }

    #[test]
    fn a_user_name_is_added_only_where_a_password_stands_alone() {
        let alone = [&b"\x10\x12\0\x04MQTT\x05\x42\0\x3c\0\0\0\0\x03abc"[..]].concat();
        let longer = with_empty_user_name(&alone).unwrap();
        assert_eq!(longer, b"\x10\x14\0\x04MQTT\x05\xC2\0\x3c\0\0\0\0\0\0\x03abc");
        assert!(with_empty_user_name(&longer).is_none());
        for cut in 0..alone.len() {
            let _: Option<Vec<u8>> = with_empty_user_name(&alone[..cut]);
        }
    }
}
