//! The kit: what the end-to-end suites are made of.
//!
//! | piece | what it is |
//! |---|---|
//! | [`daemon`], [`home`] | the real `imd` and `imctl`, each test in directories of its own |
//! | [`mosquitto`] | a real Mosquitto with the repository's own configuration |
//! | [`proxy`], [`gate`] | a network that breaks when told to; a server without MQTT 5 |
//! | [`front`], [`certificates`] | TLS, WebSockets and proxies before a broker |
//! | [`nav`] | a nav that does as it is told |
//! | [`lab`] | a network of its own: machines, cables, a router |
//! | [`scripted`] | the demo's broker, for answers no real one gives |
//! | [`supervisor`] | a service manager that does what systemd does |
//! | [`system_bus`] | a bus with a logind and a NetworkManager that do as they are told |
//! | [`rpc`] | an app that speaks plain gRPC |
//! | [`raw`] | bytes on the socket that no library would send |
//! | [`token`] | tokens as an app's server makes them |
//! | [`journal`] | what an app that keeps a journal of its own has written |
//! | [`wait`], [`process`], [`port`] | bounded waiting, child processes, free ports |
//! | [`progress`] | what a long run says meanwhile |
//! | [`sources`], [`imports`] | the workspace's own files, and what they name |
//!
//! Everything blocks: a suite reads from top to bottom.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a fixture that can't do its part fails its test"
)]
#![expect(clippy::print_stderr, reason = "a failing test shows the logs")]

pub mod certificates;
pub mod daemon;
pub mod front;
pub mod gate;
pub mod home;
pub mod imports;
pub mod journal;
pub mod lab;
pub mod mosquitto;
pub mod nav;
pub mod port;
pub mod process;
pub mod progress;
pub mod proxy;
pub mod raw;
pub mod rpc;
pub mod scripted;
pub mod sources;
pub mod supervisor;
pub mod system_bus;
pub mod token;
pub mod wait;

/// The App Key of all tests, and of the access rules in `tests/mosquitto/acl`.
pub const APP_KEY: &str = "demo";

/// How often to repeat: `short` in an ordinary run, `long` under `./tests/run --long`.
#[must_use]
pub fn count(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

/// A number below `bound` that differs from run to run.
///
/// # Panics
/// When `bound` is 0: there is no such number.
#[must_use]
pub fn random(bound: usize) -> usize {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    let below = low % u64::try_from(bound).expect("a usize fits");
    usize::try_from(below).expect("what is below a usize is one")
}

/// Whether this is a run of the large counts.
#[must_use]
pub fn is_long() -> bool {
    std::env::var_os("IMD_TEST_LONG").is_some_and(|value| value == "1")
}
