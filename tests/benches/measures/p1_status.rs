//! P1: GetStatus, everything pinned to one core, beside a bare ping-pong of 64 bytes over a Unix socket in
//! tokio, and beside the same status over D-Bus (zbus at both ends, a dbus-daemon of its own between).

use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use imd_benches::Scale;
use imd_benches::monotonic::{Instant, timed};
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::rival::Rival;
use imd_benches::stage;
use imd_benches::statistics::Samples;
use imd_client::BlockingClient;
use imd_proto::imd::v1::GetStatusRequest;
use imd_proto::imd::v1::session_service_client::SessionServiceClient;
use imd_tests::process::{Process, run};
use imd_tests::wait::{SOON, eventually};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::{Builder, Runtime};
use tonic::transport::{Channel, Endpoint};

const PING: usize = 64;

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P1", scale);
    let (rounds, calls) = (scale.pick(3, 15), scale.pick(300, 3000));
    let all = sched_getaffinity(None).unwrap();
    let mut one = CpuSet::new();
    one.set(0);
    // What is started from here on inherits it.
    sched_setaffinity(None, &one).unwrap();

    let broker = imd_benches::broker::Broker::start();
    let daemon = stage::daemon(&broker.url());
    let app = stage::app(&daemon, "Status");
    stage::connect(&app, &broker, "bob");
    let mut grpc = Grpc::dial(&daemon.home().socket());
    let mut bare = Bare::start(&daemon.home().path("bare"));
    let mut bus = Bus::start(&daemon.home().path("bus"));

    let mut times = [const { Vec::new() }; 4];
    for round in 0..=rounds {
        let measured = [
            grpc.calls(calls),
            bare.calls(calls),
            bus.calls(calls),
            library_calls(&app, calls),
        ];
        // The first round warms everything up.
        if round > 0 {
            for (times, measured) in times.iter_mut().zip(&measured) {
                times.push(measured.median());
            }
        }
    }
    sched_setaffinity(None, &all).unwrap();

    let [grpc, bare, bus, library] = &times;
    let bare_ratio = Samples::ratios(grpc, bare);
    report.add(Finding::median(
        "GetStatus p50, one core, to a bare tokio ping-pong",
        &bare_ratio,
        "×",
        Goal::AtMost(2.3),
    ));
    let bus_ratio = Samples::ratios(grpc, bus);
    report.add(Finding::median(
        "GetStatus p50, one core, to zbus",
        &bus_ratio,
        "×",
        Goal::AtMost(0.7),
    ));
    for (what, times) in [
        ("GetStatus p50 over gRPC", grpc),
        ("the bare ping-pong's p50", bare),
        ("the p50 over zbus", bus),
        (
            "GetStatus p50 through imd-client's blocking calls (a thread of its own between)",
            library,
        ),
    ] {
        report.add(Finding::median(
            what,
            &Samples::new(times.iter().copied()),
            "µs",
            Goal::None,
        ));
    }
    report.end();
}

/// An app with gRPC on its own current-thread runtime, which is how another language calls imd.
struct Grpc {
    runtime: Runtime,
    client: SessionServiceClient<Channel>,
}

impl Grpc {
    fn dial(socket: &Path) -> Self {
        let runtime = runtime();
        let socket = socket.to_owned();
        let connector = tower::service_fn(move |_| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost");
        let dial = endpoint.connect_with_connector(connector);
        let client = SessionServiceClient::new(runtime.block_on(dial).unwrap());
        Self { runtime, client }
    }

    fn calls(&mut self, count: usize) -> Samples {
        let client = &mut self.client;
        Samples::micros(self.runtime.block_on(async {
            let mut times = Vec::with_capacity(count);
            for _ in 0..count {
                let start = Instant::now();
                client.get_status(GetStatusRequest {}).await.unwrap();
                times.push(start.elapsed());
            }
            times
        }))
    }
}

fn library_calls(app: &BlockingClient, count: usize) -> Samples {
    Samples::micros((0..count).map(|_| timed(|| app.fetch_connection_status().unwrap()).1))
}

/// The least that two tokio programs can do over a Unix socket.
struct Bare {
    runtime: Runtime,
    stream: UnixStream,
    _server: Process,
}

impl Bare {
    fn start(socket: &Path) -> Self {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        let server = Process::start(command.arg("serve-bare").arg(socket));
        eventually(SOON, "the bare server", || {
            if socket.exists() { Ok(()) } else { Err(()) }
        });
        let runtime = runtime();
        let stream = runtime.block_on(UnixStream::connect(socket)).unwrap();
        Self {
            runtime,
            stream,
            _server: server,
        }
    }

    fn calls(&mut self, count: usize) -> Samples {
        let stream = &mut self.stream;
        Samples::micros(self.runtime.block_on(async {
            let mut times: Vec<Duration> = Vec::with_capacity(count);
            let mut bytes = [7; PING];
            for _ in 0..count {
                let start = Instant::now();
                stream.write_all(&bytes).await.unwrap();
                stream.read_exact(&mut bytes).await.unwrap();
                times.push(start.elapsed());
            }
            times
        }))
    }
}

/// The other end of the bare ping-pong, in a process of its own.
pub(crate) fn serve_bare(socket: &str) {
    runtime().block_on(async {
        let listener = UnixListener::bind(socket).unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; PING];
        while stream.read_exact(&mut bytes).await.is_ok() {
            stream.write_all(&bytes).await.unwrap();
        }
    });
}

/// The status over D-Bus.
struct Bus {
    caller: Rival,
    _service: Rival,
    _daemon: Process,
}

impl Bus {
    fn start(directory: &Path) -> Self {
        std::fs::create_dir(directory).unwrap();
        let socket = directory.join("bus");
        let address = format!("unix:path={}", socket.display());
        let config = directory.join("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>\
             <policy context=\"default\"><allow send_destination=\"*\"/><allow eavesdrop=\"false\"/>\
             <allow own=\"*\"/></policy></busconfig>"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = std::process::Command::new("dbus-daemon");
        let daemon = Process::start(
            command
                .arg("--nofork")
                .arg(format!("--config-file={}", config.display())),
        );
        eventually(SOON, "the bus", || if socket.exists() { Ok(()) } else { Err(()) });
        run(
            std::process::Command::new("dbus-send")
                .arg(format!("--bus={address}"))
                .args([
                    "--print-reply",
                    "--dest=org.freedesktop.DBus",
                    "/",
                    "org.freedesktop.DBus.GetId",
                ]),
            b"",
        )
        .expect_code(0);
        let mut service = Rival::rust("zbus-status", &["serve", &address]);
        service.await_ready();
        let caller = Rival::rust("zbus-status", &["call", &address]);
        Self {
            caller,
            _service: service,
            _daemon: daemon,
        }
    }

    fn calls(&mut self, count: usize) -> Samples {
        self.caller.tell(&count.to_string());
        let line = self.caller.hear();
        let times = line
            .split(' ')
            .map(|word| Duration::from_nanos(word.parse().unwrap()));
        Samples::micros(times)
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
