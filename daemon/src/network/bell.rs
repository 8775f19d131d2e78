//! The kernel's notices of links, addresses and routes, used as a bell only: that something has changed is
//! heard, what has changed is then looked at. So no message is parsed, and none that is lost matters.

use std::io;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR`, `RTMGRP_IPV6_ROUTE`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;

/// Of a message nothing is kept: the rest of it is cut off.
const GLANCE: usize = 64;

/// So many messages at once are one ring; what is left rings again.
const AT_ONCE: usize = 256;

/// A socket of rtnetlink.
pub(super) struct Bell {
    socket: AsyncFd<OwnedFd>,
}

impl Bell {
    /// Begins to listen. To be made inside a runtime.
    ///
    /// # Errors
    /// The system gives no such socket.
    pub(super) fn new() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, because not every type keeps its descriptor; OwnedFd does"
        )]
        let socket = AsyncFd::with_interest(socket, Interest::READABLE)?;
        Ok(Self { socket })
    }

    /// Waits until something has changed, and takes what has been said of it. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The socket is of no more use.
    pub(super) async fn rings(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.socket.readable().await?;
            let heard = ready.try_io(|socket| {
                for count in 0..AT_ONCE {
                    let mut glance = [0; GLANCE];
                    match recv(socket, &mut glance, RecvFlags::TRUNC) {
                        // So much has changed that the queue did not hold it.
                        Ok(_) | Err(Errno::NOBUFS | Errno::INTR) => {}
                        Err(Errno::AGAIN) if count > 0 => break,
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(())
            });
            match heard {
                Ok(result) => return result,
                Err(_nothing_to_read) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn while_nothing_changes_it_is_silent() {
        let mut bell = Bell::new().unwrap();
        // Another test may change its own network namespace, which this socket is not in.
        let rung = tokio::time::timeout(Duration::from_millis(50), bell.rings()).await;
        assert!(rung.is_err());
    }
}
