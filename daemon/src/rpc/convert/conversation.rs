//! Conversations and groups.

use imd_core::time::UnixTime;
use imd_proto::code::Code;
use imd_proto::imd::v1;

use super::message::{key, message};
use super::{code, timestamp};
use crate::store::read::ConversationPage;
use crate::store::rows::{Conversation, Group};

pub(in crate::rpc) fn conversation(conversation: Conversation) -> v1::Conversation {
    v1::Conversation {
        key: Some(key(conversation.key)),
        unread_count: conversation.unread,
        last_message: conversation.last_message.map(message),
        draft: conversation.draft,
        pinned: conversation.pinned,
        muted: conversation.muted,
        update_time: Some(timestamp(UnixTime::from_millis(conversation.update_time))),
    }
}

pub(in crate::rpc) fn conversations(page: ConversationPage) -> v1::ListConversationsResponse {
    v1::ListConversationsResponse {
        conversations: page.conversations.into_iter().map(conversation).collect(),
        next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
    }
}

pub(in crate::rpc) fn group(group: Group) -> v1::Group {
    let (code, code_name) = code(Some(Code(group.code)).filter(|code| code.0 != 0));
    v1::Group {
        group_id: group.group_id,
        join_time: Some(timestamp(UnixTime::from_millis(group.joined))),
        code,
        code_name,
    }
}
