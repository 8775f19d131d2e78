//! What the world sees: the status with its generation, the apps that are bound, those that can bring a token,
//! and the log of events.

mod apps;
mod log;
mod status;
mod token_providers;

pub use apps::{AppRegistry, BindError, Binding, BoundApp, MAX_BOUND};
pub use log::{Cursor, EventLog, Lag, LogError, LogSource, News, Start, Subscription};
pub use status::{Published, StatusBoard, StatusCounts};
pub use token_providers::{Asked, TokenProviders};

/// The hub's parts, shared by the link (which writes) and rpc (which reads).
#[derive(Default)]
pub struct Hub {
    pub status: StatusBoard,
    pub apps: AppRegistry,
    pub token_providers: TokenProviders,
}
