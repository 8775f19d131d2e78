//! Files that the configuration names: certificates, keys, passwords.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use zeroize::Zeroizing;

/// More than any list of certificates has.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("{} cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{}, which is a secret, has mode {mode:04o}: others can get at it", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error("{} {what}", path.display())]
    Unfit { path: PathBuf, what: String },
}

impl FileError {
    pub(super) fn unfit(path: &Path, what: impl Into<String>) -> Self {
        Self::Unfit {
            path: path.to_owned(),
            what: what.into(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn mend(&self) -> String {
        match self {
            Self::Unreadable { path, .. } => format!("look at it with: ls -l {}", path.display()),
            Self::Open { path, .. } => format!("chmod 0600 {}", path.display()),
            Self::Unfit { path, .. } => format!("write what belongs into {}", path.display()),
        }
    }
}

/// Reads a file that anybody may read.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let (bytes, _) = open_and_read(path)?;
    Ok(bytes)
}

/// Reads a file that must be its owner's alone. Nothing of it is left in memory.
pub(super) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let (bytes, mode) = open_and_read(path)?;
    let bytes = Zeroizing::new(bytes);
    if mode & 0o077 != 0 {
        return Err(FileError::Open {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(bytes)
}

fn open_and_read(path: &Path) -> Result<(Vec<u8>, u32), FileError> {
    let unreadable = |error: std::io::Error| FileError::Unreadable {
        path: path.to_owned(),
        why: error.to_string(),
    };
    let file = File::open(path).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    if !found.is_file() {
        return Err(FileError::unfit(path, "is not a file"));
    }
    // With room for all of it, no part of a secret is left behind by a reallocation.
    let room = found.len().min(LONGEST).saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or_default());
    file.take(LONGEST.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST {
        return Err(FileError::unfit(path, "is longer than 4 MiB"));
    }
    Ok((bytes, found.mode() & 0o777))
}

/// Which state of a file was read: another one has another stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    written: SystemTime,
}

/// `None`: there is no such file.
pub(super) fn stamp(path: &Path) -> Option<Stamp> {
    let found = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: found.ino(),
        length: found.len(),
        written: found.modified().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_the_mend() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "s3cret").unwrap();
        for mode in [0o640, 0o604, 0o666, 0o610] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let refused = read_secret(&path).unwrap_err();
            assert!(refused.to_string().contains(&format!("{mode:04o}")), "{refused}");
            assert!(refused.mend().starts_with("chmod 0600 "), "{}", refused.mend());
        }
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"s3cret");
    }

    #[test]
    fn what_is_no_file_or_too_long_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let missing = read(&dir.path().join("missing")).unwrap_err();
        assert!(missing.to_string().contains("cannot be read"), "{missing}");
        let directory = read(dir.path()).unwrap_err();
        assert!(directory.to_string().contains("is not a file"), "{directory}");
        let long = dir.path().join("long");
        fs::write(&long, vec![b'x'; 4 * 1024 * 1024 + 1]).unwrap();
        assert!(read(&long).unwrap_err().to_string().contains("4 MiB"));
    }

    #[test]
    fn a_replaced_file_has_another_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert_eq!(stamp(&path), None);
        fs::write(&path, "one").unwrap();
        let before = stamp(&path).unwrap();
        assert_eq!(stamp(&path), Some(before));
        fs::write(dir.path().join("other"), "two").unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        assert_ne!(stamp(&path), Some(before));
    }
}
