//! A daemon that dies and comes back, and when it listened.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use imd::clock;
use imd_tests::daemon::Daemon;
use imd_tests::wait::SOON;

/// How the daemon dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// SIGKILL.
    Killed,
    /// SIGTERM: it says goodbye. The app loses it as well.
    Stopped,
}

impl How {
    /// What the apps write.
    pub(crate) const fn as_told(self) -> &'static str {
        match self {
            Self::Killed => "died",
            Self::Stopped => "stopped",
        }
    }
}

/// A death, and the daemon after it.
#[derive(Debug)]
pub(crate) struct Death {
    pub(crate) how: How,
    pub(crate) next_run: String,
    /// When the next daemon did not listen yet, on the boot clock: not more than a millisecond before it did, if
    /// the machine is not busy.
    pub(crate) listened: Duration,
}

/// Ends the daemon and starts the next one.
pub(crate) fn die(daemon: &mut Daemon, how: How) -> Death {
    match how {
        How::Killed => daemon.kill9(),
        How::Stopped => daemon.terminate(),
    }
    let socket = daemon.home().socket();
    let watch = thread::spawn(move || last_refused(&socket));
    daemon.start();
    Death {
        how,
        next_run: run_id(daemon),
        listened: watch.join().unwrap(),
    }
}

pub(crate) fn run_id(daemon: &Daemon) -> String {
    daemon.rpc().version().unwrap().daemon_run_id
}

/// Dials until somebody listens. Gives when the last dial that was refused began: whatever is counted from there
/// is never shown as shorter than it was.
fn last_refused(socket: &Path) -> Duration {
    let start = clock::now().boot;
    let mut refused = start;
    loop {
        let before = clock::now().boot;
        match UnixStream::connect(socket) {
            Ok(_) => return refused.as_duration(),
            Err(error) => assert!(before.since(start) < SOON, "nobody listens: {error}"),
        }
        refused = before;
        // A dial without a pause would take the core from those it measures.
        thread::sleep(Duration::from_micros(200));
    }
}
