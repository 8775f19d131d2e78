//! An app with imd's library, and what its connect is told.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use imd_client::{Client, ConnectCallback, ConnectOptions, DatabaseOpenStatus, Error, UserId};
use imd_tests::wait::{SOON, eventually, when};

use super::stage::TOKEN;

/// An app with imd's library.
pub(crate) struct App {
    pub(crate) client: Client,
}

impl App {
    /// Asks for the connection of this user.
    pub(crate) fn connect(&self, user: &str, token: &str) -> Connect {
        self.connect_as(token, ConnectOptions::new().user_id(user))
    }

    /// Asks for the connection of this user, for so long.
    pub(crate) fn connect_within(&self, user: &str, limit: Duration) -> Connect {
        let options = ConnectOptions::new().user_id(user).time_limit(limit);
        self.connect_as(TOKEN, options)
    }

    /// Asks for the connection.
    pub(crate) fn connect_as(&self, token: &str, options: ConnectOptions) -> Connect {
        let told = Arc::default();
        self.client
            .connect_with(token, options, Callback(Arc::clone(&told)));
        Connect {
            told,
            _client: self.client.clone(),
        }
    }

    /// Waits until the app itself reads this status.
    pub(crate) fn await_status(&self, name: &str) -> Arc<imd_client::Status> {
        eventually(SOON, &format!("the app to read {name}"), || {
            let status = self.client.connection_status();
            if status.name == name {
                Ok(status)
            } else {
                Err(status)
            }
        })
    }
}

/// A connect that was asked for, and what it was told so far.
pub(crate) struct Connect {
    told: Arc<Mutex<Told>>,
    /// The last Client's end would be told as -2.
    _client: Client,
}

#[derive(Debug, Default)]
struct Told {
    opened: Option<DatabaseOpenStatus>,
    end: Option<Result<String, Error>>,
}

struct Callback(Arc<Mutex<Told>>);

impl ConnectCallback for Callback {
    fn on_database_opened(&mut self, status: DatabaseOpenStatus) {
        let mut told = self.0.lock().unwrap();
        assert!(told.opened.is_none() && told.end.is_none());
        told.opened = Some(status);
    }

    fn on_success(self: Box<Self>, user_id: UserId) {
        self.0.lock().unwrap().end = Some(Ok(user_id.to_string()));
    }

    fn on_error(self: Box<Self>, error: Error) {
        self.0.lock().unwrap().end = Some(Err(error));
    }
}

impl Connect {
    /// Waits for onSuccess, which comes after onDatabaseOpened.
    #[track_caller]
    pub(crate) fn success(&self) -> String {
        match self.end() {
            Ok(user_id) => {
                assert!(self.is_opened(), "onSuccess came before onDatabaseOpened");
                user_id
            }
            Err(error) => panic!("onError instead of onSuccess: {error:?}"),
        }
    }

    /// Waits for onError.
    #[track_caller]
    pub(crate) fn error(&self) -> Error {
        match self.end() {
            Ok(user_id) => panic!("onSuccess({user_id}) instead of onError"),
            Err(error) => error,
        }
    }

    /// Waits for onDatabaseOpened.
    pub(crate) fn await_database(&self) {
        eventually(SOON, "onDatabaseOpened", || {
            let told = self.told.lock().unwrap();
            when(told.opened.is_some(), format!("{told:?}"))
        });
    }

    pub(crate) fn is_opened(&self) -> bool {
        let told = self.told.lock().unwrap();
        told.opened.as_ref().is_some_and(DatabaseOpenStatus::is_open)
    }

    /// Neither onSuccess nor onError has been called.
    pub(crate) fn is_waiting(&self) -> bool {
        self.told.lock().unwrap().end.is_none()
    }

    #[track_caller]
    fn end(&self) -> Result<String, Error> {
        eventually(SOON, "onSuccess or onError", || {
            let told = self.told.lock().unwrap();
            told.end.clone().ok_or_else(|| format!("{told:?}"))
        })
    }
}
