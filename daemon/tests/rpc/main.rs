//! The socket side of the daemon with a real socket, the real clients and a link that the test plays.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail by panicking, as the test itself does"
)]

mod admin;
mod archive;
mod conversations;
mod events;
mod hostile;
mod inspection;
mod library;
mod messages;
mod open_metrics;
mod session;
mod stored;
mod support;
mod token;
