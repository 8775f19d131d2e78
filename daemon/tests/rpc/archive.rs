//! The store's side of the daemon in the test's hands: an account in memory, with its log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use imd::hub::{LogError, LogSource};
use imd::link::BoxFuture;
use imd::rpc::Archive;
use imd::store::read::{ConversationChange, ConversationPage, ConversationToken, MAX_DRAFT, UpdateError};
use imd::store::rows::{
    Conversation, ConversationKey, ConversationKind, Group, LogContent, LogEntry, LogPage, Message,
    OutboxSize, Outgoing, Page, SendError, Tip,
};
use imd::store::{Figures, StatusNote, StoreError};
use tokio::sync::watch;

/// A store without an account until [`FakeArchive::open`].
#[derive(Clone, Default)]
pub(crate) struct FakeArchive(Arc<Inner>);

#[derive(Default)]
struct Inner {
    tip: watch::Sender<Tip>,
    state: Mutex<State>,
    hangs: AtomicBool,
}

#[derive(Default)]
struct State {
    notes: Vec<StatusNote>,
    figures: Option<Figures>,
    epoch: String,
    messages: Vec<Message>,
    log: Vec<LogEntry>,
    conversations: BTreeMap<ConversationKey, Conversation>,
    groups: Vec<Group>,
    cursors: BTreeMap<(String, String), u64>,
    /// After which offset a page of the log was asked for.
    pages: Vec<u64>,
    /// What the next message meets.
    refusal: Option<SendError>,
}

pub(crate) fn private(peer: &str) -> ConversationKey {
    ConversationKey {
        kind: ConversationKind::Private,
        target: peer.to_owned(),
    }
}

fn offset(log: &[LogEntry]) -> u64 {
    log.last().map_or(0, |last| last.offset)
}

impl FakeArchive {
    /// Another database, with nothing in it.
    pub(crate) fn open(&self, epoch: &str) {
        *self.state() = State {
            epoch: epoch.to_owned(),
            ..State::default()
        };
        self.tell();
    }

    /// From here on nothing is answered.
    pub(crate) fn hang(&self) {
        self.0.hangs.store(true, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, refusal: SendError) {
        self.state().refusal = Some(refusal);
    }

    pub(crate) fn log(&self, content: LogContent) {
        let mut state = self.state();
        let offset = offset(&state.log) + 1;
        state.log.push(LogEntry {
            offset,
            time: 1_700_000_000_123,
            content,
        });
        drop(state);
        self.tell();
    }

    /// A message of the peer's has come.
    pub(crate) fn receive(&self, peer: &str, content: &[u8]) -> Message {
        let message = self.store(
            Outgoing {
                conversation: private(peer),
                uid: "theirs".to_owned(),
                object_name: "RC:TxtMsg".to_owned(),
                content: content.to_vec(),
                flags: 3,
                sent_time: 1,
            },
            false,
        );
        self.log(LogContent::Message(message.clone()));
        message
    }

    /// What the journal has.
    pub(crate) fn note(&self, notes: Vec<StatusNote>) {
        self.state().notes = notes;
    }

    pub(crate) fn measured(&self, figures: Figures) {
        self.state().figures = Some(figures);
    }

    pub(crate) fn group(&self, group: Group) {
        self.state().groups.push(group);
    }

    pub(crate) fn cursor_of(&self, app_id: &str, name: &str) -> Option<u64> {
        let key = (app_id.to_owned(), name.to_owned());
        self.state().cursors.get(&key).copied()
    }

    pub(crate) fn take_pages(&self) -> Vec<u64> {
        std::mem::take(&mut self.state().pages)
    }

    pub(crate) fn stored(&self) -> usize {
        self.state().messages.len()
    }

    fn store(&self, outgoing: Outgoing, sent_by_me: bool) -> Message {
        let mut state = self.state();
        let message = Message {
            message_id: i64::try_from(state.messages.len()).unwrap() + 1,
            conversation: outgoing.conversation.clone(),
            uid: outgoing.uid,
            sender: if sent_by_me {
                "me"
            } else {
                &outgoing.conversation.target
            }
            .to_owned(),
            sent_by_me,
            object_name: outgoing.object_name,
            content: outgoing.content,
            flags: outgoing.flags,
            sent_time: outgoing.sent_time,
            received_time: 2,
            sent_status: if sent_by_me { 10 } else { 0 },
            code: 0,
            code_text: String::new(),
            no_receiver: false,
            unread: !sent_by_me,
        };
        state.messages.push(message.clone());
        let conversation = state
            .conversations
            .entry(outgoing.conversation.clone())
            .or_insert_with(|| empty(outgoing.conversation));
        conversation.unread += u64::from(message.unread);
        conversation.last_message = Some(message.clone());
        conversation.update_time = message.message_id;
        message
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn tell(&self) {
        let state = self.state();
        let tip = Tip {
            epoch: state.epoch.clone(),
            newest: offset(&state.log),
            ..Tip::default()
        };
        drop(state);
        self.0.tip.send_replace(tip);
    }

    /// The open account, once the store answers.
    async fn account(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        if self.0.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        let state = self.state();
        if state.epoch.is_empty() {
            return Err(StoreError::NoAccount);
        }
        Ok(state)
    }

    async fn account_of(&self, epoch: &str) -> Result<MutexGuard<'_, State>, LogError> {
        let state = self.account().await?;
        if state.epoch == epoch {
            Ok(state)
        } else {
            Err(LogError::OtherEpoch)
        }
    }
}

fn empty(key: ConversationKey) -> Conversation {
    Conversation {
        key,
        unread: 0,
        last_message: None,
        draft: String::new(),
        pinned: false,
        muted: false,
        update_time: 0,
    }
}

/// The newest `limit` of those there are.
fn newest(mut messages: Vec<Message>, limit: usize) -> Page {
    let skip = messages.len().saturating_sub(limit);
    Page {
        messages: messages.split_off(skip),
        has_more: skip > 0,
    }
}

impl LogSource for FakeArchive {
    fn tip(&self) -> watch::Receiver<Tip> {
        self.0.tip.subscribe()
    }

    fn log_page(
        &self,
        epoch: String,
        after: u64,
        max_entries: usize,
        max_bytes: usize,
    ) -> BoxFuture<Result<LogPage, LogError>> {
        let archive = self.clone();
        Box::pin(async move {
            let mut state = archive.account_of(&epoch).await?;
            state.pages.push(after);
            let mut bytes = 0;
            let entries: Vec<_> = state
                .log
                .iter()
                .filter(|entry| entry.offset > after)
                .take(max_entries)
                .take_while(|entry| {
                    let first = bytes == 0;
                    bytes += 1;
                    if let LogContent::Message(message) = &entry.content {
                        bytes += message.content.len();
                    }
                    first || bytes <= max_bytes
                })
                .cloned()
                .collect();
            Ok(LogPage {
                entries,
                oldest: 1,
                newest: offset(&state.log),
            })
        })
    }

    fn cursor(
        &self,
        epoch: String,
        app_id: Arc<str>,
        name: Arc<str>,
    ) -> BoxFuture<Result<Option<u64>, LogError>> {
        let archive = self.clone();
        Box::pin(async move {
            let state = archive.account_of(&epoch).await?;
            let key = (app_id.to_string(), name.to_string());
            Ok(state.cursors.get(&key).copied())
        })
    }

    fn set_cursor(
        &self,
        epoch: String,
        app_id: Arc<str>,
        name: Arc<str>,
        offset: u64,
    ) -> BoxFuture<Result<(), LogError>> {
        let archive = self.clone();
        Box::pin(async move {
            let mut state = archive.account_of(&epoch).await?;
            let key = (app_id.to_string(), name.to_string());
            let kept = state.cursors.entry(key).or_default();
            *kept = offset.max(*kept);
            Ok(())
        })
    }
}

#[tonic::async_trait]
impl Archive for FakeArchive {
    async fn enqueue(&self, outgoing: Outgoing) -> Result<(Message, bool), SendError> {
        {
            let mut state = self.account().await.map_err(|_| SendError::NoAccount)?;
            if let Some(refusal) = state.refusal.take() {
                return Err(refusal);
            }
            let known = state.messages.iter().find(|known| known.uid == outgoing.uid);
            if let Some(known) = known {
                return Ok((known.clone(), true));
            }
        }
        let message = self.store(outgoing, true);
        self.log(LogContent::Message(message.clone()));
        Ok((message, false))
    }

    async fn enqueue_all(
        &self,
        outgoings: Vec<Outgoing>,
    ) -> Result<Vec<Result<(Message, bool), SendError>>, SendError> {
        drop(self.account().await.map_err(|_| SendError::NoAccount)?);
        let mut enqueued = Vec::new();
        for outgoing in outgoings {
            enqueued.push(self.enqueue(outgoing).await);
        }
        Ok(enqueued)
    }

    async fn retry(&self, uid: String) -> Result<Option<Message>, StoreError> {
        self.message_by_uid(uid).await
    }

    async fn message_by_uid(&self, uid: String) -> Result<Option<Message>, StoreError> {
        let state = self.account().await?;
        Ok(state.messages.iter().rfind(|message| message.uid == uid).cloned())
    }

    async fn message_by_id(&self, message_id: i64) -> Result<Option<Message>, StoreError> {
        let state = self.account().await?;
        let found = state
            .messages
            .iter()
            .find(|message| message.message_id == message_id);
        Ok(found.cloned())
    }

    async fn history(
        &self,
        key: ConversationKey,
        before: Option<i64>,
        after: Option<i64>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let state = self.account().await?;
        let mut messages: Vec<_> = state
            .messages
            .iter()
            .filter(|message| message.conversation == key)
            .filter(|message| before.is_none_or(|before| message.message_id < before))
            .filter(|message| after.is_none_or(|after| message.message_id > after))
            .cloned()
            .collect();
        if after.is_some() {
            let has_more = messages.len() > limit;
            messages.truncate(limit);
            return Ok(Page { messages, has_more });
        }
        Ok(newest(messages, limit))
    }

    async fn search(
        &self,
        query: String,
        key: Option<ConversationKey>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let state = self.account().await?;
        let messages = state
            .messages
            .iter()
            .filter(|message| String::from_utf8_lossy(&message.content).contains(&query))
            .filter(|message| key.as_ref().is_none_or(|key| message.conversation == *key))
            .filter(|message| before.is_none_or(|before| message.message_id < before))
            .cloned()
            .collect();
        let mut page = newest(messages, limit);
        page.messages.reverse();
        Ok(page)
    }

    async fn outbox(&self, after: Option<i64>, limit: usize) -> Result<(Page, OutboxSize), StoreError> {
        let state = self.account().await?;
        let mut messages: Vec<_> = state
            .messages
            .iter()
            .filter(|message| message.sent_by_me)
            .cloned()
            .collect();
        let size = OutboxSize {
            messages: u64::try_from(messages.len()).unwrap(),
            bytes: 7,
        };
        messages.retain(|message| after.is_none_or(|after| message.message_id > after));
        let has_more = messages.len() > limit;
        messages.truncate(limit);
        Ok((Page { messages, has_more }, size))
    }

    async fn delete_messages(&self, message_ids: Vec<i64>) -> Result<usize, StoreError> {
        let mut state = self.account().await?;
        let before = state.messages.len();
        state
            .messages
            .retain(|message| !message_ids.contains(&message.message_id));
        Ok(before - state.messages.len())
    }

    async fn conversations(
        &self,
        after: Option<ConversationToken>,
        limit: usize,
    ) -> Result<ConversationPage, StoreError> {
        let state = self.account().await?;
        // Only the last number counts here: how many have been told.
        let told: usize = after.map_or(0, |token| {
            token.to_string().rsplit('.').next().unwrap().parse().unwrap()
        });
        let conversations: Vec<_> = state
            .conversations
            .values()
            .skip(told)
            .take(limit)
            .cloned()
            .collect();
        let told = told + conversations.len();
        let next = (told < state.conversations.len()).then(|| format!("0.0.{told}").parse().unwrap());
        Ok(ConversationPage { conversations, next })
    }

    async fn conversation(&self, key: ConversationKey) -> Result<Option<Conversation>, StoreError> {
        Ok(self.account().await?.conversations.get(&key).cloned())
    }

    async fn update_conversation(
        &self,
        key: ConversationKey,
        change: ConversationChange,
    ) -> Result<Conversation, UpdateError> {
        let mut state = self.account().await?;
        let conversation = state
            .conversations
            .entry(key.clone())
            .or_insert_with(|| empty(key));
        if let Some(draft) = change.draft {
            if draft.len() > MAX_DRAFT {
                return Err(UpdateError::DraftTooLong(draft.len()));
            }
            conversation.draft = draft;
        }
        conversation.pinned = change.pinned.unwrap_or(conversation.pinned);
        conversation.muted = change.muted.unwrap_or(conversation.muted);
        Ok(conversation.clone())
    }

    async fn mark_read(&self, key: ConversationKey, up_to: Option<i64>) -> Result<u64, StoreError> {
        let mut state = self.account().await?;
        let mut unread = 0;
        for message in state
            .messages
            .iter_mut()
            .filter(|message| message.conversation == key)
        {
            message.unread &= up_to.is_some_and(|up_to| message.message_id > up_to);
            unread += u64::from(message.unread);
        }
        Ok(unread)
    }

    async fn unread_count(&self, include_muted: bool) -> Result<u64, StoreError> {
        let state = self.account().await?;
        let counted = state
            .conversations
            .values()
            .filter(|one| include_muted || !one.muted);
        Ok(counted.map(|one| one.unread).sum())
    }

    async fn delete_conversation(&self, key: ConversationKey, with_messages: bool) -> Result<(), StoreError> {
        let mut state = self.account().await?;
        state.conversations.remove(&key);
        if with_messages {
            state.messages.retain(|message| message.conversation != key);
        }
        Ok(())
    }

    async fn groups(&self) -> Result<Vec<Group>, StoreError> {
        Ok(self.account().await?.groups.clone())
    }

    async fn statuses_since(&self, time: i64) -> Result<Vec<StatusNote>, StoreError> {
        let mut notes = self.state().notes.clone();
        notes.retain(|note| note.time() >= time);
        Ok(notes)
    }

    async fn measure(&self) -> Result<Figures, StoreError> {
        self.state().figures.clone().ok_or(StoreError::Stopped)
    }
}
