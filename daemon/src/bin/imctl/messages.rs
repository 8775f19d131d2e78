//! `history`, `search` and `outbox`; and a message on one line.

use imd_client::{
    Client, ConversationKey, ConversationType, Direction, Message, PageOptions, SearchOptions, SentStatus,
};

use crate::args::{History, With};
use crate::clock;
use crate::output::{Failure, Mood, Output, plain, say};
use crate::shapes::{self, or_dash};

/// The longest page the daemon gives.
const PAGE: u32 = 200;

/// Shows the newest messages of a conversation, oldest first.
pub(crate) async fn history(client: &Client, history: History, output: &mut Output) -> Result<(), Failure> {
    let key = key(history.with);
    let mut pages = Vec::new();
    let mut options = PageOptions::newest();
    let mut missing = history.limit;
    loop {
        let page = client
            .list_messages(&key, options.limit(missing.min(PAGE)))
            .await?;
        missing = missing.saturating_sub(u32::try_from(page.messages.len()).unwrap_or(u32::MAX));
        let oldest = page.messages.first().map(|message| message.id);
        pages.push(page.messages);
        match oldest.filter(|_| page.has_more && missing > 0) {
            Some(oldest) => options = PageOptions::before(oldest),
            None => break,
        }
    }
    for message in pages.iter().rev().flatten() {
        print(message, output)?;
    }
    Ok(())
}

fn key(with: With) -> ConversationKey {
    match (with.with, with.group) {
        (Some(user), _) => ConversationKey::private(user),
        (None, Some(group)) => ConversationKey::group(group),
        (None, None) => ConversationKey::system(),
    }
}

/// Searches in all messages, newest first.
pub(crate) async fn search(
    client: &Client,
    query: &str,
    limit: u32,
    output: &mut Output,
) -> Result<(), Failure> {
    let mut options = SearchOptions::new();
    let mut missing = limit;
    loop {
        let page = client
            .search_messages(query, options.limit(missing.min(PAGE)))
            .await?;
        for message in &page.messages {
            print(message, output)?;
        }
        missing = missing.saturating_sub(u32::try_from(page.messages.len()).unwrap_or(u32::MAX));
        match page.messages.last().filter(|_| page.has_more && missing > 0) {
            Some(oldest) => options = SearchOptions::new().before(oldest.id),
            None => return Ok(()),
        }
    }
}

/// Lists what waits, and what has failed.
pub(crate) async fn outbox(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut after = None;
    loop {
        let page = client.list_outbox(PAGE, after).await?;
        for message in &page.messages {
            print(message, output)?;
        }
        match page.messages.last().filter(|_| page.has_more) {
            Some(last) => after = Some(last.id),
            None => {
                if !output.is_json() {
                    let (messages, bytes) = (page.waiting_messages, page.waiting_bytes);
                    say(&format!("waiting to be sent: {messages} ({bytes} bytes)"));
                }
                return Ok(());
            }
        }
    }
}

fn print(message: &Message, output: &mut Output) -> Result<(), Failure> {
    output.print(&shapes::Message::from(message), |output| {
        let time = or_dash(message.sent_time.or(message.received_time), clock::date_and_time);
        format!("{time}  {}", line(message, output))
    })
}

/// A message without its time, on one line.
pub(crate) fn line(message: &Message, output: &Output) -> String {
    let mut line = format!("{}: {}", way(message), words(message));
    if let Some(status) = message.sent_status {
        let mood = if status == SentStatus::Failed {
            Mood::Bad
        } else if status == SentStatus::Sending {
            Mood::Waiting
        } else {
            Mood::Plain
        };
        line.push_str("  ");
        line.push_str(&output.paint(mood, &status.to_string()));
    }
    if let Some(failure) = &message.failure {
        line.push_str(&format!("  {}: {}", failure.code, plain(&failure.text)));
    }
    if message.no_receiver {
        line.push_str("  no receiver");
    }
    line
}

/// Who it is from, and where that does not say it, to whom.
fn way(message: &Message) -> String {
    let (sender, target) = (
        plain(&message.sender_user_id),
        plain(&message.conversation.target_id),
    );
    match (message.conversation.kind, message.direction) {
        (ConversationType::Group, _) => format!("{sender} in {target}"),
        (ConversationType::Private, Direction::Send) => format!("{sender} to {target}"),
        _ => sender,
    }
}

/// The text, or what there is instead.
fn words(message: &Message) -> String {
    message.text().map_or_else(
        || {
            format!(
                "<{}, {} bytes>",
                plain(&message.object_name),
                message.content.len()
            )
        },
        |text| plain(&text),
    )
}
