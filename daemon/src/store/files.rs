//! Small files that are either as they were or as they should be, whatever happens in between.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Writes a file of mode 0600 and makes it safe: temporary file, fsync, rename, fsync of the directory.
///
/// The temporary file has one fixed name, so that a copy of a secret in it never outlives the next start
/// ([`remove_temporary`]).
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    remove_temporary(path)?;
    let temporary = temporary(path);
    let written = write_new(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    if let Err(error) = written {
        // The first error is the one to tell.
        let _: io::Result<()> = remove_temporary(path);
        return Err(error);
    }
    sync_directory(path)
}

/// Removes what a write that was cut short left.
pub(super) fn remove_temporary(path: &Path) -> io::Result<()> {
    remove(&temporary(path))
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a rename, a creation or a removal in the file's directory safe.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// The path with something appended to its last name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn temporary(path: &Path) -> PathBuf {
    with_suffix(path, ".tmp")
}
