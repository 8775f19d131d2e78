//! Binding: dial, hello, Init; then following the Bind stream until the daemon is gone.

use std::future::Future;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::bind_response::Event;
use imd_proto::imd::v1::session_service_client::SessionServiceClient;
use imd_proto::{PROTOCOL, PROTOCOL_MIN};
use tokio::sync::watch;
use tokio::time::Sleep;
use tonic::{Status as GrpcStatus, Streaming};

use crate::call::{DEADLINE, Link, bounded};
use crate::channel::{LinkGuard, LinkState, dial};
use crate::error::{Error, Sent};
use crate::listeners::Board;
use crate::status::Status;

/// How long calls in flight may still be answered after the daemon has ended the binding.
const GRACE: Duration = Duration::from_millis(500);

/// Who binds, and where: the same for every binding of one client.
pub(crate) struct Identity {
    pub(crate) socket: PathBuf,
    pub(crate) app_id: String,
    pub(crate) app_version: String,
    /// Random for each client, and kept for its life.
    pub(crate) instance_id: String,
    /// `None`: a tool that looks on, and makes no Init.
    pub(crate) app_key: Option<String>,
}

/// Binds, within [`DEADLINE`] in all, and follows the binding from then on.
pub(crate) async fn bind(identity: Arc<Identity>) -> Result<(Arc<Link>, Arc<Board>), Error> {
    let mut expiry = pin!(tokio::time::sleep(DEADLINE));
    let guard = LinkGuard::new();
    let channel = tokio::select! {
        biased;
        channel = dial(&identity.socket, &guard) => channel?,
        () = &mut expiry => return Err(Error::silent("the dialling", DEADLINE, Sent::No)),
    };
    let mut state = guard.watch();
    let mut session = SessionServiceClient::new(channel.clone());

    let request = v1::BindRequest {
        app_id: identity.app_id.clone(),
        instance_id: identity.instance_id.clone(),
        app_version: identity.app_version.clone(),
        protocol_min: PROTOCOL_MIN,
        protocol_max: PROTOCOL,
        capabilities: Vec::new(),
    };
    let (hello, events) = stage("Bind", expiry.as_mut(), &mut state, async {
        let mut events = session.bind(request).await?.into_inner();
        let first = events.message().await?;
        Ok((first, events))
    })
    .await?;
    let Some(Event::Hello(hello)) = hello.and_then(|first| first.event) else {
        return Err(not_imd("its first word is no hello"));
    };
    let binding = hello
        .binding_id
        .parse()
        .map_err(|_| not_imd("its binding id is no metadata value"))?;
    // An absent status must not be taken for the number 0, CONNECTED.
    let status = hello.status.ok_or_else(|| not_imd("its hello has no status"))?;
    let board = Arc::new(Board::new(Status::from_wire(status)));
    let link = Arc::new(Link::new(channel, binding, guard.watch()));

    if let Some(app_key) = identity.app_key.clone() {
        let request = link.request(v1::InitRequest { app_key });
        stage("Init", expiry.as_mut(), &mut state, session.init(request)).await?;
    }
    tracing::debug!(
        daemon_version = hello.daemon_version,
        protocol = hello.protocol,
        "bound to the daemon"
    );
    tokio::spawn(follow(events, Arc::clone(&board), guard));
    Ok((link, board))
}

async fn stage<T>(
    name: &str,
    expiry: Pin<&mut Sleep>,
    state: &mut watch::Receiver<LinkState>,
    answer: impl Future<Output = Result<T, GrpcStatus>>,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        answer = bounded(name, None, state, answer) => answer,
        () = expiry => Err(Error::silent(name, DEADLINE, Sent::Unknown)),
    }
}

fn not_imd(what: &str) -> Error {
    let text = format!("what listens at the socket is not an imd this library can speak with: {what}");
    Error::new(Code::IMD_VERSION_SKEW, text, Sent::Yes)
}

/// Publishes the status changes, and tells the end of the binding: once, here.
async fn follow(mut events: Streaming<v1::BindResponse>, board: Arc<Board>, guard: LinkGuard) {
    let mut reason = None;
    let ended = loop {
        match events.message().await {
            Ok(Some(v1::BindResponse { event })) => match event {
                Some(Event::Status(status)) => board.publish(Status::from_wire(status)),
                Some(Event::Goodbye(goodbye)) => {
                    reason = Some(format!("the daemon has stopped: {}", goodbye.reason));
                }
                // A second hello has no meaning, and an unknown event is a later daemon's.
                Some(Event::Hello(_)) | None => {}
            },
            Ok(None) => break "the daemon has ended the binding".to_owned(),
            Err(status) => break Error::from_status("Bind", &status).text().to_owned(),
        }
    };
    let mut state = guard.watch();
    let reason = match (reason, &*state.borrow()) {
        (Some(reason), _) => reason,
        (None, LinkState::Down(reason) | LinkState::Leaving(reason)) => reason.to_string(),
        (None, LinkState::Up) => ended,
    };
    guard.leaving(&reason);
    board.lost(&reason);
    tracing::info!(reason, "the daemon is lost");
    // Whether the socket closes in time or not, nothing waits any longer.
    let _ = tokio::time::timeout(GRACE, state.wait_for(|state| matches!(state, LinkState::Down(_)))).await;
    guard.down(&reason);
}
