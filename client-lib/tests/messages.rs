//! Sending a message, and what becomes of it.

#![cfg(test)]

mod fake;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};

use fake::archive::{private, text};
use fake::{FakeDaemon, wait};
use imd_client::{
    Client, Code, Content, ConversationChange, ConversationKey, ConversationType, Direction, PageOptions,
    SearchOptions, Sent, SentStatus,
};

fn client(daemon: &FakeDaemon) -> Client {
    Client::builder("demo").socket(daemon.socket()).build().unwrap()
}

/// Whether it has not come so far.
fn is_pending(future: impl Future) -> bool {
    pin!(future)
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}

#[test]
fn a_message_is_accepted_then_sent_then_received() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let sending = client.send_text("bob", "开会");
    let accepted = wait(sending.accepted()).unwrap();
    assert_eq!(accepted.uid, sending.uid());
    assert_eq!(accepted.text().as_deref(), Some("开会"));
    assert_eq!(accepted.conversation, ConversationKey::private("bob"));
    assert_eq!(accepted.direction, Direction::Send);
    assert_eq!(accepted.sent_status, Some(SentStatus::Sending));
    assert!(is_pending(sending.sent()));

    daemon.script.archive.settle(sending.uid(), 30, 0);
    assert_eq!(wait(sending.sent()).unwrap().sent_status, Some(SentStatus::Sent));
    assert!(is_pending(sending.received()));
    daemon.script.archive.settle(sending.uid(), 40, 0);
    let received = wait(sending.received()).unwrap();
    assert_eq!(received.sent_status, Some(SentStatus::Received));
    assert!(wait(sending.sent()).is_ok(), "what is received was sent");
}

#[test]
fn a_message_that_fails_says_why_and_was_accepted_all_the_same() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let sending = client.send_message(&ConversationKey::group("team"), Content::new("app:Poll", b"?"));
    wait(sending.accepted()).unwrap();
    daemon.script.archive.settle(sending.uid(), 20, 22_406);
    for outcome in [wait(sending.sent()), wait(sending.received())] {
        let error = outcome.unwrap_err();
        assert_eq!(error.to_string(), "NOT_IN_GROUP (22406): as the test says");
        assert_eq!(error.sent(), Sent::Yes);
    }
    assert!(wait(sending.accepted()).is_ok());

    let retried = client.blocking().retry_message(sending.uid()).unwrap();
    assert_eq!(retried.sent_status, Some(SentStatus::Sending));
}

#[test]
fn what_changed_before_the_log_was_followed_is_not_missed() {
    let daemon = FakeDaemon::start();
    daemon.script.archive.open("");
    let client = client(&daemon);
    // No account is open: the log waits for one, and the messages are refused.
    let refused = wait(client.send_text("bob", "early").accepted()).unwrap_err();
    assert_eq!(
        (refused.code(), refused.sent()),
        (Code::RC_DB_NOT_INIT, Sent::Yes)
    );
    daemon.script.wait_for_subscribed(1);

    let known = text("known", private("bob"), "alice", "again");
    daemon.script.archive.store(known);
    daemon.script.archive.set("known", 10, 0, false);
    daemon.script.archive.open("second");
    let sending = client.send_message(
        &ConversationKey::private("bob"),
        Content::text("again").uid("known"),
    );
    assert_eq!(wait(sending.accepted()).unwrap().uid, "known");
    // It changes unseen, as if the log were not followed, which then begins again.
    daemon.script.archive.set("known", 40, 0, false);
    daemon.script.archive.open("third");
    assert!(wait(sending.received()).is_ok());
}

#[test]
fn a_message_of_an_account_that_is_open_no_longer_is_not_waited_for() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let sending = client.send_text("bob", "hello");
    wait(sending.accepted()).unwrap();
    daemon.script.wait_for_call("GetMessage");
    daemon.script.archive.forget(sending.uid());
    daemon.script.archive.open("another");
    let error = wait(sending.sent()).unwrap_err();
    assert_eq!(error.code(), Code::RC_DB_DATA_NOT_FOUND);
}

#[test]
fn a_message_deleted_before_it_was_sent_is_not_waited_for() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let sending = client.send_text("bob", "hello");
    let id = wait(sending.accepted()).unwrap().id;
    assert_eq!(client.blocking().delete_messages([id]).unwrap(), 1);
    assert_eq!(
        wait(sending.sent()).unwrap_err().code(),
        Code::RC_DB_DATA_NOT_FOUND
    );
}

#[test]
fn only_private_messages_are_confirmed_by_their_receivers() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let sending = client.send_message(&ConversationKey::group("team"), Content::text("hello"));
    wait(sending.accepted()).unwrap();
    assert!(is_pending(sending.received()));
    daemon.script.archive.settle(sending.uid(), 30, 0);
    let error = wait(sending.received()).unwrap_err();
    assert_eq!(error.code(), Code::BIZ_ERROR_INVALID_PARAMETER);
    assert!(wait(sending.sent()).is_ok());
}

#[test]
fn messages_of_a_conversation_reach_the_daemon_in_the_order_of_the_calls() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let bob = ConversationKey::private("bob");
    let sendings: Vec<_> = (0..300_usize)
        .map(|at| {
            let size = if at % 37 == 0 { Content::MAX_BYTES } else { at * 40 };
            client.send_message(&bob, Content::new("app:Bytes", vec![b'x'; size]))
        })
        .collect();
    for sending in &sendings {
        wait(sending.accepted()).unwrap();
    }
    let uids: Vec<_> = sendings.iter().map(|sending| sending.uid().to_owned()).collect();
    assert!(*daemon.script.archive.sends.lock().unwrap() == uids);
    assert!(uids.is_sorted(), "a UUIDv7 tells the order too");
}

#[test]
fn what_waits_for_an_answer_goes_together_with_the_next_request() {
    let daemon = FakeDaemon::start();
    daemon.script.silence("SendMessages");
    let client = client(&daemon);
    let first = client.send_text("bob", "hello");
    daemon.script.wait_for_call("SendMessages");
    let rest: Vec<_> = (0..50)
        .map(|at| client.send_text(format!("user {at}"), "hello"))
        .collect();
    assert!(rest.iter().all(|sending| is_pending(sending.accepted())));
    daemon.script.behave();
    // The daemon is there and does not answer: that concerns the request it has, and no other.
    let error = wait(first.accepted()).unwrap_err();
    assert_eq!(error.code(), Code::IMD_DEADLINE_EXCEEDED);
    for sending in &rest {
        wait(sending.accepted()).unwrap();
    }
    let calls = daemon.script.calls.borrow().clone();
    assert_eq!(calls.iter().filter(|call| *call == "SendMessages").count(), 2);
}

#[test]
fn a_request_holds_no_more_than_a_daemon_takes_at_once() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let bob = ConversationKey::private("bob");
    let large = |_| client.send_message(&bob, Content::new("app:Bytes", vec![0; Content::MAX_BYTES]));
    let sendings: Vec<_> = (0..20).map(large).collect();
    for sending in &sendings {
        wait(sending.accepted()).unwrap();
    }
    let uids: Vec<_> = sendings.iter().map(|sending| sending.uid().to_owned()).collect();
    assert!(*daemon.script.archive.sends.lock().unwrap() == uids);
}

#[test]
fn one_that_is_too_large_for_a_request_goes_alone() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let bob = ConversationKey::private("bob");
    let uids = ["a".to_owned(), "b".repeat(600 * 1024), "c".to_owned()];
    let sendings = uids.map(|uid| client.send_message(&bob, Content::text("hello").uid(uid)));
    for sending in &sendings {
        wait(sending.accepted()).unwrap();
    }
    let calls = daemon.script.calls.borrow().clone();
    assert!(calls.iter().filter(|call| *call == "SendMessages").count() >= 3);
}

#[test]
fn one_that_is_refused_does_not_stop_those_that_go_with_it() {
    let daemon = FakeDaemon::start();
    the_second_of_three_is_refused(&daemon);
}

#[test]
fn a_daemon_that_takes_one_at_a_time_gets_one_at_a_time() {
    let daemon = FakeDaemon::start();
    daemon.script.refuse("SendMessages", Code::IMD_VERSION_SKEW);
    the_second_of_three_is_refused(&daemon);
    let calls = daemon.script.calls.borrow().clone();
    assert_eq!(calls.iter().filter(|call| *call == "SendMessage").count(), 3);
}

fn the_second_of_three_is_refused(daemon: &FakeDaemon) {
    let client = client(daemon);
    let bob = ConversationKey::private("bob");
    let names = ["app:Poll", "refused", "app:Poll"];
    let sendings = names.map(|name| client.send_message(&bob, Content::new(name, b"?")));
    wait(sendings[0].accepted()).unwrap();
    let error = wait(sendings[1].accepted()).unwrap_err();
    assert_eq!(
        (error.code(), error.sent(), error.text()),
        (Code::PROTOCOL_MESSAGE_SAVED_ERROR, Sent::Yes, "outbox full")
    );
    wait(sendings[2].accepted()).unwrap();
}

#[test]
fn a_content_that_is_too_long_never_leaves_the_process() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let content = Content::new("app:Bytes", vec![0; Content::MAX_BYTES + 1]);
    let sending = client.send_message(&ConversationKey::private("bob"), content);
    let error = wait(sending.accepted()).unwrap_err();
    assert_eq!(error.code(), Code::RC_MSG_CONTENT_EXCEED_LIMIT);
    assert_eq!(error.sent(), Sent::No);
    assert!(daemon.script.archive.sends.lock().unwrap().is_empty());
}

#[test]
fn more_messages_than_may_wait_are_refused_and_the_others_go_on() {
    let daemon = FakeDaemon::start();
    daemon.script.silence("SendMessages");
    let client = client(&daemon);
    let sendings: Vec<_> = (0..2000).map(|_| client.send_text("bob", "hello")).collect();
    let error = wait(sendings.last().unwrap().accepted()).unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::IMD_TOO_MANY, Sent::No));
    assert!(
        client.blocking().version().is_ok(),
        "other calls have room of their own"
    );
    let error = wait(sendings[0].accepted()).unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::IMD_DEADLINE_EXCEEDED, Sent::Unknown)
    );
}

#[test]
fn a_dropped_sending_cancels_nothing() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    drop(client.send_text("bob", "one"));
    wait(client.send_text("bob", "two").accepted()).unwrap();
    assert_eq!(daemon.script.archive.sends.lock().unwrap().len(), 2);
}

#[test]
fn a_log_that_cannot_be_followed_does_not_keep_a_message_from_being_accepted() {
    let daemon = FakeDaemon::start();
    daemon.script.refuse("Subscribe", Code::IMD_VERSION_SKEW);
    let client = client(&daemon);
    let sending = client.send_text("bob", "hello");
    assert_eq!(wait(sending.sent()).unwrap_err().code(), Code::IMD_VERSION_SKEW);
    assert!(wait(sending.accepted()).is_ok());
}

#[test]
fn history_is_read_by_page_in_both_directions() {
    let daemon = FakeDaemon::start();
    for at in 0..5 {
        daemon
            .script
            .archive
            .store(text(&at.to_string(), private("bob"), "bob", "hello"));
    }
    daemon
        .script
        .archive
        .store(text("x", private("carol"), "carol", "bye"));
    let client = client(&daemon).blocking();
    let bob = ConversationKey::private("bob");
    let ids = |page| {
        let page = client.list_messages(&bob, page).unwrap();
        let ids: Vec<_> = page.messages.iter().map(|message| message.id).collect();
        (ids, page.has_more)
    };
    assert_eq!(ids(PageOptions::newest().limit(2)), (vec![4, 5], true));
    assert_eq!(ids(PageOptions::before(4).limit(2)), (vec![2, 3], true));
    assert_eq!(ids(PageOptions::before(2)), (vec![1], false));
    assert_eq!(ids(PageOptions::after(2).limit(2)), (vec![3, 4], true));

    let found = client.search_messages("bye", SearchOptions::new()).unwrap();
    assert_eq!(found.messages[0].conversation.target_id, "carol");
    let found = client
        .search_messages("bye", SearchOptions::new().conversation(bob))
        .unwrap();
    assert!(found.messages.is_empty() && !found.has_more);
    assert_eq!(client.get_message("x").unwrap().id, 6);
    assert_eq!(client.get_message_by_id(6).unwrap().uid, "x");
    let error = client.get_message("y").unwrap_err();
    assert_eq!(error.code(), Code::RC_DB_DATA_NOT_FOUND);
}

#[test]
fn a_page_of_the_longest_messages_fits_in_an_answer() {
    let daemon = FakeDaemon::start();
    let content = vec![b'x'; Content::MAX_BYTES];
    for at in 0..200 {
        daemon.script.archive.store(imd_proto::imd::v1::Message {
            content: content.clone().into(),
            ..text(&at.to_string(), private("bob"), "bob", "")
        });
    }
    let client = client(&daemon).blocking();
    let page = PageOptions::newest().limit(200);
    let page = client
        .list_messages(&ConversationKey::private("bob"), page)
        .unwrap();
    assert_eq!(page.messages.len(), 200);
}

#[test]
fn conversations_are_listed_changed_and_deleted() {
    let daemon = FakeDaemon::start();
    let conversation = |user_id: &str, unread_count, muted| imd_proto::imd::v1::Conversation {
        key: Some(private(user_id)),
        unread_count,
        last_message: Some(text("x", private(user_id), user_id, "hello")),
        muted,
        ..imd_proto::imd::v1::Conversation::default()
    };
    *daemon.script.archive.conversations.lock().unwrap() =
        vec![conversation("bob", 2, false), conversation("carol", 3, true)];
    let client = client(&daemon).blocking();
    let first = client.conversations(1, None).unwrap();
    assert_eq!(first.conversations[0].key, ConversationKey::private("bob"));
    let last = first.conversations[0].last_message.as_ref().unwrap();
    assert_eq!(last.text().as_deref(), Some("hello"));
    let second = client.conversations(1, first.next).unwrap();
    assert!(second.conversations[0].is_muted && second.next.is_none());
    assert_eq!(client.unread_count(false).unwrap(), 2);
    assert_eq!(client.unread_count(true).unwrap(), 5);

    let bob = ConversationKey::private("bob");
    assert_eq!(client.conversation(&bob).unwrap().unread_count, 2);
    assert_eq!(client.mark_read(&bob, Some(1)).unwrap(), 2);
    assert_eq!(client.mark_read(&bob, None).unwrap(), 0);
    let change = ConversationChange::new().draft("so").pinned(true);
    assert_eq!(client.update_conversation(&bob, change).unwrap().draft, "so");
    {
        let changes = daemon.script.archive.changes.lock().unwrap();
        assert_eq!(
            (changes[0].pinned, changes[0].muted),
            (Some(true), None),
            "only what is named"
        );
    }
    client.delete_conversation(&bob, true).unwrap();
    assert_eq!(
        client.conversation(&bob).unwrap_err().code(),
        Code::RC_DB_DATA_NOT_FOUND
    );
}

#[test]
fn groups_are_joined_listed_and_quit() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon).blocking();
    client.join_group("team").unwrap();
    daemon.script.archive.groups.lock().unwrap()[0].code = 22_406;
    let groups = client.groups().unwrap();
    assert_eq!(groups[0].group_id, "team");
    assert_eq!(groups[0].code, Some(Code::NOT_IN_GROUP));
    client.quit_group("team").unwrap();
    assert!(client.groups().unwrap().is_empty());
}

#[test]
fn the_outbox_says_how_much_waits() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon).blocking();
    for text in ["one", "two"] {
        client.send_text("bob", text).accepted().unwrap();
    }
    let outbox = client.list_outbox(1, None).unwrap();
    assert_eq!((outbox.messages.len(), outbox.has_more), (1, true));
    assert_eq!(outbox.waiting_messages, 2);
    let rest = client.list_outbox(0, Some(outbox.messages[0].id)).unwrap();
    assert_eq!(rest.messages[0].text().as_deref(), Some("two"));
    assert_eq!(rest.messages[0].conversation.kind, ConversationType::Private);
}
