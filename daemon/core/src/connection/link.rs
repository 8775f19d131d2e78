//! The actual state. Each variant owns what belongs to it, so that leaving it drops it.

use std::time::Duration;

use crate::io::{Epoch, HangUp};
use crate::time::BootTime;

/// How long a dial may take until CONNACK.
pub(crate) const DIAL_LIMIT: Duration = Duration::from_secs(15);
/// How long a login may take from CONNACK until SUBACK and the marker's PUBACK.
pub(crate) const LOGIN_LIMIT: Duration = Duration::from_secs(15);
/// How long the server may take over the answer to a PINGREQ sent after sleep or a network change, and what is
/// left then to an attempt that is under way: what it has sent may have gone nowhere.
pub(crate) const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// A quiet this long, without the marker, ends the wait for it.
pub(crate) const SYNC_LIMIT: Duration = Duration::from_secs(30);

pub(crate) enum Link {
    /// No connection is wanted.
    Idle,
    /// The account's database is being opened; the network comes after it.
    Opening(Next),
    /// There is no network.
    Paused {
        hold: Option<Hold>,
    },
    Waiting {
        until: BootTime,
        why: Wait,
    },
    /// From the dial to CONNACK.
    Dialing {
        epoch: Epoch,
        deadline: BootTime,
        purpose: Purpose,
    },
    /// From CONNACK to the marker's PUBACK.
    LoggingIn {
        session: Session,
        deadline: BootTime,
    },
    Online {
        session: Session,
    },
    /// After logout in MQTT 3.1.1: a clean connect ends the session at the server.
    Erasing {
        epoch: Epoch,
        deadline: BootTime,
    },
}

/// What follows the opening of the database.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// An attempt of its own.
    Attempt,
    /// The dial of an attempt that has begun: the discovery has named the user.
    SameAttempt,
}

/// What a dial is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Login,
    /// To be told whose token it is.
    Discover,
}

/// Why the next attempt waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// By the table. A restart of the table shortens it.
    Table,
    /// The server said when to come back.
    ServerHint,
    /// A token that was good before gets another try.
    Leniency,
    /// Short lives: somebody else seems to be signed in.
    ShortLives,
}

/// A wait that the loss of the network does not shorten.
#[derive(Clone, Copy)]
pub(crate) struct Hold {
    pub(crate) until: BootTime,
    pub(crate) why: Wait,
}

/// A wait by the table ends with the network; the others hold.
pub(crate) fn held(until: BootTime, why: Wait) -> Option<Hold> {
    match why {
        Wait::Table => None,
        Wait::ServerHint | Wait::Leniency | Wait::ShortLives => Some(Hold { until, why }),
    }
}

/// What a server's CONNACK begins and the link's end drops.
pub(crate) struct Session {
    pub(crate) epoch: Epoch,
    /// CONNACK.
    pub(crate) since: BootTime,
    pub(crate) pulse: Pulse,
    pub(crate) sync: Sync,
    /// The server keeps nothing of this account from before, as far as is known.
    pub(crate) first_login: bool,
}

/// How far the messages that waited at the server have been read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sync {
    Running {
        quiet_since: BootTime,
    },
    /// The marker is back.
    Complete,
    /// It did not come.
    Incomplete,
}

/// Whether the link is alive.
///
/// PINGREQ goes out when nothing was received for the keep-alive, or nothing sent (the server counts what
/// it receives); the link is dead at 1.45 times that, and when a packet waits for its acknowledgement for
/// half of it, because a link that only sends never hears that nobody is there.
pub(crate) struct Pulse {
    keep_alive: Duration,
    received: BootTime,
    pinged: BootTime,
    unacknowledged: Option<BootTime>,
    probe: Option<BootTime>,
    /// CONNACK, or the last time the machine woke up: no wait counts from before.
    awake_since: BootTime,
}

impl Pulse {
    pub(crate) fn new(now: BootTime, keep_alive: Duration) -> Self {
        Self {
            keep_alive,
            received: now,
            pinged: now,
            unacknowledged: None,
            probe: None,
            awake_since: now,
        }
    }

    pub(crate) fn received(&mut self, now: BootTime) {
        self.received = now;
        self.probe = None;
    }

    /// Whether a PINGREQ is on its way: what comes in may be its answer.
    pub(crate) fn is_pinging(&self) -> bool {
        self.pinged > self.received
    }

    pub(crate) fn pinged(&mut self, now: BootTime) {
        self.pinged = now;
    }

    /// The machine has slept: what was missed meanwhile is no sign of death.
    pub(crate) fn woke(&mut self, now: BootTime) {
        self.received = now;
        self.awake_since = now;
        self.probe = None;
        self.unacknowledged(self.unacknowledged);
    }

    /// A PINGREQ goes out whose answer must come soon.
    pub(crate) fn probe(&mut self, now: BootTime) {
        self.pinged = now;
        let deadline = now + PROBE_LIMIT.min(self.keep_alive / 2);
        self.probe = Some(self.probe.map_or(deadline, |earlier| earlier.min(deadline)));
    }

    pub(crate) fn unacknowledged(&mut self, since: Option<BootTime>) {
        self.unacknowledged = since.map(|since| since.max(self.awake_since));
    }

    /// When the next PINGREQ is due; `None` while one is on its way.
    pub(crate) fn ping_due(&self) -> Option<BootTime> {
        (!self.is_pinging()).then(|| self.received.min(self.pinged) + self.keep_alive)
    }

    pub(crate) fn silence_deadline(&self) -> BootTime {
        let silence = self.received + self.keep_alive.mul_f64(1.45);
        self.probe.map_or(silence, |probe| probe.min(silence))
    }

    pub(crate) fn acknowledgement_deadline(&self) -> Option<BootTime> {
        self.unacknowledged.map(|since| since + self.keep_alive / 2)
    }
}

impl Link {
    /// The link that is up or coming up, and the polite way to end it.
    pub(crate) fn live(&self) -> Option<(Epoch, HangUp)> {
        match self {
            Self::Dialing { epoch, .. } | Self::Erasing { epoch, .. } => Some((*epoch, HangUp::Abort)),
            Self::LoggingIn { session, .. } | Self::Online { session } => {
                Some((session.epoch, HangUp::KeepSession))
            }
            Self::Idle | Self::Opening(_) | Self::Paused { .. } | Self::Waiting { .. } => None,
        }
    }

    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match self {
            Self::LoggingIn { session, .. } | Self::Online { session } => Some(session),
            Self::Idle
            | Self::Opening(_)
            | Self::Paused { .. }
            | Self::Waiting { .. }
            | Self::Dialing { .. }
            | Self::Erasing { .. } => None,
        }
    }
}
