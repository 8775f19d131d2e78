//! SessionService: the apps' calls about the one connection.
//!
//! Each stream has a task of its own, which ends when its reader is gone. It takes its place in the
//! stream's queue first and what it says then, so that a slow reader gets the newest.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use imd_core::account::AppKey;
use imd_core::io::{Callback, ConnectKey, ConnectRequest, InstanceId, Refusal, Requester};
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::bind_response::Event;
use imd_proto::imd::v1::session_service_server::SessionService;
use imd_proto::status::to_status;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::arguments::{AppHello, ConnectArguments, UpdateTokenArguments};
use super::binding::{Caller, Place, peer};
use super::budget::{Budget, Held};
use super::convert;
use super::server::{About, CAPABILITIES};
use super::stop::Stop;
use super::token;
use crate::clock;
use crate::hub::{BoundApp, Hub, Published};
use crate::link;

/// How long the link may take to answer a call.
const DEADLINE: Duration = Duration::from_secs(2);

/// How many answers wait in a stream of statuses; a slow reader finds the newest behind them.
const STATUSES: usize = 1;

/// A connect is told three things at most.
const CALLBACKS: usize = 3;

type Answers<T> = mpsc::Sender<Result<T, Status>>;
type Stream<T> = ReceiverStream<Result<T, Status>>;
type Statuses = watch::Receiver<Arc<Published>>;

pub(super) struct Session {
    pub(super) link: link::Handle,
    pub(super) hub: Arc<Hub>,
    pub(super) about: Arc<About>,
    pub(super) goodbye: Stop,
    /// How many one process may have.
    pub(super) bindings: Budget,
    /// How many streams one process may have on which it waits to be asked for a token.
    pub(super) token_streams: Budget,
}

#[tonic::async_trait]
impl SessionService for Session {
    type BindStream = Stream<v1::BindResponse>;
    type ConnectStream = Stream<v1::ConnectResponse>;
    type WatchTokenExpiringStream = Stream<v1::WatchTokenExpiringResponse>;
    type WatchStatusStream = Stream<v1::WatchStatusResponse>;

    async fn bind(&self, request: Request<v1::BindRequest>) -> Result<Response<Self::BindStream>, Status> {
        let peer = peer(&request)?;
        let hello = AppHello::try_from(request.into_inner()).map_err(convert::invalid)?;
        let app = Requester {
            app_id: hello.app_id,
            pid: peer.pid,
        };
        tracing::debug!(
            %app,
            instance = %hello.instance.0,
            connection = peer.connection,
            protocol = hello.protocol,
            capabilities = ?hello.capabilities,
            "bound"
        );
        let held = self.bindings.take(&peer, 1)?;
        let place = self.place(hello.instance, app, hello.app_version, held)?;
        let mut statuses = self.hub.status.watch();
        let first = v1::Hello {
            binding_id: place.id.to_string(),
            daemon_version: self.about.version.clone(),
            protocol: hello.protocol,
            capabilities: CAPABILITIES.iter().map(ToString::to_string).collect(),
            daemon_run_id: self.about.run_id.clone(),
            status: Some(convert::status(&statuses.borrow_and_update())),
        };
        let (answers, stream) = mpsc::channel(STATUSES);
        let goodbye = self.goodbye.asked();
        tokio::spawn(follow_binding(place, first, statuses, answers, goodbye));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn init(&self, request: Request<v1::InitRequest>) -> Result<Response<v1::InitResponse>, Status> {
        let Caller::Bound(app) = Caller::of(&request, &self.hub)? else {
            let text = "Init sets the App Key of a bound app: bind first, and name the binding in the \
                        metadata imd-binding (a call of Connect without a binding takes the App Key itself)";
            return Err(to_status(Code::IMD_NOT_BOUND, text));
        };
        let app_key = AppKey::parse(&request.into_inner().app_key).map_err(convert::invalid)?;
        answered("Init", self.link.init(app.instance, app_key)).await?;
        Ok(Response::new(v1::InitResponse {}))
    }

    async fn connect(
        &self,
        request: Request<v1::ConnectRequest>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let caller = Caller::of(&request, &self.hub);
        let request = request.into_inner();
        let has_app_key = !request.app_key.is_empty();
        let arguments = ConnectArguments::try_from(request);
        let caller = caller?;
        let app = caller.requester();
        if matches!(caller, Caller::Unbound(_)) && !has_app_key {
            let text = "a call of Connect without a binding has no Init before it: give it the app_key";
            return Err(to_status(Code::RC_CLIENT_NOT_INIT, text));
        }
        let arguments = arguments.map_err(convert::invalid)?;
        let (instance, place) = match caller {
            Caller::Bound(bound) => (bound.instance, None),
            Caller::Unbound(caller_peer) => {
                let instance = InstanceId(Uuid::new_v4().to_string().into());
                let held = self.bindings.take(&caller_peer, 1)?;
                let place = self.place(instance.clone(), app.clone(), Arc::default(), held)?;
                (instance, Some(place))
            }
        };
        tracing::debug!(%app, connect = %arguments.connect.0, "connect");
        let request = ConnectRequest {
            key: ConnectKey {
                instance: instance.clone(),
                connect: arguments.connect,
            },
            app,
            app_key: arguments.app_key,
            token: arguments.token,
            user_id: arguments.user_id,
            time_limit: arguments.time_limit,
            database_opened_seen: arguments.database_opened_seen,
            resumes: arguments.resumes,
        };
        let callbacks = answered("Connect", self.link.connect(request)).await?;
        let (answers, stream) = mpsc::channel(CALLBACKS);
        let waiting = Waiting {
            instance,
            link: self.link.clone(),
            _place: place,
        };
        tokio::spawn(waiting.pass_on(callbacks, answers, self.goodbye.asked()));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn watch_token_expiring(
        &self,
        request: Request<v1::WatchTokenExpiringRequest>,
    ) -> Result<Response<Self::WatchTokenExpiringStream>, Status> {
        let Caller::Bound(app) = Caller::of(&request, &self.hub)? else {
            let text = "only a bound app can be asked for a token: bind first, and name the binding in the \
                        metadata imd-binding";
            return Err(to_status(Code::IMD_NOT_BOUND, text));
        };
        let held = self.token_streams.take(&peer(&request)?, 1)?;
        token::watch(app, held, &self.hub, &self.link, self.goodbye.asked()).await
    }

    async fn update_token(
        &self,
        request: Request<v1::UpdateTokenRequest>,
    ) -> Result<Response<v1::UpdateTokenResponse>, Status> {
        let caller = Caller::of(&request, &self.hub);
        // First of all, so that the token's memory is wiped whatever is wrong with the rest.
        let arguments = UpdateTokenArguments::try_from(request.into_inner());
        let caller = caller?;
        let arguments = arguments.map_err(convert::invalid)?;
        token::update(&caller, arguments, &self.link).await
    }

    async fn disconnect(
        &self,
        request: Request<v1::DisconnectRequest>,
    ) -> Result<Response<v1::DisconnectResponse>, Status> {
        let by = Caller::of(&request, &self.hub)?.requester();
        tracing::info!(%by, "disconnect was asked for");
        answered("Disconnect", self.link.disconnect(by)).await?;
        Ok(Response::new(v1::DisconnectResponse {}))
    }

    async fn logout(
        &self,
        request: Request<v1::LogoutRequest>,
    ) -> Result<Response<v1::LogoutResponse>, Status> {
        let by = Caller::of(&request, &self.hub)?.requester();
        tracing::info!(%by, "logout was asked for");
        answered("Logout", self.link.logout(by)).await?;
        Ok(Response::new(v1::LogoutResponse {}))
    }

    async fn get_status(
        &self,
        _request: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        Ok(Response::new(v1::GetStatusResponse {
            status: Some(convert::status(&self.hub.status.newest())),
        }))
    }

    async fn watch_status(
        &self,
        _request: Request<v1::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        let (answers, stream) = mpsc::channel(STATUSES);
        tokio::spawn(follow_status(
            self.hub.status.watch(),
            answers,
            self.goodbye.asked(),
        ));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Session {
    fn place(
        &self,
        instance: InstanceId,
        app: Requester,
        app_version: Arc<str>,
        held: Held,
    ) -> Result<Place, Status> {
        let app = BoundApp {
            instance,
            app,
            app_version,
            bound_at: clock::now().unix,
        };
        Place::take(app, held, &self.hub, &self.link)
    }
}

/// What the link answers, within the deadline.
pub(super) async fn answered<T>(
    call: &str,
    answer: impl Future<Output = Result<Result<T, Refusal>, link::Stopped>>,
) -> Result<T, Status> {
    within_deadline(call, answer).await?.map_err(convert::refusal)
}

/// As [`answered`], for what cannot be refused.
pub(super) async fn within_deadline<T>(
    call: &str,
    answer: impl Future<Output = Result<T, link::Stopped>>,
) -> Result<T, Status> {
    match tokio::time::timeout(DEADLINE, answer).await {
        Ok(answer) => answer.map_err(convert::stopping),
        Err(_) => {
            let text = format!("the daemon's link did not answer {call} within {DEADLINE:?}");
            Err(to_status(Code::IMD_DEADLINE_EXCEEDED, text))
        }
    }
}

/// The life of a binding: hello, statuses, goodbye. It ends with its reader, too.
async fn follow_binding(
    mut place: Place,
    hello: v1::Hello,
    mut statuses: Statuses,
    answers: Answers<v1::BindResponse>,
    goodbye: impl Future<Output = Arc<str>>,
) {
    let mut goodbye = pin!(goodbye);
    if answers.send(Ok(told(Event::Hello(hello)))).await.is_err() {
        return;
    }
    while let Ok(turn) = answers.reserve().await {
        tokio::select! {
            biased;
            () = answers.closed() => return,
            newer = &mut place.superseded => {
                turn.send(Err(superseded(newer.ok())));
                return;
            }
            reason = goodbye.as_mut() => {
                let reason = reason.to_string();
                turn.send(Ok(told(Event::Goodbye(v1::Goodbye { reason }))));
                return;
            }
            changed = statuses.changed() => {
                if changed.is_err() {
                    return;
                }
                let status = convert::status(&statuses.borrow_and_update());
                turn.send(Ok(told(Event::Status(status))));
            }
        }
    }
}

fn told(event: Event) -> v1::BindResponse {
    v1::BindResponse { event: Some(event) }
}

fn superseded(newer: Option<Requester>) -> Status {
    let by = newer.map(|app| format!(" by {app}")).unwrap_or_default();
    let text = format!("this binding has ended: the same instance_id was bound again{by}");
    to_status(Code::IMD_NOT_BOUND, text)
}

async fn follow_status(
    mut statuses: Statuses,
    answers: Answers<v1::WatchStatusResponse>,
    goodbye: impl Future<Output = Arc<str>>,
) {
    let mut goodbye = pin!(goodbye);
    statuses.mark_changed();
    while let Ok(turn) = answers.reserve().await {
        tokio::select! {
            biased;
            () = answers.closed() => return,
            _ = goodbye.as_mut() => {
                turn.send(Err(convert::stopping(link::Stopped)));
                return;
            }
            changed = statuses.changed() => {
                if changed.is_err() {
                    return;
                }
                let status = Some(convert::status(&statuses.borrow_and_update()));
                turn.send(Ok(v1::WatchStatusResponse { status }));
            }
        }
    }
}

/// A connect that was taken, and whoever waits for its callbacks. Ending the wait cancels nothing.
struct Waiting {
    instance: InstanceId,
    link: link::Handle,
    /// Of a call without a binding of its own.
    _place: Option<Place>,
}

impl Waiting {
    async fn pass_on(
        self,
        mut callbacks: mpsc::Receiver<Callback>,
        answers: Answers<v1::ConnectResponse>,
        goodbye: impl Future<Output = Arc<str>>,
    ) {
        let mut goodbye = pin!(goodbye);
        while let Ok(turn) = answers.reserve().await {
            let callback = tokio::select! {
                biased;
                () = answers.closed() => return,
                callback = callbacks.recv() => match callback {
                    Some(callback) => callback,
                    None => {
                        turn.send(Err(self.forgotten().await));
                        return;
                    }
                },
                _ = goodbye.as_mut() => {
                    turn.send(Err(convert::stopping(link::Stopped)));
                    return;
                }
            };
            let is_terminal = matches!(callback, Callback::Success(_) | Callback::Error(_));
            turn.send(Ok(convert::callback(callback)));
            if is_terminal {
                return;
            }
        }
    }

    /// Why the link calls back no more: it has ended, or another stream waits for the same connect.
    async fn forgotten(&self) -> Status {
        match within_deadline("Connect", self.link.instance(self.instance.clone())).await {
            Err(stopping) => stopping,
            Ok(_) => to_status(
                Code::RC_CONNECTION_EXIST,
                "the same connect_id was sent again: its callbacks go to the newer stream",
            ),
        }
    }
}
