//! The stages of the way to a server, one on top of the other.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use imd_core::account::AppKey;
use imd_core::io::{Fault, FaultKind};
use imd_core::server::{Server, Transport};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::prompt::Prompt;
use super::proxy::{self, Environment, Proxy, ProxyError};
use super::race::race;
use super::tcp::{self, LastGood, TcpError};
use super::tls::{TlsClient, TlsError, TlsFiles, Validity};
use super::websocket::{self, WebSocketError};

/// How long each stage above TCP may take. What a server, or a proxy, is silent about shows in the text, so it is
/// less than the core waits for the whole.
const STAGE: Duration = Duration::from_secs(6);

/// How long after one server its fellow is tried beside it: RFC 8305's longest delay, for whoever stands first in
/// the configuration is to be first where it answers at all.
const FELLOW: Duration = Duration::from_secs(2);

/// What WebSockets and navs are asked for over.
const HTTP: &str = "http/1.1";

/// Whatever carries MQTT.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

pub type Stream = Box<dyn Io>;

/// All ways to servers that the settings allow. By default they are direct, and the system says whom to trust.
#[derive(Default)]
pub struct Transports {
    default: TlsClient,
    by_app: BTreeMap<AppKey, TlsClient>,
    proxy: Option<Proxy>,
    environment: Environment,
    last_good: LastGood,
}

/// A server that has been reached.
pub struct Reached {
    pub server: Server,
    pub stream: Stream,
    /// The address of ours that it goes out from: without that, it is dead.
    pub source: Option<IpAddr>,
    /// How long its certificate is good; `None`: it has none.
    pub validity: Option<Validity>,
    /// The proxy on the way there.
    pub proxy: Option<Proxy>,
}

impl fmt::Debug for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reached")
            .field("server", &self.server)
            .field("source", &self.source)
            .field("validity", &self.validity)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}

/// Why a server is not reached.
#[derive(Debug)]
pub struct Unreached {
    pub server: Server,
    pub why: DialError,
}

/// Which stage failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error(transparent)]
    Tcp(#[from] TcpError),
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
}

impl Transports {
    /// `by_app`: the App Keys whose servers have files of their own. The environment is asked only where there
    /// is no `proxy`.
    #[must_use]
    pub fn new(
        default: TlsFiles,
        by_app: impl IntoIterator<Item = (AppKey, TlsFiles)>,
        proxy: Option<Proxy>,
        environment: Environment,
    ) -> Self {
        Self {
            default: TlsClient::new(default),
            by_app: by_app
                .into_iter()
                .map(|(app_key, files)| (app_key, TlsClient::new(files)))
                .collect(),
            proxy,
            environment,
            last_good: LastGood::default(),
        }
    }

    /// Reaches one of the servers of an App Key, the first that answers. Up to where MQTT begins, so nothing is
    /// logged in to twice.
    ///
    /// # Errors
    /// None can be reached; the kind is that of the first one's fault.
    pub async fn dial_one_of(
        &self,
        app_key: &AppKey,
        servers: Vec<Server>,
        dead_after: Duration,
    ) -> Result<Reached, Fault> {
        let dial = |server: Server| async move { self.dial(Some(app_key), &server, dead_after).await };
        race(servers, FELLOW, dial).await.map_err(|unreached| {
            let mut faults = unreached.into_iter().map(Fault::from);
            let first = faults.next().unwrap_or(Fault {
                kind: FaultKind::Unreachable,
                text: "there is no server".to_owned(),
            });
            faults.fold(first, |all, next| Fault {
                text: format!("{}; {}", all.text, next.text),
                ..all
            })
        })
    }

    /// Reaches a server of an App Key, up to where MQTT begins. The kernel gives up on bytes that are not
    /// acknowledged for `dead_after`.
    ///
    /// # Errors
    /// The stage that failed, and why.
    pub async fn dial(
        &self,
        app_key: Option<&AppKey>,
        server: &Server,
        dead_after: Duration,
    ) -> Result<Reached, Unreached> {
        let client = self.client(app_key);
        let dialed = Box::pin(self.stages(client, server, dead_after)).await;
        dialed.map_err(|why| Unreached {
            server: server.clone(),
            why,
        })
    }

    async fn stages(
        &self,
        client: &TlsClient,
        server: &Server,
        dead_after: Duration,
    ) -> Result<Reached, DialError> {
        let (tcp, proxy) = self.tcp(server, dead_after).await?;
        let source = tcp.0.local_addr().ok().map(|address| address.ip());
        let (stream, validity): (Stream, _) = match server.transport {
            Transport::Tcp => (Box::new(tcp), None),
            Transport::WebSocket => (Box::new(websocket(server, tcp).await?), None),
            Transport::Tls => {
                let protocols: Vec<_> = client.files().alpn.iter().map(String::as_str).collect();
                let (tls, validity) = tls(client, server, &protocols, tcp).await?;
                (Box::new(tls), Some(validity))
            }
            Transport::Nav => {
                let (tls, validity) = tls(client, server, &[HTTP], tcp).await?;
                (Box::new(tls), Some(validity))
            }
            Transport::WebSocketTls => {
                let (tls, validity) = tls(client, server, &[HTTP], tcp).await?;
                (Box::new(websocket(server, tls).await?), Some(validity))
            }
        };
        Ok(Reached {
            server: server.clone(),
            stream,
            source,
            validity,
            proxy: proxy.cloned(),
        })
    }

    /// How encrypted servers of an App Key are trusted.
    pub(crate) fn client(&self, app_key: Option<&AppKey>) -> &TlsClient {
        let own = app_key.and_then(|app_key| self.by_app.get(app_key));
        own.unwrap_or(&self.default)
    }

    /// A TCP connection to the server, or through a proxy as good as one.
    pub(crate) async fn tcp(
        &self,
        server: &Server,
        dead_after: Duration,
    ) -> Result<(Prompt, Option<&Proxy>), DialError> {
        let proxy = match &self.proxy {
            Some(proxy) => Some(proxy),
            None => self.environment.proxy_for(server)?,
        };
        let Some(proxy) = proxy else {
            let tcp = tcp::connect(&server.host, server.port, dead_after, &self.last_good).await?;
            return Ok((Prompt(tcp), None));
        };
        let mut tcp = tcp::connect(proxy.host(), proxy.port(), dead_after, &self.last_good)
            .await
            .map_err(ProxyError::Unreachable)?;
        timeout(STAGE, proxy::tunnel(proxy, &server.host, server.port, &mut tcp))
            .await
            .map_err(|_| ProxyError::Silent)??;
        Ok((Prompt(tcp), Some(proxy)))
    }
}

async fn tls<S: Io>(
    client: &TlsClient,
    server: &Server,
    protocols: &[&str],
    stream: S,
) -> Result<(tokio_rustls::client::TlsStream<S>, Validity), TlsError> {
    timeout(STAGE, client.handshake(&server.host, protocols, stream))
        .await
        .map_err(|_| TlsError::Silent)?
}

async fn websocket<S: Io>(
    server: &Server,
    stream: S,
) -> Result<websocket::WebSocketBytes<S>, WebSocketError> {
    timeout(STAGE, websocket::open(server, stream))
        .await
        .map_err(|_| WebSocketError::Silent)?
}

impl DialError {
    /// As what it goes to the core.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Tcp(TcpError::NoAddress { .. }) => FaultKind::NameNotResolved,
            Self::Tcp(TcpError::Refused(_)) => FaultKind::ConnectionRefused,
            Self::Tcp(TcpError::Unreachable(_)) => FaultKind::Unreachable,
            Self::Proxy(error) => error.kind(),
            Self::Tls(error) => error.kind(),
            Self::WebSocket(error) => error.kind(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn mend(&self) -> String {
        match self {
            Self::Tcp(_) => "check the address in the configuration, and whether the server runs".to_owned(),
            Self::Proxy(error) => error.mend(),
            Self::Tls(error) => error.mend(),
            Self::WebSocket(error) => error.mend(),
        }
    }
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { server, why } = self;
        match why {
            DialError::Tcp(TcpError::Refused(details)) => {
                write!(f, "nothing listens at {server} ({details})")
            }
            DialError::Tcp(TcpError::Unreachable(details)) => {
                write!(f, "{server} cannot be reached ({details})")
            }
            DialError::Tcp(TcpError::NoAddress { .. })
            | DialError::Proxy(_)
            | DialError::Tls(_)
            | DialError::WebSocket(_) => write!(f, "{server}: {why}"),
        }
    }
}

impl From<Unreached> for Fault {
    fn from(unreached: Unreached) -> Self {
        let kind = unreached.why.kind();
        let text = match &unreached.why {
            // The text has all there is to say.
            DialError::Tcp(_) => unreached.to_string(),
            DialError::Proxy(_) | DialError::Tls(_) | DialError::WebSocket(_) => {
                format!("{unreached}; {}", unreached.why.mend())
            }
        };
        Self { kind, text }
    }
}
