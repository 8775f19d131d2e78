//! A chat on the terminal, with a history, and with messages written while the network is down:
//! `cargo run -p imd-client --example chat -- APP_KEY TOKEN_FILE MY_USER_ID PEER`

#![expect(clippy::print_stdout, reason = "it is what an example is for")]
#![expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]

use std::thread;

use imd_client::{BlockingClient, Client, ConnectOptions, ConversationKey, Error, EventKind};
use imd_client::{Message, PageOptions, SentStatus, Start};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [app_key, token_file, me, peer] = arguments.as_slice() else {
        return Err("usage: chat APP_KEY TOKEN_FILE MY_USER_ID PEER".into());
    };
    let token = std::fs::read_to_string(token_file)?;
    let client = Client::builder(app_key).app_id("org.example.Chat").build()?;
    let _listener = client.add_connection_status_listener(|status| println!("-- {status}"));
    let client = client.blocking();

    let (other, options) = (client.clone(), ConnectOptions::new().user_id(me));
    thread::spawn(move || tell(other.connect(token.trim_end(), options)));
    let (other, peers) = (client.clone(), ConversationKey::private(peer));
    thread::spawn(move || tell(read(&other, &peers)));
    for line in std::io::stdin().lines() {
        tell(client.send_text(peer, line?).accepted());
    }
    Ok(())
}

/// Shows the history as soon as the database is open, then all that comes.
fn read(client: &BlockingClient, key: &ConversationKey) -> Result<(), Error> {
    for event in client.subscribe(Start::Tail) {
        match event?.kind {
            EventKind::Started { .. } => {
                let page = client.list_messages(key, PageOptions::newest().limit(20))?;
                page.messages.iter().for_each(show);
            }
            EventKind::Message(message) if message.conversation == *key => show(&message),
            EventKind::MessageState(message) if message.conversation == *key => show(&message),
            EventKind::Gap(gap) => println!("-- something may be missing: {}", gap.text),
            _ => {}
        }
        client.mark_read(key, None)?;
    }
    Ok(())
}

fn show(message: &Message) {
    let text = message.text().unwrap_or_default().replace(char::is_control, " ");
    let status = message.sent_status.map_or("", SentStatus::name);
    println!("{}: {text}  {status}", message.sender_user_id);
}

fn tell<T>(outcome: Result<T, Error>) {
    outcome.map_or_else(|error| println!("-- {error}"), drop);
}
