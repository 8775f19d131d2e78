//! Messages and conversation keys.

use imd_core::account::Invalid;
use imd_core::time::UnixTime;
use imd_proto::code::Code;
use imd_proto::imd::v1;

use super::{code, not_sent, timestamp};
use crate::store::rows::{ConversationKey, ConversationKind, Message, OutboxSize, Page, SendError};

pub(in crate::rpc) fn message(message: Message) -> v1::Message {
    let (code, code_name) = code(Some(Code(message.code)).filter(|code| code.0 != 0));
    let direction = if message.sent_by_me {
        v1::Direction::Send
    } else {
        v1::Direction::Receive
    };
    v1::Message {
        message_id: message.message_id,
        uid: message.uid,
        conversation: Some(key(message.conversation)),
        sender_user_id: message.sender,
        direction: direction.into(),
        object_name: message.object_name,
        content: message.content.into(),
        flags: message.flags,
        sent_time: Some(timestamp(UnixTime::from_millis(message.sent_time))),
        received_time: Some(timestamp(UnixTime::from_millis(message.received_time))),
        sent_status: message.sent_status,
        sent_status_name: sent_status_name(message.sent_status).to_owned(),
        code,
        code_name,
        code_text: message.code_text,
        no_receiver: message.no_receiver,
        read: !message.unread,
    }
}

/// What became of one message of many: refused at once, or by the store, or in the outbox.
pub(in crate::rpc) fn outcome(
    enqueued: Result<Result<(Message, bool), SendError>, Invalid>,
) -> v1::SendOutcome {
    let refused = match enqueued {
        Ok(Ok((accepted, already_known))) => {
            return v1::SendOutcome {
                message: Some(message(accepted)),
                already_known,
                ..v1::SendOutcome::default()
            };
        }
        Ok(Err(error)) => not_sent(&error),
        Err(invalid) => invalid,
    };
    let (code, code_name) = code(Some(refused.code));
    v1::SendOutcome {
        code,
        code_name,
        code_text: refused.text,
        ..v1::SendOutcome::default()
    }
}

/// The messages of a page, and whether there are more.
pub(in crate::rpc) fn page(page: Page) -> (Vec<v1::Message>, bool) {
    (page.messages.into_iter().map(message).collect(), page.has_more)
}

pub(in crate::rpc) fn outbox((outbox, size): (Page, OutboxSize)) -> v1::ListOutboxResponse {
    let (messages, has_more) = page(outbox);
    v1::ListOutboxResponse {
        messages,
        has_more,
        waiting_messages: size.messages,
        waiting_bytes: size.bytes,
    }
}

pub(super) fn key(key: ConversationKey) -> v1::ConversationKey {
    let kind = match key.kind {
        ConversationKind::Private => v1::ConversationType::Private,
        ConversationKind::Group => v1::ConversationType::Group,
        ConversationKind::System => v1::ConversationType::System,
    };
    v1::ConversationKey {
        r#type: kind.into(),
        target_id: key.target,
    }
}

/// RongCloud's names; none for a message that was received.
fn sent_status_name(status: i32) -> &'static str {
    match status {
        10 => "SENDING",
        20 => "FAILED",
        30 => "SENT",
        40 => "RECEIVED",
        _ => "",
    }
}
