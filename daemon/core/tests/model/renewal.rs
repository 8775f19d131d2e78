//! What must follow from UpdateToken, and who may be asked for a new token.

use std::collections::BTreeSet;
use std::time::Duration;

use imd_core::Code;
use imd_core::account::{Token, UserId};
use imd_core::io::{CallId, InstanceId, TokenUpdate};
use imd_core::jwt::Claims;
use imd_core::time::{BootTime, UnixTime};

use crate::checks::{Checked, ensure};
use crate::reference::{Brought, Model, State};

/// The shortest lease and the longest.
const LEASE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Who can bring a token, and who has been asked last.
#[derive(Default)]
pub(crate) struct Renewal {
    pub(crate) providers: BTreeSet<InstanceId>,
    lease: Option<Lease>,
}

struct Lease {
    instance: InstanceId,
    asked: BootTime,
    until: BootTime,
    /// It cannot bring one any longer.
    is_over: bool,
}

impl Renewal {
    pub(crate) fn gone(&mut self, instance: &InstanceId) {
        self.providers.remove(instance);
        if let Some(lease) = self.lease.as_mut().filter(|lease| lease.instance == *instance) {
            lease.is_over = true;
        }
    }
}

impl Brought {
    /// By UpdateToken, and not sent yet.
    pub(crate) fn updated(token: Token) -> Self {
        Self {
            token,
            refused: false,
            tried: false,
            taken: false,
            updated: true,
            replaces: true,
            next: true,
        }
    }
}

impl Model {
    /// The server has said something about one of several tokens: the question may be about another one now.
    pub(crate) fn newest_may_change(&mut self) {
        if self.hold.as_ref().is_none_or(|hold| hold.tokens.len() > 1) {
            self.renewal.lease = None;
        }
    }

    pub(crate) fn update_token(&mut self, call: CallId, update: &TokenUpdate) {
        let own = update
            .instance
            .as_ref()
            .and_then(|instance| self.instances.get(instance)?.app_key.clone());
        let Some(app_key) = own.or_else(|| update.app_key.clone()) else {
            self.expect_answer(call, vec![Err(Code::RC_CLIENT_NOT_INIT)]);
            return;
        };
        let Some(hold) = self.hold.as_ref() else {
            self.expect_answer(call, vec![Err(Code::IMD_NO_CONNECTION)]);
            return;
        };
        let claims = Claims::read(&update.token).unwrap_or_default();
        let fits = match (claims.sub.as_deref().map(UserId::parse), &hold.user) {
            (Some(Err(_)), _) => false,
            (Some(Ok(subject)), user) => user.as_ref() == Some(&subject),
            (None, _) => true,
        };
        let refusal = if hold.app_key != app_key {
            Some(Code::RC_CONNECTION_EXIST)
        } else if hold.user.is_none() {
            Some(Code::IMD_NO_CONNECTION)
        } else if !fits || claims.app.is_some_and(|app| app != app_key.as_str()) {
            Some(Code::RC_CONN_TOKEN_INCORRECT)
        } else {
            None
        };
        if let Some(code) = refusal {
            self.expect_answer(call, vec![Err(code)]);
            return;
        }
        self.expect_answer(call, vec![Ok(())]);
        let Some(hold) = self.hold.as_mut() else { return };
        let brought = Brought::updated(update.token.clone());
        hold.tokens
            .retain(|known| known.token == update.token || known.tried || !known.replaces);
        for known in &mut hold.tokens {
            known.next = false;
        }
        match hold.tokens.iter_mut().find(|known| known.token == update.token) {
            Some(known) if known.refused => *known = brought,
            Some(known) => {
                known.updated = true;
                known.next = true;
            }
            None => hold.tokens.push(brought),
        }
        for entry in self.instances.values_mut() {
            if let Some(latest) = entry
                .latest
                .as_mut()
                .filter(|latest| latest.state == State::Pending)
            {
                latest.updated = Some(update.token.clone());
            }
        }
        self.pace.fresh_token(self.now.boot);
        self.renewal.lease = None;
    }

    /// A CONNACK has taken this token.
    pub(crate) fn token_taken(&mut self, token: &Token) {
        let Some(brought) = self.brought(token) else {
            return;
        };
        let was_taken = std::mem::replace(&mut brought.taken, true);
        let replaces = brought.replaces && !was_taken;
        if let Some(hold) = self.hold.as_mut().filter(|_| replaces) {
            hold.tokens
                .retain(|other| other.token == *token || !other.taken || other.next);
        }
    }

    /// This token is sent.
    pub(crate) fn token_sent(&mut self, token: &Token) {
        if let Some(hold) = self.hold.as_mut() {
            let is_replaced = |other: &Brought| other.replaces && other.tried && !other.taken;
            hold.tokens
                .retain(|other| other.token == *token || !is_replaced(other));
        }
        if let Some(brought) = self.brought(token) {
            brought.tried = true;
            brought.next = false;
        }
    }

    /// One app at a time, for a token that a server has taken or UpdateToken has brought, after its 80 %.
    pub(crate) fn asked(&mut self, instance: &InstanceId, expires: UnixTime) -> Checked {
        let Some(hold) = self.hold.as_ref() else {
            return Err("a token is asked for, and no connection is wanted".to_owned());
        };
        ensure!(
            self.renewal.providers.contains(instance),
            "{} is asked for a token, and cannot bring one",
            instance.0
        );
        let ends = |brought: &Brought| {
            let claims = Claims::read(&brought.token);
            claims.and_then(|claims| claims.expires()) == Some(expires) && (brought.taken || brought.updated)
        };
        ensure!(
            hold.tokens.iter().any(ends),
            "a token is asked for that does not end, or was never taken"
        );
        let now = self.now.boot;
        if let Some(lease) = &self.renewal.lease {
            ensure!(
                lease.is_over || lease.until <= now,
                "{} is asked while {} has the question",
                instance.0,
                lease.instance.0
            );
            ensure!(
                lease.instance != *instance || now.since(lease.asked) >= LEASE[0],
                "{} is asked twice in a moment",
                instance.0
            );
        }
        let left = expires.as_millis().saturating_sub(self.now.unix.as_millis());
        let lease = match u64::try_from(left) {
            Ok(left) if left > 0 => (Duration::from_millis(left) / 4).clamp(LEASE[0], LEASE[1]),
            Ok(_) | Err(_) => LEASE[1],
        };
        self.renewal.lease = Some(Lease {
            instance: instance.clone(),
            asked: now,
            until: now + lease,
            is_over: false,
        });
        Ok(())
    }
}
