use super::super::change::{
    delete_messages, delete_some, mark_read, remove_conversation, update_conversation,
};
use super::super::conversations::{conversation, conversations, unread_count};
use super::super::history::history;
use super::super::search::{index_some, search};
use super::super::{ConversationChange, log};
use super::fixture::{Fixture, private};
use crate::store::rows::{Conversation, LogContent};

const BOB: &str = "bob";

fn bob(fixture: &Fixture) -> Option<Conversation> {
    conversation(&fixture.connection, &private(BOB)).unwrap()
}

fn update(fixture: &mut Fixture, change: &ConversationChange) -> Conversation {
    fixture.write(|transaction| update_conversation(transaction, &private(BOB), change, 100))
}

fn draft(text: &str) -> ConversationChange {
    ConversationChange {
        draft: Some(text.to_owned()),
        ..ConversationChange::default()
    }
}

/// Five messages of bob, all indexed.
fn five_messages() -> Fixture {
    let mut fixture = Fixture::new();
    for time in 1..=5 {
        assert_eq!(fixture.receive(&private(BOB), "明天开会吗", time), time);
    }
    fixture.write(|transaction| index_some(transaction, 100));
    fixture
}

fn remove_with_messages(fixture: &mut Fixture) -> usize {
    let doomed = fixture.write(|transaction| remove_conversation(transaction, &private(BOB)));
    let doomed = doomed.unwrap();
    let mut steps = 1;
    while fixture.write(|transaction| delete_some(transaction, doomed, 2)) {
        steps += 1;
    }
    steps
}

#[test]
fn a_change_sets_what_is_named_and_leaves_the_rest() {
    let mut fixture = five_messages();
    update(&mut fixture, &draft("half a sentence"));
    let pinned = ConversationChange {
        pinned: Some(true),
        muted: Some(true),
        ..ConversationChange::default()
    };
    let found = update(&mut fixture, &pinned);
    assert_eq!(
        (found.draft.as_str(), found.pinned, found.muted),
        ("half a sentence", true, true)
    );
    let found = update(&mut fixture, &draft(""));
    assert_eq!(
        (found.draft.as_str(), found.pinned, found.muted),
        ("", true, true)
    );
    assert_eq!(
        (found.update_time, found.unread),
        (5, 5),
        "its place and its count stay"
    );
    assert_eq!(bob(&fixture), Some(found));
}

#[test]
fn a_draft_brings_a_conversation_on_the_list_and_muting_alone_does_not() {
    let mut fixture = Fixture::new();
    let mute = ConversationChange {
        muted: Some(true),
        ..ConversationChange::default()
    };
    assert!(update(&mut fixture, &mute).muted);
    assert_eq!(bob(&fixture), None);
    let found = update(&mut fixture, &draft("hello"));
    assert_eq!(
        (found.muted, found.update_time, &found.last_message),
        (true, 100, &None)
    );
    assert_eq!(bob(&fixture), Some(found));
}

#[test]
fn messages_are_read_up_to_one_or_all() {
    let mut fixture = five_messages();
    fixture.receive(&private("carol"), "hello", 6);
    let mut mark = |up_to| fixture.write(|transaction| mark_read(transaction, &private(BOB), up_to));
    assert_eq!(mark(Some(3)), 2);
    assert_eq!(mark(Some(1)), 2, "nothing becomes unread again");
    assert_eq!(bob(&fixture).unwrap().unread, 2);
    let page = history(&fixture.connection, &private(BOB), None, None, 50).unwrap();
    let unread: Vec<bool> = page.messages.iter().map(|message| message.unread).collect();
    assert_eq!(unread, [false, false, false, true, true]);
    assert_eq!(
        fixture.write(|transaction| mark_read(transaction, &private(BOB), None)),
        0
    );
    assert_eq!(unread_count(&fixture.connection, true).unwrap(), 1, "carol's");
    assert_eq!(
        fixture.write(|transaction| mark_read(transaction, &private("nobody"), None)),
        0
    );
}

#[test]
fn deleting_messages_recounts_the_conversation() {
    let mut fixture = five_messages();
    let deleted = fixture.write(|transaction| delete_messages(transaction, &[5, 2, 77, 5]));
    assert_eq!(deleted, 2);
    let found = bob(&fixture).unwrap();
    assert_eq!((found.unread, found.update_time), (3, 4));
    assert_eq!(found.last_message.unwrap().message_id, 4);
    fixture.write(|transaction| delete_messages(transaction, &[1, 3, 4]));
    let found = bob(&fixture).unwrap();
    assert_eq!(
        (found.unread, found.update_time, found.last_message),
        (0, 4, None)
    );
}

#[test]
fn a_deleted_message_is_found_no_more_and_not_sent_but_stays_seen() {
    let mut fixture = five_messages();
    let waiting = fixture.send(&private(BOB), "天气", 6);
    fixture
        .connection
        .execute(
            "INSERT INTO seen (sender, uid, expires) VALUES ('me', 'uid-6', 9)",
            [],
        )
        .unwrap();
    let offset = fixture.log(1, waiting, "10");
    fixture.write(|transaction| delete_messages(transaction, &[waiting, 3]));
    assert_eq!(fixture.count("outbox"), 0);
    assert_eq!(fixture.count("search_queue"), 0);
    assert_eq!(fixture.count("seen"), 1);
    let found = search(&fixture.connection, "开会", None, None, 50).unwrap();
    assert_eq!(
        found.messages.iter().map(|m| m.message_id).collect::<Vec<_>>(),
        [5, 4, 2, 1]
    );
    assert_eq!(fixture.count("search WHERE search MATCH '开会'"), 4);
    let told = log::log_page(&fixture.connection, offset - 1, 10, 1000).unwrap();
    assert_eq!(
        told.entries[0].content,
        LogContent::Deleted { message_id: waiting }
    );
}

#[test]
fn a_removed_conversation_is_off_the_list_and_its_messages_are_read_and_stay() {
    let mut fixture = five_messages();
    update(&mut fixture, &draft("half"));
    fixture.write(|transaction| remove_conversation(transaction, &private(BOB)));
    assert_eq!(bob(&fixture), None);
    assert_eq!(
        conversations(&fixture.connection, None, 50)
            .unwrap()
            .conversations,
        []
    );
    assert_eq!(unread_count(&fixture.connection, true).unwrap(), 0);
    assert_eq!(
        history(&fixture.connection, &private(BOB), None, None, 50)
            .unwrap()
            .messages
            .len(),
        5
    );
    fixture.receive(&private(BOB), "hello again", 6);
    let found = bob(&fixture).unwrap();
    assert_eq!((found.unread, found.draft.as_str()), (1, ""));
}

#[test]
fn a_conversation_removed_with_its_messages_goes_in_small_steps() {
    let mut fixture = five_messages();
    assert_eq!(remove_with_messages(&mut fixture), 3);
    assert_eq!(fixture.count("messages"), 0);
    assert_eq!(
        search(&fixture.connection, "开会", None, None, 50)
            .unwrap()
            .messages,
        []
    );
    assert_eq!(
        fixture.count("conversations WHERE last_message = 0"),
        1,
        "the row keeps what it counts"
    );
}

#[test]
fn what_comes_while_a_conversation_is_removed_stays() {
    let mut fixture = five_messages();
    let doomed = fixture.write(|transaction| remove_conversation(transaction, &private(BOB)));
    let doomed = doomed.unwrap();
    assert!(fixture.write(|transaction| delete_some(transaction, doomed, 4)));
    let young = fixture.receive(&private(BOB), "hello again", 6);
    assert!(!fixture.write(|transaction| delete_some(transaction, doomed, 4)));
    let page = history(&fixture.connection, &private(BOB), None, None, 50).unwrap();
    assert_eq!(
        page.messages.iter().map(|m| m.message_id).collect::<Vec<_>>(),
        [young]
    );
    assert_eq!(bob(&fixture).unwrap().unread, 1);
}

#[test]
fn removing_what_is_not_there_does_nothing() {
    let mut fixture = Fixture::new();
    let doomed = fixture.write(|transaction| remove_conversation(transaction, &private("nobody")));
    assert_eq!(doomed, None);
}
