//! How often each thing happens, and what happens in a row.

use std::time::Duration;

use imd_core::Code;
use imd_core::io::FaultKind;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::transition::{
    APPS, App, Connack, Key, Leftover, LoginStep, OnlineStep, Opening, Person, Reply, Secret, Transition,
    Wish, Words,
};

/// A case: what happens, in order.
pub(crate) fn case() -> impl Strategy<Value = Vec<Transition>> {
    (opening(), vec(stretch(), 1..40)).prop_map(|(mut all, rest)| {
        all.extend(rest.into_iter().flatten());
        all
    })
}

/// Most cases begin as most days do, so that the rest happens to a connection that somebody wants.
fn opening() -> impl Strategy<Value = Vec<Transition>> {
    let all_init = || {
        (0..APPS)
            .map(|app| Transition::Init(App(app), Key::Demo))
            .collect::<Vec<_>>()
    };
    let first = |wish: Wish| {
        Transition::Connect(Wish {
            one_call: None,
            ..wish
        })
    };
    prop_oneof![
        1 => Just(Vec::new()),
        3 => wish().prop_map(move |wish| {
            let mut all = all_init();
            all.push(first(wish));
            all
        }),
        3 => (wish(), select(&[Secret::OpaqueAlice, Secret::JwtAlice][..])).prop_map(move |(wish, secret)| {
            let mut all = all_init();
            all.push(first(Wish { secret, user: None, ..wish }));
            all.extend(come_up());
            all
        }),
    ]
}

/// What the server does when all is well, until the link is up; one more for a discovery.
fn come_up() -> [Transition; 3] {
    [Transition::Server(WELL); 3]
}

/// Days that chance seldom makes: the network goes and comes while the loop holds back, because somebody else
/// seems to have signed in.
pub(crate) fn rare_days() -> Vec<Vec<Transition>> {
    let wish = Wish {
        app: App(0),
        secret: Secret::JwtAlice,
        user: None,
        limit: 0,
        one_call: None,
    };
    let eof = Reply {
        online: OnlineStep::Fail(FaultKind::BareEof),
        ..WELL
    };
    let mut day = vec![Transition::Init(App(0), Key::Demo), Transition::Connect(wish)];
    for _ in 0..3 {
        day.extend(come_up());
        day.extend([Transition::Server(eof), Transition::Wake(1)]);
    }
    day.extend(come_up());
    day.push(Transition::Server(eof));
    day.extend([false, true].map(|available| Transition::Network { available }));
    vec![day]
}

const WELL: Reply = Reply {
    fellow: false,
    dialing: Connack::Honest {
        names: true,
        session_present: true,
    },
    logging_in: LoginStep::LoggedIn,
    online: OnlineStep::Received { messages: false },
};

fn doubts() -> impl Strategy<Value = Transition> {
    prop_oneof![
        Just(Transition::NetworkChanged),
        Just(Transition::Network { available: false }),
        (0_u64..40_000).prop_map(|asleep| Transition::Resumed {
            asleep: Duration::from_millis(asleep)
        }),
        (0_u64..40_000).prop_map(|span| Transition::Pass(Duration::from_millis(span))),
    ]
}

/// One transition, or several of one kind in a row: what only shows when a thing happens again and again.
fn stretch() -> impl Strategy<Value = Vec<Transition>> {
    let several = |one: Vec<Transition>, times: usize| one.repeat(times);
    let dialing = |dialing: Connack| Transition::Server(Reply { dialing, ..WELL });
    let next = Transition::Wake(1);
    prop_oneof![
        40 => transition().prop_map(|transition| vec![transition]),
        4 => Just([Transition::Wake(1)].into_iter().chain(come_up()).collect()),
        // Failures in a row.
        1 => (select(&FAULTS[..]), 1_usize..13)
            .prop_map(move |(kind, times)| several(vec![dialing(Connack::Fail(kind)), next], times)),
        // A token that was good is refused, again and again.
        2 => (select(&[0x86_u8, 0x87, 0x8c, 0x95][..]), 1_usize..6).prop_map(move |(reason, times)| {
            let mut all = vec![Transition::Server(Reply { online: OnlineStep::Fail(FaultKind::Io), ..WELL }), next];
            all.extend(several(vec![dialing(Connack::Refuse(words(reason))), next], times));
            all
        }),
        // Somebody else signs in under the same client id.
        1 => (0_u64..160, 2_usize..6).prop_map(move |(seconds, times)| {
            let mut all = vec![next];
            all.extend(come_up());
            all.push(Transition::Pass(Duration::from_secs(seconds)));
            all.push(Transition::Server(Reply { online: OnlineStep::Fail(FaultKind::BareEof), ..WELL }));
            several(all, times)
        }),
        // From server to server.
        1 => (elsewhere(), 1_usize..9)
            .prop_map(move |(words, times)| several(vec![dialing(Connack::Refuse(words))], times)),
        // A link that is dead, and news that cast doubt on it.
        1 => doubts().prop_map(move |doubt| {
            let mut all = vec![next];
            all.extend(come_up());
            all.extend([Transition::HalfOpen, doubt, next, next, next]);
            all
        }),
        // Several apps at once.
        2 => vec(wish(), 2..4).prop_map(|wishes| wishes.into_iter().map(Transition::Connect).collect()),
    ]
}

fn transition() -> impl Strategy<Value = Transition> {
    prop_oneof![
        3 => (app(), key()).prop_map(|(app, key)| Transition::Init(app, key)),
        8 => wish().prop_map(Transition::Connect),
        2 => (app(), any::<bool>()).prop_map(|(app, honest)| Transition::Reissue { app, honest }),
        2 => (app(), select(&Secret::ALL[..]), any::<bool>())
            .prop_map(|(app, secret, bound)| Transition::UpdateToken { app, secret, bound }),
        3 => (app(), prop::bool::weighted(0.7)).prop_map(|(app, can)| Transition::Provides { app, can }),
        1 => app().prop_map(Transition::Disconnect),
        1 => app().prop_map(Transition::Logout),
        1 => app().prop_map(Transition::Unbound),
        24 => reply().prop_map(Transition::Server),
        1 => Just(Transition::HalfOpen),
        2 => leftover().prop_map(Transition::Stale),
        1 => select(&[Opening::AtOnce, Opening::AtOnce, Opening::Failing, Opening::Later][..])
            .prop_map(Transition::Databases),
        2 => prop::bool::weighted(0.8).prop_map(|well| Transition::Opened { well }),
        1 => any::<bool>().prop_map(|rebind| Transition::Restart { rebind }),
        1 => (0_usize..6).prop_map(Transition::CrashAfter),
        1 => Just(Transition::Stop),
        12 => (1_usize..8).prop_map(Transition::Wake),
        3 => span().prop_map(Transition::Pass),
        2 => span().prop_map(Transition::Late),
        1 => span().prop_map(|asleep| Transition::Resumed { asleep }),
        1 => Just(Transition::Sleeping),
        1 => Just(Transition::NetworkChanged),
        2 => any::<bool>().prop_map(|available| Transition::Network { available }),
        1 => any::<bool>().prop_map(Transition::StorageFull),
        1 => (-200_i64..200).prop_map(|minutes| Transition::WallClock { minutes }),
    ]
}

fn app() -> impl Strategy<Value = App> {
    (0..APPS).prop_map(App)
}

fn key() -> impl Strategy<Value = Key> {
    select(
        &[
            Key::Demo,
            Key::Demo,
            Key::Demo,
            Key::Demo,
            Key::Other,
            Key::Local,
            Key::Unserved,
        ][..],
    )
}

fn wish() -> impl Strategy<Value = Wish> {
    let user = select(
        &[
            None,
            None,
            None,
            Some(Person::Alice),
            Some(Person::Alice),
            Some(Person::Bob),
            Some(Person::Carol),
        ][..],
    );
    let limit = select(&[-1_i64, 0, 0, 1, 5, 30, 120][..]);
    let one_call = prop_oneof![5 => Just(None), 1 => key().prop_map(Some)];
    (app(), select(&Secret::ALL[..]), user, limit, one_call).prop_map(
        |(app, secret, user, limit, one_call)| Wish {
            app,
            secret,
            user,
            limit,
            one_call,
        },
    )
}

fn span() -> impl Strategy<Value = Duration> {
    let seconds = |seconds: u64| Duration::from_secs(seconds);
    prop_oneof![
        6 => (0_u64..2_000).prop_map(Duration::from_millis),
        6 => (0_u64..200_000).prop_map(Duration::from_millis),
        2 => select(vec![seconds(20), seconds(30), seconds(64), seconds(150), seconds(3_600)]),
        1 => (1_u64..72).prop_map(move |hours| seconds(hours * 3_600)),
    ]
}

fn reply() -> impl Strategy<Value = Reply> {
    (any::<bool>(), connack(), login_step(), online_step()).prop_map(
        |(fellow, dialing, logging_in, online)| Reply {
            fellow,
            dialing,
            logging_in,
            online,
        },
    )
}

fn connack() -> impl Strategy<Value = Connack> {
    let user = select(&[None, None, Some("alice"), Some("alice"), Some("bob"), Some("a/b")][..]);
    let keep_alive = select(&[None, Some(0), Some(20), Some(60)][..]);
    let im_code = select(
        &[
            None,
            None,
            None,
            None,
            None,
            Some(Code::RC_CONN_TOKEN_INCORRECT.0),
            Some(Code::RC_CONN_APP_BLOCKED_OR_DELETED.0),
            Some(Code::RC_CONN_NOT_AUTHRORIZED.0),
            Some(Code::RC_CONN_SERVER_UNAVAILABLE.0),
            Some(31_099),
        ][..],
    );
    prop_oneof![
        14 => (prop::bool::weighted(0.8), prop::bool::weighted(0.8))
            .prop_map(|(names, session_present)| Connack::Honest { names, session_present }),
        2 => (user, keep_alive, im_code)
            .prop_map(|(user, keep_alive, im_code)| Connack::Accept { user, keep_alive, im_code }),
        5 => refusal().prop_map(Connack::Refuse),
        4 => select(&FAULTS[..]).prop_map(Connack::Fail),
        1 => Just(Connack::Fail(FaultKind::Proxy)),
        1 => Just(Connack::Silence),
    ]
}

const FAULTS: [FaultKind; 12] = [
    FaultKind::NameNotResolved,
    FaultKind::ConnectionRefused,
    FaultKind::Unreachable,
    FaultKind::BareEof,
    FaultKind::Io,
    FaultKind::Protocol,
    FaultKind::Certificate,
    FaultKind::Tls,
    FaultKind::NavUnreachable,
    FaultKind::NavSilent,
    FaultKind::NavRefused,
    FaultKind::NavMalformed,
];

fn words(reason: u8) -> Words {
    Words {
        reason,
        im_code: None,
        retry_after: None,
        reference: None,
    }
}

/// Every row of the verdict table, and numbers that are in none.
fn refusal() -> impl Strategy<Value = Words> {
    prop_oneof![
        3 => select(&[0x86_u8, 0x87, 0x8c, 0x95][..]).prop_map(words),
        2 => Just(words(0x84)),
        1 => Just(words(0x85)),
        1 => Just(words(0x8a)),
        3 => (select(&[0x88_u8, 0x89, 0x97, 0x9f, 0x80, 0x83, 0xfe][..]), hint(), unknown_number()).prop_map(
            |(reason, retry_after, im_code)| Words { retry_after, im_code, ..words(reason) }
        ),
        2 => elsewhere(),
        2 => im_code(),
    ]
}

fn disconnect() -> impl Strategy<Value = Words> {
    prop_oneof![
        2 => Just(words(0x8e)),
        4 => (select(&[0x00_u8, 0x80, 0x87, 0x89, 0x8b, 0x8d, 0x93, 0x95, 0x98][..]), hint(), unknown_number())
            .prop_map(|(reason, retry_after, im_code)| Words { retry_after, im_code, ..words(reason) }),
        1 => elsewhere(),
        2 => im_code(),
    ]
}

fn hint() -> impl Strategy<Value = Option<u64>> {
    select(
        &[
            None,
            None,
            None,
            Some(0),
            Some(3),
            Some(45),
            Some(200),
            Some(100_000),
        ][..],
    )
}

/// An `im-code` that ends nothing: of a looping row, or of no row.
fn unknown_number() -> impl Strategy<Value = Option<i32>> {
    select(
        &[
            None,
            None,
            None,
            Some(Code::CONNECT_OVER_FREQUENCY.0),
            Some(31_099),
            Some(-77),
        ][..],
    )
}

/// An `im-code` that ends the connection, whatever the reason code beside it.
fn im_code() -> impl Strategy<Value = Words> {
    let codes = select(
        &[
            Code::RC_CONN_TOKEN_INCORRECT,
            Code::RC_CONN_TOKEN_EXPIRE,
            Code::RC_CONN_NOT_AUTHRORIZED,
            Code::RC_CONN_APP_BLOCKED_OR_DELETED,
            Code::RC_CONN_USER_BLOCKED,
            Code::RC_DISCONN_KICK,
            Code::RC_DISCONN_EXCEPTION,
            Code::RC_DISCONN_SAME_CLIENT_ON_LINE,
            Code::RC_OTP_USED,
            Code::RC_LICENSE_EXPIRED,
        ][..],
    );
    (codes, select(&[0x80_u8, 0x87, 0x88, 0x89][..])).prop_map(|(code, reason)| Words {
        im_code: Some(code.0),
        ..words(reason)
    })
}

fn elsewhere() -> impl Strategy<Value = Words> {
    let references = select(
        &[
            Some("two.example"),
            Some("two.example:99"),
            Some("three.example"),
            Some("mqtt://evil/x"),
            None,
        ][..],
    );
    (select(&[0x9c_u8, 0x9d][..]), references).prop_map(|(reason, reference)| Words {
        reference,
        ..words(reason)
    })
}

fn login_step() -> impl Strategy<Value = LoginStep> {
    prop_oneof![
        16 => Just(LoginStep::LoggedIn),
        1 => Just(LoginStep::LoginRefused),
        1 => Just(LoginStep::MarkerReturned),
        1 => Just(LoginStep::MarkerFound),
        1 => Just(LoginStep::GroupRefused),
        1 => Just(LoginStep::Received),
        1 => disconnect().prop_map(LoginStep::Disconnect),
        2 => select(&FAULTS[..]).prop_map(LoginStep::Fail),
        1 => Just(LoginStep::Silence),
    ]
}

fn online_step() -> impl Strategy<Value = OnlineStep> {
    prop_oneof![
        4 => any::<bool>().prop_map(|messages| OnlineStep::Received { messages }),
        4 => Just(OnlineStep::MarkerReturned),
        1 => Just(OnlineStep::MarkerFound),
        1 => Just(OnlineStep::GroupRefused),
        1 => (0_u64..20_000).prop_map(|age| OnlineStep::Unacknowledged(Some(Duration::from_millis(age)))),
        1 => Just(OnlineStep::Unacknowledged(None)),
        4 => disconnect().prop_map(OnlineStep::Disconnect),
        4 => select(&FAULTS[3..]).prop_map(OnlineStep::Fail),
        3 => Just(OnlineStep::Fail(FaultKind::BareEof)),
    ]
}

fn leftover() -> impl Strategy<Value = Leftover> {
    select(
        &[
            Leftover::Accepted,
            Leftover::Refused,
            Leftover::LoggedIn,
            Leftover::LoginRefused,
            Leftover::MarkerReturned,
            Leftover::Received,
            Leftover::Unacknowledged,
            Leftover::Kicked,
            Leftover::Failed,
        ][..],
    )
}
