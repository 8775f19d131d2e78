//! From a name and a port to a TCP connection.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt::set_tcp_user_timeout;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::race::{order, race};

/// How long after one address the next is tried beside it (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);

/// How long one address may take: four SYNs of Linux.
const ADDRESS: Duration = Duration::from_secs(8);

/// How long the resolver may take.
const RESOLVER: Duration = Duration::from_secs(8);

/// So many addresses of a name are tried.
const MOST_ADDRESSES: usize = 16;

/// So many names are remembered.
const MOST_NAMES: usize = 64;

/// Why there is no TCP connection.
#[derive(Debug, thiserror::Error)]
pub enum TcpError {
    #[error("the name {name} has no address ({why})")]
    NoAddress { name: String, why: String },
    /// Every address refuses.
    #[error("nothing listens there ({0})")]
    Refused(String),
    #[error("it cannot be reached ({0})")]
    Unreachable(String),
}

/// The address through which each name was reached last.
#[derive(Default)]
pub(super) struct LastGood(Mutex<BTreeMap<(String, u16), IpAddr>>);

impl LastGood {
    fn get(&self, host: &str, port: u16) -> Option<IpAddr> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(host.to_owned(), port)).copied()
    }

    fn set(&self, host: &str, port: u16, address: IpAddr) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = (host.to_owned(), port);
        if known.len() >= MOST_NAMES && !known.contains_key(&name) {
            known.clear();
        }
        known.insert(name, address);
    }
}

/// Connects to the first address of `host` that answers. The kernel gives up on bytes that are not acknowledged
/// for `dead_after`.
pub(super) async fn connect(
    host: &str,
    port: u16,
    dead_after: Duration,
    last_good: &LastGood,
) -> Result<TcpStream, TcpError> {
    let addresses = resolve(host, port).await?;
    let ordered = order(addresses, last_good.get(host, port));
    let attempt = |address: SocketAddr| async move {
        let connected = match timeout(ADDRESS, TcpStream::connect(address)).await {
            Ok(connected) => connected.and_then(|stream| prepare(stream, dead_after)),
            Err(_) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no answer within {} s", ADDRESS.as_secs()),
            )),
        };
        connected
            .map(|stream| (address, stream))
            .map_err(|error| (address, error))
    };
    match race(ordered.into_iter().take(MOST_ADDRESSES), STAGGER, attempt).await {
        Ok((address, stream)) => {
            last_good.set(host, port, address.ip());
            Ok(stream)
        }
        Err(failures) => Err(failed(host, &failures)),
    }
}

fn failed(host: &str, failures: &[(SocketAddr, io::Error)]) -> TcpError {
    // Which address it was is news only where the server has a name.
    let is_literal = host.parse::<IpAddr>().is_ok();
    let texts: Vec<_> = failures
        .iter()
        .map(|(address, error)| {
            if is_literal {
                error.to_string()
            } else {
                format!("{address}: {error}")
            }
        })
        .collect();
    let details = texts.join("; ");
    let refused = |(_, error): &(_, io::Error)| error.kind() == io::ErrorKind::ConnectionRefused;
    if failures.iter().all(refused) {
        TcpError::Refused(details)
    } else {
        TcpError::Unreachable(details)
    }
}

/// The system's resolver answers with both families at once, in the order of RFC 6724.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, TcpError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let failed = |why: String| TcpError::NoAddress {
        name: host.to_owned(),
        why,
    };
    let found = timeout(RESOLVER, lookup_host((host, port)))
        .await
        .map_err(|_| failed("no answer from the resolver".to_owned()))?
        .map_err(|error| failed(error.to_string()))?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(failed("an empty answer".to_owned()));
    }
    Ok(addresses)
}

/// Small packets go out at once.
fn prepare(stream: TcpStream, dead_after: Duration) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(dead_after.as_millis()).unwrap_or(u32::MAX);
    set_tcp_user_timeout(&stream, millis)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const DEAD_AFTER: Duration = Duration::from_millis(43_500);

    #[tokio::test]
    async fn the_kernel_gives_up_on_a_link_when_it_is_told_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect("127.0.0.1", port, DEAD_AFTER, &LastGood::default())
            .await
            .unwrap();
        assert_eq!(rustix::net::sockopt::tcp_user_timeout(&stream).unwrap(), 43_500);
        assert!(stream.nodelay().unwrap());
    }

    #[tokio::test]
    async fn of_a_name_with_two_families_the_one_that_listens_is_reached_and_remembered() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let last_good = LastGood::default();
        let stream = connect("localhost", port, DEAD_AFTER, &last_good).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(
            last_good.get("localhost", port),
            Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
        );
    }

    #[test]
    fn the_memory_of_good_addresses_is_bounded() {
        let last_good = LastGood::default();
        for name in 0..1_000 {
            last_good.set(&name.to_string(), 1, IpAddr::V6(Ipv6Addr::LOCALHOST));
        }
        assert_eq!(last_good.get("999", 1), Some(IpAddr::V6(Ipv6Addr::LOCALHOST)));
        let known = last_good.0.lock().unwrap();
        assert!(known.len() <= MOST_NAMES, "{}", known.len());
    }

    #[test]
    fn one_address_that_does_not_refuse_makes_it_unreachable() {
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 1);
        let refused = || (at("1.1.1.1"), io::Error::from(io::ErrorKind::ConnectionRefused));
        let silent = (at("::1"), io::Error::from(io::ErrorKind::TimedOut));
        assert!(matches!(
            failed("a.example", &[refused(), refused()]),
            TcpError::Refused(details) if details.starts_with("1.1.1.1:1: ")
        ));
        let TcpError::Unreachable(details) = failed("a.example", &[refused(), silent]) else {
            panic!("one was silent");
        };
        assert!(details.contains("[::1]:1"), "{details}");
    }
}
