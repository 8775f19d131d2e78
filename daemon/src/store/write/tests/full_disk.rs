//! A full disk, which SQLite can be told to see.

use super::*;
use crate::store::StoreError;
use crate::store::rows::{SendError, Stored};

const FULL: &str = "PRAGMA max_page_count = 1";
const ROOM: &str = "PRAGMA max_page_count = 1000000";

fn large(uid: &str) -> Incoming {
    Incoming {
        content: vec![b'x'; 100_000],
        ..from("bob", uid)
    }
}

/// A receive of its own task, which is in the store when this returns.
async fn receiving(
    place: &Place,
    messages: Vec<Incoming>,
) -> tokio::task::JoinHandle<Result<Vec<Stored>, StoreError>> {
    let store = place.store.clone();
    let receiving = tokio::spawn(async move { store.receive(arrivals(messages)).await });
    tokio::task::yield_now().await;
    place.store.ping().await.unwrap();
    receiving
}

#[tokio::test]
async fn what_comes_in_waits_for_room_in_its_order_and_all_else_goes_on() {
    let place = Place::new().await;
    place
        .store
        .receive(arrivals([from("bob", "before")]))
        .await
        .unwrap();
    place.execute(FULL).await;
    let first = receiving(&place, vec![from("bob", "small"), large("a")]).await;
    let second = receiving(&place, vec![from("bob", "b")]).await;
    assert!(!first.is_finished() && !second.is_finished());
    let told = place.store.full_disk().borrow().clone().unwrap();
    assert!(
        told.contains("account.db") && told.contains("make room"),
        "{told}"
    );

    let large_one = Outgoing {
        content: vec![b'x'; 100_000],
        ..to(private("bob"), "out")
    };
    let refused = place.store.enqueue(large_one.clone()).await;
    assert!(matches!(refused, Err(SendError::Storage(_))), "{refused:?}");
    assert_eq!(place.log_in_short().await, ["+before 0"], "reads are served");
    assert_eq!(place.due().await, [""; 0]);
    // What is said twice is not acknowledged either.
    assert_eq!(place.after_a_kill().await.log_in_short().await, ["+before 0"]);

    place.execute(ROOM).await;
    assert_eq!(first.await.unwrap().unwrap(), [Stored::Fresh, Stored::Fresh]);
    assert_eq!(second.await.unwrap().unwrap(), [Stored::Fresh]);
    place.store.ping().await.unwrap();
    assert_eq!(*place.store.full_disk().borrow(), None);
    let log = place.log_in_short().await;
    assert_eq!(log, ["+before 0", "+small 0", "+a 0", "+b 0"]);
    let (_, known) = place.store.enqueue(large_one).await.unwrap();
    assert!(!known);
}

#[tokio::test]
async fn whoever_has_gone_meanwhile_is_not_waited_for() {
    let place = Place::new().await;
    place.execute(FULL).await;
    let cut = receiving(&place, vec![large("a")]).await;
    cut.abort();
    // On the next link the server brings it again.
    let again = receiving(&place, vec![large("a")]).await;
    place.execute(ROOM).await;
    assert_eq!(again.await.unwrap().unwrap(), [Stored::Fresh]);
}

#[tokio::test]
async fn what_waits_is_given_up_when_the_store_stops_or_another_account_opens() {
    let place = Place::new().await;
    place.execute(FULL).await;
    let waits = receiving(&place, vec![large("a")]).await;
    let bob = AccountKey {
        user_id: "bob".to_owned(),
        ..alice()
    };
    place.store.open_account(bob).await.unwrap();
    assert!(matches!(waits.await.unwrap(), Err(StoreError::Stopped)));
    assert_eq!(place.messages().await, []);

    place.execute(FULL).await;
    let waits = receiving(&place, vec![large("a")]).await;
    place.store.stop().await;
    assert!(matches!(waits.await.unwrap(), Err(StoreError::Stopped)));
}
