//! The conversation list, and what is unread.

use std::fmt;
use std::str::FromStr;

use rusqlite::{Connection, OptionalExtension as _, params};

use super::row;
use crate::store::rows::{Conversation, ConversationKey};

/// Where a page of the list ends. As text it is what clients hand back without looking into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationToken {
    pinned: bool,
    sort_time: i64,
    conversation_id: i64,
}

impl fmt::Display for ConversationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pinned = i64::from(self.pinned);
        write!(f, "{pinned}.{}.{}", self.sort_time, self.conversation_id)
    }
}

/// The text is not one that this imd has given out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the page token is not one from an earlier answer: ask for the first page again, with an empty token"
)]
pub struct InvalidToken;

impl FromStr for ConversationToken {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        let mut parts = text.split('.').map(str::parse::<i64>);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Ok(pinned @ 0..=1)), Some(Ok(sort_time)), Some(Ok(conversation_id)), None) => Ok(Self {
                pinned: pinned == 1,
                sort_time,
                conversation_id,
            }),
            _ => Err(InvalidToken),
        }
    }
}

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConversationPage {
    pub conversations: Vec<Conversation>,
    /// `None`: this is the last page.
    pub next: Option<ConversationToken>,
}

/// A query on conversations `c` with their last messages.
macro_rules! conversation_query {
    ($rest:literal) => {
        concat!(
            "SELECT ",
            row::conversation_columns!(),
            " FROM conversations AS c LEFT JOIN messages AS m ON m.message_id = c.last_message WHERE ",
            $rest
        )
    };
}

pub(super) const LIST: &str = conversation_query!(
    "c.listed = 1 AND (c.pinned, c.sort_time, c.conversation_id) < (?1, ?2, ?3) \
     ORDER BY c.pinned DESC, c.sort_time DESC, c.conversation_id DESC LIMIT ?4"
);
pub(super) const BY_KEY: &str = conversation_query!("c.kind = ?1 AND c.target_id = ?2 AND c.listed = 1");
pub(super) const BY_ID: &str = conversation_query!("c.conversation_id = ?1");

/// Pinned ones first, then by time, newest first.
pub(in crate::store) fn conversations(
    connection: &Connection,
    after: Option<ConversationToken>,
    limit: usize,
) -> rusqlite::Result<ConversationPage> {
    let mut statement = connection.prepare_cached(LIST)?;
    // Nothing is before the first: there is no such pin.
    let (pinned, sort_time, conversation_id) = after.map_or((2, 0, 0), |token| {
        (i64::from(token.pinned), token.sort_time, token.conversation_id)
    });
    let rows = statement.query(params![
        pinned,
        sort_time,
        conversation_id,
        row::rows_to_read(limit)
    ])?;
    let (found, has_more) = row::take(rows, limit, row::conversation, |(conversation, _)| {
        let content = conversation.last_message.as_ref();
        conversation.draft.len() + content.map_or(0, |message| message.content.len())
    })?;
    let last = found.last().filter(|_| has_more);
    let next = last.map(|(conversation, conversation_id)| ConversationToken {
        pinned: conversation.pinned,
        sort_time: conversation.update_time,
        conversation_id: *conversation_id,
    });
    let conversations = found.into_iter().map(|(conversation, _)| conversation).collect();
    Ok(ConversationPage { conversations, next })
}

/// A conversation, if it is on the list.
pub(in crate::store) fn conversation(
    connection: &Connection,
    key: &ConversationKey,
) -> rusqlite::Result<Option<Conversation>> {
    connection
        .prepare_cached(BY_KEY)?
        .query_row(params![key.kind.number(), key.target], row::conversation)
        .optional()
        .map(|found| found.map(|(conversation, _)| conversation))
}

/// Unread messages over all conversations on the list, with those of muted ones or without.
pub(in crate::store) fn unread_count(connection: &Connection, include_muted: bool) -> rusqlite::Result<u64> {
    connection
        .prepare_cached(
            "SELECT coalesce(sum(unread), 0) FROM conversations WHERE listed = 1 AND (?1 OR muted = 0)",
        )?
        .query_row([include_muted], |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
}
