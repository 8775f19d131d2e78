//! A daemon, its scripted broker and its apps, and what a verdict comes to.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use imd::demo::broker::{Accounts, BrokerConfig, ConnectAnswer, End, Event, Protocol, Reply, Times, Who};
use imd_client::{Client, ConnectCallback, ConnectOptions, DatabaseOpenStatus, Error, UserId};
use imd_core::account::{self, AppKey};
use imd_proto::code::Code;
use imd_proto::imd::v1::{App as BoundApp, ConnectPhase, ConnectionStatus, StatusChange};
use imd_tests::APP_KEY;
use imd_tests::daemon::Daemon;
use imd_tests::scripted::Scripted;
use imd_tests::wait::{SOON, eventually, when};
use serde_json::Value;

/// A token that says nothing of itself.
pub(crate) const TOKEN: &str = "opaque";

/// The client id of the user alice.
pub(crate) const ALICE: &str = "desktop:demo:alice";

/// A daemon and its broker. When dropped it checks that there were never two connections at once.
pub(crate) struct Stage {
    pub(crate) daemon: Daemon,
    pub(crate) broker: Scripted,
}

/// How a connection has ended for good.
pub(crate) struct Ended {
    pub(crate) code: Code,
    pub(crate) status: i32,
    pub(crate) name: &'static str,
    pub(crate) token: Left,
    /// What its text must have in it.
    pub(crate) says: &'static [&'static str],
}

/// What is left of the token in the session file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Erased,
    Kept,
}

impl Stage {
    pub(crate) fn start() -> Self {
        Self::with(BrokerConfig::default())
    }

    pub(crate) fn with(config: BrokerConfig) -> Self {
        let broker = Scripted::with(config);
        let daemon = Daemon::for_server(&broker.url());
        Self { daemon, broker }
    }

    /// A broker where alice has these tokens and bob has his.
    pub(crate) fn with_tokens(tokens: &[&str]) -> (Self, Accounts) {
        let accounts = Accounts::new();
        let app_key = AppKey::parse(APP_KEY).unwrap();
        for token in tokens {
            accounts.add_token(token, &app_key, &account::UserId::parse("alice").unwrap());
        }
        accounts.add_token("bob's", &app_key, &account::UserId::parse("bob").unwrap());
        (
            Self::with(BrokerConfig::with_accounts(accounts.clone())),
            accounts,
        )
    }

    /// Every CONNECT is answered so.
    pub(crate) fn answering(answer: ConnectAnswer) -> Self {
        let stage = Self::start();
        stage.answer(answer);
        stage
    }

    /// Every CONNECT is refused so.
    pub(crate) fn refusing(reply: Reply) -> Self {
        Self::answering(ConnectAnswer::Connack(reply))
    }

    /// From here on every CONNECT is answered so.
    pub(crate) fn answer(&self, answer: ConnectAnswer) {
        self.broker
            .broker()
            .script()
            .on_connect(Who::Anyone, Times::Always, answer);
    }

    /// From here on the broker behaves well.
    pub(crate) fn behave(&self) {
        self.broker.broker().script().clear();
    }

    /// An app that has called Init.
    pub(crate) fn app(&self, name: &str) -> App {
        let client = Client::builder(APP_KEY)
            .app_id(format!("org.example.{name}"))
            .socket(self.daemon.home().socket())
            .build();
        App {
            client: client.unwrap(),
        }
    }

    /// An app that has connected alice.
    pub(crate) fn alice(&self) -> App {
        let app = self.app("First");
        app.connect("alice", TOKEN).success();
        self.daemon.await_status("CONNECTED");
        app
    }

    /// The CONNECTs the broker saw, in order: client id, version, and how they were answered.
    pub(crate) fn connects(&self) -> Vec<String> {
        connects(&self.broker)
    }

    pub(crate) fn await_connects(&self, count: usize) {
        eventually(SOON, &format!("{count} CONNECTs"), || {
            let seen = self.connects();
            when(seen.len() >= count, seen)
        });
    }

    /// Waits until the connect of this app is taken.
    pub(crate) fn await_pending(&self, app_id: &str) {
        let rpc = self.daemon.rpc();
        eventually(SOON, "the connect to be taken", || {
            let apps = rpc.apps().unwrap();
            let is_pending =
                |app: &BoundApp| app.app_id == app_id && app.connect_phase() == ConnectPhase::Pending;
            when(apps.iter().any(is_pending), apps)
        });
    }

    /// What a restarted daemon would find.
    pub(crate) fn session(&self) -> Value {
        let path = self.daemon.home().state_directory().join("session.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Every status there has been, oldest first.
    pub(crate) fn history(&self) -> Vec<StatusChange> {
        self.daemon.rpc().status_changes().unwrap()
    }

    /// The connect is told this end, and nothing goes on after it.
    #[track_caller]
    pub(crate) fn assert_refused(&self, connect: &Connect, ended: &Ended) {
        let error = connect.error();
        assert_eq!(error.code(), ended.code, "{error:?}");
        assert_says(error.text(), ended.says);
        self.assert_ended(ended);
    }

    /// The status and the session file tell this end, and the next CONNECT is that of the next app, whose
    /// other account would be refused while the first is still wanted.
    #[track_caller]
    pub(crate) fn assert_ended(&self, ended: &Ended) {
        let status = self.daemon.await_status(ended.name);
        assert_eq!(status.status, ended.status, "{status:?}");
        assert_eq!(status.last_code, ended.code.0, "{status:?}");
        assert_eq!(status.last_code_name, ended.code.name(), "{status:?}");
        assert_eq!(status.next_retry_time, None, "{status:?}");
        assert_says(&status.reason, ended.says);

        let session = self.session();
        assert_eq!(session["wanted"], false, "{session}");
        assert_eq!(session["last_code"], ended.code.0, "{session}");
        let left = if session["token"].is_null() {
            Left::Erased
        } else {
            Left::Kept
        };
        assert_eq!(left, ended.token);
        self.assert_nothing_goes_on();
    }

    /// The next CONNECT is that of the next app.
    #[track_caller]
    pub(crate) fn assert_nothing_goes_on(&self) {
        let before = self.connects();
        self.behave();
        let next = self.app("Next");
        next.connect("bob", "bob's").success();
        let after = self.connects();
        let (old, new) = after.split_at(before.len());
        assert_eq!(old, before);
        assert_eq!(new, ["desktop:demo:bob V5 0x00"]);
    }

    /// The loop goes on with this code, nobody is told an error, and when the broker behaves all ends well.
    #[track_caller]
    pub(crate) fn assert_loops(&self, connect: &Connect, code: Code, says: &[&str]) {
        let status = self.await_suspend(code);
        assert_says(&status.reason, says);
        assert_says(&status.reason, &["trying again in"]);
        let before = self.connects();
        self.await_connects(before.len() + 1);
        assert!(connect.is_waiting());
        let session = self.session();
        assert_eq!(session["wanted"], true, "{session}");
        assert!(session["token"].is_string());

        self.behave();
        connect.success();
        self.assert_connected();
    }

    /// Waits for SUSPEND with this code and a time for the next attempt.
    #[track_caller]
    pub(crate) fn await_suspend(&self, code: Code) -> ConnectionStatus {
        let status = self
            .daemon
            .await_status_that("SUSPEND", |status| status.status_name == "SUSPEND");
        assert_eq!((status.status, status.last_code), (13, code.0), "{status:?}");
        assert!(status.next_retry_time.is_some(), "{status:?}");
        status
    }

    /// All is well, and remembered so.
    #[track_caller]
    pub(crate) fn assert_connected(&self) {
        let status = self.daemon.await_status("CONNECTED");
        assert_eq!(
            (status.status, status.last_code, status.attempt),
            (0, 0, 0),
            "{status:?}"
        );
        assert_eq!(status.next_retry_time, None, "{status:?}");
        let session = self.session();
        assert_eq!(
            (&session["wanted"], &session["verified"]),
            (&Value::Bool(true), &Value::Bool(true))
        );
        assert!(session["token"].is_string() && session["last_code"].is_null());
    }

    /// A status there has been, with this number, code and words.
    #[track_caller]
    pub(crate) fn assert_was(&self, status: i32, code: Code, says: &[&str]) {
        let history = self.history();
        let found = history.iter().any(|change| {
            change.status == status
                && change.last_code == code.0
                && says.iter().all(|words| change.reason.contains(words))
        });
        assert!(
            found,
            "no status {status} with {code} and {says:?} in {history:#?}"
        );
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_one_at_a_time(&self.broker);
        }
    }
}

/// The CONNECTs a broker saw, in order.
pub(crate) fn connects(broker: &Scripted) -> Vec<String> {
    let events = broker.broker().events().take().into_iter();
    events.filter_map(|record| connect_of(&record.event)).collect()
}

fn connect_of(event: &Event) -> Option<String> {
    let version = |protocol: &Protocol| match protocol {
        Protocol::V5 => "V5",
        Protocol::V3_1_1 => "3.1.1",
    };
    if let Event::Connected {
        client_id, protocol, ..
    } = event
    {
        Some(format!("{client_id} {} 0x00", version(protocol)))
    } else if let Event::Refused {
        client_id,
        protocol,
        code,
        ..
    } = event
    {
        Some(format!("{client_id} {} {code:#04x}", version(protocol)))
    } else if let Event::Misled { client_id } = event {
        Some(format!("{client_id} misled"))
    } else {
        None
    }
}

/// The broker never had two connections, and none took over from another.
#[track_caller]
fn assert_one_at_a_time(broker: &Scripted) {
    let mut live = 0_usize;
    for record in broker.broker().events().take() {
        if let Event::Connected { .. } = record.event {
            live += 1;
        } else if let Event::Disconnected { how, .. } = &record.event {
            assert_ne!(*how, End::TakenOver, "{record:?}");
            live -= 1;
        }
        assert!(live <= 1, "two connections at once: {record:?}");
    }
}

#[track_caller]
pub(crate) fn assert_says(text: &str, words: &[&str]) {
    for part in words {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
}

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
