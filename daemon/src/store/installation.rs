//! The random id of a data directory: made once, kept for its life.

use std::io::{self, Read as _};
use std::path::Path;

use uuid::Uuid;

use super::StoreError;
use super::files;

/// The id in the file; a fresh one, if there is none or it is not an id.
pub(super) fn read_or_make(path: &Path) -> Result<String, StoreError> {
    let failed = |action| {
        move |source| StoreError::File {
            what: "installation id",
            path: path.to_owned(),
            action,
            source,
        }
    };
    match read(path).map_err(failed("read"))? {
        Some(Ok(id)) => return Ok(id.to_string()),
        Some(Err(_)) => {
            tracing::warn!(path = %path.display(), "the installation id is damaged: a fresh one is made");
        }
        None => {}
    }
    let id = Uuid::new_v4().to_string();
    files::write_atomically(path, format!("{id}\n").as_bytes()).map_err(failed("written"))?;
    Ok(id)
}

fn read(path: &Path) -> io::Result<Option<Result<Uuid, uuid::Error>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(64).read_to_end(&mut bytes)?;
    Ok(Some(Uuid::try_parse_ascii(bytes.trim_ascii())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_id_is_made_once_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("installation");
        let made = read_or_make(&path).unwrap();
        assert!(Uuid::parse_str(&made).is_ok());
        assert_eq!(read_or_make(&path).unwrap(), made);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(read_or_make(&other.path().join("installation")).unwrap(), made);
    }

    #[test]
    fn a_damaged_id_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("installation");
        for damage in ["", "not an id", &"x".repeat(1000)] {
            fs::write(&path, damage).unwrap();
            let made = read_or_make(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{made}\n"));
        }
    }

    #[test]
    fn an_id_that_cannot_be_read_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let refused = read_or_make(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&*dir.path().to_string_lossy()), "{refused}");
    }
}
