//! What the world sees: the status with its generation, and the apps that are bound.

mod apps;
mod status;

pub use apps::{AppRegistry, Binding, BoundApp, MAX_BOUND, TooManyApps};
pub use status::{Published, StatusBoard};

/// The hub's parts, shared by the link (which writes) and rpc (which reads).
#[derive(Default)]
pub struct Hub {
    pub status: StatusBoard,
    pub apps: AppRegistry,
}
