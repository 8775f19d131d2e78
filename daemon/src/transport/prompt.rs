//! A TCP stream that acknowledges at once what it has read.
//!
//! The kernel holds back an acknowledgement for up to 40 ms, hoping to send it with data. A server that keeps
//! Nagle's rule (Mosquitto does unless told otherwise) does not send the next small packet before that, so a
//! message would come 40 ms late whenever an answer to us came just before it. imd often has nothing to say at
//! that moment: it acknowledges a message only when it is on disk.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::sockopt::set_tcp_quickack;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

pub(crate) struct Prompt(pub(super) TcpStream);

impl AsyncRead for Prompt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read {
            // The kernel forgets the option by itself. Where it cannot be set, the stream is only slower.
            let _: Result<(), _> = set_tcp_quickack(&self.0, true);
        }
        read
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::clock;

    /// A peer with Nagle's rule sends two small packets a round: the second waits for our acknowledgement of the
    /// first.
    #[tokio::test]
    async fn a_peer_with_nagles_rule_need_not_wait_for_a_late_acknowledgement() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialed = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        dialed.set_nodelay(true).unwrap();
        let (mut peer, _) = listener.accept().await.unwrap();
        peer.set_nodelay(false).unwrap();
        let peer = tokio::spawn(async move {
            let mut word = [0];
            for _ in 0..50 {
                peer.write_all(b"1").await.unwrap();
                peer.write_all(b"2").await.unwrap();
                peer.read_exact(&mut word).await.unwrap();
            }
        });
        let mut prompt = Prompt(dialed);
        let mut round = Vec::new();
        for _ in 0..50 {
            let begin = clock::now().boot;
            prompt.read_exact(&mut [0, 0]).await.unwrap();
            prompt.write_all(b"!").await.unwrap();
            round.push(clock::now().boot.since(begin));
        }
        peer.await.unwrap();
        round.sort_unstable();
        // 40 ms with a late acknowledgement.
        assert!(round[25].as_millis() < 20, "{round:?}");
    }
}
