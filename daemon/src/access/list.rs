//! The list itself: `exe:/path`, `flatpak:APP.ID`, `unit:NAME.service`.

use std::fmt;
use std::path::{Path, PathBuf};

use super::process::{FileId, Identity};

/// The longest name of a unit or of a Flatpak app, in bytes: their own limit.
const LONGEST_NAME: usize = 255;

/// The longest path, in bytes: the kernel's limit.
const LONGEST_PATH: usize = 4096;

/// One way of naming an app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The file that the process runs, by its path. There are no patterns: a directory that the apps can
    /// write to would allow anything.
    Exe(PathBuf),
    /// The Flatpak app in whose sandbox the process runs.
    Flatpak(String),
    /// The service of the user's systemd that the process belongs to.
    Unit(String),
}

impl Entry {
    /// Reads an entry as it is written in the configuration.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("exe", path)) => exe(path).map(Self::Exe),
            Some(("flatpak", id)) => flatpak(id).map(Self::Flatpak),
            Some(("unit", name)) => unit(name).map(Self::Unit),
            Some(_) | None => {
                Err("it begins with none of exe:/path, flatpak:APP.ID and unit:NAME.service".to_owned())
            }
        }
    }

    fn allows(&self, app: &Identity) -> bool {
        match self {
            Self::Exe(path) => FileId::of(path).is_ok_and(|listed| listed == app.exe_file),
            Self::Flatpak(id) => app.flatpak.as_ref() == Some(id),
            Self::Unit(name) => app.unit.as_ref() == Some(name),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exe(path) => write!(f, "exe:{}", path.display()),
            Self::Flatpak(id) => write!(f, "flatpak:{id}"),
            Self::Unit(name) => write!(f, "unit:{name}"),
        }
    }
}

/// The apps that may use the daemon, and where that is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    /// Never empty.
    pub entries: Vec<Entry>,
    pub file: PathBuf,
}

impl AllowList {
    /// Whether an entry names this app. A file is compared by what it is, not by how it is called: a
    /// process in a mount namespace of its own can call any file /usr/bin/chat.
    #[must_use]
    pub fn allows(&self, app: &Identity) -> bool {
        self.entries.iter().any(|entry| entry.allows(app))
    }
}

fn exe(path: &str) -> Result<PathBuf, String> {
    let plain = Path::new(path).components().all(|part| {
        matches!(
            part,
            std::path::Component::RootDir | std::path::Component::Normal(_)
        )
    });
    let normal: PathBuf = Path::new(path).components().collect();
    let written_normally = normal.as_os_str() == path && path.len() > 1;
    if !path.starts_with('/') || !plain || !written_normally || path.len() > LONGEST_PATH {
        return Err("what follows exe: is not an absolute path without . and .. in it".to_owned());
    }
    if path.contains(['*', '?', '\0']) {
        return Err("exe: takes the path of one file, and no pattern".to_owned());
    }
    Ok(normal)
}

fn flatpak(id: &str) -> Result<String, String> {
    if is_flatpak(id) {
        return Ok(id.to_owned());
    }
    Err("what follows flatpak: is not an app id such as org.example.Chat".to_owned())
}

/// As Flatpak wants it: at least two words with dots between them, none of which begins with a digit.
pub(super) fn is_flatpak(id: &str) -> bool {
    let is_word = |word: &str| {
        word.bytes().next().is_some_and(|first| !first.is_ascii_digit())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    id.len() <= LONGEST_NAME && id.contains('.') && id.split('.').all(is_word)
}

fn unit(name: &str) -> Result<String, String> {
    if is_service(name) {
        return Ok(name.to_owned());
    }
    Err("what follows unit: is not the name of a service such as chat.service".to_owned())
}

/// As systemd wants it; a template without an instance is no unit that runs.
pub(super) fn is_service(name: &str) -> bool {
    name.len() <= LONGEST_NAME
        && name
            .strip_suffix(".service")
            .is_some_and(|stem| !stem.is_empty() && !stem.ends_with('@'))
        && name.bytes().all(|byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'-' | b'_' | b'.' | b'\\' | b'@')
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_is_shown_as_it_was_written() {
        for good in [
            "exe:/usr/bin/chat",
            "exe:/opt/a b/ünï:code",
            "flatpak:org.example.Chat",
            "flatpak:org.my-app._x",
            "unit:chat.service",
            r"unit:app-org.example.Chat@a\x2db.service",
        ] {
            assert_eq!(Entry::parse(good).unwrap().to_string(), good);
        }
    }

    #[test]
    fn what_names_no_single_app_is_refused() {
        for bad in [
            "",
            "chat",
            "exe:",
            "exe:chat",
            "exe:/",
            "exe:/usr/bin/../bin/chat",
            "exe:/usr/bin/./chat",
            "exe:/usr/bin/chat/",
            "exe://usr/bin/chat",
            "exe:/usr/bin/*",
            "exe:/usr/bin/cha?",
            "exe:/a\0b",
            " exe:/usr/bin/chat",
            "EXE:/usr/bin/chat",
            "flatpak:",
            "flatpak:chat",
            "flatpak:org..Chat",
            "flatpak:org.1st",
            "flatpak:org.example.*",
            "unit:",
            "unit:chat",
            "unit:.service",
            "unit:chat@.service",
            "unit:chat.scope",
            "unit:a/b.service",
            "unit:*.service",
        ] {
            assert!(Entry::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Entry::parse(&format!("unit:{}.service", "a".repeat(248))).is_err());
        assert!(Entry::parse(&format!("exe:/{}", "a".repeat(4096))).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_an_entry_or_an_error_and_entries_survive_the_way_back(
            text in "(exe:/|flatpak:|unit:)?[ -~\u{0}äö/.*@]{0,40}(\\.service)?"
        ) {
            if let Ok(entry) = Entry::parse(&text) {
                prop_assert_eq!(entry.to_string(), text);
            }
        }
    }
}
