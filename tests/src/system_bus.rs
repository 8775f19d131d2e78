//! A system bus of its own, by the system's own dbus-daemon, with a logind and a NetworkManager on it that do
//! as they are told.

use std::fs;
use std::io::{PipeReader, pipe};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, connection, interface};

use crate::process::Process;
use crate::wait::{SOON, eventually, when};

const LOGIND: &str = "/org/freedesktop/login1";
const NETWORK_MANAGER: &str = "/org/freedesktop/NetworkManager";

/// `NM_CONNECTIVITY_FULL` and `NM_CONNECTIVITY_PORTAL`.
const FULL: u32 = 4;
const PORTAL: u32 = 2;

const CONFIGURATION: &str = r#"<busconfig>
  <type>system</type>
  <listen>unix:path=ADDRESS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

/// The bus; gone when dropped.
#[derive(Debug)]
pub struct SystemBus {
    address: String,
    delays: Delays,
    services: Handle,
    connection: Connection,
    _process: Process,
    _directory: TempDir,
}

/// The ends of what was handed out to delay a sleep.
type Delays = Arc<Mutex<Vec<PipeReader>>>;

struct Logind {
    delays: Delays,
}

#[interface(name = "org.freedesktop.login1.Manager")]
impl Logind {
    fn inhibit(&self, what: &str, who: &str, _why: &str, mode: &str) -> zbus::fdo::Result<zbus::OwnedFd> {
        if (what, who, mode) != ("sleep", "imd", "delay") {
            return Err(zbus::fdo::Error::InvalidArgs(format!("{what} {who} {mode}")));
        }
        let (ours, theirs) = pipe().map_err(|error| zbus::fdo::Error::Failed(error.to_string()))?;
        self.delays
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(ours);
        Ok(OwnedFd::from(theirs).into())
    }

    #[zbus(signal)]
    async fn prepare_for_sleep(emitter: &SignalEmitter<'_>, start: bool) -> zbus::Result<()>;
}

struct NetworkManager {
    connectivity: u32,
}

#[interface(name = "org.freedesktop.NetworkManager")]
impl NetworkManager {
    #[zbus(property)]
    fn connectivity(&self) -> u32 {
        self.connectivity
    }

    #[zbus(property)]
    fn set_connectivity(&mut self, connectivity: u32) {
        self.connectivity = connectivity;
    }
}

impl Default for SystemBus {
    fn default() -> Self {
        Self::start()
    }
}

impl SystemBus {
    /// Starts the bus and both services.
    ///
    /// # Panics
    /// When dbus-daemon is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("imd-bus-")
            .tempdir()
            .expect("a directory can be made");
        let socket = directory.path().join("socket").display().to_string();
        let configuration = directory.path().join("bus.conf");
        fs::write(&configuration, CONFIGURATION.replace("ADDRESS", &socket))
            .expect("the bus's directory can be written");
        let mut command = Command::new("dbus-daemon");
        command
            .args(["--nofork", "--nopidfile", "--config-file"])
            .arg(&configuration)
            .stdin(Stdio::null());
        let process = Process::start(&mut command);
        eventually(SOON, "the bus", || when(fs::exists(&socket).unwrap_or(false), ()));
        let address = format!("unix:path={socket}");
        let delays = Delays::default();
        let (tell, told) = mpsc::channel();
        let (at, handed_out) = (address.clone(), Arc::clone(&delays));
        thread::spawn(move || {
            let runtime = Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            let connection = runtime.block_on(serve(&at, handed_out));
            // The test may have given up.
            let _ = tell.send((runtime.handle().clone(), connection));
            runtime.block_on(std::future::pending::<()>());
        });
        let (services, connection) = told.recv().expect("the services' thread lives");
        Self {
            address,
            delays,
            services,
            connection: connection.expect("the services can be started"),
            _process: process,
            _directory: directory,
        }
    }

    /// For `DBUS_SYSTEM_BUS_ADDRESS`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How many locks that delay a sleep are held.
    ///
    /// # Panics
    /// When the kernel does not say.
    #[must_use]
    pub fn delays(&self) -> usize {
        let delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |reader: &&PipeReader| {
            let mut looked_at = [PollFd::new(*reader, PollFlags::IN)];
            poll(&mut looked_at, Some(&Timespec::default())).expect("a pipe can be looked at");
            !looked_at[0].revents().contains(PollFlags::HUP)
        };
        delays.iter().filter(held).count()
    }

    /// Says that the machine is about to sleep, or awake.
    pub fn prepare_for_sleep(&self, start: bool) {
        self.run(|connection| async move {
            let emitter = SignalEmitter::new(&connection, LOGIND)?;
            Logind::prepare_for_sleep(&emitter, start).await
        });
    }

    /// Says that a captive portal holds the network, or no longer.
    pub fn portal(&self, held: bool) {
        self.run(move |connection| async move {
            let manager = connection
                .object_server()
                .interface::<_, NetworkManager>(NETWORK_MANAGER)
                .await?;
            let mut interface = manager.get_mut().await;
            interface.connectivity = if held { PORTAL } else { FULL };
            interface.connectivity_changed(manager.signal_emitter()).await
        });
    }

    fn run<F>(&self, work: impl FnOnce(Connection) -> F)
    where
        F: Future<Output = zbus::Result<()>> + Send + 'static,
    {
        let (tell, told) = mpsc::channel();
        let work = work(self.connection.clone());
        self.services.spawn(async move {
            // The test may have given up.
            let _ = tell.send(work.await);
        });
        told.recv_timeout(SOON)
            .expect("the services answer")
            .expect("the bus takes it");
    }
}

async fn serve(address: &str, delays: Delays) -> zbus::Result<Connection> {
    connection::Builder::address(address)
        .serve_at(LOGIND, Logind { delays })
        .serve_at(NETWORK_MANAGER, NetworkManager { connectivity: FULL })
        .name("org.freedesktop.login1")
        .name("org.freedesktop.NetworkManager")
        .build()
        .await
}
