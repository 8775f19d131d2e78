//! The network, sleep, stop; and how a connection ends.

use imd_core::Code;
use imd_core::io::{ConnectKey, HangUp, Network};
use imd_core::server::Server;

use crate::link::Stage;
use crate::pace::{Pace, Span};
use crate::reference::{ANY, ANY_END, Model, Need, State, Told};
use crate::verdict;

/// Where an attempt can go while there may be no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// To a server: there is a network, or the server is on this machine.
    Here,
    Nowhere,
    /// The design leaves it open.
    Unclear,
}

impl Model {
    pub(crate) fn network(&mut self, network: Network) {
        if self.network == network {
            return;
        }
        let reach = self.reach();
        self.network = network;
        match network {
            Network::Available => match reach {
                Reach::Here => {}
                Reach::Nowhere => self.pace.network_back(self.now.boot),
                Reach::Unclear => self.pace.network_may_be_back(self.now.boot),
            },
            Network::Unavailable => {
                let now = self.now.boot;
                let Some(link) = self.link.as_mut() else { return };
                match link.stage {
                    _ if link.wipe => self.close(Need::May, ANY.to_vec()),
                    Stage::Dialing { .. } if link.dial.server.is_local() => {}
                    Stage::Dialing { .. } => {
                        self.close(Need::Must, ANY_END.to_vec());
                        if self.reach() == Reach::Here {
                            self.pace.soon(now);
                        }
                    }
                    Stage::LoggingIn { .. } => self.close(Need::May, ANY_END.to_vec()),
                    Stage::Online { .. } => {
                        self.pace.restart(now);
                        self.step.ping = Need::Must;
                        if let Some(up) = link.up() {
                            up.probe(now);
                        }
                    }
                }
            }
        }
    }

    pub(crate) fn network_changed(&mut self) {
        self.pace.restart(self.now.boot);
        self.doubt(false);
    }

    pub(crate) fn resumed(&mut self) {
        self.pace.restart(self.now.boot);
        self.doubt(true);
    }

    /// The server is told, and no attempt is made before the machine has slept, or has had the time to.
    pub(crate) fn sleeping(&mut self) {
        let now = self.now.boot;
        match self.link.as_ref().map(|link| (link.wipe, link.stage)) {
            Some((true, _)) => {}
            Some((false, stage)) => {
                let how = match stage {
                    Stage::Dialing { .. } => HangUp::Abort,
                    Stage::LoggingIn { .. } | Stage::Online { .. } => HangUp::KeepSession,
                };
                self.close(Need::Must, vec![how]);
                self.lost(Span::at(now), false);
                self.pace.asleep(now);
            }
            None => self.pace.falls_asleep(now),
        }
    }

    /// Where the next attempt can go.
    pub(crate) fn reach(&self) -> Reach {
        let Some(hold) = &self.hold else {
            return Reach::Here;
        };
        let servers = self.config.servers.of(&hold.app_key);
        let beside = servers.iter().any(Server::is_local);
        match &hold.referred {
            _ if self.network == Network::Available => Reach::Here,
            // Whether the redirect is followed or was one too many shows only later.
            Some(_) if hold.redirected && beside => Reach::Unclear,
            Some(referred) if referred.is_local() => Reach::Here,
            Some(_) => Reach::Nowhere,
            None if beside => Reach::Here,
            None => Reach::Nowhere,
        }
    }

    /// An online link is asked; one that is not yet up has only a moment left.
    pub(crate) fn doubt(&mut self, slept: bool) {
        let now = self.now.boot;
        let Some(link) = self.link.as_mut() else { return };
        match link.stage {
            _ if link.wipe => self.close(Need::May, ANY.to_vec()),
            Stage::Online { .. } => {
                self.step.ping = Need::Must;
                match link.up() {
                    Some(up) if slept => up.wake(now),
                    Some(up) => up.probe(now),
                    None => {}
                }
            }
            Stage::Dialing { .. } | Stage::LoggingIn { .. } => link.hurry(now),
        }
    }

    pub(crate) fn stop(&mut self) {
        self.step.stop = true;
        self.stopped = true;
        if let Some(link) = self.live() {
            let how = if link.is_online() {
                vec![HangUp::KeepSession]
            } else {
                ANY.to_vec()
            };
            self.close(Need::Must, how);
        }
    }

    // Ends.

    /// One of these must be what this connect is told in this step.
    pub(crate) fn tell(&mut self, key: &ConnectKey, allowed: Vec<Told>) {
        if let [only] = allowed.as_slice() {
            self.conclude(key, only);
        }
        self.step.tells.insert(key.clone(), allowed);
    }

    pub(crate) fn conclude(&mut self, key: &ConnectKey, told: &Told) {
        let Some(latest) = self.latest_mut(key) else {
            return;
        };
        if latest.state != State::Pending {
            return;
        }
        match told {
            Told::Nothing => {}
            Told::Success(user) => latest.state = State::Succeeded(user.clone()),
            Told::Error(_) => latest.state = State::Over(told.clone()),
        }
    }

    /// The connection is no longer wanted; who still waits is told one of these codes.
    pub(crate) fn end(&mut self, codes: &[Code], how: Vec<HangUp>) {
        for key in self.pending() {
            let allowed: Vec<Told> = codes.iter().copied().map(Told::Error).collect();
            self.step.tells.insert(key.clone(), allowed.clone());
            if let Some(told) = allowed.first() {
                self.conclude(&key, told);
            }
            self.step.by_end.push(key);
        }
        self.over(codes);
        self.step.off = Need::Must;
        if self.step.closing.is_none() {
            self.close(Need::Must, how);
        }
    }

    /// What an end leaves behind, whoever decided it.
    pub(crate) fn over(&mut self, codes: &[Code]) {
        for entry in self.instances.values_mut() {
            if let Some(latest) = entry.latest.as_mut()
                && let State::Succeeded(user) = &latest.state
            {
                latest.state = State::Over(Told::Success(user.clone()));
            }
        }
        let token = |code: &Code| [Code::RC_CONN_TOKEN_INCORRECT, Code::RC_CONN_TOKEN_EXPIRE].contains(code);
        self.step.erased |= codes.iter().any(token);
        self.hold = None;
        self.pace = Pace::default();
        self.step.wipe = Need::No;
        self.ended = Some(codes.iter().copied().map(verdict::status_of).collect());
    }
}
