//! The app that sends.

use std::path::PathBuf;

use imd_client::{BlockingClient, BlockingSending, Code, Content, ConversationKey};

use crate::Outcome;
use crate::file::Journal;

/// How many messages are on their way to the daemon at once.
const BATCH: usize = 16;

pub(crate) struct Sender<'a> {
    pub(crate) journal: Journal,
    pub(crate) user: &'a str,
    pub(crate) count: usize,
    pub(crate) stop: PathBuf,
}

impl Sender<'_> {
    pub(crate) fn send(&self, app: &BlockingClient) -> Outcome<()> {
        let mut done = match self.journal.last()? {
            Some(uid) => 1 + uid.trim_start_matches("m-").parse::<usize>()?,
            None => 0,
        };
        while done < self.count {
            let numbers = done..(done + BATCH).min(self.count);
            let sendings: Vec<_> = numbers
                .map(|number| (number, message(app, self.user, number)))
                .collect();
            for (number, sending) in sendings {
                let mut accepted = sending.accepted();
                // A daemon that is there and has not answered in time may have it: under the same uid it is the
                // same message. A busy disk may take longer than the call's deadline more than once.
                while let Err(error) = &accepted
                    && error.code() == Code::IMD_DEADLINE_EXCEEDED
                {
                    accepted = message(app, self.user, number).accepted();
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
}

/// Sends a message whose uid is its number.
pub(crate) fn message(app: &BlockingClient, user: &str, number: usize) -> BlockingSending {
    let content = Content::text(format!("message {number}")).uid(format!("m-{number:08}"));
    app.send_message(&ConversationKey::private(user), content)
}
