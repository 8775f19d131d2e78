//! Who gets in, as whom, and to which topics.

use imd::demo::broker::{Accounts, Broker, BrokerConfig, token};
use imd_core::account::{AppKey, UserId};
use imd_core::time::UnixTime;

use crate::client::{Client, Options};

struct Town {
    broker: Broker,
    accounts: Accounts,
    alice: String,
    bob: String,
}

fn app() -> AppKey {
    AppKey::parse("K").unwrap()
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn now() -> UnixTime {
    imd::clock::now().unix
}

fn town() -> Town {
    let accounts = Accounts::new();
    accounts.add_app(&app(), b"secret");
    accounts.join(&app(), "team", &user("alice"));
    accounts.join(&app(), "team", &user("bob"));
    accounts.add_service("system", "service password");
    let broker = Broker::start(BrokerConfig::with_accounts(accounts.clone())).unwrap();
    Town {
        broker,
        accounts,
        alice: token(b"secret", "K", "alice", 3600, now()),
        bob: token(b"secret", "K", "bob", 3600, now()),
    }
}

#[tokio::test]
async fn a_wrong_an_expired_and_a_foreign_login_are_refused_each_with_its_code() {
    let town = town();
    let expired = token(b"secret", "K", "alice", -3600, now());
    for (client_id, name, password, five, three) in [
        ("desktop:K:alice", "alice", town.alice.as_str(), 0, 0),
        ("desktop:K:alice", "alice", "wrong", 0x86, 4),
        ("desktop:K:alice", "alice", &town.bob, 0x86, 4),
        ("desktop:K:alice", "alice", &expired, 0x87, 5),
        ("desktop:K:bob", "alice", &town.alice, 0x85, 2),
        ("desktop:other:alice", "alice", &town.alice, 0x85, 2),
    ] {
        let options = Options::new(client_id).login(name, password);
        assert_eq!(
            Client::open(&town.broker, &options).await.1.code,
            five,
            "{client_id} {name}"
        );
        let options = Options::v3(client_id).login(name, password);
        assert_eq!(
            Client::open(&town.broker, &options).await.1.code,
            three,
            "{client_id} {name}"
        );
    }
}

#[tokio::test]
async fn forbidden_topics_are_refused_one_by_one_and_the_connection_stays() {
    let town = town();
    for (options, refusal) in [
        (Options::new("desktop:K:alice"), 0x87),
        (Options::v3("desktop:K:alice"), 0x80),
    ] {
        let mut alice = Client::connect(&town.broker, &options.login("alice", &town.alice)).await;
        assert_eq!(alice.subscribe("im/K/u/alice/+").await, 1);
        assert_eq!(alice.subscribe("im/K/s/alice").await, 1);
        assert_eq!(alice.subscribe("im/K/c/alice/+").await, 1);
        assert_eq!(alice.subscribe("im/K/g/team/+").await, 1);
        assert_eq!(alice.subscribe("im/K/u/bob/+").await, refusal);
        assert_eq!(alice.subscribe("im/K/g/board/+").await, refusal);
        assert_eq!(alice.subscribe("#").await, refusal);
        let not_authorized = if refusal == 0x87 { 0x87 } else { 0 };
        assert_eq!(alice.publish("im/K/u/alice/bob", "forged").await, not_authorized);
        assert_eq!(alice.publish("im/K/s/alice", "forged").await, not_authorized);
        assert!(alice.is_quiet().await);
        alice.disconnect(Some(0)).await;
        alice.end().await;
    }
}

#[tokio::test]
async fn members_reach_each_other_and_the_system_reaches_all() {
    let town = town();
    let mut alice = Client::connect(
        &town.broker,
        &Options::new("desktop:K:alice").login("alice", &town.alice),
    )
    .await;
    let mut bob = Client::connect(
        &town.broker,
        &Options::v3("desktop:K:bob").login("bob", &town.bob),
    )
    .await;
    alice.subscribe("im/K/u/alice/+").await;
    alice.subscribe("im/K/g/team/+").await;
    alice.subscribe("im/K/s/alice").await;
    bob.publish("im/K/u/alice/bob", "private").await;
    assert_eq!(alice.take().await.topic, "im/K/u/alice/bob");
    bob.publish("im/K/g/team/bob", "group").await;
    assert_eq!(alice.take().await.payload, "group");
    let mut system = Client::connect(
        &town.broker,
        &Options::new("anything").login("system", "service password"),
    )
    .await;
    assert_eq!(system.publish("im/K/s/alice", "notice").await, 0);
    assert_eq!(alice.take().await.payload, "notice");

    town.accounts.leave(&app(), "team", &user("alice"));
    bob.publish("im/K/g/team/bob", "after she left").await;
    assert!(alice.is_quiet().await);
}

#[tokio::test]
async fn who_comes_without_a_name_is_told_it_and_may_do_nothing_else() {
    let town = town();
    // A password without a user name is legal in MQTT 5, but the codec writes no such CONNECT.
    let anonymous = |token: &str| {
        let mut body = b"\0\x04MQTT\x05\x42\0\x3c\0\0\x06random".to_vec();
        body.extend(u16::try_from(token.len()).unwrap().to_be_bytes());
        body.extend(token.as_bytes());
        let length = body.len();
        assert!((128..16_384).contains(&length));
        let low = u8::try_from(length & 0x7F).unwrap() | 0x80;
        let high = u8::try_from(length >> 7).unwrap();
        [&[0x10, low, high][..], &body].concat()
    };
    let mut client = Client::dial(town.broker.address(), imd::demo::broker::Protocol::V5).await;
    client.send_raw(&anonymous(&town.alice)).await;
    let header = client.raw_bytes(2).await;
    let connack = client.raw_bytes(usize::from(header[1])).await;
    assert_eq!((header[0], connack[1]), (0x20, 0));
    let text = String::from_utf8_lossy(&connack).into_owned();
    assert!(text.contains("im-user-id\0\u{5}alice"), "{text:?}");

    // An empty user name means the same.
    let (mut client, connack) =
        Client::open(&town.broker, &Options::new("random2").login("", &town.bob)).await;
    assert_eq!(connack.code, 0);
    assert_eq!(connack.properties, [("im-user-id".to_owned(), "bob".to_owned())]);
    assert_eq!(client.subscribe("im/K/u/bob/+").await, 0x87);
    assert_eq!(client.publish("im/K/u/alice/bob", "x").await, 0x87);
    client.disconnect(None).await;
    client.end().await;
    assert_eq!(town.broker.session("random2"), None);

    let mut client = Client::dial(town.broker.address(), imd::demo::broker::Protocol::V5).await;
    client
        .send_raw(&anonymous(&token(b"wrong", "K", "alice", 60, now())))
        .await;
    let connack = client.raw_bytes(4).await;
    assert_eq!(connack[3], 0x86);
}

#[tokio::test]
async fn a_session_is_never_given_to_another_user() {
    let town = town();
    // A user id may have a colon in it: it still is no other user with something behind it.
    let colon = token(b"secret", "K", "alice:b", 3600, now());
    let client_id = "desktop:K:alice:b";
    let own = Options::new(client_id).login("alice:b", &colon);
    let mut holder = Client::connect(&town.broker, &own).await;
    let other = Options::new(client_id).login("alice", &town.alice);
    assert_eq!(Client::open(&town.broker, &other).await.1.code, 0x85);
    // Nor to somebody who came to learn a name.
    let lost = Options::new(client_id).login("", &town.bob);
    assert_eq!(Client::open(&town.broker, &lost).await.1.code, 0x85);
    assert!(holder.is_quiet().await);
}
