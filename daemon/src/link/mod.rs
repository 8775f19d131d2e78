//! The link: the one task that drives the core and the connection to the server.

#[cfg(test)]
mod bytes_of;
mod connection;
mod driver;
mod envelope;
#[cfg(test)]
mod fake_vault;
mod frame;
mod handle;
mod inbox;
mod outbox;
pub mod probe;
mod retry;
#[cfg(test)]
mod scripted;
mod session;
mod vault;
mod wire;
mod words;

pub use driver::{Driver, Surroundings};
pub use handle::{Command, Handle, Stopped};
pub use session::Device;
pub use vault::{BoxFuture, Kept, Vault};
