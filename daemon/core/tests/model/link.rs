//! One link as the model sees it: how far it is, and when it must be given up.

use std::time::Duration;

use imd_core::io::{Dial, Epoch};
use imd_core::time::BootTime;

use crate::pace::Span;

const CONNACK_DEADLINE: Duration = Duration::from_secs(15);
const LOGIN_DEADLINE: Duration = Duration::from_secs(15);
const PROBE: Duration = Duration::from_secs(3);
const SYNC: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Link {
    pub dial: Dial,
    /// The clean reconnect by which logout ends a session in 3.1.1.
    pub wipe: bool,
    pub stage: Stage,
}

#[derive(Clone, Copy, Debug)]
pub enum Stage {
    Dialing { since: BootTime },
    LoggingIn { up: Up },
    Online { since: BootTime, up: Up, sync: Sync },
}

/// What is known of a link since its CONNACK.
#[derive(Clone, Copy, Debug)]
pub struct Up {
    pub keep_alive: Duration,
    /// CONNACK.
    pub accepted: BootTime,
    pub received: BootTime,
    /// When something other than the answer to a PINGREQ was received last: at least, at most.
    quiet_since: Span,
    pub unacknowledged: Option<BootTime>,
    pub marker_returned: bool,
    /// A probe is under way: dead when nothing is received by then (may be dead, must be dead).
    probe: Option<Probe>,
    /// The machine woke up: what was missed in its sleep is no sign of death.
    woke: Option<BootTime>,
    pub pinged: BootTime,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    may: BootTime,
    must: Option<BootTime>,
    asked: BootTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    Running,
    /// The event has been sent.
    Told,
}

/// Whether a link must be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doom {
    Lives,
    /// At the very edge of a deadline, or where the design leaves room.
    MayDie,
    /// It should have died in this span.
    Dies(Span),
}

impl Up {
    pub fn new(now: BootTime, keep_alive: Duration) -> Self {
        Self {
            keep_alive,
            accepted: now,
            received: now,
            quiet_since: Span::at(now),
            unacknowledged: None,
            marker_returned: false,
            probe: None,
            woke: None,
            pinged: now,
        }
    }

    pub fn receive(&mut self, now: BootTime, messages: bool) {
        if messages {
            self.quiet_since = Span::at(now);
        }
        self.received = now;
        self.probe = None;
    }

    pub fn is_pinging(&self) -> bool {
        self.pinged > self.received
    }

    /// When a PINGREQ may go out: nothing was received, or nothing sent, for the keep-alive.
    pub fn ping_due(&self) -> BootTime {
        self.received.min(self.pinged) + self.keep_alive
    }

    /// The link is in doubt: ask, and give it a moment. `firm`: it must be dead when the moment is over.
    pub fn probe(&mut self, now: BootTime, firm: bool) {
        let end = now + PROBE.min(self.keep_alive / 2);
        let before = self.probe;
        self.probe = Some(Probe {
            may: before.map_or(end, |before| before.may.min(end)),
            must: match (before.and_then(|before| before.must), firm) {
                (must, true) => Some(must.map_or(end, |must| must.max(end))),
                (must, false) => must,
            },
            asked: now,
        });
    }

    /// As [`Up::probe`], after sleep.
    pub fn wake(&mut self, now: BootTime) {
        self.probe = None;
        self.probe(now, true);
        self.woke = Some(now);
    }

    pub fn doom(&self, now: BootTime) -> Doom {
        let mut may: Vec<BootTime> = Vec::new();
        let mut must: Vec<BootTime> = Vec::new();
        let asleep = |at: BootTime| self.woke.filter(|woke| at < *woke);
        let silent = self.received + self.keep_alive * 145 / 100;
        match (asleep(self.received), self.probe) {
            (Some(_), Some(probe)) if silent <= probe.asked => may.push(probe.may),
            (Some(_), _) => may.push(silent),
            (None, _) => {
                may.push(silent);
                must.push(silent);
            }
        }
        if let Some(since) = self.unacknowledged {
            let limit = self.keep_alive / 2;
            let woke = asleep(since);
            may.push(woke.map_or(since + limit, |woke| (woke + PROBE.min(limit)).max(since + limit)));
            must.push(woke.unwrap_or(since) + limit);
        }
        if let Some(probe) = self.probe {
            may.push(probe.may);
            must.extend(probe.must);
        }
        judge(now, may.into_iter().min(), must.into_iter().min())
    }
}

fn judge(now: BootTime, may: Option<BootTime>, must: Option<BootTime>) -> Doom {
    const EDGE: Duration = Duration::from_millis(1);
    if let (Some(may), Some(must)) = (may, must)
        && now >= must + EDGE
    {
        return Doom::Dies(Span {
            from: may.min(now),
            to: now,
        });
    }
    if may.is_some_and(|may| now + EDGE >= may) {
        return Doom::MayDie;
    }
    Doom::Lives
}

impl Link {
    pub fn new(now: BootTime, dial: Dial, wipe: bool) -> Self {
        Self {
            dial,
            wipe,
            stage: Stage::Dialing { since: now },
        }
    }

    pub fn epoch(&self) -> Epoch {
        self.dial.epoch
    }

    pub fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online { .. })
    }

    pub fn up(&mut self) -> Option<&mut Up> {
        match &mut self.stage {
            Stage::Dialing { .. } => None,
            Stage::LoggingIn { up } | Stage::Online { up, .. } => Some(up),
        }
    }

    /// Whether a deadline of this link has passed.
    pub fn doom(&self, now: BootTime) -> Doom {
        match self.stage {
            Stage::Dialing { since } => {
                let end = Some(since + CONNACK_DEADLINE);
                judge(now, end, end)
            }
            Stage::LoggingIn { up } => {
                let end = Some(up.accepted + LOGIN_DEADLINE);
                judge(now, end, end)
            }
            Stage::Online { up, .. } => up.doom(now),
        }
    }

    /// Whether the backlog counts as read, though its marker has not come: at least, at most.
    pub fn sync_is_over(&self, now: BootTime) -> (bool, bool) {
        match self.stage {
            Stage::Online { since, up, .. } => {
                let least = up.quiet_since.from + SYNC;
                let most = up.quiet_since.to.max(since) + SYNC;
                (now > most, now >= least)
            }
            Stage::Dialing { .. } | Stage::LoggingIn { .. } => (false, false),
        }
    }
}
