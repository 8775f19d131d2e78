//! The fake's messages, in memory: enough of a store to answer as the daemon does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::conversation_service_server::ConversationService;
use imd_proto::imd::v1::event::Content;
use imd_proto::imd::v1::event_service_server::EventService;
use imd_proto::imd::v1::get_message_request::Id;
use imd_proto::imd::v1::group_service_server::GroupService;
use imd_proto::imd::v1::message_service_server::MessageService;
use imd_proto::imd::v1::subscribe_request::Start;
use imd_proto::imd::v1::subscribe_response::Content as Told;
use imd_proto::status::to_status;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::{Counted, Events, Script};

/// A time for golden lines: 2023-11-14 22:13:20 and so many seconds.
pub(crate) fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: 1_700_000_000 + seconds,
        nanos: 0,
    })
}

pub(crate) fn private(user_id: &str) -> v1::ConversationKey {
    v1::ConversationKey {
        r#type: v1::ConversationType::Private.into(),
        target_id: user_id.to_owned(),
    }
}

pub(crate) fn group(group_id: &str) -> v1::ConversationKey {
    v1::ConversationKey {
        r#type: v1::ConversationType::Group.into(),
        target_id: group_id.to_owned(),
    }
}

/// A text from `sender`; from alice, whose account it is, it is one that the server has.
pub(crate) fn text(uid: &str, key: v1::ConversationKey, sender: &str, text: &str) -> v1::Message {
    let is_mine = sender == "alice";
    v1::Message {
        uid: uid.to_owned(),
        conversation: Some(key),
        sender_user_id: sender.to_owned(),
        direction: if is_mine { 1 } else { 2 },
        object_name: "RC:TxtMsg".to_owned(),
        content: format!(r#"{{"content":"{text}"}}"#).into(),
        flags: 3,
        sent_time: time(0),
        received_time: time(1),
        sent_status: if is_mine { 30 } else { 0 },
        sent_status_name: if is_mine { "SENT" } else { "" }.to_owned(),
        ..v1::Message::default()
    }
}

/// The log of an account that is open; an empty epoch is none.
#[derive(Clone, Default)]
struct Log {
    epoch: String,
    events: Vec<v1::Event>,
}

#[derive(Clone)]
pub(crate) struct Archive {
    log: watch::Sender<Log>,
    messages: Arc<Mutex<Vec<v1::Message>>>,
    pub(crate) conversations: Arc<Mutex<Vec<v1::Conversation>>>,
    pub(crate) groups: Arc<Mutex<Vec<v1::Group>>>,
    /// The requests of Subscribe.
    pub(crate) starts: Arc<Mutex<Vec<Option<Start>>>>,
    /// The uids of SendMessages, in the order they came.
    pub(crate) sends: Arc<Mutex<Vec<String>>>,
    /// The cursors of AckEvents by name.
    pub(crate) acknowledged: Arc<Mutex<HashMap<String, v1::Cursor>>>,
    /// The requests that change a conversation.
    pub(crate) changes: Arc<Mutex<Vec<v1::UpdateConversationRequest>>>,
    /// How many Subscribe streams are open.
    pub(crate) subscribed: watch::Sender<usize>,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            log: watch::Sender::new(Log {
                epoch: "first".to_owned(),
                events: Vec::new(),
            }),
            messages: Arc::default(),
            conversations: Arc::default(),
            groups: Arc::default(),
            starts: Arc::default(),
            sends: Arc::default(),
            acknowledged: Arc::default(),
            changes: Arc::default(),
            subscribed: watch::Sender::default(),
        }
    }
}

impl Archive {
    /// Takes a message, or knows it by its uid. One whose object name is `refused` is refused.
    fn accept(&self, request: v1::SendMessageRequest) -> v1::SendOutcome {
        if request.object_name == "refused" {
            return v1::SendOutcome {
                code: 33000,
                code_name: "PROTOCOL_MESSAGE_SAVED_ERROR".to_owned(),
                code_text: "outbox full".to_owned(),
                ..v1::SendOutcome::default()
            };
        }
        let known = self.with_uid(&request.uid);
        let already_known = known.is_some();
        let message = known.unwrap_or_else(|| {
            self.store(v1::Message {
                object_name: request.object_name,
                content: request.content,
                flags: request.flags,
                sent_status: 10,
                ..text(&request.uid, request.conversation.unwrap(), "alice", "")
            })
        });
        v1::SendOutcome {
            message: Some(message),
            already_known,
            ..v1::SendOutcome::default()
        }
    }

    /// Opens the account whose log has this epoch, with no events; an empty epoch closes it.
    pub(crate) fn open(&self, epoch: &str) {
        let epoch = epoch.to_owned();
        self.log.send_replace(Log {
            epoch,
            events: Vec::new(),
        });
    }

    pub(crate) fn log(&self, content: Content) {
        self.log.send_modify(|log| {
            let offset = log.events.len() as u64 + 1;
            let cursor = Some(v1::Cursor {
                epoch: log.epoch.clone(),
                offset,
            });
            log.events.push(v1::Event {
                cursor,
                time: time(2),
                content: Some(content),
            });
        });
    }

    /// Stores a message, and logs it.
    pub(crate) fn store(&self, mut message: v1::Message) -> v1::Message {
        let mut messages = self.messages.lock().unwrap();
        message.message_id = messages.len() as i64 + 1;
        messages.push(message.clone());
        self.log(Content::Message(message.clone()));
        message
    }

    /// Sets the state of a message, and logs the change if told to.
    pub(crate) fn set(&self, uid: &str, status: i32, code: i32, is_logged: bool) {
        let mut messages = self.messages.lock().unwrap();
        let message = messages.iter_mut().find(|message| message.uid == uid).unwrap();
        message.sent_status = status;
        message.code = code;
        message.code_text = if code == 0 { "" } else { "as the test says" }.to_owned();
        if is_logged {
            self.log(Content::MessageState(message.clone()));
        }
    }

    pub(crate) fn settle(&self, uid: &str, status: i32, code: i32) {
        self.set(uid, status, code, true);
    }

    /// Takes a message away, and says nothing.
    pub(crate) fn forget(&self, uid: &str) {
        self.messages.lock().unwrap().retain(|message| message.uid != uid);
    }

    fn with_uid(&self, uid: &str) -> Option<v1::Message> {
        let messages = self.messages.lock().unwrap();
        messages.iter().find(|message| message.uid == uid).cloned()
    }

    fn page(&self, is_wanted: impl Fn(&v1::Message) -> bool) -> Vec<v1::Message> {
        let messages = self.messages.lock().unwrap();
        messages
            .iter()
            .filter(|message| is_wanted(message))
            .cloned()
            .collect()
    }

    fn check_open(&self) -> Result<(), Status> {
        if self.log.borrow().epoch.is_empty() {
            return Err(to_status(Code::RC_DB_NOT_INIT, "no account is open"));
        }
        Ok(())
    }
}

fn limit(limit: u32) -> usize {
    if limit == 0 { 50 } else { limit as usize }
}

fn not_found() -> Status {
    to_status(Code::RC_DB_DATA_NOT_FOUND, "no such thing")
}

type Answer = Result<v1::SubscribeResponse, Status>;

/// `first`: the log as it was when it was subscribed to, which is before any test hears of it.
async fn follow(archive: Archive, start: Option<Start>, tell: mpsc::Sender<Answer>, first: Log) {
    let mut log = archive.log.subscribe();
    log.mark_changed();
    let mut at: Option<v1::Cursor> = None;
    let mut now = first;
    loop {
        let newest = now.events.len() as u64;
        let page = if now.epoch.is_empty() {
            None
        } else if let Some(cursor) = at.as_mut().filter(|cursor| cursor.epoch == now.epoch) {
            let events: Vec<_> = now.events.into_iter().skip(cursor.offset as usize).collect();
            cursor.offset = newest;
            (!events.is_empty()).then(|| Told::Events(v1::Events { events }))
        } else {
            let wanted = match &start {
                Some(Start::Cursor(cursor)) => Some(cursor.clone()),
                Some(Start::Name(name)) => archive.acknowledged.lock().unwrap().get(name).cloned(),
                Some(Start::Tail(_)) | None => None,
            };
            let recovered = at.is_none() && wanted.as_ref().is_none_or(|cursor| cursor.epoch == now.epoch);
            let cursor = wanted.filter(|_| recovered).unwrap_or(v1::Cursor {
                epoch: now.epoch.clone(),
                offset: newest,
            });
            at = Some(cursor.clone());
            log.mark_changed();
            Some(Told::Started(v1::Started {
                cursor: Some(cursor),
                recovered,
            }))
        };
        if let Some(content) = page {
            let content = Some(content);
            if tell.send(Ok(v1::SubscribeResponse { content })).await.is_err() {
                return;
            }
        }
        tokio::select! {
            changed = log.changed() => if changed.is_err() { return },
            () = tell.closed() => return,
        }
        now = log.borrow_and_update().clone();
    }
}

#[tonic::async_trait]
impl EventService for Script {
    type SubscribeStream = Events<v1::SubscribeResponse>;

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        self.archive
            .starts
            .lock()
            .unwrap()
            .push(request.get_ref().start.clone());
        self.enter("Subscribe").await?;
        let (tell, told) = mpsc::channel(1);
        let archive = self.archive.clone();
        tokio::spawn(async move {
            let first = archive.log.borrow().clone();
            let _subscribed = Counted::new(&archive.subscribed);
            follow(archive.clone(), request.into_inner().start, tell, first).await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn ack_events(
        &self,
        request: Request<v1::AckEventsRequest>,
    ) -> Result<Response<v1::AckEventsResponse>, Status> {
        self.enter("AckEvents").await?;
        let v1::AckEventsRequest { name, cursor } = request.into_inner();
        let mut acknowledged = self.archive.acknowledged.lock().unwrap();
        acknowledged.insert(name, cursor.unwrap());
        Ok(Response::new(v1::AckEventsResponse {}))
    }
}

#[tonic::async_trait]
impl MessageService for Script {
    async fn send_message(
        &self,
        request: Request<v1::SendMessageRequest>,
    ) -> Result<Response<v1::SendMessageResponse>, Status> {
        let request = request.into_inner();
        self.archive.sends.lock().unwrap().push(request.uid.clone());
        self.enter("SendMessage").await?;
        self.archive.check_open()?;
        let outcome = self.archive.accept(request);
        if outcome.message.is_none() {
            return Err(to_status(Code(outcome.code), outcome.code_text));
        }
        Ok(Response::new(v1::SendMessageResponse {
            message: outcome.message,
            already_known: outcome.already_known,
        }))
    }

    async fn send_messages(
        &self,
        request: Request<v1::SendMessagesRequest>,
    ) -> Result<Response<v1::SendMessagesResponse>, Status> {
        let requests = request.into_inner().messages;
        let uids = requests.iter().map(|request| request.uid.clone());
        self.archive.sends.lock().unwrap().extend(uids);
        self.enter("SendMessages").await?;
        if let Err(refusal) = self.archive.check_open() {
            self.calls
                .send_modify(|calls| calls.push("SendMessages refused".to_owned()));
            return Err(refusal);
        }
        let outcomes = requests.into_iter().map(|request| self.archive.accept(request));
        let outcomes = outcomes.collect();
        self.leave("SendMessages").await;
        Ok(Response::new(v1::SendMessagesResponse { outcomes }))
    }

    async fn retry_message(
        &self,
        request: Request<v1::RetryMessageRequest>,
    ) -> Result<Response<v1::RetryMessageResponse>, Status> {
        self.enter("RetryMessage").await?;
        let uid = request.into_inner().uid;
        self.archive.with_uid(&uid).ok_or_else(not_found)?;
        self.archive.settle(&uid, 10, 0);
        Ok(Response::new(v1::RetryMessageResponse {
            message: self.archive.with_uid(&uid),
        }))
    }

    async fn get_message(
        &self,
        request: Request<v1::GetMessageRequest>,
    ) -> Result<Response<v1::GetMessageResponse>, Status> {
        self.enter("GetMessage").await?;
        let id = request.into_inner().id;
        let found = self.archive.page(|message| match &id {
            Some(Id::Uid(uid)) => message.uid == *uid,
            Some(Id::MessageId(id)) => message.message_id == *id,
            None => false,
        });
        let message = Some(found.into_iter().next().ok_or_else(not_found)?);
        Ok(Response::new(v1::GetMessageResponse { message }))
    }

    async fn list_messages(
        &self,
        request: Request<v1::ListMessagesRequest>,
    ) -> Result<Response<v1::ListMessagesResponse>, Status> {
        self.enter("ListMessages").await?;
        self.archive.check_open()?;
        let request = request.into_inner();
        let (before, after) = (request.before_message_id, request.after_message_id);
        let mut messages = self.archive.page(|message| {
            message.conversation == request.conversation
                && (before == 0 || message.message_id < before)
                && message.message_id > after
        });
        let limit = limit(request.limit);
        let has_more = messages.len() > limit;
        if after > 0 {
            messages.truncate(limit);
        } else {
            messages.drain(..messages.len().saturating_sub(limit));
        }
        Ok(Response::new(v1::ListMessagesResponse { messages, has_more }))
    }

    async fn search_messages(
        &self,
        request: Request<v1::SearchMessagesRequest>,
    ) -> Result<Response<v1::SearchMessagesResponse>, Status> {
        self.enter("SearchMessages").await?;
        let request = request.into_inner();
        let mut messages = self.archive.page(|message| {
            let is_there = request.conversation.is_none() || message.conversation == request.conversation;
            let content = String::from_utf8_lossy(&message.content);
            is_there
                && content.contains(&request.query)
                && (request.before_message_id == 0 || message.message_id < request.before_message_id)
        });
        messages.reverse();
        let has_more = messages.len() > limit(request.limit);
        messages.truncate(limit(request.limit));
        Ok(Response::new(v1::SearchMessagesResponse { messages, has_more }))
    }

    async fn delete_messages(
        &self,
        request: Request<v1::DeleteMessagesRequest>,
    ) -> Result<Response<v1::DeleteMessagesResponse>, Status> {
        self.enter("DeleteMessages").await?;
        let ids = request.into_inner().message_ids;
        let mut messages = self.archive.messages.lock().unwrap();
        let before = messages.len();
        messages.retain(|message| !ids.contains(&message.message_id));
        let deleted = (before - messages.len()) as u32;
        Ok(Response::new(v1::DeleteMessagesResponse { deleted }))
    }

    async fn list_outbox(
        &self,
        request: Request<v1::ListOutboxRequest>,
    ) -> Result<Response<v1::ListOutboxResponse>, Status> {
        self.enter("ListOutbox").await?;
        let request = request.into_inner();
        let mut messages = self
            .archive
            .page(|message| (1..40).contains(&message.sent_status));
        let waiting = messages.iter().filter(|message| message.sent_status == 10);
        let (waiting_messages, waiting_bytes) = waiting.fold((0, 0), |(messages, bytes), message| {
            (messages + 1, bytes + message.content.len() as u64)
        });
        messages.retain(|message| message.message_id > request.after_message_id);
        let has_more = messages.len() > limit(request.limit);
        messages.truncate(limit(request.limit));
        Ok(Response::new(v1::ListOutboxResponse {
            messages,
            has_more,
            waiting_messages,
            waiting_bytes,
        }))
    }
}

#[tonic::async_trait]
impl ConversationService for Script {
    async fn list_conversations(
        &self,
        request: Request<v1::ListConversationsRequest>,
    ) -> Result<Response<v1::ListConversationsResponse>, Status> {
        self.enter("ListConversations").await?;
        let request = request.into_inner();
        let all = self.archive.conversations.lock().unwrap().clone();
        let start: usize = request.page_token.parse().unwrap_or_default();
        let end = all.len().min(start + limit(request.limit));
        let next_page_token = if end < all.len() {
            end.to_string()
        } else {
            String::new()
        };
        Ok(Response::new(v1::ListConversationsResponse {
            conversations: all[start..end].to_vec(),
            next_page_token,
        }))
    }

    async fn get_conversation(
        &self,
        request: Request<v1::GetConversationRequest>,
    ) -> Result<Response<v1::GetConversationResponse>, Status> {
        self.enter("GetConversation").await?;
        let key = request.into_inner().key;
        let all = self.archive.conversations.lock().unwrap();
        let found = all.iter().find(|conversation| conversation.key == key).cloned();
        let conversation = Some(found.ok_or_else(not_found)?);
        Ok(Response::new(v1::GetConversationResponse { conversation }))
    }

    async fn update_conversation(
        &self,
        request: Request<v1::UpdateConversationRequest>,
    ) -> Result<Response<v1::UpdateConversationResponse>, Status> {
        self.enter("UpdateConversation").await?;
        let request = request.into_inner();
        self.archive.changes.lock().unwrap().push(request.clone());
        let conversation = Some(v1::Conversation {
            key: request.key,
            draft: request.draft.unwrap_or_default(),
            pinned: request.pinned.unwrap_or_default(),
            muted: request.muted.unwrap_or_default(),
            ..v1::Conversation::default()
        });
        Ok(Response::new(v1::UpdateConversationResponse { conversation }))
    }

    async fn mark_read(
        &self,
        request: Request<v1::MarkReadRequest>,
    ) -> Result<Response<v1::MarkReadResponse>, Status> {
        self.enter("MarkRead").await?;
        let up_to = request.into_inner().message_id;
        let unread_count = if up_to == 0 { 0 } else { 2 };
        Ok(Response::new(v1::MarkReadResponse { unread_count }))
    }

    async fn get_unread_count(
        &self,
        request: Request<v1::GetUnreadCountRequest>,
    ) -> Result<Response<v1::GetUnreadCountResponse>, Status> {
        self.enter("GetUnreadCount").await?;
        let include_muted = request.into_inner().include_muted;
        let all = self.archive.conversations.lock().unwrap();
        let counted = all
            .iter()
            .filter(|conversation| include_muted || !conversation.muted);
        let unread_count = counted.map(|conversation| conversation.unread_count).sum();
        Ok(Response::new(v1::GetUnreadCountResponse { unread_count }))
    }

    async fn delete_conversation(
        &self,
        request: Request<v1::DeleteConversationRequest>,
    ) -> Result<Response<v1::DeleteConversationResponse>, Status> {
        self.enter("DeleteConversation").await?;
        let key = request.into_inner().key;
        let mut all = self.archive.conversations.lock().unwrap();
        all.retain(|conversation| conversation.key != key);
        Ok(Response::new(v1::DeleteConversationResponse {}))
    }
}

#[tonic::async_trait]
impl GroupService for Script {
    async fn join_group(
        &self,
        request: Request<v1::JoinGroupRequest>,
    ) -> Result<Response<v1::JoinGroupResponse>, Status> {
        self.enter("JoinGroup").await?;
        self.archive.groups.lock().unwrap().push(v1::Group {
            group_id: request.into_inner().group_id,
            join_time: time(0),
            ..v1::Group::default()
        });
        Ok(Response::new(v1::JoinGroupResponse {}))
    }

    async fn quit_group(
        &self,
        request: Request<v1::QuitGroupRequest>,
    ) -> Result<Response<v1::QuitGroupResponse>, Status> {
        self.enter("QuitGroup").await?;
        let group_id = request.into_inner().group_id;
        let mut groups = self.archive.groups.lock().unwrap();
        groups.retain(|group| group.group_id != group_id);
        Ok(Response::new(v1::QuitGroupResponse {}))
    }

    async fn list_groups(
        &self,
        _: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        self.enter("ListGroups").await?;
        let groups = self.archive.groups.lock().unwrap().clone();
        Ok(Response::new(v1::ListGroupsResponse { groups }))
    }
}
