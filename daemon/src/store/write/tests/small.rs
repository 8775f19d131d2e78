//! Groups, cursors, events of the connection, housekeeping.

use super::*;
use crate::store::StoreError;
use crate::store::rows::Gap;
use crate::store::write::housekeeping;

#[tokio::test]
async fn groups_are_remembered_with_what_the_server_said() {
    let place = Place::new().await;
    let store = &place.store;
    store.join_group("g".to_owned()).await.unwrap();
    store.join_group("读书会".to_owned()).await.unwrap();
    store.group_code("g".to_owned(), 22406).await.unwrap();
    store.group_code("unknown".to_owned(), 22406).await.unwrap();
    let after = place.after_a_kill().await;
    let groups = after.store.groups().await.unwrap();
    let names: Vec<_> = groups.iter().map(|g| (g.group_id.as_str(), g.code)).collect();
    assert_eq!(names, [("g", 22406), ("读书会", 0)]);
    assert!(groups.iter().all(|group| group.joined > 0));
    after.store.join_group("g".to_owned()).await.unwrap();
    let joined = after.store.groups().await.unwrap();
    assert_eq!((joined[0].joined, joined[0].code), (groups[0].joined, 0));
    after.store.quit_group("g".to_owned()).await.unwrap();
    assert_eq!(after.store.groups().await.unwrap().len(), 1);
    let illegal = after.store.join_group("a/b".to_owned()).await;
    assert!(matches!(illegal, Err(StoreError::Database(_))), "{illegal:?}");
}

#[tokio::test]
async fn a_cursor_only_moves_forward_and_belongs_to_its_app() {
    let place = Place::new().await;
    let at = async |app: &str| {
        place
            .store
            .cursor(app.to_owned(), "main".to_owned())
            .await
            .unwrap()
    };
    let set = async |app: &str, offset| {
        let set = place.store.set_cursor(app.to_owned(), "main".to_owned(), offset);
        set.await.unwrap();
    };
    assert_eq!(at("org.example.chat").await, None);
    set("org.example.chat", 7).await;
    set("org.example.chat", 5).await;
    set("org.example.other", 2).await;
    assert_eq!(at("org.example.chat").await, Some(7));
    assert_eq!(at("org.example.other").await, Some(2));
}

#[tokio::test]
async fn what_the_connection_has_to_tell_is_logged() {
    let place = Place::new().await;
    let gap = Gap::OtherInstallation {
        installation: "laptop".to_owned(),
    };
    place.store.note_gap(gap.clone()).await.unwrap();
    place.store.offline_sync_completed(false).await.unwrap();
    let wanted = [
        LogContent::Gap(gap),
        LogContent::OfflineSyncCompleted { complete: false },
    ];
    assert_eq!(place.after_a_kill().await.log().await, wanted);
}

#[tokio::test]
async fn old_events_go_from_the_begin_of_the_log_and_leave_no_hole() {
    let place = Place::new().await;
    for uid in ["a", "b", "c", "d", "e"] {
        place.store.receive(arrivals([from("bob", uid)])).await.unwrap();
    }
    place
        .execute("UPDATE events SET time = 0 WHERE event_offset IN (1, 2, 4)")
        .await;
    let more = place.store.write(housekeeping::trim_events).await.unwrap();
    assert!(!more);
    assert_eq!(place.number("SELECT min(event_offset) FROM events").await, 3);
    assert_eq!(place.number("SELECT count(*) FROM events").await, 3);
    // More than a million: as if the first had been so long ago.
    place
        .execute("UPDATE events SET event_offset = 1000004 WHERE event_offset = 5")
        .await;
    place.store.write(housekeeping::trim_events).await.unwrap();
    assert_eq!(
        place.number("SELECT min(event_offset) FROM events").await,
        1_000_004
    );
}

#[tokio::test]
async fn the_last_event_goes_too_and_its_offset_is_not_given_again() {
    let place = Place::new().await;
    place.store.offline_sync_completed(true).await.unwrap();
    place.execute("UPDATE events SET time = 0").await;
    place.store.write(housekeeping::trim_events).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM events").await, 0);
    place.store.offline_sync_completed(true).await.unwrap();
    assert_eq!(place.number("SELECT event_offset FROM events").await, 2);
}

#[tokio::test]
async fn a_message_is_forgotten_when_nobody_can_bring_it_again_but_not_before_it_is_sent() {
    let place = Place::new().await;
    place
        .store
        .receive(arrivals([from("bob", "a"), from("bob", "b")]))
        .await
        .unwrap();
    place.store.enqueue(to(private("bob"), "waits")).await.unwrap();
    let in_13_days = "SELECT count(*) FROM seen WHERE expires > (unixepoch() + 13 * 86400) * 1000";
    assert_eq!(place.number(in_13_days).await, 3);
    place
        .execute("UPDATE seen SET expires = 1 WHERE uid <> 'b'")
        .await;
    while place.store.write(housekeeping::trim_seen).await.unwrap() {}
    let left = "SELECT count(*) FROM seen WHERE uid IN ('b', 'waits')";
    assert_eq!(place.number(left).await, 2);
    assert_eq!(place.number("SELECT count(*) FROM seen").await, 2);
}

#[tokio::test]
async fn housekeeping_runs_by_itself_when_a_database_is_opened() {
    let place = Place::new().await;
    place.store.offline_sync_completed(true).await.unwrap();
    place.execute("UPDATE events SET time = 0").await;
    let after = place.after_a_kill().await;
    let trimmed = async {
        while after.number("SELECT count(*) FROM events").await > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), trimmed)
        .await
        .unwrap();
}
