//! The socket's connections: only those of our own user, only so many, and none that says nothing.
//!
//! A connection that is one too many is closed at once, which its app sees as a lost daemon. The one who
//! fills the socket is one process at most: the number for each process is far below the number in all.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use imd_core::time::BootTime;
use interprocess::local_socket::traits::StreamCommon as _;
use interprocess::os::unix::uds_local_socket::tokio::{Listener, Stream as LocalStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use super::allowed::{AllowedApps, Standing};
use crate::access::PeerProcess;
use crate::clock;

/// How long the accepting rests when the kernel has no descriptor or no memory for another connection.
const REST: Duration = Duration::from_millis(100);

/// What every HTTP/2 client says first, in bytes.
const PREFACE: usize = 24;

/// How often refused connections are told to the log at most.
const REPORT: Duration = Duration::from_secs(10);

/// How often it is told at most that nothing can be accepted: with every descriptor taken each try fails.
const REPORT_FAULTS: Duration = Duration::from_secs(60);

/// How much one socket takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one process.
    pub connections_of_process: usize,
    /// How long a connection may take until it has said that it speaks HTTP/2.
    pub preface: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_of_process: 64,
            preface: Duration::from_secs(5),
        }
    }
}

/// Who is at the other end of a connection, as the kernel says.
#[derive(Clone, Debug)]
pub struct Peer {
    pub pid: i32,
    /// Counts the connections of this run of the daemon.
    pub connection: u64,
    /// Where there is a list of allowed apps: whether it is on it.
    pub(super) standing: Option<Standing>,
}

#[cfg(test)]
impl Peer {
    pub(super) fn for_test(pid: i32) -> Self {
        Self {
            pid,
            connection: 0,
            standing: None,
        }
    }
}

/// Who may come in. Counts those who are.
pub(super) struct Admission {
    limits: Limits,
    uid: u32,
    accepted: AtomicU64,
    inside: Mutex<Inside>,
}

#[derive(Default)]
struct Inside {
    connections: usize,
    by_process: BTreeMap<i32, usize>,
    refused: u64,
    /// Not told to the log yet.
    untold: u64,
    reported: Option<BootTime>,
}

/// Why a connection is closed again.
#[derive(Debug, thiserror::Error)]
enum Unwelcome {
    #[error("the kernel does not say whose it is: {0}")]
    Nameless(#[from] io::Error),
    #[error("it is user {0}'s")]
    Stranger(u32),
    #[error("{0} connections are open, and imd takes no more")]
    Full(usize),
    #[error("process {pid} has {open} connections open, and imd takes no more of one process")]
    ProcessFull { pid: i32, open: usize },
}

impl Admission {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            uid: rustix::process::geteuid().as_raw(),
            accepted: AtomicU64::new(0),
            inside: Mutex::default(),
        }
    }

    pub(super) fn limits(&self) -> Limits {
        self.limits
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.lock().connections
    }

    /// How many connections were closed at once since the start.
    pub(super) fn refused(&self) -> u64 {
        self.lock().refused
    }

    fn admit(self: &Arc<Self>, pid: i32, uid: u32) -> Result<Place, Unwelcome> {
        if uid != self.uid {
            return Err(Unwelcome::Stranger(uid));
        }
        let mut inside = self.lock();
        if inside.connections >= self.limits.connections {
            return Err(Unwelcome::Full(inside.connections));
        }
        let of_process = inside.by_process.entry(pid).or_default();
        if *of_process >= self.limits.connections_of_process {
            let open = *of_process;
            return Err(Unwelcome::ProcessFull { pid, open });
        }
        *of_process += 1;
        inside.connections += 1;
        drop(inside);
        let connection = self.accepted.fetch_add(1, Ordering::Relaxed);
        Ok(Place {
            admission: Arc::clone(self),
            peer: Peer {
                pid,
                connection,
                standing: None,
            },
        })
    }

    fn leave(&self, pid: i32) {
        let mut inside = self.lock();
        inside.connections = inside.connections.saturating_sub(1);
        if let Some(of_process) = inside.by_process.get_mut(&pid) {
            *of_process = of_process.saturating_sub(1);
            if *of_process == 0 {
                inside.by_process.remove(&pid);
            }
        }
    }

    /// An app that dials in a loop must not fill the log as well.
    fn report(&self, why: &Unwelcome) {
        let now = clock::now().boot;
        let mut inside = self.lock();
        inside.refused += 1;
        inside.untold += 1;
        if inside.reported.is_some_and(|last| now.since(last) < REPORT) {
            return;
        }
        inside.reported = Some(now);
        let refused = std::mem::take(&mut inside.untold);
        drop(inside);
        tracing::warn!(refused, %why, "a connection to the socket was refused");
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place inside, free again when this is dropped.
struct Place {
    admission: Arc<Admission>,
    peer: Peer,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.leave(self.peer.pid);
    }
}

/// Where connections come from.
pub struct Listening {
    listener: Listener,
    renewed: Option<mpsc::Receiver<Listener>>,
}

impl Listening {
    /// Listens there, and at each further listener in its turn, once nobody waits at the one before: its name
    /// has gone.
    #[must_use]
    pub const fn renewed_by(listener: Listener, renewed: mpsc::Receiver<Listener>) -> Self {
        Self {
            listener,
            renewed: Some(renewed),
        }
    }

    fn poll_accept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<LocalStream>> {
        loop {
            if let Poll::Ready(accepted) = self.listener.inner().poll_accept(context) {
                return Poll::Ready(accepted.map(|(stream, _)| stream.into()));
            }
            let Some(renewed) = &mut self.renewed else {
                return Poll::Pending;
            };
            match ready!(renewed.poll_recv(context)) {
                Some(listener) => self.listener = listener,
                None => self.renewed = None,
            }
        }
    }
}

impl From<Listener> for Listening {
    fn from(listener: Listener) -> Self {
        Self {
            listener,
            renewed: None,
        }
    }
}

/// The connections as tonic takes them. It never ends and has no errors: tonic would only try again at
/// once, so a fault is rested out here.
pub(super) struct Incoming {
    listening: Listening,
    admission: Arc<Admission>,
    allowed: Option<Arc<AllowedApps>>,
    rest: Option<Pin<Box<Sleep>>>,
    faults: Faults,
}

/// Failures to accept, told now and then.
#[derive(Default)]
struct Faults {
    untold: u64,
    reported: Option<BootTime>,
}

impl Faults {
    /// How many there were since the last time, if it is time to tell.
    fn count(&mut self, now: BootTime) -> Option<u64> {
        self.untold += 1;
        if self.reported.is_some_and(|last| now.since(last) < REPORT_FAULTS) {
            return None;
        }
        self.reported = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

impl Incoming {
    pub(super) fn new(
        listening: Listening,
        admission: Arc<Admission>,
        allowed: Option<Arc<AllowedApps>>,
    ) -> Self {
        Self {
            listening,
            admission,
            allowed,
            rest: None,
            faults: Faults::default(),
        }
    }

    fn welcome(&self, stream: LocalStream) -> Result<Connection<LocalStream>, Unwelcome> {
        let peer = stream.peer_creds()?;
        let (Some(pid), Some(uid)) = (peer.pid(), peer.euid()) else {
            return Err(io::Error::from(io::ErrorKind::Unsupported).into());
        };
        let mut place = self.admission.admit(pid, uid)?;
        if let Some(allowed) = &self.allowed {
            let process = PeerProcess::of(stream.inner(), pid);
            place.peer.standing = Some(allowed.look_up(pid, process));
        }
        Ok(Connection::new(stream, place))
    }
}

impl Stream for Incoming {
    type Item = Result<Connection<LocalStream>, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            match ready!(self.listening.poll_accept(context)) {
                Ok(stream) => match self.welcome(stream) {
                    Ok(connection) => return Poll::Ready(Some(Ok(connection))),
                    Err(why) => self.admission.report(&why),
                },
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if let Some(failures) = self.faults.count(clock::now().boot) {
                        tracing::warn!(%error, failures, "no connection can be accepted; trying again");
                    }
                    self.rest = Some(Box::pin(tokio::time::sleep(REST)));
                }
            }
        }
    }
}

/// One connection. Until its first words are there a deadline runs: whoever says nothing is cut off.
/// (From then on HTTP/2's keep-alive does it.)
pub(super) struct Connection<S> {
    stream: S,
    place: Place,
    preface: Option<Preface>,
}

struct Preface {
    received: usize,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Connection<S> {
    fn new(stream: S, place: Place) -> Self {
        let deadline = Box::pin(tokio::time::sleep(place.admission.limits.preface));
        Self {
            stream,
            place,
            preface: Some(Preface {
                received: 0,
                deadline,
            }),
        }
    }
}

impl<S> Connected for Connection<S> {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.place.peer.clone()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Connection<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(preface) = &mut this.preface else {
            return read;
        };
        if read.is_ready() {
            preface.received += buffer.filled().len().saturating_sub(before);
            if preface.received >= PREFACE {
                this.preface = None;
            }
            return read;
        }
        ready!(preface.deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn admission(limits: Limits) -> (Arc<Admission>, u32) {
        let admission = Arc::new(Admission::new(limits));
        let uid = admission.uid;
        (admission, uid)
    }

    #[test]
    fn failures_to_accept_are_told_once_a_minute_with_their_number() {
        let mut faults = Faults::default();
        let at = |seconds| BootTime::since_boot(Duration::from_secs(seconds));
        assert_eq!(faults.count(at(0)), Some(1));
        for second in 1..60 {
            assert_eq!(faults.count(at(second)), None);
        }
        assert_eq!(faults.count(at(60)), Some(60));
    }

    #[test]
    fn a_process_of_another_user_is_turned_away() {
        let (admission, uid) = admission(Limits::default());
        assert!(matches!(admission.admit(1, uid + 1), Err(Unwelcome::Stranger(_))));
        assert_eq!(admission.open(), 0);
        assert!(admission.admit(1, uid).is_ok());
    }

    #[test]
    fn one_process_cannot_take_all_places_and_a_closed_connection_gives_its_place_back() {
        let (admission, uid) = admission(Limits {
            connections: 3,
            connections_of_process: 2,
            ..Limits::default()
        });
        let first = admission.admit(1, uid).unwrap();
        let second = admission.admit(1, uid).unwrap();
        assert_ne!(first.peer.connection, second.peer.connection);
        let refused = admission.admit(1, uid).err().unwrap();
        assert!(matches!(refused, Unwelcome::ProcessFull { pid: 1, open: 2 }));
        let third = admission.admit(2, uid).unwrap();
        assert!(matches!(admission.admit(3, uid), Err(Unwelcome::Full(3))));
        drop((first, second));
        assert_eq!(admission.open(), 1);
        assert!(admission.admit(1, uid).is_ok());
        drop(third);
        assert!(admission.lock().by_process.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_less_than_the_preface_is_cut_off_after_the_deadline() {
        let (admission, uid) = admission(Limits::default());
        let (mut client, server) = duplex(64);
        let mut connection = Connection::new(server, admission.admit(1, uid).unwrap());
        client.write_all(b"PRI * HTTP").await.unwrap();
        let mut read = Vec::new();
        let error = connection.read_to_end(&mut read).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(read, b"PRI * HTTP");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_has_said_its_preface_may_be_silent() {
        let (admission, uid) = admission(Limits::default());
        let (mut client, server) = duplex(64);
        let mut connection = Connection::new(server, admission.admit(1, uid).unwrap());
        client
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .await
            .unwrap();
        let mut preface = [0; PREFACE];
        connection.read_exact(&mut preface).await.unwrap();
        let long = Duration::from_secs(3600);
        let silent = tokio::time::timeout(long, connection.read_u8()).await;
        assert!(silent.is_err(), "it is still open after an hour");
    }
}
