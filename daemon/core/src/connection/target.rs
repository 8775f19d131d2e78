//! The wanted state: whose connection, with which token, and what has been learnt on the way.

use std::collections::VecDeque;

use imd_proto::code::Code;

use super::backoff::Backoff;
use crate::account::{Account, AppKey, Token, UserId};
use crate::io::{ConnectionStatus, Protocol};
use crate::server::Server;

/// What is wanted. What is, is [`super::link::Link`].
pub(crate) enum Want {
    /// No connection: none was asked for, or the last one has ended.
    Off(Ending),
    On(Box<Target>),
}

/// How the connection ended, as the status shows it until the next connect.
pub(crate) struct Ending {
    pub(crate) status: ConnectionStatus,
    pub(crate) code: Option<Code>,
    pub(crate) app_key: Option<AppKey>,
    pub(crate) user_id: Option<UserId>,
    /// Whoever has signed out since, which changes nothing else: there was no connection to end.
    pub(crate) signed_out: Option<String>,
}

impl Default for Ending {
    fn default() -> Self {
        Self {
            status: ConnectionStatus::Unconnected,
            code: None,
            app_key: None,
            user_id: None,
            signed_out: None,
        }
    }
}

impl Ending {
    /// Whether it is none: there has been no connection that this daemon knows of, and nobody has signed out.
    pub(crate) fn is_unknown(&self) -> bool {
        let Self {
            status,
            code,
            app_key,
            user_id: _,
            signed_out,
        } = self;
        let is_blank = *status == ConnectionStatus::Unconnected && code.is_none() && app_key.is_none();
        is_blank && signed_out.is_none()
    }
}

/// A connection that is wanted.
pub(crate) struct Target {
    pub(crate) app_key: AppKey,
    /// `None` until the server has named the user.
    pub(crate) user_id: Option<UserId>,
    pub(crate) tokens: Tokens,
    /// Whether this account has logged in before: its loop then knows no limit.
    pub(crate) verified: bool,
    pub(crate) backoff: Backoff,
    /// How many of the lenient tries have been made since the server last took a token.
    pub(crate) lenient_tries: usize,
    /// Bare EOFs soon after a login, with no longer life between.
    pub(crate) short_lives: u32,
    /// Attempts since the connection was last up, or wanted.
    pub(crate) attempt: u32,
    pub(crate) last_code: Option<Code>,
    pub(crate) protocol: Protocol,
    /// A server has answered a CONNECT in this version of MQTT: it stays.
    pub(crate) spoken: bool,
    /// How often in a row a server has closed on a CONNECT without a word.
    pub(crate) silent_closes: u32,
    /// Which of the configured servers is next: the same, until it fails before the login is through.
    pub(crate) next_server: usize,
    /// The link that is up, or went last, had got through the login.
    pub(crate) reached: bool,
    pub(crate) redirect: Option<Redirect>,
}

/// Where a Server Reference has led.
pub(crate) struct Redirect {
    pub(crate) server: Server,
    pub(crate) hops: u32,
}

impl Target {
    pub(crate) fn new(app_key: AppKey, user_id: Option<UserId>, token: Token, verified: bool) -> Self {
        Self {
            app_key,
            user_id,
            tokens: Tokens::new(Candidate {
                token,
                accepted: verified,
            }),
            verified,
            backoff: Backoff::default(),
            lenient_tries: 0,
            short_lives: 0,
            attempt: 0,
            last_code: None,
            protocol: Protocol::V5,
            spoken: false,
            silent_closes: 0,
            next_server: 0,
            reached: false,
            redirect: None,
        }
    }

    pub(crate) fn account(&self) -> Option<Account> {
        let user_id = self.user_id.clone()?;
        Some(Account {
            app_key: self.app_key.clone(),
            user_id,
        })
    }
}

/// A token and what is known of it.
pub(crate) struct Candidate {
    pub(crate) token: Token,
    /// A server has taken it for this account.
    pub(crate) accepted: bool,
}

/// The token in use, and those that joiners brought, to be tried if it is refused. Never empty.
pub(crate) struct Tokens {
    in_use: Candidate,
    others: VecDeque<Candidate>,
}

/// How many tokens are kept whose callers are not waiting any more.
const SPARE: usize = 8;

impl Tokens {
    fn new(in_use: Candidate) -> Self {
        Self {
            in_use,
            others: VecDeque::new(),
        }
    }

    pub(crate) fn in_use(&self) -> &Candidate {
        &self.in_use
    }

    /// The last one that a CONNACK took; before the first such, the one in use.
    pub(crate) fn to_remember(&self) -> &Token {
        let mut all = std::iter::once(&self.in_use).chain(self.others.iter().rev());
        let accepted = all.find(|candidate| candidate.accepted);
        &accepted.unwrap_or(&self.in_use).token
    }

    pub(crate) fn accept(&mut self) {
        self.in_use.accepted = true;
    }

    /// Whether the tokens hold this one.
    pub(crate) fn contains(&self, token: &Token) -> bool {
        self.in_use.token == *token || self.others.iter().any(|other| other.token == *token)
    }

    /// Adds a joiner's token. The oldest ones that nobody waits for make room.
    pub(crate) fn add(&mut self, candidate: Candidate, is_waited_for: impl Fn(&Token) -> bool) {
        if self.contains(&candidate.token) {
            return;
        }
        self.others.push_back(candidate);
        let mut spare = self
            .others
            .iter()
            .filter(|other| !is_waited_for(&other.token))
            .count();
        self.others.retain(|other| {
            let drop = spare > SPARE && !is_waited_for(&other.token) && !other.accepted;
            spare = spare.saturating_sub(usize::from(drop));
            !drop
        });
    }

    /// Drops the tokens, but the one in use, that `keep` does not want.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Token) -> bool) {
        self.others.retain(|other| keep(&other.token));
    }

    /// Puts the next untried token in use and keeps the present one for later. `false`: there is none.
    pub(crate) fn rotate_to_untried(&mut self) -> bool {
        let Some(at) = self.others.iter().position(|other| !other.accepted) else {
            return false;
        };
        let Some(next) = self.others.remove(at) else {
            return false;
        };
        self.others.push_back(std::mem::replace(&mut self.in_use, next));
        true
    }

    /// Drops the token in use for the next one, an untried one first. `false`: it was the only one.
    pub(crate) fn discard(&mut self) -> bool {
        let untried = self.others.iter().position(|other| !other.accepted);
        let Some(next) = self.others.remove(untried.unwrap_or(0)) else {
            return false;
        };
        self.in_use = next;
        true
    }
}
