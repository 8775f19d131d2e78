//! A real daemon to kill, hang and restart inside an app's own tests, against a small broker.
//!
//! What an app does when its daemon dies is best seen by letting one die. [`Broker`] and [`Daemon`] are processes
//! (`imd broker` and `imd`) with a private directory and a private socket: no configuration, no installed
//! service and no other test is touched, and tests may run side by side.
//!
//! ```toml
//! [dev-dependencies]
//! imd-client = { path = "…", features = ["testing"] }
//! ```
//!
//! ```no_run
//! use imd_client::testing::{Broker, Daemon};
//! use imd_client::{ConnectOptions, Error};
//!
//! #[test]
//! # fn shown() {}
//! fn my_app_lives_through_the_death_of_the_daemon() -> Result<(), Box<dyn std::error::Error>> {
//!     let broker = Broker::spawn()?;
//!     let daemon = Daemon::spawn(&broker)?;
//!     let client = daemon.client("org.example.Chat").build()?;
//!     let app = client.blocking();
//!     app.connect(broker.token("alice")?, ConnectOptions::new())?;
//!
//!     let mut changes = app.connection_status_changes();
//!     daemon.kill()?; // SIGKILL, and the process is gone
//!     changes.by_ref().find(|status| status.is_daemon_lost()).expect("the app is told");
//!
//!     daemon.start()?; // it answers; its session and its messages are those it had
//!     changes.find(|status| status.is_connected()).expect("and need not do anything");
//!     Ok(())
//! }
//! # my_app_lives_through_the_death_of_the_daemon().unwrap();
//! ```
//!
//! # What holds
//! - A call returns when the thing has happened: a killed daemon is gone, a hung one executes no instruction, a
//!   started one answers. What does not happen within 20 seconds is an [`Error`], with the daemon's log.
//! - The calls wait on their own thread, and need no runtime. In an async test they hold up the test's tasks for that
//!   long, but not the library, which has a thread of its own.
//! - Dropped, at a panic too, the processes are killed and the directory is removed. They cannot outlive the
//!   test's process either, however that ends: the kernel kills them.
//!
//! # Where the program comes from
//! This library does not depend on the daemon, so `imd` has to be there: the file that the environment variable
//! `IMD_BIN` names; else one beside the test in cargo's target directory (`target/debug/imd`); else the first on
//! `PATH`.

mod broker;
mod daemon;
mod process;
mod program;

use std::io;
use std::process::ExitStatus;

pub use broker::Broker;
pub use daemon::Daemon;

/// Why the testbed did not do what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no `imd` to run.
    #[error(
        "there is no program imd: {looked}. Build it (`cargo build --bin imd` in its repository) or install it, \
         then set IMD_BIN to its path or have it on PATH"
    )]
    #[non_exhaustive]
    NoProgram {
        /// Where it was looked for.
        looked: String,
    },
    /// The system did not let it be done.
    #[error("{what}: {source}")]
    #[non_exhaustive]
    System {
        /// What was to be done.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// A process ended that was not to end, or not so.
    #[error("{program} ended ({status}). It said:\n{log}")]
    #[non_exhaustive]
    Ended {
        /// Which one.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// All it has said.
        log: String,
    },
    /// Something did not happen within 20 seconds.
    #[error("{what} did not happen within 20 s. The process said:\n{log}")]
    #[non_exhaustive]
    Deadline {
        /// What was waited for.
        what: &'static str,
        /// All that the process has said.
        log: String,
    },
    /// The broker says that it cannot be done.
    #[error("the broker: {0}")]
    Broker(String),
    /// The test asks for what makes no sense in this state.
    #[error("{0}")]
    State(&'static str),
}

impl Error {
    fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
