//! Who is at the other end of the socket, before anything is asked.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use imd_client::{Code, Error};
use tokio::net::UnixStream;

use super::{Instance, failed};
use crate::shapes::Check;

/// A socket whose queue is full lets nobody in.
const DEADLINE: Duration = Duration::from_secs(2);

/// What a look at the socket showed.
#[derive(Debug)]
pub(super) enum Answer {
    /// There is no socket.
    Nobody,
    /// There is a socket, and no process behind it.
    Stale,
    /// A process listens: this one, where the kernel says so.
    Listens(Option<i32>),
    /// A process listens, and takes no connection.
    Full,
    /// We may not.
    Refused(io::Error),
}

/// Dials the socket, and says nothing.
pub(super) async fn of(path: &Path) -> Answer {
    match tokio::time::timeout(DEADLINE, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Answer::Listens(stream.peer_cred().ok().and_then(|peer| peer.pid())),
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Answer::Nobody,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Answer::Stale,
        Ok(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => Answer::Full,
        Ok(Err(error)) => Answer::Refused(error),
        Err(_elapsed) => Answer::Full,
    }
}

impl Answer {
    /// No daemon was asked.
    pub(super) fn nobody(&self, path: Option<&Path>, instance: &Instance) -> Check {
        let name = "daemon";
        let start = instance.start();
        let path = path.map_or_else(|| "the socket".to_owned(), |path| path.display().to_string());
        match self {
            Self::Nobody => failed(name, format!("no daemon: {path} is not there"), start),
            Self::Stale => {
                let text = format!("no daemon: {path} is stale, left by one that was killed");
                failed(
                    name,
                    text,
                    format!("{start}. It removes the stale socket itself."),
                )
            }
            Self::Refused(error) => {
                let text = format!("{path} lets nobody in: {error}");
                failed(
                    name,
                    text,
                    "Correct its owner and mode, as said above, or remove it and start the daemon.",
                )
            }
            Self::Full | Self::Listens(_) => {
                let text = format!("{path} is there, but its queue is full: the daemon takes no connection");
                failed(
                    name,
                    text,
                    "Look for the process: ss -xlp | grep imd; then kill it, and start it again.",
                )
            }
        }
    }

    /// A process listens, and the daemon's calls failed with this.
    pub(super) fn silent(&self, error: &Error) -> Check {
        let name = "daemon";
        let pid = match self {
            Self::Listens(pid) => *pid,
            Self::Nobody | Self::Stale | Self::Full | Self::Refused(_) => None,
        };
        if error.code() != Code::IMD_DEADLINE_EXCEEDED {
            return failed(name, error.text(), error.action());
        }
        let Some(pid) = pid else {
            return failed(
                name,
                format!("the daemon hangs: {}", error.text()),
                "Kill it, and start it again.",
            );
        };
        let hangs =
            format!("the daemon, pid {pid}, hangs: the socket takes connections, and nothing answers");
        match state(pid) {
            Some('T' | 't') => failed(
                name,
                format!("{hangs}, because the process is stopped (SIGSTOP, or a debugger)"),
                format!("Let it go on: kill -CONT {pid}"),
            ),
            Some('D') => failed(
                name,
                format!("{hangs}; it waits for a disk or another device"),
                "Look at the disk: dmesg | tail, and whether a network file system is gone.",
            ),
            Some(_) | None => failed(
                name,
                hangs,
                format!(
                    "Kill it: kill -9 {pid}, then start it; nothing that was accepted is lost. systemd's watchdog does so by itself."
                ),
            ),
        }
    }
}

/// The kernel's letter for what the process does.
fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

/// Whether the file it was started from is there no longer, as after an update.
pub(super) fn runs_a_replaced_program(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|path| path.to_string_lossy().ends_with(" (deleted)"))
}
