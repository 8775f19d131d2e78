//! Stands in for what the branch `read3` brings.

use super::rows::Conversation;

/// What is to be set; the rest stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationChange {
    pub draft: Option<String>,
    pub pinned: Option<bool>,
    pub muted: Option<bool>,
}

/// Where a page of the list ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConversationToken {
    pinned: bool,
    sort_time: i64,
    conversation_id: i64,
}

impl std::fmt::Display for ConversationToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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

impl std::str::FromStr for ConversationToken {
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
