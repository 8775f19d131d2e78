//! EventService: the log, followed from a cursor on.
//!
//! A subscriber's task reads the next page once the one before has been taken: one page waits for a reader
//! that has stopped, and HTTP/2 holds what its client said it takes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::event_service_server::EventService;
use imd_proto::imd::v1::subscribe_request;
use imd_proto::status::to_status;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::binding::{Caller, peer};
use super::budget::{Budget, Held};
use super::stop::Stop;
use super::{archive, arguments, convert};
use crate::hub::{EventLog, Hub, Start, Subscription};
use crate::link;

/// How many pages wait in a stream.
const PAGES: usize = 1;

type Answer = Result<v1::SubscribeResponse, Status>;

pub(super) struct Events {
    pub(super) log: EventLog,
    pub(super) hub: Arc<Hub>,
    pub(super) goodbye: Stop,
    pub(super) subscriptions: Budget,
}

#[tonic::async_trait]
impl EventService for Events {
    type SubscribeStream = ReceiverStream<Answer>;

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
        let (answers, stream) = mpsc::channel(PAGES);
        let subscription = self.log.subscribe_for(app, start);
        tokio::spawn(follow(subscription, answers, self.goodbye.asked(), held));
        Ok(Response::new(ReceiverStream::new(stream)))
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

async fn follow(
    mut subscription: Subscription,
    answers: mpsc::Sender<Answer>,
    goodbye: impl Future<Output = Arc<str>>,
    _held: Held,
) {
    let mut goodbye = pin!(goodbye);
    while let Ok(turn) = answers.reserve().await {
        tokio::select! {
            biased;
            () = answers.closed() => return,
            _ = goodbye.as_mut() => {
                turn.send(Err(convert::stopping(link::Stopped)));
                return;
            }
            news = subscription.next() => match news {
                Ok(news) => turn.send(Ok(convert::news(news))),
                Err(error) => {
                    turn.send(Err(convert::failed(error)));
                    return;
                }
            }
        }
    }
}
