//! Where things are: the config file, the data directory, the remembered session, the socket.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use directories::BaseDirs;
use imd_proto::endpoint::{self, EndpointError};

pub use imd_proto::endpoint::DEFAULT_INSTANCE;

/// What flags and environment say in place of the usual places.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    pub config: Option<PathBuf>,
    /// Data and session both lie here.
    pub data_dir: Option<PathBuf>,
    pub socket: Option<PathBuf>,
}

/// The config file: one that was named has to be there, the usual one need not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigPath {
    Named(PathBuf),
    Usual(PathBuf),
}

impl ConfigPath {
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            Self::Named(file) | Self::Usual(file) => file,
        }
    }
}

/// All places of one instance, as absolute paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    pub instance: String,
    pub config: ConfigPath,
    /// The lock, the installation id and the account databases.
    pub data_dir: PathBuf,
    /// The remembered session.
    pub session_file: PathBuf,
    pub socket: PathBuf,
}

/// Why there is no usable place.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error(
        "neither HOME nor the user database says where your home directory is. Set HOME, or name the places \
         with --config and --data-dir"
    )]
    NoHome,
    #[error("{path} cannot be made an absolute path: {source}")]
    NotAbsolute { path: PathBuf, source: io::Error },
    #[error("the {what} {path} is not a directory. Move it away, or name another place")]
    NotADirectory { what: &'static str, path: PathBuf },
    #[error("the {what} {path} cannot be made or read: {source}")]
    Directory {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "the {what} {path} belongs to uid {owner}, and imd runs as uid {us}. Name a directory of your own"
    )]
    ForeignDirectory {
        what: &'static str,
        path: PathBuf,
        owner: u32,
        us: u32,
    },
    #[error(
        "the {what} {path} can be written by others (mode {mode:04o}). Run: chmod go-w {path}, or name another \
         place"
    )]
    OpenDirectory {
        what: &'static str,
        path: PathBuf,
        mode: u32,
    },
}

impl Paths {
    /// The places of `instance`. Nothing is made.
    ///
    /// # Errors
    /// A name no instance can have; no home or no runtime directory where one is needed; a socket path that
    /// is too long.
    pub fn resolve(instance: &str, overrides: &Overrides) -> Result<Self, PathError> {
        endpoint::check_instance(instance)?;
        let config = config_path(instance, overrides)?;
        let (data_dir, session_dir) = if let Some(dir) = &overrides.data_dir {
            let dir = absolute(dir)?;
            (dir.clone(), dir)
        } else {
            let base = BaseDirs::new().ok_or(PathError::NoHome)?;
            let state = base.state_dir().ok_or(PathError::NoHome)?;
            (
                base.data_dir().join("imd").join(instance),
                state.join("imd").join(instance),
            )
        };
        let socket = match &overrides.socket {
            Some(socket) => endpoint::checked(absolute(socket)?)?,
            None => endpoint::default_socket(instance)?,
        };
        Ok(Self {
            instance: instance.to_owned(),
            config,
            data_dir,
            session_file: session_dir.join("session.json"),
            socket,
        })
    }

    /// Makes the directories that are missing, for their owner alone, and refuses those that are not safe.
    ///
    /// # Errors
    /// A directory that is a file, belongs to another user, can be written by others, or cannot be made.
    pub fn make_directories(&self) -> Result<(), PathError> {
        private_directory("data directory", &self.data_dir)?;
        if let Some(dir) = self.session_file.parent() {
            private_directory("session directory", dir)?;
        }
        if let Some(dir) = self.socket.parent() {
            private_directory("socket directory", dir)?;
        }
        Ok(())
    }
}

/// The config file of `instance`: enough for `imd --check-config`, which needs no other place.
///
/// # Errors
/// As [`Paths::resolve`].
pub fn config_path(instance: &str, overrides: &Overrides) -> Result<ConfigPath, PathError> {
    endpoint::check_instance(instance)?;
    if let Some(file) = &overrides.config {
        return Ok(ConfigPath::Named(absolute(file)?));
    }
    let base = BaseDirs::new().ok_or(PathError::NoHome)?;
    let file = base.config_dir().join("imd").join(format!("{instance}.toml"));
    Ok(ConfigPath::Usual(file))
}

/// Where apps' packages, the machine's owner and the user put servers of single apps; later wins.
///
/// # Errors
/// No home directory.
pub fn app_directories() -> Result<Vec<PathBuf>, PathError> {
    let base = BaseDirs::new().ok_or(PathError::NoHome)?;
    Ok(vec![
        PathBuf::from("/usr/share/imd/apps.d"),
        PathBuf::from("/etc/imd/apps.d"),
        base.config_dir().join("imd").join("apps.d"),
    ])
}

/// Makes `path` with mode 0700 if it is missing, and refuses one that others own or can write: whoever can
/// write a directory can put other files in the place of ours.
///
/// # Errors
/// As [`Paths::make_directories`].
pub fn private_directory(what: &'static str, path: &Path) -> Result<(), PathError> {
    let failed = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotADirectory || source.kind() == io::ErrorKind::AlreadyExists {
            PathError::NotADirectory {
                what,
                path: path.to_owned(),
            }
        } else {
            PathError::Directory {
                what,
                path: path.to_owned(),
                source,
            }
        }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed)?;
    let found = std::fs::metadata(path).map_err(failed)?;
    check_private(what, path, &found, rustix::process::geteuid().as_raw())
}

/// As [`private_directory`], but makes nothing.
///
/// # Errors
/// As [`Paths::make_directories`]; a directory that is not there is [`PathError::Directory`].
pub fn check_directory(what: &'static str, path: &Path) -> Result<(), PathError> {
    let found = std::fs::metadata(path).map_err(|source| PathError::Directory {
        what,
        path: path.to_owned(),
        source,
    })?;
    if !found.is_dir() {
        return Err(PathError::NotADirectory {
            what,
            path: path.to_owned(),
        });
    }
    check_private(what, path, &found, rustix::process::geteuid().as_raw())
}

fn check_private(what: &'static str, path: &Path, found: &Metadata, us: u32) -> Result<(), PathError> {
    if found.uid() != us {
        return Err(PathError::ForeignDirectory {
            what,
            path: path.to_owned(),
            owner: found.uid(),
            us,
        });
    }
    if found.mode() & 0o022 != 0 {
        return Err(PathError::OpenDirectory {
            what,
            path: path.to_owned(),
            mode: found.mode() & 0o7777,
        });
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, PathError> {
    std::path::absolute(path).map_err(|source| PathError::NotAbsolute {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn all_under(dir: &Path) -> Overrides {
        Overrides {
            config: Some(dir.join("imd.toml")),
            data_dir: Some(dir.join("data")),
            socket: Some(dir.join("run/imd.sock")),
        }
    }

    #[test]
    fn a_data_dir_holds_data_and_session_both() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::resolve("work", &all_under(dir.path())).unwrap();
        assert_eq!(paths.data_dir, dir.path().join("data"));
        assert_eq!(paths.session_file, dir.path().join("data/session.json"));
        assert_eq!(paths.config, ConfigPath::Named(dir.path().join("imd.toml")));
    }

    #[test]
    fn relative_places_become_absolute() {
        let overrides = Overrides {
            config: Some("a.toml".into()),
            data_dir: Some("d".into()),
            socket: Some("s.sock".into()),
        };
        let paths = Paths::resolve("imd", &overrides).unwrap();
        assert!(paths.config.file().is_absolute());
        assert!(
            paths.data_dir.is_absolute() && paths.session_file.is_absolute() && paths.socket.is_absolute()
        );
    }

    #[test]
    fn an_instance_name_that_could_leave_its_directory_is_refused() {
        for bad in ["", "..", "a/b", "a b", "a.b", &"x".repeat(65)] {
            let refused = Paths::resolve(bad, &all_under(Path::new("/nowhere"))).unwrap_err();
            assert!(refused.to_string().contains("instance name"), "{refused}");
        }
    }

    #[test]
    fn a_socket_path_of_200_bytes_is_refused_with_its_length() {
        let mut overrides = all_under(Path::new("/nowhere"));
        overrides.socket = Some(format!("/{}", "s".repeat(199)).into());
        let refused = Paths::resolve("imd", &overrides).unwrap_err().to_string();
        assert!(
            refused.contains("200 bytes") && refused.contains("107"),
            "{refused}"
        );
    }

    #[test]
    fn missing_directories_are_made_for_their_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::resolve("imd", &all_under(dir.path())).unwrap();
        paths.make_directories().unwrap();
        paths.make_directories().unwrap();
        for made in ["data", "run"] {
            let mode = fs::metadata(dir.path().join(made)).unwrap().mode() & 0o7777;
            assert_eq!(mode, 0o700, "{made}");
        }
    }

    #[test]
    fn a_data_directory_that_is_a_file_is_told_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("data"), "precious").unwrap();
        let paths = Paths::resolve("imd", &all_under(dir.path())).unwrap();
        let refused = paths.make_directories().unwrap_err().to_string();
        assert!(
            refused.contains("data directory") && refused.contains("not a directory"),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(dir.path().join("data")).unwrap(), "precious");

        let mut below = all_under(dir.path());
        below.data_dir = Some(dir.path().join("data/deeper"));
        let refused = Paths::resolve("imd", &below).unwrap().make_directories();
        assert!(
            matches!(refused, Err(PathError::NotADirectory { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_directory_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        fs::create_dir(&run).unwrap();
        for mode in [0o770, 0o707, 0o1777] {
            fs::set_permissions(&run, fs::Permissions::from_mode(mode)).unwrap();
            let refused = private_directory("socket directory", &run)
                .unwrap_err()
                .to_string();
            assert!(refused.contains(&format!("{mode:04o}")), "{refused}");
        }
        fs::set_permissions(&run, fs::Permissions::from_mode(0o755)).unwrap();
        private_directory("socket directory", &run).unwrap();
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let found = fs::metadata(dir.path()).unwrap();
        let refused = check_private("socket directory", dir.path(), &found, found.uid() + 1).unwrap_err();
        assert!(
            matches!(refused, PathError::ForeignDirectory { .. }),
            "{refused:?}"
        );
    }
}
