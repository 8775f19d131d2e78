//! What is to be sent, on its way from the store to the server, and the server's answers on their way back.
//!
//! Messages are published in the store's order and pipelined. What the server has not answered stands in the
//! in-flight table, which outlives the connection: on the next one of the same session the same packet ids
//! go out again as duplicates, in their order; after a lost session the same messages go out afresh. Answers
//! are given to the store many at a time. While there is nothing to send, nothing here wakes up.

mod flight;

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use imd_core::account::Account;
use imd_core::time::Now;
use imd_proto::code::Code;
use tokio::sync::watch;

use self::flight::{Cargo, InFlight, Launch, Parcel};
use super::envelope::{self, RECEIPT_UIDS};
use super::retry::until_kept;
use super::session::Session;
use super::vault::{BoxFuture, Vault};
use super::wire::{PacketId, Words};
use crate::clock;
use crate::store::rows::{ConversationKind, Due, DueReceipts, Published};

/// How many messages may wait for the server's answer, if it allows as many.
const WINDOW: usize = 256;

/// How many bytes may, in at least one message.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;

/// While this much waits to be written, nothing is added: answers to the server must get through between.
const OUTPUT: usize = 64 * 1024;

/// How many messages are loaded at once, and how many while they are large.
const LOAD: usize = 256;
const LOAD_LARGE: usize = 16;

/// A load of more bytes than this counts as large.
const LARGE: usize = 1024 * 1024;

/// How many messages' receipts are loaded at once.
const LOAD_RECEIPTS: usize = 4096;

/// While this many answers wait for the store, nothing more is sent.
const MOST_ANSWERS: usize = 4096;

/// What has to be looked up in the store.
#[derive(Clone, Copy, Default)]
struct Wanted {
    again: bool,
    receipts: bool,
    due: bool,
}

enum Load {
    Again(Vec<Due>),
    Receipts(Vec<DueReceipts>),
    Due(Vec<Due>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Again,
    Receipts,
    Due,
}

struct Loading {
    kind: Kind,
    limit: usize,
    done: BoxFuture<Load>,
}

struct Settling {
    /// How many loads of receipts it settles.
    receipts: usize,
    done: BoxFuture<()>,
}

/// What happened in the background.
pub(super) struct Progress(Step);

enum Step {
    Changed,
    Loaded(Load),
    Settled,
}

/// The connection messages are sent on.
struct Online {
    window: usize,
    expiry_ms: i64,
    /// When the server was found without our session: it may have forgotten what it had taken, so that need
    /// not wait for its hour. 0: it had the session.
    forgotten_before: i64,
    changed: watch::Receiver<u64>,
}

/// The pump of one account. It is made when the account's database is open, and dropped with it.
pub(super) struct Outbox<V> {
    vault: Arc<V>,
    account: Account,
    /// Our installation id: where our messages come from.
    origin: String,
    online: Option<Online>,
    in_flight: InFlight,
    /// Loaded, and not sent yet.
    ready: VecDeque<Parcel>,
    wanted: Wanted,
    /// All up to this position was sent or answered in this process.
    sent_through: i64,
    /// All up to this position was loaded.
    loaded_through: i64,
    /// How many messages are loaded at once.
    load: usize,
    loading: Option<Loading>,
    /// Receipts that were loaded, up to when the store knows that they are sent: a load would bring the same.
    receipts_open: usize,
    published: Vec<(i64, Published)>,
    receipts_sent: Vec<DueReceipts>,
    settling: Option<Settling>,
}

impl<V: Vault> Outbox<V> {
    pub(super) fn new(vault: Arc<V>, account: Account, origin: String) -> Self {
        Self {
            vault,
            account,
            origin,
            online: None,
            in_flight: InFlight::default(),
            ready: VecDeque::new(),
            wanted: Wanted::default(),
            sent_through: 0,
            loaded_through: 0,
            load: LOAD,
            loading: None,
            receipts_open: 0,
            published: Vec::new(),
            receipts_sent: Vec::new(),
            settling: None,
        }
    }

    pub(super) fn account(&self) -> &Account {
        &self.account
    }

    /// The server has taken the CONNECT.
    pub(super) fn accepted(&mut self, session: &mut Session) {
        if let Some(terms) = session.terms() {
            self.in_flight.resume(session, terms.session_present);
        }
    }

    /// The login is through: from here on messages are sent.
    pub(super) fn logged_in(&mut self, session: &Session) {
        let window = session.terms().map_or(1, |terms| terms.receive_maximum);
        let kept = session.terms().is_some_and(|terms| terms.session_present);
        let mut changed = self.vault.outbox_changed();
        changed.mark_unchanged();
        self.online = Some(Online {
            window: WINDOW.min(window.into()),
            expiry_ms: i64::try_from(session.session_expiry().as_millis()).unwrap_or(i64::MAX),
            forgotten_before: if kept { 0 } else { clock::now().unix.as_millis() },
            changed,
        });
        self.wanted = Wanted {
            again: true,
            receipts: true,
            due: true,
        };
    }

    /// The server has closed; `reason`: that of its DISCONNECT, if there was one.
    pub(super) fn closed_by_server(&mut self, reason: Option<u8>) {
        if !reason.is_none_or(flight::is_about_a_message) {
            return;
        }
        match self.in_flight.closed_by_server() {
            Some(Cargo::Message {
                position, to_group, ..
            }) => {
                tracing::warn!(
                    position,
                    "given up: the server closes the connection on this message"
                );
                self.published
                    .push((position, flight::given_up(to_group, reason)));
            }
            Some(Cargo::Receipts(receipts)) => self.receipts_sent.push(receipts),
            None => {}
        }
    }

    /// The connection is gone. What was not sent is loaded again when there is another.
    pub(super) fn link_ended(&mut self) {
        self.online = None;
        self.in_flight.link_ended();
        let mut receipts = 0;
        self.ready.retain(|parcel| match parcel.cargo {
            // The store would not give it out again for an hour.
            Cargo::Message { again, .. } => again,
            Cargo::Receipts(_) => {
                receipts += 1;
                false
            }
        });
        self.receipts_open -= receipts;
        self.loaded_through = self.sent_through;
        if self
            .loading
            .as_ref()
            .is_some_and(|loading| loading.kind != Kind::Again)
        {
            self.loading = None;
        }
    }

    /// The server has answered a publish.
    pub(super) fn acknowledged(&mut self, packet: PacketId, reason: u8, words: &Words) {
        match self.in_flight.acknowledged(packet) {
            Some(Cargo::Message {
                position, to_group, ..
            }) => {
                let answer = flight::answer(to_group, reason, words);
                self.published.push((position, answer));
            }
            // A refused receipt is not sent again: the peer publishes its message again, and asks anew.
            Some(Cargo::Receipts(receipts)) => self.receipts_sent.push(receipts),
            None => {}
        }
    }

    /// Sends what may be sent, loads what can be loaded, and gives the store the answers.
    pub(super) fn pump(&mut self, session: Option<&mut Session>, now: Now) {
        if let Some(session) = session {
            self.send(session, now);
        }
        self.start_loading(now);
        self.start_settling();
    }

    /// Waits for something in the background. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Progress {
        let changed = async {
            let Some(online) = &mut self.online else {
                return pending().await;
            };
            if online.changed.changed().await.is_err() {
                // The store is gone.
                pending().await
            }
        };
        let loaded = async {
            match &mut self.loading {
                Some(loading) => (&mut loading.done).await,
                None => pending().await,
            }
        };
        let settled = async {
            match &mut self.settling {
                Some(settling) => (&mut settling.done).await,
                None => pending().await,
            }
        };
        Progress(tokio::select! {
            () = changed => Step::Changed,
            load = loaded => Step::Loaded(load),
            () = settled => Step::Settled,
        })
    }

    /// Takes up what [`Outbox::next`] brought.
    pub(super) fn progressed(&mut self, progress: Progress, now: Now) {
        match progress.0 {
            Step::Changed => {
                self.wanted.due = true;
                self.wanted.receipts = true;
            }
            Step::Loaded(load) => self.loaded(load, now),
            Step::Settled => {
                if let Some(Settling { receipts, .. }) = self.settling.take() {
                    self.receipts_open -= receipts;
                }
            }
        }
    }

    /// Gives the store every answer there is. The caller says how long it waits.
    pub(super) async fn settle(&mut self) {
        loop {
            self.start_settling();
            let Some(settling) = &mut self.settling else {
                return;
            };
            (&mut settling.done).await;
            self.settling = None;
        }
    }

    fn send(&mut self, session: &mut Session, now: Now) {
        let Some(allowed) = self.online.as_ref().map(|online| online.window) else {
            return;
        };
        loop {
            let (sent, bytes) = self.in_flight.sent();
            let window = if self.in_flight.is_careful() { 1 } else { allowed };
            if sent >= window
                || (sent > 0 && bytes >= WINDOW_BYTES)
                || session.output().len() >= OUTPUT
                || self.published.len() >= MOST_ANSWERS
                || session.is_over()
            {
                return;
            }
            let launch = if self.in_flight.has_unsent() {
                self.in_flight.launch_next(session, now.boot)
            } else if let Some(parcel) = self.ready.pop_front() {
                if let Cargo::Message {
                    position,
                    again: false,
                    ..
                } = parcel.cargo
                {
                    self.sent_through = self.sent_through.max(position);
                }
                self.in_flight.launch(parcel, session, now.boot)
            } else {
                return;
            };
            match launch {
                Launch::Sent => {}
                Launch::TooLarge { parcel, text } => self.too_large(parcel, text, now),
                Launch::Failed => return,
            }
        }
    }

    fn too_large(&mut self, parcel: Parcel, text: String, now: Now) {
        match parcel.cargo {
            Cargo::Message { position, .. } => self.published.push((position, flight::too_large(text))),
            Cargo::Receipts(mut receipts) if receipts.uids.len() > 1 => {
                let half = receipts.uids.len() / 2;
                let rest = DueReceipts {
                    peer: receipts.peer.clone(),
                    uids: receipts.uids.split_off(half),
                };
                self.receipts_open += 1;
                for part in [rest, receipts] {
                    let parcel = self.receipts(part, now);
                    self.ready.push_front(parcel);
                }
            }
            Cargo::Receipts(receipts) => {
                tracing::warn!(text, "the server takes not even one receipt");
                self.receipts_sent.push(receipts);
            }
        }
    }

    fn start_loading(&mut self, now: Now) {
        let Some(online) = &self.online else { return };
        let enough = self.ready.len() >= online.window.div_ceil(2) || self.published.len() >= MOST_ANSWERS;
        if self.loading.is_some() || enough {
            return;
        }
        let vault = Arc::clone(&self.vault);
        let limit = self.load.min(online.window * 4);
        let (kind, limit, done): (Kind, usize, BoxFuture<Load>) = if self.wanted.again {
            let (now_ms, expiry_ms) = (now.unix.as_millis(), online.expiry_ms);
            let forgotten_before = online.forgotten_before;
            let done = Box::pin(async move {
                let due = until_kept("loading what was not received", || {
                    vault.due_again(now_ms, limit, expiry_ms, forgotten_before)
                });
                Load::Again(due.await)
            });
            (Kind::Again, limit, done)
        } else if self.wanted.receipts && self.receipts_open == 0 {
            self.wanted.receipts = false;
            let limit = LOAD_RECEIPTS;
            let done = Box::pin(async move {
                let due = until_kept("loading receipts", || vault.due_receipts(limit));
                Load::Receipts(due.await)
            });
            (Kind::Receipts, limit, done)
        } else if self.wanted.due {
            self.wanted.due = false;
            let after = self.loaded_through;
            let done = Box::pin(async move {
                let due = until_kept("loading the outbox", || vault.due(after, limit));
                Load::Due(due.await)
            });
            (Kind::Due, limit, done)
        } else {
            return;
        };
        self.loading = Some(Loading { kind, limit, done });
    }

    fn loaded(&mut self, load: Load, now: Now) {
        let limit = self.loading.take().map_or(LOAD, |loading| loading.limit);
        match load {
            Load::Again(due) => {
                self.wanted.again = due.len() >= limit;
                self.note_size(&due);
                for due in due {
                    self.make_ready(&due, true);
                }
            }
            Load::Receipts(due) => {
                for DueReceipts { peer, uids } in due {
                    for uids in uids.chunks(RECEIPT_UIDS) {
                        let part = DueReceipts {
                            peer: peer.clone(),
                            uids: uids.to_vec(),
                        };
                        let parcel = self.receipts(part, now);
                        self.receipts_open += 1;
                        self.ready.push_back(parcel);
                    }
                }
            }
            Load::Due(due) => {
                self.wanted.due |= due.len() >= limit;
                self.note_size(&due);
                for due in due {
                    self.loaded_through = self.loaded_through.max(due.position);
                    self.make_ready(&due, false);
                }
            }
        }
    }

    fn make_ready(&mut self, due: &Due, again: bool) {
        let Some((topic, payload)) = envelope::publication(&self.account, &self.origin, due) else {
            let refused = Published::Refused {
                code: Code::BIZ_ERROR_INVALID_PARAMETER.0,
                text: "nobody but the server sends system messages".to_owned(),
            };
            self.published.push((due.position, refused));
            return;
        };
        self.ready.push_back(Parcel {
            cargo: Cargo::Message {
                position: due.position,
                to_group: due.conversation.kind == ConversationKind::Group,
                again,
            },
            topic,
            payload: payload.into(),
        });
    }

    /// Large messages are loaded few at a time.
    fn note_size(&mut self, due: &[Due]) {
        let bytes: usize = due.iter().map(|due| due.content.len()).sum();
        self.load = if bytes > LARGE { LOAD_LARGE } else { LOAD };
    }

    fn receipts(&self, receipts: DueReceipts, now: Now) -> Parcel {
        let now_ms = now.unix.as_millis();
        let (topic, payload) = envelope::receipts(&self.account, &self.origin, now_ms, &receipts);
        Parcel {
            cargo: Cargo::Receipts(receipts),
            topic,
            payload: payload.into(),
        }
    }

    fn start_settling(&mut self) {
        if self.settling.is_some() || (self.published.is_empty() && self.receipts_sent.is_empty()) {
            return;
        }
        let vault = Arc::clone(&self.vault);
        let published = std::mem::take(&mut self.published);
        let receipts = std::mem::take(&mut self.receipts_sent);
        self.settling = Some(Settling {
            receipts: receipts.len(),
            done: Box::pin(async move {
                if !published.is_empty() {
                    until_kept("noting what the server has taken", || {
                        vault.published(published.clone())
                    })
                    .await;
                }
                if !receipts.is_empty() {
                    until_kept("noting which receipts are sent", || {
                        vault.receipts_sent(receipts.clone())
                    })
                    .await;
                }
            }),
        });
    }
}

#[cfg(test)]
mod tests;
