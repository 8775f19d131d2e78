//! The messages that are waited for, and what is known of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use imd_proto::code::Code;
use tokio::sync::{mpsc, watch};

use super::Job;
use crate::call::LinkNumber;
use crate::error::{Error, Sent};
use crate::message::{ConversationType, Message, SentStatus};

/// What is known of a message.
#[derive(Default)]
pub(super) struct Progress {
    /// As it was last seen.
    message: Option<Message>,
    /// Why it was not accepted.
    refused: Option<Error>,
    /// Why nothing further can be seen of it.
    unseen: Option<Error>,
}

impl Progress {
    pub(super) fn accepted(&self) -> Option<Result<Message, Error>> {
        match (&self.message, &self.refused) {
            (Some(message), _) => Some(Ok(message.clone())),
            (None, Some(error)) => Some(Err(error.clone())),
            (None, None) => None,
        }
    }

    pub(super) fn sent(&self) -> Option<Result<Message, Error>> {
        self.reached(SentStatus::Sent)
    }

    pub(super) fn received(&self) -> Option<Result<Message, Error>> {
        self.reached(SentStatus::Received).or_else(|| {
            let sent = self.sent()?.ok()?;
            (sent.conversation.kind != ConversationType::Private).then(|| {
                let text = "only private messages are confirmed by their receivers; this one is sent";
                Err(Error::new(Code::BIZ_ERROR_INVALID_PARAMETER, text, Sent::Yes))
            })
        })
    }

    pub(super) fn reached(&self, status: SentStatus) -> Option<Result<Message, Error>> {
        let message = self.message.as_ref();
        if let Some(message) = message.filter(|message| rank(message) >= status.number()) {
            // FAILED is less than SENT.
            return Some(Ok(message.clone()));
        }
        message
            .and_then(Message::error)
            .or_else(|| self.refused.clone())
            .or_else(|| self.unseen.clone())
            .map(Err)
    }

    pub(super) fn is_final(&self) -> bool {
        let ends = |message: &Message| {
            matches!(
                message.sent_status,
                Some(SentStatus::Failed | SentStatus::Received)
            )
        };
        self.refused.is_some() || self.message.as_ref().is_some_and(ends)
    }
}

fn rank(message: &Message) -> i32 {
    message.sent_status.map_or(0, SentStatus::number)
}

/// A message that is waited for. It is forgotten with the last one who waits.
pub(super) struct Followed {
    pub(super) uid: String,
    pub(super) progress: watch::Sender<Progress>,
    register: Weak<Register>,
}

impl Followed {
    fn new(uid: String, register: Weak<Register>) -> Arc<Self> {
        Arc::new(Self {
            uid,
            progress: watch::Sender::default(),
            register,
        })
    }

    /// One that is not even given to the daemon.
    pub(super) fn never(uid: String, error: Error) -> Arc<Self> {
        let followed = Self::new(uid, Weak::new());
        followed.refused(error);
        followed
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Progress)) {
        self.progress.send_if_modified(|progress| {
            let is_open = !progress.is_final();
            if is_open {
                change(progress);
            }
            is_open
        });
    }

    /// A later state never gives way to an earlier one, in whatever order answers and events come.
    pub(super) fn seen(&self, message: &Message) {
        self.change(|progress| {
            if progress
                .message
                .as_ref()
                .is_none_or(|known| rank(known) < rank(message))
            {
                progress.message = Some(message.clone());
            }
        });
    }

    pub(super) fn refused(&self, error: Error) {
        self.change(|progress| progress.refused = Some(error));
    }

    /// The answer to the request may still come.
    pub(super) fn unseen(&self, code: Code, reason: &str) {
        self.change(|progress| {
            let sent = match progress.message {
                Some(_) => Sent::Yes,
                None => Sent::Unknown,
            };
            let text = format!(
                "what becomes of the message {} cannot be seen: {reason}",
                self.uid
            );
            progress.unseen.get_or_insert(Error::new(code, text, sent));
        });
    }

    pub(super) fn deleted(&self) {
        let reason = "it is not on this machine any longer: it was deleted, or another account is open";
        self.unseen(Code::RC_DB_DATA_NOT_FOUND, reason);
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.progress.borrow().message.is_some()
    }

    pub(super) fn is_final(&self) -> bool {
        self.progress.borrow().is_final()
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        if let Some(register) = self.register.upgrade() {
            register.forget(&self.uid);
        }
    }
}

/// The messages that are waited for, and whether the log is followed for them.
#[derive(Default)]
pub(super) struct Register {
    entries: Mutex<Entries>,
    /// The newest link by which the log was opened, and so an account.
    log: watch::Sender<LinkNumber>,
}

#[derive(Default)]
struct Entries {
    /// An app may send the same uid again while it waits for the first.
    by_uid: HashMap<String, Vec<Weak<Followed>>>,
    is_watched: bool,
    queue: Option<mpsc::UnboundedSender<Job>>,
}

/// Whether somebody watches the log for the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    Runs,
    /// Whoever is told this has to start it.
    ToStart,
}

impl Register {
    /// Adds a message. In one step with the question whether it is watched: each message belongs to a watch,
    /// which tells it its end.
    pub(super) fn follow(self: &Arc<Self>, uid: String) -> (Arc<Followed>, Watch) {
        let followed = Followed::new(uid.clone(), Arc::downgrade(self));
        let mut entries = self.lock();
        let same = entries.by_uid.entry(uid).or_default();
        same.push(Arc::downgrade(&followed));
        let watch = match std::mem::replace(&mut entries.is_watched, true) {
            true => Watch::Runs,
            false => Watch::ToStart,
        };
        (followed, watch)
    }

    /// The watch ends. Those it was for; one that is added from here on is the next one's.
    pub(super) fn end_watch(&self) -> Vec<Arc<Followed>> {
        let mut entries = self.lock();
        entries.is_watched = false;
        entries.all()
    }

    /// The queue; `start` is given its other end when it is made.
    pub(super) fn queue(
        &self,
        start: impl FnOnce(mpsc::UnboundedReceiver<Job>),
    ) -> mpsc::UnboundedSender<Job> {
        let mut entries = self.lock();
        let queue = entries.queue.get_or_insert_with(|| {
            let (queue, jobs) = mpsc::unbounded_channel();
            start(jobs);
            queue
        });
        queue.clone()
    }

    pub(super) fn log_is_open(&self, link: LinkNumber) {
        self.log.send_if_modified(|newest| {
            let is_newer = *newest < link;
            *newest = link.max(*newest);
            is_newer
        });
    }

    /// Waits until an account is open at the other end of this link.
    pub(super) async fn wait_for_log(&self, link: LinkNumber) {
        let mut log = self.log.subscribe();
        // The sender is here, so it cannot end otherwise.
        let _ = log.wait_for(|newest| *newest >= link).await;
    }

    pub(super) fn forget(&self, uid: &str) {
        let mut entries = self.lock();
        if let Some(same) = entries.by_uid.get_mut(uid) {
            same.retain(|followed| followed.strong_count() > 0);
            if same.is_empty() {
                entries.by_uid.remove(uid);
            }
        }
    }

    // Those found are handed out: to drop the last hold on one takes the lock again.
    pub(super) fn with_uid(&self, uid: &str) -> Vec<Arc<Followed>> {
        let entries = self.lock();
        let same = entries.by_uid.get(uid).into_iter().flatten();
        same.filter_map(Weak::upgrade).collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Followed>> {
        self.lock().all()
    }

    pub(super) fn deleted(&self, message_ids: &[i64]) {
        for followed in self.all() {
            let is_deleted = {
                let progress = followed.progress.borrow();
                let message = progress.message.as_ref();
                message.is_some_and(|message| message_ids.contains(&message.id))
            };
            if is_deleted {
                followed.deleted();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn all(&self) -> Vec<Arc<Followed>> {
        let all = self.by_uid.values().flatten();
        all.filter_map(Weak::upgrade).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_belongs_to_one_watch_and_the_first_after_its_end_starts_the_next() {
        let register = Arc::new(Register::default());
        let (first, watch) = register.follow("first".to_owned());
        assert_eq!(watch, Watch::ToStart);
        let (second, watch) = register.follow("second".to_owned());
        assert_eq!(watch, Watch::Runs);
        let mut ended: Vec<_> = register.end_watch().iter().map(|one| one.uid.clone()).collect();
        ended.sort();
        assert_eq!(ended, [first.uid.as_str(), second.uid.as_str()]);
        let (third, watch) = register.follow("third".to_owned());
        assert_eq!(watch, Watch::ToStart, "nobody else would watch for {}", third.uid);
    }
}
