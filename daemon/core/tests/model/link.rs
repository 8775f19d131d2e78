//! One link as the model sees it: how far it is, and when it must be given up.

use std::time::Duration;

use imd_core::io::{Dial, Epoch};
use imd_core::time::BootTime;

use crate::pace::Span;
use crate::reference::EDGE;

const CONNACK_DEADLINE: Duration = Duration::from_secs(15);
const LOGIN_DEADLINE: Duration = Duration::from_secs(15);
const PROBE: Duration = Duration::from_secs(3);
const SYNC: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) dial: Dial,
    /// The clean reconnect by which logout ends a session in 3.1.1.
    pub(crate) wipe: bool,
    pub(crate) stage: Stage,
    /// What was sent before the network changed may have gone nowhere: dead by then, unless a stage has ended.
    hurried: Option<BootTime>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    Dialing { since: BootTime },
    LoggingIn { up: Up },
    Online { since: BootTime, up: Up, sync: Sync },
}

/// What is known of a link since its CONNACK.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Up {
    pub(crate) keep_alive: Duration,
    /// CONNACK.
    pub(crate) accepted: BootTime,
    pub(crate) received: BootTime,
    /// When something other than the answer to a PINGREQ was received last: at least, at most.
    quiet_since: Span,
    pub(crate) unacknowledged: Option<BootTime>,
    pub(crate) marker_returned: bool,
    /// A probe is under way: dead when nothing is received by then.
    probe: Option<BootTime>,
    /// The machine woke up: what was missed in its sleep is no sign of death.
    woke: Option<BootTime>,
    pub(crate) pinged: BootTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sync {
    Running,
    /// The event has been sent.
    Told,
}

/// Whether a link must be given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    Lives,
    /// At the very edge of a deadline.
    MayDie,
    /// It should have died in this span.
    Dies(Span),
}

impl Up {
    pub(crate) fn new(now: BootTime, keep_alive: Duration) -> Self {
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

    pub(crate) fn receive(&mut self, now: BootTime, messages: bool) {
        if messages {
            self.quiet_since = Span::at(now);
        }
        self.received = now;
        self.probe = None;
    }

    pub(crate) fn is_pinging(&self) -> bool {
        self.pinged > self.received
    }

    /// When a PINGREQ may go out: nothing was received, or nothing sent, for the keep-alive.
    pub(crate) fn ping_due(&self) -> BootTime {
        self.received.min(self.pinged) + self.keep_alive
    }

    /// The link is in doubt: it is asked, and dead when nothing is received within a moment.
    pub(crate) fn probe(&mut self, now: BootTime) {
        let end = now + PROBE.min(self.keep_alive / 2);
        self.probe = Some(self.probe.map_or(end, |before| before.min(end)));
    }

    /// As [`Up::probe`], after sleep.
    pub(crate) fn wake(&mut self, now: BootTime) {
        self.probe = None;
        self.probe(now);
        self.woke = Some(now);
    }

    pub(crate) fn doom(&self, now: BootTime) -> Doom {
        let awake = |since: BootTime| self.woke.map_or(since, |woke| woke.max(since));
        let silent = awake(self.received) + self.keep_alive * 145 / 100;
        let overdue = self
            .unacknowledged
            .map(|since| awake(since) + self.keep_alive / 2);
        let ends = [Some(silent), overdue, self.probe];
        judge(now, ends.into_iter().flatten().min().unwrap_or(silent))
    }
}

fn judge(now: BootTime, end: BootTime) -> Doom {
    if now >= end + EDGE {
        Doom::Dies(Span { from: end, to: now })
    } else if now + EDGE >= end {
        Doom::MayDie
    } else {
        Doom::Lives
    }
}

impl Link {
    pub(crate) fn new(now: BootTime, dial: Dial, wipe: bool) -> Self {
        Self {
            dial,
            wipe,
            stage: Stage::Dialing { since: now },
            hurried: None,
        }
    }

    /// Only a moment is left to what is under way.
    pub(crate) fn hurry(&mut self, now: BootTime) {
        let end = now + PROBE;
        self.hurried = Some(self.hurried.map_or(end, |before| before.min(end)));
    }

    pub(crate) fn enters(&mut self, stage: Stage) {
        self.stage = stage;
        self.hurried = None;
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.dial.epoch
    }

    pub(crate) fn is_online(&self) -> bool {
        matches!(self.stage, Stage::Online { .. })
    }

    pub(crate) fn up(&mut self) -> Option<&mut Up> {
        match &mut self.stage {
            Stage::Dialing { .. } => None,
            Stage::LoggingIn { up } | Stage::Online { up, .. } => Some(up),
        }
    }

    /// Whether a deadline of this link has passed.
    pub(crate) fn doom(&self, now: BootTime) -> Doom {
        match self.stage {
            Stage::Dialing { since } => judge(now, self.hurried_or(since + CONNACK_DEADLINE)),
            Stage::LoggingIn { up } => judge(now, self.hurried_or(up.accepted + LOGIN_DEADLINE)),
            Stage::Online { up, .. } => up.doom(now),
        }
    }

    fn hurried_or(&self, end: BootTime) -> BootTime {
        self.hurried.map_or(end, |hurried| hurried.min(end))
    }

    /// Whether the backlog counts as read, though its marker has not come: at least, at most.
    pub(crate) fn sync_is_over(&self, now: BootTime) -> (bool, bool) {
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
