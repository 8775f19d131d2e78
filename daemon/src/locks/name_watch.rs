//! Notices that a name in a directory is taken away or replaced, with no wake-up while nothing happens there.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// What takes a name away, or puts another file in its place.
const EVENTS: WatchFlags = WatchFlags::DELETE
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Room for a dozen events with the longest names.
const BUFFER: usize = 4096;

/// Watches from its making on.
pub(super) struct NameWatch {
    inotify: AsyncFd<OwnedFd>,
}

impl NameWatch {
    /// To be made inside a runtime.
    pub(super) fn new(directory: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(&inotify, directory, EVENTS)?;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, because not every type keeps its descriptor; OwnedFd does"
        )]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Self { inotify })
    }

    /// Waits until something has been taken away: it may be another name.
    pub(super) async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            match ready.try_io(|inotify| drain(inotify.get_ref())) {
                Ok(drained) => return drained,
                Err(_would_block) => {}
            }
        }
    }
}

/// Reads all there is; nothing at all is [`io::ErrorKind::WouldBlock`].
fn drain(inotify: &OwnedFd) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER];
    let mut events = Reader::new(inotify, &mut buffer);
    let mut any = false;
    loop {
        match events.next() {
            Ok(_) => any = true,
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if any => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
