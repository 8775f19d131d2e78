//! The services put together on one socket, and their orderly stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use imd_core::time::UnixTime;
use imd_proto::imd::v1::admin_service_server::AdminServiceServer;
use imd_proto::imd::v1::conversation_service_server::ConversationServiceServer;
use imd_proto::imd::v1::event_service_server::EventServiceServer;
use imd_proto::imd::v1::group_service_server::GroupServiceServer;
use imd_proto::imd::v1::message_service_server::MessageServiceServer;
use imd_proto::imd::v1::session_service_server::SessionServiceServer;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_reflection::server as reflection;
use tower::util::option_layer;
use tower::{Layer, Service, ServiceBuilder};
use tower_http::catch_panic::CatchPanicLayer;

use super::accept::{Admission, Incoming, Limits, Listening};
use super::admin::{Admin, Stored};
use super::allowed::{AllowedApps, AllowedLayer};
use super::archive::Archive;
use super::budget::{BINDINGS, Budget, SUBSCRIPTIONS, UNREAD};
use super::conversation::Conversations;
use super::diagnose::Diagnose;
use super::event::Events;
use super::group::Groups;
use super::message::Messages;
use super::pages::Pages;
use super::panics;
use super::requests::RequestsLayer;
use super::session::Session;
use super::stop::Stop;
use crate::access::AllowList;
use crate::hub::{EventLog, Hub};
use crate::link;

/// What this daemon can do beyond the protocol's number.
pub(super) const CAPABILITIES: &[&str] = &[];

/// The longest request, in bytes. A token has 8 KiB at most, so this is far beyond any honest one.
pub const MAX_REQUEST: usize = 256 * 1024;

/// The longest request with a message in it: one that is too long by a little is told so by its own code.
const MAX_MESSAGE: usize = 1024 * 1024;

/// The longest request of reflection, which asks for a name. Half of one may stay for a minute.
const MAX_REFLECTION: usize = 4 * 1024;

/// Calls and streams open at once on one connection; a client's further ones wait there.
const STREAMS: u32 = 128;

/// Calls that a client has cancelled before they were looked at: more than one can cancel, at their deadline of
/// two seconds, while the daemon hangs and the keep-alive has not ended the connection. With HTTP/2's usual 20 a
/// daemon that goes on after a hang would hang up on every app that had gone on calling.
const CANCELLED: usize = 64 * STREAMS as usize;

/// What the health service answers for.
const SERVICES: [&str; 6] = [
    <SessionServiceServer<Session> as NamedService>::NAME,
    <AdminServiceServer<Admin> as NamedService>::NAME,
    <MessageServiceServer<Messages> as NamedService>::NAME,
    <ConversationServiceServer<Conversations> as NamedService>::NAME,
    <GroupServiceServer<Groups> as NamedService>::NAME,
    <EventServiceServer<Events> as NamedService>::NAME,
];

/// HTTP/2's ping to a silent client, and how long its answer may take.
const KEEP_ALIVE: Duration = Duration::from_secs(120);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(5);

/// How long the streams have to say goodbye.
const DRAIN: Duration = Duration::from_secs(1);

/// What this daemon is.
#[derive(Clone, Debug)]
pub struct About {
    /// As `imd --version` prints it.
    pub version: String,
    /// The instance's name.
    pub instance: String,
    /// Random for each start of the daemon.
    pub run_id: String,
    pub started: UnixTime,
}

/// What the services speak for.
#[derive(Clone)]
pub struct Services {
    pub link: link::Handle,
    pub hub: Arc<Hub>,
    pub archive: Arc<dyn Archive>,
    pub about: About,
    /// Where Shutdown asks for the daemon's end.
    pub stop: Stop,
    pub diagnose: Arc<dyn Diagnose>,
    pub limits: Limits,
    /// The apps that may use the daemon; `None`: all of the user's.
    pub allow: Option<AllowList>,
}

/// Why the socket is not served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    #[error("the descriptors of the services cannot be read: {0}")]
    Descriptors(#[from] reflection::Error),
    #[error("the server failed: {0}")]
    Server(#[from] tonic::transport::Error),
}

/// Serves the socket until `goodbye` is asked for. Then every Bind stream says goodbye, every stream ends,
/// and what is still open a second later is left to the end of the process. The listener is dropped at
/// once. `goodbye` may be the same [`Stop`] as the services': then Shutdown needs nobody in between.
///
/// # Errors
/// The services cannot be put together; nothing an app does ends in one.
pub async fn serve(
    listening: impl Into<Listening>,
    services: Services,
    goodbye: Stop,
) -> Result<(), ServeError> {
    let Services {
        link,
        hub,
        archive,
        about,
        stop,
        diagnose,
        limits,
        allow,
    } = services;
    let about = Arc::new(about);
    let admission = Arc::new(Admission::new(limits));
    let allowed = allow.map(|list| Arc::new(AllowedApps::new(list)));
    let session = SessionServiceServer::new(Session {
        link: link.clone(),
        hub: Arc::clone(&hub),
        about: Arc::clone(&about),
        goodbye: goodbye.clone(),
        bindings: Budget::new("bindings", BINDINGS),
        token_streams: Budget::new("streams that wait for a question for a token", BINDINGS),
    });
    let unread = Budget::new("bytes of answers that have not been read", UNREAD);
    let pages = Pages::new(unread.clone());
    let messages = MessageServiceServer::new(Messages {
        archive: Arc::clone(&archive),
        pages: pages.clone(),
    });
    let conversations = ConversationServiceServer::new(Conversations {
        archive: Arc::clone(&archive),
        pages: pages.clone(),
    });
    let groups = GroupServiceServer::new(Groups {
        link: link.clone(),
        archive: Arc::clone(&archive),
        pages: pages.clone(),
    });
    let log = EventLog::new(Arc::<dyn Archive>::clone(&archive));
    let events = EventServiceServer::new(Events {
        log: log.clone(),
        hub: Arc::clone(&hub),
        goodbye: goodbye.clone(),
        subscriptions: Budget::new("subscriptions", SUBSCRIPTIONS),
    });
    let admin = AdminServiceServer::new(Admin {
        link,
        hub,
        stored: Some(Stored { archive, log, pages }),
        about,
        stop,
        diagnose,
        admission: Arc::clone(&admission),
    });
    let (health, health_service) = tonic_health::server::health_reporter();
    for service in SERVICES {
        health.set_service_status(service, ServingStatus::Serving).await;
    }

    let routes = Routes::new(session.max_decoding_message_size(MAX_REQUEST))
        .add_service(admin.max_decoding_message_size(MAX_REQUEST))
        .add_service(messages.max_decoding_message_size(MAX_MESSAGE))
        .add_service(conversations.max_decoding_message_size(MAX_REQUEST))
        .add_service(groups.max_decoding_message_size(MAX_REQUEST))
        .add_service(events.max_decoding_message_size(MAX_REQUEST))
        .add_service(health_service.max_decoding_message_size(MAX_REQUEST));
    let gate = option_layer(allowed.is_some().then_some(AllowedLayer));
    let socket = Socket {
        listening: listening.into(),
        admission,
        allowed,
        health,
        unread,
    };
    serve_on(socket, routes, gate, goodbye).await
}

/// Where services are served.
pub(super) struct Socket {
    pub(super) listening: Listening,
    pub(super) admission: Arc<Admission>,
    pub(super) allowed: Option<Arc<AllowedApps>>,
    pub(super) health: HealthReporter,
    /// What has been answered and not read.
    pub(super) unread: Budget,
}

/// Serves these services, and reflection, on a socket: behind its limits, and behind a gate that may refuse calls.
pub(super) async fn serve_on<G>(
    socket: Socket,
    routes: Routes,
    gate: G,
    goodbye: Stop,
) -> Result<(), ServeError>
where
    G: Layer<Routes> + Clone,
    G::Service: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    <G::Service as Service<http::Request<Body>>>::Future: Send + 'static,
{
    let Socket {
        listening,
        admission,
        allowed,
        health,
        unread,
    } = socket;
    let router = Server::builder()
        .max_concurrent_streams(STREAMS)
        .http2_max_pending_accept_reset_streams(Some(CANCELLED))
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_ANSWER))
        .layer(
            ServiceBuilder::new()
                .layer(CatchPanicLayer::custom(panics::answer))
                .layer(RequestsLayer::new(unread))
                .layer(gate)
                .into_inner(),
        )
        .add_routes(routes)
        .add_service(
            descriptors()
                .build_v1()?
                .max_decoding_message_size(MAX_REFLECTION),
        )
        .add_service(
            descriptors()
                .build_v1alpha()?
                .max_decoding_message_size(MAX_REFLECTION),
        );
    let incoming = Incoming::new(listening, Arc::clone(&admission), allowed);
    let stopping = goodbye.asked();
    let served = router.serve_with_incoming_shutdown(incoming, async {
        stopping.await;
    });
    until_drained(served, health, &admission, &goodbye).await
}

/// Serves to the end; from the goodbye on for [`DRAIN`] at most.
async fn until_drained(
    served: impl Future<Output = Result<(), tonic::transport::Error>>,
    mut health: HealthReporter,
    admission: &Admission,
    goodbye: &Stop,
) -> Result<(), ServeError> {
    let drained = async {
        goodbye.asked().await;
        end_health(&mut health).await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        served = served => served?,
        () = drained => {
            tracing::info!(connections = admission.open(), "connections are still open after the goodbye");
        }
    }
    Ok(())
}

fn descriptors() -> reflection::Builder<'static> {
    reflection::Builder::configure()
        .register_encoded_file_descriptor_set(imd_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // So that a client without our code can show an error's code, too.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}

/// Ends the streams of those who watch the health: a service that is not listed has no status.
async fn end_health(health: &mut HealthReporter) {
    health.clear_service_status("").await;
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
}
