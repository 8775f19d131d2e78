//! The requests under way: how many there may be, and how long one may take to come. Who sends half of a
//! request and waits must hold a place neither for ever nor in everybody's stead.

use std::future::Future as _;
use std::pin::Pin;
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
use super::budget::{Budget, Share};
use crate::link::BoxFuture;

/// Requests that wait for their answer. A further one is refused with 90004. A stream counts until it has
/// begun.
const REQUESTS: Share = Share {
    in_all: 1024,
    of_process: 384,
};

/// How long a request may take from its headers to its end.
const DEADLINE: Duration = Duration::from_secs(5);

/// Reflection alone has requests that are streams, which stay open.
const STREAMS: &str = "/grpc.reflection.";

#[derive(Clone, Debug)]
pub(super) struct RequestsLayer {
    budget: Budget,
}

impl Default for RequestsLayer {
    fn default() -> Self {
        Self {
            budget: Budget::new("requests under way", REQUESTS),
        }
    }
}

impl<S> Layer<S> for RequestsLayer {
    type Service = Requests<S>;

    fn layer(&self, inner: S) -> Requests<S> {
        Requests {
            inner,
            budget: self.budget.clone(),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Requests<S> {
    inner: S,
    budget: Budget,
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
        let taken = match request.extensions().get::<Peer>() {
            Some(peer) => self.budget.take(peer, 1),
            None => Err(to_status(Code::IMD_INTERNAL, "a connection without a peer")),
        };
        match taken {
            Ok(held) => {
                let answer = self.inner.call(in_time(request));
                Box::pin(async move {
                    let answer = answer.await;
                    drop(held);
                    answer
                })
            }
            Err(refusal) => Box::pin(std::future::ready(Ok(refusal.into_http()))),
        }
    }
}

fn in_time(request: http::Request<Body>) -> http::Request<Body> {
    if request.uri().path().starts_with(STREAMS) {
        return request;
    }
    request.map(|body| Body::new(InTime { body, deadline: None }))
}

/// A request's body. Most are there with their headers: the deadline begins with the first wait.
struct InTime {
    body: Body,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for InTime {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
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
