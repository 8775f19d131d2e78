//! What can happen, as one enum, and how often each of it does.

use std::time::Duration;

use imd_core::account::{AppKey, Token, UserId};
use imd_core::io::FaultKind;

/// How many app instances there are.
pub(crate) const APPS: usize = 4;

/// What one step of a case does. A step that has no meaning where it comes (an answer where nobody asked)
/// does nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transition {
    Init(App, Key),
    Connect(Wish),
    /// The library issues its last connect once more, as after a re-bind. `honest`: it says truly whether
    /// it heard onDatabaseOpened, and that it had its outcome; else it says neither.
    Reissue {
        app: App,
        honest: bool,
    },
    /// `bound`: it says for which instance; else the call names its App Key.
    UpdateToken {
        app: App,
        secret: Secret,
        bound: bool,
    },
    /// The app can bring a new token from here on, or cannot.
    Provides {
        app: App,
        can: bool,
    },
    Disconnect(App),
    Logout(App),
    Unbound(App),
    /// The server does the next thing, whatever the link waits for.
    Server(Reply),
    /// From here on the server takes everything on this link and says nothing.
    HalfOpen,
    /// Something comes from a link that has ended.
    Stale(Leftover),
    /// How databases open from here on.
    Databases(Opening),
    /// What is still being opened is open, or not.
    Opened {
        well: bool,
    },
    /// The daemon dies without a word and is started again. `rebind`: the apps are back at once.
    Restart {
        rebind: bool,
    },
    /// As [`Transition::Restart`], but in the middle of the next actions: this many are still done.
    CrashAfter(usize),
    Stop,
    /// The next wake-ups, each at its time.
    Wake(usize),
    /// Time passes, and nobody tells the core: the next input comes late.
    Pass(Duration),
    /// One wake-up after this long, however many were due.
    Late(Duration),
    /// The machine is about to sleep.
    Sleeping,
    Resumed {
        asleep: Duration,
    },
    NetworkChanged,
    Network {
        available: bool,
    },
    /// Whether the disk is full.
    StorageFull(bool),
    /// Somebody sets the wall clock.
    WallClock {
        minutes: i64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct App(pub usize);

/// The App Keys; one has its server on this machine, the last one has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Demo,
    Other,
    Local,
    Unserved,
}

impl Key {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Demo => "demo",
            Self::Other => "other",
            Self::Local => "local",
            Self::Unserved => "unserved",
        }
    }

    pub(crate) fn parse(self) -> Result<AppKey, String> {
        AppKey::parse(self.text()).map_err(|invalid| invalid.text)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Person {
    Alice,
    Bob,
    Carol,
}

impl Person {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
            Self::Carol => "carol",
        }
    }

    pub(crate) fn parse(self) -> Result<UserId, String> {
        UserId::parse(self.text()).map_err(|invalid| invalid.text)
    }
}

/// A connect as an app makes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) app: App,
    pub(crate) secret: Secret,
    pub(crate) user: Option<Person>,
    /// In seconds, as in the page: at most 0 is without a limit.
    pub(crate) limit: i64,
    /// Init and connect in one call.
    pub(crate) one_call: Option<Key>,
}

/// The tokens there are. Whose they are is what the server knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secret {
    JwtAlice,
    JwtAliceOfDemo,
    JwtAliceShortLived,
    JwtBob,
    JwtExpired,
    JwtIllegalUser,
    OpaqueAlice,
    OpaqueAliceToo,
    OpaqueBob,
    OpaqueNobody,
}

impl Secret {
    /// When the short-lived one ends, in seconds since 1970: two hours after a case begins.
    pub(crate) const SHORT_LIFE_ENDS: i64 = super::world::EPOCH_SECONDS + 7_200;

    pub(crate) const ALL: [Self; 10] = [
        Self::JwtAlice,
        Self::JwtAliceOfDemo,
        Self::JwtAliceShortLived,
        Self::JwtBob,
        Self::JwtExpired,
        Self::JwtIllegalUser,
        Self::OpaqueAlice,
        Self::OpaqueAliceToo,
        Self::OpaqueBob,
        Self::OpaqueNobody,
    ];

    /// `sub`, `app` and `exp`, where it is a JWT.
    pub(crate) fn claims(self) -> Option<(&'static str, Option<Key>, Option<i64>)> {
        match self {
            Self::JwtAlice => Some(("alice", None, None)),
            Self::JwtAliceOfDemo => Some(("alice", Some(Key::Demo), Some(4_000_000_000))),
            Self::JwtAliceShortLived => Some(("alice", None, Some(Self::SHORT_LIFE_ENDS))),
            Self::JwtBob => Some(("bob", None, Some(4_000_000_000))),
            Self::JwtExpired => Some(("alice", None, Some(1_000_000_000))),
            Self::JwtIllegalUser => Some(("al/ice", None, None)),
            Self::OpaqueAlice | Self::OpaqueAliceToo | Self::OpaqueBob | Self::OpaqueNobody => None,
        }
    }

    /// Whose it is, if the server takes it.
    pub(crate) fn owner(self) -> Option<Person> {
        match self {
            Self::JwtAlice
            | Self::JwtAliceOfDemo
            | Self::JwtAliceShortLived
            | Self::JwtExpired
            | Self::OpaqueAlice
            | Self::OpaqueAliceToo => Some(Person::Alice),
            Self::JwtBob | Self::OpaqueBob => Some(Person::Bob),
            Self::JwtIllegalUser | Self::OpaqueNobody => None,
        }
    }

    pub(crate) fn token(self) -> Result<Token, String> {
        let text = match self.claims() {
            Some((sub, app, exp)) => {
                let app = app.map_or_else(String::new, |key| format!(r#","app":"{}""#, key.text()));
                let exp = exp.map_or_else(String::new, |exp| format!(r#","exp":{exp}"#));
                let payload = format!(r#"{{"sub":"{sub}"{app}{exp}}}"#);
                format!("{}.{}.{self:?}", base64(r#"{"alg":"HS256"}"#), base64(&payload))
            }
            None => format!("{self:?}"),
        };
        Token::parse(text).map_err(|invalid| invalid.text)
    }

    pub(crate) fn of(token: &Token) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|secret| token.reveal().ends_with(&format!("{secret:?}")) && secret.is(token))
    }

    fn is(self, token: &Token) -> bool {
        self.token().is_ok_and(|own| own == *token)
    }
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

/// What the server does next, for each thing a link may wait for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    /// Not the first of the servers that are dialled answers, but the next one.
    pub(crate) fellow: bool,
    pub(crate) dialing: Connack,
    pub(crate) logging_in: LoginStep,
    pub(crate) online: OnlineStep,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Connack {
    /// By whose the token is, and whether it has expired. `names`: with `im-user-id`.
    Honest {
        names: bool,
        session_present: bool,
    },
    /// Success, whatever the token.
    Accept {
        user: Option<&'static str>,
        keep_alive: Option<u64>,
        im_code: Option<i32>,
    },
    Refuse(Words),
    Fail(FaultKind),
    Silence,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum LoginStep {
    LoggedIn,
    LoginRefused,
    MarkerReturned,
    MarkerFound,
    GroupRefused,
    Received,
    Disconnect(Words),
    Fail(FaultKind),
    Silence,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum OnlineStep {
    Received {
        messages: bool,
    },
    MarkerReturned,
    MarkerFound,
    GroupRefused,
    /// The oldest packet without an acknowledgement is this old; `None`: all are acknowledged.
    Unacknowledged(Option<Duration>),
    Disconnect(Words),
    Fail(FaultKind),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Words {
    pub(crate) reason: u8,
    pub(crate) im_code: Option<i32>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) reference: Option<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Leftover {
    Accepted,
    Refused,
    LoggedIn,
    LoginRefused,
    MarkerReturned,
    Received,
    Unacknowledged,
    Kicked,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    AtOnce,
    Failing,
    Later,
}
