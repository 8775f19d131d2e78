use std::fs;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use super::*;

const WEEK: Duration = Duration::from_hours(7 * 24);

fn key(user_id: &str) -> AccountKey {
    AccountKey {
        app_key: "chat".to_owned(),
        user_id: user_id.to_owned(),
    }
}

fn session() -> Session {
    Session {
        app_key: "chat".to_owned(),
        user_id: Some("alice".to_owned()),
        token: Some(Secret::new("canary-77aa".to_owned())),
        updated_token: None,
        wanted: true,
        verified: true,
        last_code: None,
    }
}

fn start(dir: &tempfile::TempDir) -> (Store, Option<Session>) {
    let paths = StorePaths {
        data_dir: dir.path().to_owned(),
        session_file: dir.path().join("session.json"),
    };
    Store::start(paths, true, WEEK).unwrap()
}

/// Every file below, with its content.
fn all_files(dir: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(all_files(&path));
        } else {
            let content = fs::read(&path).unwrap();
            found.push((path, content));
        }
    }
    found
}

async fn database(store: &Store) -> PathBuf {
    store.check().await.unwrap().account.unwrap().path
}

#[tokio::test]
async fn a_saved_session_and_the_installation_id_are_there_at_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let (store, none) = start(&dir);
    assert_eq!(none, None);
    let installation = store.installation().to_owned();
    store.save_session(session()).await.unwrap();
    drop(store);
    let (store, remembered) = start(&dir);
    assert_eq!(remembered, Some(session()));
    assert_eq!(store.installation(), installation);
}

#[tokio::test]
async fn opening_the_open_account_again_is_the_same_database_and_another_one_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir);
    let alice = store.open_account(key("alice")).await.unwrap();
    assert_eq!(store.open_account(key("alice")).await.unwrap(), alice);
    let of_alice = database(&store).await;
    let bob = store.open_account(key("bob")).await.unwrap();
    assert_ne!(bob.epoch, alice.epoch);
    assert_ne!(database(&store).await, of_alice);
    assert!(
        !of_alice.with_extension("db-wal").exists(),
        "closed, its log is in the database"
    );
    assert_eq!(store.open_account(key("alice")).await.unwrap(), alice);
}

#[tokio::test]
async fn a_database_that_was_taken_away_while_open_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir);
    let first = store.open_account(key("alice")).await.unwrap();
    fs::remove_dir_all(database(&store).await.parent().unwrap()).unwrap();
    let second = store.open_account(key("alice")).await.unwrap();
    assert_ne!(second.epoch, first.epoch);
}

#[tokio::test]
async fn an_account_that_cannot_be_opened_is_told_and_the_store_lives_on() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir);
    fs::write(dir.path().join("accounts"), "in the way").unwrap();
    let refused = store.open_account(key("alice")).await.unwrap_err();
    assert!(refused.text.contains("not a directory"), "{refused}");
    fs::remove_file(dir.path().join("accounts")).unwrap();
    store.open_account(key("alice")).await.unwrap();
}

#[tokio::test]
async fn the_doctor_s_check_sees_a_healthy_database() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir);
    let before = store.check().await.unwrap();
    assert_eq!(before.account, None);
    assert!(before.free_disk.is_some_and(|bytes| bytes > 0));
    store.open_account(key("alice")).await.unwrap();
    let report = store.check().await.unwrap().account.unwrap();
    assert_eq!(report.quick_check, QuickCheck::Healthy);
    assert!(
        report.size > 0 && report.path.ends_with("account.db"),
        "{report:?}"
    );
}

#[tokio::test]
async fn damage_the_check_finds_is_repaired_at_the_next_open() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir);
    let first = store.open_account(key("alice")).await.unwrap();
    let path = database(&store).await;
    // Closed, so that its pages are in the file and in nobody's cache.
    store.open_account(key("bob")).await.unwrap();
    let filler = Connection::open(&path).unwrap();
    filler
        .execute_batch(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
             INSERT INTO groups (group_id) SELECT printf('group-%06d', i) FROM n",
        )
        .unwrap();
    filler.close().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all_at(&[0xa5; 4096], length - 5 * 4096).unwrap();
    assert_eq!(store.open_account(key("alice")).await.unwrap(), first);

    let report = store.check().await.unwrap().account.unwrap();
    assert!(matches!(report.quick_check, QuickCheck::Damaged(_)), "{report:?}");
    let repaired = store.open_account(key("alice")).await.unwrap();
    assert!(repaired.note.is_some());
    assert_ne!(repaired.epoch, first.epoch);
    let report = store.check().await.unwrap().account.unwrap();
    assert_eq!(report.quick_check, QuickCheck::Healthy);
}

#[tokio::test]
async fn a_stopped_store_has_closed_its_database_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir);
    store.ping().await.unwrap();
    store.open_account(key("alice")).await.unwrap();
    let path = database(&store).await;
    assert!(path.with_extension("db-wal").exists());
    store.stop().await;
    assert!(!path.with_extension("db-wal").exists());
    store.stop().await;
    assert!(matches!(store.ping().await, Err(StoreError::Stopped)));
    assert!(matches!(
        store.save_session(session()).await,
        Err(StoreError::Stopped)
    ));
    let refused = store.open_account(key("alice")).await.unwrap_err();
    assert!(refused.text.contains("alice of App Key chat"), "{refused}");
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_thread_after_its_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir);
    let copy = store.clone();
    drop(store);
    copy.save_session(session()).await.unwrap();
    drop(copy);
    assert_eq!(start(&dir).1, Some(session()));
}

#[tokio::test]
async fn the_token_is_in_no_file_but_the_session_file() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = start(&dir);
    store.open_account(key("alice")).await.unwrap();
    store.save_session(session()).await.unwrap();
    for (path, content) in all_files(dir.path()) {
        let found = content.windows(11).any(|part| part == b"canary-77aa");
        assert_eq!(found, path.ends_with("session.json"), "{}", path.display());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
}

#[test]
fn a_session_file_that_cannot_be_read_is_an_error_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let paths = StorePaths {
        data_dir: dir.path().to_owned(),
        session_file: dir.path().join("session.json"),
    };
    fs::create_dir(&paths.session_file).unwrap();
    let refused = Store::start(paths, true, WEEK).err().unwrap().to_string();
    assert!(refused.contains("session.json cannot be read"), "{refused}");
}
