//! As much of MQTT 5 as the benches' own client and broker need.

use std::io::{self, Read};

pub const CONNECT: u8 = 0x10;
pub const CONNACK: u8 = 0x20;
/// QoS 1, neither a duplicate nor retained.
pub const PUBLISH_QOS_1: u8 = 0x32;
pub const PUBACK: u8 = 0x40;
pub const SUBSCRIBE: u8 = 0x82;
pub const SUBACK: u8 = 0x90;
pub const PINGREQ: u8 = 0xC0;
pub const PINGRESP: u8 = 0xD0;
pub const DISCONNECT: u8 = 0xE0;

/// Adds a text with its length.
///
/// # Panics
/// When it is longer than MQTT allows.
pub fn put_text(body: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).expect("a text of MQTT is short");
    body.extend(length.to_be_bytes());
    body.extend(text.as_bytes());
}

/// A packet of this kind and flags.
///
/// # Panics
/// Never: seven bits are a byte.
#[must_use]
pub fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7F).expect("seven bits");
        length >>= 7;
        bytes.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

/// The next packet: its kind and flags, and what follows its length.
///
/// # Errors
/// The connection ends.
pub fn read_packet(from: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut kind = [0];
    from.read_exact(&mut kind)?;
    let (mut length, mut shift) = (0_usize, 0);
    loop {
        let mut byte = [0];
        from.read_exact(&mut byte)?;
        length |= usize::from(byte[0] & 0x7F) << shift;
        shift += 7;
        if byte[0] < 0x80 {
            break;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok((kind[0], body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_as_many_bytes_as_it_needs_and_is_read_back() {
        assert_eq!(packet(0x32, &[7; 5])[..2], [0x32, 5]);
        assert_eq!(packet(0x32, &[7; 321])[..3], [0x32, 0xC1, 2]);
        let read = read_packet(&mut packet(0x32, &[7; 321]).as_slice()).unwrap();
        assert_eq!(read, (0x32, vec![7; 321]));
    }
}
