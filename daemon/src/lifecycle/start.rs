//! The start: what is read, locked and opened, in an order that is part of the safety.

use std::io;

use imd_proto::code::Code;

use crate::config::{ConfigErrors, Settings};
use crate::locks::{DataLock, HandedOver, LockError, ServerSocket, SocketError, open_socket};
use crate::paths::{PathError, Paths};
use crate::rpc::ServeError;
use crate::store::{Session, Store, StoreError, StorePaths};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The command line or IMD_LOG, as a person reads it.
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the system does not let imd watch for signals: {0}")]
    Signals(io::Error),
    #[error("the system gives no timer: {0}")]
    Timer(io::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("the socket's services ended with a fault: {0}")]
    Task(tokio::task::JoinError),
}

impl StartError {
    /// What apps are told while the daemon cannot start.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Usage(_) => Code::BIZ_ERROR_INVALID_PARAMETER,
            Self::Config(_) => Code::IMD_NO_SERVER,
            Self::Path(_) | Self::Lock(_) | Self::Socket(_) | Self::Store(_) => {
                Code::BIZ_ERROR_DATABASE_ERROR
            }
            Self::Signals(_) | Self::Timer(_) | Self::Serve(_) | Self::Task(_) => Code::IMD_INTERNAL,
        }
    }
}

/// What the person wrote: where things are, and how they are to be.
pub struct Plan {
    pub paths: Paths,
    pub settings: Settings,
}

/// Everything that can be in the way of a start is behind it.
pub(super) struct Started {
    pub(super) plan: Plan,
    pub(super) socket: ServerSocket,
    pub(super) store: Store,
    /// What the last run left.
    pub(super) session: Option<Session>,
    /// Dropped last.
    pub(super) data_lock: DataLock,
}

/// Nothing is read or written before both locks are held, and the data directory's comes first.
pub(super) fn start(plan: Plan, handed_over: Option<&HandedOver>) -> Result<Started, StartError> {
    let Plan { paths, settings } = &plan;
    paths.make_directories()?;
    let data_lock = DataLock::acquire(&paths.data_dir)?;
    let socket = open_socket(&paths.socket, handed_over)?;
    let store_paths = StorePaths {
        data_dir: paths.data_dir.clone(),
        session_file: paths.session_file.clone(),
    };
    let (store, session) = Store::start(store_paths, settings.remember, settings.session_expiry)?;
    Ok(Started {
        plan,
        socket,
        store,
        session,
        data_lock,
    })
}

/// A variable of the environment, where it is text.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
