//! Groups, system messages, offline sends, reading with the network down, a database that cannot be used.

use std::fs;

use imd_client::{ConversationKey, PageOptions, SearchOptions, SentStatus};
use imd_proto::code::Code;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::proxy::Proxy;
use imd_tests::rpc::connect_request;
use imd_tests::wait::{SOON, eventually, when};

use super::stage::Side;

#[test]
fn a_group_message_comes_to_its_members_and_the_group_is_remembered() {
    let broker = Mosquitto::start();
    let alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    alice.client().join_group("team").unwrap();
    bob.client().join_group("team").unwrap();
    let team = ConversationKey::group("team");
    let mut expected = Vec::new();
    for round in 0..2 {
        let content = imd_client::Content::text(format!("round {round}"));
        let sending = alice.client().send_message(&team, content);
        expected.push(sending.sent().unwrap().uid);
        eventually(SOON, "the group's message", || {
            when(bob.journal.received() == expected, bob.journal.lines())
        });
        bob.kill_daemon();
        bob.daemon.await_status("CONNECTED");
    }
    let conversation = bob.client().conversation(&team).unwrap();
    assert_eq!(conversation.unread_count, 2);
    assert_eq!(bob.journal.told(), Vec::<String>::new());
}

#[test]
fn a_system_message_in_json_comes_and_an_unreadable_payload_is_kept_aside() {
    let broker = Mosquitto::start();
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    let system = broker.token("system");
    let notice = |payload| {
        broker
            .publish("system", &system, "im/demo/s/bob", payload)
            .expect_code(0);
    };
    notice(r#"{"uid":"notice-1","content":"the office is closed"}"#);
    eventually(SOON, "the notice", || {
        when(bob.journal.received() == ["notice-1"], bob.journal.lines())
    });
    let alice = broker.token("alice");
    broker
        .publish("alice", &alice, "im/demo/u/bob/alice", "no envelope")
        .expect_code(0);
    notice(r#"{"uid":"notice-2","content":"it is open again"}"#);
    eventually(SOON, "the second notice", || {
        when(
            bob.journal.received() == ["notice-1", "notice-2"],
            bob.journal.lines(),
        )
    });
    let told = bob.journal.told();
    assert!(
        told.len() == 1 && told[0].starts_with("unreadable im/demo/u/bob/alice"),
        "{told:?}"
    );
}

#[test]
fn what_is_sent_offline_goes_out_in_order_when_the_server_is_back() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.address());
    let mut alice = Side::connected(&proxy.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    proxy.refuse();
    proxy.cut();
    alice.await_refused();
    alice.start_sender("bob", 40);
    let accepted = alice.await_sent(SOON);
    let first = alice.client().get_message(&accepted[0]).unwrap();
    assert_eq!(first.sent_status, Some(SentStatus::Sending));
    alice.kill_daemon();
    proxy.accept();
    bob.journal.assert_receives(&accepted, SOON);
    eventually(SOON, "the receipts", || {
        let last = alice.client().get_message(&accepted[39]).unwrap();
        when(last.sent_status == Some(SentStatus::Received), last.sent_status)
    });
}

#[test]
fn a_database_that_cannot_be_used_is_told_as_33002_and_stays_as_it_is() {
    let broker = Mosquitto::start();
    let mut alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    alice.client().send_text("bob", "hello").accepted().unwrap();
    alice.daemon.terminate();
    let [database] = alice.databases().try_into().unwrap();
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    connection.close().unwrap();
    let before = fs::read(&database).unwrap();

    alice.daemon.start();
    let request = connect_request("alice", &broker.token("alice"));
    let callbacks = alice.daemon.rpc().connect(None, request).unwrap();
    assert_eq!(callbacks.database_opened, Some(33002));
    let refused = callbacks.end.unwrap_err();
    assert_eq!(refused.code, Code(33002));
    assert!(refused.text.contains("of version 99"), "{}", refused.text);
    assert!(
        refused.text.contains(&*database.to_string_lossy()),
        "{}",
        refused.text
    );
    assert!(fs::read(&database).unwrap() == before, "it was touched");
}

#[test]
fn history_conversations_and_search_work_with_the_network_down() {
    let broker = Mosquitto::start();
    let proxy = Proxy::start(broker.address());
    let alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&proxy.url(), "bob", &broker.token("bob"));
    let texts = ["明天下午三点开会", "The meeting is at three", "bring the plans"];
    for text in texts {
        alice.client().send_text("bob", text).received().unwrap();
    }
    proxy.refuse();
    proxy.cut();
    bob.kill_daemon();
    bob.await_refused();
    let app = bob.client();
    for (query, found) in [("开会", texts[0]), ("meeting", texts[1]), ("plans", texts[2])] {
        let page = app.search_messages(query, SearchOptions::new()).unwrap();
        let seen: Vec<_> = page
            .messages
            .iter()
            .filter_map(imd_client::Message::text)
            .collect();
        assert_eq!(seen, [found], "{query}");
    }
    let key = ConversationKey::private("alice");
    let page = app.list_messages(&key, PageOptions::newest()).unwrap();
    assert_eq!(page.messages.len(), 3);
    let list = app.conversations(10, None).unwrap();
    assert_eq!(list.conversations.len(), 1);
    assert_eq!(list.conversations[0].unread_count, 3);
    assert_eq!(app.mark_read(&key, None).unwrap(), 0);
}
