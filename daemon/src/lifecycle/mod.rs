//! Start, signals, systemd, the orderly stop.

mod doctor;
mod examine;
mod journal;
mod parent;
mod rows;
mod signals;
mod start;
mod stop;
mod systemd;
mod text;
mod unfit;

use std::sync::Arc;

use imd_core::Core;
use imd_core::account::InstallationId;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

pub use examine::{examine, known_ids};
pub use parent::{ParentError, die_with_parent};
pub use rows::{StoreRows, remembered};
pub use signals::{Signal, Signals};
pub use start::{Plan, StartError};
pub use stop::STOP_LIMIT;

use self::doctor::Doctor;
use self::journal::Journal;
use self::start::{Started, start};
use crate::clock;
use crate::hub::Hub;
use crate::link::{self, Device, Driver, Surroundings};
use crate::locks::{HandedOver, ServerSocket};
use crate::network;
use crate::rpc::{self, About, Limits, Listening, Services, Stop};
use crate::system_bus;

/// How a daemon that ran has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    InOrder,
    /// A second signal came while it was stopping. Nothing accepted is lost; apps and server were not told.
    CutShort(Signal),
}

/// Runs the daemon until a signal or Shutdown ends it. `plan` reads what the person wrote; with a socket from
/// systemd it may be asked again, until the daemon can start.
///
/// # Errors
/// Why it did not start.
pub async fn run(
    handed_over: Option<HandedOver>,
    plan: impl Fn() -> Result<Plan, StartError>,
) -> Result<End, StartError> {
    rpc::log_panics();
    let mut signals = Signals::watch().map_err(StartError::Signals)?;
    let started = plan().and_then(|plan| start(plan, handed_over.as_ref()));
    let started = match (started, &handed_over) {
        (Ok(started), _) => Some(started),
        (Err(error), None) => return Err(error),
        (Err(error), Some(socket)) => unfit::until_fit(socket, &plan, error, &mut signals).await?,
    };
    match started {
        Some(started) => serve(started, signals).await,
        None => Ok(End::InOrder),
    }
}

async fn serve(started: Started, mut signals: Signals) -> Result<End, StartError> {
    // Dropped last: bindings go in the reverse of their order.
    let Started {
        data_lock,
        plan: Plan { paths, settings },
        socket: ServerSocket { listener, mut guard },
        store,
        session,
    } = started;
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
    let (views, news) = (network::watch(), system_bus::listen());
    let portal = news.portal.clone();
    let transports = Arc::new(settings.transports(start::variable));
    let directory = Arc::new(settings.directory(Arc::clone(&transports), paths.session_file.parent()));
    let driver = Driver::new(
        core,
        rows.clone(),
        Arc::clone(&hub),
        device,
        Arc::clone(&directory),
        commands,
        Surroundings::new(views.clone(), news),
    )
    .map_err(StartError::Timer)?;
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
            transports,
            directory,
            rows,
            data_dir: paths.data_dir.clone(),
            session_file: paths.session_file.clone(),
            network: views,
            portal,
        }),
        limits: Limits::default(),
    };
    let (renew, renewed) = mpsc::channel(1);
    let listening = Listening::renewed_by(listener, renewed);
    let mut served = tokio::spawn(rpc::serve(listening, services, stop.clone()));

    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = paths.instance,
        socket = %guard.path().display(),
        "ready"
    );
    systemd::ready();
    let settling = tokio::spawn(text::give_back_when_settled());
    let reason = tokio::select! {
        signal = signals.next() => Ok(signal.name().to_owned()),
        reason = stop.asked() => Ok(reason.to_string()),
        ended = &mut served => Err(ended),
        never = systemd::watchdog(&store) => match never {},
        never = guard.keep_name(renew) => match never {},
    };
    settling.abort();
    systemd::stopping();
    let (services, result) = match reason {
        Ok(reason) => {
            tracing::info!(reason, "stopping");
            stop.ask(&reason);
            (Some(served), Ok(End::InOrder))
        }
        Err(Ok(Ok(()))) => (None, Ok(End::InOrder)),
        Err(Ok(Err(error))) => (None, Err(StartError::Serve(error))),
        Err(Err(error)) => (None, Err(StartError::Task(error))),
    };
    let services = async {
        if let Some(services) = services
            && let Err(error) = services.await
        {
            tracing::error!(%error, "the socket's services ended with a fault");
        }
    };
    let connection = async {
        link.stop().await;
        if let Err(error) = driver.await {
            tracing::error!(%error, "the connection's task ended with a fault");
        }
        // An error means that its task is gone.
        let _: Result<(), ()> = link_ended.send(());
        if let Err(error) = journal.await {
            tracing::error!(%error, "the journal's task ended with a fault");
        }
    };
    let (closed, result) = tokio::select! {
        biased;
        signal = signals.next() => {
            tracing::warn!(signal = signal.name(), "stopping at once");
            (false, Ok(End::CutShort(signal)))
        }
        closed = stop::orderly(services, connection, store.stop()) => (closed, result),
    };
    if !closed {
        // Its threads may write until the process ends: until then nobody else may open what they write.
        store.abandon();
        guard.keep_lock_until_exit();
        data_lock.keep_until_exit();
    }
    result
}
