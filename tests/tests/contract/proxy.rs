//! A daemon of another version: the real one, behind a proxy that speaks an older contract, or a later one.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::thread;

use hyper_util::rt::TokioIo;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::body::Body;
use tonic::client;
use tonic::codegen::http;
use tonic::server::{self, ServerStreamingService};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::Service;

use crate::wire::{Dynamic, forget};

/// How the daemon differs from the one behind.
#[derive(Clone)]
pub(crate) enum Version {
    /// It has this contract, and of that not these methods (`/imd.v1.S/M`): what else there is it neither
    /// reads nor writes.
    Older {
        contract: DescriptorPool,
        without: &'static [&'static str],
    },
    /// Every answer of its has fields, and every stream messages, that this contract does not know.
    Later { contract: DescriptorPool },
}

/// Serves until it is dropped.
pub(crate) struct Proxy {
    socket: PathBuf,
    _directory: tempfile::TempDir,
    _life: oneshot::Sender<()>,
    /// How many fields it has added, or taken away.
    changed: Arc<AtomicUsize>,
}

impl Proxy {
    pub(crate) fn before(daemon: &Path, version: Version) -> Self {
        let directory = tempfile::Builder::new().prefix("imd-").tempdir().unwrap();
        let socket = directory.path().join("imd.sock");
        let (life, end) = oneshot::channel();
        let (ready, listening) = std::sync::mpsc::sync_channel(1);
        let (daemon, path) = (daemon.to_owned(), socket.clone());
        let changed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&changed);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = UnixListener::bind(path).unwrap();
                let skewed = Skewed {
                    daemon: dial(daemon).await,
                    version,
                    changed: count,
                };
                ready.send(()).unwrap();
                tokio::select! {
                    () = serve(listener, skewed) => {}
                    _ = end => {}
                }
            });
        });
        listening.recv().unwrap();
        Self {
            socket,
            _directory: directory,
            _life: life,
            changed,
        }
    }

    pub(crate) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(crate) fn changed(&self) -> usize {
        self.changed.load(Ordering::Relaxed)
    }
}

async fn dial(daemon: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let daemon = daemon.clone();
        async move { UnixStream::connect(daemon).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .unwrap()
}

async fn serve(listener: UnixListener, skewed: Skewed) {
    let (accepted, incoming) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            if accepted.send(Ok::<_, std::io::Error>(stream)).await.is_err() {
                return;
            }
        }
    });
    Server::builder()
        .layer(tower::layer::layer_fn(move |_routes: Routes| skewed.clone()))
        .add_routes(Routes::default())
        .serve_with_incoming(ReceiverStream::new(incoming))
        .await
        .unwrap();
}

/// The proxy's one service: any call of the contract.
#[derive(Clone)]
struct Skewed {
    daemon: Channel,
    version: Version,
    changed: Arc<AtomicUsize>,
}

impl Skewed {
    fn method(&self, path: &str) -> Option<MethodDescriptor> {
        let (contract, without) = match &self.version {
            Version::Older { contract, without } => (contract, *without),
            Version::Later { contract } => (contract, &[][..]),
        };
        if without.contains(&path) {
            return None;
        }
        let (service, name) = path.strip_prefix('/')?.split_once('/')?;
        let service = contract.get_service_by_name(service)?;
        service.methods().find(|method| method.name() == name)
    }

    fn as_read(&self, mut request: DynamicMessage) -> DynamicMessage {
        if let Version::Older { .. } = self.version {
            self.changed.fetch_add(forget(&mut request), Ordering::Relaxed);
        }
        request
    }

    /// An answer as that version writes it.
    fn as_written(&self, mut answer: DynamicMessage) -> DynamicMessage {
        match &self.version {
            Version::Older { .. } => {
                self.changed.fetch_add(forget(&mut answer), Ordering::Relaxed);
                answer
            }
            Version::Later { .. } => {
                self.changed.fetch_add(1, Ordering::Relaxed);
                let kind = prost_reflect::ReflectMessage::descriptor(&answer);
                let mut bytes = answer.encode_to_vec();
                // Field 15000 is a number, 15001 a text.
                bytes.extend([0xC0, 0xA9, 0x07, 0x01, 0xCA, 0xA9, 0x07, 0x02, b'h', b'i']);
                DynamicMessage::decode(kind, bytes.as_slice()).unwrap()
            }
        }
    }
}

impl Service<http::Request<Body>> for Skewed {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move {
            let Some(method) = this.method(request.uri().path()) else {
                return Ok(Status::unimplemented("").into_http());
            };
            let call = Call {
                path: request.uri().path().parse().unwrap(),
                method: method.clone(),
                skewed: this,
            };
            Ok(server::Grpc::new(Dynamic(method.input()))
                .server_streaming(call, request)
                .await)
        })
    }
}

struct Call {
    path: http::uri::PathAndQuery,
    method: MethodDescriptor,
    skewed: Skewed,
}

type Answers = Pin<Box<dyn Stream<Item = Result<DynamicMessage, Status>> + Send>>;

impl ServerStreamingService<DynamicMessage> for Call {
    type Response = DynamicMessage;
    type ResponseStream = Answers;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answers>, Status>> + Send>>;

    fn call(&mut self, request: Request<DynamicMessage>) -> Self::Future {
        let (path, skewed) = (self.path.clone(), self.skewed.clone());
        let method = self.method.clone();
        Box::pin(async move {
            let (metadata, _, message) = request.into_parts();
            let mut onward = Request::new(skewed.as_read(message));
            if let Some(binding) = metadata.get(imd_proto::BINDING_METADATA) {
                onward
                    .metadata_mut()
                    .insert(imd_proto::BINDING_METADATA, binding.clone());
            }
            let mut grpc = client::Grpc::new(skewed.daemon.clone());
            grpc.ready()
                .await
                .map_err(|error| Status::from_error(Box::new(error)))?;
            let answers = grpc
                .server_streaming(onward, path, Dynamic(method.output()))
                .await?;
            let later = matches!(skewed.version, Version::Later { .. }) && method.is_server_streaming();
            let output = method.output();
            let mut answers = answers.into_inner();
            let (written, stream) = mpsc::channel(1);
            tokio::spawn(async move {
                while let Some(answer) = answers.next().await {
                    if written
                        .send(answer.map(|answer| skewed.as_written(answer)))
                        .await
                        .is_err()
                    {
                        return;
                    }
                    // A kind of answer that nobody knows yet.
                    let unknown = DynamicMessage::decode(output.clone(), [0xC2, 0xA9, 0x07, 0x00].as_slice());
                    if later && written.send(Ok(unknown.unwrap())).await.is_err() {
                        return;
                    }
                }
            });
            let written = ReceiverStream::new(stream);
            Ok(Response::new(Box::pin(written) as Answers))
        })
    }
}
