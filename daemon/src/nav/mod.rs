//! The nav: where no servers are configured but a directory that names them (docs/nav.md).
//!
//! It is asked as the first part of a dial, so the dial's epoch, limit and hang-up are its own too.
//!
//! | file | what is in it |
//! |---|---|
//! | `mod.rs` | when it is asked, and what is dialled then |
//! | `ask.rs` | the request over HTTPS |
//! | `answer.rs` | the JSON, and its bounds |
//! | `cache.rs` | what it said, by App Key and user, in memory and in a file |

mod answer;
mod ask;
mod cache;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use imd_core::account::{AppKey, UserId};
use imd_core::io::Fault;
use imd_core::server::{Server, Transport};
use imd_core::time::UnixTime;
use tokio::time::timeout;

pub use self::ask::NavError;
use self::cache::{Cache, Entry, Key};
use crate::clock;
use crate::config::Plaintext;
use crate::store::write_atomically;
use crate::transport::{Reached, Transports};

/// How long the nav may take where nothing is known without it: with a server's own stages it fits into the
/// core's limit for a dial.
const ASK: Duration = Duration::from_secs(7);

/// How long it may take where a stale answer can stand in.
const ASK_BESIDE_STALE: Duration = Duration::from_secs(2);

/// The ways to the servers, and the directories that name them.
#[derive(Default)]
pub struct Directory {
    transports: Arc<Transports>,
    shared: Arc<Shared>,
    plaintext: Plaintext,
}

#[derive(Default)]
struct Shared {
    cache: Mutex<Cache>,
    /// `None`: nothing outlives the daemon. The lock is held while the file is written, so the last write has
    /// the newest state.
    file: Mutex<Option<PathBuf>>,
}

/// What is known of a user's servers, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// In the order in which they would be tried.
    pub servers: Vec<Server>,
    /// Since when and until when that holds.
    pub span: Option<(UnixTime, UnixTime)>,
    /// Whether they would be used without asking the nav.
    pub is_fresh: bool,
    /// Why the nav did not answer when it was asked last.
    pub failure: Option<String>,
}

impl Directory {
    /// `file`: where answers are kept over restarts. A damaged one counts as none.
    #[must_use]
    pub fn new(transports: Arc<Transports>, file: Option<PathBuf>, plaintext: Plaintext) -> Self {
        let cache = file
            .as_deref()
            .map(|path| cache::load(path, plaintext))
            .unwrap_or_default();
        Self {
            transports,
            shared: Arc::new(Shared {
                cache: Mutex::new(cache),
                file: Mutex::new(file),
            }),
            plaintext,
        }
    }

    /// Reaches one of a user's servers. Where they are known from the nav alone, it is asked first, unless its
    /// last answer is fresh.
    ///
    /// # Errors
    /// The nav names none, or none of them can be reached.
    pub async fn dial(
        &self,
        app_key: &AppKey,
        user_id: Option<&UserId>,
        servers: Vec<Server>,
        dead_after: Duration,
    ) -> Result<Reached, Fault> {
        let nav = match servers.as_slice() {
            [nav] if nav.transport == Transport::Nav => nav.clone(),
            _ => return self.transports.dial_one_of(app_key, servers, dead_after).await,
        };
        let key = Key::new(&nav, app_key, user_id);
        let now = clock::now().unix;
        let known = self.cache().get(&key).cloned();
        match known {
            Some(entry) if entry.is_fresh(now) => self.dial_known(&key, entry.servers, dead_after).await,
            Some(entry) => match self.ask(&nav, app_key, user_id, ASK_BESIDE_STALE).await {
                Ok(entry) => self.dial_new(&key, entry, dead_after).await,
                Err(error) => {
                    let text = error.fault(&nav).text;
                    tracing::warn!(reason = text, "the nav's last answer stands in");
                    self.cache().failed(&key, &text);
                    let dialed = self.dial_known(&key, entry.servers, dead_after).await;
                    dialed.map_err(|fault| Fault {
                        text: format!("{} (as the nav had it last; now {text})", fault.text),
                        ..fault
                    })
                }
            },
            None => match self.ask(&nav, app_key, user_id, ASK).await {
                Ok(entry) => self.dial_new(&key, entry, dead_after).await,
                Err(error) => {
                    let fault = error.fault(&nav);
                    self.cache().failed(&key, &fault.text);
                    Err(fault)
                }
            },
        }
    }

    /// A login at this server got through: it is the first to be tried.
    pub fn logged_in(&self, app_key: &AppKey, user_id: &UserId, server: &Server) {
        let is_adopted = {
            let mut cache = self.cache();
            let is_adopted = cache.adopt(app_key, user_id, server);
            cache.prefer(app_key, user_id, server);
            is_adopted
        };
        if is_adopted {
            self.save();
        }
    }

    /// What the nav said of this user is out of date.
    pub fn forget(&self, app_key: &AppKey, user_id: Option<&UserId>) {
        if self.cache().forget(app_key, user_id) {
            self.save();
        }
    }

    /// What is known of a user's servers by this nav.
    #[must_use]
    pub fn known(&self, nav: &Server, app_key: &AppKey, user_id: Option<&UserId>) -> Known {
        let key = Key::new(nav, app_key, user_id);
        let cache = self.cache();
        let entry = cache.get(&key);
        Known {
            servers: entry.map(|entry| entry.servers.clone()).unwrap_or_default(),
            span: entry.map(|entry| (entry.fetched, entry.expires())),
            is_fresh: entry.is_some_and(|entry| entry.is_fresh(clock::now().unix)),
            failure: cache.failure(&key).map(str::to_owned),
        }
    }

    async fn ask(
        &self,
        nav: &Server,
        app_key: &AppKey,
        user_id: Option<&UserId>,
        limit: Duration,
    ) -> Result<Entry, NavError> {
        let asked = ask::ask(&self.transports, nav, app_key, user_id);
        let body = timeout(limit, Box::pin(asked))
            .await
            .map_err(|_| NavError::Silent(limit))??;
        let answer = answer::read(&body, self.plaintext)?;
        Ok(Entry {
            ttl: answer.ttl,
            fetched: clock::now().unix,
            servers: answer::by_weight(answer.servers, || uuid::Uuid::new_v4().as_u64_pair().1),
        })
    }

    async fn dial_new(&self, key: &Key, entry: Entry, dead_after: Duration) -> Result<Reached, Fault> {
        let servers = entry.servers.clone();
        let named: Vec<_> = servers.iter().map(ToString::to_string).collect();
        tracing::info!(servers = named.join(", "), "the nav has named the servers");
        self.cache().put(key.clone(), entry);
        self.save();
        self.dial_known(key, servers, dead_after).await
    }

    /// It is not waited for: a disk that hangs must not keep anybody from a server. At worst a restarted daemon asks
    /// again, or is sent elsewhere once more.
    fn save(&self) {
        let shared = Arc::clone(&self.shared);
        drop(tokio::task::spawn_blocking(move || shared.save()));
    }

    /// Until the login is through, the one that was reached is the last to be tried again; if none is, the
    /// answer is in doubt, and the nav is asked before the next attempt.
    async fn dial_known(
        &self,
        key: &Key,
        servers: Vec<Server>,
        dead_after: Duration,
    ) -> Result<Reached, Fault> {
        let dialed = self
            .transports
            .dial_one_of(&key.app_key, servers, dead_after)
            .await;
        match &dialed {
            Ok(reached) => self.cache().put_last(key, &reached.server),
            Err(_) => self.cache().doubt(key),
        }
        dialed
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        self.shared.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn save(&self) {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = file.as_deref() else { return };
        let written = {
            let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            cache.to_json()
        };
        if let Err(error) = written.and_then(|bytes| write_atomically(path, &bytes)) {
            tracing::warn!(path = %path.display(), %error, "the nav's answer is not kept over a restart");
        }
    }
}
