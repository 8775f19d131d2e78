use std::time::Duration;

use bytes::BytesMut;
use imd_core::account::{AppKey, DeviceClass, InstallationId, Token, UserId};
use imd_core::io::{Dial, Epoch, Identity, Protocol};
use imd_core::server::{Server, Transport};
use imd_core::time::{BootTime, UnixTime};
use imd_proto::im::wire::v1::Envelope;
use prost::Message as _;
use tokio::time::timeout;

use super::*;
use crate::link::bytes_of::{self, Sent, sent};
use crate::link::fake_vault::{FakeVault, private};
use crate::link::session::{Device, Told};

fn account() -> Account {
    Account {
        app_key: AppKey::parse("K").unwrap(),
        user_id: UserId::parse("alice").unwrap(),
    }
}

fn now() -> Now {
    Now {
        boot: BootTime::since_boot(Duration::from_secs(1)),
        unix: UnixTime::from_millis(1_700_000_000_000),
    }
}

/// A session the server has accepted.
fn session(present: bool, properties: &[Vec<u8>]) -> Session {
    let dial = Dial {
        epoch: Epoch(1),
        app_key: account().app_key,
        server: Server {
            transport: Transport::Tcp,
            host: "127.0.0.1".into(),
            port: 1883,
            path: "".into(),
        },
        others: Vec::new(),
        protocol: Protocol::V5,
        client_id: "desktop:K:alice".to_owned(),
        identity: Identity::Known(account()),
        token: Token::parse("t".to_owned()).ok().unwrap(),
        clean: false,
        session_expiry: Duration::from_secs(60),
        keep_alive: Duration::from_secs(30),
    };
    let device = Device {
        class: DeviceClass::default(),
        installation: InstallationId::new("here"),
    };
    let mut session = Session::open(&dial, device, Default::default()).unwrap();
    session.output().clear();
    let acceptance = bytes_of::connack(present, 0, properties);
    session.received(now(), &mut BytesMut::from(&acceptance[..]));
    while session.poll_told().is_some() {}
    session
}

struct Test {
    vault: Arc<FakeVault>,
    outbox: Outbox<FakeVault>,
}

impl Test {
    fn new() -> Self {
        let vault = Arc::new(FakeVault::new());
        let outbox = Outbox::new(Arc::clone(&vault), account(), "here".to_owned());
        Self { vault, outbox }
    }

    fn log_in(&mut self, session: &mut Session) {
        self.outbox.accepted(session);
        self.outbox.logged_in(session);
    }

    /// Pumps until nothing happens any more; what was sent meanwhile: the packet id, the uid, the duplicate
    /// flag.
    async fn pump(&mut self, session: &mut Session) -> Vec<(u16, String, bool)> {
        let mut all = Vec::new();
        loop {
            self.outbox.pump(Some(session), now());
            while !session.output().is_empty() {
                for sent in sent(&session.output().split(), 5) {
                    let Sent::Publish { id, dup, payload, .. } = sent else {
                        panic!("{sent:?}");
                    };
                    all.push((id, Envelope::decode(&payload[..]).unwrap().uid, dup));
                }
                self.outbox.pump(Some(session), now());
            }
            match timeout(Duration::from_millis(20), self.outbox.next()).await {
                Ok(progress) => self.outbox.progressed(progress, now()),
                Err(_) => return all,
            }
        }
    }

    fn answer(&mut self, session: &mut Session, bytes: &[u8]) {
        session.received(now(), &mut BytesMut::from(bytes));
        while let Some(told) = session.poll_told() {
            if let Told::Acknowledged {
                packet,
                reason,
                words,
            } = told
            {
                self.outbox.acknowledged(packet, reason, &words);
            }
        }
        assert!(!session.is_over());
    }
}

fn uids(sent: &[(u16, String, bool)]) -> Vec<&str> {
    sent.iter().map(|(_, uid, _)| uid.as_str()).collect()
}

#[tokio::test]
async fn a_smaller_window_after_a_cut_brings_the_same_messages_in_order_and_no_more_at_a_time() {
    let mut test = Test::new();
    test.vault
        .enqueue_texts("bob", (0..6).map(|number| format!("m{number}")));
    let mut first = session(false, &[bytes_of::receive_maximum(4)]);
    test.log_in(&mut first);
    let sent = test.pump(&mut first).await;
    assert_eq!(uids(&sent), ["m0", "m1", "m2", "m3"]);
    let ids: Vec<u16> = sent.iter().map(|(id, ..)| *id).collect();
    test.outbox.link_ended();

    let mut second = session(true, &[bytes_of::receive_maximum(2)]);
    test.log_in(&mut second);
    let mut again = test.pump(&mut second).await;
    assert_eq!(again.len(), 2);
    while again.len() < 6 {
        let answered = again.len() - 2;
        test.answer(&mut second, &bytes_of::puback(again[answered].0));
        let more = test.pump(&mut second).await;
        assert_eq!(more.len(), 1);
        again.extend(more);
    }
    assert_eq!(uids(&again), ["m0", "m1", "m2", "m3", "m4", "m5"]);
    assert_eq!(again[..4].iter().map(|(id, ..)| *id).collect::<Vec<_>>(), ids);
    assert!(again[..4].iter().all(|(_, _, dup)| *dup));
    assert!(again[4..].iter().all(|(_, _, dup)| !*dup));
}

#[tokio::test]
async fn a_message_the_server_finds_too_large_fails_alone() {
    let mut test = Test::new();
    test.vault.enqueue([
        (private("bob"), "small".to_owned(), vec![1]),
        (private("bob"), "large".to_owned(), vec![0; 5000]),
        (private("bob"), "next".to_owned(), vec![2]),
    ]);
    let mut session = session(false, &[bytes_of::maximum_packet_size(4096)]);
    test.log_in(&mut session);
    let sent = test.pump(&mut session).await;
    assert_eq!(uids(&sent), ["small", "next"]);
    let failed = test.vault.row("large");
    assert_eq!((failed.state, failed.code), (20, 30_016));
    assert!(failed.text.contains("4096"), "{}", failed.text);
}

#[tokio::test]
async fn receipts_are_split_where_they_are_too_many_or_too_large() {
    for (properties, parts) in [(vec![], 3), (vec![bytes_of::maximum_packet_size(10_000)], 10)] {
        let mut test = Test::new();
        test.vault.contents().receipts = (0..2500)
            .map(|number| ("bob".to_owned(), format!("{number:0>36}")))
            .collect();
        let mut session = session(false, &properties);
        test.log_in(&mut session);
        let sent = test.pump(&mut session).await;
        assert_eq!(sent.len(), parts);
        for (id, ..) in &sent {
            test.answer(&mut session, &bytes_of::puback(*id));
        }
        assert_eq!(test.pump(&mut session).await, []);
        assert!(test.vault.contents().receipts.is_empty());
    }
}

#[tokio::test]
async fn receipts_under_way_are_not_sent_twice_and_a_refused_one_not_again() {
    let mut test = Test::new();
    test.vault
        .contents()
        .receipts
        .push(("bob".to_owned(), "a".to_owned()));
    let mut session = session(false, &[]);
    test.log_in(&mut session);
    let sent = test.pump(&mut session).await;
    assert_eq!(sent.len(), 1);
    test.vault
        .contents()
        .receipts
        .push(("bob".to_owned(), "b".to_owned()));
    test.vault.enqueue_texts("carol", ["m".to_owned()]);
    assert_eq!(uids(&test.pump(&mut session).await), ["m"]);
    test.answer(&mut session, &bytes_of::puback_refusing(sent[0].0, 0x87, &[]));
    assert_eq!(test.pump(&mut session).await.len(), 1, "b's receipt");
    assert_eq!(
        test.vault.contents().receipts,
        [("bob".to_owned(), "b".to_owned())]
    );
}

#[tokio::test]
async fn what_was_loaded_and_not_sent_is_loaded_again_after_a_cut() {
    let mut test = Test::new();
    test.vault
        .enqueue_texts("bob", (0..9).map(|number| format!("m{number}")));
    let mut first = session(false, &[bytes_of::receive_maximum(1)]);
    test.log_in(&mut first);
    let sent = test.pump(&mut first).await;
    test.answer(&mut first, &bytes_of::puback(sent[0].0));
    test.pump(&mut first).await;
    test.outbox.link_ended();
    // It was deleted while the network was down.
    test.vault.contents().rows.remove(&4);
    let mut second = session(false, &[]);
    test.log_in(&mut second);
    let sent = test.pump(&mut second).await;
    assert_eq!(uids(&sent), ["m1", "m2", "m4", "m5", "m6", "m7", "m8"]);
    assert!(sent.iter().all(|(_, _, dup)| !dup));
}

#[tokio::test]
async fn large_messages_are_in_flight_by_their_bytes() {
    let mut test = Test::new();
    test.vault
        .enqueue((0..100).map(|number| (private("bob"), format!("m{number}"), vec![0; 128 * 1024])));
    let mut session = session(false, &[]);
    test.log_in(&mut session);
    let sent = test.pump(&mut session).await;
    assert!((32..=34).contains(&sent.len()), "{}", sent.len());
    for (id, ..) in &sent {
        test.answer(&mut session, &bytes_of::puback(*id));
    }
    assert!(test.pump(&mut session).await.len() >= 32);
}

#[tokio::test(start_paused = true)]
async fn an_answer_the_store_does_not_take_is_given_until_it_does() {
    let mut test = Test::new();
    test.vault.enqueue_texts("bob", ["m".to_owned()]);
    let mut session = session(false, &[]);
    test.log_in(&mut session);
    let sent = test.pump(&mut session).await;
    test.vault.contents().failing.insert("published");
    test.answer(&mut session, &bytes_of::puback(sent[0].0));
    test.outbox.link_ended();
    assert!(
        timeout(Duration::from_secs(500), test.outbox.settle())
            .await
            .is_err()
    );
    test.vault.contents().failing.clear();
    test.outbox.settle().await;
    assert_eq!(test.vault.row("m").state, 30);
}

#[test]
fn answers_have_the_codes_of_the_table() {
    let code = |to_group, reason| match flight::answer(to_group, reason, &Words::default()) {
        Published::Refused { code, .. } => code,
        Published::Taken { .. } => 0,
    };
    assert_eq!(code(false, 0), 0);
    assert_eq!(code(false, 0x10), 0);
    assert_eq!(code(true, 0x87), 22_406);
    assert_eq!(code(false, 0x87), -1);
    assert_eq!(code(true, 0x90), 22_406);
    assert_eq!(code(false, 0x90), -1);
    assert_eq!(code(false, 0x95), 30_016);
    let words = Words {
        user_properties: vec![("im-code".to_owned(), "405".to_owned())],
        ..Words::default()
    };
    let answer = flight::answer(false, 0x87, &words);
    assert!(
        matches!(answer, Published::Refused { code: 405, .. }),
        "{answer:?}"
    );
    let nobody = flight::answer(false, 0x10, &Words::default());
    assert_eq!(nobody, Published::Taken { no_receiver: true });
}

#[tokio::test]
async fn a_message_on_which_the_server_closes_is_given_up_and_the_others_go() {
    let mut test = Test::new();
    test.vault
        .enqueue_texts("bob", ["good", "poison", "next", "last"].map(str::to_owned));
    let mut connections = 0;
    // The server answers what comes before the poison, and closes on it.
    while test.vault.row("last").state == 10 {
        connections += 1;
        assert!(connections < 10, "{:?}", test.vault.in_state(10));
        let mut session = session(true, &[]);
        test.log_in(&mut session);
        let mut alive = true;
        while alive {
            let sent = test.pump(&mut session).await;
            alive = !sent.is_empty();
            for (id, uid, _) in sent {
                if uid == "poison" {
                    alive = false;
                    break;
                }
                test.answer(&mut session, &bytes_of::puback(id));
            }
        }
        test.outbox.closed_by_server(None);
        test.outbox.link_ended();
        test.outbox.settle().await;
    }
    let poison = test.vault.row("poison");
    assert_eq!((poison.state, poison.code), (20, -1));
    assert!(
        poison.text.contains("closed the connection without a word"),
        "{}",
        poison.text
    );
    assert_eq!(test.vault.in_state(30), ["good", "next", "last"]);
}

#[tokio::test]
async fn a_server_that_goes_away_for_its_own_reasons_fails_no_message() {
    let mut test = Test::new();
    test.vault.enqueue_texts("bob", ["m".to_owned()]);
    for _ in 0..20 {
        let mut session = session(true, &[]);
        test.log_in(&mut session);
        assert_eq!(test.pump(&mut session).await.len(), 1);
        // Shutting down.
        test.outbox.closed_by_server(Some(0x8B));
        test.outbox.link_ended();
    }
    assert_eq!(test.vault.in_state(10), ["m"]);
}
