//! A long way to the broker: whatever goes through arrives later, as much of it as is under way at once, as on a
//! long line.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::monotonic::Instant;

/// How many pieces are under way in each direction.
const PIECES: usize = 4096;

/// The line. It ends when dropped.
#[derive(Debug)]
pub struct LongLine {
    address: SocketAddr,
    _life: oneshot::Sender<()>,
}

impl LongLine {
    /// A line to `target` on which each way takes half of `round_trip`.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn start(target: SocketAddr, round_trip: Duration) -> Self {
        let (tell, told) = sync_channel(1);
        let (life, end) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be built").block_on(async {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
                    .await
                    .expect("a free port");
                let address = listener.local_addr().expect("a listener has an address");
                tell.send(address).expect("the bench waits for its line");
                tokio::select! {
                    () = serve(listener, target, round_trip / 2) => {}
                    _ = end => {}
                }
            });
        });
        Self {
            address: told.recv().expect("the line's thread lives"),
            _life: life,
        }
    }

    /// Its near end as a server of imd's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, delay: Duration) {
    while let Ok((near, _)) = listener.accept().await {
        let Ok(far) = TcpStream::connect(target).await else {
            continue;
        };
        for stream in [&near, &far] {
            stream.set_nodelay(true).expect("a socket can be set up");
        }
        let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
        tokio::spawn(carry(near_in, far_out, delay));
        tokio::spawn(carry(far_in, near_out, delay));
    }
}

/// One direction, until its sender closes.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, delay: Duration) {
    let (pieces, mut under_way) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    tokio::spawn(async move {
        while let Some((sent, piece)) = under_way.recv().await {
            tokio::time::sleep(delay.saturating_sub(sent.elapsed())).await;
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if pieces
            .send((Instant::now(), buffer[..length].to_vec()))
            .await
            .is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn an_answer_takes_a_round_trip() {
        let server = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let line = LongLine::start(server.local_addr().unwrap(), Duration::from_millis(40));
        std::thread::spawn(move || {
            let (stream, _) = server.accept().unwrap();
            let (mut from, mut to) = (&stream, &stream);
            std::io::copy(&mut from, &mut to)
        });
        let mut stream = std::net::TcpStream::connect(line.address).unwrap();
        let start = Instant::now();
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut [0; 4]).unwrap();
        assert!(start.elapsed() >= Duration::from_millis(40));
    }
}
