use std::sync::mpsc;

use super::*;
use crate::store::StoreError;

/// Holds the writer up until the sender is dropped, so that what is asked meanwhile shares one commit.
async fn hold(place: &Place) -> mpsc::Sender<()> {
    let (release, held) = mpsc::channel::<()>();
    let (started, start) = tokio::sync::oneshot::channel();
    let store = place.store.clone();
    tokio::spawn(async move {
        store
            .write(move |_| {
                started.send(()).unwrap();
                let _ = held.recv();
                Ok(())
            })
            .await
    });
    start.await.unwrap();
    release
}

fn log_one(transaction: &rusqlite::Transaction<'_>) -> rusqlite::Result<i64> {
    log::offline_sync_completed(transaction, 1, true)?;
    Ok(transaction.last_insert_rowid())
}

#[tokio::test]
async fn writes_that_wait_together_share_a_commit_and_one_that_fails_takes_nothing_with_it() {
    let place = Place::new().await;
    let release = hold(&place).await;
    let path = place.database();
    let good = place.store.write(log_one);
    let bad = place.store.write(|transaction| {
        log_one(transaction)?;
        transaction.execute("INSERT INTO groups (group_id) VALUES ('a/b')", [])
    });
    let last = place.store.write(move |transaction| {
        log_one(transaction)?;
        let beside = rusqlite::Connection::open(&path)?;
        let count = |connection: &rusqlite::Connection| -> rusqlite::Result<i64> {
            connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0))
        };
        Ok((count(transaction)?, count(&beside)?))
    });
    let all = async { tokio::join!(good, bad, last) };
    let released = async {
        tokio::task::yield_now().await;
        drop(release);
    };
    let ((good, bad, last), ()) = tokio::join!(all, released);
    assert_eq!(good.unwrap(), 1);
    assert!(matches!(bad, Err(StoreError::Database(_))), "{bad:?}");
    assert_eq!(
        last.unwrap(),
        (2, 0),
        "its own and the first one's, neither committed"
    );
    assert_eq!(place.number("SELECT count(*) FROM events").await, 2);
}

#[tokio::test]
async fn a_commit_that_fails_is_told_to_all_who_share_it() {
    let place = Place::new().await;
    let release = hold(&place).await;
    let good = place.store.write(log_one);
    let received = place.store.receive(arrivals([from("bob", "a")]));
    // Seen only when the transaction ends.
    let bad = place.store.write(|transaction| {
        transaction.execute_batch(
            "PRAGMA defer_foreign_keys = ON;
             INSERT INTO outbox (message_id, seq, bytes, state) VALUES (99, 1, 1, 10)",
        )
    });
    let all = async { tokio::join!(good, received, bad) };
    let released = async {
        tokio::task::yield_now().await;
        drop(release);
    };
    let ((good, received, bad), ()) = tokio::join!(all, released);
    assert!(good.is_err() && received.is_err() && bad.is_err());
    assert_eq!(place.number("SELECT count(*) FROM events").await, 0);
    assert_eq!(place.store.tip().borrow().newest, 0);
    place.store.receive(arrivals([from("bob", "a")])).await.unwrap();
    assert_eq!(place.log_in_short().await, ["+a 0"]);
}

#[tokio::test]
async fn a_read_sees_one_state_and_can_change_nothing() {
    let place = Place::new().await;
    let store = place.store.clone();
    let (written, wait) = mpsc::channel();
    let reading = tokio::spawn(async move {
        store
            .read(move |connection| {
                let count = || -> rusqlite::Result<i64> {
                    connection.query_row("SELECT count(*) FROM events", [], |row| row.get(0))
                };
                let before = count()?;
                wait.recv().unwrap();
                Ok((before, count()?))
            })
            .await
    });
    tokio::task::yield_now().await;
    place.store.write(log_one).await.unwrap();
    written.send(()).unwrap();
    let (before, after) = reading.await.unwrap().unwrap();
    assert_eq!(before, after);
    let refused = place
        .store
        .read(|connection| connection.execute("DELETE FROM events", []))
        .await;
    assert!(matches!(refused, Err(StoreError::Database(_))), "{refused:?}");
}

#[tokio::test]
async fn without_an_account_there_is_nothing_to_read_or_write() {
    let dir = tempfile::tempdir().unwrap();
    let paths = StorePaths {
        data_dir: dir.path().to_owned(),
        session_file: dir.path().join("session.json"),
    };
    let (store, _) = Store::start(paths, true, WEEK).unwrap();
    assert!(matches!(store.write(log_one).await, Err(StoreError::NoAccount)));
    let read = store.read(|_| Ok(())).await;
    assert!(matches!(read, Err(StoreError::NoAccount)));
    let received = store.receive(arrivals([from("bob", "a")])).await;
    assert!(matches!(received, Err(StoreError::NoAccount)));
    store.open_account(alice()).await.unwrap();
    store.receive(arrivals([from("bob", "a")])).await.unwrap();
}
