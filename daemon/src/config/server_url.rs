//! A server's URL as a person writes it.

use imd_core::server::{Server, Transport};
use url::{Host, Url};

/// Who may be reached without encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Plaintext {
    /// This machine alone.
    #[default]
    LoopbackOnly,
    /// `plaintext = true`.
    Anywhere,
}

/// Reads a URL of mqtt, mqtts, ws or wss. The error says what is wrong, and never shows user information,
/// which may be a secret.
pub(crate) fn parse(text: &str, plaintext: Plaintext) -> Result<Server, String> {
    let shown = without_user_info(text);
    let url = Url::parse(text).map_err(|error| format!("{shown:?} is not a URL: {error}"))?;
    let transport = match url.scheme() {
        "mqtt" => Transport::Tcp,
        "mqtts" => Transport::Tls,
        "ws" => Transport::WebSocket,
        "wss" => Transport::WebSocketTls,
        _ => {
            return Err(format!(
                "{shown:?} is none of mqtt://, mqtts://, ws:// and wss://"
            ));
        }
    };
    if shown != text {
        return Err(format!(
            "{shown:?} has user information in it. Take it out: the user id and the token come from the app"
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "{shown:?} has a query or a fragment, which an MQTT server has not"
        ));
    }
    let host = host(&url).ok_or_else(|| format!("{shown:?} names no host that can be used"))?;
    let path = match (transport, url.path()) {
        (Transport::Tcp | Transport::Tls, "" | "/") => "",
        (Transport::Tcp | Transport::Tls, _) => {
            return Err(format!("{shown:?} has a path, which only ws:// and wss:// have"));
        }
        (Transport::WebSocket | Transport::WebSocketTls | Transport::Nav, path) => path,
    };
    let port = match url.port() {
        Some(0) => return Err(format!("{shown:?} has port 0")),
        Some(port) => port,
        None => transport.default_port(),
    };
    let server = Server {
        transport,
        host: host.as_str().into(),
        port,
        path: path.into(),
    };
    if plaintext == Plaintext::LoopbackOnly && !server.is_private() {
        return Err(format!(
            "{server} is not this machine, and {}:// sends the token and every message unencrypted. Use {}://, or \
             write plaintext = true under [server] if the way there is private",
            transport.scheme(),
            encrypted(transport),
        ));
    }
    Ok(server)
}

/// Reads the URL of a nav, which is https alone. The error never shows user information.
pub(super) fn parse_nav(text: &str) -> Result<Server, String> {
    let shown = without_user_info(text);
    let url = Url::parse(text).map_err(|error| format!("nav {shown:?} is not a URL: {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("nav {shown:?} is not an https:// URL"));
    }
    if shown != text || url.query().is_some() || url.fragment().is_some() {
        return Err(format!(
            "nav {shown:?} has user information, a query or a fragment in it: imd sends who asks, and nothing else"
        ));
    }
    let host = host(&url).ok_or_else(|| format!("nav {shown:?} names no host that can be used"))?;
    Ok(Server {
        transport: Transport::Nav,
        host: host.into(),
        port: url
            .port_or_known_default()
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("nav {shown:?} has port 0"))?,
        path: url.path().into(),
    })
}

/// The text without what stands between `//` and the last `@`: a password may have any character in it.
pub(super) fn without_user_info(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else {
        return text.to_owned();
    };
    match before.split_once("//") {
        Some((scheme, _)) => format!("{scheme}//{after}"),
        None => after.to_owned(),
    }
}

fn host(url: &Url) -> Option<String> {
    match url.host()? {
        // The schemes of MQTT are unknown to the URL standard, which leaves such a host as it is written.
        Host::Domain(name) => {
            let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let fits = !name.is_empty() && name.len() <= 253 && name.chars().all(legal);
            fits.then(|| name.to_ascii_lowercase())
        }
        Host::Ipv4(address) => Some(address.to_string()),
        Host::Ipv6(address) => Some(address.to_string()),
    }
}

fn encrypted(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp | Transport::Tls => "mqtts",
        Transport::WebSocket | Transport::WebSocketTls => "wss",
        Transport::Nav => "https",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Result<String, String> {
        parse(text, Plaintext::Anywhere).map(|server| server.to_string())
    }

    #[test]
    fn each_scheme_has_its_own_port() {
        for (text, read) in [
            ("mqtt://LOCALHOST", "mqtt://localhost:1883"),
            ("mqtt://localhost/", "mqtt://localhost:1883"),
            ("mqtts://im.example:99", "mqtts://im.example:99"),
            ("mqtts://im.example", "mqtts://im.example:8883"),
            ("mqtt://[::1]:1884", "mqtt://[::1]:1884"),
            ("ws://127.0.0.1/mqtt", "ws://127.0.0.1:80/mqtt"),
            ("wss://im.example/mqtt", "wss://im.example:443/mqtt"),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(read));
        }
    }

    #[test]
    fn what_is_no_server_is_refused_and_named() {
        for bad in [
            "",
            "localhost",
            "localhost:1883",
            "http://im.example",
            "mqtt:localhost",
            "mqtt://",
            "mqtt://:1883",
            "mqtt://a b",
            "mqtt://im.example:0",
            "mqtt://im.example:99999",
            "mqtt://im.example/topic",
            "mqtt://im.example?x=1",
            "mqtt://im.example#x",
            "mqtt://münchen.example",
            "mqtt://im%2eexample",
            "mqtt://[::1",
        ] {
            let refused = shown(bad).unwrap_err();
            assert!(
                refused.starts_with('"') || refused.contains(bad),
                "{bad}: {refused}"
            );
        }
    }

    #[test]
    fn user_information_is_refused_and_never_shown() {
        for bad in [
            "mqtt://alice:s3cret@localhost",
            "mqtt://s3cret@localhost:1883",
            "mqtt://alice:s3cret@/x",
            "mqtt://alice:s3cret@@localhost",
            "mqtt://alice:s3/cret@localhost",
            "mqtt//alice:s3cret@localhost",
            "alice:s3cret@localhost",
            "alice:s3cret@localhost//x",
            "mqtt://alice:s3cret@local host",
            "mqtt://@localhost",
        ] {
            let refused = shown(bad).unwrap_err();
            assert!(
                !refused.contains("s3") && !refused.contains("cret"),
                "{bad}: {refused}"
            );
        }
    }

    #[test]
    fn without_plaintext_an_unencrypted_url_reaches_this_machine_alone() {
        for foreign in [
            "mqtt://im.example",
            "ws://im.example",
            "mqtt://192.168.1.2",
            "mqtt://[fe80::1]",
            "mqtt://0.0.0.0",
            "mqtt://127.0.0.1.example",
            "mqtt://localhost.example",
        ] {
            let refused = parse(foreign, Plaintext::LoopbackOnly).unwrap_err();
            assert!(refused.contains("plaintext = true"), "{refused}");
            assert!(parse(foreign, Plaintext::Anywhere).is_ok(), "{foreign}");
        }
        for near in [
            "mqtt://localhost",
            "mqtt://127.8.9.1",
            "mqtt://[::1]",
            "mqtt://[::ffff:127.0.0.1]",
            "ws://localhost",
            "mqtts://im.example",
        ] {
            assert!(parse(near, Plaintext::LoopbackOnly).is_ok(), "{near}");
        }
    }
}
