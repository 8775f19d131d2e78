//! The calls over the store itself.

use std::time::Duration;

use imd::store::rows::{Arrival, Incoming, Published, Stored};
use imd::store::{AccountKey, Store, StorePaths};
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::event::Content;
use imd_proto::imd::v1::subscribe_request::Start;
use imd_proto::imd::v1::subscribe_response::Content as Told;
use tonic::Streaming;

use crate::archive::private;
use crate::support::*;

fn start(directory: &tempfile::TempDir) -> (Store, Daemon) {
    let paths = StorePaths {
        data_dir: directory.path().to_owned(),
        session_file: directory.path().join("session.json"),
    };
    let (store, _) = Store::start(paths, true, Duration::from_hours(1)).unwrap();
    (store.clone(), Daemon::with_store(store))
}

async fn open(store: &Store, user_id: &str) -> String {
    let key = AccountKey {
        app_key: "key".to_owned(),
        user_id: user_id.to_owned(),
    };
    store.open_account(key).await.unwrap().epoch
}

async fn receive(store: &Store, uid: &str, text: &str) {
    let arrival = Arrival::Message(Incoming {
        conversation: private("bob"),
        sender: "bob".to_owned(),
        sent_by_me: false,
        uid: uid.to_owned(),
        origin: "theirs".to_owned(),
        seq: 0,
        object_name: "RC:TxtMsg".to_owned(),
        content: format!("{{\"content\":\"{text}\"}}").into_bytes(),
        flags: 3,
        sent_time: 1,
        wants_receipt: true,
    });
    assert_eq!(store.receive(vec![arrival]).await.unwrap(), [Stored::Fresh]);
}

fn to_bob() -> Option<v1::ConversationKey> {
    Some(v1::ConversationKey {
        r#type: v1::ConversationType::Private.into(),
        target_id: "bob".to_owned(),
    })
}

/// What the events were about: uid and status.
async fn told(events: &mut Streaming<v1::SubscribeResponse>, count: usize) -> Vec<(String, i32)> {
    let mut all = Vec::new();
    while all.len() < count {
        let Some(Told::Events(page)) = next(events).await.content else {
            panic!("no events");
        };
        all.extend(page.events.into_iter().map(|event| match event.content.unwrap() {
            Content::Message(message) | Content::MessageState(message) => (message.uid, message.sent_status),
            other @ (Content::Gap(_)
            | Content::OfflineSyncCompleted(_)
            | Content::Unreadable(_)
            | Content::Deleted(_)) => panic!("{other:?}"),
        }));
    }
    all
}

async fn started(events: &mut Streaming<v1::SubscribeResponse>) -> v1::Started {
    match next(events).await.content.unwrap() {
        Told::Started(started) => started,
        Told::Events(_) => panic!("no start"),
    }
}

#[tokio::test]
async fn what_is_received_and_sent_is_told_listed_found_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (store, daemon) = start(&directory);
    let mut events = daemon.events().await;
    let tail = v1::SubscribeRequest { start: None };
    let mut stream = events.subscribe(tail).await.unwrap().into_inner();
    let epoch = open(&store, "alice").await;
    assert_eq!(started(&mut stream).await.cursor.unwrap().epoch, epoch);

    receive(&store, "r-1", "今天开会").await;
    let mut messages = daemon.messages().await;
    let send = v1::SendMessageRequest {
        conversation: to_bob(),
        object_name: "RC:TxtMsg".to_owned(),
        content: "{\"content\":\"on my way\"}".into(),
        uid: "s-1".to_owned(),
        flags: 0,
    };
    assert!(
        !messages
            .send_message(send.clone())
            .await
            .unwrap()
            .into_inner()
            .already_known
    );
    assert!(
        messages
            .send_message(send)
            .await
            .unwrap()
            .into_inner()
            .already_known
    );
    let due = store.due(0, 10).await.unwrap();
    let refused = Published::Refused {
        code: Code::NOT_IN_GROUP.0,
        text: "0x87".to_owned(),
    };
    store.published(vec![(due[0].position, refused)]).await.unwrap();
    assert_eq!(
        told(&mut stream, 3).await,
        [
            ("r-1".to_owned(), 0),
            ("s-1".to_owned(), 10),
            ("s-1".to_owned(), 20)
        ]
    );
    let retry = v1::RetryMessageRequest {
        uid: "s-1".to_owned(),
    };
    let retried = messages.retry_message(retry).await.unwrap().into_inner();
    assert_eq!(retried.message.unwrap().sent_status, 10);

    let page = v1::ListMessagesRequest {
        conversation: to_bob(),
        ..v1::ListMessagesRequest::default()
    };
    let page = messages.list_messages(page).await.unwrap().into_inner();
    let uids: Vec<_> = page.messages.iter().map(|message| message.uid.as_str()).collect();
    assert_eq!(uids, ["r-1", "s-1"]);
    let search = v1::SearchMessagesRequest {
        query: "开会".to_owned(),
        ..v1::SearchMessagesRequest::default()
    };
    let found = messages.search_messages(search).await.unwrap().into_inner();
    assert_eq!(found.messages.len(), 1);
    let outbox = messages
        .list_outbox(v1::ListOutboxRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(outbox.waiting_messages, 1);

    let mut conversations = daemon.conversations().await;
    let list = v1::ListConversationsRequest::default();
    let list = conversations.list_conversations(list).await.unwrap().into_inner();
    assert_eq!(list.conversations.len(), 1);
    assert_eq!(list.conversations[0].unread_count, 1);
    let mark = v1::MarkReadRequest {
        key: to_bob(),
        message_id: 0,
    };
    assert_eq!(
        conversations
            .mark_read(mark)
            .await
            .unwrap()
            .into_inner()
            .unread_count,
        0
    );
}

#[tokio::test]
async fn a_kept_cursor_outlives_the_daemon_and_each_account_has_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let name = || v1::SubscribeRequest {
        start: Some(Start::Name("main".to_owned())),
    };
    let first_cursor = {
        let (store, daemon) = start(&directory);
        open(&store, "alice").await;
        let (binding, _bound) = daemon.bind("one").await;
        let mut events = daemon.events().await;
        let mut stream = events
            .subscribe(bound(&binding, name()))
            .await
            .unwrap()
            .into_inner();
        let began = started(&mut stream).await;
        assert!(!began.recovered);
        for uid in ["r-1", "r-2", "r-3"] {
            receive(&store, uid, "x").await;
        }
        told(&mut stream, 3).await;
        let mut cursor = began.cursor.unwrap();
        cursor.offset += 1;
        let ack = v1::AckEventsRequest {
            name: "main".to_owned(),
            cursor: Some(cursor.clone()),
        };
        events.ack_events(bound(&binding, ack)).await.unwrap();
        daemon.stop.ask("the test goes on");
        drop(stream);
        daemon.served().await.unwrap();
        store.stop().await;
        cursor
    };
    let (store, daemon) = start(&directory);
    open(&store, "alice").await;
    let (binding, _bound) = daemon.bind("one").await;
    let mut events = daemon.events().await;
    let mut stream = events
        .subscribe(bound(&binding, name()))
        .await
        .unwrap()
        .into_inner();
    let began = started(&mut stream).await;
    assert!(began.recovered);
    assert_eq!(began.cursor, Some(first_cursor));
    let uids: Vec<_> = told(&mut stream, 2)
        .await
        .into_iter()
        .map(|(uid, _)| uid)
        .collect();
    assert_eq!(uids, ["r-2", "r-3"]);

    let other = open(&store, "bob").await;
    let began = started(&mut stream).await;
    assert!(!began.recovered);
    assert_eq!(began.cursor.unwrap().epoch, other);
}
