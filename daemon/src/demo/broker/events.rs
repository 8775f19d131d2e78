//! What happened at the broker: a bounded log with sequence numbers, which tests and the demo read and wait on.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use super::{Protocol, Qos};

/// How many events are kept; the oldest go first.
const KEPT: usize = 65_536;

/// How many are taken from the log at a time: the log is not locked while a reader looks at them.
const AT_ONCE: usize = 64;

/// How much of a payload an event shows.
pub(super) const SHOWN_PAYLOAD: usize = 1024;

/// One event and its number. Numbers begin at 0 and have no holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub sequence: u64,
    pub event: Event,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A CONNECT was accepted.
    Connected {
        client_id: String,
        user_name: Option<String>,
        protocol: Protocol,
        clean: bool,
        session_expiry: u32,
        keep_alive: u16,
        session_present: bool,
    },
    /// A CONNECT got another CONNACK than success, from the broker itself or from the script.
    Refused {
        client_id: String,
        user_name: Option<String>,
        protocol: Protocol,
        code: u8,
    },
    /// A CONNECT met a script that answers with no regular CONNACK: raw bytes, silence, an end.
    Misled { client_id: String },
    /// A SUBSCRIBE was answered; the codes stand beside the filters.
    Subscribed {
        client_id: String,
        filters: Vec<(String, u8)>,
    },
    /// An UNSUBSCRIBE was answered.
    Unsubscribed { client_id: String, filters: Vec<String> },
    /// A PUBLISH came in.
    Published {
        /// `None`: the broker itself.
        client_id: Option<String>,
        topic: String,
        /// The first 1024 bytes.
        payload: Bytes,
        payload_len: usize,
        qos: Qos,
        retain: bool,
        dup: bool,
        /// How the PUBACK answers or would answer.
        code: u8,
    },
    /// A PUBLISH was sent to a client.
    Delivered {
        client_id: String,
        topic: String,
        dup: bool,
        retain: bool,
    },
    /// A client acknowledged a PUBLISH.
    Acknowledged {
        client_id: String,
        topic: String,
        code: u8,
    },
    /// A PINGREQ came in.
    Ping { client_id: String },
    /// A connection that had been accepted is over.
    Disconnected { client_id: String, how: End },
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The client sent DISCONNECT with this reason code.
    ByClient(u8),
    /// The client closed, or the network did, without a DISCONNECT.
    Closed,
    /// Another connection has the client id.
    TakenOver,
    /// Nothing came for one and a half times the keep-alive.
    KeepAliveTimeout,
    /// The client broke the protocol.
    Protocol(String),
    /// A test, or the demo, sent a DISCONNECT with this reason code.
    Disconnected(u8),
    /// A test, or the demo, closed (FIN) or broke off (RST) the connection.
    Cut(Cut),
    /// The broker was stopped in order.
    Stopped,
    /// The broker was killed.
    Killed,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// In order, with a FIN.
    Close,
    /// At once, with an RST.
    Reset,
}

/// The wanted event was not seen in time.
#[derive(Debug, thiserror::Error)]
#[error("no such event within {deadline:?}; the last ones were: {last:#?}")]
pub struct NotSeen {
    /// How long was waited.
    pub deadline: Duration,
    /// The last events of the log, for the reader of a failed test.
    pub last: Vec<Record>,
}

#[derive(Default)]
struct Kept {
    records: VecDeque<Record>,
    next: u64,
}

struct Inner {
    kept: Mutex<Kept>,
    grown: watch::Sender<u64>,
}

/// The log's writing end and its readers' source.
#[derive(Clone)]
pub(super) struct Log {
    inner: Arc<Inner>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                kept: Mutex::default(),
                grown: watch::Sender::new(0),
            }),
        }
    }

    pub(super) fn push(&self, event: Event) {
        let next = {
            let mut kept = self.lock();
            if kept.records.len() == KEPT {
                kept.records.pop_front();
            }
            let sequence = kept.next;
            kept.records.push_back(Record { sequence, event });
            kept.next += 1;
            kept.next
        };
        // Two pushes may come here in the other order: the number only ever grows.
        self.inner.grown.send_if_modified(|grown| {
            let grows = next > *grown;
            *grown = next.max(*grown);
            grows
        });
    }

    /// The records from this number on, at most so many.
    fn since(&self, sequence: u64, limit: usize) -> Vec<Record> {
        let kept = self.lock();
        let first = kept.next - u64::try_from(kept.records.len()).unwrap_or_default();
        let skipped = usize::try_from(sequence.saturating_sub(first)).unwrap_or(usize::MAX);
        kept.records.iter().skip(skipped).take(limit).cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.inner.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader of the log with its own place in it. A clone begins where the original stands.
#[derive(Clone)]
pub struct Events {
    log: Log,
    next: u64,
}

impl Events {
    /// A reader from the first event on.
    pub(super) fn from_start(log: &Log) -> Self {
        Self {
            log: log.clone(),
            next: 0,
        }
    }

    /// Skips what has happened so far.
    pub fn skip_past(&mut self) {
        self.next = self.log.lock().next;
    }

    /// What happened since the last reading.
    pub fn take(&mut self) -> Vec<Record> {
        let records = self.log.since(self.next, KEPT);
        if let Some(last) = records.last() {
            self.next = last.sequence + 1;
        }
        records
    }

    /// The first event from here on that is wanted; the reader then stands behind it.
    ///
    /// # Errors
    /// [`NotSeen`] after the deadline; the reader stands where it stood.
    pub async fn wait_for(
        &mut self,
        mut wanted: impl FnMut(&Event) -> bool,
        deadline: Duration,
    ) -> Result<Record, NotSeen> {
        let mut grown = self.log.inner.grown.subscribe();
        let mut from = self.next;
        let search = async {
            loop {
                grown.mark_unchanged();
                loop {
                    let records = self.log.since(from, AT_ONCE);
                    if records.is_empty() {
                        break;
                    }
                    for record in records {
                        from = record.sequence + 1;
                        if wanted(&record.event) {
                            return record;
                        }
                    }
                }
                if grown.changed().await.is_err() {
                    // The sender lives in the log this reader holds.
                    std::future::pending::<()>().await;
                }
            }
        };
        match tokio::time::timeout(deadline, search).await {
            Ok(record) => {
                self.next = record.sequence + 1;
                Ok(record)
            }
            Err(_) => {
                let end = self.log.lock().next;
                Err(NotSeen {
                    deadline,
                    last: self.log.since(end.saturating_sub(20), 20),
                })
            }
        }
    }
}
