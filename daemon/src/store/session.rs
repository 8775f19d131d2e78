//! The remembered session: JSON in a file of its own, readable by its owner alone. Never in SQLite, whose
//! free pages would keep copies of the token.

use std::fmt;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::StoreError;
use super::files;

/// The layout of the file. It changes when an older imd could no longer read it.
const VERSION: u32 = 1;

/// A token has at most 8 KiB.
const MAX_FILE: u64 = 1024 * 1024;

/// How many damaged files are kept; one more takes the place of the last.
const MAX_DAMAGED: u32 = 9;

/// A token. It has no Debug, and its memory is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself, for the one who sends it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The secret itself, moved out; the caller wipes it.
    #[must_use]
    pub fn into_inner(mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

/// What a restarted daemon has to know.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    pub app_key: String,
    pub user_id: Option<String>,
    /// Erased by logout and by a token verdict.
    pub token: Option<Secret>,
    /// To be tried before `token`, which it replaces once a server has taken it.
    pub updated_token: Option<Secret>,
    /// Whether the connection is wanted.
    pub wanted: bool,
    /// Whether the server has taken this account's login before.
    pub verified: bool,
    /// The code that ended the connection last.
    pub last_code: Option<i32>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("app_key", &self.app_key)
            .field("user_id", &self.user_id)
            .field("has_token", &self.token.is_some())
            .field("has_updated_token", &self.updated_token.is_some())
            .field("wanted", &self.wanted)
            .field("verified", &self.verified)
            .field("last_code", &self.last_code)
            .finish_non_exhaustive()
    }
}

/// The session as it is written.
#[derive(Serialize)]
struct Written<'a> {
    version: u32,
    app_key: &'a str,
    user_id: Option<&'a str>,
    token: Option<&'a str>,
    /// Left out where there is none, as an older imd would write it.
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_token: Option<&'a str>,
    wanted: bool,
    verified: bool,
    last_code: Option<i32>,
}

/// The session as it is read.
#[derive(Deserialize)]
struct Read {
    app_key: String,
    user_id: Option<String>,
    token: Option<String>,
    #[serde(default)]
    updated_token: Option<String>,
    wanted: bool,
    verified: bool,
    last_code: Option<i32>,
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

pub(super) enum SessionFile {
    /// `remember = false`: in memory only, and that is not here.
    Forgetful,
    Kept(PathBuf),
}

impl SessionFile {
    /// What the last run left. A damaged file is kept aside, told in the log, and counts as none.
    pub(super) fn start(path: PathBuf, remember: bool) -> Result<(Self, Option<Session>), StoreError> {
        files::remove_temporary(&path).map_err(|error| failed(&path, "read", error))?;
        if !remember {
            files::remove(&path)
                .and_then(|()| remove_damaged(&path))
                .map_err(|error| failed(&path, "removed", error))?;
            return Ok((Self::Forgetful, None));
        }
        let session = match read(&path).map_err(|error| failed(&path, "read", error))? {
            SessionLook::None => None,
            SessionLook::Session(session) => Some(session),
            SessionLook::Damaged(why) => {
                let aside = keep_aside(&path).map_err(|error| failed(&path, "moved aside", error))?;
                tracing::warn!(
                    path = %path.display(), aside = %aside.display(), why,
                    "the remembered session is damaged and kept aside; an app has to connect again"
                );
                None
            }
        };
        Ok((Self::Kept(path), session))
    }

    /// Makes the session safe. With the token erased, no copy of it stays in a damaged file either.
    ///
    /// A session that has ended and cannot be written, as on a full disk, takes the old file with it: a
    /// removal needs no room, and a restarted daemon must not dial for a user who has signed out.
    pub(super) fn save(&self, session: &Session) -> Result<(), StoreError> {
        let Self::Kept(path) = self else { return Ok(()) };
        let erased = if session.token.is_none() {
            remove_damaged(path)
        } else {
            Ok(())
        };
        let written = to_json(session).and_then(|bytes| files::write_atomically(path, &bytes));
        if written.is_err() && !session.wanted {
            files::remove(path)
                .and_then(|()| files::sync_directory(path))
                .map_err(|error| failed(path, "written, and the old one not removed", error))?;
        }
        written
            .and(erased)
            .map_err(|error| failed(path, "written", error))
    }
}

/// What is in the session file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionLook {
    /// There is none.
    None,
    Session(Session),
    /// With the reason, which never has anything from the file in it.
    Damaged(String),
}

/// Looks at a session file, and leaves it as it is.
///
/// # Errors
/// It cannot be read.
pub fn look_at_session(path: &Path) -> io::Result<SessionLook> {
    match std::fs::File::open(path) {
        Ok(file) => parse(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SessionLook::None),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> io::Result<SessionLook> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SessionLook::None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "others could read the remembered session: mode set to 0600");
        file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
    }
    parse(file)
}

fn parse(file: std::fs::File) -> io::Result<SessionLook> {
    let metadata = file.metadata()?;
    if metadata.len() > MAX_FILE {
        return Ok(SessionLook::Damaged(format!("it has {} bytes", metadata.len())));
    }
    // Room for all of it, so that no copy is left where the buffer has grown.
    let room = usize::try_from(metadata.len()).unwrap_or_default() + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(MAX_FILE).read_to_end(&mut bytes)?;
    let version = match serde_json::from_slice::<Versioned>(&bytes) {
        Ok(found) => found.version,
        Err(error) => return Ok(SessionLook::Damaged(place(&error))),
    };
    if version != VERSION {
        return Ok(SessionLook::Damaged(format!(
            "it is of version {version}, and this imd reads {VERSION}"
        )));
    }
    Ok(match serde_json::from_slice::<Read>(&bytes) {
        Ok(read) => SessionLook::Session(Session {
            app_key: read.app_key,
            user_id: read.user_id,
            token: read.token.map(Secret::new),
            updated_token: read.updated_token.map(Secret::new),
            wanted: read.wanted,
            verified: read.verified,
            last_code: read.last_code,
        }),
        Err(error) => SessionLook::Damaged(place(&error)),
    })
}

/// Where a JSON error is. Its own text may show a value, and so the token.
fn place(error: &serde_json::Error) -> String {
    format!(
        "it cannot be read from line {}, column {}",
        error.line(),
        error.column()
    )
}

fn to_json(session: &Session) -> io::Result<Zeroizing<Vec<u8>>> {
    let token = session.token.as_ref().map(Secret::reveal);
    let updated_token = session.updated_token.as_ref().map(Secret::reveal);
    let user_id = session.user_id.as_deref();
    // JSON makes six bytes of one at most; more room than needed, so that the buffer never grows.
    let texts = [Some(session.app_key.as_str()), user_id, token, updated_token];
    let length: usize = texts.into_iter().flatten().map(str::len).sum();
    let mut bytes = Zeroizing::new(Vec::with_capacity(512 + 6 * length));
    let written = Written {
        version: VERSION,
        app_key: &session.app_key,
        user_id,
        token,
        updated_token,
        wanted: session.wanted,
        verified: session.verified,
        last_code: session.last_code,
    };
    serde_json::to_writer(&mut *bytes, &written).map_err(io::Error::other)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn keep_aside(path: &Path) -> io::Result<PathBuf> {
    let free = (1..MAX_DAMAGED)
        .map(|number| damaged(path, number))
        .find(|aside| !aside.exists());
    let aside = free.unwrap_or_else(|| damaged(path, MAX_DAMAGED));
    std::fs::rename(path, &aside)?;
    files::sync_directory(path)?;
    Ok(aside)
}

fn remove_damaged(path: &Path) -> io::Result<()> {
    (1..=MAX_DAMAGED).try_for_each(|number| files::remove(&damaged(path, number)))
}

fn damaged(path: &Path, number: u32) -> PathBuf {
    files::with_suffix(path, &format!(".damaged-{number}"))
}

fn failed(path: &Path, action: &'static str, source: io::Error) -> StoreError {
    StoreError::File {
        what: "remembered session",
        path: path.to_owned(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests;
