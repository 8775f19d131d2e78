//! The one place where a transport is chosen: a [`Server`] becomes a stream of bytes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use imd_core::io::{Fault, FaultKind};
use imd_core::server::{Server, Transport};
use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

/// How long all addresses of a server may take together; the core's own deadline is as long.
const ATTEMPT: Duration = Duration::from_secs(15);

/// When a link counts as dead, in hundredths of the keep-alive.
const DEAD_AFTER_PERCENT: u32 = 145;

/// Whatever carries MQTT.
pub(super) trait Transporting: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transporting for T {}

pub(super) type Stream = Box<dyn Transporting>;

/// A way to the server.
pub(super) struct Reached {
    pub(super) stream: Stream,
    /// The address of ours that it goes out from: without that, it is dead.
    pub(super) source: Option<IpAddr>,
}

/// Reaches the server.
///
/// # Errors
/// The name has no address, or no address answers; the text names them.
pub(super) async fn dial(server: &Server, keep_alive: Duration) -> Result<Reached, Fault> {
    match server.transport {
        Transport::Tcp => {
            let stream = tcp(server, keep_alive).await?;
            Ok(Reached {
                source: stream.local_addr().ok().map(|address| address.ip()),
                stream: Box::new(stream),
            })
        }
        Transport::Tls | Transport::WebSocket | Transport::WebSocketTls => Err(Fault {
            kind: FaultKind::Unreachable,
            text: format!("{server}: this version of imd reaches mqtt:// servers only"),
        }),
    }
}

async fn tcp(server: &Server, keep_alive: Duration) -> Result<TcpStream, Fault> {
    let addresses = resolve(server).await?;
    let share = ATTEMPT / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut refused = true;
    let mut texts = Vec::new();
    let is_literal = server.host.parse::<IpAddr>().is_ok();
    // Which address it was is news only where the server has a name.
    let about = |address: SocketAddr, what: &str| {
        if is_literal {
            what.to_owned()
        } else {
            format!("{address}: {what}")
        }
    };
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream, keep_alive).map_err(|error| Fault {
                    kind: FaultKind::Unreachable,
                    text: format!("{server} ({address}): {error}"),
                })?;
                return Ok(stream);
            }
            Ok(Err(error)) => {
                refused &= error.kind() == io::ErrorKind::ConnectionRefused;
                texts.push(about(address, &error.to_string()));
            }
            Err(_) => {
                refused = false;
                texts.push(about(address, &format!("no answer within {} s", share.as_secs())));
            }
        }
    }
    let details = texts.join("; ");
    Err(if refused {
        Fault {
            kind: FaultKind::ConnectionRefused,
            text: format!("nothing listens at {server} ({details})"),
        }
    } else {
        Fault {
            kind: FaultKind::Unreachable,
            text: format!("{server} cannot be reached ({details})"),
        }
    })
}

async fn resolve(server: &Server) -> Result<Vec<SocketAddr>, Fault> {
    if let Ok(address) = server.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, server.port)]);
    }
    let failed = |why: &dyn std::fmt::Display| Fault {
        kind: FaultKind::NameNotResolved,
        text: format!("{server}: the name {} has no address ({why})", server.host),
    };
    let found = timeout(ATTEMPT, lookup_host((&*server.host, server.port)))
        .await
        .map_err(|_| failed(&"no answer from the resolver"))?
        .map_err(|error| failed(&error))?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(failed(&"an empty answer"));
    }
    Ok(addresses)
}

/// Small packets go out at once, and the kernel gives up on unacknowledged bytes when the core would.
fn prepare(stream: &TcpStream, keep_alive: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let dead_after = keep_alive.saturating_mul(DEAD_AFTER_PERCENT) / 100;
    let millis = u32::try_from(dead_after.as_millis()).unwrap_or(u32::MAX);
    set_tcp_user_timeout(stream, millis)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(transport: Transport, host: &str, port: u16) -> Server {
        Server {
            transport,
            host: host.into(),
            port,
            path: "".into(),
        }
    }

    async fn fault(server: Server) -> Fault {
        dial(&server, Duration::from_secs(30)).await.err().unwrap()
    }

    #[tokio::test]
    async fn a_port_without_a_listener_is_refused_and_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let fault = fault(server(Transport::Tcp, "127.0.0.1", port)).await;
        assert_eq!(fault.kind, FaultKind::ConnectionRefused);
        assert!(
            fault
                .text
                .contains(&format!("nothing listens at mqtt://127.0.0.1:{port}")),
            "{}",
            fault.text
        );
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_told_as_such() {
        let fault = fault(server(Transport::Tcp, "nowhere.invalid", 1883)).await;
        assert_eq!(fault.kind, FaultKind::NameNotResolved);
        assert!(fault.text.contains("nowhere.invalid"), "{}", fault.text);
    }

    #[tokio::test]
    async fn a_transport_of_a_later_version_is_refused_with_a_text() {
        for transport in [Transport::Tls, Transport::WebSocket, Transport::WebSocketTls] {
            let fault = fault(server(transport, "127.0.0.1", 1)).await;
            assert_eq!(fault.kind, FaultKind::Unreachable);
            assert!(fault.text.contains("mqtt:// servers only"), "{}", fault.text);
        }
    }

    #[tokio::test]
    async fn the_kernel_gives_up_on_a_link_when_the_core_does() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = server(Transport::Tcp, "127.0.0.1", port);
        let stream = tcp(&server, Duration::from_secs(30)).await.unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 43_500);
        assert!(stream.nodelay().unwrap());
    }
}
