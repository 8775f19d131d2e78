//! The daemon on a network that comes and goes, in namespaces of the kernel (`imd_tests::lab`).
//!
//! | file | what is in it |
//! |---|---|
//! | `stage.rs` | alice's machine, a router, and a Mosquitto behind it |
//! | `outage.rs` | cable, address and route gone and back: what is said, how fast it is mended, how little it costs |
//! | `firewall.rs` | packets that are dropped in silence, or refused |
//! | `lossy.rs` | a third of all packets lost, half a second of delay |
//! | `sleep.rs` | a machine that sleeps, a captive portal |
#![expect(clippy::unwrap_used, reason = "a helper of a test fails its test")]

mod firewall;
mod lossy;
mod outage;
mod sleep;
mod stage;
