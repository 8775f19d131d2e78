//! Apps that live through every death of their daemon, counted from outside: by what each app itself wrote down.
//!
//! | file | what is in it |
//! |---|---|
//! | `stage.rs` | alice and bob, their daemons, their apps, and the load between them |
//! | `app.rs` | an app, in Rust or in Python, and what it wrote down |
//! | `daemon.rs` | a daemon that dies and comes back, and when it listened |
//! | `kills.rs` | killed and stopped, a thousand times in the long run |
//! | `hang.rs` | SIGSTOP, and SIGCONT |
#![expect(clippy::unwrap_used, reason = "a helper of a test fails its test")]

mod app;
mod daemon;
mod hang;
mod kills;
mod stage;
