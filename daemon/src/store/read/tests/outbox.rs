use super::super::outbox::outbox;
use super::fixture::{Fixture, private};
use crate::store::rows::OutboxSize;

fn ids(fixture: &Fixture, after: Option<i64>, limit: usize) -> (Vec<i64>, bool) {
    let (page, _) = outbox(&fixture.connection, after, limit).unwrap();
    let ids = page.messages.iter().map(|message| message.message_id);
    (ids.collect(), page.has_more)
}

fn three_waiting() -> (Fixture, [i64; 3]) {
    let fixture = Fixture::new();
    let sent = [1, 2, 3].map(|time| fixture.send(&private("bob"), "hello", time));
    (fixture, sent)
}

#[test]
fn the_outbox_is_listed_in_the_order_of_sending() {
    let (fixture, [first, second, third]) = three_waiting();
    assert_eq!(ids(&fixture, None, 2), (vec![first, second], true));
    assert_eq!(ids(&fixture, Some(second), 2), (vec![third], false));
    assert_eq!(ids(&fixture, Some(third), 2), (vec![], false));
    fixture
        .connection
        .execute("UPDATE outbox SET position = 50 WHERE message_id = ?1", [first])
        .unwrap();
    assert_eq!(
        ids(&fixture, None, 9),
        (vec![second, third, first], false),
        "a retry goes to the end"
    );
    assert_eq!(ids(&fixture, Some(third), 9), (vec![first], false));
}

#[test]
fn a_page_after_a_message_that_has_left_goes_on_with_those_accepted_after_it() {
    let (fixture, [first, second, third]) = three_waiting();
    fixture
        .connection
        .execute("DELETE FROM outbox WHERE message_id IN (?1, ?2)", [first, second])
        .unwrap();
    assert_eq!(ids(&fixture, Some(first), 9), (vec![third], false));
    assert_eq!(ids(&fixture, Some(99), 9), (vec![], false));
}

#[test]
fn the_size_of_the_outbox_counts_what_waits_to_be_sent() {
    let (fixture, [first, ..]) = three_waiting();
    fixture
        .connection
        .execute("UPDATE outbox SET state = 30 WHERE message_id = ?1", [first])
        .unwrap();
    let bytes = 2 * r#"{"content":"hello"}"#.len() as u64;
    let (page, size) = outbox(&fixture.connection, None, 50).unwrap();
    assert_eq!(
        (page.messages.len(), size),
        (3, OutboxSize { messages: 2, bytes })
    );
}
