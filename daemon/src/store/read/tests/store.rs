use std::ops::Range;
use std::time::Duration;

use super::super::{ConversationChange, MAX_DRAFT, UpdateError};
use super::fixture::private;
use crate::store::rows::{Arrival, Incoming, LogContent, Outgoing};
use crate::store::{AccountKey, Store, StoreError, StorePaths};

fn start(dir: &tempfile::TempDir) -> Store {
    let paths = StorePaths {
        data_dir: dir.path().to_owned(),
        session_file: dir.path().join("session.json"),
    };
    Store::start(paths, false, Duration::from_hours(1)).unwrap().0
}

async fn open(dir: &tempfile::TempDir) -> Store {
    let store = start(dir);
    let key = AccountKey {
        app_key: "chat".to_owned(),
        user_id: "alice".to_owned(),
    };
    store.open_account(key).await.unwrap();
    store
}

/// So many texts of one sender; their uids are the sender's name and a number.
async fn receive(store: &Store, sender: &str, text: &str, numbers: Range<i64>) {
    let content = serde_json::json!({ "content": text }).to_string();
    let message = |number: i64| {
        Arrival::Message(Incoming {
            conversation: private(sender),
            sender: sender.to_owned(),
            sent_by_me: false,
            uid: format!("{sender}-{number}"),
            origin: "laptop".to_owned(),
            seq: 0,
            object_name: "RC:TxtMsg".to_owned(),
            content: content.clone().into_bytes(),
            flags: 3,
            sent_time: number,
            wants_receipt: true,
        })
    };
    store.receive(numbers.map(message).collect()).await.unwrap();
}

async fn hits(store: &Store, query: &str) -> usize {
    let page = store.search(query.to_owned(), None, None, 200).await.unwrap();
    page.messages.len()
}

#[tokio::test]
async fn a_search_finds_what_was_stored_a_moment_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    receive(&store, "bob", "明天开会吗", 0..3).await;
    assert_eq!(hits(&store, "开会").await, 3);
    receive(&store, "bob", "开会 at ten", 3..4).await;
    assert_eq!(hits(&store, "开会").await, 4);
    assert_eq!(hits(&store, "ten").await, 1);
}

#[tokio::test]
async fn what_nobody_searches_for_is_indexed_in_idle_moments() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    receive(&store, "bob", "hello", 0..500).await;
    let deadline = Duration::from_secs(20);
    let emptied = async {
        let waiting = |connection: &rusqlite::Connection| {
            connection.query_row("SELECT count(*) FROM search_queue", [], |row| {
                row.get::<_, i64>(0)
            })
        };
        while store.read(waiting).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(deadline, emptied).await.unwrap();
    assert_eq!(hits(&store, "hello").await, 200);
}

#[tokio::test]
async fn a_conversation_of_many_messages_is_deleted_with_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    receive(&store, "bob", "hello", 0..1200).await;
    receive(&store, "carol", "hello", 0..2).await;
    assert_eq!(hits(&store, "hello").await, 200);
    store.delete_conversation(private("bob"), true).await.unwrap();
    assert_eq!(hits(&store, "hello").await, 2);
    assert_eq!(store.conversation(private("bob")).await.unwrap(), None);
    assert_eq!(
        store
            .history(private("bob"), None, None, 50)
            .await
            .unwrap()
            .messages,
        []
    );
    assert_eq!(store.unread_count(true).await.unwrap(), 2);
    let rest = store.conversations(None, 50).await.unwrap();
    assert_eq!(rest.conversations.len(), 1);
}

#[tokio::test]
async fn reading_deleting_and_marking_go_through_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    receive(&store, "bob", "hello", 1..4).await;
    assert_eq!(store.mark_read(private("bob"), Some(2)).await.unwrap(), 1);
    assert_eq!(
        store.message_by_id(3).await.unwrap(),
        store.message_by_uid("bob-3".to_owned()).await.unwrap()
    );
    assert_eq!(store.delete_messages(vec![3]).await.unwrap(), 1);
    assert_eq!(store.message_by_id(3).await.unwrap(), None);
    assert_eq!(store.unread_count(true).await.unwrap(), 0);
    let (page, size) = store.outbox(None, 50).await.unwrap();
    assert_eq!((page.messages.len(), size.messages), (0, 0));
    let log = store.log_page(0, 10, 100_000).await.unwrap();
    assert_eq!((log.oldest, log.newest, log.entries.len()), (1, 3, 3));
    assert_eq!(log.entries[2].content, LogContent::Deleted { message_id: 3 });
}

#[tokio::test]
async fn a_deleted_message_that_waited_is_not_sent_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let outgoing = |uid: &str| Outgoing {
        conversation: private("bob"),
        uid: uid.to_owned(),
        object_name: "RC:TxtMsg".to_owned(),
        content: br#"{"content":"hello"}"#.to_vec(),
        flags: 3,
        sent_time: 1,
    };
    let (first, _) = store.enqueue(outgoing("first")).await.unwrap();
    store.enqueue(outgoing("second")).await.unwrap();
    assert_eq!(store.outbox(None, 50).await.unwrap().1.messages, 2);
    store.delete_messages(vec![first.message_id]).await.unwrap();
    let (page, size) = store.outbox(None, 50).await.unwrap();
    assert_eq!((page.messages.len(), size.messages), (1, 1));
    let due = store.due(0, 50).await.unwrap();
    assert_eq!(
        due.iter().map(|due| due.uid.as_str()).collect::<Vec<_>>(),
        ["second"]
    );
}

#[tokio::test]
async fn a_draft_may_have_eight_kibibytes_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir).await;
    let draft = |length| ConversationChange {
        draft: Some("x".repeat(length)),
        ..ConversationChange::default()
    };
    let refused = store
        .update_conversation(private("bob"), draft(MAX_DRAFT + 1))
        .await;
    assert!(
        matches!(refused, Err(UpdateError::DraftTooLong(8193))),
        "{refused:?}"
    );
    assert_eq!(store.conversation(private("bob")).await.unwrap(), None);
    let kept = store
        .update_conversation(private("bob"), draft(MAX_DRAFT))
        .await
        .unwrap();
    assert_eq!(store.conversation(private("bob")).await.unwrap(), Some(kept));
}

#[tokio::test]
async fn without_an_account_every_call_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = start(&dir);
    let history = store.history(private("bob"), None, None, 50).await;
    assert!(matches!(history, Err(StoreError::NoAccount)), "{history:?}");
    let search = store.search("hello".to_owned(), None, None, 50).await;
    assert!(matches!(search, Err(StoreError::NoAccount)), "{search:?}");
}
