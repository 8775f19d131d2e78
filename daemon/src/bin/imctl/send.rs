//! `send`.

use std::io::{self, Read as _};
use std::time::Duration;

use imd_client::{Client, Code, Content, ConversationKey, Error, Message};

use crate::args::{Send, To, Until};
use crate::output::{Failure, Output};
use crate::{progress, shapes};

/// Sends a text, prints its uid once it is on disk, and waits for more where that is wanted.
pub(crate) async fn send(client: &Client, send: Send, output: &mut Output) -> Result<(), Failure> {
    let text = text(send.text)?;
    let sending = client.send_message(&key(send.to)?, Content::text(text));
    let accepted = sending.accepted().await?;
    print(&accepted, &accepted.uid, output)?;
    match send.wait {
        None => Ok(()),
        Some(Until::Sent) => reached(client, sending.sent(), send.timeout, output).await,
        Some(Until::Received) => reached(client, sending.received(), send.timeout, output).await,
    }
}

fn key(to: To) -> Result<ConversationKey, Failure> {
    match (to.to, to.group) {
        (Some(user), _) => Ok(ConversationKey::private(user)),
        (None, Some(group)) => Ok(ConversationKey::group(group)),
        (None, None) => Err(Failure::own(
            Code::BIZ_ERROR_INVALID_PARAMETER,
            "name --to or --group",
        )),
    }
}

/// The text, without the line break at its end if it comes from standard input.
fn text(given: String) -> Result<String, Failure> {
    if given != "-" {
        return Ok(given);
    }
    let wrong = |what: &str| {
        let text = format!("standard input {what}");
        Failure::own(Code::BIZ_ERROR_INVALID_PARAMETER, text)
    };
    let mut text = String::new();
    // One more than can be sent: then it is refused for its length.
    let most = Content::MAX_BYTES as u64 + 1;
    io::stdin()
        .lock()
        .take(most)
        .read_to_string(&mut text)
        .map_err(|error| wrong(&format!("cannot be read as text: {error}")))?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    Ok(text)
}

async fn reached(
    client: &Client,
    state: impl Future<Output = Result<Message, Error>>,
    timeout: Option<u32>,
    output: &mut Output,
) -> Result<(), Failure> {
    let state = progress::during(client, within(state, timeout)).await?;
    let words = state
        .sent_status
        .map(|status| status.to_string())
        .unwrap_or_default();
    print(&state, &words, output)
}

async fn within(
    state: impl Future<Output = Result<Message, Error>>,
    timeout: Option<u32>,
) -> Result<Message, Failure> {
    let Some(seconds) = timeout else {
        return Ok(state.await?);
    };
    match tokio::time::timeout(Duration::from_secs(seconds.into()), state).await {
        Ok(state) => Ok(state?),
        Err(_elapsed) => {
            let text = format!("not so far within {seconds} s; the message stays in the outbox");
            Err(Failure::own(Code::IMD_DEADLINE_EXCEEDED, text))
        }
    }
}

fn print(message: &Message, words: &str, output: &mut Output) -> Result<(), Failure> {
    output.print(&shapes::Message::from(message), |_| words.to_owned())
}
