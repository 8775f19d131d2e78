//! A start that cannot be, under socket activation.
//!
//! Were the daemon to end, systemd would start it again for the connection that still waits in the socket,
//! and again, as fast as it ends: nothing limits that, by the wish of imd.socket. So it stays, answers every
//! call with the reason, looks again every second whether that is mended, and then starts.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use imd_core::io::Status;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::signals::Signals;
use super::start::{Plan, StartError, Started, start};
use super::systemd;
use crate::clock;
use crate::hub::Hub;
use crate::locks::HandedOver;
use crate::rpc::{self, About, Diagnose, Finding, ServeError, Stop, Unfit, Verdict};

/// How often it is looked whether the reason is gone.
const LOOK: Duration = Duration::from_secs(1);

/// Stays until the start succeeds; `None` when a signal or Shutdown ended it before, which is an end in order.
///
/// # Errors
/// The socket cannot be served.
pub(super) async fn until_fit(
    socket: &HandedOver,
    plan: &impl Fn() -> Result<Plan, StartError>,
    first: StartError,
    signals: &mut Signals,
) -> Result<Option<Started>, StartError> {
    let hub = Arc::new(Hub::default());
    let goodbye = Stop::default();
    let services = Unfit {
        hub: Arc::clone(&hub),
        about: About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: instance(socket.path()),
            run_id: Uuid::new_v4().to_string(),
            started: clock::now().unix,
        },
        stop: Stop::default(),
        diagnose: Arc::new(Reason(Arc::clone(&hub))),
    };
    let stop = services.stop.clone();
    publish(&hub, &first);
    let mut served = tokio::spawn(rpc::serve_unfit(socket.listen()?, services, goodbye.clone()));
    systemd::refusing(&first.to_string());
    let mut reason = first;
    let outcome = loop {
        tokio::select! {
            signal = signals.next() => {
                tracing::info!(reason = signal.name(), "stopping");
                break None;
            }
            by = stop.asked() => {
                tracing::info!(reason = &*by, "stopping");
                break None;
            }
            ended = &mut served => return Err(fault(ended).unwrap_or(reason)),
            never = systemd::watchdog_of_the_loop() => match never {},
            () = tokio::time::sleep(LOOK) => match plan().and_then(|plan| start(plan, Some(socket))) {
                Ok(started) => break Some(started),
                Err(error) => {
                    if error.to_string() != reason.to_string() {
                        publish(&hub, &error);
                        systemd::refusing(&error.to_string());
                    }
                    reason = error;
                }
            }
        }
    };
    match &outcome {
        Some(_) => systemd::recovered(),
        None => systemd::stopping(),
    }
    goodbye.ask("imd looks again whether it can start");
    end(served).await;
    Ok(outcome)
}

/// The services have a time limit of their own.
async fn end(served: JoinHandle<Result<(), ServeError>>) {
    if let Some(error) = fault(served.await) {
        tracing::error!(%error, "the socket's services ended with a fault");
    }
}

fn fault(ended: Result<Result<(), ServeError>, tokio::task::JoinError>) -> Option<StartError> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(StartError::Serve(error)),
        Err(error) => Some(StartError::Task(error)),
    }
}

/// Services answer with what the status says.
fn publish(hub: &Hub, reason: &StartError) {
    tracing::error!(%reason, "imd cannot start, and refuses every call until that is mended");
    let newest = hub.status.newest();
    hub.status.publish(Status {
        generation: newest.status.generation + 1,
        reason: reason.to_string(),
        last_code: Some(reason.code()),
        ..newest.status.clone()
    });
}

/// An instance's socket has its name.
fn instance(socket: &Path) -> String {
    let stem = socket.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

/// What the doctor is told.
struct Reason(Arc<Hub>);

#[tonic::async_trait]
impl Diagnose for Reason {
    async fn findings(&self, _probe_broker: bool) -> Vec<Finding> {
        let newest = self.0.status.newest();
        vec![Finding {
            check: "start".into(),
            verdict: Verdict::Failed,
            text: newest.status.reason.clone(),
            mend: "Mend what the text names: imd looks again every second, and then starts.".to_owned(),
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_named_as_its_socket() {
        assert_eq!(instance(Path::new("/run/user/1000/imd/work.sock")), "work");
        assert_eq!(instance(Path::new("/run/user/1000/imd/a.b.sock")), "a.b");
    }
}
