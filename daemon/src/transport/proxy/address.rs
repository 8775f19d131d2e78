//! A proxy as a person writes it.

use std::fmt;
use std::path::PathBuf;

use url::{Host, Url};
use zeroize::Zeroizing;

use super::SignIn;
use crate::transport::files::{self, FileError};

/// What a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// RFC 1928, with RFC 1929 for the password.
    Socks5,
    /// CONNECT, with Basic for the password.
    Http,
}

impl Protocol {
    const fn scheme(self) -> &'static str {
        match self {
            Self::Socks5 => "socks5",
            Self::Http => "http",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Socks5 => 1080,
            Self::Http => 80,
        }
    }
}

/// Where a proxy is, and how to sign in there. Shown without user and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    protocol: Protocol,
    host: String,
    port: u16,
    user: Option<String>,
    password: Password,
}

#[derive(Clone, PartialEq, Eq)]
enum Password {
    None,
    Written(Zeroizing<String>),
    /// Read at each dial.
    File(PathBuf),
}

/// Why a text is no proxy. It shows nothing of user and password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    #[error("it is not a URL")]
    NoUrl,
    #[error("it is {0}://, and imd knows socks5://, socks5h:// and http://")]
    Scheme(String),
    #[error("it names no host that can be used")]
    Host,
    #[error("it has port 0")]
    Port,
    #[error("it has a path, a query or a fragment, which a proxy has not")]
    Path,
    #[error("its user name or password is not UTF-8 text")]
    Text,
    #[error("its user name or password is longer than 255 bytes, or has a line break in it")]
    Length,
    #[error("it has a password without a user name")]
    NoUser,
}

impl Proxy {
    /// Reads `socks5://`, `socks5h://` or `http://`, with `user:password@` where the proxy wants it. In both
    /// forms of SOCKS5 the proxy resolves names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, ProxyUrlError> {
        let url = Url::parse(text).map_err(|_| ProxyUrlError::NoUrl)?;
        let protocol = match url.scheme() {
            "socks5" | "socks5h" => Protocol::Socks5,
            "http" => Protocol::Http,
            other => return Err(ProxyUrlError::Scheme(other.chars().take(20).collect())),
        };
        let host = match url.host().ok_or(ProxyUrlError::Host)? {
            Host::Domain(name) => {
                let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
                if name.is_empty() || name.len() > 253 || !name.chars().all(legal) {
                    return Err(ProxyUrlError::Host);
                }
                name.to_ascii_lowercase()
            }
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let port = match url.port() {
            Some(0) => return Err(ProxyUrlError::Port),
            Some(port) => port,
            None => protocol.default_port(),
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return Err(ProxyUrlError::Path);
        }
        let user = decoded(url.username())?;
        let password = url.password().map(decoded).transpose()?;
        if user.is_empty() && password.is_some() {
            return Err(ProxyUrlError::NoUser);
        }
        Ok(Self {
            protocol,
            host,
            port,
            user: (!user.is_empty()).then(|| String::clone(&user)),
            password: password.map_or(Password::None, Password::Written),
        })
    }

    /// The same with a password that stands in a file.
    #[must_use]
    pub fn with_password_file(self, path: PathBuf) -> Self {
        Self {
            password: Password::File(path),
            ..self
        }
    }

    /// Whether it says who we are, and whether with a password.
    #[must_use]
    pub fn names(&self) -> (bool, bool) {
        (self.user.is_some(), self.password != Password::None)
    }

    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Reads the password, where a file has it.
    pub(super) fn sign_in(&self) -> Result<Option<SignIn>, FileError> {
        let Some(user) = self.user.clone() else {
            return Ok(None);
        };
        let password = match &self.password {
            Password::None => Zeroizing::default(),
            Password::Written(password) => password.clone(),
            Password::File(path) => {
                let bytes = files::read_secret(path)?;
                let text =
                    std::str::from_utf8(&bytes).map_err(|_| FileError::unfit(path, "is not UTF-8 text"))?;
                let line = text.strip_suffix('\n').unwrap_or(text);
                let line = line.strip_suffix('\r').unwrap_or(line);
                if line.is_empty() {
                    return Err(FileError::unfit(path, "has no password in it"));
                }
                if !fits(line) {
                    return Err(FileError::unfit(
                        path,
                        "has more in it than one line of 255 bytes",
                    ));
                }
                Zeroizing::new(line.to_owned())
            }
        };
        Ok(Some(SignIn { user, password }))
    }
}

fn decoded(text: &str) -> Result<Zeroizing<String>, ProxyUrlError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| ProxyUrlError::Text)?;
    if !fits(text) {
        return Err(ProxyUrlError::Length);
    }
    Ok(Zeroizing::new(text.to_owned()))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// RFC 1929 counts both in one byte; a line break would end the header of Basic.
fn fits(text: &str) -> bool {
    text.len() <= 255 && !text.chars().any(|c| matches!(c, '\r' | '\n' | '\0'))
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.protocol.scheme();
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn each_scheme_has_its_own_port_and_user_and_password_are_decoded() {
        for (text, shown, sign_in) in [
            ("socks5://Proxy.example", "socks5://proxy.example:1080", None),
            ("socks5h://[::1]:9", "socks5://[::1]:9", None),
            ("http://10.0.0.1", "http://10.0.0.1:80", None),
            ("http://10.0.0.1:3128/", "http://10.0.0.1:3128", None),
            ("http://alice@p:1", "http://p:1", Some(("alice", ""))),
            (
                "socks5://al%40ice:s%3a%E9%81%93@p:1",
                "socks5://p:1",
                Some(("al@ice", "s:道")),
            ),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.to_string(), shown);
            let read = proxy.sign_in().unwrap();
            let read = read.as_ref().map(|sign_in| (&*sign_in.user, &**sign_in.password));
            assert_eq!(read, sign_in, "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_and_its_password_never_shown() {
        let long = format!("http://{}:s3cret@p", "u".repeat(256));
        for (bad, why) in [
            ("p:1", ProxyUrlError::Scheme("p".to_owned())),
            ("s3cret", ProxyUrlError::NoUrl),
            ("https://u:s3cret@p", ProxyUrlError::Scheme("https".to_owned())),
            ("socks4://u:s3cret@p", ProxyUrlError::Scheme("socks4".to_owned())),
            ("http://u:s3cret@p:0", ProxyUrlError::Port),
            ("http://u:s3cret@p/x", ProxyUrlError::Path),
            ("socks5://u:s3cret@p x", ProxyUrlError::NoUrl),
            ("socks5://u:s3cret@p%20x", ProxyUrlError::Host),
            ("http://:s3cret@p", ProxyUrlError::NoUser),
            ("http://u:s3cret%0a@p", ProxyUrlError::Length),
            ("http://u:s3cret%ff@p", ProxyUrlError::Text),
            (&*long, ProxyUrlError::Length),
        ] {
            let refused = Proxy::parse(bad).unwrap_err();
            assert_eq!(refused, why, "{bad}");
            assert!(!refused.to_string().contains("s3cret"), "{refused}");
        }
    }

    #[test]
    fn a_proxy_shows_neither_user_nor_password() {
        let proxy = Proxy::parse("socks5://alice:s3cret@p").unwrap();
        let shown = format!("{proxy} {proxy:?}");
        assert!(!shown.contains("alice") && !shown.contains("s3cret"), "{shown}");
    }

    #[test]
    fn a_password_file_is_one_line_and_its_owner_s_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let read = |text: &[u8], mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let proxy = Proxy::parse("socks5://alice@p").unwrap();
            proxy.with_password_file(path.clone()).sign_in()
        };
        assert_eq!(*read(b"s3cret\n", 0o600).unwrap().unwrap().password, "s3cret");
        assert_eq!(*read(b"s3cret", 0o400).unwrap().unwrap().password, "s3cret");
        for (bad, mode) in [
            (&b"s3cret\n"[..], 0o644),
            (b"", 0o600),
            (b"\n", 0o600),
            (b"s3cret\nmore\n", 0o600),
            (b"s3cret\xff", 0o600),
        ] {
            let refused = read(bad, mode).err().unwrap();
            assert!(!refused.to_string().contains("s3cret"), "{refused}");
        }
    }
}
