use imd::store::rows::{LogContent, SendError};
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::get_message_request::Id;

use crate::support::*;

fn to(peer: &str) -> Option<v1::ConversationKey> {
    Some(v1::ConversationKey {
        r#type: v1::ConversationType::Private.into(),
        target_id: peer.to_owned(),
    })
}

fn text(uid: &str, content: impl Into<Vec<u8>>) -> v1::SendMessageRequest {
    v1::SendMessageRequest {
        conversation: to("bob"),
        object_name: "RC:TxtMsg".to_owned(),
        content: content.into().into(),
        uid: uid.to_owned(),
        flags: 0,
    }
}

fn ids(messages: &[v1::Message]) -> Vec<i64> {
    messages.iter().map(|message| message.message_id).collect()
}

#[tokio::test]
async fn a_message_is_taken_without_a_binding_and_offline_and_its_uid_is_known_again() {
    let mut daemon = Daemon::start();
    daemon.archive.open("a");
    let mut messages = daemon.messages().await;
    let sent = messages
        .send_message(text("u-1", "{}"))
        .await
        .unwrap()
        .into_inner();
    let message = sent.message.unwrap();
    assert!(!sent.already_known);
    assert_eq!(
        (message.sent_status, message.sent_status_name.as_str()),
        (10, "SENDING")
    );
    assert_eq!(message.direction(), v1::Direction::Send);
    assert_eq!((message.flags, message.read), (3, true));
    assert_eq!(message.conversation, to("bob"));
    assert!(message.sent_time.unwrap().seconds > 1_700_000_000);

    let again = messages
        .send_message(text("u-1", "{}"))
        .await
        .unwrap()
        .into_inner();
    assert!(again.already_known);
    assert_eq!(again.message.unwrap().message_id, message.message_id);
    assert_eq!(daemon.archive.stored(), 1);

    let made = messages.send_message(text("", "{}")).await.unwrap().into_inner();
    assert_eq!(made.message.unwrap().uid.len(), 36);
    daemon.assert_idle();
}

#[tokio::test]
async fn content_over_128_kib_is_refused_before_anything_is_stored() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    let mut messages = daemon.messages().await;
    for length in [131_073, 600_000] {
        assert_eq!(
            code(messages.send_message(text("u", vec![b'x'; length])).await),
            Code::RC_MSG_CONTENT_EXCEED_LIMIT
        );
    }
    assert_eq!(
        code(messages.send_message(text("u", vec![b'x'; 2_000_000])).await),
        Code::IMD_REQUEST_TOO_LARGE
    );
    assert_eq!(daemon.archive.stored(), 0);
    messages
        .send_message(text("u", vec![b'x'; 131_072]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_message_that_the_store_does_not_take_keeps_its_reason() {
    let daemon = Daemon::start();
    let mut messages = daemon.messages().await;
    let refused = messages.send_message(text("u", "{}")).await.unwrap_err();
    assert_eq!(refused.message(), "no account is open: connect first");
    assert_eq!(code::<()>(Err(refused)), Code::RC_DB_NOT_INIT);
    daemon.archive.open("a");
    for refusal in [
        SendError::Full {
            messages: 100_000,
            bytes: 7,
        },
        SendError::Storage("disk full".to_owned()),
    ] {
        daemon.archive.refuse(refusal.clone());
        let refused = messages.send_message(text("u", "{}")).await.unwrap_err();
        assert_eq!(refused.message(), refusal.to_string());
        assert_eq!(code::<()>(Err(refused)), Code::PROTOCOL_MESSAGE_SAVED_ERROR);
    }
    let mut system = text("u", "{}");
    system.conversation = Some(v1::ConversationKey {
        r#type: v1::ConversationType::System.into(),
        target_id: "system".to_owned(),
    });
    assert_eq!(
        code(messages.send_message(system).await),
        Code::SYS_CONVERSATION_NOT_SUPPORT_MESSAGE
    );
    assert_eq!(daemon.archive.stored(), 0);
}

#[tokio::test]
async fn many_are_taken_at_once_in_order_and_a_refused_one_stops_none_of_them() {
    let daemon = Daemon::start();
    let mut messages = daemon.messages().await;
    let early = v1::SendMessagesRequest {
        messages: vec![text("u-0", "{}")],
    };
    assert_eq!(code(messages.send_messages(early).await), Code::RC_DB_NOT_INIT);
    daemon.archive.open("a");
    let long = vec![b'x'; 131_073];
    let request = v1::SendMessagesRequest {
        messages: vec![
            text("u-1", "{}"),
            text("u-2", long),
            text("u-3", "{}"),
            text("u-1", "{}"),
        ],
    };
    let outcomes = messages
        .send_messages(request)
        .await
        .unwrap()
        .into_inner()
        .outcomes;
    let uids: Vec<_> = outcomes
        .iter()
        .map(|outcome| outcome.message.as_ref().map(|message| message.uid.as_str()))
        .collect();
    assert_eq!(uids, [Some("u-1"), None, Some("u-3"), Some("u-1")]);
    let known: Vec<_> = outcomes.iter().map(|outcome| outcome.already_known).collect();
    assert_eq!(known, [false, false, false, true]);
    assert_eq!(
        (outcomes[1].code, outcomes[1].code_name.as_str()),
        (30016, "RC_MSG_CONTENT_EXCEED_LIMIT")
    );
    assert!(
        outcomes[1].code_text.contains("131073"),
        "{}",
        outcomes[1].code_text
    );
    assert_eq!(daemon.archive.stored(), 2);

    daemon.archive.refuse(SendError::Full {
        messages: 100_000,
        bytes: 7,
    });
    let request = v1::SendMessagesRequest {
        messages: vec![text("u-4", "{}"), text("u-5", "{}")],
    };
    let outcomes = messages
        .send_messages(request)
        .await
        .unwrap()
        .into_inner()
        .outcomes;
    assert_eq!((outcomes[0].code, outcomes[1].code), (33000, 0));
}

#[tokio::test]
async fn no_more_than_256_are_taken_at_once() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    let mut messages = daemon.messages().await;
    let many = |count: usize| v1::SendMessagesRequest {
        messages: (0..count)
            .map(|number| text(&format!("u-{number}"), "{}"))
            .collect(),
    };
    assert_eq!(
        code(messages.send_messages(many(257)).await),
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
    assert_eq!(daemon.archive.stored(), 0);
    messages.send_messages(many(256)).await.unwrap();
    assert_eq!(daemon.archive.stored(), 256);
    messages.send_messages(many(0)).await.unwrap();
}

#[tokio::test]
async fn a_store_that_hangs_is_told_as_a_missed_deadline() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    daemon.archive.hang();
    let mut messages = daemon.messages().await;
    let (mut sender, mut many) = (messages.clone(), messages.clone());
    let request = v1::SendMessagesRequest {
        messages: vec![text("u-1", "{}")],
    };
    let (sent, all_sent, listed) = tokio::join!(
        sender.send_message(text("u", "{}")),
        many.send_messages(request),
        messages.list_outbox(v1::ListOutboxRequest::default())
    );
    assert_eq!(code(sent), Code::IMD_DEADLINE_EXCEEDED);
    assert_eq!(code(all_sent), Code::IMD_DEADLINE_EXCEEDED);
    assert_eq!(code(listed), Code::IMD_DEADLINE_EXCEEDED);
    daemon.assert_serves().await;
}

#[tokio::test]
async fn history_is_read_in_pages_both_ways() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    for _ in 0..120 {
        daemon.archive.receive("bob", b"{}");
    }
    let mut messages = daemon.messages().await;
    let page = |before_message_id, after_message_id, limit| v1::ListMessagesRequest {
        conversation: to("bob"),
        before_message_id,
        after_message_id,
        limit,
    };
    let newest = messages.list_messages(page(0, 0, 0)).await.unwrap().into_inner();
    assert_eq!(ids(&newest.messages), (71..=120).collect::<Vec<_>>());
    assert!(newest.has_more);
    let first = newest.messages.first().unwrap();
    assert_eq!(first.direction(), v1::Direction::Receive);
    assert_eq!(
        (first.sent_status, first.sent_status_name.as_str(), first.read),
        (0, "", false)
    );
    let older = messages
        .list_messages(page(71, 0, 70))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(ids(&older.messages), (1..=70).collect::<Vec<_>>());
    assert!(!older.has_more);
    let newer = messages
        .list_messages(page(0, 100, 10))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(ids(&newer.messages), (101..=110).collect::<Vec<_>>());
    assert!(newer.has_more);
    for wrong in [page(3, 3, 0), page(-1, 0, 0), page(0, 0, 201)] {
        assert_eq!(
            code(messages.list_messages(wrong).await),
            Code::BIZ_ERROR_INVALID_PARAMETER
        );
    }
    assert_eq!(
        code(messages.list_messages(v1::ListMessagesRequest::default()).await),
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
}

#[tokio::test]
async fn a_message_is_found_by_its_uid_its_id_and_its_words() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    daemon.archive.receive("bob", "今天开会".as_bytes());
    daemon.archive.receive("carol", "开会了".as_bytes());
    let mut messages = daemon.messages().await;
    let get = |id| v1::GetMessageRequest { id: Some(id) };
    let by_id = messages
        .get_message(get(Id::MessageId(1)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(by_id.message.unwrap().sender_user_id, "bob");
    let by_uid = messages
        .get_message(get(Id::Uid("theirs".to_owned())))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(by_uid.message.unwrap().message_id, 2);
    for missing in [Id::MessageId(9), Id::Uid("nobody".to_owned())] {
        assert_eq!(
            code(messages.get_message(get(missing)).await),
            Code::RC_DB_DATA_NOT_FOUND
        );
    }
    for nothing in [v1::GetMessageRequest { id: None }, get(Id::Uid(String::new()))] {
        assert_eq!(
            code(messages.get_message(nothing).await),
            Code::BIZ_ERROR_INVALID_PARAMETER
        );
    }
    let retry = v1::RetryMessageRequest {
        uid: "nobody".to_owned(),
    };
    assert_eq!(
        code(messages.retry_message(retry).await),
        Code::RC_DB_DATA_NOT_FOUND
    );

    let search = |query: &str, conversation| v1::SearchMessagesRequest {
        query: query.to_owned(),
        conversation,
        ..v1::SearchMessagesRequest::default()
    };
    let everywhere = messages
        .search_messages(search("开会", None))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(ids(&everywhere.messages), [2, 1]);
    let one = messages
        .search_messages(search("开会", to("bob")))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(ids(&one.messages), [1]);
    for query in ["", &"x".repeat(257)] {
        assert_eq!(
            code(messages.search_messages(search(query, None)).await),
            Code::BIZ_ERROR_INVALID_PARAMETER
        );
    }
}

#[tokio::test]
async fn the_outbox_is_listed_and_messages_are_deleted() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    let mut messages = daemon.messages().await;
    for number in 0..5 {
        messages
            .send_message(text(&number.to_string(), "{}"))
            .await
            .unwrap();
    }
    let page = v1::ListOutboxRequest {
        limit: 2,
        after_message_id: 1,
    };
    let outbox = messages.list_outbox(page).await.unwrap().into_inner();
    assert_eq!(ids(&outbox.messages), [2, 3]);
    assert!(outbox.has_more);
    assert_eq!((outbox.waiting_messages, outbox.waiting_bytes), (5, 7));

    let delete = |message_ids| v1::DeleteMessagesRequest { message_ids };
    let deleted = messages.delete_messages(delete(vec![1, 2, 99])).await.unwrap();
    assert_eq!(deleted.into_inner().deleted, 2);
    assert_eq!(
        code(messages.delete_messages(delete(vec![1; 1001])).await),
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
}

#[tokio::test]
async fn a_refused_message_is_shown_with_its_code_by_name() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    let mut events = daemon.events().await;
    let tail = v1::SubscribeRequest { start: None };
    let mut stream = events.subscribe(tail).await.unwrap().into_inner();
    next(&mut stream).await;
    let mut message = daemon.archive.receive("bob", b"{}");
    message.sent_by_me = true;
    message.sent_status = 20;
    message.code = 22406;
    message.code_text = "0x87".to_owned();
    daemon.archive.log(LogContent::MessageState(message));
    let mut told = Vec::new();
    while told.len() < 2 {
        let Some(v1::subscribe_response::Content::Events(page)) = next(&mut stream).await.content else {
            panic!("no events");
        };
        told.extend(page.events);
    }
    let Some(v1::event::Content::MessageState(failed)) = told.pop().unwrap().content else {
        panic!("no state");
    };
    assert_eq!(
        (failed.sent_status, failed.sent_status_name.as_str()),
        (20, "FAILED")
    );
    assert_eq!((failed.code, failed.code_name.as_str()), (22406, "NOT_IN_GROUP"));
    assert_eq!(failed.code_text, "0x87");
}
