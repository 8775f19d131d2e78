//! A server's address, as configuration and Server Reference give it.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// What carries MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// `mqtt://`
    Tcp,
    /// `mqtts://`
    Tls,
    /// `ws://`
    WebSocket,
    /// `wss://`
    WebSocketTls,
    /// `https://`: no server of messages, but the directory (nav) that names them.
    Nav,
}

impl Transport {
    #[must_use]
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Tcp => "mqtt",
            Self::Tls => "mqtts",
            Self::WebSocket => "ws",
            Self::WebSocketTls => "wss",
            Self::Nav => "https",
        }
    }

    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Tcp => 1883,
            Self::Tls => 8883,
            Self::WebSocket => 80,
            Self::WebSocketTls | Self::Nav => 443,
        }
    }

    #[must_use]
    pub const fn is_encrypted(self) -> bool {
        match self {
            Self::Tls | Self::WebSocketTls | Self::Nav => true,
            Self::Tcp | Self::WebSocket => false,
        }
    }
}

/// Where a server is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Server {
    pub transport: Transport,
    /// A name or an address; an IPv6 address without brackets.
    pub host: Arc<str>,
    pub port: u16,
    /// The path of a WebSocket; of a nav the query too; empty otherwise.
    pub path: Arc<str>,
}

impl Server {
    /// Whether the way there needs no leave (`plaintext = true`): it is encrypted, or ends on this machine.
    #[must_use]
    pub fn is_private(&self) -> bool {
        self.transport.is_encrypted() || self.is_local()
    }

    /// Whether it is on this machine, and so needs no network.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_loopback(&self.host)
    }

    /// The server a Server Reference names: `host` or `host:port`, nothing else, reached as this one is.
    /// MQTT allows several, parted by spaces: the first that can be read counts.
    #[must_use]
    pub fn referred(&self, reference: &str) -> Option<Self> {
        if self.transport == Transport::Nav {
            return None;
        }
        reference.split(' ').find_map(|one| {
            let (host, port) = split_host_port(one)?;
            Some(Self {
                transport: self.transport,
                host: host.into(),
                port: port.unwrap_or(self.port),
                path: Arc::clone(&self.path),
            })
        })
    }
}

fn is_loopback(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback() || address.to_ipv4_mapped().is_some_and(|v4| v4.is_loopback())
        }
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn split_host_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<std::net::Ipv6Addr>().ok()?;
        (
            host,
            if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':')?)
            },
        )
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || host.len() > 253 || !host.chars().all(legal) {
        return None;
    }
    match port {
        None => Some((host, None)),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .map(|port| (host, Some(port))),
        Some(_) => None,
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.transport.scheme();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}{}", self.host, self.port, self.path)
        } else {
            write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.path)
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        Server {
            transport: Transport::Tls,
            host: "one.example".into(),
            port: 8883,
            path: "".into(),
        }
    }

    #[test]
    fn without_encryption_this_machine_alone_is_private() {
        let private = |transport, host: &str| {
            let host = host.into();
            Server {
                transport,
                host,
                ..server()
            }
            .is_private()
        };
        for host in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost"] {
            assert!(private(Transport::Tcp, host), "{host}");
        }
        for host in ["10.0.0.1", "::", "0.0.0.0", "localhost.example", "one.example"] {
            assert!(!private(Transport::WebSocket, host), "{host}");
            assert!(private(Transport::Tls, host), "{host}");
        }
    }

    #[test]
    fn a_reference_changes_host_and_port_and_never_the_transport() {
        let shown = |text: &str| server().referred(text).map(|found| found.to_string());
        assert_eq!(shown("two.example").as_deref(), Some("mqtts://two.example:8883"));
        assert_eq!(shown("two.example:99").as_deref(), Some("mqtts://two.example:99"));
        assert_eq!(shown("[::1]:99").as_deref(), Some("mqtts://[::1]:99"));
        assert_eq!(
            shown("mqtt://evil:1 two.example").as_deref(),
            Some("mqtts://two.example:8883")
        );
        for bad in [
            "",
            "a:b",
            "a:0",
            "a:99999",
            "a/b",
            "user@host",
            "mqtt://x",
            "[zz]:1",
            "[::1]x",
            "a:+1",
        ] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }
}
