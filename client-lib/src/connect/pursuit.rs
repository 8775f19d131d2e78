//! One connect, from the call to its end: over as many daemons as it takes.
//!
//! Until its outcome is told it is pending: each daemon is asked for it under the same id, with the time that
//! is left. After its success it is kept: the next daemon is told that this app holds the connection, or asked
//! for it again, unless it has ended in between.

use std::sync::Arc;
use std::time::Duration;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::connect_response::Event;
use imd_proto::imd::v1::session_service_client::SessionServiceClient;
use tokio::sync::watch;

use super::{ConnectOptions, DatabaseOpenStatus, Progress, UserId, seconds};
use crate::call::{DEADLINE, Link};
use crate::claim::{Account, Entry, Resumption, resumption};
use crate::clock::{self, BootTime, sleep_until};
use crate::error::{Error, Sent};
use crate::status::Status;
use crate::supervisor::Shared;
use crate::token::Token;

const NAME: &str = "Connect";

/// A connect.
pub(crate) struct Pursuit {
    shared: Arc<Shared>,
    app_key: String,
    token: Token,
    user_id: String,
    /// Names this connect for ever.
    connect: String,
    deadline: Option<BootTime>,
    progress: watch::Sender<Progress>,
}

/// What a daemon made of it.
enum Answer {
    Told(Result<UserId, Error>),
    /// It was not taken.
    Refused(Error),
    /// The daemon is gone, and has told nothing.
    Lost(Sent),
    /// It is there, and did not answer. It may still carry it out: an app that were told of an error would be
    /// refused the next connect.
    Silent,
}

/// How a daemon is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asking {
    /// As one of the app's calls.
    First,
    /// By the library itself.
    Again,
    /// By the library itself, for what had succeeded: whoever has signed out in the meantime is not overridden.
    Resuming,
}

impl Pursuit {
    pub(crate) fn new(
        shared: Arc<Shared>,
        app_key: Option<&str>,
        token: Token,
        options: ConnectOptions,
    ) -> (Self, watch::Receiver<Progress>) {
        let (progress, told) = watch::channel(Progress::default());
        let pursuit = Self {
            shared,
            app_key: app_key.unwrap_or_default().to_owned(),
            token,
            connect: uuid::Uuid::new_v4().to_string(),
            deadline: options.limit().map(|limit| clock::now() + limit),
            user_id: options.user_id.unwrap_or_default(),
            progress,
        };
        (pursuit, told)
    }

    /// Takes the app's place for a connect: when it is called, so that the first of two calls is the first.
    pub(crate) fn enter(&self) -> Result<Entry, Error> {
        let up = self.shared.uplink.up().map(|link| link.number);
        self.shared.claim.enter(&self.connect, up)
    }

    /// Follows it to its end.
    pub(crate) async fn run(mut self, entry: Result<Entry, Error>) {
        let outcome = match entry {
            Ok(entry) => self.pursue(entry).await,
            Err(error) => Err(error),
        };
        let (user_id, link) = match outcome {
            Ok(success) => success,
            Err(error) => {
                self.shared.claim.released(&self.connect);
                self.tell(Err(error));
                return;
            }
        };
        let account = Account {
            app_key: self.app_key.clone(),
            user_id: user_id.as_str().to_owned(),
        };
        self.user_id.clone_from(&account.user_id);
        let is_seen = self
            .shared
            .board
            .newest(link.number)
            .is_some_and(|status| status.is_connected());
        let is_known = is_seen || refresh(&self.shared, &link).await.is_some();
        self.shared.claim.held(&self.connect, account.clone());
        // Its end may have come since.
        if is_known && let Some(status) = self.shared.board.newest(link.number) {
            self.shared.claim.saw(link.number, &status);
        }
        self.tell(Ok(user_id));
        self.keep(link, &account).await;
    }

    fn tell(&self, outcome: Result<UserId, Error>) {
        self.progress
            .send_modify(|progress| progress.outcome = Some(outcome));
    }

    /// Asks one daemon after the other until one tells the outcome.
    async fn pursue(&self, mut entry: Entry) -> Result<(UserId, Arc<Link>), Error> {
        let mut sent = Sent::No;
        let mut asking = Asking::First;
        let mut previous: Option<Arc<Link>> = None;
        loop {
            let link = match entry {
                Entry::Own => self.next(previous.as_deref(), sent).await?,
                Entry::AskDaemon(number) => {
                    match self.shared.uplink.up().filter(|link| link.number == number) {
                        Some(link) => link,
                        None => {
                            entry = self.enter()?;
                            continue;
                        }
                    }
                }
            };
            match self.ask(&link, asking).await {
                Answer::Told(outcome) => return outcome.map(|user_id| (user_id, link)),
                Answer::Refused(error) => return Err(error),
                Answer::Silent => sent = Sent::Unknown,
                Answer::Lost(lost) => {
                    if lost != Sent::No {
                        sent = Sent::Unknown;
                    }
                    entry = if self.shared.claim.is_of(&self.connect) {
                        Entry::Own
                    } else {
                        self.enter()?
                    };
                }
            }
            asking = Asking::Again;
            previous = Some(link);
        }
    }

    /// The next daemon, within the time limit.
    async fn next(&self, previous: Option<&Link>, sent: Sent) -> Result<Arc<Link>, Error> {
        let next = async {
            match previous {
                None => self.shared.uplink.next(None).await,
                Some(link) => self.shared.uplink.retry(link).await,
            }
        };
        tokio::select! {
            biased;
            () = passed(self.deadline, Duration::ZERO) => {
                let text = match self.shared.uplink.up() {
                    Some(_) => "no connection within the time limit, and no word of the daemon".to_owned(),
                    None => format!(
                        "no connection within the time limit; last: {}",
                        self.shared.uplink.loss()
                    ),
                };
                Err(Error::new(Code::RC_CONNECT_TIMEOUT, text, sent))
            }
            link = next => Ok(link),
        }
    }

    /// Asks one daemon, and waits for its word as long as it is there.
    async fn ask(&self, link: &Link, asking: Asking) -> Answer {
        let limit = passed(self.deadline, DEADLINE);
        tokio::select! {
            biased;
            answer = self.converse(link, asking, self.time_left()) => answer,
            // The daemon counts the limit, too, and tells its end: one that does not hangs.
            () = limit => {
                let text = "no connection within the time limit, and no word of the daemon";
                Answer::Told(Err(Error::new(Code::RC_CONNECT_TIMEOUT, text, Sent::Unknown)))
            }
        }
    }

    async fn converse(&self, link: &Link, asking: Asking, time_left: Option<Duration>) -> Answer {
        let permit = match asking {
            Asking::First => link.permit(NAME),
            Asking::Again | Asking::Resuming => link.turn(NAME).await,
        };
        let _permit = match permit {
            Ok(permit) => permit,
            Err(error) => return Answer::of(error),
        };
        let request = link.request(v1::ConnectRequest {
            token: self
                .shared
                .renewed
                .get()
                .as_ref()
                .unwrap_or(&self.token)
                .reveal()
                .to_owned(),
            time_limit_seconds: time_left.map(seconds).unwrap_or_default(),
            user_id: self.user_id.clone(),
            connect_id: self.connect.clone(),
            app_key: String::new(),
            database_opened_seen: self.progress.borrow().opened.is_some(),
            resumes: match asking {
                Asking::First | Asking::Again => false,
                Asking::Resuming => true,
            },
        });
        let mut session = SessionServiceClient::new(link.channel());
        let answer = link.within(NAME, DEADLINE, session.connect(request)).await;
        let mut events = match answer {
            Ok(answer) => answer.into_inner(),
            Err(error) => return Answer::of(error),
        };
        self.shared.claim.taken(&self.connect, link.number);
        loop {
            let event = match link.while_up(NAME, events.message()).await {
                Ok(Some(v1::ConnectResponse { event })) => event,
                // It is taken up again.
                Ok(None) => return Answer::Lost(Sent::Unknown),
                Err(error) => return Answer::of(error),
            };
            match event {
                Some(Event::DatabaseOpened(opened)) => {
                    self.progress.send_if_modified(|progress| {
                        let is_news = progress.opened.is_none();
                        progress.opened.get_or_insert(DatabaseOpenStatus {
                            code: Code(opened.code),
                            text: opened.text,
                        });
                        is_news
                    });
                }
                Some(Event::Success(success)) => return Answer::Told(Ok(UserId(success.user_id))),
                Some(Event::Error(error)) => {
                    return Answer::Told(Err(Error::told(error.code, error.text, error.action)));
                }
                // A later daemon's event.
                None => {}
            }
        }
    }

    fn time_left(&self) -> Option<Duration> {
        // The limit may pass while a daemon is asked; a limit of 0 would be none.
        let left = self.deadline?.since(clock::now());
        Some(left.max(Duration::from_nanos(1)))
    }

    /// Keeps what has succeeded, until it ends.
    async fn keep(mut self, mut link: Arc<Link>, account: &Account) {
        // The limit was for the first success.
        self.deadline = None;
        let going_on = async {
            loop {
                link = self.shared.uplink.next(Some(link.number)).await;
                self.resume(&link, account).await;
            }
        };
        tokio::select! {
            biased;
            () = self.shared.claim.lost(&self.connect) => {}
            () = going_on => {}
        }
    }

    /// Tells another daemon of it, or sees that it has ended.
    async fn resume(&self, link: &Arc<Link>, account: &Account) {
        loop {
            let Some(status) = self.status(link).await else {
                return;
            };
            match resumption(&status, account) {
                Resumption::Join | Resumption::Again => {}
                Resumption::Ended => {
                    tracing::info!(%status, "the connection has ended in the meantime");
                    self.shared.claim.released(&self.connect);
                    return;
                }
            }
            match self.ask(link, Asking::Resuming).await {
                Answer::Told(Ok(_)) => return,
                Answer::Told(Err(error)) | Answer::Refused(error) => {
                    tracing::info!(%error, "the connect that had succeeded has ended");
                    self.shared.claim.released(&self.connect);
                    return;
                }
                Answer::Lost(_) | Answer::Silent => {}
            }
            if self.shared.uplink.retry(link).await.number != link.number {
                return;
            }
        }
    }

    /// The newest status of this daemon; `None` when it is gone.
    async fn status(&self, link: &Arc<Link>) -> Option<Arc<Status>> {
        let status = self.shared.board.newest(link.number)?;
        if status.generation > 0 {
            return Some(status);
        }
        // It has not published any: what it remembers is still to come.
        refresh(&self.shared, link).await;
        self.shared.board.newest(link.number)
    }
}

impl Answer {
    fn of(error: Error) -> Self {
        if error.is_loss() {
            Self::Lost(error.sent())
        } else if error.code() == Code::IMD_DEADLINE_EXCEEDED {
            // The daemon's own deadline is the same silence: what it waits for may still come.
            Self::Silent
        } else {
            Self::Refused(error)
        }
    }
}

async fn passed(deadline: Option<BootTime>, grace: Duration) {
    match deadline {
        Some(deadline) => sleep_until(deadline + grace).await,
        None => std::future::pending().await,
    }
}

/// Status and answers travel on streams of their own. After an answer that changes the status the app must
/// not read the old one.
pub(crate) async fn refresh(shared: &Shared, link: &Link) -> Option<Status> {
    let answer = link
        .unary(
            "GetStatus",
            DEADLINE,
            v1::GetStatusRequest {},
            |channel, request| async { SessionServiceClient::new(channel).get_status(request).await },
        )
        .await;
    // Without an answer the status comes by the Bind stream, or the daemon is gone.
    let status = Status::from_wire(answer.ok()?.status?, &link.run_id);
    shared.saw(link.number, &status);
    Some(status)
}
