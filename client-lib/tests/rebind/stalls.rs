//! Whatever listens in the daemon's place, and however it ends: no call waits for it, and the next daemon is bound.

use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use imd_client::{Client, Code, Sent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::fake::FakeDaemon;
use super::{client, look, next_daemon, next_loss};

/// An HTTP/2 frame with no content: its length, kind, flags and stream.
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
/// "I take nothing more", with no stream and no error.
const GOAWAY: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What a listener does with whoever dials.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// Says this, and leaves the connection open.
    Says(&'static [u8]),
    /// Says this, and closes the connection.
    SaysAndCloses(&'static [u8]),
    /// Says this when it has heard something, and closes the connection with the rest unread.
    HearsAndCloses(&'static [u8]),
}

const MANNERS: [Manner; 12] = [
    Manner::Says(b""),
    Manner::SaysAndCloses(b""),
    Manner::HearsAndCloses(b""),
    Manner::Says(SETTINGS),
    Manner::SaysAndCloses(SETTINGS),
    Manner::HearsAndCloses(SETTINGS),
    Manner::Says(PING),
    Manner::Says(GOAWAY),
    Manner::HearsAndCloses(GOAWAY),
    // Half a frame.
    Manner::Says(&[0, 0, 100, 4]),
    Manner::SaysAndCloses(&[0, 0, 100, 4]),
    Manner::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
];

impl Manner {
    /// Gives the connection back if it is left open.
    fn meet(self, mut stream: UnixStream) -> Option<UnixStream> {
        // Whoever dialled may be gone already.
        match self {
            Self::Says(words) => {
                let _ = stream.write_all(words);
                Some(stream)
            }
            Self::SaysAndCloses(words) => {
                let _ = stream.write_all(words);
                None
            }
            Self::HearsAndCloses(words) => {
                let _ = stream.read(&mut [0; 9]);
                let _ = stream.write_all(words);
                None
            }
        }
    }
}

/// Listens until it has met so many, then dies with all its connections.
fn impostor(socket: &Path, manner: Manner, dials: usize) -> mpsc::Receiver<()> {
    let _ = std::fs::remove_file(socket);
    let listener = UnixListener::bind(socket).unwrap();
    let (tell, met) = mpsc::channel();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().take(dials) {
            open.extend(manner.meet(stream.unwrap()));
        }
        drop(tell);
    });
    met
}

/// Makes a call, which has to fail at once: nothing is bound.
#[track_caller]
fn call(client: &Client) {
    let (tell, told) = mpsc::channel();
    let asking = client.clone();
    std::thread::spawn(move || tell.send(asking.blocking().version().unwrap_err()));
    let error = told.recv_timeout(Duration::from_secs(20));
    let error = error.expect("the library's thread stands still");
    assert_eq!(
        (error.code(), error.sent()),
        (Code::IPC_DISCONNECT, Sent::No),
        "{error}"
    );
}

#[test]
fn no_call_waits_for_what_listens_in_the_daemons_place() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    daemon.kill();
    next_loss(&mut changes);
    for manner in MANNERS {
        for dials in [1, 2] {
            let met = impostor(&daemon.socket(), manner, dials);
            // A dial comes within a second; each round is a call and a millisecond at least.
            let mut rounds = 0;
            while met.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                call(&client);
                rounds += 1;
                assert!(rounds < 20_000, "the library dials no more: {manner:?}, {dials}");
            }
        }
    }
    daemon.restart();
    assert_eq!(
        next_daemon(&mut changes).daemon_run_id,
        "run 2",
        "one loss, and one daemon after it"
    );
    assert!(client.blocking().version().is_ok());
}

#[test]
fn a_dial_that_waits_in_the_queue_of_a_daemon_that_dies_ends_with_it() {
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    daemon.kill();
    next_loss(&mut changes);
    std::fs::remove_file(daemon.socket()).unwrap();
    look(&client, |status| {
        status.reason.contains("there is no such socket")
    });
    // It listens, and accepts nobody any more, as one that stops.
    let stopping = UnixListener::bind(daemon.socket()).unwrap();
    let limit = Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let dialled = poll(&mut [PollFd::new(&stopping, PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(dialled, 1, "nobody has dialled");
    drop(stopping);
    look(&client, |status| {
        assert_ne!(
            status.last_code,
            Some(Code::IMD_DEADLINE_EXCEEDED),
            "it was waited for"
        );
        !status.reason.contains("there is no such socket")
    });
    daemon.restart();
    next_daemon(&mut changes);
}
