//! The real daemon, on a socket of its own.

use std::fs;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use imd_proto::endpoint::checked;
use tempfile::TempDir;

use super::process::{LOOKS, PAUSE, Process, directory, read_log};
use super::{Broker, Error};
use crate::builder::ClientBuilder;
use crate::client::Client;

/// A real daemon with a private socket, data directory and configuration.
///
/// All its lives share these: a daemon that was killed and started again has the session, the history and the
/// outbox it had.
#[derive(Debug)]
pub struct Daemon {
    app_key: String,
    state: Mutex<State>,
    /// Removed after the process in `state`.
    directory: TempDir,
}

#[derive(Debug)]
enum State {
    Down,
    Running(Process),
    Hung(Process),
}

impl Daemon {
    /// Starts a daemon whose server is this broker.
    ///
    /// # Errors
    /// There is no `imd`, or it does not start.
    pub fn spawn(broker: &Broker) -> Result<Self, Error> {
        Self::spawn_with(broker, "")
    }

    /// As [`spawn`](Self::spawn), with further lines for its configuration: `[link]\nlogin = "many"`.
    ///
    /// # Errors
    /// There is no `imd`, or it does not start: with a configuration it does not take, too.
    pub fn spawn_with(broker: &Broker, config: &str) -> Result<Self, Error> {
        let directory = directory()?;
        let daemon = Self {
            app_key: broker.app_key().to_owned(),
            state: Mutex::new(State::Down),
            directory,
        };
        let path = daemon.socket();
        checked(path).map_err(|error| {
            Error::system("the test's directory is too deep for a socket: set TMPDIR to a shorter one")(
                io::Error::other(error),
            )
        })?;
        let file = daemon.path("imd.toml");
        let text = format!("[server]\nurls = [\"{}\"]\n\n{config}\n", broker.url());
        fs::write(&file, text).map_err(Error::system(format!("{}", file.display())))?;
        daemon.start()?;
        Ok(daemon)
    }

    /// An app with this id (`org.example.Chat`), the broker's App Key and this daemon's socket.
    pub fn client(&self, app_id: impl Into<String>) -> ClientBuilder {
        Client::builder(&self.app_key)
            .app_id(app_id)
            .socket(self.socket())
    }

    /// Its socket, for an app that builds its client by itself.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.path("imd.sock")
    }

    /// The pid of this life; `None` while it is down.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        match &*self.lock() {
            State::Down => None,
            State::Running(process) | State::Hung(process) => Some(process.pid()),
        }
    }

    /// All it has said, in all its lives. `IMD_LOG` sets how much.
    #[must_use]
    pub fn log(&self) -> String {
        read_log(&self.path("imd.log"))
    }

    /// SIGKILL. Returns when the process is gone: apps are told -2 IPC_DISCONNECT.
    ///
    /// # Errors
    /// It is down, or had ended by itself.
    pub fn kill(&self) -> Result<(), Error> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Down) {
            State::Down => Err(Error::State("the daemon is down: there is nothing to kill")),
            State::Running(process) | State::Hung(process) => process.kill(),
        }
    }

    /// SIGTERM. Returns when it has ended in order: apps are told goodbye, and its server DISCONNECT.
    ///
    /// # Errors
    /// It is down or hangs, or it did not end in order.
    pub fn stop(&self) -> Result<(), Error> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Down) {
            State::Down => Err(Error::State("the daemon is down: there is nothing to stop")),
            State::Running(process) => process.terminate(),
            State::Hung(process) => {
                *state = State::Hung(process);
                Err(Error::State(
                    "the daemon hangs, and hears no SIGTERM: resume or kill it",
                ))
            }
        }
    }

    /// Starts it again. Returns when it answers on its socket.
    ///
    /// # Errors
    /// It is not down, or does not start.
    pub fn start(&self) -> Result<(), Error> {
        let mut state = self.lock();
        match &*state {
            State::Down => {}
            State::Running(_) => return Err(Error::State("the daemon runs: kill or stop it first")),
            State::Hung(_) => return Err(Error::State("the daemon hangs: resume or kill it first")),
        }
        *state = State::Running(self.run()?);
        Ok(())
    }

    /// SIGSTOP: its socket is there, and nobody answers. Returns when it does nothing any more.
    ///
    /// # Errors
    /// It does not run, or has ended.
    pub fn hang(&self) -> Result<(), Error> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Down) {
            State::Down => Err(Error::State("the daemon is down: there is nothing to hang")),
            State::Running(mut process) => {
                process.suspend()?;
                *state = State::Hung(process);
                Ok(())
            }
            State::Hung(process) => {
                *state = State::Hung(process);
                Err(Error::State("the daemon hangs already"))
            }
        }
    }

    /// SIGCONT after a [`hang`](Self::hang). Returns when it goes on.
    ///
    /// # Errors
    /// It does not hang, or has ended.
    pub fn resume(&self) -> Result<(), Error> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Down) {
            State::Hung(mut process) => {
                process.resume()?;
                *state = State::Running(process);
                Ok(())
            }
            other @ (State::Down | State::Running(_)) => {
                *state = other;
                Err(Error::State("the daemon does not hang"))
            }
        }
    }

    fn run(&self) -> Result<Process, Error> {
        let notify = self.path("notify");
        let ready = Ready::listen(&notify)?;
        let mut process = Process::start("imd", self.path("imd.log"), |command| {
            command
                .args(["--instance", "testing"])
                .arg("--config")
                .arg(self.path("imd.toml"))
                .arg("--data-dir")
                .arg(self.path("data"))
                .arg("--socket")
                .arg(self.socket())
                .env("HOME", self.directory.path())
                .env("XDG_CONFIG_HOME", self.path("config"))
                .env("NOTIFY_SOCKET", &notify)
                .current_dir(self.directory.path());
        })?;
        for _ in 0..LOOKS {
            if ready.is_told()? {
                return Ok(process);
            }
            process.must_run()?;
        }
        Err(process.late("the start of the daemon"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(40)..).unwrap_or_default();
            #[expect(clippy::print_stderr, reason = "a failed test shows what its daemon said")]
            {
                eprintln!("-- the end of the daemon's log\n{}", tail.join("\n"));
            }
        }
    }
}

/// Where the daemon says that it is ready, as it does to systemd.
struct Ready(UnixDatagram);

impl Ready {
    fn listen(path: &Path) -> Result<Self, Error> {
        let what = || format!("{}", path.display());
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::system(what())(error));
            }
            Ok(()) | Err(_) => {}
        }
        let socket = UnixDatagram::bind(path).map_err(Error::system(what()))?;
        let limited = socket.set_read_timeout(Some(PAUSE));
        limited.map_err(Error::system(what()))?;
        Ok(Self(socket))
    }

    /// Waits a moment for it.
    fn is_told(&self) -> Result<bool, Error> {
        let mut buffer = [0; 512];
        match self.0.recv(&mut buffer) {
            Ok(length) => {
                let told = buffer.get(..length).unwrap_or_default();
                Ok(told.split(|byte| *byte == b'\n').any(|line| line == b"READY=1"))
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(Error::system("the daemon's notifications")(error)),
        }
    }
}
