//! The network goes, comes, changes; the machine sleeps.

use super::Core;
use super::backoff::FIRST;
use super::link::{Hold, Link, Next, Wait, held};
use super::target::Want;
use crate::io::{Action, HangUp, Network};
use crate::time::Now;

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
            Link::Waiting {
                why: Wait::ServerHint | Wait::Leniency | Wait::ShortLives,
                ..
            }
            | Link::Idle
            | Link::Opening(_)
            | Link::Paused { .. }
            | Link::Dialing { .. }
            | Link::LoggingIn { .. }
            | Link::Erasing { .. } => {}
        }
    }

    /// The network is gone. A session stays until it is found dead.
    fn pause(&mut self, now: Now) {
        match self.link {
            Link::Waiting { until, why } => {
                self.link = Link::Paused {
                    hold: held(until, why),
                };
                "no network".clone_into(&mut self.reason);
            }
            Link::Dialing { .. } => {
                self.hang_up(HangUp::Abort);
                self.link = Link::Paused { hold: None };
                "no network".clone_into(&mut self.reason);
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
