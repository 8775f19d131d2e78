//! A user's home of its own for each test: every directory imd looks in, and the programs run in it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Finished, Running};

/// The directories, removed when dropped; a long run that fails keeps them, for it may not fail again.
#[derive(Debug)]
pub struct Home {
    root: TempDir,
}

impl Default for Home {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if crate::is_long() && std::thread::panicking() {
            eprintln!("kept: {}", self.root().display());
            self.root.disable_cleanup(true);
        }
    }
}

impl Home {
    /// Empty directories.
    ///
    /// # Panics
    /// When they can't be made.
    #[must_use]
    pub fn new() -> Self {
        // The name is short: a socket's path must fit in 107 bytes.
        let root = tempfile::Builder::new()
            .prefix("imd-")
            .tempdir()
            .expect("a directory can be made");
        let home = Self { root };
        for directory in [
            home.path("home"),
            home.config_directory(),
            home.runtime_directory(),
        ] {
            fs::create_dir_all(&directory).expect("a directory can be made");
            fs::set_permissions(&directory, Permissions::from_mode(0o700)).expect("its mode can be set");
        }
        home
    }

    /// A path in the root of all the directories.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// The root of all the directories.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    #[must_use]
    pub fn config_directory(&self) -> PathBuf {
        self.path("config/imd")
    }

    #[must_use]
    pub fn data_directory(&self) -> PathBuf {
        self.path("data/imd/imd")
    }

    /// Where the remembered session is.
    #[must_use]
    pub fn state_directory(&self) -> PathBuf {
        self.path("state/imd/imd")
    }

    fn runtime_directory(&self) -> PathBuf {
        self.path("run")
    }

    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime_directory().join("imd/imd.sock")
    }

    /// Writes `imd.toml`.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn write_config(&self, text: &str) {
        fs::write(self.config_directory().join("imd.toml"), text).expect("the configuration can be written");
    }

    /// The daemon, to be started in these directories.
    #[must_use]
    pub fn imd(&self) -> Command {
        self.command("imd")
    }

    /// The command line, to be run in these directories.
    #[must_use]
    pub fn imctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("imctl");
        command.args(arguments);
        command
    }

    /// Runs imctl to its end.
    #[must_use]
    pub fn run_imctl(&self, arguments: &[&str]) -> Finished {
        Running::start(&mut self.imctl(arguments), b"").finish()
    }

    /// Runs `imctl connect` with this token as its standard input.
    #[must_use]
    pub fn connect(&self, token: &str, further: &[&str]) -> Finished {
        self.start_connect(token, further).finish()
    }

    /// Starts `imctl connect` with this token as its standard input.
    #[must_use]
    pub fn start_connect(&self, token: &str, further: &[&str]) -> Running {
        let mut arguments = vec!["connect", "--token-file", "-"];
        if !further.contains(&"--app-key") {
            arguments.extend(["--app-key", crate::APP_KEY]);
        }
        arguments.extend(further);
        Running::start(&mut self.imctl(&arguments), token.as_bytes())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(binary(program));
        command.env_clear();
        for name in ["PATH", "RUST_BACKTRACE"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_DATA_HOME", self.path("data"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.runtime_directory())
            .env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
            .env("IMD_LOG", log_filter())
            .current_dir(self.path("home"));
        command
    }
}

/// Millions of messages at `debug` are gigabytes.
fn log_filter() -> &'static str {
    if crate::is_long() {
        "info"
    } else {
        "debug,h2=info,hyper=info,tonic=info,tower=info"
    }
}

/// A program of this workspace, beside the test's own.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let program = std::env::current_exe().expect("a program knows its own path");
    let directory = program.parent().expect("a program lies in a directory");
    // A test lies in target/PROFILE/deps, a program one above.
    let profile = match directory.parent() {
        Some(profile) if directory.ends_with("deps") => profile,
        Some(_) | None => directory,
    };
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} has not been built: run ./tests/run, or cargo build",
        path.display()
    );
    path
}
