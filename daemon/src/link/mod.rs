//! The link: the one task that drives the core and the connection to the server.

#[cfg(test)]
mod bytes_of;
mod connection;
mod dial;
mod driver;
mod frame;
mod handle;
pub mod probe;
#[cfg(test)]
mod scripted;
mod session;
mod vault;
mod wire;
mod words;

pub use driver::Driver;
pub use handle::{Command, Handle, Stopped};
pub use session::Device;
pub use vault::{BoxFuture, Vault};
