//! Ways through a proxy: SOCKS5 and HTTP CONNECT. The proxy resolves the server's name.

mod address;
mod environment;
mod http;
mod socks5;

use imd_core::io::FaultKind;
use tokio::io::{AsyncRead, AsyncWrite};
use zeroize::Zeroizing;

use self::address::Protocol;
pub use self::address::{Proxy, ProxyUrlError};
pub use self::environment::Environment;
use super::files::FileError;
use super::tcp::TcpError;

/// Why there is no way through a proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    #[error("{variable} in the environment names no proxy that imd can use: {why}")]
    Environment {
        variable: &'static str,
        why: ProxyUrlError,
    },
    #[error("the proxy's password: {0}")]
    PasswordFile(FileError),
    #[error("the proxy: {0}")]
    Unreachable(TcpError),
    #[error("the proxy wants a user name and a password")]
    WantsPassword,
    #[error("the proxy does not take this user name and password")]
    WrongPassword,
    #[error("the proxy offers no way of signing in that imd knows")]
    NoMethod,
    #[error("the proxy does not let us reach the server ({0})")]
    Forbidden(String),
    #[error("the proxy cannot reach the server ({0})")]
    ServerUnreachable(String),
    #[error("the proxy does not speak {spoken}: {what}")]
    Rubbish { spoken: &'static str, what: String },
    #[error("the proxy closed the connection")]
    Closed,
    #[error("the proxy does not answer")]
    Silent,
    #[error("the connection to the proxy broke: {0}")]
    Broken(std::io::Error),
}

impl ProxyError {
    /// As what it goes to the core.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::ServerUnreachable(_) => FaultKind::Unreachable,
            Self::Environment { .. }
            | Self::PasswordFile(_)
            | Self::Unreachable(_)
            | Self::WantsPassword
            | Self::WrongPassword
            | Self::NoMethod
            | Self::Forbidden(_)
            | Self::Rubbish { .. }
            | Self::Closed
            | Self::Silent
            | Self::Broken(_) => FaultKind::Proxy,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn mend(&self) -> String {
        match self {
            Self::Environment { variable, .. } => {
                return format!("mend {variable}, or set url under [proxy], which outranks it");
            }
            Self::PasswordFile(error) => return error.mend(),
            Self::Unreachable(_) => "check the proxy's address, and whether it runs",
            Self::WantsPassword => "set url = \"…://USER@…\" and password_file under [proxy]",
            Self::WrongPassword => "check the user name in url and what password_file has in it",
            Self::NoMethod => "the proxy must offer user name and password, or neither",
            Self::Forbidden(_) => "ask whoever runs the proxy to allow the server's name and port",
            Self::ServerUnreachable(_) => "check the server's address, and whether it runs",
            Self::Rubbish { .. } => {
                "check the proxy's port, and whether it is a socks5:// or an http:// proxy"
            }
            Self::Closed | Self::Silent => {
                "check the proxy's port, and whether it is a socks5:// or an http:// proxy that still works"
            }
            Self::Broken(_) => "look at the way to the proxy",
        }
        .to_owned()
    }

    fn of_io(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            Self::Closed
        } else {
            Self::Broken(error)
        }
    }
}

/// Who we are at the proxy.
struct SignIn {
    user: String,
    password: Zeroizing<String>,
}

/// Asks the proxy at the other end of `stream` for a way to the server. After it the stream is the server's.
pub(super) async fn tunnel<S>(proxy: &Proxy, host: &str, port: u16, stream: &mut S) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let sign_in = proxy.sign_in().map_err(ProxyError::PasswordFile)?;
    match proxy.protocol() {
        Protocol::Socks5 => socks5::tunnel(sign_in.as_ref(), host, port, stream).await,
        Protocol::Http => http::tunnel(sign_in.as_ref(), host, port, stream).await,
    }
}

#[cfg(test)]
mod tests;
