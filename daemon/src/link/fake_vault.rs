//! A vault for the tests that keeps everything in memory, by the rules of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imd_core::account::Account;
use imd_core::io::{OpenFailure, Opened, Remembered};
use tokio::sync::watch;
use tokio::time::timeout;

use super::vault::{BoxFuture, Kept, Vault};
use crate::store::rows::{
    Arrival, ConversationKey, ConversationKind, Due, DueReceipts, Gap, Group, Published, Stored,
};

/// A vault that can be held shut.
#[derive(Clone)]
pub(super) struct FakeVault {
    /// While this is true, the wanted state does not get safe.
    pub(super) shut: watch::Sender<bool>,
    /// Making the wanted state safe fails.
    pub(super) fails: bool,
    /// While this is true, nothing that comes in is committed.
    pub(super) held: watch::Sender<bool>,
    /// Why what comes in cannot be stored.
    pub(super) full: watch::Sender<Option<String>>,
    kept: Arc<Mutex<Contents>>,
    outbox: watch::Sender<u64>,
    /// Moves with everything.
    moved: watch::Sender<u64>,
}

#[derive(Default)]
pub(super) struct Contents {
    pub(super) persisted: Vec<Remembered>,
    /// Every call of `receive` that has been committed: the uids (or what else came).
    pub(super) commits: Vec<Vec<String>>,
    pub(super) arrivals: Vec<Arrival>,
    pub(super) rows: BTreeMap<i64, Row>,
    pub(super) receipts: Vec<(String, String)>,
    pub(super) receipts_sent: Vec<DueReceipts>,
    pub(super) notes: Vec<String>,
    pub(super) groups: BTreeMap<String, i32>,
    pub(super) published_calls: usize,
    /// How often something was asked for.
    pub(super) loads: usize,
    /// What fails, by the method's name.
    pub(super) failing: BTreeSet<&'static str>,
    /// State 30 rows to be given out again, once.
    pub(super) again: Vec<i64>,
    given_again: BTreeSet<i64>,
    seen: BTreeSet<(String, String)>,
}

/// A message to be sent.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) due: Due,
    /// As in the store: 10, 20, 30, 40.
    pub(super) state: i32,
    pub(super) code: i32,
    pub(super) text: String,
    pub(super) no_receiver: bool,
}

pub(super) fn private(peer: &str) -> ConversationKey {
    ConversationKey {
        kind: ConversationKind::Private,
        target: peer.to_owned(),
    }
}

pub(super) fn group(group: &str) -> ConversationKey {
    ConversationKey {
        kind: ConversationKind::Group,
        target: group.to_owned(),
    }
}

impl FakeVault {
    pub(super) fn new() -> Self {
        Self {
            shut: watch::Sender::new(false),
            full: watch::Sender::new(None),
            fails: false,
            held: watch::Sender::new(false),
            kept: Arc::default(),
            outbox: watch::Sender::new(0),
            moved: watch::Sender::new(0),
        }
    }

    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The wanted state that was made safe last.
    pub(super) fn last(&self) -> Remembered {
        self.contents().persisted.last().unwrap().clone()
    }

    /// Accepts messages; their positions.
    pub(super) fn enqueue(&self, messages: impl IntoIterator<Item = (ConversationKey, String, Vec<u8>)>) {
        let mut contents = self.contents();
        for (conversation, uid, content) in messages {
            let position = contents.rows.last_key_value().map_or(1, |(last, _)| last + 1);
            let due = Due {
                position,
                conversation,
                uid,
                seq: u64::try_from(position).unwrap(),
                object_name: "RC:TxtMsg".to_owned(),
                content,
                flags: 3,
                sent_time: 5,
            };
            let row = Row {
                due,
                state: 10,
                code: 0,
                text: String::new(),
                no_receiver: false,
            };
            contents.rows.insert(position, row);
        }
        drop(contents);
        self.outbox.send_modify(|count| *count += 1);
    }

    /// Small private messages.
    pub(super) fn enqueue_texts(&self, peer: &str, uids: impl IntoIterator<Item = String>) {
        self.enqueue(
            uids.into_iter()
                .map(|uid| (private(peer), uid, br#"{"content":"hi"}"#.to_vec())),
        );
    }

    /// The uids of the messages in this state, in order.
    pub(super) fn in_state(&self, state: i32) -> Vec<String> {
        self.contents()
            .rows
            .values()
            .filter(|row| row.state == state)
            .map(|row| row.due.uid.clone())
            .collect()
    }

    pub(super) fn row(&self, uid: &str) -> Row {
        let contents = self.contents();
        let found = contents.rows.values().find(|row| row.due.uid == uid);
        found.unwrap().clone()
    }

    /// The uids of the messages that came in, in order.
    pub(super) fn received(&self) -> Vec<String> {
        let contents = self.contents();
        contents.arrivals.iter().map(name).collect()
    }

    /// Waits until it is so.
    #[track_caller]
    pub(super) fn wait(&self, what: &str, so: impl Fn(&Contents) -> bool) -> impl Future<Output = ()> {
        let mut moved = self.moved.subscribe();
        let vault = self.clone();
        let what = what.to_owned();
        async move {
            let waiting = moved.wait_for(|_| so(&vault.contents()));
            let result = timeout(Duration::from_secs(10), waiting).await;
            assert!(result.is_ok(), "{what}: not within 10 s");
        }
    }

    fn job<T: Send + 'static>(
        &self,
        name: &'static str,
        job: impl FnOnce(&mut Contents) -> T + Send + 'static,
    ) -> Kept<T> {
        let vault = self.clone();
        Box::pin(async move {
            let answer = {
                let mut contents = vault.contents();
                if contents.failing.contains(name) {
                    return Err("no space left on device".to_owned());
                }
                job(&mut contents)
            };
            vault.moved.send_modify(|count| *count += 1);
            Ok(answer)
        })
    }
}

fn name(arrival: &Arrival) -> String {
    match arrival {
        Arrival::Message(message) => message.uid.clone(),
        Arrival::Receipt { peer, uids } => format!("receipt of {peer} for {}", uids.len()),
        Arrival::Unreadable { reason, .. } => format!("unreadable: {reason}"),
    }
}

impl Vault for FakeVault {
    fn persist(&self, remembered: Remembered) -> BoxFuture<Result<(), String>> {
        let vault = self.clone();
        Box::pin(async move {
            let mut shut = vault.shut.subscribe();
            shut.wait_for(|shut| !shut).await.unwrap();
            if vault.fails {
                return Err("no space left on device".to_owned());
            }
            vault.contents().persisted.push(remembered);
            Ok(())
        })
    }

    fn open_account(&self, _account: Account) -> BoxFuture<Result<Opened, OpenFailure>> {
        Box::pin(async { Ok(Opened::default()) })
    }

    fn receive(&self, arrivals: Vec<Arrival>) -> Kept<Vec<Stored>> {
        let vault = self.clone();
        let (told, outbox) = (self.clone(), self.outbox.clone());
        Box::pin(async move {
            let mut held = vault.held.subscribe();
            held.wait_for(|held| !held).await.unwrap();
            let committed = told.job("receive", move |contents| {
                let commit = arrivals.iter().map(name).collect();
                contents.commits.push(commit);
                arrivals
                    .into_iter()
                    .map(|arrival| contents.take(arrival))
                    .collect::<Vec<_>>()
            });
            let stored = committed.await?;
            outbox.send_modify(|count| *count += 1);
            Ok(stored)
        })
    }

    fn due(&self, after_position: i64, limit: usize) -> Kept<Vec<Due>> {
        self.job("due", move |contents| {
            contents.loads += 1;
            contents
                .rows
                .range(after_position + 1..)
                .filter(|(_, row)| row.state == 10)
                .take(limit)
                .map(|(_, row)| row.due.clone())
                .collect()
        })
    }

    fn due_again(
        &self,
        _now_ms: i64,
        limit: usize,
        _expiry_ms: i64,
        _forgotten_before: i64,
    ) -> Kept<Vec<Due>> {
        self.job("due_again", move |contents| {
            let count = contents.again.len().min(limit);
            let positions: Vec<i64> = contents.again.drain(..count).collect();
            contents.given_again.extend(&positions);
            positions
                .iter()
                .map(|position| contents.rows[position].due.clone())
                .collect()
        })
    }

    fn published(&self, answers: Vec<(i64, Published)>) -> Kept<()> {
        self.job("published", move |contents| {
            contents.published_calls += 1;
            for (position, answer) in answers {
                let row = contents.rows.get_mut(&position).unwrap();
                let again = contents.given_again.remove(&position);
                assert!(again || row.state == 10, "{row:?} is answered twice");
                match answer {
                    Published::Refused { .. } if again => {}
                    Published::Taken { no_receiver } => {
                        row.state = 30;
                        row.no_receiver = no_receiver;
                    }
                    Published::Refused { code, text } => {
                        row.state = 20;
                        row.code = code;
                        row.text = text;
                    }
                }
            }
        })
    }

    fn due_receipts(&self, limit: usize) -> Kept<Vec<DueReceipts>> {
        self.job("due_receipts", move |contents| {
            contents.loads += 1;
            let mut by_peer: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (peer, uid) in contents.receipts.iter().take(limit) {
                by_peer.entry(peer.clone()).or_default().push(uid.clone());
            }
            by_peer
                .into_iter()
                .map(|(peer, uids)| DueReceipts { peer, uids })
                .collect()
        })
    }

    fn receipts_sent(&self, receipts: Vec<DueReceipts>) -> Kept<()> {
        self.job("receipts_sent", move |contents| {
            for sent in receipts {
                contents
                    .receipts
                    .retain(|(peer, uid)| *peer != sent.peer || !sent.uids.contains(uid));
                contents.receipts_sent.push(sent);
            }
        })
    }

    fn note_gap(&self, gap: Gap) -> Kept<()> {
        self.job("note_gap", move |contents| {
            contents.notes.push(format!("{gap:?}"))
        })
    }

    fn offline_sync_completed(&self, complete: bool) -> Kept<()> {
        self.job("offline_sync_completed", move |contents| {
            contents.notes.push(format!("offline sync {complete}"));
        })
    }

    fn groups(&self) -> Kept<Vec<Group>> {
        self.job("groups", |contents| {
            contents
                .groups
                .iter()
                .map(|(group_id, code)| Group {
                    group_id: group_id.clone(),
                    joined: 0,
                    code: *code,
                })
                .collect()
        })
    }

    fn join_group(&self, group: String) -> Kept<()> {
        self.job("join_group", move |contents| {
            contents.groups.entry(group).or_default();
        })
    }

    fn quit_group(&self, group: String) -> Kept<()> {
        self.job("quit_group", move |contents| {
            contents.groups.remove(&group);
        })
    }

    fn group_code(&self, group: String, code: i32) -> Kept<()> {
        self.job("group_code", move |contents| {
            contents.groups.insert(group, code);
        })
    }

    fn outbox_changed(&self) -> watch::Receiver<u64> {
        self.outbox.subscribe()
    }

    fn storage_full(&self) -> watch::Receiver<Option<String>> {
        self.full.subscribe()
    }
}

impl Contents {
    fn take(&mut self, arrival: Arrival) -> Stored {
        match &arrival {
            Arrival::Message(message) => {
                if message.wants_receipt {
                    self.receipts.push((message.sender.clone(), message.uid.clone()));
                }
                if !self.seen.insert((message.sender.clone(), message.uid.clone())) {
                    return Stored::Duplicate;
                }
            }
            Arrival::Receipt { uids, .. } => {
                for row in self.rows.values_mut().filter(|row| uids.contains(&row.due.uid)) {
                    row.state = 40;
                }
            }
            Arrival::Unreadable { .. } => {}
        }
        self.arrivals.push(arrival);
        Stored::Fresh
    }
}
