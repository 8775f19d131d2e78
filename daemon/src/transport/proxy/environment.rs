//! The usual variables: ALL_PROXY, HTTPS_PROXY and NO_PROXY, in capitals or not.

use std::net::IpAddr;

use imd_core::server::Server;

use super::{Proxy, ProxyError};

/// What the environment says of proxies.
#[derive(Clone, Default)]
pub struct Environment {
    all: Option<Named>,
    https: Option<Named>,
    exceptions: Vec<Exception>,
}

/// A variable and what it has in it.
#[derive(Clone)]
struct Named {
    variable: &'static str,
    proxy: Result<Proxy, super::ProxyUrlError>,
}

/// An entry of NO_PROXY.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Exception {
    Everything,
    /// This name and all under it.
    Name(String),
    /// The addresses that begin with so many bits of this one.
    Network(IpAddr, u32),
}

impl Environment {
    /// Reads the variables; an empty one is as good as none.
    #[must_use]
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let named = |names: [&'static str; 2]| {
            names.into_iter().find_map(|name| {
                let value = set(name)?;
                Some(Named {
                    variable: name,
                    proxy: Proxy::parse(value.trim()),
                })
            })
        };
        let exceptions = set("NO_PROXY").or_else(|| set("no_proxy")).unwrap_or_default();
        Self {
            all: named(["ALL_PROXY", "all_proxy"]),
            https: named(["HTTPS_PROXY", "https_proxy"]),
            exceptions: exceptions
                .split([',', ' '])
                .filter_map(Exception::parse)
                .collect(),
        }
    }

    /// The proxy on the way to a server. None leads to this machine itself.
    ///
    /// # Errors
    /// The variable has something in it that is no proxy: going without would be going where nobody wants us.
    pub fn proxy_for(&self, server: &Server) -> Result<Option<&Proxy>, ProxyError> {
        let encrypted = self.https.as_ref().filter(|_| server.transport.is_encrypted());
        let Some(named) = encrypted.or(self.all.as_ref()) else {
            return Ok(None);
        };
        if server.is_local()
            || self
                .exceptions
                .iter()
                .any(|exception| exception.holds(&server.host))
        {
            return Ok(None);
        }
        match &named.proxy {
            Ok(proxy) => Ok(Some(proxy)),
            Err(why) => Err(ProxyError::Environment {
                variable: named.variable,
                why: why.clone(),
            }),
        }
    }
}

impl Exception {
    /// As curl reads it: `*`, an address, an address with a mask, or a name with or without a dot before it.
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "*" {
            return Some(Self::Everything);
        }
        if let Some((address, bits)) = text.split_once('/') {
            let address: IpAddr = address.parse().ok()?;
            let bits = bits.parse().ok().filter(|bits| *bits <= width(address))?;
            return Some(Self::Network(address, bits));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
            return Some(Self::Network(address, width(address)));
        }
        let name = text.trim_start_matches("*.").trim_matches('.');
        (!name.is_empty()).then(|| Self::Name(name.to_ascii_lowercase()))
    }

    fn holds(&self, host: &str) -> bool {
        match self {
            Self::Everything => true,
            Self::Name(name) => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                host.strip_suffix(name.as_str())
                    .is_some_and(|before| before.is_empty() || before.ends_with('.'))
            }
            Self::Network(network, bits) => match (network, host.parse()) {
                (IpAddr::V4(network), Ok(IpAddr::V4(address))) => {
                    let differing = network.to_bits() ^ address.to_bits();
                    differing.leading_zeros() >= *bits
                }
                (IpAddr::V6(network), Ok(IpAddr::V6(address))) => {
                    let differing = network.to_bits() ^ address.to_bits();
                    differing.leading_zeros() >= *bits
                }
                (IpAddr::V4(_) | IpAddr::V6(_), Ok(_) | Err(_)) => false,
            },
        }
    }
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use imd_core::server::Transport;

    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        Environment::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn server(transport: Transport, host: &str) -> Server {
        Server {
            transport,
            host: host.into(),
            port: 1,
            path: "".into(),
        }
    }

    #[track_caller]
    fn way(environment: &Environment, transport: Transport, host: &str) -> Option<String> {
        let proxy = environment.proxy_for(&server(transport, host)).unwrap();
        proxy.map(ToString::to_string)
    }

    #[test]
    fn encrypted_servers_have_a_variable_of_their_own() {
        let both = environment(&[("ALL_PROXY", "socks5://all"), ("https_proxy", "http://tls:3128")]);
        let (all, tls) = (Some("socks5://all:1080"), Some("http://tls:3128"));
        assert_eq!(way(&both, Transport::Tcp, "a.example").as_deref(), all);
        assert_eq!(way(&both, Transport::WebSocket, "a.example").as_deref(), all);
        assert_eq!(way(&both, Transport::Tls, "a.example").as_deref(), tls);
        assert_eq!(way(&both, Transport::WebSocketTls, "a.example").as_deref(), tls);
        let one = environment(&[("all_proxy", "socks5://all")]);
        assert_eq!(way(&one, Transport::Tls, "a.example").as_deref(), all);
        // It is for requests of http://, which MQTT is not.
        let other = environment(&[("HTTP_PROXY", "http://p")]);
        assert_eq!(way(&other, Transport::WebSocket, "a.example"), None);
    }

    #[test]
    fn this_machine_is_never_reached_through_the_environment_s_proxy() {
        let all = environment(&[("ALL_PROXY", "socks5://all")]);
        for host in ["localhost", "127.0.0.1", "127.3.2.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(way(&all, Transport::Tls, host), None, "{host}");
        }
    }

    #[test]
    fn no_proxy_takes_names_with_what_is_under_them_addresses_and_networks() {
        let list = "example.com, .internal,10.0.0.0/8,192.168.1.7,fd00::/8 *.corp,bad/99,10.0.0.1/33";
        let all = environment(&[("ALL_PROXY", "socks5://all"), ("NO_PROXY", list)]);
        for near in [
            "example.com",
            "EXAMPLE.com",
            "example.com.",
            "im.example.com",
            "internal",
            "a.internal",
            "10.255.0.1",
            "192.168.1.7",
            "fd12::1",
            "x.corp",
        ] {
            assert_eq!(way(&all, Transport::Tls, near), None, "{near}");
        }
        for far in [
            "notexample.com",
            "example.com.evil",
            "11.0.0.1",
            "192.168.1.8",
            "fe80::1",
            "bad",
        ] {
            assert!(way(&all, Transport::Tls, far).is_some(), "{far}");
        }
        let nobody = environment(&[("ALL_PROXY", "socks5://all"), ("no_proxy", "*")]);
        assert_eq!(way(&nobody, Transport::Tls, "a.example"), None);
    }

    #[test]
    fn a_variable_that_names_no_proxy_is_told_not_passed_over() {
        let broken = environment(&[("HTTPS_PROXY", "https://u:s3cret@p"), ("ALL_PROXY", "")]);
        let error = broken
            .proxy_for(&server(Transport::Tls, "a.example"))
            .unwrap_err();
        let text = format!("{error} {error:?} {}", error.mend());
        assert!(text.contains("HTTPS_PROXY") && !text.contains("s3cret"), "{text}");
        assert_eq!(way(&broken, Transport::Tcp, "a.example"), None);
        assert_eq!(way(&broken, Transport::Tls, "localhost"), None);
    }
}
