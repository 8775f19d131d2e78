//! The link: the one task that drives the core and the connection to the server.

mod handle;

pub use handle::{Command, Handle, Stopped};
