//! `conversations`.

use imd_client::{Client, Conversation};

use crate::clock;
use crate::messages::line;
use crate::output::{Failure, Output, plain};
use crate::shapes::{self, or_dash};
use crate::table::{columns, dash};

/// The longest page the daemon gives.
const PAGE: u32 = 200;

/// Lists the conversations.
pub(crate) async fn list(client: &Client, limit: u32, output: &mut Output) -> Result<(), Failure> {
    let mut conversations = Vec::new();
    let mut next = None;
    loop {
        let missing = limit.saturating_sub(u32::try_from(conversations.len()).unwrap_or(u32::MAX));
        let page = client.conversations(missing.min(PAGE), next).await?;
        conversations.extend(page.conversations);
        next = page.next;
        if next.is_none() || conversations.len() >= limit as usize {
            break;
        }
    }
    if output.is_json() {
        for conversation in &conversations {
            output.print(&shapes::Conversation::from(conversation), |_| String::new())?;
        }
        return Ok(());
    }
    let table = table(&conversations, output);
    output.raw(table.as_bytes())
}

fn table(conversations: &[Conversation], output: &Output) -> String {
    let head = ["TYPE", "WITH", "UNREAD", "MARKS", "SINCE", "LAST MESSAGE"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head)
        .chain(conversations.iter().map(|conversation| {
            let last = conversation.last_message.as_ref();
            [
                conversation.key.kind.name().to_owned(),
                plain(&conversation.key.target_id),
                conversation.unread_count.to_string(),
                dash(&marks(conversation)),
                or_dash(conversation.updated, clock::date_and_time),
                dash(&last.map(|last| line(last, output)).unwrap_or_default()),
            ]
        }))
        .collect();
    columns(&rows)
}

fn marks(conversation: &Conversation) -> String {
    let marks = [
        (conversation.is_pinned, "pinned"),
        (conversation.is_muted, "muted"),
        (!conversation.draft.is_empty(), "draft"),
    ];
    let marks: Vec<_> = marks
        .iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, mark)| *mark)
        .collect();
    marks.join(",")
}
