//! The arguments of the calls about messages, conversations, groups and events.

use std::sync::Arc;

use imd_core::account::{Invalid, UserId};
use imd_core::time::UnixTime;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use uuid::Uuid;

use super::{id, invalid, malformed};
use crate::hub::Cursor;
use crate::store::read::{ConversationChange, ConversationToken};
use crate::store::rows::{ConversationKey, ConversationKind, Outgoing};

/// The longest content of a message, in bytes.
const CONTENT: usize = 128 * 1024;

/// The longest object name, in bytes.
const OBJECT_NAME: usize = 64;

/// The object names of imd's own messages begin with it.
const OWN: &str = "imd:";

/// Saved, and saved and counted.
const SAVED: u32 = 1;
const COUNTED: u32 = 3;

/// The longest query of a search, in bytes.
const QUERY: usize = 256;

/// How many rows a page has when the call does not say, and at most.
const PAGE: usize = 50;
const LONGEST_PAGE: usize = 200;

/// How many messages one call sends at most: a commit takes no more.
const SENT: usize = 256;

/// How many messages one call deletes at most.
const DELETED: usize = 1000;

/// The one system conversation's target.
const SYSTEM: &str = "system";

const TARGET: &str = "1 to 64 bytes without / + # and control characters, and neither . nor ..";

/// Messages that an app wants sent, each of them legal or not.
pub(in crate::rpc) fn outgoings(
    requests: Vec<v1::SendMessageRequest>,
    now: UnixTime,
) -> Result<Vec<Result<Outgoing, Invalid>>, Invalid> {
    if requests.len() > SENT {
        return Err(wrong(format!(
            "{} messages are to be sent; at most {SENT} are allowed in one call",
            requests.len()
        )));
    }
    Ok(requests
        .into_iter()
        .map(|request| outgoing(request, now))
        .collect())
}

/// A message that an app wants sent.
pub(in crate::rpc) fn outgoing(request: v1::SendMessageRequest, now: UnixTime) -> Result<Outgoing, Invalid> {
    if request.content.len() > CONTENT {
        return Err(invalid(
            Code::RC_MSG_CONTENT_EXCEED_LIMIT,
            format!(
                "the content has {} bytes; at most {CONTENT} are allowed",
                request.content.len()
            ),
        ));
    }
    let conversation = conversation(request.conversation)?;
    if conversation.kind == ConversationKind::System {
        return Err(invalid(
            Code::SYS_CONVERSATION_NOT_SUPPORT_MESSAGE,
            "apps cannot write into the system conversation: the server side alone does".to_owned(),
        ));
    }
    let uid = match request.uid.as_str() {
        "" => Uuid::now_v7().to_string(),
        given => uid(given)?,
    };
    Ok(Outgoing {
        conversation,
        uid,
        object_name: object_name(request.object_name)?,
        content: request.content.into(),
        flags: flags(request.flags)?,
        sent_time: now.as_millis(),
    })
}

pub(in crate::rpc) fn conversation(key: Option<v1::ConversationKey>) -> Result<ConversationKey, Invalid> {
    let Some(key) = key else {
        return Err(wrong(
            "the call names no conversation: type and target_id".to_owned(),
        ));
    };
    let (kind, target) = match key.r#type() {
        v1::ConversationType::Private => (ConversationKind::Private, target(key.target_id)?),
        v1::ConversationType::Group => (ConversationKind::Group, target(key.target_id)?),
        v1::ConversationType::System => match key.target_id.as_str() {
            "" | SYSTEM => (ConversationKind::System, SYSTEM.to_owned()),
            other => return Err(malformed("target_id", other, "system, or empty")),
        },
        v1::ConversationType::Unspecified => {
            return Err(wrong(format!(
                "the conversation type {} is none of PRIVATE (1), GROUP (3) and SYSTEM (6)",
                key.r#type
            )));
        }
    };
    Ok(ConversationKey { kind, target })
}

pub(in crate::rpc) fn group(group_id: String) -> Result<String, Invalid> {
    legal_target("group_id", group_id)
}

fn target(target_id: String) -> Result<String, Invalid> {
    legal_target("target_id", target_id)
}

/// Users and groups are levels of a topic, both under the same rules.
fn legal_target(name: &str, text: String) -> Result<String, Invalid> {
    match UserId::parse(&text) {
        Ok(_) => Ok(text),
        Err(_) => Err(malformed(name, &text, TARGET)),
    }
}

pub(in crate::rpc) fn uid(text: &str) -> Result<String, Invalid> {
    id("uid", text).map(|uid| uid.as_ref().to_owned())
}

fn object_name(text: String) -> Result<String, Invalid> {
    let is_printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    if text.is_empty() || text.len() > OBJECT_NAME || !is_printable {
        let wanted = "1 to 64 bytes of printable ASCII without spaces, such as RC:TxtMsg";
        return Err(malformed("object_name", &text, wanted));
    }
    if text.starts_with(OWN) {
        return Err(wrong(format!(
            "the object name {text:?} begins with {OWN}, which is imd's own"
        )));
    }
    Ok(text)
}

fn flags(flags: u32) -> Result<u32, Invalid> {
    match flags {
        0 => Ok(COUNTED),
        SAVED | COUNTED => Ok(flags),
        16 => Err(wrong(
            "flags 16: status messages, which are kept nowhere, are not sent by this version".to_owned(),
        )),
        _ => Err(wrong(format!(
            "the flags {flags} are none of 1 (saved) and 3 (saved and counted)"
        ))),
    }
}

/// A message's id; 0 stands for none.
pub(in crate::rpc) fn message_id(name: &str, message_id: i64) -> Result<Option<i64>, Invalid> {
    match message_id {
        0 => Ok(None),
        1.. => Ok(Some(message_id)),
        _ => Err(wrong(format!("the {name} {message_id} is below 0"))),
    }
}

/// Which part of a history: (before, after), of which one at most is given.
pub(in crate::rpc) fn part(before: i64, after: i64) -> Result<(Option<i64>, Option<i64>), Invalid> {
    match (
        message_id("before_message_id", before)?,
        message_id("after_message_id", after)?,
    ) {
        (Some(_), Some(_)) => Err(wrong(
            "a page ends before one message or begins after one: give before_message_id or after_message_id, not both"
                .to_owned(),
        )),
        part => Ok(part),
    }
}

pub(in crate::rpc) fn limit(limit: u32) -> Result<usize, Invalid> {
    match usize::try_from(limit).unwrap_or(usize::MAX) {
        0 => Ok(PAGE),
        limit @ 1..=LONGEST_PAGE => Ok(limit),
        _ => Err(wrong(format!("the limit {limit} is not 1 to {LONGEST_PAGE}"))),
    }
}

pub(in crate::rpc) fn query(query: String) -> Result<String, Invalid> {
    match query.len() {
        1..=QUERY => Ok(query),
        0 => Err(wrong("the query is empty".to_owned())),
        length => Err(wrong(format!(
            "the query has {length} bytes; at most {QUERY} are allowed"
        ))),
    }
}

pub(in crate::rpc) fn deleted(message_ids: Vec<i64>) -> Result<Vec<i64>, Invalid> {
    if message_ids.len() > DELETED {
        return Err(wrong(format!(
            "{} messages are to be deleted; at most {DELETED} are allowed in one call",
            message_ids.len()
        )));
    }
    Ok(message_ids)
}

pub(in crate::rpc) fn page_token(text: &str) -> Result<Option<ConversationToken>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| wrong(format!("{error}")))
}

/// A conversation, and what is to change.
pub(in crate::rpc) fn change(
    request: v1::UpdateConversationRequest,
) -> Result<(ConversationKey, ConversationChange), Invalid> {
    let change = ConversationChange {
        draft: request.draft,
        pinned: request.pinned,
        muted: request.muted,
    };
    Ok((conversation(request.key)?, change))
}

/// The name of a cursor that the daemon keeps.
pub(in crate::rpc) fn cursor_name(name: &str) -> Result<Arc<str>, Invalid> {
    id("name", name)
}

pub(in crate::rpc) fn cursor(cursor: Option<v1::Cursor>) -> Result<Cursor, Invalid> {
    match cursor {
        Some(v1::Cursor { epoch, offset }) if !epoch.is_empty() => Ok(Cursor { epoch, offset }),
        Some(_) | None => Err(wrong("the cursor has no epoch".to_owned())),
    }
}

fn wrong(text: String) -> Invalid {
    invalid(Code::BIZ_ERROR_INVALID_PARAMETER, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kind: i32, target: &str) -> Option<v1::ConversationKey> {
        Some(v1::ConversationKey {
            r#type: kind,
            target_id: target.to_owned(),
        })
    }

    fn request() -> v1::SendMessageRequest {
        v1::SendMessageRequest {
            conversation: key(1, "bob"),
            object_name: "RC:TxtMsg".to_owned(),
            content: "{}".into(),
            uid: String::new(),
            flags: 0,
        }
    }

    fn code(request: v1::SendMessageRequest) -> Code {
        outgoing(request, UnixTime::from_millis(7)).unwrap_err().code
    }

    #[test]
    fn a_message_without_a_uid_gets_one_and_counts() {
        let made = outgoing(request(), UnixTime::from_millis(7)).unwrap();
        assert_eq!(Uuid::parse_str(&made.uid).unwrap().get_version_num(), 7);
        assert_eq!((made.flags, made.sent_time), (3, 7));
    }

    #[test]
    fn content_of_128_kib_is_taken_and_a_byte_more_is_not() {
        let mut long = request();
        long.content = vec![b'x'; CONTENT].into();
        assert!(outgoing(long.clone(), UnixTime::from_millis(0)).is_ok());
        long.content = vec![b'x'; CONTENT + 1].into();
        assert_eq!(code(long), Code::RC_MSG_CONTENT_EXCEED_LIMIT);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_by_name() {
        let spoilt = |spoil: fn(&mut v1::SendMessageRequest)| {
            let mut request = request();
            spoil(&mut request);
            request
        };
        for bad in [
            spoilt(|request| request.conversation = None),
            spoilt(|request| request.conversation = key(0, "bob")),
            spoilt(|request| request.conversation = key(2, "bob")),
            spoilt(|request| request.conversation = key(1, "a/b")),
            spoilt(|request| request.conversation = key(3, "")),
            spoilt(|request| request.conversation = key(6, "bob")),
            spoilt(|request| request.object_name = String::new()),
            spoilt(|request| request.object_name = "RC TxtMsg".to_owned()),
            spoilt(|request| request.object_name = "开会".to_owned()),
            spoilt(|request| request.object_name = "x".repeat(65)),
            spoilt(|request| request.object_name = "imd:receipt".to_owned()),
            spoilt(|request| request.uid = "a b".to_owned()),
            spoilt(|request| request.uid = "x".repeat(65)),
            spoilt(|request| request.flags = 2),
            spoilt(|request| request.flags = 16),
        ] {
            assert_eq!(code(bad), Code::BIZ_ERROR_INVALID_PARAMETER);
        }
        for target in ["", "system"] {
            let mut request = request();
            request.conversation = key(6, target);
            assert_eq!(code(request), Code::SYS_CONVERSATION_NOT_SUPPORT_MESSAGE);
        }
    }

    #[test]
    fn a_page_has_50_rows_unless_said_and_200_at_most() {
        assert_eq!(limit(0).unwrap(), 50);
        assert_eq!(limit(200).unwrap(), 200);
        assert!(limit(201).is_err());
        assert!(part(3, 4).is_err() && part(-1, 0).is_err());
        assert_eq!(part(0, 4).unwrap(), (None, Some(4)));
    }
}
