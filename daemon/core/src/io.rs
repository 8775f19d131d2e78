//! The vocabulary: what the core is told ([`Input`]) and what it asks for ([`Action`]). Data only.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use imd_proto::code::Code;

use crate::account::{Account, AppKey, DeviceClass, InstallationId, Token, UserId};
use crate::server::Server;
use crate::time::{BootTime, UnixTime};

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The servers of each App Key, and of those that have none of their own.
    pub servers: ServerDirectory,
    pub device_class: DeviceClass,
    pub login: LoginPolicy,
    pub installation: InstallationId,
    /// Our side of the keep-alive; the smaller of this and the server's holds.
    pub keep_alive: Duration,
    /// How long the server keeps the session, and so the messages, of a daemon that is away.
    pub session_expiry: Duration,
    /// Where jitter and random client ids come from.
    pub seed: u64,
}

/// Which servers serve which App Key.
#[derive(Clone, Debug, Default)]
pub struct ServerDirectory {
    pub default: Vec<Server>,
    pub by_app: std::collections::BTreeMap<AppKey, Vec<Server>>,
    /// What to write where, for the person who reads 90002.
    pub missing: String,
    /// Whether a server elsewhere may be reached without encryption, as a Server Reference may ask.
    pub plaintext: bool,
}

impl ServerDirectory {
    /// The servers of an App Key, best first, or the one nav that names them; empty where none is configured.
    #[must_use]
    pub fn of(&self, app_key: &AppKey) -> &[Server] {
        self.by_app.get(app_key).unwrap_or(&self.default)
    }
}

/// How many logins of one class there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoginPolicy {
    /// One per class: a second desktop takes over, and the first is kicked.
    #[default]
    One,
    /// Each installation is a login of its own: no kicks.
    Many,
}

/// One try at reaching a server, from dial to end. Whatever comes from the link carries it, and what
/// comes from an older one is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A request that waits for its [`Action::Answer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// The random id an app instance keeps for its life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub Arc<str>);

/// The id a client gives its connect: the same id is the same connect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectId(pub Arc<str>);

/// One connect of one instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectKey {
    pub instance: InstanceId,
    pub connect: ConnectId,
}

/// Who asks, as other apps are told: `org.example.Chat (pid 4711)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requester {
    pub app_id: Arc<str>,
    pub pid: i32,
}

impl fmt::Display for Requester {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.app_id, self.pid)
    }
}

/// What the core is told.
#[derive(Clone)]
pub enum Input {
    /// First of all, once: what the last run left.
    Start { remembered: Option<Remembered> },
    /// An app asks; [`Action::Answer`] with the same id follows, exactly once.
    Call { call: CallId, request: Request },
    /// An app's binding has ended.
    Unbound { instance: InstanceId },
    /// An app says that it can bring a new token when it is asked for one.
    TokenProvider { instance: InstanceId, app: Requester },
    /// It cannot any longer. (The end of its binding says so too.)
    NoTokenProvider { instance: InstanceId },
    /// Answers [`Action::OpenAccount`].
    AccountOpened {
        account: Account,
        result: Result<Opened, OpenFailure>,
    },
    /// Something happened on the link of this epoch.
    Link { epoch: Epoch, event: LinkEvent },
    /// There is a network, or there is none.
    Network(Network),
    /// Addresses or routes changed, and there is a network.
    NetworkChanged,
    /// The machine is about to sleep: the server is told, and nothing is begun.
    Sleeping,
    /// The machine slept and is awake.
    Resumed,
    /// What comes in cannot be stored, and why, for people to read; `None`: it can again.
    StorageFull(Option<String>),
    /// A wake-up of [`crate::time`] is due. (Any other input also carries out what is due.)
    Timeout,
    /// An orderly stop: the session stays at the server, and the wanted state as it is.
    Stop,
}

/// What an app may ask.
#[derive(Clone)]
pub enum Request {
    Init { instance: InstanceId, app_key: AppKey },
    Connect(ConnectRequest),
    UpdateToken(TokenUpdate),
    Disconnect { by: Requester },
    Logout { by: Requester },
}

/// An app's connect.
#[derive(Clone)]
pub struct ConnectRequest {
    pub key: ConnectKey,
    pub app: Requester,
    /// Set on a one-call binding, which has no Init: Init and connect in one.
    pub app_key: Option<AppKey>,
    pub token: Token,
    pub user_id: Option<UserId>,
    /// `None`: until success or a terminal code.
    pub time_limit: Option<Duration>,
    /// The client heard onDatabaseOpened of this connect from an earlier run of the daemon.
    pub database_opened_seen: bool,
    /// It had succeeded at an earlier run of the daemon, and is no new wish of the app: it gives way to an end.
    pub resumes: bool,
}

/// A new token for the connection that is wanted.
#[derive(Clone)]
pub struct TokenUpdate {
    /// `None`: the call was made without a binding, and names its App Key.
    pub instance: Option<InstanceId>,
    pub app_key: Option<AppKey>,
    pub token: Token,
    pub by: Requester,
}

/// Whether there is a way to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// There is one, or nothing is known against it.
    Available,
    /// None but loopback: a server on this machine is all that can be reached.
    Unavailable,
}

/// The account's database is open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// What happened to it (damage, salvage), for people to read.
    pub note: Option<String>,
}

/// The account's database cannot be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFailure {
    /// Which file, and why.
    pub text: String,
}

/// The wanted state, as it is kept in its own file.
#[derive(Clone, PartialEq, Eq)]
pub struct Remembered {
    pub app_key: AppKey,
    pub user_id: Option<UserId>,
    /// Erased by logout and by a token verdict.
    pub token: Option<Token>,
    /// Brought by UpdateToken, and not taken by a server yet: it is tried first, and `token` if it is refused.
    pub updated_token: Option<Token>,
    /// Whether the connection is wanted.
    pub wanted: bool,
    /// Whether the server has taken this account's login before.
    pub verified: bool,
    /// The code that ended the connection last.
    pub last_code: Option<Code>,
}

impl Remembered {
    /// The account, where the user is known.
    #[must_use]
    pub fn account(&self) -> Option<Account> {
        let user_id = self.user_id.clone()?;
        Some(Account {
            app_key: self.app_key.clone(),
            user_id,
        })
    }
}

/// What happened on the link, in the order it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// It is this server that CONNECT goes to, one of [`Dial::others`].
    Reached { server: Server },
    /// CONNACK with success.
    Accepted(Accepted),
    /// CONNACK that refuses; the link is closed.
    Refused(ServerWords),
    /// SUBACK and the marker's PUBACK are both there.
    LoggedIn,
    /// The server refused the own inbox or the marker; says which. The link is still open.
    LoginRefused { what: String },
    /// A group subscription was refused.
    GroupRefused { group: String },
    /// The marker that was there before ours: who was connected last.
    MarkerFound { installation: InstallationId },
    /// Our own marker has come back: all that was queued before it has been read.
    MarkerReturned,
    /// Anything was received (told at most once for each read of the socket).
    Received {
        /// Messages were among it.
        messages: bool,
    },
    /// Since when the oldest packet waits for its acknowledgement; `None`: none does.
    Unacknowledged { since: Option<BootTime> },
    /// The server's DISCONNECT; the link is closed.
    ServerDisconnect(ServerWords),
    /// The link failed and is closed.
    Failed(Fault),
}

/// What a successful CONNACK says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    pub session_present: bool,
    /// User property `im-user-id`.
    pub user_id: Option<String>,
    /// Server Keep Alive.
    pub keep_alive: Option<Duration>,
    /// User property `im-code`.
    pub im_code: Option<Code>,
    /// Reason String.
    pub reason_string: Option<String>,
}

/// What a refusing CONNACK or a DISCONNECT says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerWords {
    /// The reason code; in 3.1.1 the CONNACK return code, mapped to that of MQTT 5.
    pub reason: u8,
    /// The number as the server sent it, for people to read.
    pub raw: u8,
    pub reason_string: Option<String>,
    pub server_reference: Option<String>,
    /// The user properties that imd makes nothing of, for people to read.
    pub user_properties: Vec<(String, String)>,
    /// User property `im-code`, a decimal number.
    pub im_code: Option<Code>,
    /// User property `im-retry-after`, in seconds: the server's hint when to come back.
    pub retry_after: Option<Duration>,
}

/// How a link failed. There is one door for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// What happened, to which address, for people to read.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The name has no address.
    NameNotResolved,
    /// Nothing listens there.
    ConnectionRefused,
    /// Any other failure to get a connection.
    Unreachable,
    /// The server closed without a word.
    BareEof,
    /// Reset, timed out, broken pipe.
    Io,
    /// Not MQTT, or not as MQTT wants it.
    Protocol,
    /// The proxy cannot be reached or refuses.
    Proxy,
    /// The server's certificate is not to be trusted.
    Certificate,
    /// Any other failure of encryption.
    Tls,
    /// The nav cannot be reached, or not be trusted.
    NavUnreachable,
    /// The nav does not answer in time.
    NavSilent,
    /// The nav answers with anything but success.
    NavRefused,
    /// The nav's answer is not as docs/nav.md has it.
    NavMalformed,
}

/// What the core asks for. The shell carries actions out in their order: none is begun before the one in
/// front of it is done, and [`Action::Persist`] is done only when the file is safe on disk.
#[derive(Clone, PartialEq, Eq)]
pub enum Action {
    /// Answers a call: taken, or refused with a reason.
    Answer {
        call: CallId,
        result: Result<(), Refusal>,
    },
    /// One of the three callbacks of an accepted connect.
    Callback { connect: ConnectKey, callback: Callback },
    /// Make the wanted state safe on disk. (With `remember = false` the shell keeps it in memory.)
    Persist(Box<Remembered>),
    /// Open this account's database, and close another one's.
    OpenAccount(Account),
    /// Reach the server and send CONNECT. The link before it has ended or been hung up.
    Dial(Box<Dial>),
    /// Send SUBSCRIBE and the marker.
    Login { epoch: Epoch },
    /// Send PINGREQ.
    Ping { epoch: Epoch },
    /// End the link; nothing more comes from it.
    HangUp { epoch: Epoch, how: HangUp },
    /// The status has changed.
    Publish(Box<Status>),
    /// Something happened that is not a status.
    Notify(Event),
    /// Ask this app, and no other, for a new token: the present one ends then.
    AskForToken { instance: InstanceId, expires: UnixTime },
    /// What the nav said of this user's servers is out of date: a server has sent us elsewhere.
    ForgetServers {
        app_key: AppKey,
        /// `None`: the server has not named the user yet.
        user_id: Option<UserId>,
    },
    /// After [`Input::Stop`]: all is done.
    Stopped,
}

/// Why a call was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: Code,
    pub text: String,
}

/// What an accepted connect is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callback {
    /// onDatabaseOpened: at most once, before the others.
    DatabaseOpened(Result<Opened, OpenFailure>),
    /// onSuccess. Terminal.
    Success(UserId),
    /// onError. Terminal.
    Error(Refusal),
}

/// How to reach the server and who to be there.
#[derive(Clone, PartialEq, Eq)]
pub struct Dial {
    pub epoch: Epoch,
    /// Whose servers they are: they may be trusted in a way of their own.
    pub app_key: AppKey,
    pub server: Server,
    /// Its fellows, to be tried beside it while it does not answer, best first. One of all is logged in to.
    pub others: Vec<Server>,
    pub protocol: Protocol,
    pub client_id: String,
    pub identity: Identity,
    pub token: Token,
    /// Clean Start (3.1.1: Clean Session).
    pub clean: bool,
    pub session_expiry: Duration,
    pub keep_alive: Duration,
}

/// Who the CONNECT says we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Known(Account),
    /// No user name: the CONNACK will name the user.
    Discover,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    V5,
    V311,
}

/// How a link is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// DISCONNECT: the session stays at the server.
    KeepSession,
    /// DISCONNECT with session expiry 0.
    EndSession,
    /// Close without a word: the link is dead, or was never up.
    Abort,
}

/// Android's status, with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionStatus {
    NetworkUnavailable,
    Connected,
    Connecting,
    Unconnected,
    KickedOfflineByOtherClient,
    TokenIncorrect,
    ConnUserBlocked,
    SignOut,
    Suspend,
    Timeout,
    ProxyUnavailable,
}

impl ConnectionStatus {
    pub const ALL: [Self; 11] = [
        Self::NetworkUnavailable,
        Self::Connected,
        Self::Connecting,
        Self::Unconnected,
        Self::KickedOfflineByOtherClient,
        Self::TokenIncorrect,
        Self::ConnUserBlocked,
        Self::SignOut,
        Self::Suspend,
        Self::Timeout,
        Self::ProxyUnavailable,
    ];

    /// Android's number.
    #[must_use]
    pub const fn number(self) -> i32 {
        match self {
            Self::NetworkUnavailable => -1,
            Self::Connected => 0,
            Self::Connecting => 1,
            Self::Unconnected => 2,
            Self::KickedOfflineByOtherClient => 3,
            Self::TokenIncorrect => 4,
            Self::ConnUserBlocked => 6,
            Self::SignOut => 12,
            Self::Suspend => 13,
            Self::Timeout => 14,
            Self::ProxyUnavailable => 17,
        }
    }

    /// Android's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NetworkUnavailable => "NETWORK_UNAVAILABLE",
            Self::Connected => "CONNECTED",
            Self::Connecting => "CONNECTING",
            Self::Unconnected => "UNCONNECTED",
            Self::KickedOfflineByOtherClient => "KICKED_OFFLINE_BY_OTHER_CLIENT",
            Self::TokenIncorrect => "TOKEN_INCORRECT",
            Self::ConnUserBlocked => "CONN_USER_BLOCKED",
            Self::SignOut => "SIGN_OUT",
            Self::Suspend => "SUSPEND",
            Self::Timeout => "TIMEOUT",
            Self::ProxyUnavailable => "PROXY_UNAVAILABLE",
        }
    }
}

/// The whole status, published as one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub status: ConnectionStatus,
    /// Grows by one with every published change.
    pub generation: u64,
    /// Why, for people to read.
    pub reason: String,
    /// Attempts since the connection was last up, or wanted.
    pub attempt: u32,
    /// When the next attempt is due.
    pub next_retry: Option<BootTime>,
    pub last_code: Option<Code>,
    pub network: Network,
    pub app_key: Option<AppKey>,
    pub user_id: Option<UserId>,
    pub server: Option<Server>,
    pub offline_sync: OfflineSync,
    /// Why what comes in cannot be stored, and so is not acknowledged, for people to read.
    pub storage_full: Option<String>,
}

/// How far the messages that waited at the server have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfflineSync {
    NotConnected,
    Running,
    Complete,
    /// 30 seconds with neither the marker nor anything else.
    Incomplete,
}

/// Something that happened once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Once per connect.
    OfflineSyncCompleted { complete: bool },
    /// Another installation was connected last: messages may have gone there.
    OtherInstallation { installation: InstallationId },
    /// The server had no session although this account has logged in before: messages may have been lost.
    SessionLost,
    /// A group subscription was refused: 22406.
    GroupRefused { group: String },
}
