//! Sending: accepted, sent, received.
//!
//! Requests that are under way together overtake each other: HTTP/2 keeps no order between streams. So there is
//! one under way at a time, and what comes meanwhile goes together with the next: the slower the disk, the more
//! messages share a wait for it.
//!
//! What becomes of the messages is seen on the log of events, which one subscription per client follows from
//! the first send on. When it finds its place in the log it asks once for every message that is waited for:
//! what changed before that place was found is in the answer, what changes after it comes as an event.
//!
//! While there is no daemon the messages wait, in their order. One whose answer was lost with the daemon is
//! sent to the next one under the same uid, which makes it the same message.

mod delivery;
mod register;

use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::get_message_request::Id;
use imd_proto::imd::v1::message_service_client::MessageServiceClient;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::call::{DEADLINE, Link};
use crate::clock::{self, BootTime, sleep_until};
use crate::driver::Driver;
use crate::error::{Error, Sent};
use crate::events::{Event, EventKind, Feed, Start};
use crate::message::{Content, ConversationKey, Direction, Message};
use crate::supervisor::Shared;

use register::{Followed, Progress, Register, Watch};

const NAME: &str = "SendMessages";

/// The most messages in one request: what a daemon takes at once.
const MAX_TOGETHER: usize = 256;

/// The most bytes in one request, unless one message alone has more: with all that is around them less than a
/// daemon takes. One that is too large for it goes alone, and takes no other with it.
const MAX_BYTES_TOGETHER: usize = 512 * 1024;

/// The most messages that have not been answered; what comes then is refused with 90004.
const MAX_WAITING: usize = 1024;

/// Before a daemon is asked again for the messages, if it was silent or had no room.
const PAUSE_BEFORE_ASKING_AGAIN: Duration = Duration::from_secs(1);

/// A message on its way. Dropping it stops waiting and cancels nothing.
///
/// Each of the three can be awaited on any executor, in any order, more than once.
#[must_use = "the message is sent without it, but whether it was accepted is told only here"]
pub struct Sending {
    followed: Arc<Followed>,
    /// The last Client's end would end the wait.
    driver: Arc<Driver>,
}

impl Sending {
    /// The message's id.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.followed.uid
    }

    /// When the message is in the outbox, on disk: it will be sent, once, whatever dies.
    ///
    /// # Errors
    /// - 30016 RC_MSG_CONTENT_EXCEED_LIMIT: the content is over 128 KiB;
    /// - 33000 PROTOCOL_MESSAGE_SAVED_ERROR: the outbox is full, or the disk;
    /// - 33003 BIZ_ERROR_INVALID_PARAMETER: the object name, the uid or the conversation is none;
    /// - 34301 RC_DB_NOT_INIT: no account is open;
    /// - -2: no daemon within 30 seconds; 90001: the daemon is there and does not answer. Unless [`Error::sent`]
    ///   says no, the message may have been accepted; sent again under the same uid ([`Content::uid`]) it is the
    ///   same message.
    pub fn accepted(&self) -> impl Future<Output = Result<Message, Error>> + Send + use<> {
        self.when(Progress::accepted)
    }

    /// When the server has the message. Without a connection that may be long.
    ///
    /// # Errors
    /// As [`accepted`](Self::accepted); the code with which the message FAILED; 34304 when it was deleted. A
    /// daemon that is lost is waited for: the message is as safe as it was.
    pub fn sent(&self) -> impl Future<Output = Result<Message, Error>> + Send + use<> {
        self.when(Progress::sent)
    }

    /// When the peer's daemon has the message on disk. A peer who never comes back never has it.
    ///
    /// # Errors
    /// As [`sent`](Self::sent). Only private messages are confirmed: for others 33003, once they are sent.
    pub fn received(&self) -> impl Future<Output = Result<Message, Error>> + Send + use<> {
        self.when(Progress::received)
    }

    fn when(
        &self,
        outcome: fn(&Progress) -> Option<Result<Message, Error>>,
    ) -> impl Future<Output = Result<Message, Error>> + Send + use<> {
        let (followed, driver) = (Arc::clone(&self.followed), Arc::clone(&self.driver));
        async move {
            let mut progress = followed.progress.subscribe();
            loop {
                if let Some(outcome) = outcome(&progress.borrow_and_update()) {
                    drop(driver);
                    return outcome;
                }
                if progress.changed().await.is_err() {
                    return Err(Error::client_dropped(NAME));
                }
            }
        }
    }
}

/// Takes the messages of one client to the daemon.
pub(crate) struct Courier {
    shared: Arc<Shared>,
    register: Arc<Register>,
    /// It bounds the queue.
    room: Arc<Semaphore>,
}

struct Job {
    request: v1::SendMessageRequest,
    queued: BootTime,
    /// Nobody may be waiting any longer.
    followed: Weak<Followed>,
    _place: OwnedSemaphorePermit,
}

impl Courier {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            register: Arc::default(),
            room: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }

    pub(crate) fn send(
        &self,
        driver: &Arc<Driver>,
        conversation: &ConversationKey,
        content: Content,
    ) -> Sending {
        let flags = content.flags();
        let uid = content.uid.unwrap_or_else(|| uuid::Uuid::now_v7().to_string());
        let bytes = content.bytes.len();
        let followed = if bytes > Content::MAX_BYTES {
            let text = format!(
                "the content has {bytes} bytes; at most {} are allowed",
                Content::MAX_BYTES
            );
            Followed::never(uid, Error::new(Code::RC_MSG_CONTENT_EXCEED_LIMIT, text, Sent::No))
        } else if let Ok(place) = Arc::clone(&self.room).try_acquire_owned() {
            let followed = self.follow(driver, uid.clone());
            let request = v1::SendMessageRequest {
                conversation: Some(conversation.to_wire()),
                object_name: content.object_name,
                content: content.bytes.into(),
                uid,
                flags,
            };
            let job = Job {
                request,
                queued: clock::now(),
                followed: Arc::downgrade(&followed),
                _place: place,
            };
            // Its reader ends with the library's thread alone.
            let _ = self.queue(driver).send(job);
            followed
        } else {
            let text = format!("{MAX_WAITING} messages of this client are waiting already");
            Followed::never(uid, Error::new(Code::IMD_TOO_MANY, text, Sent::No))
        };
        Sending {
            followed,
            driver: Arc::clone(driver),
        }
    }

    /// Adds a message to those that are waited for, and sees to it that somebody watches the log for them.
    fn follow(&self, driver: &Driver, uid: String) -> Arc<Followed> {
        let (followed, watch) = self.register.follow(uid);
        match watch {
            Watch::Runs => {}
            Watch::ToStart => {
                let (shared, register) = (Arc::clone(&self.shared), Arc::clone(&self.register));
                driver.spawn(watch_log(shared, register));
            }
        }
        followed
    }

    /// The queue to the task that makes the requests, which is started with the first message.
    fn queue(&self, driver: &Driver) -> mpsc::UnboundedSender<Job> {
        self.register.queue(|jobs| {
            let (shared, register) = (Arc::clone(&self.shared), Arc::clone(&self.register));
            driver.spawn(hand_over(shared, register, jobs));
        })
    }

    pub(crate) fn deleted(&self) -> impl FnOnce(&[i64]) + use<> {
        let register = Arc::clone(&self.register);
        move |message_ids| register.deleted(message_ids)
    }
}

/// Makes the requests, in the order of the queue.
async fn hand_over(shared: Arc<Shared>, register: Arc<Register>, mut jobs: mpsc::UnboundedReceiver<Job>) {
    let mut left_over = None;
    loop {
        let first = match left_over.take() {
            Some(job) => job,
            None => match jobs.recv().await {
                Some(job) => job,
                None => return,
            },
        };
        let queued = first.queued;
        let mut together = vec![first];
        left_over = fill(&mut together, &mut jobs);
        let messages = together.iter().map(|job| job.request.clone()).collect();
        let request = v1::SendMessagesRequest { messages };
        let patience = (queued, delivery::PATIENCE);
        let answer = delivery::deliver(&shared.uplink, &register, request, patience).await;
        tell_all(together, answer);
    }
}

/// Adds what waits and fits. Gives back what does not fit any more.
fn fill(together: &mut Vec<Job>, jobs: &mut mpsc::UnboundedReceiver<Job>) -> Option<Job> {
    let mut all: usize = together.iter().map(size).sum();
    while together.len() < MAX_TOGETHER
        && let Ok(job) = jobs.try_recv()
    {
        all = all.saturating_add(size(&job));
        if all > MAX_BYTES_TOGETHER {
            return Some(job);
        }
        together.push(job);
    }
    None
}

fn size(job: &Job) -> usize {
    let request = &job.request;
    let target = request.conversation.as_ref().map_or(0, |key| key.target_id.len());
    [
        request.content.len(),
        request.object_name.len(),
        request.uid.len(),
    ]
    .iter()
    .fold(target, |all, length| all.saturating_add(*length))
}

fn tell_all(together: Vec<Job>, answer: Result<v1::SendMessagesResponse, Error>) {
    let mut outcomes = match answer {
        Ok(answer) => Ok(answer.outcomes.into_iter()),
        Err(error) => Err(error),
    };
    for job in together {
        let outcome = match &mut outcomes {
            Ok(outcomes) => outcomes.next().ok_or_else(|| Error::lacks(NAME, "outcome")),
            Err(error) => Err(error.clone()),
        };
        if let Some(followed) = job.followed.upgrade() {
            tell(&followed, outcome);
        }
    }
}

fn tell(followed: &Followed, outcome: Result<v1::SendOutcome, Error>) {
    match outcome {
        Ok(v1::SendOutcome {
            message: Some(message),
            ..
        }) => {
            let message = Message::from_wire(message);
            followed.seen(&message);
            // The uid is known, the message is not there any longer.
            if message.id == 0 {
                followed.deleted();
            }
        }
        Ok(v1::SendOutcome { code, code_text, .. }) => {
            followed.refused(Error::new(Code(code), code_text, Sent::Yes));
        }
        Err(error) => followed.refused(error),
    }
}

/// Follows the log until a daemon refuses it; the next send starts it again.
async fn watch_log(shared: Arc<Shared>, register: Arc<Register>) {
    let Err(error) = follow_log(&shared, &register).await;
    for followed in register.end_watch() {
        followed.unseen(error.code(), error.text());
    }
}

/// Whether the daemon has to be asked for the messages, as the log does not tell what became of them.
#[derive(Clone, Copy)]
enum Asking {
    /// The log tells all.
    Needless,
    /// As soon as there is a daemon.
    Due,
    /// It was asked, and did not answer: again at this time, unless there is another daemon before.
    Later(BootTime),
}

impl Asking {
    /// When it is time.
    async fn due(self) {
        match self {
            Self::Needless | Self::Due => std::future::pending().await,
            Self::Later(at) => sleep_until(at).await,
        }
    }
}

async fn follow_log(shared: &Arc<Shared>, register: &Register) -> Result<std::convert::Infallible, Error> {
    let mut feed = Feed::of_library(Arc::clone(shared), Start::Tail);
    let mut asking = Asking::Needless;
    loop {
        let page = {
            // Kept while others are asked: a stream that is about to be opened is not begun again and again.
            let mut next = std::pin::pin!(feed.next());
            loop {
                if let Asking::Due = asking
                    && let Some(link) = shared.uplink.up()
                {
                    asking = ask(&link, register).await?;
                }
                tokio::select! {
                    biased;
                    page = next.as_mut() => break page?,
                    () = asking.due() => asking = Asking::Due,
                }
            }
        };
        register.log_is_open(page.link);
        for Event { kind, .. } in page.events {
            match kind {
                // The place in the log is another one than before: what happened in between has to be asked for.
                EventKind::Started { .. } => asking = Asking::Due,
                EventKind::Message(message) | EventKind::MessageState(message) => {
                    if message.direction == Direction::Send {
                        for followed in register.with_uid(&message.uid) {
                            followed.seen(&message);
                        }
                    }
                }
                EventKind::Deleted { message_id } => register.deleted(&[message_id]),
                EventKind::Gap(_)
                | EventKind::OfflineSyncCompleted { .. }
                | EventKind::Unreadable { .. }
                | EventKind::Unlisted => {}
            }
        }
    }
}

/// Asks for every message that is waited for. One the daemon has not been given yet is not found, and that
/// says nothing.
async fn ask(link: &Link, register: &Register) -> Result<Asking, Error> {
    for followed in register.all() {
        if followed.is_final() {
            continue;
        }
        let was_accepted = followed.is_accepted();
        let request = v1::GetMessageRequest {
            id: Some(Id::Uid(followed.uid.clone())),
        };
        let answer = link.exchange("GetMessage", DEADLINE, request, |channel, request| async {
            MessageServiceClient::new(channel).get_message(request).await
        });
        match answer.await {
            Ok(v1::GetMessageResponse { message }) => {
                let message = message.map(Message::from_wire);
                let is_ours = |message: &Message| message.direction == Direction::Send;
                if let Some(message) = message.filter(is_ours) {
                    followed.seen(&message);
                }
            }
            Err(error) => match error.code() {
                Code::RC_DB_DATA_NOT_FOUND if was_accepted => followed.deleted(),
                // The answer to the request itself tells more.
                Code::RC_DB_DATA_NOT_FOUND | Code::RC_DB_NOT_INIT | Code::BIZ_ERROR_INVALID_PARAMETER => {}
                // The next daemon is asked.
                _ if error.is_loss() => return Ok(Asking::Due),
                _ if error.is_passing() => {
                    return Ok(Asking::Later(clock::now() + PAUSE_BEFORE_ASKING_AGAIN));
                }
                _ => return Err(error),
            },
        }
    }
    Ok(Asking::Needless)
}
