//! For whom a call is made, and an app's place among the bound ones.

use std::path::Path;
use std::sync::Arc;

use imd_core::io::{InstanceId, Requester};
use imd_proto::BINDING_METADATA;
use imd_proto::code::Code;
use imd_proto::status::to_status;
use tokio::sync::oneshot;
use tonic::{Request, Status};

use super::accept::Peer;
use super::arguments::words;
use super::budget::Held;
use crate::hub::{BindError, BoundApp, Hub};
use crate::link;

/// Whoever makes a call.
pub(super) enum Caller {
    /// The app whose binding the call names.
    Bound(BoundApp),
    /// The call names no binding.
    Unbound(Peer),
}

impl Caller {
    /// # Errors
    /// The call names a binding that is not there: 90007.
    pub(super) fn of<T>(request: &Request<T>, hub: &Hub) -> Result<Self, Status> {
        let Some(binding) = request.metadata().get(BINDING_METADATA) else {
            return peer(request).map(Self::Unbound);
        };
        binding
            .to_str()
            .ok()
            .and_then(|id| hub.apps.get(id))
            .map(Self::Bound)
            .ok_or_else(|| {
                let text = "the binding that this call names in its metadata imd-binding is not there, \
                            or has ended: bind again";
                to_status(Code::IMD_NOT_BOUND, text)
            })
    }

    /// The name and pid that other apps are told.
    pub(super) fn requester(&self) -> Requester {
        match self {
            Self::Bound(app) => app.app.clone(),
            Self::Unbound(peer) => Requester {
                app_id: process_name(peer.pid),
                pid: peer.pid,
            },
        }
    }
}

/// Who is at the other end of the call's connection.
///
/// # Errors
/// A fault in imd: every connection says it.
pub(super) fn peer<T>(request: &Request<T>) -> Result<Peer, Status> {
    let peer = request.extensions().get::<Peer>().cloned();
    peer.ok_or_else(|| {
        to_status(
            Code::IMD_INTERNAL,
            "the call's connection does not say whose it is",
        )
    })
}

/// What the kernel calls a process; `unbound` where it has ended or has no name to show.
fn process_name(pid: i32) -> Arc<str> {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    match words(&String::from_utf8_lossy(&name)).as_str() {
        "" => "unbound".into(),
        name => name.into(),
    }
}

/// Whether there is such a process. The end of a dead one's connection may not have been seen yet.
fn lives(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// A place among the bound apps. When it is dropped the app is unbound, unless its instance has bound
/// again: then the place is the newer binding's.
pub(super) struct Place {
    pub(super) id: Arc<str>,
    pub(super) superseded: oneshot::Receiver<Requester>,
    instance: InstanceId,
    hub: Arc<Hub>,
    link: link::Handle,
    /// Of what one process may bind.
    _held: Held,
}

impl Place {
    /// # Errors
    /// Too many apps are bound: 90004. Another process has bound the instance: 33003.
    pub(super) fn take(
        app: BoundApp,
        held: Held,
        hub: &Arc<Hub>,
        link: &link::Handle,
    ) -> Result<Self, Status> {
        let instance = app.instance.clone();
        let binding = hub.apps.bind(app, lives).map_err(|error| {
            let code = match &error {
                BindError::TooManyApps => Code::IMD_TOO_MANY,
                BindError::OfAnotherProcess(_) => Code::BIZ_ERROR_INVALID_PARAMETER,
            };
            to_status(code, error.to_string())
        })?;
        Ok(Self {
            id: binding.id,
            superseded: binding.superseded,
            instance,
            hub: Arc::clone(hub),
            link: link.clone(),
            _held: held,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.hub.apps.unbind(&self.id) {
            return;
        }
        tracing::debug!(instance = %self.instance.0, "unbound");
        let (link, instance) = (self.link.clone(), self.instance.clone());
        // The link's queue may be full, and a drop cannot wait. Without a runtime the daemon has ended.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // A link that is gone knows no instances any more.
                let _: Result<(), link::Stopped> = link.unbound(instance).await;
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_named_as_the_kernel_names_it_and_one_that_is_gone_is_unbound() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(!process_name(own).is_empty());
        assert_ne!(&*process_name(own), "unbound");
        assert_eq!(&*process_name(-1), "unbound");
    }
}
