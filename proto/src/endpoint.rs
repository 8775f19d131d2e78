//! Where the daemon's socket is: one answer for both ends.

use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use directories::BaseDirs;

/// The instance used when none is named.
pub const DEFAULT_INSTANCE: &str = "imd";

/// The longest path a Unix socket's name can hold on Linux: `sun_path` less its closing NUL.
pub const MAX_SOCKET_PATH: usize = 107;

/// Why there is no usable socket path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    #[error(
        "XDG_RUNTIME_DIR is not set, so there is no private place for the socket. Log in through \
         systemd-logind, or name a socket with --socket or IMD_SOCKET"
    )]
    NoRuntimeDir,
    #[error(
        "the socket path {path} has {length} bytes; a socket's name holds {MAX_SOCKET_PATH}. Choose a shorter one"
    )]
    TooLong { path: PathBuf, length: usize },
    #[error("the instance name {0:?} is not 1 to 64 characters of A-Z a-z 0-9 _ -")]
    BadInstance(String),
}

/// Whether an instance of the daemon can have this name.
///
/// # Errors
/// A name that is not 1 to 64 characters of `A-Z a-z 0-9 _ -`.
pub fn check_instance(instance: &str) -> Result<(), EndpointError> {
    let legal = !instance.is_empty()
        && instance.len() <= 64
        && instance
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if legal {
        Ok(())
    } else {
        Err(EndpointError::BadInstance(instance.to_owned()))
    }
}

/// `$XDG_RUNTIME_DIR/imd/INSTANCE.sock`.
///
/// # Errors
/// Without XDG_RUNTIME_DIR there is no such place, and /tmp is never one.
pub fn default_socket(instance: &str) -> Result<PathBuf, EndpointError> {
    check_instance(instance)?;
    let base = BaseDirs::new().ok_or(EndpointError::NoRuntimeDir)?;
    let runtime = base.runtime_dir().ok_or(EndpointError::NoRuntimeDir)?;
    checked(runtime.join("imd").join(format!("{instance}.sock")))
}

/// The path, if a socket can have it.
///
/// # Errors
/// A path longer than a socket's name.
pub fn checked(path: PathBuf) -> Result<PathBuf, EndpointError> {
    let length = length(&path);
    if length > MAX_SOCKET_PATH {
        return Err(EndpointError::TooLong { path, length });
    }
    Ok(path)
}

fn length(path: &Path) -> usize {
    path.as_os_str().as_bytes().len()
}
