//! Two links with their real stores and the demo's broker between them: what is accepted arrives, once, in
//! order, whatever happens to the connections.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail by panicking, as the test itself does"
)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use imd::demo::broker::{Broker, BrokerConfig, Cut, Event};
use imd::hub::Hub;
use imd::lifecycle::StoreRows;
use imd::link::{Device, Driver, Handle, Surroundings};
use imd::network::View;
use imd::store::rows::{ConversationKey, ConversationKind, Outgoing};
use imd::store::{Store, StorePaths};
use imd::system_bus::News;
use imd_core::Core;
use imd_core::account::{AppKey, DeviceClass, InstallationId, Token, UserId};
use imd_core::io::{Config, ConnectionStatus, LoginPolicy, Remembered, ServerDirectory};
use imd_core::server::{Server, Transport};
use tokio::sync::watch;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

const EXPIRY: Duration = Duration::from_secs(3600);

/// One person's daemon, without its socket.
struct Person {
    name: &'static str,
    dir: tempfile::TempDir,
    store: Store,
    link: Handle,
    hub: Arc<Hub>,
}

impl Person {
    async fn start(name: &'static str, broker: &Broker) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = StorePaths {
            data_dir: dir.path().to_owned(),
            session_file: dir.path().join("session.json"),
        };
        let (store, _) = Store::start(paths, true, EXPIRY).unwrap();
        let device = Device {
            class: DeviceClass::default(),
            installation: InstallationId::new(store.installation()),
        };
        let server = Server {
            transport: Transport::Tcp,
            host: "127.0.0.1".into(),
            port: broker.address().port(),
            path: "".into(),
        };
        let core = Core::new(Config {
            servers: ServerDirectory {
                default: vec![server],
                ..ServerDirectory::default()
            },
            device_class: device.class.clone(),
            login: LoginPolicy::One,
            installation: device.installation.clone(),
            keep_alive: Duration::from_secs(30),
            session_expiry: EXPIRY,
            seed: 7,
        });
        let hub = Arc::new(Hub::default());
        let (link, commands) = Handle::new();
        let rows = StoreRows::new(store.clone(), None);
        let surroundings = Surroundings::new(watch::channel(View::unknown()).1, News::none());
        let directory = Arc::default();
        let driver = Driver::new(
            core,
            rows,
            Arc::clone(&hub),
            device,
            directory,
            commands,
            surroundings,
        )
        .unwrap();
        let remembered = Remembered {
            app_key: AppKey::parse("K").unwrap(),
            user_id: UserId::parse(name).ok(),
            token: Token::parse("t".to_owned()).ok(),
            updated_token: None,
            wanted: true,
            verified: true,
            last_code: None,
        };
        tokio::spawn(driver.run(Some(remembered)));
        let person = Self {
            name,
            dir,
            store,
            link,
            hub,
        };
        person.connected().await;
        person
    }

    async fn connected(&self) {
        let mut status = self.hub.status.watch();
        let connected = status.wait_for(|published| published.status.status == ConnectionStatus::Connected);
        timeout(PATIENCE, connected)
            .await
            .expect("connected in time")
            .unwrap();
    }

    async fn send(&self, kind: ConversationKind, target: &str, uid: String) {
        let outgoing = Outgoing {
            conversation: ConversationKey {
                kind,
                target: target.to_owned(),
            },
            uid,
            object_name: "RC:TxtMsg".to_owned(),
            content: br#"{"content":"hi"}"#.to_vec(),
            flags: 3,
            sent_time: 1,
        };
        self.store.enqueue(outgoing).await.unwrap();
    }

    fn database(&self) -> PathBuf {
        let accounts = std::fs::read_dir(self.dir.path().join("accounts")).unwrap();
        let account = accounts.map(|entry| entry.unwrap().path()).next();
        account.unwrap().join("account.db")
    }

    /// What a query finds in the account's database, read beside the daemon.
    fn texts(&self, query: &str) -> Vec<String> {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let database = rusqlite::Connection::open_with_flags(self.database(), flags).unwrap();
        let mut statement = database.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    async fn wait(&self, query: &str, count: usize) -> Vec<String> {
        let found = async {
            loop {
                let found = self.texts(query);
                if found.len() >= count {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("{}: {query}: {} of {count}", self.name, self.texts(query).len()),
        }
    }

    fn client_id(&self) -> String {
        format!("desktop:K:{}", self.name)
    }

    /// Whether a message has come from this person's link, or has been sent over it.
    fn has_moved(&self, event: &Event) -> bool {
        if let Event::Published {
            client_id: Some(id), ..
        }
        | Event::Delivered { client_id: id, .. } = event
        {
            *id == self.client_id()
        } else {
            false
        }
    }
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number}")).collect()
}

#[tokio::test]
async fn what_is_accepted_arrives_once_and_in_order_while_the_connections_are_cut() {
    const COUNT: usize = 600;
    let mut config = BrokerConfig::default();
    (config.receive_maximum, config.send_maximum) = (20, 20);
    let broker = Broker::start(config).unwrap();
    let alice = Person::start("alice", &broker).await;
    let bob = Person::start("bob", &broker).await;
    let joined = bob.link.join_group("staff".to_owned()).await.unwrap();
    assert_eq!(joined, Ok(()));
    let sending = async {
        for number in 0..COUNT {
            alice
                .send(ConversationKind::Private, "bob", format!("p{number}"))
                .await;
            alice
                .send(ConversationKind::Group, "staff", format!("g{number}"))
                .await;
        }
    };
    // Each cut comes when the person has had some messages over a link: so it is up, and has something to do.
    let cutting = async {
        let mut events = broker.events();
        for round in 0..12 {
            let (person, seen) = if round % 2 == 0 { (&alice, 7) } else { (&bob, 11) };
            for _ in 0..seen + round {
                let moved = events.wait_for(|event| person.has_moved(event), PATIENCE);
                moved.await.unwrap();
            }
            let how = if round % 3 == 0 { Cut::Close } else { Cut::Reset };
            broker.cut(person.client_id().as_str(), how);
            events.skip_past();
        }
    };
    tokio::join!(sending, cutting);

    let received = "SELECT uid FROM messages WHERE sender = 'alice' AND uid LIKE 'p%' ORDER BY message_id";
    assert_eq!(bob.wait(received, COUNT).await, numbered("p", COUNT));
    let received = "SELECT uid FROM messages WHERE sender = 'alice' AND uid LIKE 'g%' ORDER BY message_id";
    assert_eq!(bob.wait(received, COUNT).await, numbered("g", COUNT));
    alice
        .wait("SELECT uid FROM messages WHERE sent_status = 40", COUNT)
        .await;
    alice
        .wait(
            "SELECT uid FROM messages WHERE sent_status = 30 AND uid LIKE 'g%'",
            COUNT,
        )
        .await;
    assert_eq!(
        alice
            .texts("SELECT uid FROM messages JOIN outbox USING (message_id)")
            .len(),
        0
    );
    assert_eq!(bob.texts("SELECT uid FROM receipts_due").len(), 0);
    assert_eq!(bob.texts("SELECT reason FROM unreadable").len(), 0);
}

#[tokio::test]
async fn what_was_sent_to_somebody_away_arrives_when_they_come_back() {
    let broker = Broker::start(BrokerConfig::default()).unwrap();
    let bob = Person::start("bob", &broker).await;
    bob.link.stop().await;
    let alice = Person::start("alice", &broker).await;
    for uid in numbered("p", 50) {
        alice.send(ConversationKind::Private, "bob", uid).await;
    }
    alice
        .wait("SELECT uid FROM messages WHERE sent_status = 30", 50)
        .await;
    drop(bob);
    let bob = Person::start("bob", &broker).await;
    assert_eq!(
        bob.wait("SELECT uid FROM messages ORDER BY message_id", 50).await,
        numbered("p", 50)
    );
    alice
        .wait("SELECT uid FROM messages WHERE sent_status = 40", 50)
        .await;
}
