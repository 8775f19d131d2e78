//! The way to a server, up to where MQTT begins.
//!
//! | file | stage |
//! |---|---|
//! | `tcp.rs`, `race.rs` | a name's addresses, tried as RFC 8305 says |
//! | `prompt.rs` | TCP that acknowledges at once |
//! | `proxy/` | through SOCKS5 or HTTP CONNECT |
//! | `tls/` | whom we trust and who we are |
//! | `websocket.rs` | MQTT in a WebSocket's messages |
//! | `dial.rs` | the stages of one server, in their order |

mod dial;
mod files;
mod prompt;
mod proxy;
mod race;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;
mod websocket;

use std::io;

use imd_core::io::{Fault, FaultKind};
use imd_core::server::Server;

pub use self::dial::{DialError, Io, Reached, Stream, Transports, Unreached};
pub use self::proxy::{Environment, Proxy, ProxyError, ProxyUrlError};
pub use self::tcp::TcpError;
pub(crate) use self::tls::shown_time;
pub use self::tls::{ClientFiles, EXPIRES_SOON, TlsError, TlsFiles, Validity};
pub use self::websocket::WebSocketError;

/// What a server speaks that does not speak MQTT here, by what it says first, and what to do about it.
#[must_use]
pub fn other_protocol(first: &[u8]) -> Option<&'static str> {
    if first.starts_with(b"HTTP/") {
        return Some("what answers speaks HTTP: is the port right? A broker's WebSocket is ws:// or wss://");
    }
    // An alert or a handshake of any version of TLS; in MQTT an acknowledgement has no such flags.
    match first {
        [0x15 | 0x16, 3, ..] => Some("what answers speaks TLS: the server is mqtts:// there"),
        _ => None,
    }
}

/// What ended a connection that was up.
#[must_use]
pub fn broken(server: &Server, error: &io::Error) -> Fault {
    match TlsError::of_connection(error) {
        // In TLS 1.3 the server judges our certificate when for us the connection is up.
        Some(fault) => Fault {
            kind: fault.kind(),
            text: format!("{server}: {fault}; {}", fault.mend()),
        },
        None if error.kind() == io::ErrorKind::UnexpectedEof => Fault {
            kind: FaultKind::BareEof,
            text: format!("{server} closed the connection without a word"),
        },
        None => Fault {
            kind: FaultKind::Io,
            text: format!("the connection to {server} broke: {error}"),
        },
    }
}
