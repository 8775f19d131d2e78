//! Start, signals, systemd, the orderly stop.

mod rows;
mod signals;
mod stop;
mod systemd;

use std::io;

pub use rows::{StoreRows, remembered};
pub use signals::{Signal, Signals};
pub use stop::{STOP_LIMIT, bounded};

use crate::config::Settings;
use crate::locks::{DataLock, LockError, ServerSocket, SocketError, open_socket};
use crate::paths::{PathError, Paths};
use crate::store::{Store, StoreError, StorePaths};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
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
}

/// Runs the daemon until a signal ends it.
///
/// The order is part of the safety: nothing is read or written before both locks are held, and the data
/// directory's comes first.
///
/// # Errors
/// Why it did not start.
pub async fn run(paths: Paths, settings: Settings) -> Result<(), StartError> {
    let mut signals = Signals::watch().map_err(StartError::Signals)?;
    paths.make_directories()?;
    let _data_lock = DataLock::acquire(&paths.data_dir)?;
    let ServerSocket { listener, guard } = open_socket(&paths.socket)?;
    let store_paths = StorePaths {
        data_dir: paths.data_dir.clone(),
        session_file: paths.session_file.clone(),
    };
    let (store, _session) = Store::start(store_paths, settings.remember)?;

    // LEAD: hub, core, driver and rpc are made here; `listener` goes to rpc.
    let _ = listener;

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = paths.instance,
        socket = %guard.path().display(),
        "ready"
    );
    systemd::ready();
    let signal = tokio::select! {
        signal = signals.next() => signal,
        never = systemd::watchdog(&store) => match never {},
    };
    tracing::info!(signal = signal.name(), "stopping");
    systemd::stopping();
    // LEAD: goodbye to the apps, link.stop(), rpc's end; all inside `bounded`.
    if !bounded("the store", store.stop()).await {
        store.abandon();
    }
    Ok(())
}
