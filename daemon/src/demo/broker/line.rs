//! The socket of one connection, with the codec and the bytes between them.

use std::io;
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::events::Cut;
use super::raw::MAXIMUM_PACKET_SIZE;
use super::wire::{Fault, Received, Wire};
use crate::clock;

/// With so many bytes waiting to be written, nothing more is read or taken from the queue.
pub(super) const OUTPUT_LIMIT: usize = 256 * 1024;

const READ_SIZE: usize = 64 * 1024;

/// How long the last bytes may take to be written.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// How long an end waits for the other side's, so that unread bytes do not turn the FIN into an RST and take
/// the last packet with them.
const LINGER: Duration = Duration::from_millis(250);

/// The socket with the codec and the bytes between them.
pub(super) struct Line {
    stream: TcpStream,
    pub(super) wire: Wire,
    pub(super) input: BytesMut,
}

impl Line {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            wire: Wire::new(),
            input: BytesMut::new(),
        }
    }

    /// Whether there is room for more output.
    pub(super) fn has_room(&mut self) -> bool {
        self.wire.output().len() < OUTPUT_LIMIT
    }

    /// Reads or writes as soon as one of them can be done. `false`: the other side has closed, or the
    /// connection is broken.
    pub(super) async fn exchange(&mut self) -> bool {
        // One of the two always holds: without room there is something to write.
        let interest = match (self.has_room(), self.wire.output().is_empty()) {
            (true, true) => Interest::READABLE,
            (true, false) => Interest::READABLE | Interest::WRITABLE,
            (false, _) => Interest::WRITABLE,
        };
        let Ok(ready) = self.stream.ready(interest).await else {
            return false;
        };
        if ready.is_writable() && !self.wire.output().is_empty() && !self.write() {
            return false;
        }
        !ready.is_readable() || self.read()
    }

    /// Writes all of the output. `false`: it did not go out in time.
    pub(super) async fn flush(&mut self) -> bool {
        let write = self.stream.write_all_buf(self.wire.output());
        matches!(timeout(FLUSH_DEADLINE, write).await, Ok(Ok(())))
    }

    /// The next packet; `None` when the other side has closed.
    pub(super) async fn receive(&mut self) -> Result<Option<Received>, Fault> {
        loop {
            if let Some(packet) = self.wire.next(&mut self.input, clock::now().boot)? {
                return Ok(Some(packet));
            }
            if self.stream.readable().await.is_err() || !self.read() {
                return Ok(None);
            }
        }
    }

    /// Reads what is there. `false`: the other side has closed, or the network has.
    fn read(&mut self) -> bool {
        self.input.reserve(READ_SIZE);
        match self.stream.try_read_buf(&mut self.input) {
            Ok(read) => read > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Writes what can be written. `false`: the connection is broken.
    fn write(&mut self) -> bool {
        let output = self.wire.output();
        match self.stream.try_write(output) {
            Ok(written) => {
                output.advance(written);
                true
            }
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }

    /// Returns when the other side has closed. What it sends meanwhile is kept, up to one packet.
    pub(super) async fn closed(&mut self) {
        let limit = usize::try_from(MAXIMUM_PACKET_SIZE).unwrap_or(usize::MAX);
        while self.input.len() < limit {
            if self.stream.readable().await.is_err() || !self.read() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    /// Writes the output and ends the connection.
    pub(super) async fn end(mut self, cut: Cut) {
        if cut == Cut::Reset {
            // Dropping the socket then sends RST; if the option is refused, it is an ordinary end.
            let _: io::Result<()> = self.stream.set_zero_linger();
            return;
        }
        if !self.flush().await || self.stream.shutdown().await.is_err() {
            return;
        }
        let drain = async {
            while self.stream.readable().await.is_ok() && self.read() {
                self.input.clear();
            }
        };
        // Either the other side closes too, or it has had its time.
        let _: Result<(), _> = timeout(LINGER, drain).await;
    }
}
