//! Which apps may use the daemon: the person's list, and who is at the other end of a connection.
//!
//! A policy against accidents, not a wall: the processes of one user can write into each other's memory.
//! It fails closed. Who cannot be told for certain is not allowed.
//!
//! | file | what is in it |
//! |---|---|
//! | `list` | the entries of `[apps] allow` |
//! | `process` | what a process is, read from /proc without a race |

mod list;
mod process;

pub use list::{AllowList, Entry};
pub use process::{Identity, PeerProcess, Unidentified};
