use super::*;
use crate::store::rows::{Published, SendError, Stored};

const TAKEN: Published = Published::Taken { no_receiver: false };
const HOUR: i64 = 60 * 60 * 1000;

async fn enqueue(place: &Place, outgoing: Outgoing) -> (Message, bool) {
    place.store.enqueue(outgoing).await.unwrap()
}

async fn published(place: &Place, uid: &str, answer: Published) {
    let position = place.due_entry(uid).await.position;
    place.store.published(vec![(position, answer)]).await.unwrap();
}

async fn receipt(place: &Place, peer: &str, uid: &str) -> Stored {
    let arrival = Arrival::Receipt {
        peer: peer.to_owned(),
        uids: vec!["unknown".to_owned(), uid.to_owned()],
    };
    place.store.receive(vec![arrival]).await.unwrap()[0]
}

#[tokio::test]
async fn what_is_accepted_survives_a_kill_and_is_sent_in_its_order() {
    let place = Place::new().await;
    for uid in ["a", "b", "c"] {
        let (message, known) = enqueue(&place, to(private("bob"), uid)).await;
        assert!(!known && message.message_id > 0 && message.sent_status == 10);
        assert_eq!(message, place.message(uid).await);
    }
    let after = place.after_a_kill().await;
    assert_eq!(after.due().await, ["a", "b", "c"]);
    let first = after.due_entry("a").await;
    let rest = after.store.due(first.position, 1).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!((rest[0].uid.as_str(), rest[0].seq), ("b", 2));
    assert!(after.store.outbox_changed().borrow().gt(&0), "told at the open");
}

#[tokio::test]
async fn the_same_uid_is_the_same_message_across_a_kill_and_a_deletion() {
    let place = Place::new().await;
    let (first, _) = enqueue(&place, to(private("bob"), "a")).await;
    let after = place.after_a_kill().await;
    let (again, known) = enqueue(&after, to(private("bob"), "a")).await;
    assert!(known);
    assert_eq!(again, first);
    published(&after, "a", TAKEN).await;
    let (again, known) = enqueue(&after, to(private("bob"), "a")).await;
    assert!(known && again.sent_status == 30);
    assert_eq!(after.due().await, [""; 0]);
    after.execute("DELETE FROM messages").await;
    let (gone, known) = enqueue(&after, to(private("bob"), "a")).await;
    assert!(known && gone.message_id == 0);
    assert_eq!(after.number("SELECT count(*) FROM messages").await, 0);
}

#[tokio::test]
async fn many_are_accepted_in_their_order_and_each_is_known_by_its_uid() {
    let place = Place::new().await;
    enqueue(&place, to(private("bob"), "b")).await;
    let all = ["a", "b", "c", "a"].map(|uid| to(private("bob"), uid));
    let enqueued = place.store.enqueue_all(all.to_vec()).await.unwrap();
    let known: Vec<_> = enqueued
        .iter()
        .map(|enqueued| {
            enqueued
                .as_ref()
                .map(|(message, known)| (message.uid.as_str(), *known))
        })
        .collect();
    assert_eq!(
        known,
        [
            Ok(("a", false)),
            Ok(("b", true)),
            Ok(("c", false)),
            Ok(("a", true))
        ]
    );
    assert_eq!(place.after_a_kill().await.due().await, ["b", "a", "c"]);
}

#[tokio::test]
async fn the_number_counts_in_each_conversation_and_stays_on_a_retry() {
    let place = Place::new().await;
    for (conversation, uid) in [(private("bob"), "a"), (group("g"), "b"), (private("bob"), "c")] {
        enqueue(&place, to(conversation, uid)).await;
    }
    let seq = |due: Vec<Due>| due.into_iter().map(|due| (due.uid, due.seq)).collect::<Vec<_>>();
    let wanted =
        |all: &[(&str, u64)]| -> Vec<_> { all.iter().map(|(uid, seq)| ((*uid).to_owned(), *seq)).collect() };
    let due = place.store.due(0, 10).await.unwrap();
    assert_eq!(seq(due), wanted(&[("a", 1), ("b", 1), ("c", 2)]));

    let refused = Published::Refused {
        code: 22406,
        text: "not authorized".to_owned(),
    };
    published(&place, "a", refused).await;
    let failed = place.message("a").await;
    assert_eq!((failed.sent_status, failed.code), (20, 22406));
    assert_eq!(failed.code_text, "not authorized");
    assert_eq!(place.due().await, ["b", "c"], "the others go on");

    let retried = place.store.retry("a".to_owned()).await.unwrap().unwrap();
    assert_eq!((retried.sent_status, retried.code), (10, 0));
    let due = place.store.due(0, 10).await.unwrap();
    assert_eq!(seq(due), wanted(&[("b", 1), ("c", 2), ("a", 1)]));
    // Only a FAILED one enters again.
    assert_eq!(place.store.retry("a".to_owned()).await.unwrap(), Some(retried));
    assert_eq!(place.store.retry("unknown".to_owned()).await.unwrap(), None);
    assert_eq!(place.due().await, ["b", "c", "a"]);
    assert_eq!(place.log_in_short().await[3..], ["a 20", "a 10"]);
}

#[tokio::test]
async fn a_group_message_leaves_the_outbox_when_it_is_sent_and_a_private_one_when_it_is_received() {
    let place = Place::new().await;
    enqueue(&place, to(group("g"), "g1")).await;
    enqueue(&place, to(private("bob"), "p1")).await;
    let lonely = Published::Taken { no_receiver: true };
    published(&place, "g1", lonely).await;
    published(&place, "p1", TAKEN).await;
    assert_eq!(place.due().await, [""; 0]);
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 1);
    assert!(place.message("g1").await.no_receiver);
    assert!(!place.message("p1").await.no_receiver);

    assert_eq!(receipt(&place, "mallory", "p1").await, Stored::Duplicate);
    assert_eq!(place.message("p1").await.sent_status, 30);
    assert_eq!(receipt(&place, "bob", "p1").await, Stored::Fresh);
    assert_eq!(receipt(&place, "bob", "p1").await, Stored::Duplicate);
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 0);
    let log = place.log_in_short().await;
    assert_eq!(log, ["+g1 10", "+p1 10", "g1 30", "p1 30", "p1 40"]);
}

#[tokio::test]
async fn a_receipt_that_is_faster_than_the_server_s_answer_counts() {
    let place = Place::new().await;
    enqueue(&place, to(private("bob"), "a")).await;
    let position = place.due_entry("a").await.position;
    receipt(&place, "bob", "a").await;
    assert_eq!(place.due().await, [""; 0]);
    place.store.published(vec![(position, TAKEN)]).await.unwrap();
    assert_eq!(place.message("a").await.sent_status, 40);
    assert_eq!(place.log_in_short().await, ["+a 10", "a 40"]);
}

#[tokio::test]
async fn an_unconfirmed_message_is_published_again_after_one_hour_two_four_until_it_expires() {
    let place = Place::new().await;
    enqueue(&place, to(private("bob"), "a")).await;
    let position = place.due_entry("a").await.position;
    published(&place, "a", TAKEN).await;
    let taken = place.number("SELECT taken FROM outbox").await;
    let again = async |at: i64| -> usize {
        place
            .store
            .due_again(taken + at, 10, 168 * HOUR, 0)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(again(HOUR - 1).await, 0);
    assert_eq!(again(HOUR).await, 1);
    assert_eq!(again(HOUR).await, 0, "not twice in one round");
    place.store.published(vec![(position, TAKEN)]).await.unwrap();
    place
        .execute("UPDATE outbox SET last_try = taken + 3600000")
        .await;
    assert_eq!(again(3 * HOUR - 1).await, 0);
    assert_eq!(again(3 * HOUR).await, 1);
    // That this try is refused does not take back that the server has had it.
    let refused = Published::Refused {
        code: 30015,
        text: String::new(),
    };
    place.store.published(vec![(position, refused)]).await.unwrap();
    assert_eq!(place.message("a").await.sent_status, 30);
    assert_eq!(again(168 * HOUR).await, 0);
    assert_eq!(place.number("SELECT count(*) FROM outbox").await, 0);
    assert_eq!(place.message("a").await.sent_status, 30);
    // A receipt that comes after that is still good.
    receipt(&place, "bob", "a").await;
    assert_eq!(place.log_in_short().await, ["+a 10", "a 30", "a 40"]);
}

#[tokio::test]
async fn a_server_that_lost_what_it_had_is_sent_it_again_at_once_and_once_a_round() {
    let place = Place::new().await;
    enqueue(&place, to(private("bob"), "a")).await;
    published(&place, "a", TAKEN).await;
    let taken = place.number("SELECT taken FROM outbox").await;
    let login = taken + 1;
    let again = async |at: i64, forgotten_before: i64| {
        place
            .store
            .due_again(at, 10, 168 * HOUR, forgotten_before)
            .await
            .unwrap()
            .len()
    };
    assert_eq!(again(login, 0).await, 0);
    assert_eq!(again(login, login).await, 1);
    assert_eq!(again(login, login).await, 0, "not twice in one round");
    assert_eq!(again(login + 5, login).await, 0, "nor later in this session");
}

#[tokio::test]
async fn a_server_that_forgets_again_and_again_does_not_make_the_waits_longer() {
    let place = Place::new().await;
    enqueue(&place, to(private("bob"), "a")).await;
    let position = place.due_entry("a").await.position;
    published(&place, "a", TAKEN).await;
    let last_try = async || place.number("SELECT last_try FROM outbox").await;
    for _ in 0..10 {
        let login = last_try().await + 1;
        let again = place.store.due_again(login, 10, 168 * HOUR, login);
        assert_eq!(again.await.unwrap().len(), 1);
        place.store.published(vec![(position, TAKEN)]).await.unwrap();
    }
    let last_try = last_try().await;
    let again = async |at: i64| place.store.due_again(last_try + at, 10, 168 * HOUR, 0).await;
    assert_eq!(again(HOUR - 1).await.unwrap().len(), 0);
    assert_eq!(again(HOUR).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_outbox_refuses_and_says_how_full_it_is() {
    let place = Place::new().await;
    enqueue(&place, to(private("bob"), "a")).await;
    place.execute("UPDATE outbox_size SET messages = 100000").await;
    let refused = place.store.enqueue(to(private("bob"), "b")).await;
    let full = SendError::Full {
        messages: 100_000,
        bytes: 1,
    };
    assert_eq!(refused, Err(full));
    let (_, known) = enqueue(&place, to(private("bob"), "a")).await;
    assert!(known, "what is in it is known");
    place
        .execute("UPDATE outbox_size SET messages = 1, bytes = 1024 * 1024 * 1024")
        .await;
    assert!(place.store.enqueue(to(private("bob"), "b")).await.is_err());
    place.execute("UPDATE outbox_size SET bytes = 1").await;
    let (_, known) = enqueue(&place, to(private("bob"), "b")).await;
    assert!(!known, "what was refused was never there");
}

#[tokio::test]
async fn the_size_of_the_outbox_is_that_of_what_waits() {
    let place = Place::new().await;
    let size = async || {
        let counted = place
            .number("SELECT count(*) * 1000 + sum(bytes) FROM outbox WHERE state = 10")
            .await;
        let kept = place
            .number("SELECT messages * 1000 + bytes FROM outbox_size")
            .await;
        assert_eq!(kept, counted);
        kept
    };
    for uid in ["aa", "bbb", "cccc", "ddddd"] {
        enqueue(&place, to(private("bob"), uid)).await;
    }
    assert_eq!(size().await, 4014);
    let refused = Published::Refused {
        code: 1,
        text: String::new(),
    };
    published(&place, "aa", refused).await;
    published(&place, "bbb", TAKEN).await;
    assert_eq!(size().await, 2009);
    place.store.retry("aa".to_owned()).await.unwrap();
    assert_eq!(size().await, 3011);
    place.execute("DELETE FROM messages WHERE uid = 'cccc'").await;
    assert_eq!(size().await, 2007);
}

#[tokio::test]
async fn without_an_account_nothing_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let paths = StorePaths {
        data_dir: dir.path().to_owned(),
        session_file: dir.path().join("session.json"),
    };
    let (store, _) = Store::start(paths, true, WEEK).unwrap();
    let refused = store.enqueue(to(private("bob"), "a")).await;
    assert_eq!(refused, Err(SendError::NoAccount));
    store.stop().await;
    let refused = store.enqueue(to(private("bob"), "a")).await;
    assert!(matches!(refused, Err(SendError::Store(_))), "{refused:?}");
}
