use super::*;
use crate::store::rows::{DueReceipts, Gap, Stored};

async fn receive(place: &Place, messages: impl IntoIterator<Item = Incoming>) -> Vec<Stored> {
    place.store.receive(arrivals(messages)).await.unwrap()
}

#[tokio::test]
async fn a_message_is_stored_once_however_often_it_comes() {
    let place = Place::new().await;
    let stored = receive(&place, [from("bob", "a"), from("bob", "b"), from("bob", "a")]).await;
    assert_eq!(stored, [Stored::Fresh, Stored::Fresh, Stored::Duplicate]);
    assert_eq!(receive(&place, [from("bob", "a")]).await, [Stored::Duplicate]);
    assert_eq!(
        receive(&place, [from("carol", "a")]).await,
        [Stored::Fresh],
        "another sender's"
    );
    let after = place.after_a_kill().await;
    assert_eq!(receive(&after, [from("bob", "b")]).await, [Stored::Duplicate]);
    let uids: Vec<_> = after
        .messages()
        .await
        .into_iter()
        .map(|m| (m.sender, m.uid))
        .collect();
    let wanted = [("bob", "a"), ("bob", "b"), ("carol", "a")].map(|(s, u)| (s.to_owned(), u.to_owned()));
    assert_eq!(uids, wanted);
    assert_eq!(after.log_in_short().await, ["+a 0", "+b 0", "+a 0"]);
}

#[tokio::test]
async fn what_is_stored_is_what_came() {
    let place = Place::new().await;
    let came = from("王芳", "uid-1");
    receive(&place, [came.clone()]).await;
    let stored = place.message("uid-1").await;
    assert!(stored.received_time > came.sent_time);
    let wanted = Message {
        message_id: stored.message_id,
        conversation: came.conversation,
        uid: came.uid,
        sender: came.sender,
        sent_by_me: false,
        object_name: came.object_name,
        content: came.content,
        flags: 3,
        sent_time: came.sent_time,
        received_time: stored.received_time,
        sent_status: 0,
        code: 0,
        code_text: String::new(),
        no_receiver: false,
        unread: true,
    };
    assert_eq!(stored, wanted);
}

#[tokio::test]
async fn a_deleted_message_does_not_come_back() {
    let place = Place::new().await;
    receive(&place, [from("bob", "a")]).await;
    place.execute("DELETE FROM messages").await;
    assert_eq!(receive(&place, [from("bob", "a")]).await, [Stored::Duplicate]);
    assert_eq!(place.messages().await, []);
    assert_eq!(place.log().await, [LogContent::Deleted { message_id: 1 }]);
}

#[tokio::test]
async fn a_receipt_is_due_for_each_private_message_and_again_when_it_comes_again() {
    let place = Place::new().await;
    receive(
        &place,
        [
            from("bob", "a"),
            from("carol", "b"),
            from("bob", "c"),
            in_group("g", "bob", 1),
        ],
    )
    .await;
    let due = place.store.due_receipts(10).await.unwrap();
    let of = |peer: &str, uids: &[&str]| DueReceipts {
        peer: peer.to_owned(),
        uids: uids.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(due, [of("bob", &["a", "c"]), of("carol", &["b"])]);
    assert_eq!(place.store.due_receipts(1).await.unwrap(), [of("bob", &["a"])]);
    place.store.receipts_sent(due).await.unwrap();
    assert_eq!(place.store.due_receipts(10).await.unwrap(), []);

    let mut changed = place.store.outbox_changed();
    changed.mark_unchanged();
    receive(&place, [from("bob", "a")]).await;
    assert!(changed.has_changed().unwrap());
    assert_eq!(place.store.due_receipts(10).await.unwrap(), [of("bob", &["a"])]);
}

#[tokio::test]
async fn only_counted_messages_of_others_are_unread() {
    let place = Place::new().await;
    let saved = Incoming {
        flags: 1,
        ..from("bob", "saved")
    };
    receive(
        &place,
        [from("bob", "counted"), saved, from("bob", "counted too")],
    )
    .await;
    receive(&place, [in_group("g", ME, 1)]).await;
    let all = place.messages().await;
    let unread: Vec<_> = all.iter().filter(|m| m.unread).map(|m| m.uid.as_str()).collect();
    assert_eq!(unread, ["counted", "counted too"]);
    let of_bob = "SELECT unread FROM conversations WHERE target_id = 'bob'";
    assert_eq!(place.number(of_bob).await, 2);
    assert_eq!(place.number("SELECT sum(unread) FROM conversations").await, 2);
}

#[tokio::test]
async fn a_message_puts_its_conversation_on_the_list_with_itself_as_the_last() {
    let place = Place::new().await;
    receive(&place, [from("bob", "a"), from("carol", "b")]).await;
    place
        .execute("UPDATE conversations SET listed = 0, sort_time = 0")
        .await;
    receive(&place, [from("bob", "c")]).await;
    let last = "SELECT last_message FROM conversations WHERE listed = 1 AND sort_time > 0";
    assert_eq!(place.number(last).await, 3);
    assert_eq!(place.number("SELECT count(*) FROM conversations").await, 2);
    assert_eq!(place.number("SELECT count(*) FROM search_queue").await, 3);
}

#[tokio::test]
async fn the_tip_moves_with_every_commit_that_logs() {
    let place = Place::new().await;
    let mut tip = place.store.tip();
    assert_eq!(
        (tip.borrow().epoch.as_str(), tip.borrow().newest),
        (place.opened.epoch.as_str(), 0)
    );
    receive(&place, [from("bob", "a"), from("bob", "b")]).await;
    assert_eq!(tip.borrow_and_update().newest, 2, "before the answer");
    receive(&place, [from("bob", "a")]).await;
    place.store.due(0, 10).await.unwrap();
    assert!(!tip.has_changed().unwrap(), "nothing was logged");
    place.store.offline_sync_completed(true).await.unwrap();
    assert_eq!(tip.borrow_and_update().newest, 3);
    let bob = AccountKey {
        user_id: "bob".to_owned(),
        ..alice()
    };
    let opened = place.store.open_account(bob).await.unwrap();
    assert_eq!(tip.borrow_and_update().epoch, opened.epoch);
    assert_eq!(tip.borrow().newest, 0);
}

#[tokio::test]
async fn the_log_s_newest_entries_come_with_the_tip_to_those_who_follow_it() {
    let place = Place::new().await;
    receive(&place, [from("bob", "a")]).await;
    let tip = place.store.tip();
    assert!(tip.borrow().latest.entries.is_empty(), "nobody followed it");
    receive(&place, [from("bob", "b")]).await;
    receive(&place, [from("bob", "c")]).await;
    let latest = tip.borrow().latest.clone();
    let read = place.store.log_page(1, 10, usize::MAX).await.unwrap().entries;
    let told: Vec<_> = latest
        .entries
        .iter()
        .map(|entry| entry.as_ref().clone())
        .collect();
    assert_eq!((latest.after, told), (1, read));

    let many: Vec<_> = (0..40)
        .map(|number| from("bob", &format!("many {number}")))
        .collect();
    receive(&place, many).await;
    assert_eq!(tip.borrow().newest, 43);
    assert!(tip.borrow().latest.entries.is_empty(), "too many for the tip");
    for number in 0..40 {
        receive(&place, [from("bob", &format!("one {number}"))]).await;
    }
    let latest = tip.borrow().latest.clone();
    assert_eq!((latest.after, latest.entries.first().unwrap().offset), (67, 68));
    assert_eq!((tip.borrow().newest, latest.entries.len()), (83, 16));
    let large = Incoming {
        content: vec![b'x'; 100_000],
        ..from("bob", "large")
    };
    receive(&place, [large]).await;
    assert!(tip.borrow().latest.entries.is_empty(), "too long for the tip");
    receive(&place, [from("bob", "after it")]).await;
    let latest = tip.borrow().latest.clone();
    assert_eq!((latest.after, latest.entries.len()), (84, 1));
}

#[tokio::test]
async fn a_hole_in_a_sender_s_numbers_is_told_once() {
    let place = Place::new().await;
    let numbers =
        |numbers: &[u64]| -> Vec<_> { numbers.iter().map(|seq| in_group("g", "bob", *seq)).collect() };
    // The first is no hole; 9 and 10 are missing; 9 comes late; 11 comes twice.
    receive(&place, numbers(&[7, 8, 11, 9, 11, 12])).await;
    let gaps: Vec<_> = place
        .log()
        .await
        .into_iter()
        .filter(|content| matches!(content, LogContent::Gap(_)))
        .collect();
    let hole = Gap::GroupSequence {
        group: "g".to_owned(),
        sender: "bob".to_owned(),
        missing: 2,
    };
    assert_eq!(gaps, [LogContent::Gap(hole)]);
    let log = place.log_in_short().await;
    assert!(
        log[2].starts_with("GroupSequence") && log[3] == "+g-bob-11 0",
        "{log:?}"
    );
}

#[tokio::test]
async fn another_installation_another_group_and_another_sender_count_for_themselves() {
    let place = Place::new().await;
    let moved = Incoming {
        origin: "bob's new machine".to_owned(),
        uid: "moved".to_owned(),
        ..in_group("g", "bob", 90)
    };
    let plain = in_group("g", "bob", 0);
    let private = Incoming {
        seq: 50,
        ..from("bob", "p")
    };
    receive(
        &place,
        [
            in_group("g", "bob", 1),
            in_group("h", "bob", 5),
            in_group("g", "carol", 40),
            moved,
            plain,
            private,
            in_group("g", "bob", 2),
        ],
    )
    .await;
    assert_eq!(
        place.number("SELECT count(*) FROM events WHERE kind = 3").await,
        0
    );
    // A number nobody can reach by sending is no reason to stop.
    receive(&place, [in_group("g", "bob", u64::MAX), in_group("g", "bob", 3)]).await;
    assert_eq!(
        place.number("SELECT count(*) FROM events WHERE kind = 3").await,
        1
    );
}

#[tokio::test]
async fn who_comes_back_to_a_group_has_missed_nothing() {
    let place = Place::new().await;
    place.store.join_group("g".to_owned()).await.unwrap();
    receive(&place, [in_group("g", "bob", 1)]).await;
    place.store.quit_group("g".to_owned()).await.unwrap();
    place.store.join_group("g".to_owned()).await.unwrap();
    receive(&place, [in_group("g", "bob", 30)]).await;
    assert_eq!(
        place.number("SELECT count(*) FROM events WHERE kind = 3").await,
        0
    );
}

#[tokio::test]
async fn the_echo_of_our_own_group_message_is_no_second_message() {
    let place = Place::new().await;
    let sent = to(group("g"), "mine");
    place.store.enqueue(sent.clone()).await.unwrap();
    assert_eq!(receive(&place, [echo(sent)]).await, [Stored::Duplicate]);
    assert_eq!(place.message("mine").await.sent_status, 10);
    assert_eq!(place.log_in_short().await, ["+mine 10"]);
}

#[tokio::test]
async fn what_another_device_of_ours_sent_is_stored_as_sent_by_us() {
    let place = Place::new().await;
    let other = Incoming {
        origin: "our laptop".to_owned(),
        ..in_group("g", ME, 7)
    };
    assert_eq!(receive(&place, [other]).await, [Stored::Fresh]);
    let stored = place.message("g-alice-7").await;
    assert!(stored.sent_by_me && !stored.unread && stored.sent_status == 30);
    assert_eq!(place.due().await, [""; 0]);
}

#[tokio::test]
async fn a_note_to_self_is_received_when_it_comes_back() {
    let place = Place::new().await;
    let note = to(private(ME), "note");
    place.store.enqueue(note.clone()).await.unwrap();
    assert_eq!(receive(&place, [echo(note.clone())]).await, [Stored::Duplicate]);
    assert_eq!(place.message("note").await.sent_status, 40);
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 0);
    receive(&place, [echo(note)]).await;
    assert_eq!(place.log_in_short().await, ["+note 10", "note 40"]);
}

#[tokio::test]
async fn a_payload_that_cannot_be_read_is_kept_and_told() {
    let place = Place::new().await;
    let unreadable = Arrival::Unreadable {
        topic: "im/chat/u/alice/bob".to_owned(),
        reason: "no envelope".to_owned(),
        payload: vec![0xff; 9],
    };
    let mixed = vec![unreadable, Arrival::Message(from("bob", "a"))];
    let stored = place.store.receive(mixed).await.unwrap();
    assert_eq!(stored, [Stored::Fresh, Stored::Fresh]);
    let told = LogContent::Unreadable {
        topic: "im/chat/u/alice/bob".to_owned(),
        reason: "no envelope".to_owned(),
        bytes: 9,
    };
    assert_eq!(place.log().await[0], told);
    assert_eq!(
        place.number("SELECT sum(length(payload)) FROM unreadable").await,
        9
    );
}

#[tokio::test]
async fn unreadable_payloads_have_bounds_and_those_dropped_are_counted() {
    let place = Place::new().await;
    let of = |length: usize| Arrival::Unreadable {
        topic: String::new(),
        reason: String::new(),
        payload: vec![0; length],
    };
    place.store.receive(vec![of(1); 1005]).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM unreadable").await, 1000);
    assert_eq!(place.number("SELECT min(unreadable_id) FROM unreadable").await, 6);
    place.store.receive(vec![of(9 << 20), of(9 << 20)]).await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM unreadable").await, 1);
    let dropped = "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'unreadable_dropped'";
    assert_eq!(place.number(dropped).await, 1006);
}

#[tokio::test]
async fn an_answer_nobody_waits_for_changes_nothing() {
    let place = Place::new().await;
    let store = place.store.clone();
    let cut = tokio::spawn(async move { store.receive(arrivals([from("bob", "a")])).await });
    tokio::task::yield_now().await;
    cut.abort();
    // The link is cut between commit and PUBACK: the server brings it again.
    receive(&place, [from("bob", "a")]).await;
    place.message("a").await;
    assert_eq!(place.log_in_short().await, ["+a 0"]);
}
