//! A large history, read with the network down.

use std::fmt::Write as _;

use imd_client::{BlockingClient, ConversationKey, Message, PageOptions, SearchOptions};
use imd_tests::mosquitto::Mosquitto;
use imd_tests::progress::{Progress, say};
use imd_tests::wait::{SOON, eventually, timed};
use imd_tests::{count, random};

use super::stage::Side;

/// How many messages one run of `mosquitto_pub` sends.
const LINES: usize = 20_000;

/// How many conversations there are beside the large one.
const PEERS: usize = 100;

const WORDS: [&str; 16] = [
    "meeting", "budget", "at", "three", "tomorrow", "plans", "for", "the", "office", "lunch", "report",
    "call", "me", "later", "train", "late",
];

const CHARACTERS: [&str; 12] = [
    "明天",
    "下午",
    "三点",
    "会议",
    "报告",
    "办公室",
    "午饭",
    "电话",
    "项目",
    "火车",
    "晚点",
    "谢谢",
];

/// Half of the messages are English, the other half Chinese; each thousandth has a rare word.
fn text(number: usize) -> String {
    let mut text = String::new();
    for _ in 0..4 + random(8) {
        if number.is_multiple_of(2) {
            let _ = write!(text, "{} ", WORDS[random(WORDS.len())]);
        } else {
            text.push_str(CHARACTERS[random(CHARACTERS.len())]);
        }
    }
    match number % 1000 {
        0 => text + "gazebo",
        1 => text + "季度预算",
        _ => text,
    }
}

fn fill(broker: &Mosquitto, bob: &Side, messages: usize) {
    let app = bob.client();
    for peer in 0..PEERS {
        app.send_text(format!("peer-{peer}"), "hello").accepted().unwrap();
    }
    let progress = Progress::of(messages, "messages");
    let (token, mut sent) = (broker.token("system"), 0);
    while sent < messages {
        let part = LINES.min(messages - sent);
        let lines = (sent..sent + part).fold(String::new(), |mut lines, number| {
            let _ = writeln!(lines, r#"{{"uid":"n-{number:08}","content":"{}"}}"#, text(number));
            lines
        });
        broker
            .publish_lines("system", &token, "im/demo/s/bob", &lines)
            .expect_code(0);
        sent += part;
        // One part at a time, so that it is the daemon and not the broker that holds them.
        eventually(SOON * 6, "the last of them", || {
            let last = app.get_message(format!("n-{:08}", sent - 1));
            last.map(drop).map_err(|error| error.to_string())
        });
        progress.at(sent, || "stored".to_owned());
    }
}

/// Calls often, and says how long a call takes.
fn measure(what: &str, mut call: impl FnMut() -> usize) {
    let times = 200;
    let mut taken = Vec::new();
    let mut rows = 0;
    for _ in 0..times {
        let (found, time) = timed(&mut call);
        rows = found;
        taken.push(time);
    }
    taken.sort_unstable();
    let (p50, p99) = (taken[times / 2], taken[times * 99 / 100]);
    say(&format!(
        "{what:<44} p50 {p50:>10.3?}  p99 {p99:>10.3?}  {rows} rows"
    ));
}

fn found(app: &BlockingClient, query: &str) -> usize {
    let page = app.search_messages(query, SearchOptions::new()).unwrap();
    let texts: Vec<String> = page.messages.iter().filter_map(Message::text).collect();
    assert!(
        texts.iter().all(|text| text.contains(query)),
        "{query}: {texts:?}"
    );
    texts.len()
}

#[test]
fn a_large_history_is_read_with_the_network_down() {
    let messages = count(4_000, 1_000_000);
    let mut broker = Mosquitto::start();
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    fill(&broker, &bob, messages);
    let app = bob.client();
    let (first, catching_up) = timed(|| found(&app, "gazebo"));
    say(&format!(
        "the first search, which waits for the index: {catching_up:?}, {first} rows"
    ));
    drop(app);
    broker.kill9();
    bob.kill_daemon();
    bob.await_refused();
    say(&format!("{} kB, with {messages} messages", bob.memory_kb()));

    let app = bob.client();
    let system = ConversationKey::system();
    let page = |options| app.list_messages(&system, options).unwrap().messages;
    let newest = page(PageOptions::newest().limit(50));
    assert_eq!(newest.len(), 50);
    let last = newest
        .iter()
        .find(|message| message.uid == format!("n-{:08}", messages - 1))
        .map(|message| message.id)
        .expect("the newest message is on the newest page");

    measure("50 newest messages", || {
        page(PageOptions::newest().limit(50)).len()
    });
    measure("50 messages from anywhere", || {
        // All but the first few are in this conversation, one behind the other.
        let before = last - i64::try_from(random(messages - 100)).unwrap();
        page(PageOptions::before(before).limit(50)).len()
    });
    measure("conversation list, 50", || {
        let list = app.conversations(50, None).unwrap();
        assert_eq!(list.conversations.len(), 50);
        list.conversations.len()
    });
    measure("unread total", || {
        let unread = usize::try_from(app.unread_count(true).unwrap()).unwrap();
        assert_eq!(unread, messages);
        unread
    });
    for query in ["季度预算", "会议", "会", "gazebo", "meeting", "tomorrow"] {
        assert!(found(&app, query) > 0, "{query}");
        measure(&format!("search {query}"), || found(&app, query));
    }
    measure("search for what is not there", || found(&app, "zzzz"));

    let status = bob.daemon.status();
    assert_ne!(status.status_name, "CONNECTED", "{status:?}");
}
