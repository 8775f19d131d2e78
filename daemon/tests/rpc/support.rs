//! A daemon's socket in a directory of its own, and the link's side of it in the test's hands.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use imd::clock;
use imd::hub::Hub;
use imd::link::{Command, Handle};
use imd::rpc::{About, Archive, Diagnose, Finding, Limits, ServeError, Services, Stop, Verdict, serve};
use imd::store::Store;
use imd_core::ConnectPhase;
use imd_core::account::AppKey;
use imd_core::io::{
    Callback, ConnectRequest, ConnectionStatus, InstanceId, Network, OfflineSync, Refusal, Request, Status,
};
use imd_core::time::BootTime;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::admin_service_client::AdminServiceClient;
use imd_proto::imd::v1::bind_response::Event;
use imd_proto::imd::v1::conversation_service_client::ConversationServiceClient;
use imd_proto::imd::v1::event_service_client::EventServiceClient;
use imd_proto::imd::v1::group_service_client::GroupServiceClient;
use imd_proto::imd::v1::message_service_client::MessageServiceClient;
use imd_proto::imd::v1::session_service_client::SessionServiceClient;
use imd_proto::status::from_status;
use interprocess::local_socket::tokio::prelude::*;
use interprocess::local_socket::{ConnectOptions, GenericFilePath, ListenerOptions};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use interprocess::os::unix::uds_local_socket::tokio::{Listener, Stream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::archive::FakeArchive;

/// Long enough for anything that is to happen at all.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) type Session = SessionServiceClient<Channel>;
pub(crate) type Admin = AdminServiceClient<Channel>;

pub(crate) struct Daemon {
    pub(crate) hub: Arc<Hub>,
    pub(crate) archive: FakeArchive,
    pub(crate) stop: Stop,
    commands: mpsc::Receiver<Command>,
    served: JoinHandle<Result<(), ServeError>>,
    path: PathBuf,
    _directory: tempfile::TempDir,
}

/// Finds one thing, and breaks down when it is asked to look at the broker.
struct Checks;

#[tonic::async_trait]
impl Diagnose for Checks {
    async fn findings(&self, probe_broker: bool) -> Vec<Finding> {
        assert!(!probe_broker, "the check broke down");
        vec![Finding {
            check: "server".into(),
            verdict: Verdict::Failed,
            text: "no answer".to_owned(),
            mend: "start it".to_owned(),
        }]
    }
}

impl Daemon {
    pub(crate) fn start() -> Self {
        Self::with(Limits::default())
    }

    pub(crate) fn with(limits: Limits) -> Self {
        let archive = FakeArchive::default();
        Self::over(Arc::new(archive.clone()), archive, limits)
    }

    /// With the store itself.
    pub(crate) fn with_store(store: Store) -> Self {
        Self::over(Arc::new(store), FakeArchive::default(), Limits::default())
    }

    fn over(served: Arc<dyn Archive>, archive: FakeArchive, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("imd.sock");
        let listener = ListenerOptions::new()
            .name(path.as_path().to_fs_name::<GenericFilePath>().unwrap())
            .mode(0o600)
            .create_tokio_as::<Listener>()
            .unwrap();
        let (link, commands) = Handle::new();
        let hub = Arc::new(Hub::default());
        let stop = Stop::default();
        let services = Services {
            link,
            hub: Arc::clone(&hub),
            archive: served,
            about: About {
                version: "0.0.0-test".to_owned(),
                instance: "imd".to_owned(),
                run_id: "run".to_owned(),
                started: clock::now().unix,
            },
            stop: stop.clone(),
            diagnose: Arc::new(Checks),
            limits,
            allow: None,
        };
        let serving = tokio::spawn(serve(listener, services, stop.clone()));
        Self {
            hub,
            archive,
            stop,
            commands,
            served: serving,
            path,
            _directory: directory,
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn raw(&self) -> Stream {
        let name = self.path.as_path().to_fs_name::<GenericFilePath>().unwrap();
        ConnectOptions::new()
            .name(name)
            .connect_tokio_as::<Stream>()
            .await
            .unwrap()
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.channel_with(Endpoint::from_static("http://localhost")).await
    }

    pub(crate) async fn channel_with(&self, endpoint: Endpoint) -> Channel {
        let mut stream = Some(TokioIo::new(self.raw().await));
        let connector = tower::service_fn(move |_| {
            let stream = stream.take();
            async move { stream.ok_or(std::io::Error::from(std::io::ErrorKind::NotConnected)) }
        });
        endpoint.connect_with_connector(connector).await.unwrap()
    }

    pub(crate) async fn session(&self) -> Session {
        SessionServiceClient::new(self.channel().await)
    }

    pub(crate) async fn admin(&self) -> Admin {
        AdminServiceClient::new(self.channel().await)
    }

    pub(crate) async fn messages(&self) -> MessageServiceClient<Channel> {
        MessageServiceClient::new(self.channel().await)
    }

    pub(crate) async fn conversations(&self) -> ConversationServiceClient<Channel> {
        ConversationServiceClient::new(self.channel().await)
    }

    pub(crate) async fn groups(&self) -> GroupServiceClient<Channel> {
        GroupServiceClient::new(self.channel().await)
    }

    pub(crate) async fn events(&self) -> EventServiceClient<Channel> {
        EventServiceClient::new(self.channel().await)
    }

    /// Binds an instance: its binding's id, and the rest of its stream.
    pub(crate) async fn bind(&self, instance: &str) -> (String, Streaming<v1::BindResponse>) {
        let mut session = self.session().await;
        let mut events = session.bind(hello(instance)).await.unwrap().into_inner();
        let Event::Hello(hello) = told(&mut events).await else {
            panic!("the first word is no hello");
        };
        (hello.binding_id, events)
    }

    /// What the link is asked next.
    pub(crate) async fn command(&mut self) -> Command {
        soon(self.commands.recv()).await.expect("rpc is gone")
    }

    /// Nothing was asked of the link.
    #[track_caller]
    pub(crate) fn assert_idle(&mut self) {
        assert!(
            self.commands.try_recv().is_err(),
            "the link was asked for something"
        );
    }

    /// The link's task ends.
    pub(crate) fn end_link(&mut self) {
        self.commands = Handle::new().1;
    }

    pub(crate) async fn connect_asked(&mut self) -> ConnectAsked {
        match self.command().await {
            Command::Connect {
                request,
                answer,
                callbacks,
            } => ConnectAsked {
                request,
                answer: Some(answer),
                callbacks,
            },
            Command::Ask { .. }
            | Command::Unbound { .. }
            | Command::TokenProvider { .. }
            | Command::Instance { .. }
            | Command::JoinGroup { .. }
            | Command::QuitGroup { .. }
            | Command::LastHeard { .. }
            | Command::Stop { .. } => {
                panic!("not a connect")
            }
        }
    }

    pub(crate) async fn answer(&mut self, result: Result<(), Refusal>) -> Request {
        let Command::Ask { request, answer } = self.command().await else {
            panic!("not a plain request");
        };
        answer.send(result).unwrap();
        request
    }

    pub(crate) async fn instance_asked(&mut self, app_key: Option<&str>, phase: ConnectPhase) -> InstanceId {
        let Command::Instance { instance, answer } = self.command().await else {
            panic!("not a question for an instance");
        };
        answer
            .send((app_key.map(|key| AppKey::parse(key).unwrap()), phase))
            .unwrap();
        instance
    }

    pub(crate) async fn last_heard_asked(&mut self, at: Option<BootTime>) {
        let Command::LastHeard { answer } = self.command().await else {
            panic!("not a question for the server's last word");
        };
        answer.send(at).unwrap();
    }

    pub(crate) async fn unbound(&mut self) -> InstanceId {
        let Command::Unbound { instance } = self.command().await else {
            panic!("not an end of a binding");
        };
        instance
    }

    /// Whether anybody else is still served.
    pub(crate) async fn assert_serves(&self) {
        let mut session = self.session().await;
        let status = soon(session.get_status(v1::GetStatusRequest {})).await.unwrap();
        assert!(status.into_inner().status.is_some());
    }

    /// Waits for the end of the serving.
    pub(crate) async fn served(self) -> Result<(), ServeError> {
        soon(self.served).await.unwrap()
    }
}

/// A connect in the link's hands.
pub(crate) struct ConnectAsked {
    pub(crate) request: ConnectRequest,
    answer: Option<oneshot::Sender<Result<(), Refusal>>>,
    pub(crate) callbacks: mpsc::Sender<Callback>,
}

impl ConnectAsked {
    pub(crate) fn take(mut self) -> Self {
        self.answer.take().unwrap().send(Ok(())).unwrap();
        self
    }

    pub(crate) fn refuse(mut self, code: Code) {
        let refusal = Refusal {
            code,
            text: "no".to_owned(),
        };
        self.answer.take().unwrap().send(Err(refusal)).unwrap();
    }

    pub(crate) async fn call_back(&self, callback: Callback) {
        self.callbacks.send(callback).await.unwrap();
    }
}

pub(crate) fn hello(instance: &str) -> v1::BindRequest {
    v1::BindRequest {
        app_id: "org.example.Chat".to_owned(),
        instance_id: instance.to_owned(),
        app_version: "1.2.3".to_owned(),
        protocol_min: 1,
        protocol_max: 1,
        capabilities: Vec::new(),
    }
}

pub(crate) fn connect(token: &str) -> v1::ConnectRequest {
    v1::ConnectRequest {
        token: token.to_owned(),
        ..v1::ConnectRequest::default()
    }
}

/// A request that names its binding.
pub(crate) fn bound<T>(binding: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request
        .metadata_mut()
        .insert(imd_proto::BINDING_METADATA, binding.parse().unwrap());
    request
}

pub(crate) fn status(status: ConnectionStatus, generation: u64) -> Status {
    Status {
        status,
        generation,
        reason: "a test".to_owned(),
        attempt: 0,
        next_retry: None,
        last_code: None,
        network: Network::Available,
        app_key: None,
        user_id: None,
        server: None,
        offline_sync: OfflineSync::NotConnected,
        storage_full: None,
    }
}

/// The next event of a binding.
pub(crate) async fn told(events: &mut Streaming<v1::BindResponse>) -> Event {
    next(events).await.event.expect("an empty answer")
}

/// The next answer of a stream.
pub(crate) async fn next<T>(stream: &mut Streaming<T>) -> T {
    soon(stream.message())
        .await
        .unwrap()
        .expect("the stream has ended")
}

/// The code a stream ends with.
pub(crate) async fn end<T>(stream: &mut Streaming<T>) -> Code {
    match soon(stream.message()).await {
        Ok(Some(_)) => panic!("the stream goes on"),
        Ok(None) => panic!("the stream has ended without a code"),
        Err(status) => from_status(&status).code,
    }
}

/// The code a call fails with.
#[track_caller]
pub(crate) fn code<T>(result: Result<T, tonic::Status>) -> Code {
    match result {
        Ok(_) => panic!("the call was answered"),
        Err(status) => from_status(&status).code,
    }
}

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(SOON, future)
        .await
        .expect("nothing came in time")
}

/// Polls until it is so.
pub(crate) async fn until(mut so: impl FnMut() -> bool) {
    soon(async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}
