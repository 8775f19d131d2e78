//! The state of the one connection, in the library's own types.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use imd_proto::code::Code;
use imd_proto::imd::v1;

/// Where the connection stands. The numbers are those of RongCloud's Android SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectionStatus {
    /// There is no network; the loop waits for one.
    NetworkUnavailable,
    /// The connection is up.
    Connected,
    /// An attempt is under way.
    Connecting,
    /// No connection is wanted, or it ended for a reason that has no status of its own.
    Unconnected,
    /// The user logged in on another device of the same class.
    KickedOfflineByOtherClient,
    /// The token was refused.
    TokenIncorrect,
    /// The user, or the App Key, is blocked.
    ConnUserBlocked,
    /// An app called disconnect or logout.
    SignOut,
    /// Waiting for the next attempt.
    Suspend,
    /// No connection within the time limit.
    Timeout,
    /// The proxy cannot be reached.
    ProxyUnavailable,
    /// The daemon is gone: what the connection does cannot be known.
    DaemonLost,
    /// A number a later daemon knows and this library does not.
    Unlisted(i32),
}

impl ConnectionStatus {
    /// The number. [`DaemonLost`](Self::DaemonLost) is none of Android's: it has -2, as
    /// [`Code::IPC_DISCONNECT`].
    #[must_use]
    pub fn number(self) -> i32 {
        match self {
            Self::DaemonLost => -2,
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
            Self::Unlisted(number) => number,
        }
    }

    /// The name; `UNLISTED` for a number this library does not know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DaemonLost => "DAEMON_LOST",
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
            Self::Unlisted(_) => "UNLISTED",
        }
    }

    pub(crate) fn from_number(number: i32) -> Self {
        match number {
            -1 => Self::NetworkUnavailable,
            0 => Self::Connected,
            1 => Self::Connecting,
            2 => Self::Unconnected,
            3 => Self::KickedOfflineByOtherClient,
            4 => Self::TokenIncorrect,
            6 => Self::ConnUserBlocked,
            12 => Self::SignOut,
            13 => Self::Suspend,
            14 => Self::Timeout,
            17 => Self::ProxyUnavailable,
            other => Self::Unlisted(other),
        }
    }
}

impl fmt::Display for ConnectionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.number())
    }
}

/// How the daemon was lost.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DaemonLoss {
    /// None has been there yet: see [`ClientBuilder::wait_for_daemon`](crate::ClientBuilder::wait_for_daemon).
    NotYetThere,
    /// It said goodbye, and stopped in order.
    Stopped {
        /// Why, for people to read.
        reason: String,
    },
    /// It went without a word: a crash, or a kill.
    Died,
    /// It is there and did not answer the keep-alive.
    Hung,
    /// It ended this app's binding, and did not say that it stops.
    Unbound {
        /// Why, for people to read.
        reason: String,
    },
}

impl fmt::Display for DaemonLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotYetThere => write!(f, "no daemon has been there yet"),
            Self::Stopped { reason } => write!(f, "the daemon stopped in order: {reason}"),
            Self::Died => write!(f, "the daemon died: it is gone without a goodbye"),
            Self::Hung => write!(f, "the daemon hangs: it did not answer the keep-alive"),
            Self::Unbound { reason } => write!(f, "the daemon ended the binding: {reason}"),
        }
    }
}

/// Whether the machine has a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Network {
    /// There is one, or nothing is known against it.
    Available,
    /// There is none but loopback.
    Unavailable,
    /// The daemon did not say.
    Unknown,
}

/// How far the messages that waited at the server have been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OfflineSync {
    /// Not connected.
    NotConnected,
    /// Some may still be coming.
    Running,
    /// All of them have been read.
    Complete,
    /// The server never said where they end.
    Incomplete,
}

/// When the next attempt is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NextRetry {
    /// By the wall clock.
    pub at: SystemTime,
    /// Counted when the daemon said so: right even if the wall clock is not.
    pub after: Duration,
}

/// The connection's state and all that is known about it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// Where the connection stands.
    pub connection: ConnectionStatus,
    /// Its name as the daemon says it.
    pub name: String,
    /// Grows with every change of one run of the daemon.
    pub generation: u64,
    /// Why it is so, for people to read.
    pub reason: String,
    /// How many attempts have been made since the connection was last up, or wanted.
    pub attempt: u32,
    /// When the next attempt is due; `None` when none is planned.
    pub next_retry: Option<NextRetry>,
    /// The last code that ended an attempt or the connection.
    pub last_code: Option<Code>,
    /// Whether the machine has a network.
    pub network: Network,
    /// The App Key in use; empty before any.
    pub app_key: String,
    /// The user; empty while unknown.
    pub user_id: String,
    /// The address of the server in use or last tried; empty before any.
    pub server: String,
    /// When the status took this value.
    pub changed: Option<SystemTime>,
    /// How far the messages that waited at the server have been read.
    pub offline_sync: OfflineSync,
    /// Why messages that come in cannot be stored, for people to read: the disk is full, or refuses. The
    /// server keeps them meanwhile.
    pub storage_full: Option<String>,
    /// Random for each start of the daemon: another value than before means that it was started again. While
    /// it is lost, that of the one that was; empty before the first.
    pub daemon_run_id: String,
    /// How the daemon was lost: set while it is, which is with [`ConnectionStatus::DaemonLost`] alone.
    pub loss: Option<DaemonLoss>,
}

impl Status {
    /// The status's number: Android's, or -2 for a lost daemon.
    #[must_use]
    pub fn number(&self) -> i32 {
        self.connection.number()
    }

    /// Whether the connection is up.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection == ConnectionStatus::Connected
    }

    /// Whether the daemon is gone.
    #[must_use]
    pub fn is_daemon_lost(&self) -> bool {
        self.connection == ConnectionStatus::DaemonLost
    }

    /// This status when the daemon that told it is lost.
    pub(crate) fn lost(&self, loss: &DaemonLoss) -> Self {
        Self::daemon_lost(self.generation, self.daemon_run_id.clone(), loss.clone())
    }

    /// What is shown while there is no daemon: nothing of the old status holds any longer.
    pub(crate) fn daemon_lost(generation: u64, daemon_run_id: String, loss: DaemonLoss) -> Self {
        Self {
            connection: ConnectionStatus::DaemonLost,
            name: ConnectionStatus::DaemonLost.name().to_owned(),
            generation,
            reason: loss.to_string(),
            attempt: 0,
            next_retry: None,
            last_code: Some(Code::IPC_DISCONNECT),
            network: Network::Unknown,
            app_key: String::new(),
            user_id: String::new(),
            server: String::new(),
            changed: None,
            offline_sync: OfflineSync::NotConnected,
            storage_full: None,
            daemon_run_id,
            loss: Some(loss),
        }
    }

    pub(crate) fn from_wire(wire: v1::ConnectionStatus, daemon_run_id: &str) -> Self {
        let connection = ConnectionStatus::from_number(wire.status);
        let at = wire.next_retry_time.as_ref().and_then(system_time);
        let network = match wire.network() {
            v1::NetworkState::Available => Network::Available,
            v1::NetworkState::Unavailable => Network::Unavailable,
            v1::NetworkState::Unspecified => Network::Unknown,
        };
        let offline_sync = match wire.offline_sync() {
            v1::OfflineSyncState::Unspecified => OfflineSync::NotConnected,
            v1::OfflineSyncState::Running => OfflineSync::Running,
            v1::OfflineSyncState::Complete => OfflineSync::Complete,
            v1::OfflineSyncState::Incomplete => OfflineSync::Incomplete,
        };
        Self {
            connection,
            name: if wire.status_name.is_empty() {
                connection.name().to_owned()
            } else {
                wire.status_name
            },
            generation: wire.generation,
            reason: wire.reason,
            attempt: wire.attempt,
            next_retry: at.map(|at| NextRetry {
                at,
                after: wire
                    .next_retry_in
                    .and_then(|wait| Duration::try_from(wait).ok())
                    .unwrap_or_default(),
            }),
            last_code: Some(Code(wire.last_code)).filter(|code| code.0 != 0),
            network,
            app_key: wire.app_key,
            user_id: wire.user_id,
            server: wire.server,
            changed: wire.change_time.as_ref().and_then(system_time),
            offline_sync,
            storage_full: Some(wire.storage_full).filter(|why| !why.is_empty()),
            daemon_run_id: daemon_run_id.to_owned(),
            loss: None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.number())?;
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// A wire time; `None` where it lies outside of what a clock can show.
pub(crate) fn system_time(time: &prost_types::Timestamp) -> Option<SystemTime> {
    let nanos = Duration::from_nanos(u64::try_from(time.nanos).ok()?);
    match u64::try_from(time.seconds) {
        Ok(seconds) => UNIX_EPOCH
            .checked_add(Duration::from_secs(seconds))?
            .checked_add(nanos),
        Err(_) => UNIX_EPOCH
            .checked_sub(Duration::from_secs(time.seconds.unsigned_abs()))?
            .checked_add(nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back_as_itself() {
        for number in -3..20 {
            assert_eq!(ConnectionStatus::from_number(number).number(), number);
        }
    }

    #[test]
    fn a_number_on_the_wire_never_reads_as_a_lost_daemon() {
        assert_ne!(ConnectionStatus::from_number(-2), ConnectionStatus::DaemonLost);
    }

    #[test]
    fn a_status_of_a_later_daemon_keeps_its_name_and_number() {
        let wire = v1::ConnectionStatus {
            status: 77,
            status_name: "WARMING_UP".to_owned(),
            ..Default::default()
        };
        let status = Status::from_wire(wire, "run");
        assert_eq!(status.to_string(), "WARMING_UP (77)");
        assert_eq!(status.last_code, None);
    }

    #[test]
    fn times_before_1970_and_beyond_all_clocks_do_no_harm() {
        let time = |seconds, nanos| system_time(&prost_types::Timestamp { seconds, nanos });
        assert_eq!(time(-1, 0), UNIX_EPOCH.checked_sub(Duration::from_secs(1)));
        assert_eq!(time(0, -1), None);
        assert_eq!(time(i64::MAX, i32::MAX), None);
        assert!(time(i64::MIN, 0) < time(i64::MAX, 0));
    }
}
