//! From the wish to the dial.

use std::collections::VecDeque;
use std::time::Duration;

use imd_proto::code::Code;

use super::link::{DIAL_LIMIT, Link, Next, Purpose};
use super::target::{Target, Want};
use super::{Core, Database};
use crate::account::Account;
use crate::io::{Action, Config, Dial, HangUp, Identity, LinkEvent, LoginPolicy, Network, Protocol, Refusal};
use crate::server::Server;
use crate::time::Now;

impl Core {
    /// A connection is wanted that was not.
    pub(super) fn begin(&mut self, now: Now, target: Target) {
        "connecting".clone_into(&mut self.reason);
        self.server = None;
        if matches!(self.link, Link::Erasing { .. }) {
            self.hang_up(HangUp::Abort);
        }
        self.want = Want::On(Box::new(target));
        self.persist();
        self.open_or_dial(now, Next::Attempt);
    }

    /// The database before the network, where the user is known.
    pub(super) fn open_or_dial(&mut self, now: Now, next: Next) {
        let Want::On(target) = &self.want else { return };
        if let Some(account) = target.account()
            && !matches!(&self.database, Database::Open(open, _) if *open == account)
        {
            self.link = Link::Opening(next);
            self.open(account);
            return;
        }
        self.tell_database();
        match next {
            Next::Attempt => self.attempt(now),
            Next::SameAttempt => self.dial(now),
        }
    }

    /// The user has become known while the next attempt waits: history need not wait with it.
    pub(super) fn open_ahead(&mut self) {
        let Want::On(target) = &self.want else { return };
        let Some(account) = target.account() else { return };
        if matches!(&self.database, Database::Open(open, _) if *open == account) {
            self.tell_database();
        } else {
            self.open(account);
        }
    }

    pub(super) fn open(&mut self, account: Account) {
        if matches!(&self.database, Database::Opening(opening) if *opening == account) {
            return;
        }
        self.database = Database::Opening(account.clone());
        self.push(Action::OpenAccount(account));
    }

    /// An attempt begins, if there is a network.
    fn attempt(&mut self, now: Now) {
        if !self.is_cut_off()
            && let Want::On(target) = &mut self.want
        {
            target.attempt = target.attempt.saturating_add(1);
        }
        self.dial(now);
    }

    /// Where the next dial goes, best first: with nothing but loopback up, to the servers on this machine if there
    /// are some.
    pub(super) fn candidates(&self, target: &Target) -> VecDeque<Server> {
        if let Some(redirect) = &target.redirect {
            return VecDeque::from([redirect.server.clone()]);
        }
        let servers = self.config.servers.of(&target.app_key);
        let next = target.next_server.checked_rem(servers.len()).unwrap_or_default();
        let (before, from) = servers.split_at(next);
        let mut candidates: VecDeque<Server> = from.iter().chain(before).cloned().collect();
        if self.network == Network::Unavailable && candidates.iter().any(Server::is_local) {
            candidates.retain(Server::is_local);
        }
        candidates
    }

    /// The attempt that is under way dials, if there is a network.
    pub(super) fn dial(&mut self, now: Now) {
        if self.is_cut_off() {
            self.link = Link::Paused { hold: None };
            "no network".clone_into(&mut self.reason);
            return;
        }
        let epoch = self.next_epoch();
        if let Want::On(target) = &mut self.want {
            target.tokens.promote();
        }
        let Want::On(target) = &self.want else { return };
        let mut candidates = self.candidates(target);
        let Some(server) = candidates.pop_front() else {
            let text = self.config.servers.missing.clone();
            self.end(&Refusal {
                code: Code::IMD_NO_SERVER,
                text,
            });
            return;
        };
        let (purpose, identity, client_id) = match target.account() {
            Some(account) => {
                let client_id = client_id(&self.config, &account);
                (Purpose::Login, Identity::Known(account), client_id)
            }
            None => {
                let client_id = format!("discover-{:016x}", self.random.next());
                (Purpose::Discover, Identity::Discover, client_id)
            }
        };
        if purpose == Purpose::Discover && target.protocol == Protocol::V311 {
            let text = "the server speaks MQTT 3.1.1 only, which cannot tell whose token it is: name the user (userId)";
            self.token_refused(now, Code::RC_CONN_TOKEN_INCORRECT, text.to_owned(), true);
            return;
        }
        let session_expiry = if purpose == Purpose::Login {
            self.config.session_expiry
        } else {
            Duration::ZERO
        };
        self.reason = format!("connecting to {server}, attempt {}", target.attempt);
        let dial = Dial {
            epoch,
            app_key: target.app_key.clone(),
            server: server.clone(),
            others: candidates.into(),
            protocol: target.protocol,
            client_id,
            identity,
            token: target.tokens.in_use().token.clone(),
            clean: purpose == Purpose::Discover,
            session_expiry,
            keep_alive: self.config.keep_alive,
        };
        self.server = Some(server);
        self.link = Link::Dialing {
            epoch,
            deadline: now.boot + DIAL_LIMIT,
            purpose,
        };
        self.push(Action::Dial(Box::new(dial)));
    }

    /// Not the first of the servers has answered, but this one: the next attempt begins with it.
    pub(super) fn reached(&mut self, server: Server) {
        let (Want::On(target), Link::Dialing { .. }) = (&mut self.want, &self.link) else {
            return;
        };
        let servers = self.config.servers.of(&target.app_key);
        if let Some(position) = servers.iter().position(|known| *known == server) {
            target.next_server = position;
        }
        self.reason = format!("connecting to {server}, attempt {}", target.attempt);
        self.server = Some(server);
    }

    pub(super) fn handle_erasing(&mut self, event: &LinkEvent) {
        match event {
            LinkEvent::Accepted(_) => self.hang_up(HangUp::KeepSession),
            LinkEvent::Refused(_) | LinkEvent::ServerDisconnect(_) | LinkEvent::Failed(_) => {
                self.link = Link::Idle
            }
            LinkEvent::Reached { .. }
            | LinkEvent::LoggedIn
            | LinkEvent::LoginRefused { .. }
            | LinkEvent::GroupRefused { .. }
            | LinkEvent::MarkerFound { .. }
            | LinkEvent::MarkerReturned
            | LinkEvent::Received { .. }
            | LinkEvent::Unacknowledged { .. } => {}
        }
    }

    /// After logout in 3.1.1, whose DISCONNECT cannot end the session: a clean connect does.
    pub(super) fn erase_session(&mut self, now: Now, target: &Target) {
        let (Some(account), Some(server)) = (target.account(), self.server.clone()) else {
            return;
        };
        let epoch = self.next_epoch();
        let dial = Dial {
            epoch,
            app_key: target.app_key.clone(),
            server,
            others: Vec::new(),
            protocol: target.protocol,
            client_id: client_id(&self.config, &account),
            identity: Identity::Known(account),
            token: target.tokens.in_use().token.clone(),
            clean: true,
            session_expiry: Duration::ZERO,
            keep_alive: self.config.keep_alive,
        };
        self.link = Link::Erasing {
            epoch,
            deadline: now.boot + DIAL_LIMIT,
        };
        self.push(Action::Dial(Box::new(dial)));
    }
}

/// `{class}:{app_key}:{user_id}`; with `login = "many"` each installation is a client of its own, as
/// `{class}.{installation}:{app_key}:{user_id}`. The user id comes last, since it may have a `:` in it, and no
/// class has a `.`: so no two accounts or installations share an id.
fn client_id(config: &Config, account: &Account) -> String {
    let Account { app_key, user_id } = account;
    let class = &config.device_class;
    match config.login {
        LoginPolicy::One => format!("{class}:{app_key}:{user_id}"),
        LoginPolicy::Many => format!("{class}.{}:{app_key}:{user_id}", config.installation),
    }
}
