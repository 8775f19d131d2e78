//! The way to a server, up to where MQTT begins.
//!
//! | file | stage |
//! |---|---|
//! | `tcp.rs`, `race.rs` | a name's addresses, tried as RFC 8305 says |
//! | `proxy/` | through SOCKS5 or HTTP CONNECT |
//! | `tls/` | whom we trust and who we are |
//! | `websocket.rs` | MQTT in a WebSocket's messages |
//! | `dial.rs` | the stages of one server, in their order |

mod dial;
mod files;
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
