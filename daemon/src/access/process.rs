//! What a process is: its file, its Flatpak app, its systemd unit.
//!
//! A pid is a number that the kernel gives again. So the socket is asked for a pidfd of the very process
//! that connected (SO_PEERPIDFD, Linux 6.5), /proc is read by number, and then the pidfd must say that the
//! process still lives: so the number was its own all the while.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use super::Entry;
use super::list::{is_flatpak, is_service};

/// More than any of the files has.
const LONGEST_FILE: u64 = 64 * 1024;

/// The process that made a connection, held by a pidfd.
#[derive(Debug)]
pub struct PeerProcess {
    pid: i32,
    pidfd: OwnedFd,
}

/// What a process is. At least its file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its file's name, as the process sees it: for people to read.
    pub exe: PathBuf,
    pub(super) exe_file: FileId,
    /// The Flatpak app in whose sandbox it runs.
    pub flatpak: Option<String>,
    /// The service of the user's systemd it belongs to.
    pub unit: Option<String>,
}

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

/// Why it cannot be said what a process is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unidentified {
    #[error("the kernel gives no pidfd of it (SO_PEERPIDFD, Linux 6.5 or newer): {0}")]
    NoPidfd(io::Error),
    #[error("its file in /proc cannot be read: {0}")]
    Exe(io::Error),
    #[error("its Flatpak app cannot be read: {0}")]
    Flatpak(io::Error),
    #[error("its control group cannot be read: {0}")]
    Cgroup(io::Error),
    #[error("its process has ended")]
    Gone,
    #[error("the kernel does not say whether it still runs: {0}")]
    Poll(io::Error),
}

impl PeerProcess {
    /// Holds the process that connected the other end of a Unix socket. `pid` is what the same socket's
    /// credentials say.
    ///
    /// # Errors
    /// [`Unidentified::NoPidfd`] where the kernel is too old, or the process is gone.
    pub fn of(socket: &impl AsFd, pid: i32) -> Result<Self, Unidentified> {
        let pidfd =
            getsockopt(socket, sockopt::PeerPidfd).map_err(|errno| Unidentified::NoPidfd(errno.into()))?;
        Ok(Self { pid, pidfd })
    }

    /// Reads what it is. It may block: a process can have a file system of its own making as its root.
    ///
    /// # Errors
    /// It is not certain what it is.
    pub fn identify(&self) -> Result<Identity, Unidentified> {
        let uid = rustix::process::geteuid().as_raw();
        let identity = Identity::read(Path::new(&format!("/proc/{}", self.pid)), uid)?;
        if self.lives()? {
            Ok(identity)
        } else {
            Err(Unidentified::Gone)
        }
    }

    /// A pidfd is readable once its process has ended.
    fn lives(&self) -> Result<bool, Unidentified> {
        let mut ended = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let ready =
            poll(&mut ended, Some(&Timespec::default())).map_err(|errno| Unidentified::Poll(errno.into()))?;
        Ok(ready == 0)
    }
}

impl Identity {
    /// Reads it from the process's directory in /proc.
    fn read(directory: &Path, uid: u32) -> Result<Self, Unidentified> {
        let exe = directory.join("exe");
        Ok(Self {
            exe_file: FileId::of(&exe).map_err(Unidentified::Exe)?,
            exe: std::fs::read_link(&exe).map_err(Unidentified::Exe)?,
            flatpak: match read(&directory.join("root/.flatpak-info")) {
                Ok(info) => flatpak_app(&info),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(Unidentified::Flatpak(error)),
            },
            unit: user_service(
                &read(&directory.join("cgroup")).map_err(Unidentified::Cgroup)?,
                uid,
            ),
        })
    }

    /// The entries that would allow it, the narrowest first.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let flatpak = self.flatpak.clone().map(Entry::Flatpak);
        let unit = self.unit.clone().map(Entry::Unit);
        let exe = flatpak.is_none().then(|| Entry::Exe(self.exe.clone()));
        [flatpak, unit, exe].into_iter().flatten().collect()
    }
}

/// Its entries, one after the other.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, entry) in self.entries().iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{entry}")?;
        }
        Ok(())
    }
}

impl FileId {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// A small regular file. A pipe in its place must not hold up the reader.
fn read(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file"));
    }
    let mut text = String::new();
    let length = file.take(LONGEST_FILE + 1).read_to_string(&mut text)?;
    if length as u64 > LONGEST_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than 64 KiB",
        ));
    }
    Ok(text)
}

/// `name` in the group `[Application]` of a key file; `[Runtime]` is a shell in a sandbox, and no app.
fn flatpak_app(info: &str) -> Option<String> {
    let mut lines = info
        .lines()
        .map(str::trim)
        .skip_while(|line| *line != "[Application]")
        .skip(1);
    let mut names = lines
        .by_ref()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .filter(|(key, _)| key.trim_end() == "name")
        .map(|(_, value)| value.trim_start());
    let name = names.next()?;
    // Two names are no name.
    (names.next().is_none() && is_flatpak(name)).then(|| name.to_owned())
}

/// The service of this user's systemd: what follows `user@UID.service` and its slices.
fn user_service(cgroup: &str, uid: u32) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let manager = format!("user@{uid}.service");
    let parts: Vec<_> = path.split('/').collect();
    let manager_at = parts.iter().position(|part| *part == manager)?;
    // Only slices hold the manager itself: a service that calls a group of its own by the manager's name
    // does not become one.
    let is_slice = |part: &&str| part.ends_with(".slice");
    let (above, below) = parts.split_at(manager_at);
    if !above.iter().all(is_slice) {
        return None;
    }
    let unit = below.iter().skip(1).find(|part| !is_slice(part))?;
    // systemd puts a _ before a name that the kernel has a meaning for.
    let unit = unit.strip_prefix('_').unwrap_or(unit);
    is_service(unit).then(|| unit.to_owned())
}

#[cfg(test)]
mod tests;
