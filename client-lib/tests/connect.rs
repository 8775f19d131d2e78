//! Connect, its callbacks, and what ends it.

#![cfg(test)]

mod fake;

use std::sync::mpsc;
use std::time::Duration;

use fake::{Connect, FakeDaemon, error, opened, status, wait};
use imd_client::{
    Client, Code, ConnectCallback, ConnectOptions, ConnectionStatus, DatabaseOpenStatus, Error, Sent, UserId,
};

fn client(daemon: &FakeDaemon) -> Client {
    Client::builder("demo")
        .app_id("org.example.Chat")
        .socket(daemon.socket())
        .build()
        .unwrap()
}

/// Tells each callback, and when it is dropped.
struct Told(mpsc::Sender<String>);

impl ConnectCallback for Told {
    fn on_database_opened(&mut self, status: DatabaseOpenStatus) {
        self.0
            .send(format!("onDatabaseOpened {}", status.code.0))
            .unwrap();
    }

    fn on_success(self: Box<Self>, user_id: UserId) {
        self.0.send(format!("onSuccess {user_id}")).unwrap();
    }

    fn on_error(self: Box<Self>, error: Error) {
        self.0.send(format!("onError {error}")).unwrap();
    }
}

/// All that is told until the callback object is gone.
fn all(told: &mpsc::Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match told.recv_timeout(Duration::from_secs(20)) {
            Ok(line) => all.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => return all,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the callbacks never end: {all:?}"),
        }
    }
}

fn connect_with(client: &Client) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    client.connect_with("token", ConnectOptions::new(), Told(tell));
    told
}

#[test]
fn success_is_told_once_after_the_database() {
    let daemon = FakeDaemon::start();
    // The client outlives the wait: its drop would end it.
    let client = client(&daemon);
    assert_eq!(
        all(&connect_with(&client)),
        ["onDatabaseOpened 0", "onSuccess alice"]
    );
}

#[test]
fn a_database_opened_twice_is_told_once() {
    let daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![
        opened(),
        opened(),
        error(31_004, "wrong", "get another"),
    ]));
    let client = client(&daemon);
    assert_eq!(
        all(&connect_with(&client)),
        [
            "onDatabaseOpened 0",
            "onError RC_CONN_TOKEN_INCORRECT (31004): wrong"
        ]
    );
}

#[test]
fn a_refused_connect_is_an_error_told_once() {
    let daemon = FakeDaemon::start();
    daemon
        .script
        .connect(Connect::Refuse(Code::RC_CONNECTION_EXIST, "already"));
    let client = client(&daemon);
    assert_eq!(
        all(&connect_with(&client)),
        ["onError RC_CONNECTION_EXIST (34001): already"]
    );
    let refused = client
        .blocking()
        .connect("token", ConnectOptions::new())
        .unwrap_err();
    assert_eq!(refused.sent(), Sent::Yes);
    assert_eq!(refused.action(), Code::RC_CONNECTION_EXIST.action());
}

#[test]
fn a_servers_own_number_and_action_pass_through() {
    let daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![
        opened(),
        error(47_011, "closed on sundays", "wait"),
    ]));
    let client = client(&daemon);
    let connecting = client.connect("token", ConnectOptions::new());
    assert!(wait(connecting.database_opened()).unwrap().is_open());
    let error = wait(connecting).unwrap_err();
    assert_eq!(error.code(), Code(47_011));
    assert_eq!(error.to_string(), "UNLISTED (47011): closed on sundays");
    assert_eq!(error.action(), "wait");
}

#[test]
fn the_request_says_what_the_app_said() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let options = ConnectOptions::new()
        .time_limit(Duration::from_secs(30))
        .user_id("alice");
    client
        .blocking()
        .connect(String::from("canary"), options)
        .unwrap();
    let requests = daemon.script.connects.lock().unwrap();
    let [request] = requests.as_slice() else {
        panic!("one connect, one request")
    };
    assert_eq!(request.token, "canary");
    assert_eq!(request.time_limit_seconds, 30);
    assert_eq!(request.user_id, "alice");
    assert_eq!(request.connect_id.len(), 36);
    assert_eq!(*daemon.script.app_keys.lock().unwrap(), ["demo"]);
    assert_eq!(
        *daemon.script.bindings.lock().unwrap(),
        ["binding of org.example.Chat"]
    );
}

#[test]
fn dropping_the_future_cancels_nothing() {
    let daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![opened()]));
    let client = client(&daemon);
    drop(client.connect("token", ConnectOptions::new()));
    daemon.script.wait_for_call("Connect");
    assert_eq!(daemon.script.connects.lock().unwrap().len(), 1);
    // The app is still bound, and its calls work.
    client.blocking().fetch_connection_status().unwrap();
    assert_eq!(*daemon.script.bound.borrow(), 1);
}

#[test]
fn after_success_the_status_never_reads_older() {
    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.blocking().connection_status_changes();
    assert_eq!(changes.next().unwrap().connection, ConnectionStatus::Unconnected);
    client.blocking().connect("token", ConnectOptions::new()).unwrap();
    assert!(client.connection_status().is_connected());
    assert_eq!(changes.next().unwrap().connection, ConnectionStatus::Connected);
    client.blocking().disconnect().unwrap();
    assert_eq!(client.connection_status().connection, ConnectionStatus::SignOut);
}

#[test]
fn the_last_client_unbinds_and_a_callback_still_waiting_is_told() {
    let daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![opened()]));
    let client = client(&daemon);
    let clone = client.clone();
    let told = connect_with(&client);
    assert_eq!(told.recv().unwrap(), "onDatabaseOpened 0");
    drop(client);
    assert_eq!(*daemon.script.bound.borrow(), 1);
    drop(clone);
    daemon.script.wait_for_bound(0);
    let [last] = all(&told).try_into().unwrap();
    assert!(
        last.starts_with("onError IPC_DISCONNECT (-2): the last Client"),
        "{last}"
    );
}

#[test]
fn a_future_keeps_the_app_bound_until_it_is_done() {
    let daemon = FakeDaemon::start();
    daemon.script.connect(Connect::Play(vec![opened()]));
    let client = client(&daemon);
    let connecting = client.connect("token", ConnectOptions::new());
    drop(client);
    wait(connecting.database_opened()).unwrap();
    assert_eq!(*daemon.script.bound.borrow(), 1);
    drop(connecting);
    daemon.script.wait_for_bound(0);
}

#[test]
fn a_callback_may_make_calls_and_wait_for_them() {
    struct Asks(Client, mpsc::Sender<ConnectionStatus>);

    impl ConnectCallback for Asks {
        fn on_database_opened(&mut self, _: DatabaseOpenStatus) {
            let status = self.0.blocking().fetch_connection_status().unwrap();
            self.1.send(status.connection).unwrap();
        }

        fn on_success(self: Box<Self>, _: UserId) {
            self.1.send(self.0.connection_status().connection).unwrap();
        }

        fn on_error(self: Box<Self>, error: Error) {
            panic!("{error}");
        }
    }

    let daemon = FakeDaemon::start();
    let client = client(&daemon);
    let (tell, told) = mpsc::channel();
    client.connect_with("token", ConnectOptions::new(), Asks(client.clone(), tell));
    for _ in 0..2 {
        told.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}

#[test]
fn a_client_works_from_a_plain_thread_from_tokio_and_from_any_executor() {
    let daemon = FakeDaemon::start();
    daemon.script.publish(status(13, 5, "waiting"));
    let client = client(&daemon);

    let other = client.clone();
    std::thread::spawn(move || other.blocking().connect("token", ConnectOptions::new()))
        .join()
        .unwrap()
        .unwrap();

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let other = client.clone();
    runtime
        .block_on(async {
            tokio::spawn(async move { other.connect("token", ConnectOptions::new()).await }).await
        })
        .unwrap()
        .unwrap();

    let user_id = pollster::block_on(client.connect("token", ConnectOptions::new())).unwrap();
    assert_eq!(user_id.as_str(), "alice");
}

#[test]
fn a_client_and_its_errors_go_to_any_thread_and_its_futures_move() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    fn moved<T: Send + 'static>() {}
    shared::<Client>();
    shared::<imd_client::BlockingClient>();
    shared::<Error>();
    moved::<imd_client::Connecting>();
    moved::<imd_client::Call<()>>();
    moved::<imd_client::ConnectionStatusChanges>();
    moved::<imd_client::StatusListener>();
}
