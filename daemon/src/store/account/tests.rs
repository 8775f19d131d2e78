use std::fs;

use super::*;

fn key() -> AccountKey {
    AccountKey {
        app_key: "chat".to_owned(),
        user_id: "../..".to_owned(),
    }
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn accounts(&self) -> PathBuf {
        self.dir.path().join("accounts")
    }

    fn path(&self) -> PathBuf {
        self.accounts().join(key().directory()).join("account.db")
    }

    fn try_open(&self) -> Result<(Account, OpenedAccount), OpenError> {
        Account::open(
            &self.accounts(),
            &key(),
            Thoroughness::Cheap,
            &Progress::default(),
        )
    }

    #[track_caller]
    fn open(&self) -> (Account, OpenedAccount) {
        self.try_open().unwrap()
    }

    #[track_caller]
    fn refusal(&self) -> String {
        let text = self.try_open().err().expect("refused").text;
        assert!(text.contains(&*self.path().to_string_lossy()), "{text}");
        text
    }

    /// A database with these groups in it, closed.
    fn with_groups(count: usize) -> (Self, String) {
        let place = Self::new();
        let (mut account, opened) = place.open();
        let transaction = account.connection.transaction().unwrap();
        for number in 0..count {
            transaction
                .execute(
                    "INSERT INTO groups (group_id) VALUES (?1)",
                    [format!("group-{number:06}")],
                )
                .unwrap();
        }
        transaction.commit().unwrap();
        (place, opened.epoch)
    }

    fn groups(&self) -> usize {
        let (account, _) = self.open();
        let count: i64 = account
            .connection
            .query_row("SELECT count(*) FROM groups", [], |row| row.get(0))
            .unwrap();
        usize::try_from(count).unwrap()
    }

    fn damaged_copies(&self) -> Vec<PathBuf> {
        fs::read_dir(self.path().parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_string_lossy().contains(".damaged-"))
            .collect()
    }

    /// The database opens with a note, under another epoch, and what was damaged is kept to the byte.
    #[track_caller]
    fn assert_repaired(&self, old_epoch: &str) -> String {
        let before = fs::read(self.path()).unwrap();
        let (_account, opened) = self.open();
        let note = opened.note.expect("a note");
        assert_ne!(opened.epoch, old_epoch);
        let kept = self.damaged_copies();
        assert!(
            kept.iter().any(|copy| fs::read(copy).unwrap() == before),
            "{kept:?}"
        );
        assert!(
            kept.iter().any(|copy| note.contains(&*copy.to_string_lossy())),
            "{note}"
        );
        note
    }
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_database_is_made_once_for_its_owner_alone_and_keeps_its_epoch() {
    let place = Place::new();
    let (account, first) = place.open();
    assert_eq!(first.note, None);
    assert_eq!(mode(&place.accounts()), 0o700);
    assert_eq!(mode(place.path().parent().unwrap()), 0o700);
    assert_eq!(mode(&place.path()), 0o600);
    assert_eq!(mode(&files::with_suffix(&place.path(), "-wal")), 0o600);
    drop(account);
    let (_account, second) = place.open();
    assert_eq!(second, first);
}

#[test]
fn the_settings_that_make_a_commit_safe_hold() {
    let place = Place::new();
    let (account, _) = place.open();
    let value = |name: &str| -> String {
        account
            .connection
            .query_row(
                &format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"),
                [],
                |row| row.get(0),
            )
            .unwrap()
    };
    assert_eq!(value("journal_mode"), "wal");
    assert_eq!(value("synchronous"), "2");
    assert_eq!(value("foreign_keys"), "1");
    assert_eq!(value("trusted_schema"), "0");
    assert_eq!(value("user_version"), migrate::NEWEST.to_string());
}

#[test]
fn accounts_are_apart_whatever_their_names() {
    let named = |app_key: &str, user_id: &str| AccountKey {
        app_key: app_key.to_owned(),
        user_id: user_id.to_owned(),
    };
    let names = [named("a", "b"), named("ab", ""), named("a", "B"), key()].map(|key| key.directory());
    for (at, name) in names.iter().enumerate() {
        assert_eq!(name.len(), 32);
        assert!(name.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert!(!names[..at].contains(name));
    }
}

#[test]
fn a_database_of_a_later_version_is_refused_and_untouched() {
    let place = Place::new();
    drop(place.open());
    let later = Connection::open(place.path()).unwrap();
    later.pragma_update(None, "user_version", 99).unwrap();
    later.close().unwrap();
    let before = fs::read(place.path()).unwrap();
    let text = place.refusal();
    assert!(text.contains("version 99"), "{text}");
    assert_eq!(fs::read(place.path()).unwrap(), before);
    assert!(place.damaged_copies().is_empty());
}

#[test]
fn a_database_of_something_else_is_refused_and_untouched() {
    let place = Place::new();
    drop(place.open());
    fs::remove_file(place.path()).unwrap();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("CREATE TABLE precious (x)").unwrap();
    other.close().unwrap();
    let before = fs::read(place.path()).unwrap();
    assert!(place.refusal().contains("imd did not make"));
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[test]
fn a_database_of_another_account_is_refused_and_untouched() {
    let place = Place::new();
    let (account, _) = place.open();
    account
        .connection
        .execute("UPDATE meta SET value = 'eve' WHERE key = 'user_id'", [])
        .unwrap();
    drop(account);
    assert!(place.refusal().contains("eve of App Key chat"));
    assert!(place.damaged_copies().is_empty());
}

#[test]
fn random_bytes_in_the_database_s_place_are_kept_aside() {
    let (place, epoch) = Place::with_groups(3);
    fs::write(place.path(), "not a database. ".repeat(1000)).unwrap();
    let note = place.assert_repaired(&epoch);
    assert!(
        note.contains("0 groups") && note.contains("could not be read"),
        "{note}"
    );
}

#[test]
fn a_missing_table_is_damage_and_the_groups_are_saved() {
    let (place, epoch) = Place::with_groups(3);
    let connection = Connection::open(place.path()).unwrap();
    connection.execute_batch("DROP TABLE meta").unwrap();
    connection.close().unwrap();
    let note = place.assert_repaired(&epoch);
    assert!(note.contains("3 groups"), "{note}");
    assert_eq!(place.groups(), 3);
}

#[test]
fn a_missing_or_odd_name_plate_is_damage() {
    for change in [
        "DELETE FROM meta WHERE key = 'epoch'",
        "UPDATE meta SET value = CAST(x'ff' AS TEXT) WHERE key = 'app_key'",
    ] {
        let (place, epoch) = Place::with_groups(3);
        let connection = Connection::open(place.path()).unwrap();
        connection.execute(change, []).unwrap();
        connection.close().unwrap();
        let note = place.assert_repaired(&epoch);
        assert!(note.contains("3 groups"), "{note}");
    }
}

#[test]
fn a_file_that_was_cut_is_repaired_with_what_can_be_read() {
    let (place, epoch) = Place::with_groups(5000);
    let length = fs::metadata(place.path()).unwrap().len();
    let file = OpenOptions::new().write(true).open(place.path()).unwrap();
    file.set_len(length / 2 / 4096 * 4096).unwrap();
    drop(file);
    place.assert_repaired(&epoch);
}

#[test]
fn a_file_of_odd_length_is_read_to_its_end() {
    let (place, epoch) = Place::with_groups(5000);
    let length = fs::metadata(place.path()).unwrap().len();
    // The groups were written last.
    overwrite(&place.path(), length - 5 * 4096, &[0xa5; 4096]);
    overwrite(&place.path(), length, b"torn");
    let note = place.assert_repaired(&epoch);
    assert!(note.contains("could not be read"), "{note}");
    let saved = place.groups();
    assert!(
        saved > 100 && saved < 5000,
        "rows before and behind the bad page: {saved}"
    );
}

#[test]
fn a_healthy_file_of_odd_length_is_no_damage() {
    let (place, epoch) = Place::with_groups(10);
    let length = fs::metadata(place.path()).unwrap().len();
    overwrite(&place.path(), length, b"torn");
    let (_account, opened) = place.open();
    assert_eq!((opened.note, opened.epoch), (None, epoch));
}

#[test]
fn a_suspect_database_is_read_to_its_end() {
    let (place, epoch) = Place::with_groups(5000);
    let length = fs::metadata(place.path()).unwrap().len();
    overwrite(&place.path(), length - 5 * 4096, &[0xa5; 4096]);
    let (_, cheap) = place.open();
    assert_eq!(
        (cheap.note, cheap.epoch.as_str()),
        (None, epoch.as_str()),
        "a cheap look does not see it"
    );
    let (_, opened) = Account::open(
        &place.accounts(),
        &key(),
        Thoroughness::Everything,
        &Progress::default(),
    )
    .unwrap();
    assert!(opened.note.is_some());
    assert_ne!(opened.epoch, epoch);
}

#[test]
fn what_is_only_in_the_log_is_saved_too() {
    let place = Place::new();
    let (account, opened) = place.open();
    account
        .connection
        .execute("INSERT INTO groups (group_id) VALUES ('in-the-log')", [])
        .unwrap();
    account
        .connection
        .execute("DELETE FROM meta WHERE key = 'epoch'", [])
        .unwrap();
    // As after kill -9: the log is never copied into the database.
    account
        .connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .unwrap();
    drop(account);
    let note = place.assert_repaired(&opened.epoch);
    assert!(note.contains("1 groups"), "{note}");
    assert!(!fs::read(place.path()).unwrap().is_empty());
    let (_account, again) = place.open();
    assert_eq!(again.note, None);
}

#[test]
fn a_replacement_that_was_cut_short_is_ended() {
    let (place, epoch) = Place::with_groups(3);
    let fresh = files::with_suffix(&place.path(), ".fresh");
    // Before the damaged one has moved the fresh one is of no use.
    fs::write(&fresh, "half").unwrap();
    assert_eq!(place.open().1.epoch, epoch);
    assert!(!fresh.exists());
    // After that it is the database; a log that stayed behind is not its own.
    fs::rename(place.path(), &fresh).unwrap();
    fs::write(files::with_suffix(&place.path(), "-wal"), "of another").unwrap();
    let (_account, opened) = place.open();
    assert_eq!((opened.note, opened.epoch), (None, epoch));
}

#[test]
fn what_is_no_file_in_the_database_s_place_is_refused_and_named() {
    let place = Place::new();
    fs::create_dir_all(place.path()).unwrap();
    fs::set_permissions(place.path().parent().unwrap(), Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(place.accounts(), Permissions::from_mode(0o700)).unwrap();
    assert!(place.refusal().contains("not a regular file"));
    fs::remove_dir(place.path()).unwrap();
    std::os::unix::fs::symlink("/dev/full", place.path()).unwrap();
    assert!(place.refusal().contains("not a regular file"));
}

#[test]
fn an_accounts_directory_that_is_a_file_or_open_to_others_is_refused() {
    let place = Place::new();
    fs::write(place.accounts(), "precious").unwrap();
    let text = place.try_open().err().unwrap().text;
    assert!(text.contains("not a directory"), "{text}");
    fs::remove_file(place.accounts()).unwrap();
    fs::create_dir(place.accounts()).unwrap();
    fs::set_permissions(place.accounts(), Permissions::from_mode(0o777)).unwrap();
    let text = place.try_open().err().unwrap().text;
    assert!(text.contains("written by others"), "{text}");
}

#[test]
fn a_file_others_could_read_is_closed_to_them() {
    let place = Place::new();
    drop(place.open());
    fs::set_permissions(place.path(), Permissions::from_mode(0o644)).unwrap();
    let _account = place.open();
    assert_eq!(mode(&place.path()), 0o600);
}
