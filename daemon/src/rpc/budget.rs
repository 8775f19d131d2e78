//! What the daemon holds ready for readers: so much in all, and so much for one process. A client that asks
//! and does not read must cost neither memory without end nor the other apps' share.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use imd_proto::code::Code;
use imd_proto::status::to_status;
use prost::Message;
use tonic::body::Body;
use tonic::{Response, Status};

use super::accept::Peer;
use crate::hub::MAX_BOUND;

/// How much, in whatever is counted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) in_all: usize,
    pub(super) of_process: usize,
}

/// Pages that have not been read yet, in bytes. A page is 2 MiB at most.
pub(super) const PAGES: Share = Share {
    in_all: 64 * 1024 * 1024,
    of_process: 8 * 1024 * 1024,
};

/// Apps that are bound. An app has one client as a rule, and one binding for it.
pub(super) const BINDINGS: Share = Share {
    in_all: MAX_BOUND,
    of_process: 64,
};

/// Subscriptions. One whose reader has stopped holds about half a MiB: two pages of 64 KiB, and what HTTP/2
/// has taken to send (400 KiB).
pub(super) const SUBSCRIPTIONS: Share = Share {
    in_all: 512,
    of_process: 128,
};

/// Counts what is held.
#[derive(Clone, Debug)]
pub(super) struct Budget {
    what: &'static str,
    share: Share,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    in_all: usize,
    by_process: BTreeMap<i32, usize>,
}

/// A part of the budget, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Budget,
    pid: i32,
    amount: usize,
}

impl Budget {
    /// `what` is counted, in the words of the refusal.
    pub(super) fn new(what: &'static str, share: Share) -> Self {
        Self {
            what,
            share,
            used: Arc::default(),
        }
    }

    /// # Errors
    /// The budget is used up: 90004.
    pub(super) fn take(&self, peer: &Peer, amount: usize) -> Result<Held, Status> {
        let mut used = self.lock();
        let of_process = used.by_process.get(&peer.pid).copied().unwrap_or_default();
        let fits = |used: usize, most: usize| used.checked_add(amount).is_some_and(|sum| sum <= most);
        // One that has nothing yet gets what it asks for, however long a single page may be.
        let whose = if of_process > 0 && !fits(of_process, self.share.of_process) {
            Some(format!("process {}", peer.pid))
        } else if used.in_all > 0 && !fits(used.in_all, self.share.in_all) {
            Some("all apps together".to_owned())
        } else {
            None
        };
        if let Some(whose) = whose {
            let text = format!(
                "{whose} has too many {}: read them, or end them, first",
                self.what
            );
            return Err(to_status(Code::IMD_TOO_MANY, text));
        }
        used.in_all += amount;
        *used.by_process.entry(peer.pid).or_default() += amount;
        Ok(Held {
            budget: self.clone(),
            pid: peer.pid,
            amount,
        })
    }

    /// An answer that counts until it has been sent.
    ///
    /// # Errors
    /// The budget is used up: 90004.
    pub(super) fn answer<T: Message>(&self, peer: &Peer, answer: T) -> Result<Response<T>, Status> {
        let held = self.take(peer, answer.encoded_len())?;
        let mut response = Response::new(answer);
        response.extensions_mut().insert(Arc::new(held));
        Ok(response)
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut used = self.budget.lock();
        used.in_all = used.in_all.saturating_sub(self.amount);
        if let Some(of_process) = used.by_process.get_mut(&self.pid) {
            *of_process = of_process.saturating_sub(self.amount);
            if *of_process == 0 {
                used.by_process.remove(&self.pid);
            }
        }
    }
}

/// Ties what an answer holds to its body, which lives until the answer has been sent or given up.
pub(super) fn until_sent(mut response: http::Response<Body>) -> http::Response<Body> {
    match response.extensions_mut().remove::<Arc<Held>>() {
        Some(held) => response.map(|body| Body::new(Holding { body, _held: held })),
        None => response,
    }
}

struct Holding {
    body: Body,
    _held: Arc<Held>,
}

impl http_body::Body for Holding {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
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
    use imd_proto::status::from_status;

    use super::*;

    const SHARE: Share = Share {
        in_all: 30,
        of_process: 20,
    };

    fn peer(pid: i32) -> Peer {
        Peer {
            pid,
            connection: 0,
            standing: None,
        }
    }

    #[track_caller]
    fn refused(taken: Result<Held, Status>) -> String {
        let failure = from_status(&taken.unwrap_err());
        assert_eq!(failure.code, Code::IMD_TOO_MANY);
        failure.text
    }

    #[test]
    fn one_process_cannot_take_all_and_what_is_dropped_is_free_again() {
        let budget = Budget::new("pages", SHARE);
        let first = budget.take(&peer(1), 15).unwrap();
        assert!(refused(budget.take(&peer(1), 6)).contains("process 1"));
        let second = budget.take(&peer(2), 15).unwrap();
        assert!(refused(budget.take(&peer(3), 1)).contains("all apps"));
        drop(second);
        let further = budget.take(&peer(1), 5).unwrap();
        drop((first, further));
        assert_eq!(budget.lock().in_all, 0);
        assert!(budget.lock().by_process.is_empty());
    }

    #[test]
    fn a_single_page_is_never_too_long() {
        let budget = Budget::new("pages", SHARE);
        let long = budget.take(&peer(1), 100).unwrap();
        refused(budget.take(&peer(1), 1));
        refused(budget.take(&peer(2), 1));
        drop(long);
        assert!(budget.take(&peer(2), 1).is_ok());
    }

    #[test]
    fn an_answer_counts_until_its_body_is_dropped() {
        let budget = Budget::new("pages", SHARE);
        let answer = prost_types::Duration { seconds: 1, nanos: 0 };
        let response = budget.answer(&peer(1), answer).unwrap();
        let (_, _, extensions) = response.into_parts();
        let mut response = http::Response::new(Body::new("unread".to_owned()));
        *response.extensions_mut() = extensions;
        let response = until_sent(response);
        assert_eq!(budget.lock().in_all, 2);
        drop(response);
        assert_eq!(budget.lock().in_all, 0);
    }
}
