use std::fs;
use std::sync::{Arc, Mutex};

use super::*;

const CANARY: &str = "canary-3f9a";

fn session() -> Session {
    Session {
        app_key: "chat".to_owned(),
        user_id: Some("王芳".to_owned()),
        token: Some(Secret::new(CANARY.to_owned())),
        updated_token: None,
        wanted: true,
        verified: true,
        last_code: Some(-2),
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

    fn path(&self) -> PathBuf {
        self.dir.path().join("session.json")
    }

    fn start(&self, remember: bool) -> (SessionFile, Option<Session>) {
        SessionFile::start(self.path(), remember).unwrap()
    }

    /// The files that have the canary in them.
    fn with_canary(&self) -> Vec<String> {
        let mut found: Vec<_> = fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).contains(CANARY))
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        found.sort();
        found
    }
}

/// All that is logged on this thread while `work` runs.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = log.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn what_is_saved_is_read_by_the_next_run() {
    let place = Place::new();
    let (file, none) = place.start(true);
    assert_eq!(none, None);
    for saved in [
        session(),
        Session {
            user_id: None,
            token: None,
            wanted: false,
            verified: false,
            last_code: None,
            ..session()
        },
        Session {
            updated_token: Some(Secret::new("fresh".to_owned())),
            ..session()
        },
        Session {
            token: Some(Secret::new("\"\\ ключ \u{1f511}".repeat(100))),
            ..session()
        },
    ] {
        file.save(&saved).unwrap();
        assert_eq!(place.start(true).1, Some(saved));
    }
    let mode = fs::metadata(place.path()).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn the_token_is_in_no_file_but_the_session_file() {
    let place = Place::new();
    let (file, _) = place.start(true);
    file.save(&session()).unwrap();
    assert_eq!(place.with_canary(), ["session.json"]);
}

#[test]
fn a_write_that_was_cut_short_leaves_no_token_behind() {
    let place = Place::new();
    fs::write(place.dir.path().join("session.json.tmp"), CANARY).unwrap();
    place.start(true);
    assert_eq!(place.with_canary(), [""; 0]);
}

#[test]
fn without_remember_nothing_is_written_and_what_is_there_is_removed() {
    let place = Place::new();
    let (file, _) = place.start(true);
    file.save(&session()).unwrap();
    fs::write(place.dir.path().join("session.json.damaged-3"), CANARY).unwrap();
    let (file, none) = place.start(false);
    assert_eq!(none, None);
    file.save(&session()).unwrap();
    assert_eq!(fs::read_dir(place.dir.path()).unwrap().count(), 0);
}

#[test]
fn a_damaged_file_is_kept_aside_and_told_without_its_content() {
    let good = String::from_utf8(to_json(&session()).unwrap().to_vec()).unwrap();
    let damages = [
        String::new(),
        good[..good.len() / 2].to_owned(),
        format!("{{\"version\": \"{CANARY}\"}}"),
        good.replace("true", &format!("\"{CANARY}\"")),
        good.replace("\"version\":1", "\"version\":2"),
        CANARY.to_owned(),
        "\0".repeat(100),
    ];
    let place = Place::new();
    for (at, damage) in damages.iter().enumerate() {
        fs::write(place.path(), damage).unwrap();
        let log = logged(|| assert_eq!(place.start(true).1, None));
        let aside = place.dir.path().join(format!("session.json.damaged-{}", at + 1));
        assert_eq!(&fs::read_to_string(aside).unwrap(), damage);
        assert!(!place.path().exists());
        assert!(log.contains("WARN") && log.contains("damaged"), "{log}");
        assert!(!log.contains(CANARY), "{log}");
    }
}

#[test]
fn a_file_that_is_too_long_or_not_utf8_is_damaged() {
    let place = Place::new();
    for damage in [vec![b' '; 2 * 1024 * 1024], vec![0xff; 10]] {
        fs::write(place.path(), damage).unwrap();
        assert_eq!(place.start(true).1, None);
    }
}

#[test]
fn damaged_files_are_bounded_and_go_when_the_token_is_erased() {
    let place = Place::new();
    for _ in 0..12 {
        fs::write(place.path(), CANARY).unwrap();
        place.start(true);
    }
    assert_eq!(place.with_canary().len(), 9);
    let (file, _) = place.start(true);
    file.save(&session()).unwrap();
    assert_eq!(place.with_canary().len(), 10);
    file.save(&Session {
        token: None,
        ..session()
    })
    .unwrap();
    assert_eq!(place.with_canary(), [""; 0]);
}

#[test]
fn a_file_others_can_read_is_closed_to_them() {
    let place = Place::new();
    place.start(true).0.save(&session()).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(place.start(true).1, Some(session()));
    assert_eq!(fs::metadata(place.path()).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn a_write_that_fails_names_the_file_and_not_the_token() {
    let place = Place::new();
    let (file, _) = place.start(true);
    fs::create_dir_all(place.path().join("in the way")).unwrap();
    let error = file.save(&session()).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("session.json"), "{text}");
    assert!(!text.contains(CANARY), "{text}");
    assert_eq!(
        fs::read_dir(place.dir.path()).unwrap().count(),
        1,
        "no temporary file stays"
    );
}

#[test]
fn a_sign_out_that_cannot_be_written_takes_the_old_file_with_it() {
    let place = Place::new();
    let (file, _) = place.start(true);
    file.save(&session()).unwrap();
    // Nothing can be written: the temporary file's name is taken.
    fs::create_dir(place.dir.path().join("session.json.tmp")).unwrap();
    assert!(file.save(&session()).is_err());
    assert!(place.path().exists(), "what is still wanted is kept as it was");
    let mut ended = session();
    ended.wanted = false;
    assert!(file.save(&ended).is_err());
    assert!(!place.path().exists());
}

#[test]
fn a_session_shows_that_it_has_a_token_and_not_which() {
    let shown = format!("{:?}", session());
    assert!(shown.contains("has_token: true"), "{shown}");
    assert!(!shown.contains(CANARY), "{shown}");
}

#[test]
fn a_buffer_with_the_token_never_grows() {
    let mut wide = session();
    wide.token = Some(Secret::new("\u{1}".repeat(8192)));
    let bytes = to_json(&wide).unwrap();
    assert!(bytes.len() > 6 * 8192);
    let as_made = 512 + 6 * ("chat".len() + "王芳".len() + 8192);
    assert_eq!(bytes.capacity(), as_made);
}
