//! The apps that can be asked for a new token, and how the question reaches them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use imd_core::io::InstanceId;
use imd_core::time::UnixTime;
use tokio::sync::watch;

/// What an app is asked: a token in place of one that ends then. A newer question takes an older one's place.
pub type Asked = watch::Receiver<Option<UnixTime>>;

/// One line to each app, by its instance: the newest.
#[derive(Default)]
pub struct TokenProviders {
    lines: Mutex<BTreeMap<InstanceId, watch::Sender<Option<UnixTime>>>>,
}

impl TokenProviders {
    /// A line to this instance. An older one's [`Asked`] ends, and what it was asked is asked here.
    pub fn open(&self, instance: InstanceId) -> Asked {
        let mut lines = self.lock();
        let question = lines.get(&instance).and_then(|older| *older.borrow());
        let (line, mut asked) = watch::channel(question);
        if question.is_some() {
            asked.mark_changed();
        }
        lines.insert(instance, line);
        asked
    }

    /// Closes the line, unless a newer one has taken its place. Whether it did.
    pub fn close(&self, instance: &InstanceId, asked: &Asked) -> bool {
        let mut lines = self.lock();
        let is_newest = lines
            .get(instance)
            .is_some_and(|line| line.subscribe().same_channel(asked));
        if is_newest {
            lines.remove(instance);
        }
        is_newest
    }

    /// Whether there is a line to this instance.
    pub fn is_open(&self, instance: &InstanceId) -> bool {
        self.lock().contains_key(instance)
    }

    /// Asks this app, if it can still be.
    pub fn ask(&self, instance: &InstanceId, expires: UnixTime) {
        if let Some(line) = self.lock().get(instance) {
            line.send_replace(Some(expires));
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<InstanceId, watch::Sender<Option<UnixTime>>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_reaches_the_newest_line_and_the_older_one_ends() {
        let (providers, chat) = (TokenProviders::default(), InstanceId("chat".into()));
        let mut older = providers.open(chat.clone());
        providers.ask(&chat, UnixTime::from_millis(3));
        let mut newer = providers.open(chat.clone());
        assert!(older.changed().await.is_ok(), "the question");
        assert!(older.changed().await.is_err());
        newer.changed().await.unwrap();
        assert_eq!(*newer.borrow_and_update(), Some(UnixTime::from_millis(3)));
        assert!(!providers.close(&chat, &older), "the newer one stays");
        let end = UnixTime::from_millis(7);
        providers.ask(&chat, end);
        newer.changed().await.unwrap();
        assert_eq!(*newer.borrow_and_update(), Some(end));
        assert!(providers.close(&chat, &newer));
        providers.ask(&chat, end);
        assert!(newer.changed().await.is_err());
    }
}
