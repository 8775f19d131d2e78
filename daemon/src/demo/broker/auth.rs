//! Who may connect, under which name, and which topics are theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imd_core::account::{AppKey, DeviceClass, UserId};
use imd_core::time::UnixTime;

use super::jwt;
use super::topic;

const BAD_CLIENT_ID: u8 = 0x85;
const BAD_USER_NAME_OR_PASSWORD: u8 = 0x86;
const NOT_AUTHORIZED: u8 = 0x87;

/// Whether the broker checks anything.
#[derive(Clone)]
pub enum Access {
    /// Everybody may do everything; the user name is taken as it comes.
    Open,
    /// Only the accounts' tokens, each with its own client ids and topics.
    Accounts(Accounts),
}

/// App Keys with their secrets, opaque tokens, and who is in which group. Cheap to clone; every clone is the
/// same table, and a change holds from the next packet on.
#[derive(Clone, Default)]
pub struct Accounts {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    secrets: BTreeMap<String, Vec<u8>>,
    tokens: BTreeMap<String, Holder>,
    /// Members by App Key and group.
    groups: BTreeMap<(String, String), BTreeSet<String>>,
}

#[derive(Clone)]
enum Holder {
    Member { app_key: AppKey, user: UserId },
    Service { name: String },
}

impl Accounts {
    /// Nobody yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes JWTs of this App Key that are signed with this secret.
    pub fn add_app(&self, app_key: &AppKey, secret: &[u8]) {
        self.lock()
            .secrets
            .insert(app_key.as_str().to_owned(), secret.to_vec());
    }

    /// Takes this opaque token as this user's.
    pub fn add_token(&self, token: &str, app_key: &AppKey, user: &UserId) {
        let (app_key, user) = (app_key.clone(), user.clone());
        self.lock()
            .tokens
            .insert(token.to_owned(), Holder::Member { app_key, user });
    }

    /// Takes this password as that of a server-side service, which may use every topic.
    pub fn add_service(&self, name: &str, password: &str) {
        let name = name.to_owned();
        self.lock()
            .tokens
            .insert(password.to_owned(), Holder::Service { name });
    }

    /// Takes an opaque token no longer. A connection that has it stays.
    pub fn remove_token(&self, token: &str) {
        self.lock().tokens.remove(token);
    }

    /// Makes the user a member of the group.
    pub fn join(&self, app_key: &AppKey, group: &str, user: &UserId) {
        self.lock()
            .groups
            .entry((app_key.as_str().to_owned(), group.to_owned()))
            .or_default()
            .insert(user.as_str().to_owned());
    }

    /// Ends a membership: what the group writes from here on no longer comes.
    pub fn leave(&self, app_key: &AppKey, group: &str, user: &UserId) {
        let key = (app_key.as_str().to_owned(), group.to_owned());
        if let Some(members) = self.lock().groups.get_mut(&key) {
            members.remove(user.as_str());
        }
    }

    fn is_member(&self, app_key: &AppKey, group: &str, user: &UserId) -> bool {
        self.lock()
            .groups
            .get(&(app_key.as_str().to_owned(), group.to_owned()))
            .is_some_and(|members| members.contains(user.as_str()))
    }

    fn holder(&self, token: &str, now: UnixTime) -> Result<Holder, Denied> {
        let table = self.lock();
        if let Some(holder) = table.tokens.get(token) {
            return Ok(holder.clone());
        }
        let signed = table
            .secrets
            .iter()
            .filter_map(|(app_key, secret)| jwt::verify(secret, token).map(|claims| (app_key, claims)))
            .find(|(app_key, claims)| claims.app.as_ref().is_none_or(|app| app == *app_key));
        let Some((app_key, claims)) = signed else {
            return Err(Denied {
                code: BAD_USER_NAME_OR_PASSWORD,
                why: "the token is not known",
            });
        };
        if claims.has_expired(now) {
            return Err(Denied {
                code: NOT_AUTHORIZED,
                why: "the token has expired",
            });
        }
        match (AppKey::parse(app_key), UserId::parse(&claims.sub)) {
            (Ok(app_key), Ok(user)) => Ok(Holder::Member { app_key, user }),
            (Err(_), _) | (_, Err(_)) => Err(Denied {
                code: NOT_AUTHORIZED,
                why: "the token names no legal user id",
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a CONNECT is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) code: u8,
    pub(super) why: &'static str,
}

/// Who a connection is, once its CONNECT was accepted.
#[derive(Clone)]
pub(super) enum Identity {
    /// May use every topic.
    Unlimited,
    /// May use a user's topics.
    Member {
        app_key: AppKey,
        user: UserId,
        accounts: Accounts,
    },
    /// Came without a user name to learn its own; may use no topic.
    Discovery { user: UserId },
}

impl Access {
    /// Decides over a CONNECT.
    pub(super) fn admit(
        &self,
        client_id: &str,
        user_name: Option<&str>,
        password: Option<&[u8]>,
        now: UnixTime,
    ) -> Result<Identity, Denied> {
        let accounts = match self {
            Self::Open => return Ok(Identity::Unlimited),
            Self::Accounts(accounts) => accounts,
        };
        let token = password.and_then(|bytes| std::str::from_utf8(bytes).ok());
        let holder = accounts.holder(token.unwrap_or_default(), now)?;
        let wrong_name = Denied {
            code: BAD_USER_NAME_OR_PASSWORD,
            why: "the user name is not the token's",
        };
        match (holder, user_name) {
            (Holder::Service { name }, Some(given)) if name == given => Ok(Identity::Unlimited),
            (Holder::Service { .. }, _) => Err(wrong_name),
            (Holder::Member { user, .. }, None) => Ok(Identity::Discovery { user }),
            (Holder::Member { app_key, user }, Some(given)) => {
                if given != user.as_str() {
                    return Err(wrong_name);
                }
                if !is_own_client_id(client_id, &app_key, &user) {
                    return Err(Denied {
                        code: BAD_CLIENT_ID,
                        why: "the client id is not class:app_key:user of the token's user",
                    });
                }
                Ok(Identity::Member {
                    app_key,
                    user,
                    accounts: accounts.clone(),
                })
            }
        }
    }
}

/// `{class}:{app_key}:{user}`, or with `{class}.{installation}` in front. The user id may have colons in it.
fn is_own_client_id(client_id: &str, app_key: &AppKey, user: &UserId) -> bool {
    let mut parts = client_id.splitn(3, ':');
    let (Some(device), Some(app), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    let class = match device.split_once('.') {
        Some((_, "")) => return false,
        Some((class, _)) => class,
        None => device,
    };
    DeviceClass::parse(class).is_ok() && app == app_key.as_str() && name == user.as_str()
}

impl Identity {
    /// Whether one may have the other's session.
    pub(super) fn is_same_user(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Unlimited, Self::Unlimited) => true,
            (
                Self::Member { app_key, user, .. },
                Self::Member {
                    app_key: other_key,
                    user: other_user,
                    ..
                },
            ) => app_key == other_key && user == other_user,
            (Self::Unlimited | Self::Member { .. } | Self::Discovery { .. }, _) => false,
        }
    }

    /// Whether a PUBLISH under this name is allowed.
    pub(super) fn may_write(&self, name: &str) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Discovery { .. } => false,
            Self::Member {
                app_key,
                user,
                accounts,
            } => {
                let levels: Vec<&str> = name.split('/').collect();
                match levels[..] {
                    ["im", app, kind, first, second] if app == app_key.as_str() => match kind {
                        "u" => second == user.as_str(),
                        "c" => first == user.as_str(),
                        "g" => second == user.as_str() && accounts.is_member(app_key, first, user),
                        _ => false,
                    },
                    _ => false,
                }
            }
        }
    }

    /// Whether a SUBSCRIBE to this filter is allowed; with a name in it, whether that message may be
    /// delivered.
    pub(super) fn may_read(&self, filter: &str) -> bool {
        match self {
            Self::Unlimited => true,
            Self::Discovery { .. } => false,
            Self::Member {
                app_key,
                user,
                accounts,
            } => {
                let mut levels = filter.split('/');
                let group = match (levels.next(), levels.next(), levels.next(), levels.next()) {
                    (Some("im"), Some(_), Some("g"), Some(group)) => Some(group),
                    _ => None,
                };
                if let Some(group) = group {
                    return topic::covers(&format!("im/{app_key}/g/{group}/+"), filter)
                        && accounts.is_member(app_key, group, user);
                }
                [
                    format!("im/{app_key}/u/{user}/+"),
                    format!("im/{app_key}/c/{user}/+"),
                    format!("im/{app_key}/s/{user}"),
                ]
                .iter()
                .any(|pattern| topic::covers(pattern, filter))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);

    fn app() -> AppKey {
        AppKey::parse("K").unwrap()
    }

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn accounts() -> Accounts {
        let accounts = Accounts::new();
        accounts.add_app(&app(), b"secret");
        accounts.add_app(&AppKey::parse("other").unwrap(), b"other secret");
        accounts.add_token("opaque", &app(), &user("alice"));
        accounts.join(&app(), "team", &user("alice"));
        accounts
    }

    fn code(client_id: &str, user_name: Option<&str>, token: &str) -> u8 {
        match Access::Accounts(accounts()).admit(client_id, user_name, Some(token.as_bytes()), NOW) {
            Ok(_) => 0,
            Err(denied) => denied.code,
        }
    }

    fn alice() -> Identity {
        Access::Accounts(accounts())
            .admit("desktop:K:alice", Some("alice"), Some(b"opaque"), NOW)
            .unwrap_or_else(|denied| panic!("{denied:?}"))
    }

    #[test]
    fn each_fault_of_a_connect_has_its_code() {
        let good = jwt::token(b"secret", "K", "alice", 60, NOW);
        let expired = jwt::token(b"secret", "K", "alice", -60, NOW);
        let elsewhere = jwt::token(b"other secret", "other", "alice", 60, NOW);
        let forged = jwt::token(b"other secret", "K", "alice", 60, NOW);
        assert_eq!(code("desktop:K:alice", Some("alice"), &good), 0);
        assert_eq!(code("desktop:K:alice", Some("alice"), "opaque"), 0);
        assert_eq!(code("desktop.0190:K:alice", Some("alice"), &good), 0);
        assert_eq!(code("anything", None, &good), 0);
        assert_eq!(code("desktop:K:alice", Some("alice"), "wrong"), 0x86);
        assert_eq!(code("desktop:K:alice", Some("alice"), &forged), 0x86);
        assert_eq!(code("desktop:K:bob", Some("bob"), &good), 0x86);
        assert_eq!(code("anything", None, "wrong"), 0x86);
        assert_eq!(code("desktop:K:alice", Some("alice"), &expired), 0x87);
        for foreign in [
            "desktop:K:bob",
            "desktop:K:alice2",
            "desktop.:K:alice",
            "desktop.0190:K:bob",
            "desktop:K:alice:0190",
            ":K:alice",
            "desktop:other:alice",
            "alice",
            "",
        ] {
            assert_eq!(code(foreign, Some("alice"), &good), 0x85, "{foreign:?}");
        }
        assert_eq!(code("desktop:K:alice", Some("alice"), &elsewhere), 0x85);
        let no_password = Access::Accounts(accounts()).admit("desktop:K:alice", Some("alice"), None, NOW);
        assert_eq!(no_password.err().map(|denied| denied.code), Some(0x86));
    }

    #[test]
    fn a_user_has_the_topics_of_the_design_and_no_others() {
        let alice = alice();
        for name in ["im/K/u/bob/alice", "im/K/c/alice/desktop", "im/K/g/team/alice"] {
            assert!(alice.may_write(name), "{name}");
        }
        for name in [
            "im/K/u/bob/bob",
            "im/other/u/bob/alice",
            "im/K/c/bob/desktop",
            "im/K/s/bob",
            "im/K/s/alice",
            "im/K/g/team/bob",
            "im/K/g/board/alice",
            "im/K/u/bob/alice/x",
            "x",
        ] {
            assert!(!alice.may_write(name), "{name}");
        }
        for filter in [
            "im/K/u/alice/+",
            "im/K/u/alice/bob",
            "im/K/s/alice",
            "im/K/c/alice/desktop",
            "im/K/c/alice/+",
            "im/K/g/team/+",
        ] {
            assert!(alice.may_read(filter), "{filter}");
        }
        for filter in [
            "#",
            "im/K/#",
            "im/K/u/+/+",
            "im/K/u/bob/+",
            "im/K/s/+",
            "im/other/u/alice/+",
            "im/K/g/board/+",
            "im/K/g/+/+",
            "im/K/g/team/#",
        ] {
            assert!(!alice.may_read(filter), "{filter}");
        }
    }

    #[test]
    fn leaving_a_group_ends_reading_and_writing_at_once() {
        let accounts = accounts();
        let access = Access::Accounts(accounts.clone());
        let Ok(alice) = access.admit("desktop:K:alice", Some("alice"), Some(b"opaque"), NOW) else {
            panic!("refused");
        };
        accounts.leave(&app(), "team", &user("alice"));
        assert!(!alice.may_write("im/K/g/team/alice"));
        assert!(!alice.may_read("im/K/g/team/bob"));
    }

    #[test]
    fn who_came_to_learn_its_name_may_use_no_topic() {
        let access = Access::Accounts(accounts());
        let Ok(Identity::Discovery { user }) = access.admit("x", None, Some(b"opaque"), NOW) else {
            panic!("not taken as a discovery");
        };
        assert_eq!(user.as_str(), "alice");
        let identity = Identity::Discovery { user };
        assert!(!identity.may_write("im/K/u/bob/alice") && !identity.may_read("im/K/u/alice/+"));
    }
}
