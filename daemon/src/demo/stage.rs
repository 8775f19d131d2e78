//! What the demo plays on: a folder of its own, the broker's accounts, daemons as real processes, apps.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imd_client::{Client, ConnectCallback, DatabaseOpenStatus, Error, Status, UserId};
use imd_core::time::BootTime;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use super::broker::{self, Accounts, Broker, BrokerConfig};
use super::story::Failed;
use crate::clock;

/// The App Key of the demo.
pub(crate) const APP_KEY: &str = "demo";

/// What the broker signs and checks tokens with.
const SECRET: &[u8] = b"the demo's secret, known to its broker and to nobody who matters";

/// How long a step may take before the demo says that it did not happen.
const PATIENCE: Duration = Duration::from_secs(5);

/// Everything the demo starts, and ends with it.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
    pub(crate) broker: Broker,
}

impl Stage {
    pub(crate) fn build() -> Result<Self, Failed> {
        let directory = tempfile::Builder::new()
            .prefix("imd-demo-")
            .tempdir()
            .map_err(|error| Failed::new(format!("no folder for the demo: {error}")))?;
        let accounts = Accounts::new();
        let app_key =
            imd_core::account::AppKey::parse(APP_KEY).map_err(|invalid| Failed::new(invalid.text))?;
        accounts.add_app(&app_key, SECRET);
        let broker = Broker::start(BrokerConfig::with_accounts(accounts))
            .map_err(|error| Failed::new(format!("the broker does not start: {error}")))?;
        Ok(Self { directory, broker })
    }

    /// A token, good for `seconds` from now (or expired that long ago).
    #[expect(clippy::unused_self, reason = "tokens belong to the stage's broker")]
    pub(crate) fn token(&self, user: &str, seconds: i64) -> String {
        broker::token(SECRET, APP_KEY, user, seconds, clock::now().unix)
    }

    /// The token in a file of mode 0600, to try imctl with.
    pub(crate) fn token_file(&self, user: &str) -> Result<PathBuf, Failed> {
        let path = self.directory.path().join(format!("{user}.token"));
        let file = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| writeln!(file, "{}", self.token(user, 24 * 3600)))
            .map_err(|error| Failed::new(format!("{}: {error}", path.display())))?;
        Ok(path)
    }

    /// Starts a daemon as a user would, with folders of its own.
    pub(crate) async fn daemon(&self, name: &'static str) -> Result<Daemon, Failed> {
        let data = self.directory.path().join(name);
        let io = |error: std::io::Error| Failed::new(format!("{name}: {error}"));
        std::fs::create_dir(&data).map_err(io)?;
        let config = data.join("imd.toml");
        std::fs::write(&config, format!("[server]\nurls = [\"{}\"]\n", self.broker.url())).map_err(io)?;
        let socket = self.socket_directory()?.join(format!("{name}.sock"));
        let log = data.join("imd.log");
        let mut daemon = Daemon {
            name,
            process: None,
            config,
            data,
            socket,
            log,
        };
        daemon.start_again().await?;
        Ok(daemon)
    }

    fn socket_directory(&self) -> Result<PathBuf, Failed> {
        let directory = self.directory.path().join("run");
        crate::paths::private_directory("the socket's directory", &directory)
            .map_err(|error| Failed::new(error.to_string()))?;
        Ok(directory)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// A daemon: a process that ends with the demo.
pub(crate) struct Daemon {
    pub(crate) name: &'static str,
    process: Option<Child>,
    config: PathBuf,
    data: PathBuf,
    pub(crate) socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().map_or(0, Child::id)
    }

    /// Starts the daemon on the folders it has, and waits until it answers; when its socket listened.
    pub(crate) async fn start_again(&mut self) -> Result<BootTime, Failed> {
        let name = self.name;
        let io = |error: std::io::Error| Failed::new(format!("{name}: {error}"));
        let program = std::env::current_exe().map_err(io)?;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(io)?;
        let process = Command::new(program)
            .arg("--die-with-parent")
            .arg(std::process::id().to_string())
            .arg("--instance")
            .arg(name)
            .arg("--config")
            .arg(&self.config)
            .arg("--data-dir")
            .arg(&self.data)
            .arg("--socket")
            .arg(&self.socket)
            .env_remove("IMD_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(io)?;
        self.process = Some(process);
        let socket = self.socket.clone();
        let listened = tokio::task::spawn_blocking(move || wait_until_it_listens(&socket));
        let listened = listened
            .await
            .map_err(|error| Failed::new(format!("{name}: {error}")))?;
        self.wait_until_it_answers().await?;
        Ok(listened)
    }

    /// Kills it with -9, and waits until it is gone.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            // The folder goes with the demo, so there is nothing to end in order.
            let _: std::io::Result<()> = process.kill();
            let _: std::io::Result<std::process::ExitStatus> = process.wait();
        }
    }

    async fn wait_until_it_answers(&self) -> Result<(), Failed> {
        let deadline = clock::now().boot + PATIENCE;
        loop {
            match Client::observer().socket(&self.socket).build_async().await {
                Ok(_) => return Ok(()),
                Err(error) if clock::now().boot > deadline => {
                    let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                    return Err(Failed::new(format!(
                        "the daemon {} does not answer: {error}\n{log}",
                        self.name
                    )));
                }
                // There is no event to wait for before the daemon has made its socket.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Links an app to this daemon.
    pub(crate) async fn app(&self, name: &'static str) -> Result<App, Failed> {
        let client = Client::builder(APP_KEY)
            .app_id(format!("org.example.{name}"))
            .app_version("1.0")
            .socket(&self.socket)
            .build_async()
            .await
            .map_err(|error| Failed::new(format!("{name} cannot bind: {error}")))?;
        Ok(App {
            who: format!("{}/{name}", self.name),
            client,
        })
    }
}

/// When somebody listens there; after the deadline at the latest, which the next step will tell.
fn wait_until_it_listens(socket: &Path) -> BootTime {
    let deadline = clock::now().boot + PATIENCE;
    loop {
        let tried = UnixStream::connect(socket);
        let now = clock::now().boot;
        if tried.is_ok() || now > deadline {
            return now;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// An app on a daemon.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) who: String,
    pub(crate) client: Client,
}

/// One of the three callbacks, and when it came.
pub(crate) enum Called {
    DatabaseOpened(DatabaseOpenStatus),
    Success(UserId),
    Error(Error),
}

struct Recorder(mpsc::Sender<Called>);

impl ConnectCallback for Recorder {
    fn on_database_opened(&mut self, status: DatabaseOpenStatus) {
        self.record(Called::DatabaseOpened(status));
    }

    fn on_success(self: Box<Self>, user_id: UserId) {
        self.record(Called::Success(user_id));
    }

    fn on_error(self: Box<Self>, error: Error) {
        self.record(Called::Error(error));
    }
}

impl Recorder {
    fn record(&self, called: Called) {
        // The channel holds more than a connect can call; its reader may have gone.
        let _: Result<(), _> = self.0.try_send(called);
    }
}

impl App {
    /// connect, with callbacks that come through the receiver.
    pub(crate) fn connect(
        &self,
        token: String,
        options: &imd_client::ConnectOptions,
    ) -> mpsc::Receiver<Called> {
        let (sender, receiver) = mpsc::channel(4);
        self.client.connect_with(token, options.clone(), Recorder(sender));
        receiver
    }

    /// Waits until the status is as wanted; every change on the way is shown to `seen`.
    pub(crate) async fn wait_status(
        &self,
        what: &str,
        patience: Duration,
        mut wanted: impl FnMut(&Status) -> bool,
    ) -> Result<(), Failed> {
        let mut changes = self.client.connection_status_changes();
        let reached = timeout(patience, async {
            while let Some(status) = changes.next().await {
                if wanted(&status) {
                    return true;
                }
            }
            false
        });
        if reached.await.unwrap_or(false) {
            return Ok(());
        }
        let now = self.client.connection_status();
        Err(Failed::new(format!(
            "{} did not see {what}; its status is {now}",
            self.who
        )))
    }
}

/// The next callback.
pub(crate) async fn next(who: &str, calls: &mut mpsc::Receiver<Called>) -> Result<Called, Failed> {
    match timeout(PATIENCE, calls.recv()).await {
        Ok(Some(called)) => Ok(called),
        Ok(None) | Err(_) => Err(Failed::new(format!("{who} was not called back"))),
    }
}
