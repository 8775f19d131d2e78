//! How SQLite goes about the queries: what walks through a whole table, or sorts, is slow once there are a
//! million rows.

use super::super::{conversations, history, log, outbox, search};
use super::fixture::Fixture;
use crate::store::write::message;

fn plan(query: &str) -> Vec<String> {
    let fixture = Fixture::new();
    let mut statement = fixture
        .connection
        .prepare(&format!("EXPLAIN QUERY PLAN {query}"))
        .unwrap();
    let mut rows = statement.raw_query();
    let mut plan = Vec::new();
    while let Some(row) = rows.next().unwrap() {
        plan.push(row.get(3).unwrap());
    }
    plan
}

/// The query begins with this walk, looks everything else up, and sorts nothing.
#[track_caller]
fn assert_walks(query: &str, walk: &str) {
    let plan = plan(query);
    let mut steps = plan.iter();
    assert_eq!(steps.next().map(String::as_str), Some(walk), "{plan:?}");
    let looked_up = |step: &String| step.starts_with("SEARCH ") || step.contains(" SUBQUERY ");
    assert!(steps.all(looked_up), "{plan:?}");
}

#[test]
fn a_page_of_history_is_one_walk_along_its_index() {
    for query in [history::OLDER, history::NEWER] {
        assert_walks(
            query,
            "SEARCH m USING INDEX messages_page (conversation_id=? AND message_id>? AND message_id<?)",
        );
    }
}

#[test]
fn a_message_is_looked_up() {
    assert_walks(history::BY_UID, "SEARCH m USING INDEX messages_uid (uid=?)");
    assert_walks(message::RECEIVED_BY, "SEARCH m USING INDEX messages_uid (uid=?)");
}

#[test]
fn the_conversation_list_is_one_walk_along_its_index() {
    assert_walks(
        conversations::LIST,
        "SEARCH c USING INDEX conversations_order (listed=? AND (pinned,sort_time)<(?,?))",
    );
    assert_walks(
        conversations::BY_KEY,
        "SEARCH c USING INDEX sqlite_autoindex_conversations_1 (kind=? AND target_id=?)",
    );
}

#[test]
fn the_log_and_the_outbox_are_walked_from_where_the_page_begins() {
    assert_walks(log::PAGE, "SEARCH e USING INTEGER PRIMARY KEY (rowid>?)");
    assert_walks(outbox::LIST, "SEARCH o USING INTEGER PRIMARY KEY (rowid>?)");
}

#[test]
fn a_search_walks_along_the_matches() {
    assert_walks(search::SEARCH, "SCAN search VIRTUAL TABLE INDEX 192:M2<");
}
