//! Messages end to end, counted from outside: by journals that the apps keep themselves.
//!
//! | file | what is in it |
//! |---|---|
//! | `stage.rs` | alice and bob, each with a daemon and an app that keeps a journal |
//! | `cuts.rs` | a link that is cut at random points |
//! | `kills.rs` | daemons and apps killed at random points |
//! | `broker_kills.rs` | a Mosquitto killed under load |
//! | `hooks.rs` | killed between commit and PUBACK, and between PUBLISH and PUBACK |
//! | `large.rs` | a large history, read with the network down |
//! | `slow.rs` | a subscriber that stops reading |
//! | `everyday.rs` | groups, system messages, offline sends, reading with the network down |
//! | `full_disk.rs` | no room for what comes, and for what is sent |
#![expect(clippy::unwrap_used, reason = "a helper of a test fails its test")]

mod broker_kills;
mod cuts;
mod everyday;
mod full_disk;
mod hooks;
mod kills;
mod large;
mod slow;
mod stage;
