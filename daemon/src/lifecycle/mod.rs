//! Start, signals, systemd, the orderly stop.

mod doctor;
mod examine;
mod journal;
mod parent;
mod rows;
mod signals;
mod stop;
mod systemd;

use std::io;
use std::sync::Arc;

use imd_core::Core;
use imd_core::account::InstallationId;
use tokio::sync::oneshot;
use uuid::Uuid;

pub use examine::examine;
pub use parent::{ParentError, die_with_parent};
pub use rows::{StoreRows, remembered};
pub use signals::{Signal, Signals};
pub use stop::{STOP_LIMIT, bounded};

use self::doctor::Doctor;
use self::journal::Journal;
use crate::clock;
use crate::config::Settings;
use crate::hub::Hub;
use crate::link::{self, Device, Driver};
use crate::locks::{DataLock, LockError, ServerSocket, SocketError, open_socket};
use crate::paths::{PathError, Paths};
use crate::rpc::{self, About, Limits, ServeError, Services, Stop};
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
    #[error("the system gives no timer: {0}")]
    Timer(io::Error),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("the socket's services ended with a fault: {0}")]
    Task(tokio::task::JoinError),
}

/// Runs the daemon until a signal ends it.
///
/// The order is part of the safety: nothing is read or written before both locks are held, and the data
/// directory's comes first.
///
/// # Errors
/// Why it did not start.
pub async fn run(paths: Paths, settings: Settings) -> Result<(), StartError> {
    rpc::log_panics();
    let mut signals = Signals::watch().map_err(StartError::Signals)?;
    paths.make_directories()?;
    let _data_lock = DataLock::acquire(&paths.data_dir)?;
    let ServerSocket { listener, guard } = open_socket(&paths.socket)?;
    let store_paths = StorePaths {
        data_dir: paths.data_dir.clone(),
        session_file: paths.session_file.clone(),
    };
    let (store, session) = Store::start(store_paths, settings.remember, settings.session_expiry)?;
    let remembered = session.and_then(remembered);
    let rows = StoreRows::new(store.clone(), remembered.clone());

    let installation = InstallationId::new(store.installation());
    let seed = Uuid::new_v4().as_u64_pair().0;
    let core = Core::new(settings.core_config(installation.clone(), seed));
    let hub = Arc::new(Hub::default());
    let device = Device {
        class: settings.device_class.clone(),
        installation,
    };
    let (link, commands) = link::Handle::new();
    let driver =
        Driver::new(core, rows.clone(), Arc::clone(&hub), device, commands).map_err(StartError::Timer)?;
    let driver = tokio::spawn(driver.run(remembered));
    let about = About {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: paths.instance.clone(),
        run_id: Uuid::new_v4().to_string(),
        started: clock::now().unix,
    };
    let journal = Journal::new(Arc::clone(&hub), store.clone(), about.run_id.clone());
    let (link_ended, link_end) = oneshot::channel();
    let journal = tokio::spawn(journal.run(about.version.clone(), about.started, link_end));

    let stop = Stop::default();
    let services = Services {
        link: link.clone(),
        hub,
        archive: Arc::new(store.clone()),
        about,
        stop: stop.clone(),
        allow: settings.allow.clone(),
        diagnose: Arc::new(Doctor {
            settings: Arc::new(settings),
            rows,
            session_file: paths.session_file.clone(),
        }),
        limits: Limits::default(),
    };
    let mut served = tokio::spawn(rpc::serve(listener, services, stop.clone()));

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = paths.instance,
        socket = %guard.path().display(),
        "ready"
    );
    systemd::ready();
    let reason = tokio::select! {
        signal = signals.next() => Ok(signal.name().to_owned()),
        reason = stop.asked() => Ok(reason.to_string()),
        ended = &mut served => Err(ended),
        never = systemd::watchdog(&store) => match never {},
    };
    systemd::stopping();
    let result = match reason {
        Ok(reason) => {
            tracing::info!(reason, "stopping");
            stop.ask(&reason);
            bounded("the socket's services", async {
                if let Err(error) = served.await {
                    tracing::error!(%error, "the socket's services ended with a fault");
                }
            })
            .await;
            Ok(())
        }
        Err(Ok(Ok(()))) => Ok(()),
        Err(Ok(Err(error))) => Err(StartError::Serve(error)),
        Err(Err(error)) => Err(StartError::Task(error)),
    };
    bounded("the connection", async {
        link.stop().await;
        if let Err(error) = driver.await {
            tracing::error!(%error, "the connection's task ended with a fault");
        }
    })
    .await;
    bounded("the journal of status changes", async {
        // An error means that its task is gone.
        let _: Result<(), ()> = link_ended.send(());
        if let Err(error) = journal.await {
            tracing::error!(%error, "the journal's task ended with a fault");
        }
    })
    .await;
    if !bounded("the store", store.stop()).await {
        store.abandon();
    }
    result
}
