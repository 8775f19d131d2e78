mod messages;
mod pace;

use std::cell::Cell;
use std::time::Duration;

use imd_core::account::{AppKey, DeviceClass, InstallationId, Token, UserId};
use imd_core::io::{
    Callback, Config, ConnectId, ConnectKey, ConnectRequest, ConnectionStatus, InstanceId, LoginPolicy,
    Refusal, Requester, ServerDirectory,
};
use imd_core::server::Server;
use imd_core::{Code, ConnectPhase};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::link::bytes_of::{self, Sent};
use crate::link::fake_vault::FakeVault;
use crate::link::handle::Handle;
use crate::link::scripted::{Script, soon};
use crate::system_bus::News;

/// A running driver with all that is around it.
struct Rig {
    script: Script,
    handle: Handle,
    hub: Arc<Hub>,
    vault: FakeVault,
    task: JoinHandle<()>,
}

impl Rig {
    async fn new() -> Self {
        Self::with(FakeVault::new(), Duration::from_secs(30), None).await
    }

    async fn with(vault: FakeVault, keep_alive: Duration, remembered: Option<Remembered>) -> Self {
        let (script, server) = Script::listen().await;
        let (handle, hub, task) = start(server, &vault, keep_alive, remembered);
        Self {
            script,
            handle,
            hub,
            vault,
            task,
        }
    }

    async fn connect(&self, connect_id: &str) -> Result<mpsc::Receiver<Callback>, Refusal> {
        soon("an answer", self.handle.connect(request(connect_id)))
            .await
            .unwrap()
    }

    /// Waits for this status, and returns its reason.
    async fn status(&self, wanted: ConnectionStatus) -> String {
        status(&self.hub, wanted).await
    }
}

async fn status(hub: &Hub, wanted: ConnectionStatus) -> String {
    let mut watch = hub.status.watch();
    let waiting = watch.wait_for(|published| published.status.status == wanted);
    soon(wanted.name(), waiting).await.unwrap().status.reason.clone()
}

/// A network of which nothing is known, on a machine of which nothing is heard.
fn surroundings() -> Surroundings {
    Surroundings::new(watch::channel(View::unknown()).1, News::none())
}

/// A driver for this server.
fn start(
    server: Server,
    vault: &FakeVault,
    keep_alive: Duration,
    remembered: Option<Remembered>,
) -> (Handle, Arc<Hub>, JoinHandle<()>) {
    let (handle, hub, driver) = driver(server, vault, keep_alive);
    (handle, hub, tokio::spawn(driver.run(remembered)))
}

fn driver(server: Server, vault: &FakeVault, keep_alive: Duration) -> (Handle, Arc<Hub>, Driver<FakeVault>) {
    let device = Device {
        class: DeviceClass::default(),
        installation: InstallationId::new("here"),
    };
    let core = Core::new(Config {
        servers: ServerDirectory {
            default: vec![server],
            ..ServerDirectory::default()
        },
        device_class: device.class.clone(),
        login: LoginPolicy::One,
        installation: device.installation.clone(),
        keep_alive,
        session_expiry: Duration::from_secs(60),
        seed: 7,
    });
    let hub = Arc::new(Hub::default());
    let (handle, commands) = Handle::new();
    let directory = Arc::default();
    let driver = Driver::new(
        core,
        vault.clone(),
        Arc::clone(&hub),
        device,
        directory,
        commands,
        surroundings(),
    )
    .unwrap();
    (handle, hub, driver)
}

fn app() -> Requester {
    Requester {
        app_id: "org.example.Chat".into(),
        pid: 1,
    }
}

fn instance() -> InstanceId {
    InstanceId("one".into())
}

fn request(connect_id: &str) -> ConnectRequest {
    ConnectRequest {
        key: ConnectKey {
            instance: instance(),
            connect: ConnectId(connect_id.into()),
        },
        app: app(),
        app_key: Some(AppKey::parse("K").unwrap()),
        token: Token::parse("t".to_owned()).ok().unwrap(),
        user_id: Some(UserId::parse("alice").unwrap()),
        time_limit: None,
        database_opened_seen: false,
        resumes: false,
    }
}

fn remembered() -> Remembered {
    Remembered {
        app_key: AppKey::parse("K").unwrap(),
        user_id: Some(UserId::parse("alice").unwrap()),
        token: Token::parse("t".to_owned()).ok(),
        updated_token: None,
        wanted: true,
        verified: true,
        last_code: None,
    }
}

async fn callback(callbacks: &mut mpsc::Receiver<Callback>) -> Callback {
    soon("a callback", callbacks.recv())
        .await
        .expect("a callback, not the end")
}

#[track_caller]
fn assert_success(callback: &Callback) {
    assert!(
        matches!(callback, Callback::Success(user) if user.as_str() == "alice"),
        "{callback:?}"
    );
}

#[tokio::test]
async fn a_connect_is_called_back_and_a_cut_is_mended() {
    let rig = Rig::new().await;
    let mut callbacks = rig.connect("c").await.unwrap();
    assert_eq!(
        callback(&mut callbacks).await,
        Callback::DatabaseOpened(Ok(Opened::default()))
    );
    let peer = rig.script.log_in().await;
    assert_success(&callback(&mut callbacks).await);
    assert_eq!(soon("the end", callbacks.recv()).await, None);
    rig.status(ConnectionStatus::Connected).await;
    let kept = rig.vault.last();
    assert!(kept.wanted && kept.verified);

    drop(peer);
    rig.status(ConnectionStatus::Suspend).await;
    let _peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn a_refused_token_is_told_with_the_servers_words() {
    let rig = Rig::new().await;
    let mut callbacks = rig.connect("c").await.unwrap();
    let mut peer = rig.script.accept().await;
    let words = [bytes_of::reason_string("no such user")];
    peer.send(&bytes_of::connack(false, 0x87, &words)).await;
    callback(&mut callbacks).await;
    let Callback::Error(refusal) = callback(&mut callbacks).await else {
        panic!("no error");
    };
    assert_eq!(refusal.code, Code::RC_CONN_TOKEN_INCORRECT);
    assert!(refusal.text.contains("no such user"), "{}", refusal.text);
    rig.status(ConnectionStatus::TokenIncorrect).await;
    assert_eq!(peer.next_or_end().await, None);
}

#[tokio::test]
async fn a_kick_ends_the_connection() {
    let rig = Rig::new().await;
    let _callbacks = rig.connect("c").await.unwrap();
    let mut peer = rig.script.log_in().await;
    peer.send(&bytes_of::disconnect(0x8E, &[])).await;
    rig.status(ConnectionStatus::KickedOfflineByOtherClient).await;
}

#[tokio::test]
async fn a_server_without_mqtt_5_is_spoken_to_in_3() {
    let rig = Rig::new().await;
    let _callbacks = rig.connect("c").await.unwrap();
    let mut first = rig.script.accept().await;
    assert_eq!(first.version, 5);
    first.send(&bytes_of::connack_311(false, 1)).await;
    let second = rig.script.log_in().await;
    assert_eq!(second.version, 4);
    rig.status(ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn what_is_not_mqtt_suspends_with_a_reason_and_is_tried_again() {
    let rig = Rig::new().await;
    let _callbacks = rig.connect("c").await.unwrap();
    for (bytes, reason) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "HTTP"),
        (vec![0x20, 0xFF, 0xFF, 0xFF, 0x7F], "268435460"),
    ] {
        let mut peer = rig.script.accept().await;
        peer.send(&bytes).await;
        let told = rig.status(ConnectionStatus::Suspend).await;
        assert!(told.contains(reason), "{told}");
        assert_eq!(peer.next_or_end().await, None);
    }
    let mut half = rig.script.accept().await;
    half.send(&[0x20, 3, 0]).await;
    drop(half);
    let _peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn nothing_behind_an_unsafe_wanted_state_is_done_and_the_rest_is_served() {
    let rig = Rig::new().await;
    let mut callbacks = rig.connect("c").await.unwrap();
    let mut peer = rig.script.accept().await;
    callback(&mut callbacks).await;
    rig.vault.shut.send_replace(true);
    peer.log_in().await;
    // The login is through, but it is not safe yet: nobody is told. Commands and the socket are served.
    let phase = soon("an instance", rig.handle.instance(instance()))
        .await
        .unwrap()
        .1;
    assert!(matches!(phase, ConnectPhase::Pending | ConnectPhase::Succeeded));
    assert_ne!(rig.hub.status.newest().status.status, ConnectionStatus::Connected);
    assert!(callbacks.try_recv().is_err());
    rig.vault.shut.send_replace(false);
    assert_success(&callback(&mut callbacks).await);
    rig.status(ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn a_full_disk_does_not_stop_the_connection() {
    let mut vault = FakeVault::new();
    vault.fails = true;
    let rig = Rig::with(vault, Duration::from_secs(30), None).await;
    let _callbacks = rig.connect("c").await.unwrap();
    let _peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn while_what_comes_in_cannot_be_stored_the_status_says_why() {
    let rig = Rig::new().await;
    let _callbacks = rig.connect("c").await.unwrap();
    let _peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
    let mut board = rig.hub.status.watch();
    for why in [Some("no room".to_owned()), None] {
        let before = board.borrow_and_update().status.generation;
        rig.vault.full.send_replace(why.clone());
        let told = board.wait_for(|newest| newest.status.storage_full == why);
        let told = soon("the status", told).await.unwrap().status.clone();
        assert_eq!(told.status, ConnectionStatus::Connected);
        assert!(told.generation > before);
    }
}

#[tokio::test]
async fn a_stop_says_farewell_and_keeps_the_session() {
    let rig = Rig::new().await;
    let _callbacks = rig.connect("c").await.unwrap();
    let mut peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
    let (handle, task) = (rig.handle.clone(), rig.task);
    let stop = async {
        handle.stop().await;
        task.await.unwrap();
    };
    let server = async {
        assert_eq!(peer.next().await, Sent::Disconnect { body: vec![0] });
        assert_eq!(peer.next_or_end().await, None);
        drop(peer);
    };
    soon("the stop", async { tokio::join!(stop, server) }).await;
    assert!(rig.vault.last().wanted);
    assert!(rig.handle.disconnect(app()).await.is_err());
}

#[tokio::test]
async fn a_stop_does_not_wait_long_for_a_server_that_does_not_close() {
    let rig = Rig::new().await;
    let _callbacks = rig.connect("c").await.unwrap();
    let _peer = rig.script.log_in().await;
    soon("the stop", rig.handle.stop()).await;
    soon("the end", rig.task).await.unwrap();
}

#[tokio::test]
async fn the_task_ends_when_every_handle_is_gone() {
    let rig = Rig::new().await;
    drop(rig.handle);
    soon("the end", rig.task).await.unwrap();
}

#[tokio::test]
async fn the_next_dial_waits_until_the_old_socket_is_closed() {
    let rig = Rig::new().await;
    let _callbacks = rig.connect("c").await.unwrap();
    let mut old = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
    soon("logout", rig.handle.logout(app())).await.unwrap().unwrap();
    assert!(rig.vault.last().token.is_none());
    let _callbacks = rig.connect("d").await.unwrap();
    let expiry_0 = vec![0, 5, 17, 0, 0, 0, 0];
    assert_eq!(old.next().await, Sent::Disconnect { body: expiry_0 });
    let early = timeout(Duration::from_millis(100), rig.script.accept()).await;
    assert!(early.is_err(), "two sessions at once");
    drop(old);
    let _peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn the_newest_stream_of_a_connect_gets_its_callbacks() {
    let rig = Rig::new().await;
    let mut first = rig.connect("c").await.unwrap();
    let mut second = rig.connect("c").await.unwrap();
    let other = rig.connect("another").await.unwrap_err();
    assert_eq!(other.code, Code::RC_CONNECTION_EXIST);
    let _peer = rig.script.log_in().await;
    let mut last = callback(&mut second).await;
    while matches!(last, Callback::DatabaseOpened(_)) {
        last = callback(&mut second).await;
    }
    assert_success(&last);
    let mut rest = Vec::new();
    while let Some(callback) = soon("the end of the first", first.recv()).await {
        rest.push(callback);
    }
    assert!(
        rest.iter()
            .all(|callback| matches!(callback, Callback::DatabaseOpened(_))),
        "{rest:?}"
    );
}

#[tokio::test]
async fn a_restarted_daemon_dials_by_itself() {
    let rig = Rig::with(FakeVault::new(), Duration::from_secs(30), Some(remembered())).await;
    let _peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn a_silent_server_is_pinged_and_then_left() {
    let rig = Rig::with(FakeVault::new(), Duration::from_millis(800), Some(remembered())).await;
    let mut peer = rig.script.log_in().await;
    assert_eq!(peer.next().await, Sent::Ping);
    peer.send(&bytes_of::PINGRESP).await;
    assert_eq!(peer.next().await, Sent::Ping);
    // No answer any more.
    rig.status(ConnectionStatus::Suspend).await;
    let _peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
}

#[tokio::test]
async fn a_sleep_that_the_boot_clock_shows_is_followed_by_one_question_and_nothing_else_is() {
    thread_local! {
        static SLEPT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }
    let vault = FakeVault::new();
    let (script, server) = Script::listen().await;
    let (handle, hub, mut driver) = driver(server, &vault, Duration::from_secs(3600));
    driver.sleep = SleepWatch::of(|| SLEPT.get());
    let _task = tokio::spawn(driver.run(Some(remembered())));
    let mut peer = script.log_in().await;
    status(&hub, ConnectionStatus::Connected).await;
    // Whatever wakes the task, as a timer that fell due in the sleep would.
    let wake = || async { soon("an instance", handle.instance(instance())).await.unwrap() };
    for _ in 0..5 {
        wake().await;
    }
    for hours in 1..=3 {
        SLEPT.set(Duration::from_hours(hours));
        wake().await;
        assert_eq!(peer.next().await, Sent::Ping);
        peer.send(&bytes_of::PINGRESP).await;
        wake().await;
    }
    let (mut reader, mut writer) = peer.split();
    let quiet = timeout(Duration::from_millis(100), reader.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    status(&hub, ConnectionStatus::Connected).await;

    // Nobody answers after the fourth: 3 s later it is dialled again.
    SLEPT.set(Duration::from_hours(4));
    wake().await;
    assert_eq!(reader.next().await, Sent::Ping);
    status(&hub, ConnectionStatus::Suspend).await;
    writer.send(&bytes_of::PINGRESP).await;
    let _peer = script.log_in().await;
    status(&hub, ConnectionStatus::Connected).await;
}
