//! Answers made no faster than they are written: whatever window a client claims, and however long it does not
//! read, one answer keeps about one frame. (HTTP/2 itself would take 400 KiB of each.)

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use super::budget::{Budget, Held};

/// How much of one answer may wait to be written, before the next part of it is made: a short answer and its
/// trailers go out together.
const AHEAD: usize = 16 * 1024;

/// An answer's body.
pub(super) struct Paced {
    body: Body,
    unwritten: Arc<Unwritten>,
    /// Counts what is not written; `None`: it is bounded elsewhere.
    unread: Option<(Budget, i32)>,
    /// The place of the call among those that are open.
    _open: Held,
}

#[derive(Debug, Default)]
struct Unwritten(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: usize,
    next: Option<Waker>,
}

/// Bytes on their way: HTTP/2 drops them when they have been written, or when nobody wants them any more.
struct Part {
    bytes: Bytes,
    unwritten: Arc<Unwritten>,
    _counted: Option<Held>,
}

impl Paced {
    pub(super) fn new(body: Body, open: Held, unread: Option<(Budget, i32)>) -> Self {
        Self {
            body,
            unwritten: Arc::default(),
            unread,
            _open: open,
        }
    }

    fn part(&self, bytes: Bytes) -> Bytes {
        if bytes.is_empty() {
            return bytes;
        }
        self.unwritten.lock().bytes += bytes.len();
        let counted = self
            .unread
            .as_ref()
            .map(|(unread, pid)| unread.count(*pid, bytes.len()));
        Bytes::from_owner(Part {
            bytes,
            unwritten: Arc::clone(&self.unwritten),
            _counted: counted,
        })
    }
}

impl http_body::Body for Paced {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut waiting = self.unwritten.lock();
        if waiting.bytes > AHEAD {
            waiting.next = Some(context.waker().clone());
            return Poll::Pending;
        }
        drop(waiting);
        let frame = Pin::new(&mut self.body).poll_frame(context);
        frame.map_ok(|frame| frame.map_data(|bytes| self.part(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Unwritten {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let mut waiting = self.unwritten.lock();
        waiting.bytes = waiting.bytes.saturating_sub(self.bytes.len());
        let next = (waiting.bytes <= AHEAD).then(|| waiting.next.take()).flatten();
        drop(waiting);
        if let Some(next) = next {
            next.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http_body::Body as _;

    use super::*;
    use crate::rpc::budget::Share;

    const SHARE: Share = Share {
        in_all: 1_000_000,
        of_process: 30_000,
    };

    /// Frames of these lengths.
    struct Frames(Vec<usize>);

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            let length = self.0.pop();
            Poll::Ready(length.map(|length| Ok(Frame::data(vec![b'x'; length].into()))))
        }
    }

    fn paced(lengths: Vec<usize>, unread: &Budget) -> Paced {
        let open = Budget::new("streams", SHARE).count(7, 1);
        Paced::new(Body::new(Frames(lengths)), open, Some((unread.clone(), 7)))
    }

    fn next(paced: &mut Paced) -> Poll<Option<Bytes>> {
        let mut context = Context::from_waker(Waker::noop());
        let frame = Pin::new(paced).poll_frame(&mut context);
        frame.map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
    }

    #[test]
    fn the_next_long_frame_is_made_once_the_one_before_has_been_written() {
        let unread = Budget::new("bytes", SHARE);
        let mut paced = paced(vec![20_000, 20_000, 100, 100], &unread);
        let short = [next(&mut paced), next(&mut paced)];
        let long = next(&mut paced);
        assert!(next(&mut paced).is_pending());
        drop(short);
        assert!(next(&mut paced).is_pending());
        drop(long);
        assert!(next(&mut paced).is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_the_next_frame_is_woken_when_there_is_room() {
        let unread = Budget::new("bytes", SHARE);
        let mut frames = paced(vec![5, 20_000], &unread);
        let Poll::Ready(Some(long)) = next(&mut frames) else {
            panic!("no frame");
        };
        let rest = std::future::poll_fn(|context| Pin::new(&mut frames).poll_frame(context));
        let both = async { tokio::join!(rest, async { drop(long) }) };
        let (frame, ()) = tokio::time::timeout(Duration::from_secs(1), both).await.unwrap();
        assert!(frame.unwrap().is_ok());
    }

    #[test]
    fn an_answer_counts_until_its_last_byte_has_been_written_also_when_its_body_has_gone() {
        let unread = Budget::new("bytes", SHARE);
        let mut paced = paced(vec![30_000], &unread);
        let part = next(&mut paced);
        drop(paced);
        let peer = crate::rpc::accept::Peer::for_test(7);
        assert!(unread.room(&peer).is_err());
        drop(part);
        assert!(unread.room(&peer).is_ok());
    }
}
