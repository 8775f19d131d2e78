//! The rebind machine: when to dial the daemon, and what to tell of it. Pure: no socket, no clock, no task.
//!
//! ```text
//!          delay over                  socket open               hello, Init
//! Waiting ────────────▶ Dialing ────────────────────▶ Binding ───────────────▶ Bound
//!    ▲ ▲                   │                             │                      │ │
//!    │ └───────────────────┴─────── failed, 2 s over ────┘      socket closed   │ │ goodbye
//!    ├──────────────────────────────────────────────────────────────────────────┘ ▼
//!    └──────────────────────────────────────── socket closed, 500 ms over ──── Leaving
//! ```
//!
//! Feed it with [`Machine::handle`]; then carry out all of [`Machine::poll_action`], in order; then sleep
//! until [`Machine::poll_timeout`] or the next input, whichever comes first.

use std::collections::VecDeque;
use std::time::Duration;

use imd_proto::code::Code;

use crate::clock::BootTime;
use crate::status::DaemonLoss;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// Dial, hello and Init together.
pub(crate) const ATTEMPT_LIMIT: Duration = Duration::from_secs(2);

/// How long calls in flight may still be answered after the daemon has ended the binding.
pub(crate) const GRACE: Duration = Duration::from_millis(500);

/// The first delay; no two dials begin nearer to each other.
pub(crate) const FIRST_DELAY: Duration = Duration::from_millis(10);

/// The delays double up to this one.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// A binding that lived this long was a good one: after it the delays begin again. One that did not is
/// no better than a failed attempt, so that a daemon which accepts and dies is not dialled without a pause.
pub(crate) const STABLE: Duration = Duration::from_secs(2);

/// What the machine is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// The socket is open, and is this user's.
    Dialed,
    /// The daemon has said hello and taken Init.
    Bound,
    /// The attempt has failed.
    Failed(Failure),
    /// The daemon has ended the binding; the socket may still be open.
    Ended(DaemonLoss),
    /// The socket is closed.
    Closed(DaemonLoss),
    /// The socket's name has come into being.
    Appeared,
    /// What [`Machine::poll_timeout`] named is due. (Any other input also carries out what is due.)
    Timeout,
    /// The last client was dropped.
    Dropped,
}

/// What the machine asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Watch for the socket's name.
    Watch,
    /// The name is of no interest any longer.
    Unwatch,
    /// Open the socket.
    Dial,
    /// Say hello on the socket that is open.
    Bind,
    /// Drop the attempt, however far it is.
    Abandon,
    /// Close the socket of a binding that has ended.
    HangUp,
    /// Calls can be made.
    TellBound,
    /// The daemon is lost: once for each [`Action::TellBound`].
    TellLost(DaemonLoss),
    /// An attempt has failed. It is shown to whoever looks, and no event.
    ShowFailure(Failure),
}

/// Why an attempt has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) code: Code,
    /// For people to read.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// Nobody listens.
    NobodyThere,
    /// Somebody listens, and does not answer.
    Silent,
    /// The socket is another user's (90009).
    StrangersSocket,
    /// The daemon speaks another protocol (90003).
    VersionSkew,
    /// The daemon does not take this app, and says why.
    Refused,
}

impl FailureKind {
    /// Whether time alone does not mend it: there is no point in asking again soon.
    const fn is_decision(self) -> bool {
        match self {
            Self::NobodyThere | Self::Silent => false,
            Self::StrangersSocket | Self::VersionSkew | Self::Refused => true,
        }
    }
}

/// `appeared`: the name came into being after the present dial began, so there is reason for another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No dial before this.
    Waiting { until: BootTime },
    /// The socket is being opened.
    Dialing { deadline: BootTime, appeared: bool },
    /// The hello has not come yet.
    Binding { deadline: BootTime, appeared: bool },
    /// Calls can be made.
    Bound { since: BootTime },
    /// The binding has ended, the socket is open.
    Leaving { until: BootTime, appeared: bool },
    /// There is nobody left to bind for.
    Dropped,
}

/// The machine.
pub(crate) struct Machine {
    state: State,
    /// The delay that comes next.
    delay: Duration,
    /// When the last dial began.
    dialed: Option<BootTime>,
    actions: VecDeque<Action>,
}

impl Machine {
    /// There is no binding: it dials at once.
    pub(crate) fn unbound(now: BootTime) -> Self {
        let mut machine = Self::new(State::Waiting { until: now });
        machine.push(Action::Watch);
        machine.expire(now);
        machine
    }

    /// There is a binding, made without the machine.
    pub(crate) fn bound(now: BootTime) -> Self {
        Self::new(State::Bound { since: now })
    }

    fn new(state: State) -> Self {
        Self {
            state,
            delay: FIRST_DELAY,
            dialed: None,
            actions: VecDeque::new(),
        }
    }

    /// Something happened. What was due before `now` is carried out first, so that an answer which comes
    /// after its deadline (the machine may have slept) is none.
    pub(crate) fn handle(&mut self, now: BootTime, input: Input) {
        self.expire(now);
        match input {
            Input::Dialed => self.dialed(),
            Input::Bound => self.bound_now(now),
            Input::Failed(failure) => self.attempt_failed(now, failure),
            Input::Ended(loss) => self.ended(now, loss),
            Input::Closed(loss) => self.closed(now, loss),
            Input::Appeared => self.appeared(now),
            Input::Timeout => {}
            Input::Dropped => self.dropped(),
        }
        self.expire(now);
    }

    /// The next thing to do.
    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Machine::handle`] with [`Input::Timeout`].
    pub(crate) fn poll_timeout(&self) -> Option<BootTime> {
        match self.state {
            State::Waiting { until } | State::Leaving { until, .. } => Some(until),
            State::Dialing { deadline, .. } | State::Binding { deadline, .. } => Some(deadline),
            State::Bound { .. } | State::Dropped => None,
        }
    }

    fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    /// Carries out what is due, once: what it starts is due later.
    fn expire(&mut self, now: BootTime) {
        if self.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        match self.state {
            State::Waiting { .. } => self.dial(now),
            State::Dialing { appeared, .. } | State::Binding { appeared, .. } => {
                self.push(Action::Abandon);
                let failure = Failure {
                    kind: FailureKind::Silent,
                    code: Code::IMD_DEADLINE_EXCEEDED,
                    text: format!(
                        "something listens at the socket, but did not answer within {ATTEMPT_LIMIT:?}"
                    ),
                };
                self.wait_after(now, failure, appeared);
            }
            State::Leaving { appeared, .. } => {
                self.push(Action::HangUp);
                self.wait(now, appeared);
            }
            State::Bound { .. } | State::Dropped => {}
        }
    }

    fn dial(&mut self, now: BootTime) {
        self.dialed = Some(now);
        self.state = State::Dialing {
            deadline: now + ATTEMPT_LIMIT,
            appeared: false,
        };
        self.push(Action::Dial);
    }

    fn dialed(&mut self) {
        if let State::Dialing { deadline, appeared } = self.state {
            self.state = State::Binding { deadline, appeared };
            self.push(Action::Bind);
        }
    }

    fn bound_now(&mut self, now: BootTime) {
        if let State::Binding { .. } = self.state {
            self.state = State::Bound { since: now };
            self.push(Action::Unwatch);
            self.push(Action::TellBound);
        }
    }

    fn attempt_failed(&mut self, now: BootTime, failure: Failure) {
        if let State::Dialing { appeared, .. } | State::Binding { appeared, .. } = self.state {
            self.wait_after(now, failure, appeared);
        }
    }

    fn wait_after(&mut self, now: BootTime, failure: Failure, appeared: bool) {
        if failure.kind.is_decision() {
            self.delay = LONGEST_DELAY;
        }
        self.push(Action::ShowFailure(failure));
        self.wait(now, appeared);
    }

    fn ended(&mut self, now: BootTime, loss: DaemonLoss) {
        if let State::Bound { since } = self.state {
            self.lost(now, since, loss);
            self.state = State::Leaving {
                until: now + GRACE,
                appeared: false,
            };
        }
    }

    fn closed(&mut self, now: BootTime, loss: DaemonLoss) {
        match self.state {
            State::Bound { since } => {
                self.lost(now, since, loss);
                self.wait(now, false);
            }
            State::Leaving { appeared, .. } => self.wait(now, appeared),
            // What an attempt makes of it is told as its failure.
            State::Waiting { .. } | State::Dialing { .. } | State::Binding { .. } | State::Dropped => {}
        }
    }

    fn lost(&mut self, now: BootTime, since: BootTime, loss: DaemonLoss) {
        if now.since(since) >= STABLE {
            self.delay = FIRST_DELAY;
        }
        self.push(Action::TellLost(loss));
        self.push(Action::Watch);
    }

    fn wait(&mut self, now: BootTime, appeared: bool) {
        let until = if appeared {
            self.soon(now)
        } else {
            let until = now + self.delay;
            self.delay = self.delay.saturating_mul(2).min(LONGEST_DELAY);
            until
        };
        self.state = State::Waiting { until };
    }

    /// The delays begin again. The earliest next dial.
    fn soon(&mut self, now: BootTime) -> BootTime {
        self.delay = FIRST_DELAY;
        self.dialed.map_or(now, |dialed| now.max(dialed + FIRST_DELAY))
    }

    fn appeared(&mut self, now: BootTime) {
        match self.state {
            State::Waiting { until } => {
                let until = until.min(self.soon(now));
                self.state = State::Waiting { until };
            }
            State::Dialing { deadline, .. } => {
                self.state = State::Dialing {
                    deadline,
                    appeared: true,
                }
            }
            State::Binding { deadline, .. } => {
                self.state = State::Binding {
                    deadline,
                    appeared: true,
                }
            }
            State::Leaving { until, .. } => {
                self.state = State::Leaving {
                    until,
                    appeared: true,
                }
            }
            State::Bound { .. } | State::Dropped => {}
        }
    }

    fn dropped(&mut self) {
        match self.state {
            State::Dialing { .. } | State::Binding { .. } => self.push(Action::Abandon),
            State::Bound { .. } | State::Leaving { .. } => self.push(Action::HangUp),
            State::Waiting { .. } | State::Dropped => {}
        }
        self.state = State::Dropped;
    }
}
