//! An app that keeps a journal of its own: `journal send SOCKET JOURNAL USER COUNT STOP`,
//! `journal read SOCKET JOURNAL`, and `journal skim SOCKET JOURNAL`, to be killed at any moment and started
//! again; and `journal live SOCKET JOURNAL DIRECTORY [USER]`, which lives through every death of its daemon.
//!
//! The sender writes `UID` when the message was accepted. Its uids are its numbers, so that after a kill it
//! sends what it was not told of under the same uid again. It ends after COUNT, or when there is a file STOP.
//! The reader writes `EPOCH OFFSET KIND UID TEXT`, one write for an event, and begins where its journal ends.
//! One that skims does not wait for the disk. What one that lives writes is said in `live.rs`. Each has one
//! client for its life: a daemon that dies is the library's business.

#![expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]

mod file;
mod live;
mod read;
mod send;

use std::error::Error;
use std::path::{Path, PathBuf};

use imd_client::{BlockingClient, Client};
use imd_tests::APP_KEY;

use file::Journal;
use live::live;
use read::read;
use send::Sender;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

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
        ["live", socket, journal, directory] => live(&app(socket, "Live")?, journal, directory, None),
        ["live", socket, journal, directory, user] => {
            live(&app(socket, "Live")?, journal, directory, Some(user))
        }
        _ => Err(
            "usage: journal send SOCKET JOURNAL USER COUNT STOP | journal read|skim SOCKET JOURNAL | \
                  journal live SOCKET JOURNAL DIRECTORY [USER]"
                .into(),
        ),
    }
}

fn app(socket: &str, name: &str) -> Outcome<BlockingClient> {
    let builder = Client::builder(APP_KEY).app_id(format!("org.example.{name}"));
    let client = builder.socket(socket).wait_for_daemon(true).build()?;
    Ok(client.blocking())
}
