//! The connection as a pure state machine.
//!
//! No socket, no clock, no randomness but a seed: [`Core`] is told the time and what happened, and says
//! what to do. Two runs with the same seed and the same inputs do the same.

pub mod account;
mod connection;
pub mod io;
pub mod jwt;
mod random;
pub mod server;
pub mod time;

pub use connection::{ConnectPhase, Core, WakeUp};
pub use imd_proto::code::Code;
