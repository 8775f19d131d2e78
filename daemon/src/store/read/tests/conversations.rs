use super::super::conversations::{ConversationToken, conversation, conversations, unread_count};
use super::super::row::MAX_PAGE_BYTES;
use super::super::{ConversationChange, change};
use super::fixture::{Fixture, group, private};

fn targets(fixture: &Fixture, limit: usize) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut token: Option<ConversationToken> = None;
    loop {
        let page = conversations(&fixture.connection, token, limit).unwrap();
        let names = page.conversations.iter();
        pages.push(
            names
                .map(|conversation| conversation.key.target.clone())
                .collect(),
        );
        // Through its text, as clients hand it back.
        token = page.next.map(|token| token.to_string().parse().unwrap());
        if token.is_none() {
            return pages;
        }
    }
}

fn change_of(fixture: &mut Fixture, target: &str, change: &ConversationChange) {
    fixture.write(|transaction| change::update_conversation(transaction, &private(target), change, 1));
}

fn pin(fixture: &mut Fixture, target: &str) {
    let change = ConversationChange {
        pinned: Some(true),
        ..ConversationChange::default()
    };
    change_of(fixture, target, &change);
}

fn mute(fixture: &mut Fixture, target: &str) {
    let change = ConversationChange {
        muted: Some(true),
        ..ConversationChange::default()
    };
    change_of(fixture, target, &change);
}

#[test]
fn pinned_conversations_come_first_and_then_the_newest() {
    let mut fixture = Fixture::new();
    for (time, target) in (1..).zip(["a", "b", "c", "d", "e"]) {
        fixture.receive(&private(target), "hello", time);
    }
    fixture.receive(&private("b"), "again", 9);
    pin(&mut fixture, "a");
    pin(&mut fixture, "d");
    assert_eq!(targets(&fixture, 50), [["d", "a", "b", "e", "c"]]);
}

#[test]
fn the_pages_of_the_list_make_the_whole_of_it_also_among_equal_times() {
    let mut fixture = Fixture::new();
    for target in ["a", "b", "c", "d", "e", "f"] {
        fixture.receive(&private(target), "hello", 1);
    }
    pin(&mut fixture, "c");
    pin(&mut fixture, "a");
    assert_eq!(targets(&fixture, 2), [["c", "a"], ["f", "e"], ["d", "b"]]);
    assert_eq!(targets(&fixture, 4), [vec!["c", "a", "f", "e"], vec!["d", "b"]]);
    assert_eq!(targets(&fixture, 1).len(), 6);
}

#[test]
fn an_empty_list_is_one_empty_page() {
    assert_eq!(targets(&Fixture::new(), 50), [[""; 0]]);
}

#[test]
fn a_page_with_large_last_messages_ends_early_and_goes_on() {
    let fixture = Fixture::new();
    let large = vec![0; 128 * 1024];
    let fits = MAX_PAGE_BYTES / large.len();
    for number in 0..fits + 3 {
        fixture.insert(&private(&number.to_string()), "app:file", &large, 1, true);
    }
    let pages: Vec<usize> = targets(&fixture, 200).iter().map(Vec::len).collect();
    assert_eq!(pages, [fits, 3]);
}

#[test]
fn a_token_that_is_none_of_ours_is_refused() {
    for text in [
        "",
        "1",
        "1.2",
        "1.2.3.4",
        "2.1.1",
        "-1.1.1",
        "a.b.c",
        "1..3",
        "1.2.99999999999999999999",
    ] {
        assert!(text.parse::<ConversationToken>().is_err(), "{text:?}");
    }
}

#[test]
fn a_conversation_shows_its_last_message_and_what_is_unread() {
    let fixture = Fixture::new();
    fixture.receive(&group("team"), "one", 1);
    let last = fixture.receive(&group("team"), "two", 2);
    let found = conversation(&fixture.connection, &group("team"))
        .unwrap()
        .unwrap();
    assert_eq!((found.unread, found.update_time), (2, 2));
    let shown = found.last_message.unwrap();
    assert_eq!((shown.message_id, shown.conversation), (last, group("team")));
    assert_eq!(conversation(&fixture.connection, &private("team")).unwrap(), None);
}

#[test]
fn unread_totals_are_counted_with_and_without_muted_conversations() {
    let mut fixture = Fixture::new();
    for (target, count) in [("a", 1), ("b", 2), ("c", 4)] {
        for time in 0..count {
            fixture.receive(&private(target), "hello", time);
        }
    }
    mute(&mut fixture, "b");
    assert_eq!(unread_count(&fixture.connection, true).unwrap(), 7);
    assert_eq!(unread_count(&fixture.connection, false).unwrap(), 5);
    assert_eq!(unread_count(&Fixture::new().connection, true).unwrap(), 0);
}
