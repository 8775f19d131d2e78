//! What a daemon answers that cannot start: every call is refused with the reason, but for those that tell
//! how the daemon is.

use std::future::ready;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use imd_proto::code::Code;
use imd_proto::imd::v1::admin_service_server::AdminServiceServer;
use imd_proto::imd::v1::session_service_server::SessionServiceServer;
use imd_proto::status::to_status;
use interprocess::os::unix::uds_local_socket::tokio::Listener;
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;
use tower::layer::layer_fn;

use super::accept::{Admission, Limits};
use super::admin::Admin;
use super::budget::{BINDINGS, Budget, UNREAD};
use super::diagnose::Diagnose;
use super::server::{About, MAX_REQUEST, ServeError, Socket, serve_on};
use super::session::Session;
use super::stop::Stop;
use crate::hub::Hub;
use crate::link;

/// The calls that tell how the daemon is, or end it: they never change, and always work.
const ANSWERED: &[&str] = &[
    "/imd.v1.AdminService/Diagnose",
    "/imd.v1.AdminService/GetVersion",
    "/imd.v1.AdminService/ListStatusChanges",
    "/imd.v1.AdminService/Shutdown",
    "/imd.v1.SessionService/GetStatus",
    "/imd.v1.SessionService/WatchStatus",
];

/// Whose calls are all answered.
const ANSWERED_SERVICES: &[&str] = &["/grpc.health.v1.Health/", "/grpc.reflection."];

/// What the services of a daemon that cannot start speak for.
pub struct Unfit {
    /// Its newest status has the reason and the code that calls are refused with.
    pub hub: Arc<Hub>,
    pub about: About,
    /// Where Shutdown asks for the daemon's end.
    pub stop: Stop,
    pub diagnose: Arc<dyn Diagnose>,
}

/// Serves the socket until `goodbye` is asked for, as [`serve`](super::serve) does. The health service says
/// NOT_SERVING of the daemon, and knows none of its services.
///
/// # Errors
/// As [`serve`](super::serve).
pub async fn serve_unfit(listener: Listener, services: Unfit, goodbye: Stop) -> Result<(), ServeError> {
    let Unfit {
        hub,
        about,
        stop,
        diagnose,
    } = services;
    let about = Arc::new(about);
    let admission = Arc::new(Admission::new(Limits::default()));
    // Nobody is behind it: the calls that need the link are refused before they reach it.
    let (link, _) = link::Handle::new();
    let session = SessionServiceServer::new(Session {
        link: link.clone(),
        hub: Arc::clone(&hub),
        about: Arc::clone(&about),
        goodbye: goodbye.clone(),
        bindings: Budget::new("bindings", BINDINGS),
        token_streams: Budget::new("streams that wait for a question for a token", BINDINGS),
    });
    let admin = AdminServiceServer::new(Admin {
        link,
        hub: Arc::clone(&hub),
        stored: None,
        about,
        stop,
        diagnose,
        admission: Arc::clone(&admission),
    });
    let (health, health_service) = tonic_health::server::health_reporter();
    health
        .set_service_status("", tonic_health::ServingStatus::NotServing)
        .await;
    let routes = Routes::new(session.max_decoding_message_size(MAX_REQUEST))
        .add_service(admin.max_decoding_message_size(MAX_REQUEST))
        .add_service(health_service.max_decoding_message_size(MAX_REQUEST));
    let gate = layer_fn(move |inner| Gate {
        inner,
        hub: Arc::clone(&hub),
    });
    let socket = Socket {
        listening: listener.into(),
        admission,
        allowed: None,
        health,
        unread: Budget::new("bytes of answers that have not been read", UNREAD),
    };
    serve_on(socket, routes, gate, goodbye).await
}

/// Lets through what is answered, and refuses the rest.
#[derive(Clone)]
struct Gate<S> {
    inner: S,
    hub: Arc<Hub>,
}

impl<S> Service<http::Request<Body>> for Gate<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if is_answered(request.uri().path()) {
            return Box::pin(self.inner.call(request));
        }
        let newest = self.hub.status.newest();
        let code = newest.status.last_code.unwrap_or(Code::IMD_INTERNAL);
        let refusal = to_status(code, newest.status.reason.as_str());
        Box::pin(ready(Ok(refusal.into_http())))
    }
}

fn is_answered(path: &str) -> bool {
    ANSWERED.contains(&path) || ANSWERED_SERVICES.iter().any(|service| path.starts_with(service))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_that_tell_how_the_daemon_is_are_answered_and_no_others() {
        for path in ANSWERED.iter().copied().chain(["/grpc.health.v1.Health/Check"]) {
            assert!(is_answered(path), "{path}");
        }
        for path in [
            "/imd.v1.SessionService/Bind",
            "/imd.v1.MessageService/SendMessage",
            "/",
        ] {
            assert!(!is_answered(path), "{path}");
        }
    }
}
