//! What the benches are made of.
//!
//! | piece | what it is |
//! |---|---|
//! | [`statistics`], [`report`], [`plot`] | from samples to a line of the table, a line of JSON, a picture |
//! | [`monotonic`] | the clock that all processes of a bench count on |
//! | [`broker`], [`publisher`] | a real Mosquitto that logs little; a client that publishes fast and in order |
//! | [`latency`] | a long way to the broker |
//! | [`lockstep`], [`wire`] | a broker that goes on only when told; the little MQTT of both |
//! | [`stage`] | a release build of imd, and apps on it |
//! | [`rival`] | the programs imd is measured against |
//! | [`process`] | what the kernel says of a process: memory, wake-ups, CPU |
//!
//! Ratios come from one run: A and B take turns, and each round gives one ratio.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that can't do its part has no figure to give"
)]
#![expect(clippy::print_stdout, reason = "the figures are the output")]

pub mod broker;
pub mod latency;
pub mod lockstep;
pub mod monotonic;
pub mod plot;
pub mod process;
pub mod publisher;
pub mod report;
pub mod rival;
pub mod stage;
pub mod statistics;
pub mod wire;

/// The content of every message, in bytes, unless a series says otherwise.
pub const CONTENT: usize = 256;

/// How many messages are under way at once where a bench sends.
pub const WINDOW: usize = 256;

/// How much is done: a quick run shows that a bench works, and its figures mean little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    Quick,
    Full,
}

impl Scale {
    /// One of two counts.
    #[must_use]
    pub const fn pick(self, quick: usize, full: usize) -> usize {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}
