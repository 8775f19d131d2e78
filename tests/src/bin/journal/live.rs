//! The app that is one process, with one client, through all deaths of its daemon: it reads, it makes one call
//! after the other, and with a USER it sends. Its files, each line one write:
//!
//! | file | line |
//! |---|---|
//! | JOURNAL | as the reader's |
//! | JOURNAL.told | `lost NANOSECONDS HOW` for each loss, `bound NANOSECONDS RUN` for each daemon after it |
//! | JOURNAL.calls | `CALL MICROSECONDS OUTCOME`: `answer`, or `CODE SENT`; at last `done`, or `failed ERROR` |
//! | JOURNAL.sent | `UID` of each message that was accepted |
//!
//! NANOSECONDS are those of the boot clock when the listener was called. The calls begin when there is a file
//! `go` in DIRECTORY. When there is a file `stop` no more are begun, and the reading goes on until the process is
//! killed.

use std::path::Path;
use std::thread;
use std::time::Duration;

use imd::clock;
use imd_client::{BlockingClient, Code, ConversationKey, DaemonLoss, Error, PageOptions, Sent, Status};
use imd_tests::wait::timed;

use crate::Outcome;
use crate::file::Journal;
use crate::read::read;
use crate::send::message;

/// Between two calls of the same thread, or two looks.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn live(app: &BlockingClient, journal: &str, directory: &str, user: Option<&str>) -> Outcome<()> {
    let open = |ending: &str| Journal::open(Path::new(&format!("{journal}{ending}")), false);
    let (events, told, calls, sent) = (open("")?, open(".told")?, open(".calls")?, open(".sent")?);
    let mut daemon = Daemon::default();
    let listener = move |status: &Status| {
        if let Some(line) = daemon.told(status) {
            // A line that can't be written is one that the test misses.
            let _ = told.append(&line);
        }
    };
    let _listener = app.client().add_connection_status_listener(listener);
    let caller = Caller {
        app,
        calls: &calls,
        go: &Path::new(directory).join("go"),
        stop: &Path::new(directory).join("stop"),
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            let end = match caller.call_and_send(user, &sent) {
                Ok(()) => "done".to_owned(),
                Err(error) => format!("failed {error}"),
            };
            let _ = calls.append(&end);
        });
        read(app, &events)
    })
}

/// The daemon as the listener was told of it.
#[derive(Default)]
struct Daemon {
    /// The one this app is bound to.
    run_id: Option<String>,
}

impl Daemon {
    /// The line for a status: none where the same daemon only says how its connection is.
    fn told(&mut self, status: &Status) -> Option<String> {
        let now = clock::now().boot.as_duration().as_nanos();
        let how = match &status.loss {
            None if self.run_id.as_ref() == Some(&status.daemon_run_id) => return None,
            None => {
                self.run_id = Some(status.daemon_run_id.clone());
                return Some(format!("bound {now} {}", status.daemon_run_id));
            }
            Some(DaemonLoss::NotYetThere) => return None,
            Some(DaemonLoss::Died) => "died".to_owned(),
            Some(DaemonLoss::Stopped { .. }) => "stopped".to_owned(),
            Some(other) => other.to_string(),
        };
        self.run_id = None;
        Some(format!("lost {now} {how}"))
    }
}

struct Caller<'a> {
    app: &'a BlockingClient,
    calls: &'a Journal,
    go: &'a Path,
    stop: &'a Path,
}

type Ask = fn(&BlockingClient) -> Result<(), Error>;

/// The calls that are made in turn.
const CALLS: [(&str, Ask); 3] = [
    ("GetVersion", |app| app.version().map(drop)),
    ("GetUnreadCount", |app| app.unread_count(false).map(drop)),
    ("ListMessages", |app| {
        let conversation = ConversationKey::private("alice");
        app.list_messages(&conversation, PageOptions::newest()).map(drop)
    }),
];

impl Caller<'_> {
    fn call_and_send(&self, user: Option<&str>, sent: &Journal) -> Outcome<()> {
        while !self.go.exists() {
            thread::sleep(PAUSE);
        }
        thread::scope(|scope| {
            let sending = user.map(|user| scope.spawn(|| self.send(user, sent)));
            let called = self.call();
            match sending.map(thread::ScopedJoinHandle::join) {
                None => called,
                Some(Ok(sent)) => called.and(sent),
                Some(Err(_panic)) => Err("the sender panicked".into()),
            }
        })
    }

    fn call(&self) -> Outcome<()> {
        for (name, ask) in CALLS.iter().cycle() {
            if self.stop.exists() {
                break;
            }
            // Whatever comes of it is in the journal.
            let _ = self.outcome(name, || ask(self.app))?;
        }
        Ok(())
    }

    /// Sends one message after the other. One that a living daemon has not taken in time is sent again: under
    /// the same uid it is the same message.
    fn send(&self, user: &str, sent: &Journal) -> Outcome<()> {
        let mut number = 0;
        loop {
            match self.outcome("SendMessage", || message(self.app, user, number).accepted())? {
                Ok(accepted) => {
                    sent.append(&accepted.uid)?;
                    number += 1;
                    // Only here: of each message that was sent it is known that it was accepted.
                    if self.stop.exists() {
                        return Ok(());
                    }
                }
                Err(error) if error.code() == Code::IMD_DEADLINE_EXCEEDED => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes a call and writes down what came of it.
    fn outcome<T>(&self, name: &str, call: impl FnOnce() -> Result<T, Error>) -> Outcome<Result<T, Error>> {
        let (answer, taken) = timed(call);
        let outcome = match &answer {
            Ok(_) => "answer".to_owned(),
            Err(error) => {
                let sent = match error.sent() {
                    Sent::No => "no",
                    Sent::Unknown => "unknown",
                    Sent::Yes => "yes",
                };
                format!("{} {sent}", error.code().0)
            }
        };
        self.calls
            .append(&format!("{name} {} {outcome}", taken.as_micros()))?;
        thread::sleep(PAUSE);
        Ok(answer)
    }
}
