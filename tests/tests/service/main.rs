//! The daemon as a service: what systemd does with it, done by the kit's supervisor.
//!
//! | file | what is in it |
//! |---|---|
//! | `activation.rs` | the socket that systemd holds, and what is said to it |
//! | `restart.rs` | deaths that no connect notices |
//! | `watchdog.rs` | hangs that become deaths |
//! | `stop.rs` | the orderly stop, whatever hangs |
//! | `unfit.rs` | a daemon that cannot start |
//! | `upgrade.rs` | restarts under load |
//! | `units.rs` | the unit files |
#![expect(clippy::unwrap_used, reason = "a helper of a test fails its test")]

mod activation;
mod database;
mod restart;
mod stop;
mod unfit;
mod units;
mod upgrade;
mod watchdog;

/// Nothing listens there, and nothing is asked to connect.
const SERVER: &str = "mqtt://127.0.0.1:9";
