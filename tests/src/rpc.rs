//! An app without imd's library: plain gRPC over the socket, as another language would speak it.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use imd_proto::BINDING_METADATA;
use imd_proto::code::Code;
use imd_proto::imd::v1::admin_service_client::AdminServiceClient;
use imd_proto::imd::v1::session_service_client::SessionServiceClient;
use imd_proto::imd::v1::{
    App, BindRequest, BindResponse, ConnectRequest, ConnectionStatus, DisconnectRequest, GetStatusRequest,
    GetVersionRequest, GetVersionResponse, Hello, InitRequest, ListAppsRequest, ListStatusChangesRequest,
    LogoutRequest, StatusChange, bind_response, connect_response,
};
use imd_proto::status::{Failure, from_status};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tower::service_fn;

use crate::APP_KEY;

/// How long any answer may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// A connection to a daemon.
#[derive(Debug)]
pub struct Rpc {
    runtime: Runtime,
    channel: Channel,
}

/// What one accepted connect was told, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callbacks {
    /// The codes of onDatabaseOpened: at most one, and before the end.
    pub database_opened: Option<i32>,
    /// onSuccess with the user id, or onError.
    pub end: Result<String, Failure>,
}

/// A bound app; unbound when dropped.
#[derive(Debug)]
pub struct Bound {
    pub hello: Hello,
    stream: Streaming<BindResponse>,
}

impl Rpc {
    /// Connects to the socket.
    ///
    /// # Errors
    /// [`Code::IPC_DISCONNECT`] when nobody answers there.
    ///
    /// # Panics
    /// When no runtime can be built.
    pub fn dial(socket: &Path) -> Result<Self, Failure> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let socket = socket.to_owned();
        let connector = service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let dialled = runtime.block_on(
            Endpoint::from_static("http://localhost")
                .connect_timeout(DEADLINE)
                .connect_with_connector(connector),
        );
        let channel = dialled.map_err(|error| failure(&Status::from_error(Box::new(error))))?;
        Ok(Self { runtime, channel })
    }

    /// GetStatus.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    pub fn status(&self) -> Result<ConnectionStatus, Failure> {
        let answer = self.wait(async { self.session().get_status(GetStatusRequest {}).await })?;
        Ok(answer.into_inner().status.unwrap_or_default())
    }

    /// GetVersion.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    pub fn version(&self) -> Result<GetVersionResponse, Failure> {
        let answer = self.wait(async { self.admin().get_version(GetVersionRequest {}).await })?;
        Ok(answer.into_inner())
    }

    /// ListApps.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    pub fn apps(&self) -> Result<Vec<App>, Failure> {
        let answer = self.wait(async { self.admin().list_apps(ListAppsRequest {}).await })?;
        Ok(answer.into_inner().apps)
    }

    /// ListStatusChanges.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    pub fn status_changes(&self) -> Result<Vec<StatusChange>, Failure> {
        let request = ListStatusChangesRequest::default();
        let answer = self.wait(async { self.admin().list_status_changes(request).await })?;
        Ok(answer.into_inner().changes)
    }

    /// Bind, up to the hello.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    ///
    /// # Panics
    /// When the first answer is no hello.
    pub fn bind(&self, app_id: &str) -> Result<Bound, Failure> {
        self.bind_instance(app_id, &uuid::Uuid::new_v4().to_string())
    }

    /// As [`Rpc::bind`], for an instance that has its id.
    ///
    /// # Errors
    /// What the daemon answers.
    ///
    /// # Panics
    /// When the daemon's first word is no hello.
    pub fn bind_instance(&self, app_id: &str, instance_id: &str) -> Result<Bound, Failure> {
        self.wait(async {
            let request = BindRequest {
                app_id: app_id.to_owned(),
                instance_id: instance_id.to_owned(),
                app_version: "1".to_owned(),
                protocol_min: imd_proto::PROTOCOL_MIN,
                protocol_max: imd_proto::PROTOCOL,
                capabilities: Vec::new(),
            };
            let mut stream = self.session().bind(request).await?.into_inner();
            let first = stream.message().await?.and_then(|answer| answer.event);
            let Some(bind_response::Event::Hello(hello)) = first else {
                panic!("the first word on a Bind stream is {first:?}, not a hello");
            };
            Ok(Bound { hello, stream })
        })
    }

    /// The next word on a Bind stream; `None` at its end.
    ///
    /// # Errors
    /// How the stream broke.
    pub fn next(&self, bound: &mut Bound) -> Result<Option<bind_response::Event>, Failure> {
        let answer = self.wait(bound.stream.message())?;
        Ok(answer.and_then(|answer| answer.event))
    }

    /// Init.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    pub fn init(&self, bound: &Bound, app_key: &str) -> Result<(), Failure> {
        let request = in_binding(
            InitRequest {
                app_key: app_key.to_owned(),
            },
            Some(bound),
        );
        self.wait(async { self.session().init(request).await })?;
        Ok(())
    }

    /// Connect, up to its end: for a bound app, or for a one-call app.
    ///
    /// # Errors
    /// The daemon's refusal, or that it does not answer.
    ///
    /// # Panics
    /// When the callbacks are not as promised: onDatabaseOpened at most once, then exactly one end.
    pub fn connect(&self, bound: Option<&Bound>, request: ConnectRequest) -> Result<Callbacks, Failure> {
        self.wait(async {
            let mut request = request;
            if bound.is_some() {
                // A bound app has said its App Key in Init.
                request.app_key.clear();
            }
            let mut stream = self
                .session()
                .connect(in_binding(request, bound))
                .await?
                .into_inner();
            let mut database_opened = None;
            let mut end = None;
            while let Some(answer) = stream.message().await? {
                assert!(end.is_none(), "{answer:?} came after the end");
                match answer.event {
                    Some(connect_response::Event::DatabaseOpened(opened)) => {
                        assert_eq!(database_opened, None, "onDatabaseOpened came twice");
                        database_opened = Some(opened.code);
                    }
                    Some(connect_response::Event::Success(success)) => end = Some(Ok(success.user_id)),
                    Some(connect_response::Event::Error(error)) => {
                        end = Some(Err(Failure {
                            code: Code(error.code),
                            text: error.text,
                        }));
                    }
                    None => panic!("an empty answer to Connect"),
                }
            }
            let end = end.expect("a Connect stream ends with onSuccess or onError");
            Ok(Callbacks { database_opened, end })
        })
    }

    /// Disconnect.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    pub fn disconnect(&self) -> Result<(), Failure> {
        self.wait(async { self.session().disconnect(DisconnectRequest {}).await })?;
        Ok(())
    }

    /// Logout.
    ///
    /// # Errors
    /// What the daemon answers, or that it does not.
    pub fn logout(&self) -> Result<(), Failure> {
        self.wait(async { self.session().logout(LogoutRequest {}).await })?;
        Ok(())
    }

    fn session(&self) -> SessionServiceClient<Channel> {
        SessionServiceClient::new(self.channel.clone())
    }

    fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone())
    }

    fn wait<T>(&self, call: impl Future<Output = Result<T, Status>>) -> Result<T, Failure> {
        self.runtime
            .block_on(async { tokio::time::timeout(DEADLINE, call).await })
            .unwrap_or_else(|_| panic!("the daemon has not answered in {DEADLINE:?}"))
            .map_err(|status| failure(&status))
    }
}

/// A connect of a one-call app with the tests' App Key, without a time limit.
#[must_use]
pub fn connect_request(user_id: &str, token: &str) -> ConnectRequest {
    ConnectRequest {
        token: token.to_owned(),
        user_id: user_id.to_owned(),
        app_key: APP_KEY.to_owned(),
        ..ConnectRequest::default()
    }
}

/// Another daemon than the awaited one answers: an answer for `eventually`.
#[must_use]
pub fn other_daemon(pid: i32) -> Failure {
    Failure {
        code: Code::IPC_DISCONNECT,
        text: format!("process {pid} answers"),
    }
}

fn in_binding<T>(message: T, bound: Option<&Bound>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(bound) = bound {
        let id = bound
            .hello
            .binding_id
            .parse()
            .expect("a binding id can stand in metadata");
        request.metadata_mut().insert(BINDING_METADATA, id);
    }
    request
}

fn failure(status: &Status) -> Failure {
    from_status(status)
}
