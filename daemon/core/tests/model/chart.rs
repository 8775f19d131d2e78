//! The chart of the status, `docs/status.svg`, made from what the core does: random days of the model, and
//! every change of the status with what brought it about.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use imd_core::WakeUp;
use imd_core::io::{ConnectionStatus, Input, LinkEvent, Network, Request, Status};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::drawing::draw;
use crate::strategy;
use crate::world::World;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/status.svg");

/// So many days that even the rarest change happens in a few of them.
const DAYS: u64 = 10_000;

/// "use another server" and "server moved" of the standard.
const MOVED: [u8; 2] = [0x9C, 0x9D];

/// What brings a change about, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Connect,
    SignOut,
    LoggedIn,
    NextAttempt,
    Fault,
    Verdict,
    Moved,
    NoNetwork,
    Network,
    Sleep,
    TimeLimit,
    Database,
    Start,
}

/// A change: from one status (none before the daemon's first) to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    /// Android's numbers, because they have an order.
    pub(crate) from: Option<i32>,
    pub(crate) to: i32,
}

/// What changes happen, and why.
pub(crate) type Edges = BTreeMap<Edge, BTreeSet<Cause>>;

/// Watches one input and what follows from it.
pub(crate) struct Look {
    /// `None`: two things fall together, and which of them did it cannot be told.
    cause: Option<Cause>,
    before: Option<i32>,
}

impl Look {
    pub(crate) fn begin(input: &Input, due: Option<WakeUp>, before: Option<&Status>) -> Self {
        let is_wake_up = matches!(input, Input::Timeout);
        Self {
            cause: (is_wake_up || due.is_none()).then(|| cause(input, due)),
            before: before.map(|status| status.status.number()),
        }
    }

    pub(crate) fn published(&mut self, status: &Status, edges: &mut Edges) {
        let to = status.status.number();
        let from = self.before.replace(to);
        if let Some(cause) = self.cause
            && from != Some(to)
        {
            edges
                .entry(Edge { from, to })
                .or_default()
                .insert(settled(cause, status.status));
        }
    }
}

/// The cause in the light of what came of it: wake-ups may fall together, and what the server says may end the
/// connection or only the attempt.
fn settled(cause: Cause, status: ConnectionStatus) -> Cause {
    let is_wake_up = matches!(cause, Cause::NextAttempt | Cause::TimeLimit);
    match status {
        ConnectionStatus::Timeout if is_wake_up || cause == Cause::Fault => Cause::TimeLimit,
        // What a token says may speak against it before the server is asked again.
        ConnectionStatus::TokenIncorrect if is_wake_up => Cause::Verdict,
        ConnectionStatus::Connecting if is_wake_up => Cause::NextAttempt,
        ConnectionStatus::Suspend | ConnectionStatus::NetworkUnavailable
            if is_wake_up || matches!(cause, Cause::Verdict | Cause::Moved) =>
        {
            Cause::Fault
        }
        ConnectionStatus::NetworkUnavailable
        | ConnectionStatus::Connected
        | ConnectionStatus::Connecting
        | ConnectionStatus::Unconnected
        | ConnectionStatus::KickedOfflineByOtherClient
        | ConnectionStatus::TokenIncorrect
        | ConnectionStatus::ConnUserBlocked
        | ConnectionStatus::SignOut
        | ConnectionStatus::Suspend
        | ConnectionStatus::Timeout
        | ConnectionStatus::ProxyUnavailable => cause,
    }
}

fn cause(input: &Input, due: Option<WakeUp>) -> Cause {
    match input {
        Input::Start { .. } => Cause::Start,
        Input::Call { request, .. } => match request {
            Request::Init { .. } | Request::Connect(_) | Request::UpdateToken(_) => Cause::Connect,
            Request::Disconnect { .. } | Request::Logout { .. } => Cause::SignOut,
        },
        Input::Unbound { .. } | Input::TokenProvider { .. } | Input::NoTokenProvider { .. } | Input::Stop => {
            Cause::SignOut
        }
        Input::AccountOpened { .. } | Input::StorageFull(_) => Cause::Database,
        Input::Link { event, .. } => match event {
            LinkEvent::LoggedIn => Cause::LoggedIn,
            LinkEvent::ServerDisconnect(words) | LinkEvent::Refused(words)
                if MOVED.contains(&words.reason) =>
            {
                Cause::Moved
            }
            LinkEvent::Reached { .. }
            | LinkEvent::Accepted(_)
            | LinkEvent::Refused(_)
            | LinkEvent::LoginRefused { .. }
            | LinkEvent::ServerDisconnect(_) => Cause::Verdict,
            LinkEvent::GroupRefused { .. }
            | LinkEvent::MarkerFound { .. }
            | LinkEvent::MarkerReturned
            | LinkEvent::Received { .. }
            | LinkEvent::Unacknowledged { .. }
            | LinkEvent::Failed(_) => Cause::Fault,
        },
        Input::Network(Network::Available) | Input::NetworkChanged | Input::Resumed => Cause::Network,
        Input::Network(Network::Unavailable) => Cause::NoNetwork,
        Input::Sleeping => Cause::Sleep,
        Input::Timeout => match due {
            // Nothing of the status changes with the question for a token: a late wake-up was for the attempt too.
            Some(WakeUp::NextAttempt | WakeUp::TokenRenewal) => Cause::NextAttempt,
            Some(WakeUp::TimeLimit) => Cause::TimeLimit,
            // No answer in time is a fault like any other.
            Some(_) | None => Cause::Fault,
        },
    }
}

/// All that happens in so many days, the same ones every time.
fn walk(days: u64) -> Edges {
    let mut runner = TestRunner::new(Config {
        rng_seed: RngSeed::Fixed(0x57A7),
        ..Config::default()
    });
    let chance = (0..days).map(|_| strategy::case().new_tree(&mut runner).unwrap().current());
    let mut edges = Edges::new();
    for (seed, day) in (0..).zip(strategy::rare_days().into_iter().chain(chance)) {
        let mut world = World::new(seed).unwrap();
        world.run(&day).unwrap();
        for (edge, causes) in world.edges {
            edges.entry(edge).or_default().extend(causes);
        }
    }
    edges
}

#[test]
fn the_chart_shows_what_the_core_does() {
    let drawn = draw(&walk(DAYS));
    if std::env::var_os("IMD_UPDATE").is_some_and(|value| value == "1") {
        fs::write(FILE, drawn).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(FILE).unwrap_or_default() == drawn,
        "docs/status.svg is not what the core does. Draw it again, and look at it:\n    \
         IMD_UPDATE=1 cargo test -p imd-core --test model the_chart"
    );
}
