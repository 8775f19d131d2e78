//! An app that keeps a journal of its own, to be killed at any moment and started again:
//! `journal send SOCKET JOURNAL USER COUNT STOP`, `journal read SOCKET JOURNAL`, and `journal skim SOCKET JOURNAL`.
//!
//! The sender writes `UID` when the message was accepted. Its uids are its numbers, so that after a kill it
//! sends what it was not told of under the same uid again. It ends after COUNT, or when there is a file STOP.
//! The reader writes `EPOCH OFFSET KIND UID TEXT`, one write for an event, and begins where its journal ends.
//! One that skims does not wait for the disk. Either has one client for its life: a daemon that dies is the
//! library's business.

#![expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]

use std::error::Error;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use imd_client::{
    BlockingClient, BlockingSending, Client, Code, Content, ConversationKey, Cursor, Direction, Event,
    EventKind, Start,
};
use imd_tests::APP_KEY;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How many messages are on their way to the daemon at once.
const BATCH: usize = 16;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["send", socket, journal, user, count, stop] => {
            let sender = Sender {
                journal: Journal::open(Path::new(journal), true)?,
                user,
                count: count.parse()?,
                stop: PathBuf::from(stop),
            };
            sender.send(&app(socket, "Sender")?)
        }
        [mode @ ("read" | "skim"), socket, journal] => {
            let journal = Journal::open(Path::new(journal), *mode == "read")?;
            read(&app(socket, "Reader")?, &journal)
        }
        _ => Err(
            "usage: journal send SOCKET JOURNAL USER COUNT STOP | journal read|skim SOCKET JOURNAL".into(),
        ),
    }
}

fn app(socket: &str, name: &str) -> Outcome<BlockingClient> {
    let builder = Client::builder(APP_KEY).app_id(format!("org.example.{name}"));
    let client = builder.socket(socket).wait_for_daemon(true).build()?;
    Ok(client.blocking())
}

struct Sender<'a> {
    journal: Journal,
    user: &'a str,
    count: usize,
    stop: PathBuf,
}

impl Sender<'_> {
    fn send(&self, app: &BlockingClient) -> Outcome<()> {
        let mut done = match self.journal.last()? {
            Some(uid) => 1 + uid.trim_start_matches("m-").parse::<usize>()?,
            None => 0,
        };
        while done < self.count {
            let numbers = done..(done + BATCH).min(self.count);
            let sendings: Vec<_> = numbers
                .map(|number| (number, self.message(app, number)))
                .collect();
            for (number, sending) in sendings {
                let mut accepted = sending.accepted();
                // A daemon that is there and has not answered in time may have it: under the same uid it is the
                // same message. A busy disk may take longer than the call's deadline more than once.
                while let Err(error) = &accepted
                    && error.code() == Code::IMD_DEADLINE_EXCEEDED
                {
                    accepted = self.message(app, number).accepted();
                }
                self.journal.append(&accepted?.uid)?;
                done += 1;
            }
            // Only here: what was accepted before a kill is in the journal by then.
            if self.stop.exists() {
                break;
            }
        }
        Ok(())
    }

    fn message(&self, app: &BlockingClient, number: usize) -> BlockingSending {
        let content = Content::text(format!("message {number}")).uid(format!("m-{number:08}"));
        app.send_message(&ConversationKey::private(self.user), content)
    }
}

fn read(app: &BlockingClient, journal: &Journal) -> Outcome<()> {
    let start = match journal.last()? {
        Some(line) => Start::Cursor(cursor(&line)?),
        None => Start::Tail,
    };
    for event in app.subscribe(start) {
        if let Some(line) = line(&event?) {
            journal.append(&line)?;
        }
    }
    Err("the events have ended".into())
}

fn cursor(line: &str) -> Outcome<Cursor> {
    let mut words = line.split(' ');
    let epoch = words.next().unwrap_or_default().to_owned();
    let offset = words.next().unwrap_or_default().parse()?;
    Ok(Cursor { epoch, offset })
}

fn line(event: &Event) -> Option<String> {
    let Cursor { epoch, offset } = &event.cursor;
    let rest = match &event.kind {
        EventKind::Started { recovered: true } => "started".to_owned(),
        EventKind::Started { recovered: false } => "not-recovered".to_owned(),
        EventKind::Message(message) if message.direction == Direction::Receive => {
            format!("message {} {}", message.uid, message.text().unwrap_or_default())
        }
        EventKind::Gap(gap) => format!("gap {} {}", gap.kind.name(), gap.missing.unwrap_or_default()),
        EventKind::Unreadable { topic, reason, .. } => format!("unreadable {topic} {reason}"),
        EventKind::Message(_)
        | EventKind::MessageState(_)
        | EventKind::OfflineSyncCompleted { .. }
        | EventKind::Deleted { .. } => return None,
        other => format!("other {other:?}"),
    };
    Some(format!("{epoch} {offset} {rest}"))
}

/// Lines that outlive the process; if `synced`, the machine too.
struct Journal {
    file: File,
    synced: bool,
}

/// More than the last two lines of any journal: a long one is not read whole at each start.
const TAIL: u64 = 64 * 1024;

impl Journal {
    /// A line that a kill has torn did not happen.
    fn open(path: &Path, synced: bool) -> Outcome<Self> {
        let file = File::options().create(true).append(true).read(true).open(path)?;
        let journal = Self { file, synced };
        let (begin, tail) = journal.tail()?;
        let whole = tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        journal.file.set_len(begin + u64::try_from(whole)?)?;
        Ok(journal)
    }

    /// The end of the file, and where that begins.
    fn tail(&self) -> Outcome<(u64, Vec<u8>)> {
        let begin = self.file.metadata()?.len().saturating_sub(TAIL);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((begin, bytes))
    }

    fn last(&self) -> Outcome<Option<String>> {
        let (_, tail) = self.tail()?;
        Ok(String::from_utf8_lossy(&tail).lines().last().map(str::to_owned))
    }

    fn append(&self, line: &str) -> Outcome<()> {
        let mut file = &self.file;
        file.write_all(format!("{line}\n").as_bytes())?;
        if self.synced {
            file.sync_data()?;
        }
        Ok(())
    }
}
