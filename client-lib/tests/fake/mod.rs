//! A daemon that says what a test tells it to: imd's services on a socket in a directory of its own, on a
//! thread of its own. Killing it closes its sockets at once, as kill -9 does.

#![expect(dead_code, reason = "each test binary uses another part of it")]

pub(crate) mod archive;

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::admin_service_server::{AdminService, AdminServiceServer};
use imd_proto::imd::v1::bind_response::Event as BindEvent;
use imd_proto::imd::v1::connect_response::Event as ConnectEvent;
use imd_proto::imd::v1::conversation_service_server::ConversationServiceServer;
use imd_proto::imd::v1::event_service_server::EventServiceServer;
use imd_proto::imd::v1::group_service_server::GroupServiceServer;
use imd_proto::imd::v1::message_service_server::MessageServiceServer;
use imd_proto::imd::v1::session_service_server::{SessionService, SessionServiceServer};
use imd_proto::status::to_status;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

type Events<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What the next connect gets.
#[derive(Clone)]
pub(crate) enum Connect {
    /// The call fails.
    Refuse(Code, &'static str),
    /// These events, then silence until the daemon dies.
    Play(Vec<ConnectEvent>),
    /// These events, then the daemon stops in order.
    PlayAndStop(Vec<ConnectEvent>),
}

/// What the daemon is told, and what it was asked.
#[derive(Clone)]
pub(crate) struct Script {
    pub(crate) status: Arc<Mutex<v1::ConnectionStatus>>,
    pub(crate) connect: Arc<Mutex<Connect>>,
    /// These calls are never answered.
    pub(crate) silent: Arc<Mutex<Vec<&'static str>>>,
    /// These calls are carried out, and never answered.
    pub(crate) unanswered: Arc<Mutex<Vec<&'static str>>>,
    /// These calls are refused.
    pub(crate) refused: Arc<Mutex<Vec<(&'static str, Code)>>>,
    pub(crate) findings: Arc<Mutex<Vec<v1::Finding>>>,
    pub(crate) changes: Arc<Mutex<Vec<v1::StatusChange>>>,
    pub(crate) runs: Arc<Mutex<Vec<v1::DaemonRun>>>,
    /// The calls that have come, by name.
    pub(crate) calls: watch::Sender<Vec<String>>,
    pub(crate) connects: Arc<Mutex<Vec<v1::ConnectRequest>>>,
    pub(crate) app_keys: Arc<Mutex<Vec<String>>>,
    /// The bindings that Connect calls named.
    pub(crate) bindings: Arc<Mutex<Vec<String>>>,
    /// How many Bind streams are open.
    pub(crate) bound: watch::Sender<usize>,
    /// The instance ids of Bind, in the order they came.
    pub(crate) instances: Arc<Mutex<Vec<String>>>,
    /// Whoever holds it stops the whole daemon with the next ListStatusChanges, as SIGSTOP does.
    pub(crate) frozen: Arc<Mutex<()>>,
    /// Counts the starts.
    pub(crate) run: Arc<Mutex<u32>>,
    pub(crate) archive: archive::Archive,
    events: broadcast::Sender<Result<BindEvent, Status>>,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            status: Arc::new(Mutex::new(status(2, 1, "no app has asked for a connection"))),
            connect: Arc::new(Mutex::new(Connect::Play(success("alice")))),
            silent: Arc::default(),
            unanswered: Arc::default(),
            refused: Arc::default(),
            findings: Arc::default(),
            changes: Arc::default(),
            runs: Arc::default(),
            calls: watch::Sender::default(),
            connects: Arc::default(),
            app_keys: Arc::default(),
            bindings: Arc::default(),
            bound: watch::Sender::default(),
            instances: Arc::default(),
            frozen: Arc::default(),
            run: Arc::default(),
            archive: archive::Archive::default(),
            events: broadcast::Sender::new(64),
        }
    }
}

pub(crate) fn status(number: i32, generation: u64, reason: &str) -> v1::ConnectionStatus {
    let name = match number {
        0 => "CONNECTED",
        1 => "CONNECTING",
        2 => "UNCONNECTED",
        3 => "KICKED_OFFLINE_BY_OTHER_CLIENT",
        12 => "SIGN_OUT",
        13 => "SUSPEND",
        _ => "OTHER",
    };
    v1::ConnectionStatus {
        status: number,
        status_name: name.to_owned(),
        generation,
        reason: reason.to_owned(),
        network: v1::NetworkState::Available.into(),
        app_key: "demo".to_owned(),
        user_id: "alice".to_owned(),
        server: "mqtt://127.0.0.1:1883".to_owned(),
        change_time: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 0,
        }),
        ..Default::default()
    }
}

pub(crate) fn opened() -> ConnectEvent {
    ConnectEvent::DatabaseOpened(v1::DatabaseOpened {
        code: 0,
        code_name: "OK".to_owned(),
        text: String::new(),
    })
}

pub(crate) fn success(user_id: &str) -> Vec<ConnectEvent> {
    let user_id = user_id.to_owned();
    vec![opened(), ConnectEvent::Success(v1::ConnectSuccess { user_id })]
}

pub(crate) fn error(code: i32, text: &str, action: &str) -> ConnectEvent {
    ConnectEvent::Error(v1::ConnectError {
        code,
        code_name: Code(code).name().to_owned(),
        text: text.to_owned(),
        action: action.to_owned(),
    })
}

impl Script {
    /// Makes a status the newest, and tells it to whoever is bound.
    pub(crate) fn publish(&self, status: v1::ConnectionStatus) {
        *self.status.lock().unwrap() = status.clone();
        let _ = self.events.send(Ok(BindEvent::Status(status)));
    }

    pub(crate) fn say_goodbye(&self, reason: &str) {
        let reason = reason.to_owned();
        let _ = self.events.send(Ok(BindEvent::Goodbye(v1::Goodbye { reason })));
    }

    /// Ends the bindings, as if somebody else had bound the same instance id.
    pub(crate) fn supersede(&self, text: &str) {
        let _ = self.events.send(Err(to_status(Code::IMD_NOT_BOUND, text)));
    }

    pub(crate) fn connect(&self, connect: Connect) {
        *self.connect.lock().unwrap() = connect;
    }

    pub(crate) fn silence(&self, call: &'static str) {
        self.silent.lock().unwrap().push(call);
    }

    /// Carries out these calls, and answers them no more.
    pub(crate) fn swallow(&self, call: &'static str) {
        self.unanswered.lock().unwrap().push(call);
    }

    /// Behaves again.
    pub(crate) fn behave(&self) {
        self.silent.lock().unwrap().clear();
        self.unanswered.lock().unwrap().clear();
        self.refused.lock().unwrap().clear();
    }

    pub(crate) fn refuse(&self, call: &'static str, code: Code) {
        self.refused.lock().unwrap().push((call, code));
    }

    /// Waits until a call has come.
    #[track_caller]
    pub(crate) fn wait_for_call(&self, name: &str) {
        self.wait_for_calls(name, 1);
    }

    /// Waits until a call has come so many times.
    #[track_caller]
    pub(crate) fn wait_for_calls(&self, name: &str, count: usize) {
        let mut calls = self.calls.subscribe();
        let reached = |calls: &Vec<String>| calls.iter().filter(|call| *call == name).count() >= count;
        wait(calls.wait_for(reached)).unwrap();
    }

    pub(crate) fn count(&self, name: &str) -> usize {
        self.calls.borrow().iter().filter(|call| *call == name).count()
    }

    /// Waits until so many follow the events.
    #[track_caller]
    pub(crate) fn wait_for_subscribed(&self, count: usize) {
        let mut subscribed = self.archive.subscribed.subscribe();
        wait(subscribed.wait_for(|subscribed| *subscribed == count)).unwrap();
    }

    /// Waits until so many apps are bound.
    #[track_caller]
    pub(crate) fn wait_for_bound(&self, count: usize) {
        let mut bound = self.bound.subscribe();
        wait(bound.wait_for(|bound| *bound == count)).unwrap();
    }

    async fn enter(&self, name: &'static str) -> Result<(), Status> {
        // What a test says after it has heard of a call is for the next one.
        let refused = self.refused.lock().unwrap().clone();
        let is_silent = self.silent.lock().unwrap().contains(&name);
        self.calls.send_modify(|calls| calls.push(name.to_owned()));
        if let Some((_, code)) = refused.iter().find(|(call, _)| *call == name) {
            return Err(to_status(*code, "as the test says"));
        }
        if is_silent {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// After a call has been carried out.
    async fn leave(&self, name: &'static str) {
        if self.unanswered.lock().unwrap().contains(&name) {
            self.calls
                .send_modify(|calls| calls.push(format!("{name} unanswered")));
            std::future::pending::<()>().await;
        }
    }

    fn newest(&self) -> v1::ConnectionStatus {
        self.status.lock().unwrap().clone()
    }
}

/// Waits, with a limit far above what is needed.
#[track_caller]
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), future).await })
        .expect("it does not come within 20 seconds")
}

/// The fake, alive until it is dropped.
pub(crate) struct FakeDaemon {
    pub(crate) script: Script,
    directory: tempfile::TempDir,
    thread: Option<(oneshot::Sender<()>, std::thread::JoinHandle<()>)>,
}

impl FakeDaemon {
    pub(crate) fn start() -> Self {
        Self::with(Script::default())
    }

    pub(crate) fn with(script: Script) -> Self {
        let mut daemon = Self::to_come(script);
        daemon.restart();
        daemon
    }

    /// It is not there yet.
    pub(crate) fn to_come(script: Script) -> Self {
        Self {
            script,
            directory: tempfile::tempdir().unwrap(),
            thread: None,
        }
    }

    /// Starts it, again if it ran before: the same script and what it remembers, and another run.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let (stop, stopped) = oneshot::channel();
        let (ready, listening) = std::sync::mpsc::channel();
        let path = self.socket();
        let _ = std::fs::DirBuilder::new()
            .mode(0o700)
            .create(path.parent().unwrap());
        let _ = std::fs::remove_file(&path);
        *self.script.run.lock().unwrap() += 1;
        let served = self.script.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::UnixListener::bind(&path).unwrap();
                ready.send(()).unwrap();
                tokio::spawn(serve(listener, served));
                let _ = stopped.await;
            });
        });
        listening.recv().unwrap();
        self.thread = Some((stop, thread));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        socket_in(self.directory.path())
    }

    /// Closes every socket, with no word said.
    pub(crate) fn kill(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            thread.join().unwrap();
        }
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.kill();
    }
}

fn socket_in(directory: &Path) -> PathBuf {
    directory.join("imd").join("imd.sock")
}

async fn serve(listener: tokio::net::UnixListener, script: Script) {
    let (accepted, incoming) = mpsc::channel(16);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = accepted.send(Ok::<_, std::io::Error>(stream)).await;
        }
    });
    tonic::transport::Server::builder()
        .add_service(SessionServiceServer::new(script.clone()))
        .add_service(AdminServiceServer::new(script.clone()))
        .add_service(MessageServiceServer::new(script.clone()))
        .add_service(EventServiceServer::new(script.clone()))
        .add_service(ConversationServiceServer::new(script.clone()))
        .add_service(GroupServiceServer::new(script))
        .serve_with_incoming(ReceiverStream::new(incoming))
        .await
        .unwrap();
}

/// Counts a stream for as long as it lives.
pub(crate) struct Counted(watch::Sender<usize>);

impl Counted {
    pub(crate) fn new(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[tonic::async_trait]
impl SessionService for Script {
    type BindStream = Events<v1::BindResponse>;
    type ConnectStream = Events<v1::ConnectResponse>;
    type WatchStatusStream = Events<v1::WatchStatusResponse>;
    type WatchTokenExpiringStream = Events<v1::WatchTokenExpiringResponse>;

    async fn bind(&self, request: Request<v1::BindRequest>) -> Result<Response<Self::BindStream>, Status> {
        let instance = request.get_ref().instance_id.clone();
        self.instances.lock().unwrap().push(instance);
        self.enter("Bind").await?;
        let bound = Counted::new(&self.bound);
        let hello = BindEvent::Hello(v1::Hello {
            binding_id: format!("binding of {}", request.get_ref().app_id),
            daemon_version: "0.0.0".to_owned(),
            protocol: 1,
            daemon_run_id: format!("run {}", self.run.lock().unwrap()),
            status: Some(self.newest()),
            ..Default::default()
        });
        let mut events = self.events.subscribe();
        let (tell, told) = mpsc::channel(16);
        tokio::spawn(async move {
            let _bound = bound;
            let mut next = Some(Ok(hello));
            while let Some(event) = next {
                let last = matches!(event, Ok(BindEvent::Goodbye(_)) | Err(_));
                let answer = event.map(|event| v1::BindResponse { event: Some(event) });
                let sent = tell.send(answer).await;
                if last || sent.is_err() {
                    return;
                }
                next = tokio::select! {
                    event = events.recv() => event.ok(),
                    () = tell.closed() => None,
                };
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn init(&self, request: Request<v1::InitRequest>) -> Result<Response<v1::InitResponse>, Status> {
        self.enter("Init").await?;
        self.app_keys.lock().unwrap().push(request.into_inner().app_key);
        Ok(Response::new(v1::InitResponse {}))
    }

    async fn connect(
        &self,
        request: Request<v1::ConnectRequest>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        self.connects.lock().unwrap().push(request.get_ref().clone());
        let binding = request.metadata().get(imd_proto::BINDING_METADATA);
        let binding = binding.map_or("none", |binding| binding.to_str().unwrap());
        self.bindings.lock().unwrap().push(binding.to_owned());
        let connect = self.connect.lock().unwrap().clone();
        self.enter("Connect").await?;
        let (events, stops) = match connect {
            Connect::Refuse(code, text) => return Err(to_status(code, text)),
            Connect::Play(events) => (events, false),
            Connect::PlayAndStop(events) => (events, true),
        };
        if events
            .iter()
            .any(|event| matches!(event, ConnectEvent::Success(_)))
        {
            let generation = self.newest().generation;
            // The Bind stream may well be behind the answer.
            *self.status.lock().unwrap() = status(0, generation + 1, "connected");
        }
        let played = events
            .into_iter()
            .map(|event| Ok(v1::ConnectResponse { event: Some(event) }));
        let last = stops.then(|| Err(to_status(Code::IMD_STOPPING, "an update")));
        let played = tokio_stream::iter(played.chain(last).collect::<Vec<_>>());
        Ok(Response::new(Box::pin(played.chain(tokio_stream::pending()))))
    }

    async fn disconnect(
        &self,
        _: Request<v1::DisconnectRequest>,
    ) -> Result<Response<v1::DisconnectResponse>, Status> {
        self.enter("Disconnect").await?;
        let generation = self.newest().generation;
        *self.status.lock().unwrap() = status(12, generation + 1, "signed out");
        Ok(Response::new(v1::DisconnectResponse {}))
    }

    async fn logout(&self, _: Request<v1::LogoutRequest>) -> Result<Response<v1::LogoutResponse>, Status> {
        self.enter("Logout").await?;
        Ok(Response::new(v1::LogoutResponse {}))
    }

    async fn get_status(
        &self,
        _: Request<v1::GetStatusRequest>,
    ) -> Result<Response<v1::GetStatusResponse>, Status> {
        self.enter("GetStatus").await?;
        Ok(Response::new(v1::GetStatusResponse {
            status: Some(self.newest()),
        }))
    }

    async fn watch_status(
        &self,
        _: Request<v1::WatchStatusRequest>,
    ) -> Result<Response<Self::WatchStatusStream>, Status> {
        Err(Status::unimplemented("the library uses the Bind stream"))
    }

    async fn watch_token_expiring(
        &self,
        _: Request<v1::WatchTokenExpiringRequest>,
    ) -> Result<Response<Self::WatchTokenExpiringStream>, Status> {
        Err(Status::unimplemented("an older daemon"))
    }

    async fn update_token(
        &self,
        _: Request<v1::UpdateTokenRequest>,
    ) -> Result<Response<v1::UpdateTokenResponse>, Status> {
        Err(Status::unimplemented("an older daemon"))
    }
}

#[tonic::async_trait]
impl AdminService for Script {
    async fn get_version(
        &self,
        _: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::GetVersionResponse>, Status> {
        self.enter("GetVersion").await?;
        Ok(Response::new(v1::GetVersionResponse {
            version: "0.0.0".to_owned(),
            protocol_min: 1,
            protocol_max: 1,
            pid: 4711,
            instance: "imd".to_owned(),
            ..Default::default()
        }))
    }

    async fn shutdown(
        &self,
        _: Request<v1::ShutdownRequest>,
    ) -> Result<Response<v1::ShutdownResponse>, Status> {
        self.enter("Shutdown").await?;
        self.say_goodbye("a test said so");
        Ok(Response::new(v1::ShutdownResponse {}))
    }

    async fn list_apps(
        &self,
        _: Request<v1::ListAppsRequest>,
    ) -> Result<Response<v1::ListAppsResponse>, Status> {
        self.enter("ListApps").await?;
        let app = v1::App {
            app_id: "org.example.Chat".to_owned(),
            instance_id: "one".to_owned(),
            app_version: "1.0".to_owned(),
            pid: 42,
            bind_time: Some(prost_types::Timestamp {
                seconds: 1_700_000_000,
                nanos: 0,
            }),
            app_key: "demo".to_owned(),
            connect_phase: v1::ConnectPhase::Succeeded.into(),
            lag: Some(3),
            subscriptions: 1,
        };
        Ok(Response::new(v1::ListAppsResponse { apps: vec![app] }))
    }

    async fn list_status_changes(
        &self,
        _: Request<v1::ListStatusChangesRequest>,
    ) -> Result<Response<v1::ListStatusChangesResponse>, Status> {
        self.enter("ListStatusChanges").await?;
        drop(self.frozen.lock());
        let changes = self.changes.lock().unwrap().clone();
        let runs = self.runs.lock().unwrap().clone();
        Ok(Response::new(v1::ListStatusChangesResponse { changes, runs }))
    }

    async fn get_metrics(
        &self,
        _: Request<v1::GetMetricsRequest>,
    ) -> Result<Response<v1::GetMetricsResponse>, Status> {
        self.enter("GetMetrics").await?;
        let open_metrics = "# TYPE a counter\n# HELP a x\na_total{code=\"-1\"} 2\n# EOF\n".to_owned();
        Ok(Response::new(v1::GetMetricsResponse { open_metrics }))
    }

    async fn diagnose(
        &self,
        _: Request<v1::DiagnoseRequest>,
    ) -> Result<Response<v1::DiagnoseResponse>, Status> {
        self.enter("Diagnose").await?;
        let findings = self.findings.lock().unwrap().clone();
        Ok(Response::new(v1::DiagnoseResponse { findings }))
    }
}
