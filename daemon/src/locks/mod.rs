//! Who may run: two locks, held for life.
//!
//! The data directory's lock is taken before any database is opened; the socket's lock before the socket's
//! name is touched, and its holder alone may remove a stale socket. Both files are closed on exec and never
//! removed: a lock file that is removed lets two processes hold "the" lock, each on its own inode.

mod name_watch;
mod socket;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

pub use socket::{HandedOver, ServerSocket, SocketError, SocketGuard, open_socket};

/// Why a lock is not ours.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    #[error(
        "another imd{} holds {what} (lock file {path}). Stop it first, or start this one with another \
         --instance", by(*.pid)
    )]
    Held {
        what: String,
        path: PathBuf,
        /// Who holds it; unknown while the holder has not written it down yet.
        pid: Option<u32>,
    },
    #[error("the lock file {path} cannot be used: {source}")]
    Unusable { path: PathBuf, source: io::Error },
}

fn by(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// The right to use a data directory. Given back when dropped, or when the process dies.
#[derive(Debug)]
pub struct DataLock {
    _file: LockFile,
}

impl DataLock {
    /// Takes the lock of a data directory, which must be there.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that has it.
    pub fn acquire(data_dir: &Path) -> Result<Self, LockError> {
        let what = format!("the data directory {}", data_dir.display());
        let file = LockFile::acquire(&data_dir.join("lock"), what)?;
        Ok(Self { _file: file })
    }

    /// Keeps the lock until the process ends, because something that was left behind may write until then.
    pub fn keep_until_exit(self) {
        std::mem::forget(self);
    }
}

/// A locked file with our pid in it.
#[derive(Debug)]
struct LockFile {
    file: File,
}

impl LockFile {
    fn acquire(path: &Path, what: String) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable {
            path: path.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(NO_FOLLOW)
            .open(path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    what,
                    path: path.to_owned(),
                    pid: holder(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
            .map_err(unusable)?;
        // The pid is a note for people: a full disk takes nobody's lock away.
        if let Err(error) = write_pid(&mut file) {
            tracing::warn!(path = %path.display(), %error, "the lock is held, but without our pid in it");
        }
        Ok(Self { file })
    }

    /// Whether the file is still the one with the name.
    fn is_in_place(&self, path: &Path) -> bool {
        let inode = |found: std::fs::Metadata| (found.dev(), found.ino());
        let named = std::fs::symlink_metadata(path).map(inode);
        let ours = self.file.metadata().map(inode);
        matches!((named, ours), (Ok(named), Ok(ours)) if named == ours)
    }
}

/// A lock through a symbolic link would be a lock on somebody's other file.
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits() as i32;

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_second_locker_is_told_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataLock::acquire(dir.path()).unwrap();
        let refused = DataLock::acquire(dir.path()).unwrap_err();
        let text = refused.to_string();
        assert!(
            matches!(refused, LockError::Held { pid: Some(pid), .. } if pid == std::process::id()),
            "{text}"
        );
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        assert!(text.contains(&*dir.path().to_string_lossy()), "{text}");
        drop(first);
        DataLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn the_lock_file_stays_and_the_next_holder_writes_its_own_pid() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), "99999999999999\n").unwrap();
        drop(DataLock::acquire(dir.path()).unwrap());
        let written = fs::read_to_string(dir.path().join("lock")).unwrap();
        assert_eq!(written, format!("{}\n", std::process::id()));
        let mode = fs::metadata(dir.path().join("lock"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
    }

    #[test]
    fn a_lock_is_closed_on_exec() {
        let dir = tempfile::tempdir().unwrap();
        let lock = DataLock::acquire(dir.path()).unwrap();
        let flags = rustix::io::fcntl_getfd(&lock._file.file).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert!(lock._file.file.as_raw_fd() > 2);
    }

    #[test]
    fn a_lock_that_is_a_directory_or_a_link_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        fs::create_dir(&lock).unwrap();
        let refused = DataLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&*lock.to_string_lossy()), "{refused}");

        fs::remove_dir(&lock).unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &lock).unwrap();
        assert!(DataLock::acquire(dir.path()).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }
}
