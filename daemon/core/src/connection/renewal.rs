//! The token near its end: one of the apps that can bring another is asked, and the next one if that does not.
//!
//! ```text
//!            80 % of the token's life are over
//! Quiet ───────────────────────────────────────▶ Asking ◀──────┐ the next app
//!   ▲                                              │ lease over,│ app gone
//!   │ a token that has longer to live,             ├────────────┘
//!   │ or the connection's end (from anywhere)      │ all have been asked
//!   └───────────────────────────────────────────── Pausing ───▶ Asking, all over again
//! ```
//!
//! Once due, a token stays due: a wall clock that is set to and fro asks nobody twice.

use std::collections::BTreeSet;
use std::time::Duration;

use imd_proto::code::Code;

use super::Core;
use super::backoff::FIRST;
use super::gate::{refuse, subject};
use super::link::{Link, Wait};
use super::target::Want;
use crate::account::{AppKey, Token};
use crate::io::{Action, InstanceId, Refusal, Requester, TokenUpdate};
use crate::jwt::Claims;
use crate::time::{BootTime, Now, UnixTime, Words};

/// How long one app has the question to itself. Near the token's end it has a quarter of what is left.
const LEASE: Duration = Duration::from_secs(30);

/// The pause after all have been asked once. It doubles up to [`LONGEST_PAUSE`]; near the token's end it is half of
/// what is left.
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);

/// No lease and no pause is shorter, and no look at a wall clock that has been set comes sooner after the last.
const SHORTEST: Duration = Duration::from_secs(1);

/// How many apps are known that can bring a token, and asked before the pause.
const MOST: usize = 1024;

/// Who can bring a token, and whose turn it is.
#[derive(Default)]
pub(super) struct Renewal {
    /// In the order in which they said so.
    providers: Vec<(InstanceId, Requester)>,
    watched: Option<Watched>,
    turn: Turn,
    /// Since the last pause ended.
    asked: BTreeSet<InstanceId>,
    /// How often all have been asked.
    rounds: u32,
    /// When the 80 % are over, while somebody is there to be asked.
    due_at: Option<BootTime>,
    /// How it stands, for people to read: it follows the status's reason.
    pub(super) note: Option<String>,
}

/// The token whose end is waited for.
struct Watched {
    token: Token,
    expires: UnixTime,
    due: UnixTime,
    is_due: bool,
}

#[derive(Default)]
enum Turn {
    #[default]
    Quiet,
    /// This app alone has been asked.
    Asking { instance: InstanceId, until: BootTime },
    /// All have been asked.
    Pausing { until: BootTime },
}

impl Renewal {
    /// An app can bring a token.
    pub(super) fn can_provide(&mut self, instance: InstanceId, app: Requester) {
        let is_known = self.providers.iter().any(|(known, _)| *known == instance);
        if !is_known && self.providers.len() < MOST {
            self.providers.push((instance, app));
        }
    }

    /// It cannot any longer, and what it was asked goes to the next.
    pub(super) fn cannot_provide(&mut self, instance: &InstanceId) {
        self.providers.retain(|(known, _)| known != instance);
        self.answered(instance);
    }

    /// Whether with a new token or not: this app has the question no longer.
    fn answered(&mut self, by: &InstanceId) {
        if matches!(&self.turn, Turn::Asking { instance, .. } if instance == by) {
            self.turn = Turn::Quiet;
        }
    }

    pub(super) fn wake_up(&self) -> Option<BootTime> {
        match &self.turn {
            Turn::Quiet => self.due_at,
            Turn::Asking { until, .. } | Turn::Pausing { until } => Some(*until),
        }
    }

    fn watch(&mut self, now: Now, newest: Option<&Token>) {
        if self.watched.as_ref().map(|watched| &watched.token) == newest {
            return;
        }
        self.watched = newest.and_then(|token| {
            let claims = Claims::read(token)?;
            Some(Watched {
                token: token.clone(),
                expires: claims.expires()?,
                due: claims.renewal_due(now.unix)?,
                is_due: false,
            })
        });
        let has_time = self.watched.as_ref().is_none_or(|watched| now.unix < watched.due);
        if has_time {
            self.turn = Turn::Quiet;
            self.asked.clear();
            self.rounds = 0;
        }
    }

    /// Whom to ask now, if anybody, and when the token ends.
    fn next(&mut self, now: Now, newest: Option<&Token>) -> Option<(InstanceId, UnixTime)> {
        self.watch(now, newest);
        self.due_at = None;
        let watched = self.watched.as_mut()?;
        watched.is_due |= now.unix >= watched.due;
        let left = span(now.unix, watched.expires);
        if !watched.is_due {
            if !self.providers.is_empty() {
                self.due_at = Some(now.boot + span(now.unix, watched.due).max(SHORTEST));
            }
            return None;
        }
        let expires = watched.expires;
        match &self.turn {
            Turn::Asking { until, .. } if *until > now.boot => return None,
            Turn::Pausing { until } if *until <= now.boot => self.asked.clear(),
            Turn::Quiet | Turn::Asking { .. } | Turn::Pausing { .. } => {}
        }
        let unasked = self
            .providers
            .iter()
            .find(|(known, _)| !self.asked.contains(known));
        if let Some((instance, app)) = unasked.filter(|_| self.asked.len() < MOST) {
            let end = if left.is_zero() {
                "the token has ended".to_owned()
            } else {
                format!("the token ends in {}", Words(left))
            };
            self.note = Some(format!("{end}: {app} is asked for another one"));
            let instance = instance.clone();
            self.asked.insert(instance.clone());
            self.turn = Turn::Asking {
                instance: instance.clone(),
                until: now.boot + bounded(LEASE, left / 4),
            };
            return Some((instance, expires));
        }
        match &self.turn {
            Turn::Pausing { until } if *until > now.boot => {}
            Turn::Quiet | Turn::Asking { .. } | Turn::Pausing { .. } if self.providers.is_empty() => {
                self.turn = Turn::Quiet;
            }
            Turn::Quiet | Turn::Asking { .. } | Turn::Pausing { .. } => {
                let pause = FIRST_PAUSE
                    .saturating_mul(1 << self.rounds.min(6))
                    .min(LONGEST_PAUSE);
                self.rounds = self.rounds.saturating_add(1);
                self.turn = Turn::Pausing {
                    until: now.boot + bounded(pause, left / 2),
                };
            }
        }
        None
    }
}

/// From one time to a later one; nothing, if it is past.
fn span(from: UnixTime, to: UnixTime) -> Duration {
    let millis = to.as_millis().saturating_sub(from.as_millis());
    Duration::from_millis(u64::try_from(millis).unwrap_or_default())
}

/// `share`: of what the token has left, if it has not ended.
fn bounded(usual: Duration, share: Duration) -> Duration {
    if share.is_zero() {
        usual
    } else {
        share.clamp(SHORTEST, usual)
    }
}

impl Core {
    /// Asks for a token, where that is due.
    pub(super) fn renew_token(&mut self, now: Now) {
        let newest = match &self.want {
            Want::On(target) => target.tokens.newest(),
            Want::Off(_) => None,
        };
        if let Some((instance, expires)) = self.renewal.next(now, newest) {
            self.push(Action::AskForToken { instance, expires });
        }
    }

    /// A new token: the next dial takes it, and the link that is up stays.
    pub(super) fn update_token(&mut self, now: Now, update: TokenUpdate) -> Result<(), Refusal> {
        let TokenUpdate {
            instance,
            app_key,
            token,
            by,
        } = update;
        let app_key = self.app_key_of(instance.as_ref(), app_key)?;
        let Want::On(target) = &mut self.want else {
            return refuse(
                Code::IMD_NO_CONNECTION,
                format!(
                    "no connection is wanted whose token could be changed ({}): connect with the new token",
                    self.reason
                ),
            );
        };
        if target.app_key != app_key {
            return refuse(
                Code::RC_CONNECTION_EXIST,
                format!(
                    "the connection is one of App Key {}, this app's is {app_key}",
                    target.app_key
                ),
            );
        }
        let Some(user_id) = &target.user_id else {
            return refuse(
                Code::IMD_NO_CONNECTION,
                "the server has not said yet whose connection it is, and so not whose token would fit it",
            );
        };
        if let Some(subject) = subject(&token, &app_key)?
            && subject != *user_id
        {
            return refuse(
                Code::RC_CONN_TOKEN_INCORRECT,
                format!("the token is that of the user {subject}, the connection that of {user_id}"),
            );
        }
        target.tokens.update(token.clone());
        if target.tokens.updated().is_some() {
            self.renewal.note = Some(format!("{by} has brought the token for the next login"));
        }
        // A token that has not been tried does not wait for one that was refused.
        match &mut self.link {
            Link::Waiting {
                until,
                why: why @ Wait::Leniency,
            } => {
                *until = (*until).min(now.boot + FIRST);
                *why = Wait::Table;
            }
            Link::Paused { hold } => *hold = hold.filter(|hold| hold.why != Wait::Leniency),
            Link::Idle
            | Link::Opening(_)
            | Link::Waiting { .. }
            | Link::Dialing { .. }
            | Link::LoggingIn { .. }
            | Link::Online { .. }
            | Link::Erasing { .. } => {}
        }
        self.callers.update_token(&token);
        if let Some(instance) = &instance {
            self.renewal.answered(instance);
        }
        self.persist();
        Ok(())
    }

    /// The App Key of whoever calls: that of its Init, or the one the call names.
    fn app_key_of(&self, instance: Option<&InstanceId>, named: Option<AppKey>) -> Result<AppKey, Refusal> {
        let own = instance.and_then(|instance| self.callers.get(instance)?.app_key.clone());
        match (own, named) {
            (Some(own), Some(named)) if own != named => refuse(
                Code::BIZ_ERROR_INVALID_PARAMETER,
                format!("the call names the App Key {named}, Init named {own}"),
            ),
            (Some(app_key), _) | (None, Some(app_key)) => Ok(app_key),
            (None, None) => refuse(Code::RC_CLIENT_NOT_INIT, "UpdateToken was called before Init"),
        }
    }
}
