//! The network goes, comes, changes; the machine sleeps.

use std::time::Duration;

use super::Core;
use super::backoff::FIRST;
use super::link::{Hold, Link, Next, PROBE_LIMIT, Wait, held};
use super::target::Want;
use crate::io::{Action, HangUp, Network};
use crate::server::Server;
use crate::time::Now;

/// A machine that is awake so long after it was about to sleep has changed its mind.
const FALLING_ASLEEP: Duration = Duration::from_secs(30);

impl Core {
    pub(super) fn network_is(&mut self, now: Now, network: Network) {
        if self.network == network {
            return;
        }
        self.network = network;
        match network {
            Network::Available => {
                if let Link::Paused { hold } = self.link {
                    self.resume_from_pause(now, hold);
                }
            }
            Network::Unavailable => self.pause(now),
        }
    }

    /// The network has changed, or the machine has slept: what was decided before may not hold.
    pub(super) fn stir(&mut self, now: Now, slept: bool) {
        let Want::On(target) = &mut self.want else { return };
        target.backoff.restart();
        match &mut self.link {
            Link::Waiting {
                until,
                why: Wait::Table,
            } => *until = (*until).min(now.boot + FIRST),
            Link::Online { session } => {
                if slept {
                    session.pulse.woke(now.boot);
                }
                session.pulse.probe(now.boot);
                let epoch = session.epoch;
                self.push(Action::Ping { epoch });
            }
            Link::Dialing { deadline, .. } | Link::LoggingIn { deadline, .. } => {
                *deadline = (*deadline).min(now.boot + PROBE_LIMIT);
            }
            Link::Waiting {
                why: Wait::ServerHint | Wait::Leniency | Wait::ShortLives,
                ..
            }
            | Link::Idle
            | Link::Opening(_)
            | Link::Paused { .. }
            | Link::Erasing { .. } => {}
        }
    }

    /// The machine is about to sleep. A session that is ended in order needs no keep-alive to be found dead, at
    /// the server or here, and keeps what comes meanwhile; on waking it is dialled afresh.
    pub(super) fn lie_down(&mut self, now: Now) {
        let polite = match &self.link {
            Link::Dialing { .. } => HangUp::Abort,
            Link::LoggingIn { .. } | Link::Online { .. } => HangUp::KeepSession,
            Link::Waiting { why: Wait::Table, .. } => {
                self.wait_for_the_morning(now);
                return;
            }
            Link::Waiting {
                why: Wait::ServerHint | Wait::Leniency | Wait::ShortLives,
                ..
            }
            | Link::Idle
            | Link::Opening(_)
            | Link::Paused { .. }
            | Link::Erasing { .. } => return,
        };
        self.note_life(now, None);
        self.hang_up(polite);
        self.wait_for_the_morning(now);
    }

    fn wait_for_the_morning(&mut self, now: Now) {
        let Want::On(target) = &mut self.want else { return };
        target.backoff.restart();
        target.redirect = None;
        if self.is_cut_off() {
            self.link = Link::Paused { hold: None };
        } else {
            self.link = Link::Waiting {
                until: now.boot + FALLING_ASLEEP,
                why: Wait::Table,
            };
        }
        "the machine goes to sleep".clone_into(&mut self.reason);
    }

    /// Whether the next dial of this connection has a way to go.
    pub(super) fn is_cut_off(&self) -> bool {
        let Want::On(target) = &self.want else {
            return false;
        };
        self.network == Network::Unavailable
            && self
                .candidates(target)
                .front()
                .is_some_and(|next| !next.is_local())
    }

    /// The network is gone. A session stays until it is found dead.
    fn pause(&mut self, now: Now) {
        match self.link {
            Link::Waiting { .. } if !self.is_cut_off() => {}
            Link::Dialing { .. } if self.server.as_ref().is_some_and(Server::is_local) => {}
            Link::Waiting { until, why } => {
                self.link = Link::Paused {
                    hold: held(until, why),
                };
                "no network".clone_into(&mut self.reason);
            }
            Link::Dialing { .. } => {
                self.hang_up(HangUp::Abort);
                if self.is_cut_off() {
                    self.link = Link::Paused { hold: None };
                    "no network".clone_into(&mut self.reason);
                } else {
                    "no network beyond this machine".clone_into(&mut self.reason);
                    self.link = Link::Waiting {
                        until: now.boot + FIRST,
                        why: Wait::Table,
                    };
                }
            }
            Link::Online { .. } => self.stir(now, false),
            Link::Idle
            | Link::Opening(_)
            | Link::Paused { .. }
            | Link::LoggingIn { .. }
            | Link::Erasing { .. } => {}
        }
    }

    fn resume_from_pause(&mut self, now: Now, hold: Option<Hold>) {
        if let Want::On(target) = &mut self.want {
            target.backoff.restart();
        }
        match hold {
            Some(Hold { until, why }) if until > now.boot => {
                "the network is back".clone_into(&mut self.reason);
                self.link = Link::Waiting { until, why };
            }
            Some(_) | None => self.open_or_dial(now, Next::Attempt),
        }
    }
}
