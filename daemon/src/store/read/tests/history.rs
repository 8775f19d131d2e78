use super::super::history::{history, message_by_uid};
use super::super::row::MAX_PAGE_BYTES;
use super::fixture::{Fixture, group, private};
use crate::store::message_row;
use crate::store::rows::Page;

fn ids(page: &Page) -> Vec<i64> {
    page.messages.iter().map(|message| message.message_id).collect()
}

/// Twelve messages in turn from two people: those of bob have the odd ids.
fn two_conversations() -> Fixture {
    let fixture = Fixture::new();
    for time in 1..=12 {
        let key = private(if time % 2 == 1 { "bob" } else { "carol" });
        assert_eq!(fixture.receive(&key, "hello", time), time);
    }
    fixture
}

#[test]
fn the_newest_page_ends_with_the_newest_message_and_older_ones_follow_before_it() {
    let fixture = two_conversations();
    let page = |before| history(&fixture.connection, &private("bob"), before, None, 4).unwrap();
    let newest = page(None);
    assert_eq!((ids(&newest), newest.has_more), (vec![5, 7, 9, 11], true));
    let older = page(Some(5));
    assert_eq!((ids(&older), older.has_more), (vec![1, 3], false));
    assert_eq!(page(Some(1)), Page::default());
}

#[test]
fn a_page_after_a_message_goes_to_newer_ones() {
    let fixture = two_conversations();
    let page = |after| history(&fixture.connection, &private("bob"), None, Some(after), 4).unwrap();
    let first = page(0);
    assert_eq!((ids(&first), first.has_more), (vec![1, 3, 5, 7], true));
    let second = page(7);
    assert_eq!((ids(&second), second.has_more), (vec![9, 11], false));
    assert_eq!(page(11), Page::default());
}

#[test]
fn has_more_is_exact_when_the_page_is_just_full() {
    let fixture = two_conversations();
    for (before, after) in [(None, None), (None, Some(0))] {
        let full = history(&fixture.connection, &private("bob"), before, after, 6).unwrap();
        assert_eq!((full.messages.len(), full.has_more), (6, false));
        let less = history(&fixture.connection, &private("bob"), before, after, 5).unwrap();
        assert_eq!((less.messages.len(), less.has_more), (5, true));
    }
}

#[test]
fn a_page_holds_at_least_one_and_at_most_two_hundred_messages() {
    let fixture = Fixture::new();
    for time in 1..=201 {
        fixture.receive(&private("bob"), "hello", time);
    }
    for (limit, length) in [(0, 1), (1, 1), (200, 200), (100_000, 200)] {
        let page = history(&fixture.connection, &private("bob"), None, None, limit).unwrap();
        assert_eq!((page.messages.len(), page.has_more), (length, true));
    }
}

#[test]
fn a_page_of_large_messages_ends_early_and_says_so() {
    let fixture = Fixture::new();
    let large = vec![0; 128 * 1024];
    let many = MAX_PAGE_BYTES / large.len() + 1;
    for time in 1..=many as i64 {
        fixture.insert(&private("bob"), "app:file", &large, time, true);
    }
    let page = history(&fixture.connection, &private("bob"), None, None, 50).unwrap();
    assert_eq!((page.messages.len(), page.has_more), (many - 1, true));
    assert_eq!(
        page.messages.last().map(|message| message.message_id),
        Some(many as i64)
    );
}

#[test]
fn a_person_and_a_group_of_one_name_are_two_conversations() {
    let fixture = Fixture::new();
    let of_person = fixture.receive(&private("x"), "a", 1);
    let of_group = fixture.receive(&group("x"), "b", 2);
    let page = |key| ids(&history(&fixture.connection, &key, None, None, 50).unwrap());
    assert_eq!(page(private("x")), [of_person]);
    assert_eq!(page(group("x")), [of_group]);
    assert_eq!(page(private("nobody")), [0; 0]);
}

#[test]
fn a_message_is_found_by_its_id_and_by_its_uid() {
    let fixture = Fixture::new();
    let message_id = fixture.receive(&group("team"), "hello", 7);
    let found = message_row::by_id(&fixture.connection, message_id)
        .unwrap()
        .unwrap();
    assert_eq!(found.conversation, group("team"));
    assert_eq!((found.uid.as_str(), found.sent_time), ("uid-7", 7));
    assert_eq!(found.content, br#"{"content":"hello"}"#);
    assert!(found.unread && !found.sent_by_me && !found.no_receiver);
    assert_eq!(message_by_uid(&fixture.connection, "uid-7").unwrap(), Some(found));
    assert_eq!(message_by_uid(&fixture.connection, "uid-8").unwrap(), None);
    assert_eq!(
        message_row::by_id(&fixture.connection, message_id + 1).unwrap(),
        None
    );
}

#[test]
fn of_two_senders_with_one_uid_the_newest_message_is_found() {
    let fixture = Fixture::new();
    fixture.receive(&private("bob"), "old", 7);
    let newest = fixture.receive(&private("carol"), "young", 7);
    let found = message_by_uid(&fixture.connection, "uid-7").unwrap().unwrap();
    assert_eq!(found.message_id, newest);
}
