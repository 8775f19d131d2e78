//! Notices that the daemon's socket comes into being, with no wake-up while nothing does.
//!
//! The kernel watches the socket's directory, or the nearest parent that is there. It may fail (the user has
//! no watches left): then the delays between two dials have to do.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::clock::readable;

/// What changes in a directory when a name appears in it, or when it goes itself.
const EVENTS: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Room for a dozen events with the longest names.
const BUFFER: usize = 4096;

/// Waits for one name.
pub(crate) struct SocketWatch {
    directory: PathBuf,
    name: OsString,
    inotify: AsyncFd<OwnedFd>,
    watched: Watched,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// The socket's own directory.
    Directory,
    /// A parent: the directory is not there yet.
    Parent,
}

impl SocketWatch {
    /// Begins to watch. To be made inside a runtime.
    pub(crate) fn new(socket: &Path) -> io::Result<Self> {
        let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let (inotify, watched) = watch(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            name: name.to_owned(),
            inotify,
            watched,
        })
    }

    /// Waits until the name has come into being. It may be wrong about that, and never silent.
    pub(crate) async fn appeared(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let news = match ready.try_io(|inotify| read(inotify.get_ref(), &self.name)) {
                Ok(news) => news?,
                Err(_would_block) => continue,
            };
            drop(ready);
            match (self.watched, news) {
                (Watched::Directory, News::Named) => return Ok(()),
                (Watched::Directory, News::Other) => {}
                (Watched::Directory, News::Gone) | (Watched::Parent, _) => {
                    (self.inotify, self.watched) = watch(&self.directory)?;
                    // It may have come between the event and the watch.
                    if self.watched == Watched::Directory && self.directory.join(&self.name).exists() {
                        return Ok(());
                    }
                }
            }
        }
    }
}

enum News {
    Named,
    /// What is watched has gone, or too much has happened to be told.
    Gone,
    Other,
}

/// Watches the directory, or the nearest parent that is there.
fn watch(directory: &Path) -> io::Result<(AsyncFd<OwnedFd>, Watched)> {
    let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
    let mut at = directory;
    loop {
        match inotify::add_watch(&inotify, at, EVENTS) {
            Ok(_) if at == directory => return Ok((readable(inotify)?, Watched::Directory)),
            // What is below may have come before the watch: then it is told by nothing.
            Ok(_) if !is_missing_below(directory, at) => at = directory,
            Ok(_) => return Ok((readable(inotify)?, Watched::Parent)),
            Err(Errno::NOENT | Errno::NOTDIR) => match at.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => at = parent,
                Some(_) if at != Path::new(".") => at = Path::new("."),
                Some(_) | None => return Err(Errno::NOENT.into()),
            },
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the next directory on the way from `parent` down is not there.
fn is_missing_below(directory: &Path, parent: &Path) -> bool {
    directory
        .ancestors()
        .take_while(|ancestor| *ancestor != parent && !ancestor.as_os_str().is_empty())
        .last()
        .is_none_or(|below| !below.is_dir())
}

fn read(inotify: &OwnedFd, name: &OsString) -> io::Result<News> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut events = Reader::new(inotify, &mut buffer);
    let mut news = None;
    loop {
        match events.next() {
            Ok(event) => {
                let is_named = event
                    .file_name()
                    .is_some_and(|file| file.to_bytes() == name.as_bytes());
                let gone = ReadFlags::DELETE_SELF
                    | ReadFlags::MOVE_SELF
                    | ReadFlags::IGNORED
                    | ReadFlags::QUEUE_OVERFLOW;
                if event.events().intersects(gone) {
                    news = Some(News::Gone);
                } else if is_named && !matches!(news, Some(News::Gone)) {
                    news = Some(News::Named);
                } else {
                    news = news.or(Some(News::Other));
                }
            }
            Err(Errno::INTR) => {}
            // All that had happened has been read; nothing at all: the runtime has to wait again.
            Err(error) => match news {
                Some(news) if error == Errno::AGAIN => return Ok(news),
                Some(_) | None => return Err(error.into()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    async fn soon(watch: &mut SocketWatch) -> bool {
        tokio::time::timeout(Duration::from_secs(20), watch.appeared())
            .await
            .is_ok_and(|told| told.is_ok())
    }

    async fn quiet(watch: &mut SocketWatch) -> bool {
        tokio::time::timeout(Duration::from_millis(30), watch.appeared())
            .await
            .is_err()
    }

    #[tokio::test]
    async fn the_name_is_noticed_and_no_other() {
        let home = tempfile::tempdir().unwrap();
        let mut watch = SocketWatch::new(&home.path().join("imd.sock")).unwrap();
        fs::write(home.path().join("other.sock"), "").unwrap();
        assert!(quiet(&mut watch).await);
        fs::write(home.path().join("imd.sock"), "").unwrap();
        assert!(soon(&mut watch).await);
        fs::remove_file(home.path().join("imd.sock")).unwrap();
        assert!(quiet(&mut watch).await);
        fs::rename(home.path().join("other.sock"), home.path().join("imd.sock")).unwrap();
        assert!(soon(&mut watch).await);
    }

    #[tokio::test]
    async fn directories_that_are_not_there_yet_are_waited_for() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("run/user/imd");
        let mut watch = SocketWatch::new(&directory.join("imd.sock")).unwrap();
        assert_eq!(watch.watched, Watched::Parent);
        fs::create_dir(home.path().join("run")).unwrap();
        assert!(quiet(&mut watch).await);
        fs::create_dir_all(&directory).unwrap();
        assert!(quiet(&mut watch).await);
        assert_eq!(watch.watched, Watched::Directory);
        fs::write(directory.join("imd.sock"), "").unwrap();
        assert!(soon(&mut watch).await);
    }

    #[tokio::test]
    async fn all_that_came_at_once_is_noticed() {
        for _ in 0..50 {
            let home = tempfile::tempdir().unwrap();
            let directory = home.path().join("run/imd");
            let mut watch = SocketWatch::new(&directory.join("imd.sock")).unwrap();
            let made = directory.clone();
            let maker = std::thread::spawn(move || {
                fs::create_dir_all(&made).unwrap();
                fs::write(made.join("imd.sock"), "").unwrap();
            });
            assert!(soon(&mut watch).await);
            maker.join().unwrap();
        }
    }

    #[tokio::test]
    async fn more_names_than_the_kernel_tells_of_hide_none() {
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: usize = most.trim().parse().unwrap();
        let home = tempfile::tempdir().unwrap();
        let mut watch = SocketWatch::new(&home.path().join("imd.sock")).unwrap();
        let (one, other) = (home.path().join("one"), home.path().join("other"));
        fs::write(&one, "").unwrap();
        for _ in 0..=most / 2 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
        fs::write(home.path().join("imd.sock"), "").unwrap();
        assert!(soon(&mut watch).await);
    }

    #[tokio::test]
    async fn a_directory_that_is_removed_and_made_again_is_followed() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("imd");
        fs::create_dir(&directory).unwrap();
        let mut watch = SocketWatch::new(&directory.join("imd.sock")).unwrap();
        fs::remove_dir(&directory).unwrap();
        assert!(quiet(&mut watch).await);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("imd.sock"), "").unwrap();
        assert!(soon(&mut watch).await);
    }
}
