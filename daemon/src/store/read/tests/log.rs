use super::super::log::log_page;
use super::fixture::{Fixture, private};
use crate::store::rows::{Gap, LogContent};

const PLENTY: usize = 1_000_000;

#[test]
fn an_empty_log_has_given_out_nothing() {
    let page = log_page(&Fixture::new().connection, 0, 10, PLENTY).unwrap();
    assert_eq!((page.entries, page.oldest, page.newest), (vec![], 1, 0));
}

#[test]
fn a_page_has_the_entries_after_the_offset_in_their_order() {
    let fixture = Fixture::new();
    for time in 1..=5 {
        let message_id = fixture.receive(&private("bob"), "hello", time);
        fixture.log(1, message_id, "0");
    }
    let offsets = |after, most| {
        let page = log_page(&fixture.connection, after, most, PLENTY).unwrap();
        page.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>()
    };
    assert_eq!(offsets(0, 10), [1, 2, 3, 4, 5]);
    assert_eq!(offsets(2, 2), [3, 4]);
    assert_eq!(offsets(5, 10), [0; 0]);
    assert_eq!(offsets(u64::MAX, 10), [0; 0]);
}

#[test]
fn a_page_ends_before_it_grows_too_large_but_holds_one_entry_at_least() {
    let fixture = Fixture::new();
    for time in 1..=4 {
        let message_id = fixture.insert(&private("bob"), "app:file", &[0; 1000], time, true);
        fixture.log(1, message_id, "0");
    }
    let length = |bytes| log_page(&fixture.connection, 0, 10, bytes).unwrap().entries.len();
    assert_eq!(
        [length(0), length(2999), length(3999), length(PLENTY)],
        [1, 2, 3, 4]
    );
}

#[test]
fn what_has_been_cut_off_the_log_shows_in_its_oldest_offset() {
    let fixture = Fixture::new();
    for _ in 0..5 {
        fixture.log(4, 0, r#"{"complete":true}"#);
    }
    fixture
        .connection
        .execute("DELETE FROM events WHERE event_offset <= 3", [])
        .unwrap();
    let page = log_page(&fixture.connection, 0, 10, PLENTY).unwrap();
    assert_eq!((page.entries.len(), page.oldest, page.newest), (2, 4, 5));
    fixture.connection.execute("DELETE FROM events", []).unwrap();
    let page = log_page(&fixture.connection, 0, 10, PLENTY).unwrap();
    assert_eq!((page.entries.len(), page.oldest, page.newest), (0, 6, 5));
}

#[test]
fn a_reader_that_is_behind_sees_each_state_of_a_message() {
    let fixture = Fixture::new();
    let message_id = fixture.send(&private("bob"), "hello", 1);
    for (kind, state) in [(1, "10"), (2, "20"), (2, "10"), (2, "30")] {
        fixture.log(kind, message_id, state);
    }
    fixture
        .connection
        .execute(
            "UPDATE messages SET sent_status = 20, code = 30016, code_text = 'too large' WHERE message_id = ?1",
            [message_id],
        )
        .unwrap();
    let page = log_page(&fixture.connection, 0, 10, PLENTY).unwrap();
    let states: Vec<(bool, i32, i32)> = page
        .entries
        .into_iter()
        .map(|entry| match entry.content {
            LogContent::Message(message) => (true, message.sent_status, message.code),
            LogContent::MessageState(message) => (false, message.sent_status, message.code),
            other @ (LogContent::Gap(_)
            | LogContent::OfflineSyncCompleted { .. }
            | LogContent::Unreadable { .. }
            | LogContent::Deleted { .. }) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        states,
        [(true, 10, 0), (false, 20, 30016), (false, 10, 0), (false, 30, 0)]
    );
}

#[test]
fn what_is_not_about_a_message_carries_its_own_detail() {
    let fixture = Fixture::new();
    fixture.log(
        3,
        0,
        r#"{"kind":"group_sequence","group":"team","sender":"bob","missing":3}"#,
    );
    fixture.log(3, 0, r#"{"kind":"session_lost"}"#);
    fixture.log(4, 0, r#"{"complete":false}"#);
    fixture.log(
        5,
        0,
        r#"{"topic":"im/k/u/a/b","reason":"no envelope","bytes":12}"#,
    );
    let page = log_page(&fixture.connection, 0, 10, PLENTY).unwrap();
    let contents: Vec<_> = page.entries.into_iter().map(|entry| entry.content).collect();
    assert_eq!(
        contents,
        [
            LogContent::Gap(Gap::GroupSequence {
                group: "team".to_owned(),
                sender: "bob".to_owned(),
                missing: 3
            }),
            LogContent::Gap(Gap::SessionLost),
            LogContent::OfflineSyncCompleted { complete: false },
            LogContent::Unreadable {
                topic: "im/k/u/a/b".to_owned(),
                reason: "no envelope".to_owned(),
                bytes: 12
            },
        ]
    );
}
