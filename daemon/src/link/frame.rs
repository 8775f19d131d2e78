//! One packet at a time out of a stream of bytes, and the few raw bytes that must be read before a codec
//! that knows fewer reason codes than servers send.

use bytes::BytesMut;

/// The largest packet that is taken; a larger one ends the link before anything is kept of it.
pub(super) const MAXIMUM_PACKET_SIZE: u32 = 1024 * 1024;

pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const SUBACK: u8 = 9;
pub(super) const UNSUBACK: u8 = 11;
pub(super) const PINGRESP: u8 = 13;
pub(super) const DISCONNECT: u8 = 14;

/// The reason that every codec knows, put in the place of one it does not know.
pub(super) const UNSPECIFIED_ERROR: u8 = 0x80;

/// The server, or we, did what MQTT does not allow: the link ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Violation(pub(super) String);

impl Violation {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// One whole packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    bytes: BytesMut,
    body: usize,
}

impl Frame {
    /// Takes the first packet off `input`, once it is there as a whole.
    pub(super) fn take(input: &mut BytesMut) -> Result<Option<Self>, Violation> {
        let mut length: usize = 0;
        let mut at = 1;
        loop {
            let Some(&byte) = input.get(at) else {
                return Ok(None);
            };
            length |= usize::from(byte & 0x7F) << (7 * (at - 1));
            at += 1;
            if byte & 0x80 == 0 {
                break;
            }
            if at > 4 {
                return Err(Violation::new("a packet's length has more than four bytes"));
            }
        }
        let size = at + length;
        if size > MAXIMUM_PACKET_SIZE as usize {
            return Err(Violation(format!(
                "the server announces a packet of {size} bytes; at most {MAXIMUM_PACKET_SIZE} are taken"
            )));
        }
        if input.len() < size {
            return Ok(None);
        }
        Ok(Some(Self {
            bytes: input.split_to(size),
            body: at,
        }))
    }

    /// The packet's type, 1 to 15.
    pub(super) fn packet_type(&self) -> u8 {
        self.bytes.first().map_or(0, |byte| byte >> 4)
    }

    /// The four bits beside the type.
    pub(super) fn flags(&self) -> u8 {
        self.bytes.first().map_or(0, |byte| byte & 0x0F)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What follows the fixed header.
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(self.body..).unwrap_or_default()
    }

    /// One byte of the body.
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.body().get(at).copied()
    }

    /// Puts [`UNSPECIFIED_ERROR`] where the body has a reason code.
    pub(super) fn mask(&mut self, at: usize) {
        if let Some(byte) = self.bytes.get_mut(self.body + at) {
            *byte = UNSPECIFIED_ERROR;
        }
    }

    /// Where the properties that begin at `at` end.
    pub(super) fn end_of_properties(&self, at: usize) -> Option<usize> {
        let mut length: usize = 0;
        for index in 0..4 {
            let byte = self.byte(at + index)?;
            length |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                let end = at + index + 1 + length;
                return (end <= self.body().len()).then_some(end);
            }
        }
        None
    }
}

/// The MQTT 5 reason code that says what a 3.1.1 return code says.
pub(super) fn reason_of_return_code(code: u8) -> u8 {
    match code {
        1 => 0x84,
        2 => 0x85,
        3 => 0x88,
        4 => 0x86,
        5 => 0x87,
        other => other,
    }
}

/// The bytes of a CONNECT without its empty user name. MQTT 5 allows a password alone (3.1.2.9); the codec
/// does not, so it is given an empty user name, which is taken out again here.
pub(super) fn without_user_name(connect: &[u8], password: usize) -> Option<Vec<u8>> {
    const FLAGS: usize = 7;
    const USER_NAME_FLAG: u8 = 0x80;

    let mut rest = BytesMut::from(connect);
    let frame = Frame::take(&mut rest).ok().flatten()?;
    let mut body = frame.body().to_vec();
    let name = body.len().checked_sub(password + 2 + 2)?;
    if body.get(name..name + 2)? != [0, 0] {
        return None;
    }
    body.drain(name..name + 2);
    *body.get_mut(FLAGS)? &= !USER_NAME_FLAG;

    let mut whole = vec![*frame.bytes().first()?];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7F).ok()?;
        length >>= 7;
        whole.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    whole.append(&mut body);
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(bytes: &[u8]) -> Result<Option<Frame>, Violation> {
        Frame::take(&mut BytesMut::from(bytes))
    }

    #[test]
    fn a_packet_is_taken_only_when_it_is_whole_and_the_rest_stays() {
        let mut input = BytesMut::from(&[0x20, 3, 0, 0][..]);
        assert_eq!(Frame::take(&mut input), Ok(None));
        input.extend_from_slice(&[0, 0xD0]);
        let frame = Frame::take(&mut input).unwrap().unwrap();
        assert_eq!(
            (frame.packet_type(), frame.flags(), frame.body()),
            (2, 0, &[0, 0, 0][..])
        );
        assert_eq!(&input[..], [0xD0]);
    }

    #[test]
    fn a_packet_of_256_megabytes_is_refused_by_its_header_alone() {
        let refused = take(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]).unwrap_err();
        assert!(refused.0.contains("268435460"), "{refused}");
        assert!(take(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01]).is_err());
    }

    #[test]
    fn properties_that_run_over_the_end_have_no_end() {
        let mut input = BytesMut::from(&[0x90, 5, 0, 1, 2, 9, 9][..]);
        let frame = Frame::take(&mut input).unwrap().unwrap();
        assert_eq!(frame.end_of_properties(2), Some(5));
        assert_eq!(frame.end_of_properties(3), None);
        assert_eq!(frame.end_of_properties(9), None);
    }
}
