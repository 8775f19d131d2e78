//! The way to the daemon: one dialled socket, one gRPC channel over it, and its life.
//!
//! A channel never dials twice. gRPC would do so by itself, and then calls would reach a daemon that has
//! never seen this app: after a loss the app must be bound again first.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use imd_proto::code::Code;
use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{ConnectOptions, GenericFilePath};
use interprocess::os::unix::uds_local_socket::tokio::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};

use crate::clock::{self, BootTime};
use crate::error::{Error, Sent};
use crate::status::DaemonLoss;

/// A daemon that hangs is found out by these two, at the latest.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(120);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What the daemon may send ahead of a reader. The connection has room for every stream the daemon allows:
/// streams whose readers have stopped must not hold up the rest.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 128 * STREAM_WINDOW;

/// The pause before dialling again a daemon whose queue of callers is full.
const FULL_QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// How the link to the daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkState {
    /// Calls can be made.
    Up,
    /// The daemon has ended the binding; calls in flight may still be answered.
    Leaving(DaemonLoss),
    /// The socket is closed.
    Down(DaemonLoss),
}

/// Sets the state; it only ever moves towards [`LinkState::Down`], and the first reason stands.
#[derive(Clone)]
pub(crate) struct LinkGuard(watch::Sender<LinkState>);

impl LinkGuard {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(LinkState::Up))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<LinkState> {
        self.0.subscribe()
    }

    pub(crate) fn leaving(&self, loss: &DaemonLoss) {
        self.0.send_if_modified(|state| {
            let up = *state == LinkState::Up;
            if up {
                *state = LinkState::Leaving(loss.clone());
            }
            up
        });
    }

    pub(crate) fn down(&self, loss: &DaemonLoss) {
        self.0.send_if_modified(|state| {
            let first = match state {
                LinkState::Up => loss.clone(),
                LinkState::Leaving(loss) => loss.clone(),
                LinkState::Down(_) => return false,
            };
            *state = LinkState::Down(first);
            true
        });
    }
}

/// Dials the daemon and checks whose it is.
///
/// That it succeeds proves little: the kernel answers for a daemon that is stopped. Only the first call
/// does, and it has a deadline.
pub(crate) async fn dial(path: &Path, keep_alive: Duration, guard: &LinkGuard) -> Result<Channel, Error> {
    let stream = open(path).await.map_err(|error| unreachable(path, &error))?;
    let peer = stream
        .inner()
        .peer_cred()
        .map_err(|error| unreachable(path, &error))?;
    check_peer(path, peer.uid(), rustix::process::geteuid().as_raw())?;

    let once = Arc::new(Mutex::new(Some(Watched {
        stream,
        guard: guard.clone(),
        heard: clock::now(),
    })));
    let connector = tower::service_fn(move |_uri| {
        let stream = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            stream
                .map(TokioIo::new)
                .ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected))
        }
    });
    Endpoint::from_static("http://localhost")
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(keep_alive)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector(connector)
        .await
        .map_err(|error| {
            let text = format!("what listens at {} is not imd: {error}", path.display());
            Error::new(Code::IPC_DISCONNECT, text, Sent::No)
        })
}

async fn open(path: &Path) -> io::Result<Stream> {
    loop {
        let name = path.to_fs_name::<GenericFilePath>()?;
        let stream = ConnectOptions::new()
            .name(name)
            .connect_tokio_as::<Stream>()
            .await?;
        // With the daemon's queue of callers full the library hands out a socket that is not connected.
        match stream.inner().peer_addr() {
            Ok(_) => return Ok(stream),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => {
                tokio::time::sleep(FULL_QUEUE_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn unreachable(path: &Path, error: &io::Error) -> Error {
    let why = if error.kind() == io::ErrorKind::NotFound {
        "there is no such socket".to_owned()
    } else if error.kind() == io::ErrorKind::ConnectionRefused {
        "the socket is there, but nobody listens".to_owned()
    } else {
        error.to_string()
    };
    let text = format!("no daemon at {}: {why}", path.display());
    Error::new(Code::IPC_DISCONNECT, text, Sent::No)
}

/// A socket of another user could be an impostor's, who would be handed the token.
fn check_peer(path: &Path, peer: u32, ours: u32) -> Result<(), Error> {
    if peer == ours {
        return Ok(());
    }
    let text = format!(
        "the socket {} belongs to a process of user id {peer}, not of {ours}",
        path.display()
    );
    Err(Error::new(Code::IMD_REFUSED_PEER, text, Sent::No))
}

/// The socket, telling the link's state when it ends: at once, and before any call can notice.
struct Watched {
    stream: Stream,
    guard: LinkGuard,
    /// When something was read last.
    heard: BootTime,
}

/// What it means that the library has closed the socket by itself, when the daemon had been silent for so long.
fn closed_after(silence: Duration) -> DaemonLoss {
    if silence >= KEEP_ALIVE_TIMEOUT {
        DaemonLoss::Hung
    } else {
        // It has said what is not HTTP/2.
        DaemonLoss::Died
    }
}

impl Watched {
    fn seen<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &result {
            self.guard.down(&DaemonLoss::Died);
        }
        result
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // An end that the daemon made was seen before: this one is ours.
        self.guard.down(&closed_after(clock::now().since(self.heard)));
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let room = buffer.remaining();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if matches!(result, Poll::Ready(Ok(()))) && room > 0 {
            if buffer.remaining() == room {
                self.guard.down(&DaemonLoss::Died);
            } else {
                self.heard = clock::now();
            }
        }
        self.seen(result)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buffer);
        self.seen(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, buffers);
        self.seen(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.seen(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_another_user_is_refused() {
        let refused = check_peer(Path::new("/run/x.sock"), 1001, 1000).unwrap_err();
        assert_eq!(refused.code(), Code::IMD_REFUSED_PEER);
        assert!(refused.text().contains("1001"), "{refused}");
        assert!(check_peer(Path::new("/run/x.sock"), 1000, 1000).is_ok());
    }

    #[test]
    fn one_that_was_heard_just_now_does_not_hang() {
        assert_eq!(closed_after(KEEP_ALIVE_TIMEOUT), DaemonLoss::Hung);
        assert_eq!(closed_after(Duration::from_secs(1)), DaemonLoss::Died);
    }

    #[test]
    fn a_link_never_comes_back_and_keeps_its_first_reason() {
        let guard = LinkGuard::new();
        let stopped = DaemonLoss::Stopped {
            reason: "update".to_owned(),
        };
        guard.leaving(&stopped);
        guard.down(&DaemonLoss::Died);
        guard.leaving(&DaemonLoss::Hung);
        assert_eq!(*guard.watch().borrow(), LinkState::Down(stopped));
    }

    #[tokio::test]
    async fn a_daemon_whose_queue_of_callers_is_full_is_not_taken_for_a_stranger() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let socket = rustix::net::socket(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            None,
        )
        .unwrap();
        rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
        rustix::net::listen(&socket, 0).unwrap();
        // A queue of length 0 still holds one.
        let _first = open(&path).await.unwrap();
        let second = tokio::time::timeout(Duration::from_millis(100), open(&path)).await;
        assert!(second.is_err(), "it waits for room");
    }
}
