//! Reading what is stored, and the small writes around it. All of it works with the network down.
//!
//! | file | what is in it |
//! |---|---|
//! | `row` | rows of conversations; what a page holds |
//! | `history` | messages: one, or a page in the order of arrival |
//! | `conversations` | the conversation list, what is unread |
//! | `change` | draft, pin, mute, read, delete |
//! | `search`, `tokens` | the full-text index: what is put in, and what a query asks |
//! | `outbox` | what waits to be sent or received; groups; cursors |
//! | `log` | the event log |
//!
//! The functions take a connection or a transaction and have no other state; [`Store`](super::Store) runs
//! them on its reader and its writer.

mod change;
mod conversations;
mod history;
mod log;
mod outbox;
mod row;
mod search;
mod tokens;

pub use change::ConversationChange;
pub use conversations::{ConversationPage, ConversationToken, InvalidToken};

/// The bytes of a draft.
pub const MAX_DRAFT: usize = 8 * 1024;

#[cfg(test)]
mod tests;
