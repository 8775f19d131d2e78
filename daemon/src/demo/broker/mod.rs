//! A small MQTT broker for `imd demo` and the tests, with hooks to script any answer or fault.
//!
//! It speaks MQTT 5 and 3.1.1 over TCP on the loopback, QoS 0 and 1: persistent sessions with their expiry,
//! retained messages, takeover, keep-alive, receive maximum, No Local, message expiry. There are no wills, no
//! shared subscriptions, no topic aliases and no disk: sessions live as long as the process. A restarted
//! broker takes them over, or loses them, as asked. A SUBSCRIBE for QoS 2 is granted 1; a PUBLISH of QoS 2
//! ends its connection (0x9B).
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | [`Broker`]: start, stop, kill, restart; faults on live connections |
//! | `script.rs` | [`Script`]: what to answer instead of the truth |
//! | `events.rs` | [`Events`]: what happened, to be read and waited on |
//! | `auth.rs`, `jwt.rs` | [`Access`]: whose token, client id and topics; [`token`] makes one |
//! | `router.rs`, `session.rs`, `topic.rs` | who gets which message |
//! | `greeting.rs`, `connection.rs`, `line.rs` | one task for each network connection: its CONNECT, its life, its socket |
//! | `wire.rs`, `raw.rs` | packets to bytes and back; the codec is known to `wire.rs` alone |
//!
//! No message is let go before its receiver has acknowledged it, except: QoS 0 to an absent session, the
//! oldest of a full queue (100,000 messages, counted in [`SessionView::dropped`]), one that has expired, and
//! one larger than its receiver takes.

mod auth;
mod connection;
mod events;
mod greeting;
mod jwt;
mod line;
mod raw;
mod router;
mod script;
mod session;
mod topic;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

pub use auth::{Access, Accounts};
pub use events::{Cut, End, Event, Events, NotSeen, Record};
pub use jwt::token;
pub use script::{ConnectAnswer, Gate, PublishAnswer, Reply, Script, Then, Times, Who};
pub use session::SessionView;

use events::Log;
use router::Router;
use wire::Connect;

/// The most connections; one more is closed at once.
const MAX_CONNECTIONS: usize = 10_000;

/// How long a stop may take before the connections that are left are broken off.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// How long to wait after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    V3_1_1,
    V5,
}

/// How surely a message is delivered. QoS 2 is not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    AtMostOnce,
    AtLeastOnce,
}

/// What a broker is started with.
#[derive(Clone)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// The port on 127.0.0.1; 0: any that is free, kept over a restart.
    pub port: u16,
    pub access: Access,
    /// The sessions and retained messages: empty, or those of another broker.
    pub memory: Memory,
    /// How many messages of a client may wait for their PUBACK (Receive Maximum), at least 1.
    pub receive_maximum: u16,
    /// How many messages to a client may wait for its PUBACK, unless it allows fewer, at least 1.
    pub send_maximum: u16,
    /// How many messages a session keeps; then the oldest are dropped.
    pub queue_limit: usize,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            port: 0,
            access: Access::Open,
            memory: Memory::default(),
            receive_maximum: 1000,
            send_maximum: 1000,
            queue_limit: 100_000,
        }
    }
}

impl BrokerConfig {
    /// A broker that takes only these accounts.
    #[must_use]
    pub fn with_accounts(accounts: Accounts) -> Self {
        Self {
            access: Access::Accounts(accounts),
            ..Self::default()
        }
    }
}

/// The sessions and retained messages, which may outlive a broker. Every clone is the same memory.
#[derive(Clone, Default)]
pub struct Memory {
    router: Arc<Mutex<Router>>,
}

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Router> {
        self.router.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a restart does with the sessions and retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    Keep,
    Lose,
}

/// What the session tells its connection. Only the last word counts, so no queue is needed.
#[derive(Clone, Debug)]
enum Control {
    Run,
    /// Neither read nor write.
    Freeze,
    TakenOver,
    Disconnect(Reply),
    Cut(Cut),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Running,
    Orderly,
    Abrupt,
}

/// What all connections of a broker share.
struct Hall {
    config: BrokerConfig,
    memory: Memory,
    script: Script,
    log: Log,
    accepted: AtomicU64,
    connects: AtomicU64,
}

impl Hall {
    fn count_connect(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    fn refused(&self, connect: &Connect, code: u8) {
        self.log.push(Event::Refused {
            client_id: connect.client_id.clone(),
            user_name: connect.user_name.clone(),
            protocol: connect.protocol,
            code,
        });
    }
}

/// A running broker, or one that may be started again on its port. Dropping it breaks off everything.
pub struct Broker {
    hall: Arc<Hall>,
    address: SocketAddr,
    running: tokio::sync::Mutex<Option<Running>>,
}

struct Running {
    stop: watch::Sender<Stop>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Running {
    async fn end(mut self, how: Stop) {
        self.stop.send_replace(how);
        // What is not over by then is aborted by the drop.
        let _: Result<_, _> = timeout(STOP_DEADLINE, &mut self.task).await;
    }
}

impl Broker {
    /// Starts a broker on 127.0.0.1. Must be called on a tokio runtime, of either kind.
    ///
    /// # Errors
    /// The port cannot be had.
    pub fn start(config: BrokerConfig) -> io::Result<Self> {
        let hall = Arc::new(Hall {
            memory: config.memory.clone(),
            script: Script::default(),
            log: Log::new(),
            accepted: AtomicU64::new(0),
            connects: AtomicU64::new(0),
            config,
        });
        let listener = listen(hall.config.port)?;
        let address = listener.local_addr()?;
        let running = run(&hall, listener);
        Ok(Self {
            hall,
            address,
            running: tokio::sync::Mutex::new(Some(running)),
        })
    }

    /// Where it listens; the same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `mqtt://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Ends it in order: no new connections, DISCONNECT 0x8B to the old ones. Sessions stay in memory.
    pub async fn stop(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.end(Stop::Orderly).await;
        }
    }

    /// Ends it as `kill -9` does, and harder: every connection gets an RST. Sessions stay in memory.
    pub async fn kill(&self) {
        if let Some(running) = self.running.lock().await.take() {
            running.end(Stop::Abrupt).await;
        }
    }

    /// Starts it again on the same port, after a stop if it was running. Script and events go on.
    ///
    /// # Errors
    /// The port cannot be had any more.
    pub async fn restart(&self, sessions: Sessions) -> io::Result<()> {
        let mut running = self.running.lock().await;
        if let Some(running) = running.take() {
            running.end(Stop::Orderly).await;
        }
        if sessions == Sessions::Lose {
            self.hall.memory.lock().clear();
        }
        let listener = listen(self.address.port())?;
        *running = Some(run(&self.hall, listener));
        Ok(())
    }

    /// What it answers instead of the truth.
    #[must_use]
    pub fn script(&self) -> &Script {
        &self.hall.script
    }

    /// A reader of what happened, from the first event on.
    #[must_use]
    pub fn events(&self) -> Events {
        Events::from_start(&self.hall.log)
    }

    /// The first event since the start that is wanted, whether it has been or is yet to come.
    ///
    /// # Errors
    /// [`NotSeen`] after the deadline.
    pub async fn wait_for(
        &self,
        wanted: impl FnMut(&Event) -> bool,
        deadline: Duration,
    ) -> Result<Record, NotSeen> {
        self.events().wait_for(wanted, deadline).await
    }

    /// The client ids that are connected.
    #[must_use]
    pub fn connections(&self) -> Vec<String> {
        self.hall.memory.lock().connected()
    }

    /// How many CONNECTs were accepted so far.
    #[must_use]
    pub fn total_connects(&self) -> u64 {
        self.hall.connects.load(Ordering::Relaxed)
    }

    /// How many network connections were accepted so far, whatever became of them.
    #[must_use]
    pub fn total_network_connections(&self) -> u64 {
        self.hall.accepted.load(Ordering::Relaxed)
    }

    /// The session of a client id, connected or not; `None`: there is none.
    #[must_use]
    pub fn session(&self, client_id: &str) -> Option<SessionView> {
        self.hall.memory.lock().view(client_id, crate::clock::now().boot)
    }

    /// The sessions and retained messages, for another broker to take over.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.hall.memory.clone()
    }

    /// Publishes at QoS 1 as the server side does, to every subscriber. Answers the code a PUBACK would have:
    /// 0, 0x10 for nobody there, 0x97 for too many retained messages, 0x90 for a name that is none.
    pub fn publish(&self, topic: &str, payload: &[u8], retain: bool) -> u8 {
        const TOPIC_NAME_INVALID: u8 = 0x90;
        if !topic::is_valid_name(topic) {
            return TOPIC_NAME_INVALID;
        }
        connection::inject(&self.hall, topic, payload, retain)
    }

    /// Sends DISCONNECT and closes; to a client of 3.1.1 it only closes. Answers how many were told.
    pub fn disconnect(&self, who: impl Into<Who>, reply: Reply) -> usize {
        self.control(&who.into(), &Control::Disconnect(reply))
    }

    /// Cuts connections without a word. Answers how many.
    pub fn cut(&self, who: impl Into<Who>, how: Cut) -> usize {
        self.control(&who.into(), &Control::Cut(how))
    }

    /// Neither reads nor writes on these connections any more: half-open links, though the kernel still
    /// acknowledges what comes. Keep-alive is not enforced on them. Answers how many.
    pub fn freeze(&self, who: impl Into<Who>) -> usize {
        self.control(&who.into(), &Control::Freeze)
    }

    /// Goes on with frozen connections. Answers how many.
    pub fn thaw(&self, who: impl Into<Who>) -> usize {
        self.control(&who.into(), &Control::Run)
    }

    fn control(&self, who: &Who, command: &Control) -> usize {
        self.hall.memory.lock().control(who, command)
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The port is to be had again at once after a stop.
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    socket.listen(1024)
}

fn run(hall: &Arc<Hall>, listener: TcpListener) -> Running {
    let (stop, stopped) = watch::channel(Stop::Running);
    let task = tokio::spawn(accept(Arc::clone(hall), listener, stopped));
    Running { stop, task }
}

/// Returns when the broker ends; `true` if it is killed.
async fn stopped(stop: &mut watch::Receiver<Stop>) -> bool {
    match stop.wait_for(|stop| *stop != Stop::Running).await {
        Ok(stop) => *stop == Stop::Abrupt,
        Err(_) => true,
    }
}

async fn accept(hall: Arc<Hall>, listener: TcpListener, stop: watch::Receiver<Stop>) {
    let mut connections = JoinSet::new();
    let mut ended = stop.clone();
    loop {
        tokio::select! {
            _ = stopped(&mut ended) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // No more file descriptors, or a connection that went at once: no busy loop over it.
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                };
                let number = hall.accepted.fetch_add(1, Ordering::Relaxed);
                if connections.len() >= MAX_CONNECTIONS || stream.set_nodelay(true).is_err() {
                    continue;
                }
                connections.spawn(connection::serve(Arc::clone(&hall), stream, number, stop.clone()));
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}
