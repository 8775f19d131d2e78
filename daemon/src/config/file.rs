//! The files as they are written: their keys, their types, and the line of each value. Validation is
//! elsewhere.

use std::io::{self, Read as _};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use super::error::ConfigError;

/// More than any person writes, and little enough to read at once.
const MAX_FILE: u64 = 1024 * 1024;

/// `NAME.toml`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct MainFile {
    pub(super) server: ServerTable,
    pub(super) proxy: ProxyTable,
    pub(super) link: LinkTable,
    pub(super) apps: AppsTable,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ServerTable {
    pub(super) urls: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) nav: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) client_cert: Option<Spanned<String>>,
    pub(super) client_key: Option<Spanned<String>>,
    pub(super) alpn: Option<Spanned<String>>,
    pub(super) plaintext: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ProxyTable {
    pub(super) url: Option<Spanned<String>>,
    pub(super) password_file: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LinkTable {
    pub(super) keep_alive: Option<Spanned<i64>>,
    pub(super) session_expiry: Option<Spanned<i64>>,
    pub(super) device_class: Option<Spanned<String>>,
    pub(super) login: Option<Login>,
    pub(super) remember: Option<bool>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Login {
    One,
    Many,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AppsTable {
    pub(super) allow: Option<Spanned<Vec<Spanned<String>>>>,
}

/// `apps.d/*.toml`: the server of one app, shipped by its package.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppFile {
    pub(super) app_key: Spanned<String>,
    pub(super) urls: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) nav: Option<Spanned<String>>,
    pub(super) ca_file: Option<Spanned<String>>,
}

/// A file's text, which knows the lines of what was read from it.
pub(super) struct Source<'a> {
    path: &'a Path,
    text: String,
}

impl<'a> Source<'a> {
    /// Reads a file; `None` if there is none.
    pub(super) fn read(path: &'a Path) -> Result<Option<Self>, ConfigError> {
        let unreadable = |why: String| ConfigError::new(path, None, format!("cannot be read: {why}"));
        let file = match std::fs::File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let mut bytes = Vec::new();
        file.take(MAX_FILE + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(unreadable("it is longer than 1 MiB".to_owned()));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count();
            ConfigError::new(path, Some(line), "is not UTF-8 text")
        })?;
        Ok(Some(Self { path, text }))
    }

    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        toml::from_str(&self.text).map_err(|error| {
            let line = error.span().map(|span| self.line_at(span.start));
            ConfigError::new(self.path, line, one_line(error.message()))
        })
    }

    /// What is wrong with a value of this file.
    pub(super) fn error<T>(&self, at: &Spanned<T>, text: impl Into<String>) -> ConfigError {
        ConfigError::new(self.path, Some(self.line_at(at.span().start)), text)
    }

    fn line_at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

fn one_line(message: &str) -> String {
    message.split('\n').map(str::trim).collect::<Vec<_>>().join("; ")
}
