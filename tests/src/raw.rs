//! HTTP/2 and gRPC by hand, for clients that no library would play: half a frame, half a message, a reader
//! that never reads.

use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use prost::Message;

/// What every client says first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const DATA: u8 = 0;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// How long a write may be stuck: a daemon that reads no more has hung up in all but name.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame's bytes.
///
/// # Panics
/// When the payload is longer than a frame may be.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a short payload")
        .to_be_bytes();
    assert!(payload.len() < 16 * 1024, "a frame has 16 KiB at most");
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Empty SETTINGS.
#[must_use]
pub fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

/// The headers of a call, without its message.
#[must_use]
pub fn headers(stream: u32, path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        // A literal that is not indexed, with a name of its own.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).expect("a short header"));
            block.extend(text.bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// A message as gRPC wraps it.
///
/// # Panics
/// When it is longer than 4 GiB.
#[must_use]
pub fn wrapped(message: &impl Message) -> Vec<u8> {
    let body = message.encode_to_vec();
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(body.len()).expect("a short message").to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A whole call.
#[must_use]
pub fn call(stream: u32, path: &str, message: &impl Message) -> Vec<u8> {
    let mut bytes = headers(stream, path);
    bytes.extend(frame(DATA, END_STREAM, stream, &wrapped(message)));
    bytes
}

/// A call whose message breaks off in the middle.
#[must_use]
pub fn half_a_call(stream: u32, path: &str, message: &impl Message) -> Vec<u8> {
    let whole = wrapped(message);
    let mut bytes = headers(stream, path);
    bytes.extend(frame(DATA, 0, stream, &whole[..whole.len() / 2]));
    bytes
}

/// Connects, and says this.
///
/// # Errors
/// The daemon has hung up, or was never there.
pub fn say(socket: &Path, bytes: &[u8]) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(bytes)?;
    Ok(stream)
}

/// Bytes without a pattern, the same for the same seed.
#[must_use]
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[4]
    })
    .take(length)
    .collect()
}
