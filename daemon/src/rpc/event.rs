//! EventService: the log, followed from a cursor on.
//!
//! A page is read once the one before it has been written: one waits for a reader that has stopped.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::event_service_server::EventService;
use imd_proto::imd::v1::subscribe_request;
use imd_proto::status::to_status;
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::binding::{Caller, peer};
use super::budget::{Budget, Held};
use super::stop::Stop;
use super::{archive, arguments, convert};
use crate::hub::{EventLog, Hub, Start, Subscription};
use crate::link::{self, BoxFuture};

type Answer = Result<v1::SubscribeResponse, Status>;

pub(super) struct Events {
    pub(super) log: EventLog,
    pub(super) hub: Arc<Hub>,
    pub(super) goodbye: Stop,
    pub(super) subscriptions: Budget,
}

#[tonic::async_trait]
impl EventService for Events {
    type SubscribeStream = Pages;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let app = match Caller::of(&request, &self.hub)? {
            Caller::Bound(app) => Some(app.instance),
            Caller::Unbound(_) => None,
        };
        let start = self.start(&request)?;
        let held = self.subscriptions.take(&peer(&request)?, 1)?;
        let follower = Follower {
            subscription: self.log.subscribe_for(app, start),
            goodbye: Box::pin(self.goodbye.asked()),
            _held: held,
        };
        Ok(Response::new(follower.pages()))
    }

    async fn ack_events(
        &self,
        request: Request<v1::AckEventsRequest>,
    ) -> Result<Response<v1::AckEventsResponse>, Status> {
        let app_id = self.app_id(&request)?;
        let request = request.into_inner();
        let name = arguments::cursor_name(&request.name).map_err(convert::invalid)?;
        let cursor = arguments::cursor(request.cursor).map_err(convert::invalid)?;
        archive::answered("AckEvents", self.log.acknowledge(app_id, name, cursor)).await?;
        Ok(Response::new(v1::AckEventsResponse {}))
    }
}

impl Events {
    fn start(&self, request: &Request<v1::SubscribeRequest>) -> Result<Start, Status> {
        match &request.get_ref().start {
            Some(subscribe_request::Start::Name(name)) => Ok(Start::Kept {
                name: arguments::cursor_name(name).map_err(convert::invalid)?,
                app_id: self.app_id(request)?,
            }),
            Some(subscribe_request::Start::Cursor(cursor)) => arguments::cursor(Some(cursor.clone()))
                .map(Start::Cursor)
                .map_err(convert::invalid),
            Some(subscribe_request::Start::Tail(_)) | None => Ok(Start::Tail),
        }
    }

    /// Whose cursor it is.
    fn app_id<T>(&self, request: &Request<T>) -> Result<Arc<str>, Status> {
        match Caller::of(request, &self.hub)? {
            Caller::Bound(app) => Ok(app.app.app_id),
            Caller::Unbound(_) => {
                let text = "the daemon keeps cursors by app id and name: bind first, and name the binding in \
                            the metadata imd-binding, or keep the cursor yourself";
                Err(to_status(Code::IMD_NOT_BOUND, text))
            }
        }
    }
}

/// A subscriber's stream. Its next page is read when it is asked for the next page, so that a reader that has
/// stopped holds no page but the one that is being sent to it.
pub(super) struct Pages {
    page: Option<BoxFuture<(Answer, Option<Follower>)>>,
}

struct Follower {
    subscription: Subscription,
    goodbye: BoxFuture<Arc<str>>,
    _held: Held,
}

impl Follower {
    /// The next page; without a follower the stream ends with it.
    async fn next(mut self) -> (Answer, Option<Self>) {
        tokio::select! {
            biased;
            _ = self.goodbye.as_mut() => (Err(convert::stopping(link::Stopped)), None),
            news = self.subscription.next() => match news {
                Ok(news) => (Ok(convert::news(news)), Some(self)),
                Err(error) => (Err(convert::failed(error)), None),
            },
        }
    }

    fn pages(self) -> Pages {
        Pages {
            page: Some(Box::pin(self.next())),
        }
    }
}

impl Stream for Pages {
    type Item = Answer;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Answer>> {
        let Some(page) = &mut self.page else {
            return Poll::Ready(None);
        };
        let (answer, follower) = ready!(page.as_mut().poll(context));
        self.page = follower.and_then(|follower| follower.pages().page);
        Poll::Ready(Some(answer))
    }
}
