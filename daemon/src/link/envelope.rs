//! Between what travels (topic and payload) and the store's rows. Pure, and whatever comes from outside is
//! checked here.

use bytes::Bytes;
use imd_core::account::{Account, UserId};
use imd_proto::im::wire::v1::{Envelope, Receipt};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::store::rows::{Arrival, ConversationKey, ConversationKind, Due, DueReceipts, Incoming};

/// The largest content of a message.
pub(super) const MAXIMUM_CONTENT: usize = 128 * 1024;

/// How many uids stand in one receipt.
pub(super) const RECEIPT_UIDS: usize = 1000;

/// The one conversation of system messages, and their sender.
const SYSTEM: &str = "system";

const RECEIPT: &str = "imd:receipt";
const TEXT_MESSAGE: &str = "RC:TxtMsg";

/// Flags of messages: saved, saved and counted, status.
const SAVED: u32 = 1;
const COUNTED: u32 = 3;
const STATUS: u32 = 16;

/// The last millisecond of the year 9999: what a timestamp can say at most.
const LATEST: i64 = 253_402_300_799_999;

/// How much of an illegal topic is kept, in characters.
const SHOWN_TOPIC: usize = 512;

/// A message that came in, as MQTT has it.
pub(super) struct Publication<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: Bytes,
    /// The server had kept it: it comes again with every subscription.
    pub(super) retain: bool,
    /// When it came, in milliseconds since 1970.
    pub(super) now: i64,
}

/// Which of our subscriptions a topic belongs to.
enum Source<'a> {
    Private { from: &'a str },
    Group { group: &'a str, from: &'a str },
    System,
}

/// Why something cannot be read, for people.
type Reason = String;

/// Reads what came in for this account.
pub(super) fn arrival(account: &Account, publication: &Publication<'_>) -> Arrival {
    match read(account, publication) {
        Ok(arrival) => arrival,
        Err(reason) => Arrival::Unreadable {
            topic: publication.topic.chars().take(SHOWN_TOPIC).collect(),
            reason,
            payload: publication.payload.to_vec(),
        },
    }
}

/// The group a topic belongs to.
pub(super) fn group_of<'a>(account: &Account, topic: &'a str) -> Option<&'a str> {
    match source(account, topic) {
        Ok(Source::Group { group, .. }) => Some(group),
        Ok(Source::Private { .. } | Source::System) | Err(_) => None,
    }
}

fn read(account: &Account, publication: &Publication<'_>) -> Result<Arrival, Reason> {
    let payload = publication.payload.clone();
    match source(account, publication.topic)? {
        Source::System => {
            if let Some(message) = json(publication)? {
                return Ok(Arrival::Message(message));
            }
            let envelope = decode(payload)?;
            let conversation = ConversationKey {
                kind: ConversationKind::System,
                target: SYSTEM.to_owned(),
            };
            message(envelope, conversation, SYSTEM, false).map(Arrival::Message)
        }
        Source::Group { group, from } => {
            let conversation = ConversationKey {
                kind: ConversationKind::Group,
                target: group.to_owned(),
            };
            let sent_by_me = from == account.user_id.as_str();
            message(decode(payload)?, conversation, from, sent_by_me).map(Arrival::Message)
        }
        Source::Private { from } => {
            let envelope = decode(payload)?;
            if envelope.flags == 0 && envelope.object_name == RECEIPT {
                return receipt(from, envelope.content);
            }
            let conversation = ConversationKey {
                kind: ConversationKind::Private,
                target: from.to_owned(),
            };
            let sent_by_me = from == account.user_id.as_str();
            message(envelope, conversation, from, sent_by_me).map(Arrival::Message)
        }
    }
}

fn source<'a>(account: &Account, topic: &'a str) -> Result<Source<'a>, Reason> {
    let Account { app_key, user_id } = account;
    let unknown = || "the topic is none that this account subscribes".to_owned();
    let mut levels = topic.split('/');
    if levels.next() != Some("im") || levels.next() != Some(app_key.as_str()) {
        return Err(unknown());
    }
    let kind = levels.next();
    let target = levels.next().ok_or_else(unknown)?;
    let from = levels.next();
    if levels.next().is_some() {
        return Err(unknown());
    }
    let is_mine = target == user_id.as_str();
    match (kind, from) {
        (Some("s"), None) if is_mine => Ok(Source::System),
        (Some("u"), Some(from)) if is_mine => {
            check_name("sender", from)?;
            Ok(Source::Private { from })
        }
        (Some("g"), Some(from)) => {
            check_name("group", target)?;
            check_name("sender", from)?;
            Ok(Source::Group { group: target, from })
        }
        _ => Err(unknown()),
    }
}

fn check_name(what: &str, name: &str) -> Result<(), Reason> {
    UserId::parse(name)
        .map(drop)
        .map_err(|invalid| format!("the {what} in the topic is illegal: {}", invalid.text))
}

fn decode(payload: Bytes) -> Result<Envelope, Reason> {
    Envelope::decode(payload).map_err(|error| format!("the payload is no Envelope: {error}"))
}

fn message(
    envelope: Envelope,
    conversation: ConversationKey,
    from: &str,
    sent_by_me: bool,
) -> Result<Incoming, Reason> {
    let Envelope {
        uid,
        origin,
        seq,
        object_name,
        content,
        flags,
        sent_time_ms,
    } = envelope;
    if !is_uid(&uid) {
        return Err("the uid is not 1 to 64 characters of A-Z a-z 0-9 - _".to_owned());
    }
    if origin.len() > 64 || !is_printable(&origin) {
        return Err("the origin is longer than 64 characters, or not printable ASCII".to_owned());
    }
    if i64::try_from(seq).is_err() {
        return Err(format!("the seq {seq} is too large"));
    }
    if !is_object_name(&object_name) {
        return Err("the object name is not 1 to 64 characters of printable ASCII".to_owned());
    }
    check_content(&content)?;
    if !matches!(flags, SAVED | COUNTED | STATUS) {
        return Err(format!("{object_name} with the flags {flags}: none of 1, 3, 16"));
    }
    let wants_receipt = conversation.kind == ConversationKind::Private && !sent_by_me && flags != STATUS;
    Ok(Incoming {
        conversation,
        sender: from.to_owned(),
        sent_by_me,
        uid,
        origin,
        seq,
        object_name,
        content: content.into(),
        flags,
        sent_time: sent_time_ms.clamp(0, LATEST),
        wants_receipt,
    })
}

fn receipt(from: &str, content: Bytes) -> Result<Arrival, Reason> {
    let Receipt { uids } =
        Receipt::decode(content).map_err(|error| format!("the receipt's content cannot be read: {error}"))?;
    if uids.is_empty() {
        return Err("the receipt is about no message".to_owned());
    }
    if !uids.iter().all(|uid| is_uid(uid)) {
        return Err("a uid in the receipt is not 1 to 64 characters of A-Z a-z 0-9 - _".to_owned());
    }
    Ok(Arrival::Receipt {
        peer: from.to_owned(),
        uids,
    })
}

/// A system message as plain JSON; `None`: the payload begins no JSON object. No Envelope is one: its uid
/// would begin with a brace, or be too long.
fn json(publication: &Publication<'_>) -> Result<Option<Incoming>, Reason> {
    let payload = &publication.payload;
    if !payload.trim_ascii_start().starts_with(b"{") {
        return Ok(None);
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(payload)
        .map_err(|error| format!("the payload begins like JSON and is none: {error}"))?;
    check_content(payload)?;
    let uid = match object.get("uid") {
        Some(serde_json::Value::String(uid)) if is_uid(uid) => uid.clone(),
        Some(_) => {
            return Err("the uid in the JSON is not 1 to 64 characters of A-Z a-z 0-9 - _".to_owned());
        }
        // One message, however often the server brings it.
        None if publication.retain => digest(publication),
        None => Uuid::new_v4().to_string(),
    };
    Ok(Some(Incoming {
        conversation: ConversationKey {
            kind: ConversationKind::System,
            target: SYSTEM.to_owned(),
        },
        sender: SYSTEM.to_owned(),
        sent_by_me: false,
        uid,
        origin: String::new(),
        seq: 0,
        object_name: TEXT_MESSAGE.to_owned(),
        content: payload.to_vec(),
        flags: COUNTED,
        sent_time: publication.now.clamp(0, LATEST),
        wants_receipt: false,
    }))
}

fn digest(publication: &Publication<'_>) -> String {
    let digest = Sha256::new()
        .chain_update(publication.topic)
        .chain_update([0])
        .chain_update(&publication.payload)
        .finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_content(content: &[u8]) -> Result<(), Reason> {
    if content.len() > MAXIMUM_CONTENT {
        return Err(format!(
            "the content has {} bytes; at most {MAXIMUM_CONTENT} are taken",
            content.len()
        ));
    }
    Ok(())
}

fn is_uid(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn is_object_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && is_printable(text)
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Where and how a message is published; `None`: there is no way to the system.
pub(super) fn publication(account: &Account, origin: &str, due: &Due) -> Option<(String, Vec<u8>)> {
    let Account { app_key, user_id } = account;
    let target = &due.conversation.target;
    let topic = match due.conversation.kind {
        ConversationKind::Private => inbox(account, target),
        ConversationKind::Group => format!("im/{app_key}/g/{target}/{user_id}"),
        ConversationKind::System => return None,
    };
    let envelope = Envelope {
        uid: due.uid.clone(),
        origin: origin.to_owned(),
        seq: due.seq,
        object_name: due.object_name.clone(),
        content: due.content.clone().into(),
        flags: due.flags,
        sent_time_ms: due.sent_time,
    };
    Some((topic, envelope.encode_to_vec()))
}

/// Where and how receipts are published.
pub(super) fn receipts(account: &Account, origin: &str, now: i64, due: &DueReceipts) -> (String, Vec<u8>) {
    let content = Receipt {
        uids: due.uids.clone(),
    };
    let envelope = Envelope {
        uid: Uuid::new_v4().to_string(),
        origin: origin.to_owned(),
        seq: 0,
        object_name: RECEIPT.to_owned(),
        content: content.encode_to_vec().into(),
        flags: 0,
        sent_time_ms: now,
    };
    (inbox(account, &due.peer), envelope.encode_to_vec())
}

/// The inbox of a peer, for what comes from us.
fn inbox(account: &Account, peer: &str) -> String {
    let Account { app_key, user_id } = account;
    format!("im/{app_key}/u/{peer}/{user_id}")
}

#[cfg(test)]
mod tests;
