//! Ports for programs that can't be told "any".

use std::net::{Ipv4Addr, TcpListener};

/// A free port of 127.0.0.1, outside the range from which the kernel serves outgoing connections: a broker
/// that is stopped and started again gets it back.
///
/// # Panics
/// When a thousand tries find none.
#[must_use]
pub fn free_port() -> u16 {
    for _ in 0..1000 {
        let [high, low] = *uuid::Uuid::new_v4().as_bytes().first_chunk().expect("16 bytes");
        let port = 12_000 + u16::from_be_bytes([high, low]) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 12000 and 32000");
}
