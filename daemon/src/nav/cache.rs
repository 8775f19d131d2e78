//! What navs have said, by App Key and user.

use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use imd_core::account::{AppKey, UserId};
use imd_core::server::Server;
use imd_core::time::UnixTime;
use serde::{Deserialize, Serialize};

use super::answer;
use crate::config::{Plaintext, parse_server};

/// The layout of the file. It changes when an older imd could no longer read it.
const VERSION: u32 = 1;

/// So many users' answers are kept; the oldest makes room.
const MOST_ENTRIES: usize = 32;

/// More than so many entries of the longest answers have.
const LONGEST_FILE: u64 = 4 * 1024 * 1024;

/// Whose servers, by which nav: with another nav in the configuration the old one's answers count no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) nav: String,
    pub(super) app_key: AppKey,
    /// `None`: the server has not named the user yet. Such an answer is in no file.
    pub(super) user_id: Option<UserId>,
}

/// What a nav has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// In the order in which they are tried.
    pub(super) servers: Vec<Server>,
    pub(super) fetched: UnixTime,
    pub(super) ttl: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Cache {
    /// The oldest first.
    entries: Vec<(Key, Entry)>,
    /// Why the nav did not answer when it was asked last, and for whom.
    failure: Option<(Key, String)>,
}

impl Key {
    pub(super) fn new(nav: &Server, app_key: &AppKey, user_id: Option<&UserId>) -> Self {
        Self {
            nav: nav.to_string(),
            app_key: app_key.clone(),
            user_id: user_id.cloned(),
        }
    }
}

impl Entry {
    /// An answer from the future, after the clock was set back, is stale too.
    pub(super) fn is_fresh(&self, now: UnixTime) -> bool {
        self.fetched <= now && now < self.expires()
    }

    pub(super) fn expires(&self) -> UnixTime {
        let ttl = i64::try_from(self.ttl.as_millis()).unwrap_or(i64::MAX);
        UnixTime::from_millis(self.fetched.as_millis().saturating_add(ttl))
    }
}

impl Cache {
    pub(super) fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries
            .iter()
            .find_map(|(known, entry)| (known == key).then_some(entry))
    }

    fn get_mut(&mut self, key: &Key) -> Option<&mut Entry> {
        self.entries
            .iter_mut()
            .find_map(|(known, entry)| (known == key).then_some(entry))
    }

    pub(super) fn put(&mut self, key: Key, entry: Entry) {
        self.entries.retain(|(known, _)| *known != key);
        if self.failure.as_ref().is_some_and(|(failed, _)| *failed == key) {
            self.failure = None;
        }
        self.entries.push((key, entry));
        let surplus = self.entries.len().saturating_sub(MOST_ENTRIES);
        self.entries.drain(..surplus);
    }

    /// What was said before the server had named the user is that user's, if the login was at one of its servers
    /// and nothing else is known of the user. Whether there was something.
    pub(super) fn adopt(&mut self, app_key: &AppKey, user_id: &UserId, server: &Server) -> bool {
        let nameless = self.entries.iter().position(|(key, entry)| {
            key.app_key == *app_key && key.user_id.is_none() && entry.servers.contains(server)
        });
        let Some(position) = nameless else {
            return false;
        };
        let (key, entry) = self.entries.remove(position);
        let key = Key {
            user_id: Some(user_id.clone()),
            ..key
        };
        let is_new = self.get(&key).is_none();
        if is_new {
            self.put(key, entry);
        }
        is_new
    }

    pub(super) fn prefer(&mut self, app_key: &AppKey, user_id: &UserId, server: &Server) {
        for (key, entry) in &mut self.entries {
            if key.app_key == *app_key
                && key.user_id.as_ref() == Some(user_id)
                && let Some(position) = entry.servers.iter().position(|known| known == server)
                && let Some(front) = entry.servers.get_mut(..=position)
            {
                front.rotate_right(1);
            }
        }
    }

    pub(super) fn put_last(&mut self, key: &Key, server: &Server) {
        if let Some(entry) = self.get_mut(key)
            && let Some(position) = entry.servers.iter().position(|known| known == server)
            && let Some(back) = entry.servers.get_mut(position..)
        {
            back.rotate_left(1);
        }
    }

    /// The nav is asked before it is used again.
    pub(super) fn doubt(&mut self, key: &Key) {
        if let Some(entry) = self.get_mut(key) {
            entry.ttl = Duration::ZERO;
        }
    }

    /// Whether there was something to forget.
    pub(super) fn forget(&mut self, app_key: &AppKey, user_id: Option<&UserId>) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|(key, _)| key.app_key != *app_key || key.user_id.as_ref() != user_id);
        self.entries.len() < before
    }

    pub(super) fn failed(&mut self, key: &Key, text: &str) {
        self.failure = Some((key.clone(), text.to_owned()));
    }

    pub(super) fn failure(&self, key: &Key) -> Option<&str> {
        let (failed, text) = self.failure.as_ref()?;
        (failed == key).then_some(text.as_str())
    }

    pub(super) fn to_json(&self) -> io::Result<Vec<u8>> {
        let entries = self.entries.iter().filter_map(|(key, entry)| {
            Some(Row {
                nav: key.nav.clone(),
                app_key: key.app_key.as_str().to_owned(),
                user_id: key.user_id.as_ref()?.as_str().to_owned(),
                servers: entry.servers.iter().map(ToString::to_string).collect(),
                fetched: entry.fetched.as_millis(),
                ttl: entry.ttl.as_secs(),
            })
        });
        let file = File {
            version: VERSION,
            entries: entries.collect(),
        };
        let mut bytes = serde_json::to_vec(&file).map_err(io::Error::other)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    entries: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    nav: String,
    app_key: String,
    user_id: String,
    servers: Vec<String>,
    /// Milliseconds since 1970.
    fetched: i64,
    /// Seconds.
    ttl: u64,
}

/// What the file has. A damaged one is told in the log and counts as none.
pub(super) fn load(path: &Path, plaintext: Plaintext) -> Cache {
    match read(path, plaintext) {
        Ok(entries) => Cache {
            entries,
            failure: None,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Cache::default(),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "what the nav said before cannot be read; it is asked again");
            Cache::default()
        }
    }
}

fn read(path: &Path, plaintext: Plaintext) -> io::Result<Vec<(Key, Entry)>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(LONGEST_FILE)
        .read_to_end(&mut bytes)?;
    let file: File = serde_json::from_slice(&bytes)?;
    if file.version != VERSION {
        return Err(io::Error::other(format!(
            "it is of version {}, and this imd reads {VERSION}",
            file.version
        )));
    }
    // What the configuration no longer allows is left out.
    let entries = file.entries.into_iter().filter_map(|row| {
        let servers = row.servers.iter().take(answer::MOST_SERVERS);
        let servers = servers.map(|url| parse_server(url, plaintext));
        let entry = Entry {
            servers: servers.collect::<Result<Vec<_>, _>>().ok()?,
            fetched: UnixTime::from_millis(row.fetched),
            ttl: match row.ttl {
                // It was in doubt.
                0 => Duration::ZERO,
                seconds => answer::bounded(Duration::from_secs(seconds)),
            },
        };
        let key = Key {
            nav: row.nav,
            app_key: AppKey::parse(&row.app_key).ok()?,
            user_id: Some(UserId::parse(&row.user_id).ok()?),
        };
        (!entry.servers.is_empty()).then_some((key, entry))
    });
    Ok(entries.take(MOST_ENTRIES).collect())
}
