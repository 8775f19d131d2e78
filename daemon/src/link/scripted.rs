//! A server for the tests, which does what a test says.

use std::time::Duration;

use bytes::BytesMut;
use imd_core::server::{Server, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::bytes_of::{self, Sent};
use super::frame::Frame;

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Waits, but not for ever.
pub(super) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A server that does what the test says.
pub(super) struct Script {
    listener: TcpListener,
}

/// One of its connections.
pub(super) struct Peer {
    reader: Reader,
    writer: Writer,
    pub(super) version: u8,
    /// What its CONNECT said.
    pub(super) connect: Vec<u8>,
}

/// What it reads.
pub(super) struct Reader {
    stream: OwnedReadHalf,
    input: BytesMut,
    version: u8,
}

/// What it writes.
pub(super) struct Writer {
    stream: OwnedWriteHalf,
}

impl Reader {
    async fn next_or_end(&mut self) -> Option<Sent> {
        loop {
            if let Some(frame) = Frame::take(&mut self.input).unwrap() {
                return Some(bytes_of::one(&frame, self.version));
            }
            let read = soon("a packet", self.stream.read_buf(&mut self.input)).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    pub(super) async fn next(&mut self) -> Sent {
        self.next_or_end().await.expect("a packet, not the end")
    }
}

impl Writer {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }
}

impl Script {
    /// A listening server, and its address.
    pub(super) async fn listen() -> (Self, Server) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            transport: Transport::Tcp,
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            path: "".into(),
        };
        (Self { listener }, server)
    }

    pub(super) async fn accept(&self) -> Peer {
        let (stream, _) = soon("a connection", self.listener.accept()).await.unwrap();
        let (reader, writer) = stream.into_split();
        let mut reader = Reader {
            stream: reader,
            input: BytesMut::new(),
            version: 5,
        };
        let Sent::Connect { protocol, body, .. } = reader.next().await else {
            panic!("no CONNECT");
        };
        reader.version = protocol;
        Peer {
            reader,
            writer: Writer { stream: writer },
            version: protocol,
            connect: body,
        }
    }

    /// A connection that is logged in, its marker returned.
    pub(super) async fn log_in(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.log_in().await;
        peer
    }
}

impl Peer {
    /// Both directions, to be used at the same time.
    pub(super) fn split(self) -> (Reader, Writer) {
        (self.reader, self.writer)
    }

    pub(super) async fn next_or_end(&mut self) -> Option<Sent> {
        self.reader.next_or_end().await
    }

    pub(super) async fn next(&mut self) -> Sent {
        self.reader.next().await
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.writer.send(bytes).await;
    }

    pub(super) async fn log_in(&mut self) {
        let five = self.version == 5;
        self.send(&if five {
            bytes_of::connack(false, 0, &[])
        } else {
            bytes_of::connack_311(false, 0)
        })
        .await;
        let Sent::Subscribe { id: subscribe, .. } = self.next().await else {
            panic!("no SUBSCRIBE");
        };
        let Sent::Publish {
            id, topic, payload, ..
        } = self.next().await
        else {
            panic!("no marker");
        };
        let (suback, marker) = if five {
            let marker = bytes_of::publish(&topic, 1, false, &payload);
            (bytes_of::suback(subscribe, &[1, 1, 1]), marker)
        } else {
            let marker = bytes_of::publish_311(&topic, 1, false, &payload);
            (bytes_of::suback_311(subscribe, &[1, 1, 1]), marker)
        };
        self.send(&[suback, bytes_of::puback(id), marker].concat()).await;
        assert_eq!(self.next().await, Sent::Puback { id: 1 });
    }
}
