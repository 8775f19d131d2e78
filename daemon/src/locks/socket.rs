//! The socket apps connect to: taken over from systemd, or bound under its lock.
//!
//! A name that somebody removes is bound again. One that systemd gave is not: the socket that it keeps for the
//! next daemon would then be another than the one with the name. (`systemctl --user restart imd.socket` makes
//! both anew.)

use std::convert::Infallible;
use std::fs::Metadata;
use std::future::pending;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use imd_proto::endpoint::{self, EndpointError};
use interprocess::local_socket::{GenericFilePath, ListenerOptions, ToFsName as _};
use interprocess::os::unix::local_socket::ListenerOptionsExt as _;
use interprocess::os::unix::uds_local_socket::tokio::Listener;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::sync::mpsc;

use super::name_watch::NameWatch;
use super::{LockError, LockFile};
use crate::paths;

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Path(#[from] EndpointError),
    #[error("{path} is in the socket's place and is not a socket. Move it away, or name another --socket")]
    NotASocket { path: PathBuf },
    #[error("the socket {path} belongs to uid {owner}. Name another --socket")]
    Foreign { path: PathBuf, owner: u32 },
    #[error(
        "another program listens on {path} (systemd's imd.socket, perhaps: then start imd.service). Stop it, or \
         name another --socket"
    )]
    InUse { path: PathBuf },
    #[error("the socket {path} cannot be made: {source}")]
    Bind { path: PathBuf, source: io::Error },
    #[error("the sockets that systemd handed over cannot be used: {0}")]
    HandedOver(String),
}

/// A listening socket and the right to its name.
pub struct ServerSocket {
    pub listener: Listener,
    pub guard: SocketGuard,
}

/// Holds the socket's lock; when dropped, takes away the socket's name if we gave it and it is still ours.
/// Keep it until nothing is accepted any more.
pub struct SocketGuard {
    path: PathBuf,
    /// Device and inode of the name we made; `None` if systemd made it, and it outlives us.
    bound: Option<(u64, u64)>,
    lock: LockFile,
}

/// The first and the longest pause before the name is bound again, after that has failed.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(64);

impl SocketGuard {
    /// Where apps reach us.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether systemd keeps the socket.
    #[must_use]
    pub fn is_handed_over(&self) -> bool {
        self.bound.is_none()
    }

    /// Binds the name again whenever somebody has taken it away, and gives away the new listener. Whoever is
    /// connected stays so.
    pub async fn keep_name(&mut self, renewed: mpsc::Sender<Listener>) -> Infallible {
        if self.is_handed_over() {
            return pending().await;
        }
        loop {
            let error = match self.watch_name(&renewed).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            tracing::warn!(
                path = %self.path.display(), %error,
                "the socket's name cannot be watched: if it is removed, restart imd"
            );
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
    }

    async fn watch_name(&mut self, renewed: &mpsc::Sender<Listener>) -> io::Result<Infallible> {
        let directory = self.path.parent().unwrap_or(Path::new("/")).to_owned();
        loop {
            let mut watch = match NameWatch::new(&directory) {
                Ok(watch) => watch,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    self.bind_again(renewed).await;
                    continue;
                }
                Err(error) => return Err(error),
            };
            while self.is_in_place() {
                watch.changed().await?;
            }
            self.bind_again(renewed).await;
        }
    }

    /// Tries until it is done.
    async fn bind_again(&mut self, renewed: &mpsc::Sender<Listener>) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.rebind() {
                Ok(listener) => {
                    tracing::warn!(
                        path = %self.path.display(),
                        "somebody had removed the socket's name; it is bound again"
                    );
                    // An error means that nothing is served any longer.
                    let _: Result<(), _> = renewed.send(listener).await;
                    return;
                }
                Err(error) => tracing::warn!(
                    %error, retry_in = pause.as_secs(),
                    "somebody has removed the socket's name, and it cannot be bound again: new apps cannot connect"
                ),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn rebind(&mut self) -> Result<Listener, SocketError> {
        let failed = |source| SocketError::Bind {
            path: self.path.clone(),
            source,
        };
        if let Some(directory) = self.path.parent() {
            paths::private_directory("socket directory", directory)
                .map_err(io::Error::other)
                .map_err(failed)?;
        }
        // Whoever removes the whole directory removes the lock's file, too.
        let lock_path = lock_path(&self.path);
        if !self.lock.is_in_place(&lock_path) {
            self.lock = lock(&self.path)?;
        }
        let (listener, made) = listen(&self.path)?;
        self.bound = Some(made);
        Ok(listener)
    }

    fn is_in_place(&self) -> bool {
        let found = std::fs::symlink_metadata(&self.path);
        found.is_ok_and(|found| Some(inode(&found)) == self.bound)
    }

    /// Takes the name away, and keeps the lock until the process ends: see [`DataLock::keep_until_exit`].
    ///
    /// [`DataLock::keep_until_exit`]: super::DataLock::keep_until_exit
    pub fn keep_lock_until_exit(self) {
        self.remove_name();
        std::mem::forget(self);
    }

    fn remove_name(&self) {
        if self.bound.is_some()
            && self.is_in_place()
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the socket's name could not be removed");
        }
    }
}

impl Drop for SocketGuard {
    fn drop(&mut self) {
        self.remove_name();
    }
}

/// The one socket of socket activation. It is kept for life, and lent out.
pub struct HandedOver {
    fd: OwnedFd,
    path: PathBuf,
}

impl HandedOver {
    /// What systemd has handed over, if it has. To be called once, before anything else takes descriptors.
    ///
    /// # Errors
    /// It is not one listening Unix socket with a path.
    pub fn take() -> Result<Option<Self>, SocketError> {
        let mut fds = sd_notify::listen_fds().map_err(|error| SocketError::HandedOver(error.to_string()))?;
        let Some(fd) = fds.next() else { return Ok(None) };
        if fds.next().is_some() {
            return Err(SocketError::HandedOver(
                "there is more than one; imd.socket must have one ListenStream".to_owned(),
            ));
        }
        #[expect(
            unsafe_code,
            reason = "systemd's protocol names descriptors by number: LISTEN_PID says that these are ours, and \
                      nobody else in this process has taken them"
        )]
        // SAFETY: see the reason above; the descriptor is open, or every use of it answers EBADF.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Self::new(fd).map(Some)
    }

    fn new(fd: OwnedFd) -> Result<Self, SocketError> {
        let refused = |why: String| SocketError::HandedOver(why);
        let listens = sockopt::socket_acceptconn(&fd).map_err(|error| refused(error.to_string()))?;
        let kind = sockopt::socket_type(&fd).map_err(|error| refused(error.to_string()))?;
        if !listens || kind != SocketType::STREAM {
            return Err(refused("it is not a listening stream socket".to_owned()));
        }
        let address = rustix::net::getsockname(&fd).map_err(|error| refused(error.to_string()))?;
        let address = SocketAddrUnix::try_from(address)
            .map_err(|_| refused("it is not a Unix socket; ListenStream must be a path".to_owned()))?;
        let path = address
            .path()
            .and_then(|path| path.to_str().ok().map(PathBuf::from))
            .filter(|path| path.is_absolute())
            .ok_or_else(|| refused("it has no path; ListenStream must be one".to_owned()))?;
        Ok(Self { fd, path })
    }

    /// Where apps reach us.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Listens there, without the right to its name. Needs the runtime.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub fn listen(&self) -> Result<Listener, SocketError> {
        let refused = |error: io::Error| SocketError::HandedOver(error.to_string());
        let fd = self.fd.try_clone().map_err(refused)?;
        Listener::try_from(fd).map_err(refused)
    }
}

/// The socket systemd handed over, else the one at `path`, whose directory must be there. Needs the runtime.
///
/// # Errors
/// The lock is held; something else is in the socket's place, which is left as it is; or it cannot be made.
pub fn open_socket(path: &Path, handed_over: Option<&HandedOver>) -> Result<ServerSocket, SocketError> {
    match handed_over {
        Some(socket) => adopt(socket),
        None => bind(path),
    }
}

fn adopt(socket: &HandedOver) -> Result<ServerSocket, SocketError> {
    let path = socket.path.clone();
    let lock = lock(&path)?;
    let listener = socket.listen()?;
    tracing::info!(path = %path.display(), "systemd handed over the socket");
    let guard = SocketGuard {
        path,
        bound: None,
        lock,
    };
    Ok(ServerSocket { listener, guard })
}

fn bind(path: &Path) -> Result<ServerSocket, SocketError> {
    let path = endpoint::checked(path.to_owned())?;
    let lock = lock(&path)?;
    let (listener, made) = listen(&path)?;
    let guard = SocketGuard {
        bound: Some(made),
        path,
        lock,
    };
    Ok(ServerSocket { listener, guard })
}

/// Gives the name to a new socket. The caller holds its lock.
fn listen(path: &Path) -> Result<(Listener, (u64, u64)), SocketError> {
    let failed = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    remove_stale(path)?;
    let name = path.to_fs_name::<GenericFilePath>().map_err(failed)?;
    let listener = ListenerOptions::new()
        .name(name)
        .mode(0o600)
        .reclaim_name(false)
        .create_tokio_as::<Listener>()
        .map_err(failed)?;
    let made = std::fs::symlink_metadata(path).map_err(failed)?;
    Ok((listener, inode(&made)))
}

fn lock(socket: &Path) -> Result<LockFile, SocketError> {
    let what = format!("the socket {}", socket.display());
    Ok(LockFile::acquire(&lock_path(socket), what)?)
}

fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// Removes what a killed daemon left. The caller holds the lock, so no daemon of ours listens there.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Bind {
        path: path.to_owned(),
        source,
    };
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !found.file_type().is_socket() {
        return Err(SocketError::NotASocket {
            path: path.to_owned(),
        });
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(SocketError::Foreign {
            path: path.to_owned(),
            owner: found.uid(),
        });
    }
    if is_listened_on(path).map_err(failed)? {
        return Err(SocketError::InUse {
            path: path.to_owned(),
        });
    }
    tracing::info!(path = %path.display(), "removing the socket a dead daemon left");
    std::fs::remove_file(path).map_err(failed)
}

/// Whether somebody listens. Never waits: a full backlog is a listener too.
fn is_listened_on(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&probe, &SocketAddrUnix::new(path)?) {
        Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT) => Ok(false),
        // PROTOTYPE: a socket of another kind, and alive.
        Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::PROTOTYPE) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn inode(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("imd.sock");
        (dir, path)
    }

    #[track_caller]
    fn refusal(path: &Path) -> SocketError {
        bind(path).err().expect("refused")
    }

    #[tokio::test]
    async fn a_bound_socket_is_for_its_owner_alone_and_goes_with_its_guard() {
        let (_dir, path) = place();
        let socket = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        assert!(!socket.guard.is_handed_over());
        drop(socket);
        assert!(!path.exists());
        assert!(path.with_extension("sock.lock").exists());
    }

    #[tokio::test]
    async fn a_second_daemon_is_told_who_holds_the_socket_and_harms_nothing() {
        let (_dir, path) = place();
        let socket = bind(&path).unwrap();
        let refused = refusal(&path);
        assert!(
            matches!(refused, SocketError::Lock(LockError::Held { pid: Some(_), .. })),
            "{refused}"
        );
        UnixStream::connect(&path).unwrap();
        drop(socket);
    }

    #[tokio::test]
    async fn a_stale_socket_is_removed() {
        let (_dir, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        assert!(
            path.exists(),
            "std leaves the name behind, as a killed daemon does"
        );
        bind(&path).unwrap();
    }

    #[tokio::test]
    async fn a_file_a_directory_or_a_link_in_the_socket_s_place_is_never_removed() {
        let (dir, path) = place();
        fs::write(&path, "precious").unwrap();
        assert!(matches!(refusal(&path), SocketError::NotASocket { .. }));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(refusal(&path), SocketError::NotASocket { .. }));

        fs::remove_dir(&path).unwrap();
        let stale = dir.path().join("other.sock");
        drop(UnixListener::bind(&stale).unwrap());
        std::os::unix::fs::symlink(&stale, &path).unwrap();
        assert!(matches!(refusal(&path), SocketError::NotASocket { .. }));
        assert!(stale.exists());
    }

    #[tokio::test]
    async fn a_socket_another_program_listens_on_is_left_alone() {
        let (_dir, path) = place();
        let other = UnixListener::bind(&path).unwrap();
        assert!(matches!(refusal(&path), SocketError::InUse { .. }));
        UnixStream::connect(&path).unwrap();
        drop(other);
        fs::remove_file(&path).unwrap();

        let _datagram = UnixDatagram::bind(&path).unwrap();
        assert!(matches!(refusal(&path), SocketError::InUse { .. }));
        assert!(path.exists());
    }

    #[tokio::test]
    async fn the_guard_leaves_a_name_that_is_no_longer_ours() {
        let (_dir, path) = place();
        let socket = bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "precious").unwrap();
        drop(socket);
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    /// The next listener, while the name is kept.
    async fn renewed(guard: &mut SocketGuard, remove: impl FnOnce()) -> Listener {
        let (sender, mut renewed) = mpsc::channel(1);
        let renewal = async {
            // The watch has begun: what is removed from now on is noticed.
            tokio::task::yield_now().await;
            remove();
            renewed.recv().await.unwrap()
        };
        tokio::select! {
            biased;
            never = guard.keep_name(sender) => match never {},
            listener = tokio::time::timeout(Duration::from_secs(20), renewal) => listener.unwrap(),
        }
    }

    #[tokio::test]
    async fn a_name_that_is_removed_or_moved_is_bound_again_and_goes_with_its_guard() {
        let (dir, path) = place();
        let mut socket = bind(&path).unwrap();
        let _first = renewed(&mut socket.guard, || fs::remove_file(&path).unwrap()).await;
        UnixStream::connect(&path).unwrap();
        let moved = dir.path().join("moved");
        let _second = renewed(&mut socket.guard, || fs::rename(&path, &moved).unwrap()).await;
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert!(matches!(refusal(&path), SocketError::Lock(_)));
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_directory_that_is_removed_is_made_again_with_lock_and_socket() {
        let (dir, _) = place();
        let directory = dir.path().join("imd");
        paths::private_directory("socket directory", &directory).unwrap();
        let path = directory.join("imd.sock");
        let mut socket = bind(&path).unwrap();
        let _again = renewed(&mut socket.guard, || fs::remove_dir_all(&directory).unwrap()).await;
        UnixStream::connect(&path).unwrap();
        assert!(matches!(refusal(&path), SocketError::Lock(_)));
        assert_eq!(
            fs::metadata(&directory).unwrap().permissions().mode() & 0o7777,
            0o700
        );
    }

    #[tokio::test]
    async fn a_lock_that_is_kept_until_the_end_stays_when_the_name_has_gone() {
        let (_dir, path) = place();
        let socket = bind(&path).unwrap();
        socket.guard.keep_lock_until_exit();
        assert!(!path.exists());
        assert!(matches!(refusal(&path), SocketError::Lock(_)));
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_refused() {
        let path = PathBuf::from(format!("/{}", "s".repeat(199)));
        assert!(matches!(refusal(&path), SocketError::Path(_)));
    }

    #[tokio::test]
    async fn a_handed_over_socket_keeps_its_name_when_we_go() {
        let (_dir, path) = place();
        let systemd = UnixListener::bind(&path).unwrap();
        let handed_over = HandedOver::new(systemd.into()).unwrap();
        assert_eq!(handed_over.path(), path);
        let socket = adopt(&handed_over).unwrap();
        assert!(socket.guard.is_handed_over());
        assert_eq!(socket.guard.path(), path);
        assert!(adopt(&handed_over).is_err(), "the lock is held");
        drop(socket);
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn a_handed_over_descriptor_that_is_no_unix_listener_is_refused() {
        let (one, _two) = UnixStream::pair().unwrap();
        assert!(matches!(
            HandedOver::new(one.into()).err(),
            Some(SocketError::HandedOver(_))
        ));
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(matches!(
            HandedOver::new(tcp.into()).err(),
            Some(SocketError::HandedOver(_))
        ));
    }
}
