//! The server: what it answers, and what links that have ended still say.

use std::time::Duration;

use imd_core::Code;
use imd_core::account::InstallationId;
use imd_core::io::{Accepted, Fault, FaultKind, Input, LinkEvent, Protocol, ServerWords};
use imd_core::time::BootTime;

use crate::checks::{Checked, ensure};
use crate::link::{Link, Stage};
use crate::transition::{Connack, Leftover, LoginStep, OnlineStep, Reply, Secret, Words};
use crate::world::World;

impl World {
    pub(crate) fn server(&mut self, reply: Reply) -> Checked {
        if self.half_open {
            return Ok(());
        }
        let Some(link) = self.model.link.as_ref() else {
            return Ok(());
        };
        if let Stage::Dialing { .. } = link.stage
            && reply.fellow
            && let Some(server) = link.dial.others.first().cloned()
        {
            self.link_event(LinkEvent::Reached { server })?;
        }
        let Some(link) = self.model.link.as_ref() else {
            return Ok(());
        };
        let event = match link.stage {
            Stage::Dialing { .. } => self.connack(reply.dialing),
            Stage::LoggingIn { .. } => login_step(reply.logging_in),
            Stage::Online { .. } => Some(self.online_step(reply.online)),
        };
        match event {
            Some(event) => self.link_event(event),
            None => Ok(()),
        }
    }

    pub(crate) fn link_event(&mut self, event: LinkEvent) -> Checked {
        let Some(epoch) = self.model.link.as_ref().map(|link| link.epoch()) else {
            return Ok(());
        };
        let received = match &event {
            LinkEvent::Reached { .. }
            | LinkEvent::Failed(_)
            | LinkEvent::Unacknowledged { .. }
            | LinkEvent::Received { .. } => false,
            LinkEvent::Accepted(_)
            | LinkEvent::Refused(_)
            | LinkEvent::LoggedIn
            | LinkEvent::LoginRefused { .. }
            | LinkEvent::GroupRefused { .. }
            | LinkEvent::MarkerFound { .. }
            | LinkEvent::MarkerReturned
            | LinkEvent::ServerDisconnect(_) => true,
        };
        if received {
            let event = LinkEvent::Received { messages: false };
            self.input(Input::Link { epoch, event })?;
        }
        self.input(Input::Link { epoch, event })
    }

    pub(crate) fn connack(&self, connack: Connack) -> Option<LinkEvent> {
        let dial = &self.model.link.as_ref()?.dial;
        let older = dial.protocol == Protocol::V311;
        let mut event = match connack {
            Connack::Honest {
                names,
                session_present,
            } => {
                let secret = Secret::of(&dial.token);
                let expired = secret
                    .and_then(Secret::claims)
                    .and_then(|(_, _, exp)| exp)
                    .is_some_and(|exp| exp * 1_000 + 300_000 < self.now.unix.as_millis());
                match secret.and_then(Secret::owner) {
                    Some(owner) if !expired => LinkEvent::Accepted(Accepted {
                        session_present,
                        user_id: names.then(|| owner.text().to_owned()),
                        ..Accepted::default()
                    }),
                    Some(_) => LinkEvent::Refused(plain(0x87)),
                    None => LinkEvent::Refused(plain(0x86)),
                }
            }
            Connack::Accept {
                user,
                keep_alive,
                im_code,
            } => LinkEvent::Accepted(Accepted {
                session_present: false,
                user_id: user.map(str::to_owned),
                keep_alive: keep_alive.map(Duration::from_secs),
                im_code: im_code.map(Code),
                reason_string: None,
            }),
            Connack::Refuse(said) => LinkEvent::Refused(words(said)),
            Connack::Fail(kind) => failed(kind),
            Connack::Silence => return None,
        };
        if older {
            without_properties(&mut event);
        }
        Some(event)
    }

    pub(crate) fn online_step(&mut self, step: OnlineStep) -> LinkEvent {
        match step {
            OnlineStep::Received { messages } => LinkEvent::Received { messages },
            OnlineStep::MarkerReturned => LinkEvent::MarkerReturned,
            OnlineStep::MarkerFound => marker("here"),
            OnlineStep::GroupRefused => LinkEvent::GroupRefused {
                group: "g".to_owned(),
            },
            OnlineStep::Unacknowledged(age) => {
                let accepted = self.model.link.as_mut().and_then(Link::up).map(|up| up.accepted);
                let sent = |age| BootTime::since_boot(self.now.boot.as_duration().saturating_sub(age));
                LinkEvent::Unacknowledged {
                    since: age.map(sent).max(accepted.filter(|_| age.is_some())),
                }
            }
            OnlineStep::Disconnect(said) => LinkEvent::ServerDisconnect(words(said)),
            OnlineStep::Fail(kind) => failed(kind),
        }
    }

    /// Whatever an ended link still says changes nothing.
    pub(crate) fn stale(&mut self, leftover: Leftover) -> Checked {
        self.input(Input::Timeout)?;
        let live = self.model.link.as_ref().map(|link| link.epoch());
        let ended = self
            .epochs
            .iter()
            .rev()
            .copied()
            .find(|epoch| Some(*epoch) != live);
        let Some(epoch) = ended.filter(|_| !self.crashed) else {
            return Ok(());
        };
        let event = match leftover {
            Leftover::Accepted => LinkEvent::Accepted(Accepted::default()),
            Leftover::Refused => LinkEvent::Refused(plain(0x86)),
            Leftover::LoggedIn => LinkEvent::LoggedIn,
            Leftover::LoginRefused => LinkEvent::LoginRefused {
                what: "the inbox".to_owned(),
            },
            Leftover::MarkerReturned => LinkEvent::MarkerReturned,
            Leftover::Received => LinkEvent::Received { messages: true },
            Leftover::Unacknowledged => LinkEvent::Unacknowledged {
                since: Some(BootTime::since_boot(Duration::ZERO)),
            },
            Leftover::Kicked => LinkEvent::ServerDisconnect(plain(0x8e)),
            Leftover::Failed => failed(FaultKind::Io),
        };
        self.note(|| format!("{:>12} > stale {epoch:?} {event:?}", ""));
        let before = (self.core.poll_timeout(), self.core.status().cloned());
        self.core.handle(self.now, Input::Link { epoch, event });
        ensure!(
            self.core.poll_action().is_none(),
            "a stale event leads to an action"
        );
        let after = (self.core.poll_timeout(), self.core.status().cloned());
        ensure!(before == after, "a stale event changes {before:?} into {after:?}");
        Ok(())
    }
}

fn login_step(step: LoginStep) -> Option<LinkEvent> {
    Some(match step {
        LoginStep::LoggedIn => LinkEvent::LoggedIn,
        LoginStep::LoginRefused => LinkEvent::LoginRefused {
            what: "the inbox".to_owned(),
        },
        LoginStep::MarkerReturned => LinkEvent::MarkerReturned,
        LoginStep::MarkerFound => marker("elsewhere"),
        LoginStep::GroupRefused => LinkEvent::GroupRefused {
            group: "g".to_owned(),
        },
        LoginStep::Received => LinkEvent::Received { messages: true },
        LoginStep::Disconnect(said) => LinkEvent::ServerDisconnect(words(said)),
        LoginStep::Fail(kind) => failed(kind),
        LoginStep::Silence => return None,
    })
}

/// MQTT 3.1.1 has no properties.
fn without_properties(event: &mut LinkEvent) {
    if let LinkEvent::Accepted(accepted) = event {
        *accepted = Accepted {
            session_present: accepted.session_present,
            ..Accepted::default()
        };
    } else if let LinkEvent::Refused(said) = event {
        *said = plain(said.reason);
    }
}

fn words(said: Words) -> ServerWords {
    ServerWords {
        server_reference: said.reference.map(str::to_owned),
        im_code: said.im_code.map(Code),
        retry_after: said.retry_after.map(Duration::from_secs),
        ..plain(said.reason)
    }
}

fn plain(reason: u8) -> ServerWords {
    ServerWords {
        reason,
        raw: reason,
        ..ServerWords::default()
    }
}

fn failed(kind: FaultKind) -> LinkEvent {
    LinkEvent::Failed(Fault {
        kind,
        text: "as the case wants it".to_owned(),
    })
}

fn marker(installation: &str) -> LinkEvent {
    LinkEvent::MarkerFound {
        installation: InstallationId::new(installation),
    }
}
