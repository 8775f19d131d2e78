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
                standing: if verified {
                    Standing::Accepted
                } else {
                    Standing::Untried
                },
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
    pub(crate) standing: Standing,
}

/// What is known of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A connect brought it, and no server has answered to it yet.
    Untried,
    /// UpdateToken brought it, and no server has answered to it yet.
    Updated,
    /// A server has taken it for this account.
    Accepted,
    /// A server has taken it, and has refused it since.
    Doubted,
}

impl Standing {
    /// Whether a server has taken it for this account.
    pub(crate) const fn was_accepted(self) -> bool {
        match self {
            Self::Untried | Self::Updated => false,
            Self::Accepted | Self::Doubted => true,
        }
    }
}

/// The token in use, the one that takes its place with the next dial, and those that are tried if it is refused.
/// Never empty.
pub(crate) struct Tokens {
    in_use: Candidate,
    /// Brought by UpdateToken.
    updated: Option<Candidate>,
    others: VecDeque<Candidate>,
}

/// How many tokens are kept whose callers are not waiting any more.
const SPARE: usize = 8;

impl Tokens {
    fn new(in_use: Candidate) -> Self {
        Self {
            in_use,
            updated: None,
            others: VecDeque::new(),
        }
    }

    pub(crate) fn in_use(&self) -> &Candidate {
        &self.in_use
    }

    fn all(&self) -> impl Iterator<Item = &Candidate> {
        std::iter::once(&self.in_use)
            .chain(&self.updated)
            .chain(self.others.iter().rev())
    }

    /// The last one that a CONNACK took. Where there is none, or none any more: one that a connect brought, else the
    /// newest that UpdateToken did.
    pub(crate) fn to_remember(&self) -> &Token {
        let accepted = self.all().find(|candidate| candidate.standing.was_accepted());
        let brought = || {
            self.all()
                .find(|candidate| candidate.standing != Standing::Updated)
        };
        let newest = || self.updated.as_ref().unwrap_or(&self.in_use);
        &accepted.or_else(brought).unwrap_or_else(newest).token
    }

    /// The one that UpdateToken brought last, until a server has answered to it; `None` too where it is the one to
    /// be remembered anyway.
    pub(crate) fn updated(&self) -> Option<&Token> {
        let untried = || {
            self.all()
                .find(|candidate| candidate.standing == Standing::Updated)
        };
        let updated = &self.updated.as_ref().or_else(untried)?.token;
        (updated != self.to_remember()).then_some(updated)
    }

    /// The newest that a server has taken or UpdateToken has brought: its end is worth a word.
    pub(crate) fn newest(&self) -> Option<&Token> {
        let newest = self.updated.as_ref().unwrap_or(&self.in_use);
        (newest.standing != Standing::Untried).then_some(&newest.token)
    }

    /// The server has taken the one in use. One that UpdateToken brought puts an end to those before it.
    pub(crate) fn accept(&mut self) {
        if self.in_use.standing == Standing::Updated {
            self.others.retain(|other| !other.standing.was_accepted());
        }
        self.in_use.standing = Standing::Accepted;
    }

    /// The server has refused the one in use, which it took before.
    pub(crate) fn doubt(&mut self) {
        if self.in_use.standing.was_accepted() {
            self.in_use.standing = Standing::Doubted;
        }
    }

    /// Whether the tokens hold this one.
    pub(crate) fn contains(&self, token: &Token) -> bool {
        self.all().any(|candidate| candidate.token == *token)
    }

    /// Adds a joiner's token. The oldest ones that nobody waits for make room.
    pub(crate) fn add(&mut self, token: Token, is_waited_for: impl Fn(&Token) -> bool) {
        if self.contains(&token) {
            return;
        }
        self.others.push_back(Candidate {
            token,
            standing: Standing::Untried,
        });
        let mut spare = self
            .others
            .iter()
            .filter(|other| !is_waited_for(&other.token))
            .count();
        self.others.retain(|other| {
            let drop = spare > SPARE && !is_waited_for(&other.token) && !other.standing.was_accepted();
            spare = spare.saturating_sub(usize::from(drop));
            !drop
        });
    }

    /// A token for the next dial. It takes the place of one that was brought so before and has not been sent yet.
    pub(crate) fn update(&mut self, token: Token) {
        if let Some(before) = self.updated.take() {
            self.set_aside(before);
        }
        if self.in_use.token == token {
            return;
        }
        let known = self.others.iter().position(|other| other.token == token);
        let known = known.and_then(|at| self.others.remove(at));
        self.updated = Some(known.unwrap_or(Candidate {
            token,
            standing: Standing::Updated,
        }));
    }

    /// A dial begins: what UpdateToken brought is in use from here on. The one before is kept for the case that it is
    /// refused.
    pub(crate) fn promote(&mut self) {
        if let Some(updated) = self.updated.take() {
            let before = std::mem::replace(&mut self.in_use, updated);
            self.set_aside(before);
        }
    }

    /// Keeps a token for later, unless it was brought in place of others and has been replaced itself.
    fn set_aside(&mut self, candidate: Candidate) {
        match candidate.standing {
            Standing::Updated => {}
            Standing::Untried | Standing::Accepted | Standing::Doubted => self.others.push_back(candidate),
        }
    }

    /// Drops the tokens that connects brought, but the one in use, where `keep` does not want them.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Token) -> bool) {
        self.others.retain(|other| keep(&other.token));
    }

    /// Puts the next untried token in use and keeps the present one, which was refused, for later. `false`: there
    /// is none.
    pub(crate) fn rotate_to_untried(&mut self) -> bool {
        let Some(next) = self.take_untried() else {
            return false;
        };
        self.doubt();
        self.others.push_back(std::mem::replace(&mut self.in_use, next));
        true
    }

    /// Drops the token in use for the next one: an untried one first, then the newest of those that were taken and
    /// not refused since. `false`: it was the only one.
    pub(crate) fn discard(&mut self) -> bool {
        let next = self.take_untried().or_else(|| {
            let good = self
                .others
                .iter()
                .rposition(|other| other.standing == Standing::Accepted);
            good.and_then(|at| self.others.remove(at))
                .or_else(|| self.others.pop_front())
        });
        let Some(next) = next else {
            return false;
        };
        self.in_use = next;
        true
    }

    fn take_untried(&mut self) -> Option<Candidate> {
        if let Some(updated) = self.updated.take() {
            return Some(updated);
        }
        let at = self
            .others
            .iter()
            .position(|other| !other.standing.was_accepted())?;
        self.others.remove(at)
    }
}
