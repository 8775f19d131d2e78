//! The calls under way: how many there may be, how much and how long one may take to come, and how much of their
//! answers may wait. Who sends half of a request and waits, or asks and does not read, must hold a place neither
//! for ever nor in everybody's stead.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use imd_proto::code::Code;
use imd_proto::status::to_status;
use tokio::time::Sleep;
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::accept::Peer;
use super::budget::{Budget, Held, OPEN, REQUEST_BYTES, REQUESTS};
use super::paced::Paced;
use crate::link::BoxFuture;

/// How long a request may take from its headers to its end.
const DEADLINE: Duration = Duration::from_secs(5);

/// How long a stream of questions stays open for the next one.
const NEXT_QUESTION: Duration = Duration::from_secs(60);

/// Reflection alone has requests that are streams.
const STREAMS: &str = "/grpc.reflection.";

/// Events have a bound of their own: so many subscriptions, and one page for each.
const EVENTS: &str = "/imd.v1.EventService/Subscribe";

/// Those that work for everybody at any time, and whose answers are short.
const ALWAYS: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/imd.v1.AdminService/GetVersion",
    "/imd.v1.AdminService/Shutdown",
    "/imd.v1.SessionService/GetStatus",
];

/// What is counted of the calls. Each further one is refused with 90004.
#[derive(Clone, Debug)]
pub(super) struct RequestsLayer {
    waiting: Budget,
    bytes: Budget,
    open: Budget,
    unread: Budget,
}

impl RequestsLayer {
    /// `unread` is what has been answered and not read.
    pub(super) fn new(unread: Budget) -> Self {
        Self {
            waiting: Budget::new("requests under way", REQUESTS),
            bytes: Budget::new("bytes of requests that are not answered", REQUEST_BYTES),
            open: Budget::new("open calls and streams", OPEN),
            unread,
        }
    }

    fn admit(&self, request: &http::Request<Body>) -> Result<Admitted, Status> {
        let peer = request.extensions().get::<Peer>();
        let peer = peer.ok_or_else(|| to_status(Code::IMD_INTERNAL, "a connection without a peer"))?;
        let path = request.uri().path();
        if !ALWAYS.contains(&path) {
            self.unread.room(peer)?;
        }
        Ok(Admitted {
            waiting: self.waiting.take(peer, 1)?,
            open: self.open.take(peer, 1)?,
            came: Came(Arc::new(Mutex::new(self.bytes.count(peer.pid, 0)))),
            unread: (path != EVENTS).then(|| (self.unread.clone(), peer.pid)),
        })
    }
}

impl<S> Layer<S> for RequestsLayer {
    type Service = Requests<S>;

    fn layer(&self, inner: S) -> Requests<S> {
        Requests {
            inner,
            layer: self.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Requests<S> {
    inner: S,
    layer: RequestsLayer,
}

/// A call's places.
struct Admitted {
    waiting: Held,
    open: Held,
    came: Came,
    unread: Option<(Budget, i32)>,
}

impl<S> Service<http::Request<Body>> for Requests<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = S::Error;
    type Future = BoxFuture<Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        match self.layer.admit(&request) {
            Ok(admitted) => {
                let answer = self.inner.call(in_time(request, &admitted.came));
                Box::pin(async move {
                    let answer = answer.await;
                    drop((admitted.waiting, admitted.came));
                    let (open, unread) = (admitted.open, admitted.unread);
                    answer.map(|answer| answer.map(|body| Body::new(Paced::new(body, open, unread))))
                })
            }
            Err(refusal) => Box::pin(std::future::ready(Ok(refusal.into_http()))),
        }
    }
}

fn in_time(request: http::Request<Body>, came: &Came) -> http::Request<Body> {
    if request.uri().path().starts_with(STREAMS) {
        return request.map(|body| {
            Body::new(Questions {
                body,
                deadline: Box::pin(tokio::time::sleep(NEXT_QUESTION)),
            })
        });
    }
    let came = came.clone();
    request.map(|body| {
        Body::new(InTime {
            body,
            deadline: None,
            came,
        })
    })
}

/// What has come of a request: held by its body, and by the call until it is answered.
#[derive(Clone)]
struct Came(Arc<Mutex<Held>>);

impl Came {
    fn count(&self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, Status> {
        let length = frame.data_ref().map_or(0, Bytes::len);
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.grow(length).map(|()| frame)
    }
}

/// A request's body. Most are there with their headers: the deadline begins with the first wait.
struct InTime {
    body: Body,
    deadline: Option<Pin<Box<Sleep>>>,
    came: Came,
}

impl http_body::Body for InTime {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.and_then(|frame| self.came.count(frame))));
        }
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(DEADLINE)));
        ready!(deadline.as_mut().poll(context));
        let text = format!("the request has not come to its end within {DEADLINE:?}");
        Poll::Ready(Some(Err(to_status(Code::IMD_DEADLINE_EXCEEDED, text))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream of questions. It ends as if by its client when no further one comes.
struct Questions {
    body: Body,
    deadline: Pin<Box<Sleep>>,
}

impl http_body::Body for Questions {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            self.deadline = Box::pin(tokio::time::sleep(NEXT_QUESTION));
            return Poll::Ready(frame);
        }
        ready!(self.deadline.as_mut().poll(context));
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;

    use super::*;

    /// A body of which nothing comes.
    struct Silent;

    impl http_body::Body for Silent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    /// What a request of which nothing comes gives after this time, and that it is not before.
    async fn after(deadline: Duration, path: &str) -> Option<Result<Frame<Bytes>, Status>> {
        let request = http::Request::builder()
            .uri(path)
            .body(Body::new(Silent))
            .unwrap();
        let bytes = Budget::new("bytes", REQUEST_BYTES);
        let came = Came(Arc::new(Mutex::new(bytes.count(1, 0))));
        let mut body = in_time(request, &came).into_body();
        let mut frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let moment = Duration::from_millis(10);
        let early = tokio::time::timeout(deadline - moment, &mut frame).await;
        assert!(early.is_err());
        tokio::time::timeout(2 * moment, frame).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_does_not_come_is_refused_and_a_stream_of_questions_ends() {
        let refused = after(DEADLINE, "/imd.v1.SessionService/Init").await;
        assert!(refused.unwrap().is_err());
        let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
        assert!(after(NEXT_QUESTION, reflection).await.is_none());
    }
}
