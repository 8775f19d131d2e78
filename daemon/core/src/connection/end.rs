//! How a connection ends, and who is told.

use imd_proto::code::Code;

use super::Core;
use super::callers::Waiter;
use super::link::Link;
use super::target::{Ending, Target, Want};
use super::verdict::{ended_status, is_token};
use crate::account::UserId;
use crate::io::{Action, Callback, ConnectionStatus, HangUp, Protocol, Refusal, Remembered, Requester};
use crate::time::Now;

impl Core {
    /// The connection ends with a terminal code: the wanted state is written, the callers are told, and
    /// only then the world.
    pub(super) fn end(&mut self, refusal: &Refusal) {
        self.end_as(refusal, ended_status(refusal.code), is_token(refusal.code));
    }

    /// The server refused the token, under whatever number.
    pub(super) fn end_of_token(&mut self, refusal: &Refusal) {
        self.end_as(refusal, ConnectionStatus::TokenIncorrect, true);
    }

    fn end_as(&mut self, refusal: &Refusal, status: ConnectionStatus, erase_token: bool) {
        let Want::On(target) = std::mem::replace(&mut self.want, Want::Off(Ending::default())) else {
            return;
        };
        self.finish(&target, Some(refusal.code), erase_token, None, refusal);
        self.want = Want::Off(Ending {
            status,
            code: Some(refusal.code),
            app_key: Some(target.app_key),
            user_id: target.user_id,
            signed_out: None,
        });
        self.reason.clone_from(&refusal.text);
        self.publish();
    }

    /// Disconnect and logout: they end the one connection for every app.
    pub(super) fn sign_out(&mut self, now: Now, by: &Requester, logout: bool) {
        let verb = if logout { "logged out" } else { "disconnected" };
        let text = format!("{verb} by {by}");
        if let Want::Off(ending) = &mut self.want {
            ending.signed_out = Some(text);
            self.sign_out_while_off(logout);
            return;
        }
        let Want::On(mut target) = std::mem::replace(&mut self.want, Want::Off(Ending::default())) else {
            return;
        };
        if logout {
            // The session ends with it: the next login is a first one, which misses nothing.
            target.verified = false;
            self.last_login = None;
        }
        let refusal = Refusal {
            code: Code::RC_CONN_CANCELED,
            text: text.clone(),
        };
        let had_session = self.link.session().is_some();
        let how = match (logout, target.protocol) {
            (true, Protocol::V5) => Some(HangUp::EndSession),
            (true, Protocol::V311) | (false, _) => None,
        };
        self.finish(&target, None, logout, how, &refusal);
        self.want = Want::Off(Ending {
            status: ConnectionStatus::SignOut,
            code: None,
            app_key: Some(target.app_key.clone()),
            user_id: target.user_id.clone(),
            signed_out: None,
        });
        self.reason = text;
        self.publish();
        if logout && had_session && target.protocol == Protocol::V311 {
            self.erase_session(now, &target);
        }
    }

    /// There is no connection, but there may be a remembered one.
    fn sign_out_while_off(&mut self, logout: bool) {
        let Some(mut remembered) = self.remembered.clone() else {
            return;
        };
        remembered.wanted = false;
        remembered.updated_token = None;
        if logout {
            remembered.token = None;
            remembered.verified = false;
            self.last_login = None;
        }
        self.remember(remembered);
    }

    /// What all ends have in common. `how` is for a session; a dial is just dropped.
    fn finish(
        &mut self,
        target: &Target,
        last_code: Option<Code>,
        erase_token: bool,
        how: Option<HangUp>,
        refusal: &Refusal,
    ) {
        self.renewal.note = None;
        self.remember(Remembered {
            app_key: target.app_key.clone(),
            user_id: target.user_id.clone(),
            token: (!erase_token).then(|| target.tokens.to_remember().clone()),
            updated_token: None,
            wanted: false,
            verified: target.verified,
            last_code,
        });
        if let Some((_, polite)) = self.link.live() {
            let is_session = self.link.session().is_some();
            self.hang_up(how.filter(|_| is_session).unwrap_or(polite));
        }
        self.link = Link::Idle;
        self.settle(&Err(refusal.clone()), |_| true);
        self.callers.release();
    }

    /// Ends the link, if there is one.
    pub(super) fn hang_up(&mut self, how: HangUp) {
        if let Some((epoch, _)) = self.link.live() {
            self.push(Action::HangUp { epoch, how });
        }
        self.link = Link::Idle;
    }

    /// The time limits that have passed. When the last caller of a connection that has never been up is
    /// gone, so is the loop.
    pub(super) fn time_limits(&mut self, now: Now) {
        let refusal = Refusal {
            code: Code::RC_CONNECT_TIMEOUT,
            text: format!("no connection within the time limit; last: {}", self.reason),
        };
        let passed = |waiter: &Waiter| waiter.deadline.is_some_and(|deadline| deadline <= now.boot);
        let unlimited = matches!(&self.want, Want::On(target) if target.verified);
        if unlimited || self.callers.waiters().any(|(_, waiter)| !passed(waiter)) {
            self.settle(&Err(refusal), passed);
        } else {
            self.end(&refusal);
        }
    }

    /// Whether the loop has a reason to go on: it has been up before, or somebody waits.
    pub(super) fn is_wanted(&self) -> bool {
        match &self.want {
            Want::Off(_) => false,
            Want::On(target) => target.verified || self.callers.is_waiting(),
        }
    }

    /// The terminal callback of those that `which` names.
    pub(super) fn settle(&mut self, outcome: &Result<UserId, Refusal>, which: impl Fn(&Waiter) -> bool) {
        for key in self.callers.settle(outcome, which) {
            let callback = match outcome {
                Ok(user_id) => Callback::Success(user_id.clone()),
                Err(refusal) => Callback::Error(refusal.clone()),
            };
            self.call_back(key, callback);
        }
    }

    /// Writes the wanted state of the connection that is wanted.
    pub(super) fn persist(&mut self) {
        let Want::On(target) = &self.want else { return };
        self.remember(Remembered {
            app_key: target.app_key.clone(),
            user_id: target.user_id.clone(),
            token: Some(target.tokens.to_remember().clone()),
            updated_token: target.tokens.updated().cloned(),
            wanted: true,
            verified: target.verified,
            last_code: None,
        });
    }

    fn remember(&mut self, remembered: Remembered) {
        if self.remembered.as_ref() != Some(&remembered) {
            self.remembered = Some(remembered.clone());
            self.push(Action::Persist(Box::new(remembered)));
        }
    }
}
