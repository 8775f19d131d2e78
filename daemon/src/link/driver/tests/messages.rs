//! Messages through the whole link, against the demo's broker.

use imd_core::server::Transport;
use imd_proto::im::wire::v1::{Envelope, Receipt};
use prost::Message as _;

use super::*;
use crate::demo::broker::{
    Broker, BrokerConfig, ConnectAnswer, Cut, Event, Gate, PublishAnswer, Sessions, Times, Who,
};
use crate::link::fake_vault::{FakeVault, group, private};

const CLIENT: &str = "desktop:K:alice";

const PATIENCE: Duration = Duration::from_secs(10);

/// A running driver that is logged in as alice at a broker.
struct House {
    broker: Broker,
    vault: FakeVault,
    handle: Handle,
    hub: Arc<Hub>,
}

impl House {
    async fn new() -> Self {
        Self::with(FakeVault::new(), BrokerConfig::default()).await
    }

    async fn with(vault: FakeVault, config: BrokerConfig) -> Self {
        let house = Self::start(vault, config);
        house.connected().await;
        house
    }

    fn start(vault: FakeVault, config: BrokerConfig) -> Self {
        let broker = Broker::start(config).unwrap();
        let server = Server {
            transport: Transport::Tcp,
            host: "127.0.0.1".into(),
            port: broker.address().port(),
            path: "".into(),
        };
        let (handle, hub, _) = start(server, &vault, Duration::from_secs(30), Some(remembered()));
        Self {
            broker,
            vault,
            handle,
            hub,
        }
    }

    async fn connected(&self) {
        status(&self.hub, ConnectionStatus::Connected).await;
    }

    /// Cuts the connection, and waits for the next.
    async fn cut(&self) {
        let before = self.broker.total_connects();
        assert_eq!(self.broker.cut(CLIENT, Cut::Reset), 1);
        self.next_login(before).await;
    }

    /// Waits until there have been more CONNECTs than this.
    async fn next_login(&self, before: u64) {
        soon("the next login", async {
            while self.broker.total_connects() <= before {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
        self.connected().await;
    }

    /// Publishes to alice, in the name of another.
    fn bob_says(&self, uids: impl IntoIterator<Item = String>) {
        for uid in uids {
            self.broker.publish("im/K/u/alice/bob", &envelope(&uid), false);
        }
    }

    async fn event(&self, wanted: impl FnMut(&Event) -> bool) -> Event {
        self.broker.wait_for(wanted, PATIENCE).await.unwrap().event
    }

    /// What alice has published to bob, in order: the uid, and whether it was a duplicate.
    fn published(&self) -> Vec<(String, bool)> {
        let mut events = self.broker.events();
        let mut all = Vec::new();
        for record in events.take() {
            if let Event::Published {
                client_id: Some(client),
                topic,
                payload,
                dup,
                ..
            } = record.event
                && client == CLIENT
                && !topic.starts_with("im/K/c/")
            {
                all.push((Envelope::decode(payload).unwrap().uid, dup));
            }
        }
        all
    }

    fn waits_at_the_broker(&self) -> usize {
        let session = self.broker.session(CLIENT).unwrap();
        session.queued + session.in_flight
    }

    async fn drained(&self) {
        soon("the broker's queue", async {
            while self.waits_at_the_broker() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

pub(super) fn envelope(uid: &str) -> Vec<u8> {
    Envelope {
        uid: uid.to_owned(),
        origin: "there".to_owned(),
        object_name: "RC:TxtMsg".to_owned(),
        content: br#"{"content":"hi"}"#.to_vec().into(),
        flags: 3,
        ..Envelope::default()
    }
    .encode_to_vec()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| format!("m{number}")).collect()
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_committed() {
    let house = House::new().await;
    house.vault.held.send_replace(true);
    house.bob_says(numbered(0..3));
    let mut delivered = 0;
    house
        .event(|event| {
            delivered +=
                usize::from(matches!(event, Event::Delivered { topic, .. } if topic.contains("/u/")));
            delivered == 3
        })
        .await;
    // The core answers, so the driver has had its time.
    soon("an instance", house.handle.instance(instance()))
        .await
        .unwrap();
    assert_eq!(house.waits_at_the_broker(), 3);
    assert_eq!(house.vault.received(), Vec::<String>::new());
    house.vault.held.send_replace(false);
    house
        .vault
        .wait("three arrivals", |kept| kept.arrivals.len() == 3)
        .await;
    house.drained().await;
    assert_eq!(house.vault.received(), numbered(0..3));
}

#[tokio::test]
async fn a_commit_that_ends_on_another_connection_acknowledges_nothing_there() {
    let house = House::new().await;
    house.vault.held.send_replace(true);
    house.bob_says(numbered(0..5));
    house
        .event(|event| matches!(event, Event::Delivered { topic, .. } if topic.contains("/u/")))
        .await;
    house.cut().await;
    house.bob_says(numbered(5..8));
    house.vault.held.send_replace(false);
    house
        .vault
        .wait("eight arrivals", |kept| kept.arrivals.len() == 8)
        .await;
    house.drained().await;
    assert_eq!(house.vault.received(), numbered(0..8));
    assert_eq!(
        house.broker.total_connects(),
        2,
        "no stale PUBACK has ended a connection"
    );
}

#[tokio::test]
async fn an_acknowledgement_lost_after_the_commit_brings_the_message_again_and_it_counts_once() {
    let house = House::new().await;
    house.vault.held.send_replace(true);
    house.bob_says(numbered(0..2));
    let mut delivered = 0;
    house
        .event(|event| {
            delivered +=
                usize::from(matches!(event, Event::Delivered { topic, .. } if topic.contains("/u/")));
            delivered == 2
        })
        .await;
    house.broker.freeze(CLIENT);
    house.vault.held.send_replace(false);
    house
        .vault
        .wait("the commit", |kept| kept.arrivals.len() == 2)
        .await;
    house.cut().await;
    house.drained().await;
    let again =
        |event: &Event| matches!(event, Event::Delivered { topic, dup: true, .. } if topic.contains("/u/"));
    house.event(again).await;
    assert_eq!(house.vault.received(), numbered(0..2));
}

#[tokio::test]
async fn a_store_that_cannot_take_messages_ends_the_connection_and_they_come_again() {
    let house = House::new().await;
    house.vault.contents().failing.insert("receive");
    house.bob_says(numbered(0..2));
    let reason = status(&house.hub, ConnectionStatus::Suspend).await;
    assert!(reason.contains("no space left on device"), "{reason}");
    house.vault.contents().failing.clear();
    house
        .vault
        .wait("both arrivals", |kept| kept.arrivals.len() == 2)
        .await;
    house.drained().await;
}

#[tokio::test]
async fn the_outbox_is_sent_in_order_with_many_answers_in_one_commit() {
    let house = House::new().await;
    house.vault.enqueue_texts("bob", numbered(0..2000));
    house
        .vault
        .wait("all sent", |kept| kept.rows.values().all(|row| row.state == 30))
        .await;
    let sent: Vec<String> = house.published().into_iter().map(|(uid, _)| uid).collect();
    assert_eq!(sent, numbered(0..2000));
    let calls = house.vault.contents().published_calls;
    assert!(calls < 1000, "{calls} commits for 2,000 answers");
    let row = house.vault.row("m7");
    assert!(row.no_receiver, "bob was never here");
}

#[tokio::test]
async fn no_more_is_in_flight_than_the_server_allows() {
    let config = BrokerConfig {
        receive_maximum: 10,
        ..BrokerConfig::default()
    };
    let house = House::with(FakeVault::new(), config).await;
    let gate = Gate::new();
    let hold = PublishAnswer::Hold(gate.clone());
    house
        .broker
        .script()
        .on_publish(CLIENT, "im/K/u/#", Times::Always, hold);
    house.vault.enqueue_texts("bob", numbered(0..50));
    soon("ten", gate.wait_arrived(10)).await;
    let more = timeout(Duration::from_millis(100), gate.wait_arrived(11)).await;
    assert!(more.is_err(), "an eleventh");
    gate.open();
    house
        .vault
        .wait("all sent", |kept| kept.rows.values().all(|row| row.state == 30))
        .await;
    assert_eq!(house.broker.total_connects(), 1);
}

#[tokio::test]
async fn after_a_cut_what_was_not_answered_goes_out_again_as_duplicates_in_order() {
    for answer in [None, Some(ConnectAnswer::Version311(1))] {
        let broker = BrokerConfig::default();
        let house = House::start(FakeVault::new(), broker);
        if let Some(answer) = answer {
            let five = Who::Speaks(crate::demo::broker::Protocol::V5);
            house.broker.script().on_connect(five, Times::Always, answer);
        }
        house.connected().await;
        let gate = Gate::new();
        let hold = PublishAnswer::Hold(gate.clone());
        house
            .broker
            .script()
            .on_publish(CLIENT, "im/K/u/#", Times::Next(5), hold);
        house.vault.enqueue_texts("bob", numbered(0..5));
        soon("five", gate.wait_arrived(5)).await;
        house.cut().await;
        house.vault.enqueue_texts("bob", numbered(5..7));
        house
            .vault
            .wait("all sent", |kept| kept.rows.values().all(|row| row.state == 30))
            .await;
        let mut expected: Vec<(String, bool)> = numbered(0..5).into_iter().map(|uid| (uid, false)).collect();
        expected.extend(numbered(0..5).into_iter().map(|uid| (uid, true)));
        expected.extend(numbered(5..7).into_iter().map(|uid| (uid, false)));
        assert_eq!(house.published(), expected);
        assert_eq!(house.vault.contents().rows.len(), 7);
    }
}

#[tokio::test]
async fn after_a_lost_session_what_was_not_answered_goes_out_afresh() {
    let house = House::new().await;
    let hold = PublishAnswer::Hold(Gate::new());
    house
        .broker
        .script()
        .on_publish(CLIENT, "im/K/u/#", Times::Next(3), hold);
    house.vault.enqueue_texts("bob", numbered(0..3));
    house
        .event(|event| matches!(event, Event::Published { topic, .. } if topic.contains("/u/")))
        .await;
    let before = house.broker.total_connects();
    house.broker.restart(Sessions::Lose).await.unwrap();
    house.next_login(before).await;
    house
        .vault
        .wait("all sent", |kept| kept.rows.values().all(|row| row.state == 30))
        .await;
    assert!(house.published().iter().all(|(_, dup)| !dup));
    house
        .vault
        .wait("the gap", |kept| kept.notes.contains(&"SessionLost".to_owned()))
        .await;
}

#[tokio::test]
async fn a_refused_message_fails_alone_with_the_servers_number() {
    let house = House::new().await;
    let script = house.broker.script();
    script.on_publish(
        CLIENT,
        "im/K/u/bob/alice",
        Times::Next(1),
        PublishAnswer::Puback(0x97),
    );
    script.on_publish(
        CLIENT,
        "im/K/g/staff/alice",
        Times::Next(1),
        PublishAnswer::Puback(0x87),
    );
    house.vault.enqueue([
        (private("bob"), "a".to_owned(), vec![1]),
        (private("bob"), "b".to_owned(), vec![2]),
        (group("staff"), "c".to_owned(), vec![3]),
        (group("staff"), "d".to_owned(), vec![4]),
    ]);
    house
        .vault
        .wait("all answered", |kept| {
            kept.rows.values().all(|row| row.state != 10)
        })
        .await;
    assert_eq!(house.vault.in_state(30), ["b", "d"]);
    let (a, c) = (house.vault.row("a"), house.vault.row("c"));
    assert_eq!((a.code, c.code), (-1, Code::NOT_IN_GROUP.0));
    assert!(a.text.contains("0x97 (quota exceeded)"), "{}", a.text);
    assert!(c.text.contains("0x87 (not authorized)"), "{}", c.text);
}

#[tokio::test]
async fn what_came_in_is_receipted_many_in_one_and_a_receipt_marks_what_went_out() {
    let house = House::new().await;
    house.vault.held.send_replace(true);
    house.bob_says(numbered(0..50));
    let mut delivered = 0;
    house
        .event(|event| {
            delivered +=
                usize::from(matches!(event, Event::Delivered { topic, .. } if topic.contains("/u/")));
            delivered == 50
        })
        .await;
    house.vault.held.send_replace(false);
    house
        .vault
        .wait("every receipt", |kept| {
            kept.receipts.is_empty()
                && kept
                    .receipts_sent
                    .iter()
                    .map(|sent| sent.uids.len())
                    .sum::<usize>()
                    >= 50
        })
        .await;
    let sent = house.vault.contents().receipts_sent.clone();
    assert!(sent.len() < 10, "{} envelopes", sent.len());
    let event = house
        .event(|event| matches!(event, Event::Published { topic, .. } if topic == "im/K/u/bob/alice"))
        .await;
    let Event::Published { payload, .. } = event else {
        panic!("{event:?}");
    };
    // The event shows the beginning; what matters here stands there or is told by the vault.
    assert!(payload.windows(11).any(|part| part == b"imd:receipt"));

    house.vault.enqueue_texts("bob", ["mine".to_owned()]);
    house
        .vault
        .wait("sent", |kept| kept.rows.values().all(|row| row.state == 30))
        .await;
    let receipt = Envelope {
        uid: "r".to_owned(),
        object_name: "imd:receipt".to_owned(),
        content: Receipt {
            uids: vec!["mine".to_owned()],
        }
        .encode_to_vec()
        .into(),
        ..Envelope::default()
    };
    house
        .broker
        .publish("im/K/u/alice/bob", &receipt.encode_to_vec(), false);
    house
        .vault
        .wait("received", |kept| kept.rows.values().all(|row| row.state == 40))
        .await;
}

#[tokio::test]
async fn what_was_sent_long_ago_and_not_received_goes_out_again_and_nobody_is_told() {
    let vault = FakeVault::new();
    vault.enqueue_texts("bob", numbered(0..2));
    vault.contents().rows.get_mut(&1).unwrap().state = 30;
    vault.contents().again.push(1);
    let house = House::with(vault, BrokerConfig::default()).await;
    house
        .vault
        .wait("all sent", |kept| kept.rows.values().all(|row| row.state == 30))
        .await;
    assert_eq!(
        house.published(),
        [("m0".to_owned(), false), ("m1".to_owned(), false)]
    );
}

#[tokio::test]
async fn groups_are_subscribed_with_the_login_and_as_they_come_and_go() {
    let vault = FakeVault::new();
    vault
        .contents()
        .groups
        .insert("old".to_owned(), Code::NOT_IN_GROUP.0);
    let house = House::start(vault, BrokerConfig::default());
    house
        .broker
        .script()
        .on_subscribe(CLIENT, "im/K/g/closed/+", Times::Always, 0x87);
    house.connected().await;
    // The server takes it this time.
    house
        .vault
        .wait("the grant", |kept| kept.groups["old"] == 0)
        .await;
    house
        .event(|event| matches!(event, Event::Subscribed { filters, .. } if filters.len() == 4))
        .await;

    for group in ["club", "closed"] {
        let joined = soon("a join", house.handle.join_group(group.to_owned())).await;
        assert_eq!(joined, Ok(Ok(())));
    }
    house
        .vault
        .wait("the refusal", |kept| {
            kept.groups["closed"] == Code::NOT_IN_GROUP.0
        })
        .await;
    assert_eq!(house.vault.contents().groups["club"], 0);
    house.broker.publish("im/K/g/club/bob", &envelope("hello"), false);
    house
        .vault
        .wait("a group message", |kept| kept.arrivals.len() == 1)
        .await;

    let quit = soon("a quit", house.handle.quit_group("club".to_owned())).await;
    assert_eq!(quit, Ok(Ok(())));
    house
        .event(|event| matches!(event, Event::Unsubscribed { .. }))
        .await;
    let refused = soon("a join", house.handle.join_group("a/b".to_owned())).await;
    assert_eq!(
        refused.unwrap().unwrap_err().code,
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
    assert_eq!(house.broker.total_connects(), 1);
}

#[tokio::test]
async fn the_end_of_the_backlog_and_another_installation_are_noted() {
    let house = House::new().await;
    house
        .vault
        .wait("the end", |kept| {
            kept.notes.contains(&"offline sync true".to_owned())
        })
        .await;
    let theirs = imd_proto::im::wire::v1::Marker {
        nonce: "n".to_owned(),
        installation: "there".to_owned(),
    };
    house
        .broker
        .publish("im/K/c/alice/desktop", &theirs.encode_to_vec(), true);
    house.cut().await;
    house
        .vault
        .wait("the gap", |kept| {
            kept.notes
                .iter()
                .any(|note| note.contains("OtherInstallation") && note.contains("there"))
        })
        .await;
}

#[tokio::test]
async fn an_idle_link_asks_the_store_nothing() {
    let house = House::new().await;
    house.vault.enqueue_texts("bob", numbered(0..3));
    house
        .vault
        .wait("all sent", |kept| kept.rows.values().all(|row| row.state == 30))
        .await;
    house.drained().await;
    let woken = async || {
        soon("an instance", house.handle.instance(instance()))
            .await
            .unwrap();
    };
    woken().await;
    let before = house.vault.contents().loads;
    // Whatever wakes the task, it looks whether there is something to do.
    for _ in 0..100 {
        woken().await;
    }
    assert_eq!(house.vault.contents().loads, before);
    assert!(before < 10, "{before} loads for three messages");
}
