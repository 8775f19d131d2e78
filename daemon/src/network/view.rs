//! One look at the network: the addresses this machine has, and the ways out of it.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::socket::SockaddrStorage;

/// Addresses that no machine has (RFC 5737 and 3849): to ask for the way to one is to ask for the way out.
const ELSEWHERE: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9),
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)), 9),
];

/// What was seen. Two that are equal differ in nothing a connection could notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View(Option<Seen>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// All addresses of this machine, on interfaces up or down.
    ours: BTreeSet<IpAddr>,
    /// With these a server elsewhere may be reached: those of interfaces that are up and have a carrier,
    /// without loopback and IPv6's link-local addresses, which come with every cable.
    usable: BTreeSet<(String, IpAddr)>,
    /// From which address the way out begins, in IPv4 and in IPv6.
    ways_out: [Option<IpAddr>; 2],
}

impl View {
    /// Nothing is known, and so nothing against the network.
    #[must_use]
    pub const fn unknown() -> Self {
        Self(None)
    }

    /// Looks. No packet is sent.
    ///
    /// # Errors
    /// The system does not say which addresses there are.
    pub fn look() -> io::Result<Self> {
        let mut seen = Seen::default();
        for interface in getifaddrs()? {
            let Some(address) = interface.address.as_ref().and_then(address) else {
                continue;
            };
            seen.ours.insert(address);
            if can_reach_out(interface.flags, address) {
                seen.usable.insert((interface.interface_name, address));
            }
        }
        seen.ways_out = ELSEWHERE.map(source_towards);
        Ok(Self(Some(seen)))
    }

    /// Whether a server elsewhere could be reached.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.0.as_ref().is_none_or(|seen| !seen.usable.is_empty())
    }

    /// Whether this is an address of this machine.
    #[must_use]
    pub fn is_ours(&self, address: IpAddr) -> bool {
        self.0
            .as_ref()
            .is_none_or(|seen| address.is_loopback() || seen.ours.contains(&address.to_canonical()))
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seen) = &self.0 else {
            return f.write_str("unknown");
        };
        if seen.usable.is_empty() {
            return f.write_str("nothing but loopback");
        }
        for (at, (interface, address)) in seen.usable.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{address} on {interface}")?;
        }
        let mut ways = seen.ways_out.iter().flatten().peekable();
        if ways.peek().is_none() {
            return f.write_str("; no way out");
        }
        f.write_str("; out from")?;
        ways.try_for_each(|source| write!(f, " {source}"))
    }
}

fn address(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = || address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
    let v6 = || address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
    v4().or_else(v6)
}

fn can_reach_out(flags: InterfaceFlags, address: IpAddr) -> bool {
    let up = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
    let link_local = match address {
        // Somebody has set it up.
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    flags.contains(up)
        && !flags.contains(InterfaceFlags::IFF_LOOPBACK)
        && !address.is_loopback()
        && !link_local
}

/// The address a packet to `target` would come from, if there is a route.
fn source_towards(target: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = if target.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let asked = UdpSocket::bind((any, 0)).and_then(|socket| {
        socket.connect(target)?;
        socket.local_addr()
    });
    asked.ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(usable: &[&str]) -> View {
        let usable: Vec<IpAddr> = usable.iter().map(|text| text.parse().unwrap()).collect();
        View(Some(Seen {
            ours: usable.iter().copied().collect(),
            usable: usable
                .iter()
                .map(|address| ("eth0".to_owned(), *address))
                .collect(),
            ways_out: [usable.first().copied(), None],
        }))
    }

    #[test]
    fn every_machine_has_its_loopback_and_two_looks_are_alike() {
        let view = View::look().unwrap();
        assert!(view.is_ours(Ipv4Addr::LOCALHOST.into()));
        assert!(!view.is_ours("192.0.2.1".parse().unwrap()));
        assert_eq!(view, View::look().unwrap());
    }

    #[test]
    fn an_interface_counts_with_carrier_and_an_address_that_reaches_beyond_the_cable() {
        let up = InterfaceFlags::IFF_UP;
        let running = up | InterfaceFlags::IFF_RUNNING;
        let loopback = running | InterfaceFlags::IFF_LOOPBACK;
        for (flags, address, counts) in [
            (running, "10.0.0.2", true),
            (running, "169.254.1.2", true),
            (running, "2001:db8::2", true),
            (running, "fe80::2", false),
            (up, "10.0.0.2", false),
            (loopback, "10.0.0.2", false),
            (loopback, "127.0.0.1", false),
        ] {
            assert_eq!(
                can_reach_out(flags, address.parse().unwrap()),
                counts,
                "{flags:?} {address}"
            );
        }
    }

    #[test]
    fn what_is_not_known_speaks_against_nothing() {
        assert!(View::unknown().is_connected());
        assert!(View::unknown().is_ours("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn what_was_seen_is_said_in_one_line() {
        assert_eq!(seen(&[]).to_string(), "nothing but loopback");
        assert_eq!(
            seen(&["10.0.0.2", "10.0.0.3"]).to_string(),
            "10.0.0.2 on eth0, 10.0.0.3 on eth0; out from 10.0.0.2"
        );
        assert!(!seen(&[]).is_connected());
    }
}
