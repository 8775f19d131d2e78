//! Between the core's types and the store's rows: neither knows the other.

use std::sync::{Arc, Mutex, PoisonError};

use imd_core::Code;
use imd_core::account::{Account, AppKey, Invalid, Token, UserId};
use imd_core::io::{OpenFailure, Opened, Remembered};
use tokio::sync::watch;

use crate::link::{BoxFuture, Kept, Vault};
use crate::store::rows::{Arrival, Due, DueReceipts, Gap, Group, Published, Stored};
use crate::store::{AccountCheck, AccountKey, Secret, Session, Store, StoreError};

/// The store, as the link wants it.
#[derive(Clone)]
pub struct StoreRows {
    store: Store,
    /// The wanted state as it was last given to the store, for the doctor.
    remembered: Arc<Mutex<Option<Remembered>>>,
}

impl StoreRows {
    /// `remembered`: what the last run left.
    #[must_use]
    pub fn new(store: Store, remembered: Option<Remembered>) -> Self {
        Self {
            store,
            remembered: Arc::new(Mutex::new(remembered)),
        }
    }

    /// The wanted state as it was last given to the store.
    #[must_use]
    pub fn remembered(&self) -> Option<Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Asks the store; its error becomes words.
    fn ask<T, F>(&self, question: impl FnOnce(Store) -> F) -> Kept<T>
    where
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let answer = question(self.store.clone());
        Box::pin(async move { answer.await.map_err(|error| error.to_string()) })
    }

    /// The doctor's look at the store.
    ///
    /// # Errors
    /// Why it could not be taken, for people to read.
    pub async fn check(&self) -> Result<AccountCheck, String> {
        self.store.check().await.map_err(|error| error.to_string())
    }
}

impl Vault for StoreRows {
    fn persist(&self, remembered: Remembered) -> BoxFuture<Result<(), String>> {
        let store = self.store.clone();
        let row = session(&remembered);
        *self.remembered.lock().unwrap_or_else(PoisonError::into_inner) = Some(remembered);
        Box::pin(async move { store.save_session(row).await.map_err(|error| error.to_string()) })
    }

    fn open_account(&self, account: Account) -> BoxFuture<Result<Opened, OpenFailure>> {
        let store = self.store.clone();
        Box::pin(async move {
            let key = AccountKey {
                app_key: account.app_key.as_str().to_owned(),
                user_id: account.user_id.as_str().to_owned(),
            };
            match store.open_account(key).await {
                Ok(opened) => Ok(Opened { note: opened.note }),
                Err(error) => Err(OpenFailure { text: error.text }),
            }
        })
    }

    fn receive(&self, arrivals: Vec<Arrival>) -> Kept<Vec<Stored>> {
        self.ask(|store| async move { store.receive(arrivals).await })
    }

    fn due(&self, after_position: i64, limit: usize) -> Kept<Vec<Due>> {
        self.ask(move |store| async move { store.due(after_position, limit).await })
    }

    fn due_again(&self, now_ms: i64, limit: usize, expiry_ms: i64, forgotten_before: i64) -> Kept<Vec<Due>> {
        self.ask(
            move |store| async move { store.due_again(now_ms, limit, expiry_ms, forgotten_before).await },
        )
    }

    fn published(&self, answers: Vec<(i64, Published)>) -> Kept<()> {
        self.ask(|store| async move { store.published(answers).await })
    }

    fn due_receipts(&self, limit: usize) -> Kept<Vec<DueReceipts>> {
        self.ask(move |store| async move { store.due_receipts(limit).await })
    }

    fn receipts_sent(&self, receipts: Vec<DueReceipts>) -> Kept<()> {
        self.ask(|store| async move { store.receipts_sent(receipts).await })
    }

    fn note_gap(&self, gap: Gap) -> Kept<()> {
        self.ask(|store| async move { store.note_gap(gap).await })
    }

    fn offline_sync_completed(&self, complete: bool) -> Kept<()> {
        self.ask(move |store| async move { store.offline_sync_completed(complete).await })
    }

    fn groups(&self) -> Kept<Vec<Group>> {
        self.ask(|store| async move { store.groups().await })
    }

    fn join_group(&self, group: String) -> Kept<()> {
        self.ask(|store| async move { store.join_group(group).await })
    }

    fn quit_group(&self, group: String) -> Kept<()> {
        self.ask(|store| async move { store.quit_group(group).await })
    }

    fn group_code(&self, group: String, code: i32) -> Kept<()> {
        self.ask(move |store| async move { store.group_code(group, code).await })
    }

    fn outbox_changed(&self) -> watch::Receiver<u64> {
        self.store.outbox_changed()
    }

    fn storage_full(&self) -> watch::Receiver<Option<String>> {
        self.store.full_disk()
    }
}

/// What the last run left, for the core. A row that could never have been written counts as none.
#[must_use]
pub fn remembered(row: Session) -> Option<Remembered> {
    match parse(row) {
        Ok(remembered) => Some(remembered),
        Err(invalid) => {
            tracing::warn!(
                reason = invalid.text,
                "the remembered session is not legal and is not used; an app has to connect again"
            );
            None
        }
    }
}

fn parse(row: Session) -> Result<Remembered, Invalid> {
    Ok(Remembered {
        app_key: AppKey::parse(&row.app_key)?,
        user_id: row.user_id.as_deref().map(UserId::parse).transpose()?,
        token: row
            .token
            .map(|token| Token::parse(token.into_inner()))
            .transpose()?,
        updated_token: row
            .updated_token
            .map(|token| Token::parse(token.into_inner()))
            .transpose()?,
        wanted: row.wanted,
        verified: row.verified,
        last_code: row.last_code.map(Code),
    })
}

fn session(remembered: &Remembered) -> Session {
    let secret = |token: &Token| Secret::new(token.reveal().to_owned());
    Session {
        app_key: remembered.app_key.as_str().to_owned(),
        user_id: remembered.user_id.as_ref().map(|user| user.as_str().to_owned()),
        token: remembered.token.as_ref().map(secret),
        updated_token: remembered.updated_token.as_ref().map(secret),
        wanted: remembered.wanted,
        verified: remembered.verified,
        last_code: remembered.last_code.map(|code| code.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::store::StorePaths;

    fn state() -> Remembered {
        Remembered {
            app_key: AppKey::parse("chat").unwrap(),
            user_id: Some(UserId::parse("王芳").unwrap()),
            token: Some(Token::parse("canary-51cc".to_owned()).unwrap_or_else(|_| unreachable!())),
            updated_token: Token::parse("canary-52dd".to_owned()).ok(),
            wanted: true,
            verified: false,
            last_code: Some(Code::RC_DISCONN_KICK),
        }
    }

    #[tokio::test]
    async fn the_wanted_state_survives_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let paths = StorePaths {
            data_dir: dir.path().to_owned(),
            session_file: dir.path().join("session.json"),
        };
        let (store, _) = Store::start(paths.clone(), true, Duration::from_secs(60)).unwrap();
        let rows = StoreRows::new(store, None);
        rows.persist(state()).await.unwrap();
        let opened = rows.open_account(state().account().unwrap()).await.unwrap();
        assert_eq!(opened.note, None);
        drop(rows);
        let (_store, row) = Store::start(paths, true, Duration::from_secs(60)).unwrap();
        assert!(remembered(row.unwrap()) == Some(state()));
    }

    #[test]
    fn a_row_that_is_not_legal_counts_as_none() {
        for spoil in [
            |row: &mut Session| row.app_key = "a/b".to_owned(),
            |row: &mut Session| row.user_id = Some("..".to_owned()),
            |row: &mut Session| row.token = Some(Secret::new("canary\n".to_owned())),
        ] {
            let mut row = session(&state());
            spoil(&mut row);
            assert!(remembered(row).is_none());
        }
    }
}
