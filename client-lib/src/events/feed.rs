//! The log followed page by page, over as many daemons as it takes.

use std::sync::Arc;

use imd_proto::imd::v1;
use imd_proto::imd::v1::event_service_client::EventServiceClient;
use imd_proto::imd::v1::subscribe_request;
use imd_proto::imd::v1::subscribe_response::Content as Told;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::Streaming;

use super::{Cursor, Event, EventKind, Start};
use crate::call::{DEADLINE, Link, LinkNumber, MAX_ANSWER};
use crate::error::Error;
use crate::supervisor::Shared;

const NAME: &str = "Subscribe";

/// The events from a place in the log on. The daemon's death is no event.
pub(crate) struct Feed {
    shared: Arc<Shared>,
    /// Where the next daemon is asked to begin: after what was given last.
    start: Start,
    /// Something was given.
    is_started: bool,
    owner: Owner,
    stage: Stage,
}

/// Whose it is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// Its first request is one of the app's calls, and fails as they do.
    App,
    /// What passes is waited out from the first request on.
    Library,
}

impl Owner {
    /// Whether it goes on after this.
    fn waits_out(self, error: &Error) -> bool {
        match self {
            Self::App => error.is_loss(),
            Self::Library => error.is_passing(),
        }
    }
}

enum Stage {
    /// No daemon has taken it so far.
    New,
    Open(Box<Pages>),
    /// The link has ended, or did not give it.
    Broken(Arc<Link>),
}

/// What one daemon gives.
struct Pages {
    stream: Streaming<v1::SubscribeResponse>,
    link: Arc<Link>,
    /// It goes on where another daemon's ended.
    resumed: bool,
    _permit: OwnedSemaphorePermit,
}

/// A page.
pub(crate) struct Page {
    pub(crate) events: Vec<Event>,
    /// The link it came by.
    pub(crate) link: LinkNumber,
}

impl Feed {
    pub(crate) const fn of_app(shared: Arc<Shared>, start: Start) -> Self {
        Self::new(shared, start, Owner::App)
    }

    pub(crate) const fn of_library(shared: Arc<Shared>, start: Start) -> Self {
        Self::new(shared, start, Owner::Library)
    }

    const fn new(shared: Arc<Shared>, start: Start, owner: Owner) -> Self {
        Self {
            shared,
            start,
            is_started: false,
            owner,
            stage: Stage::New,
        }
    }

    /// What follows; waits until there is something. It can be dropped while it waits, and asked again.
    ///
    /// # Errors
    /// A daemon that is there refuses it.
    pub(crate) async fn next(&mut self) -> Result<Page, Error> {
        loop {
            match &mut self.stage {
                Stage::New => {
                    let link = self.shared.uplink.next(None).await;
                    let begun = match self.owner {
                        Owner::App => self.begin(&link).await,
                        Owner::Library => self.resume(&link).await,
                    };
                    self.stage = match begun {
                        Ok(pages) => Stage::Open(pages),
                        Err(error) if self.owner.waits_out(&error) => Stage::Broken(link),
                        Err(error) => return Err(error),
                    };
                }
                Stage::Broken(link) => {
                    let link = self.shared.uplink.retry(link).await;
                    self.stage = match self.resume(&link).await {
                        Ok(pages) => Stage::Open(pages),
                        Err(error) if error.is_passing() => Stage::Broken(link),
                        Err(error) => return Err(error),
                    };
                }
                Stage::Open(pages) => {
                    let page = match pages.link.while_up(NAME, pages.stream.message()).await {
                        Ok(Some(page)) => page,
                        Ok(None) => {
                            self.stage = Stage::Broken(Arc::clone(&pages.link));
                            continue;
                        }
                        Err(error) if self.owner.waits_out(&error) => {
                            self.stage = Stage::Broken(Arc::clone(&pages.link));
                            continue;
                        }
                        Err(error) => return Err(error),
                    };
                    let link = pages.link.number;
                    let mut events = events(page);
                    self.is_started = true;
                    if let Some(last) = events.last() {
                        self.start = Start::Cursor(last.cursor.clone());
                    }
                    if std::mem::take(&mut pages.resumed) {
                        // That it goes on where it was is no news.
                        events.retain(|event| event.kind != EventKind::Started { recovered: true });
                    }
                    return Ok(Page { events, link });
                }
            }
        }
    }

    /// As one of the app's calls.
    async fn begin(&self, link: &Arc<Link>) -> Result<Box<Pages>, Error> {
        let permit = link.permit(NAME)?;
        self.open(link, permit).await
    }

    /// By the library itself, which waits for its turn.
    async fn resume(&self, link: &Arc<Link>) -> Result<Box<Pages>, Error> {
        let permit = link.turn(NAME).await?;
        self.open(link, permit).await
    }

    async fn open(&self, link: &Arc<Link>, permit: OwnedSemaphorePermit) -> Result<Box<Pages>, Error> {
        let start = match &self.start {
            Start::Cursor(cursor) => subscribe_request::Start::Cursor(cursor.to_wire()),
            Start::Named(name) => subscribe_request::Start::Name(name.clone()),
            Start::Tail => subscribe_request::Start::Tail(true),
        };
        let request = link.request(v1::SubscribeRequest { start: Some(start) });
        let mut client = EventServiceClient::new(link.channel()).max_decoding_message_size(MAX_ANSWER);
        let stream = link
            .within(NAME, DEADLINE, client.subscribe(request))
            .await?
            .into_inner();
        Ok(Box::new(Pages {
            stream,
            link: Arc::clone(link),
            resumed: self.is_started,
            _permit: permit,
        }))
    }
}

fn events(page: v1::SubscribeResponse) -> Vec<Event> {
    match page.content {
        Some(Told::Started(v1::Started { cursor, recovered })) => vec![Event {
            cursor: Cursor::from_wire(cursor),
            time: None,
            kind: EventKind::Started { recovered },
        }],
        Some(Told::Events(page)) => page.events.into_iter().map(Event::from_wire).collect(),
        // A later daemon's page.
        None => Vec::new(),
    }
}

/// Hands out a subscription's events, until its reader is gone.
pub(super) async fn pump(shared: Arc<Shared>, start: Start, tell: mpsc::Sender<Result<Vec<Event>, Error>>) {
    let mut feed = Feed::of_app(shared, start);
    loop {
        let page = tokio::select! {
            biased;
            () = tell.closed() => return,
            page = feed.next() => page,
        };
        let is_end = page.is_err();
        if tell.send(page.map(|page| page.events)).await.is_err() || is_end {
            return;
        }
    }
}
