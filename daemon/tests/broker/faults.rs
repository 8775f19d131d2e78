//! Every hook of the script, and every fault of a live connection.

use std::time::Duration;

use imd::demo::broker::{ConnectAnswer, Cut, End, Event, Gate, PublishAnswer, Reply, Then, Times, Who};

use crate::client::{Client, DEADLINE, Options};
use crate::{broker, gone};
use imd::demo::broker::Protocol;

async fn raw_answer(
    broker: &imd::demo::broker::Broker,
    options: &Options<'_>,
) -> Result<Vec<u8>, std::io::ErrorKind> {
    use mqtt_protocol_core::mqtt::packet::GenericPacketTrait as _;
    let mut client = Client::dial(broker.address(), options.protocol).await;
    client.send_raw(&options.packet().to_continuous_buffer()).await;
    client.raw_end().await
}

#[tokio::test]
async fn a_connect_is_refused_with_any_code_and_all_its_words() {
    let broker = broker();
    let reply = Reply::code(0x9D)
        .reason("moved")
        .server_reference("127.0.0.1:1884")
        .user_property("im-code", "31009");
    broker
        .script()
        .on_connect("c", Times::Next(1), ConnectAnswer::Connack(reply));
    let (_, connack) = Client::open(&broker, &Options::new("c")).await;
    assert_eq!(connack.code, 0x9D);
    for pair in [
        ("reason string", "moved"),
        ("server reference", "127.0.0.1:1884"),
        ("im-code", "31009"),
    ] {
        assert!(
            connack
                .properties
                .iter()
                .any(|(name, value)| (name.as_str(), value.as_str()) == pair),
            "{connack:?}"
        );
    }
    broker
        .wait_for(
            |event| matches!(event, Event::Refused { code: 0x9D, .. }),
            DEADLINE,
        )
        .await
        .unwrap();
    // Once only.
    Client::connect(&broker, &Options::new("c")).await;

    for code in [0x8B, 0xFE, 0x01] {
        broker.script().on_connect(
            Who::Anyone,
            Times::Next(1),
            ConnectAnswer::Connack(Reply::code(code)),
        );
        assert_eq!(
            raw_answer(&broker, &Options::new("c")).await,
            Ok(vec![0x20, 3, 0, code, 0])
        );
    }
    broker.script().on_connect(
        Who::Speaks(Protocol::V5),
        Times::Always,
        ConnectAnswer::Version311(1),
    );
    assert_eq!(
        raw_answer(&broker, &Options::new("c")).await,
        Ok(vec![0x20, 2, 0, 1])
    );
    Client::connect(&broker, &Options::v3("c")).await;
}

#[tokio::test]
async fn an_accepting_connack_may_say_what_is_not_so() {
    let broker = broker();
    let reply = Reply::code(0)
        .session_present(true)
        .server_keep_alive(1)
        .user_property("im-user-id", "mallory");
    broker
        .script()
        .on_connect("c", Times::Next(1), ConnectAnswer::Connack(reply));
    let (mut client, connack) = Client::open(&broker, &Options::new("c")).await;
    assert!(connack.session_present);
    assert!(
        connack
            .properties
            .contains(&("im-user-id".to_owned(), "mallory".to_owned()))
    );
    // The server's own keep-alive is kept to.
    assert_eq!(client.end().await, Some(0x8D));
}

#[tokio::test]
async fn a_connect_meets_bytes_silence_or_an_end() {
    let broker = broker();
    let script = broker.script();
    for bytes in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        &[0x20, 3, 0],
        // A header that announces 256 MB.
        &[0x20, 0xff, 0xff, 0xff, 0x7f],
        &[],
    ] {
        let answer = ConnectAnswer::Raw {
            bytes: bytes.to_vec().into(),
            then: Then::Close,
        };
        script.on_connect("c", Times::Next(1), answer);
        assert_eq!(raw_answer(&broker, &Options::new("c")).await, Ok(bytes.to_vec()));
    }
    script.on_connect("c", Times::Next(1), ConnectAnswer::Silent(Then::Close));
    assert_eq!(raw_answer(&broker, &Options::new("c")).await, Ok(Vec::new()));
    script.on_connect("c", Times::Next(1), ConnectAnswer::Silent(Then::Reset));
    assert_eq!(
        raw_answer(&broker, &Options::new("c")).await,
        Err(std::io::ErrorKind::ConnectionReset)
    );
    script.on_connect("c", Times::Next(1), ConnectAnswer::Silent(Then::Stay));
    let options = Options::new("c");
    let silent = tokio::time::timeout(Duration::from_millis(300), raw_answer(&broker, &options));
    assert!(silent.await.is_err(), "it says nothing for ever");
    assert_eq!(broker.total_connects(), 0);
    assert_eq!(broker.total_network_connections(), 7);
}

#[tokio::test]
async fn a_connect_waits_at_a_gate() {
    let broker = broker();
    let gate = Gate::new();
    broker
        .script()
        .on_connect("c", Times::Next(1), ConnectAnswer::Hold(gate.clone()));
    let options = Options::new("c");
    let opening = Client::open(&broker, &options);
    let opened = async {
        gate.wait_arrived(1).await;
        assert!(broker.connections().is_empty());
        gate.open();
    };
    let ((_client, connack), ()) = tokio::join!(opening, opened);
    assert_eq!(connack.code, 0);
}

#[tokio::test]
async fn a_subscription_and_a_message_are_refused_as_scripted() {
    let broker = broker();
    broker
        .script()
        .on_subscribe("c", "im/K/u/#", Times::Next(1), 0x97);
    broker
        .script()
        .on_publish("c", "im/+/c/#", Times::Next(1), PublishAnswer::Puback(0x87));
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    assert_eq!(client.subscribe("im/K/g/team/+").await, 1);
    assert_eq!(client.subscribe("im/K/u/c/+").await, 0x97);
    assert!(broker.session("c").unwrap().subscriptions == ["im/K/g/team/+"]);
    assert_eq!(client.subscribe("im/K/c/c/+").await, 1);
    assert_eq!(client.publish("im/K/c/c/desktop", "marker").await, 0x87);
    assert!(client.is_quiet().await, "a refused message is not delivered");
    client.publish_only("im/K/c/c/desktop", "marker", true).await;
    assert_eq!(client.puback().await.1, 0);
    assert_eq!(client.take().await.payload, "marker");
}

#[tokio::test]
async fn acknowledgements_are_withheld_held_or_lost_with_their_message() {
    let broker = broker();
    let script = broker.script();
    let gate = Gate::new();
    script.on_publish("c", "withheld", Times::Always, PublishAnswer::Withhold);
    script.on_publish("c", "lost", Times::Always, PublishAnswer::Lose);
    script.on_publish("c", "held", Times::Always, PublishAnswer::Hold(gate.clone()));
    let mut reader = Client::connect(&broker, &Options::new("reader")).await;
    reader.subscribe("#").await;
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    client.publish_only("withheld", "1", false).await;
    client.publish_only("lost", "2", false).await;
    let held = client.publish_only("held", "3", false).await;
    let behind = client.publish_only("plain", "4", false).await;
    for topic in ["withheld", "held", "plain"] {
        assert_eq!(reader.take().await.topic, topic);
    }
    gate.wait_arrived(1).await;
    assert!(
        client.is_quiet().await,
        "no acknowledgement overtakes the held one"
    );
    gate.open();
    assert_eq!(client.puback().await, (held, 0));
    assert_eq!(client.puback().await, (behind, 0));
    assert!(client.is_quiet().await);
}

#[tokio::test]
async fn a_link_cut_at_the_gate_leaves_the_message_delivered_and_unacknowledged() {
    let broker = broker();
    let gate = Gate::new();
    broker
        .script()
        .on_publish("c", "t", Times::Next(1), PublishAnswer::Hold(gate.clone()));
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    client.publish_only("t", "x", false).await;
    gate.wait_arrived(1).await;
    assert_eq!(broker.cut("c", Cut::Reset), 1);
    assert_eq!(client.raw_end().await, Err(std::io::ErrorKind::ConnectionReset));
    gate.open();
    broker
        .wait_for(
            |event| matches!(event, Event::Published { topic, payload, .. } if topic == "t" && payload == "x"),
            DEADLINE,
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn the_marker_does_not_come_back_when_told_so() {
    let broker = broker();
    broker.script().lose_deliveries("c", "im/+/c/#", Times::Next(1));
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    client.subscribe("im/K/c/c/+").await;
    assert_eq!(client.publish("im/K/c/c/desktop", "one").await, 0);
    assert!(client.is_quiet().await);
    client.publish_only("im/K/c/c/desktop", "two", false).await;
    client.puback().await;
    assert_eq!(client.take().await.payload, "two");
    assert!(client.is_quiet().await);
    assert_eq!(broker.session("c").unwrap().in_flight, 0);
}

#[tokio::test]
async fn a_live_client_is_disconnected_with_any_reason() {
    let broker = broker();
    let mut five = Client::connect(&broker, &Options::new("five")).await;
    let mut three = Client::connect(&broker, &Options::v3("three")).await;
    let mut odd = Client::connect(&broker, &Options::new("odd")).await;
    assert_eq!(
        broker.disconnect("five", Reply::code(0x8E).user_property("im-code", "31010")),
        1
    );
    assert_eq!(five.end().await, Some(0x8E));
    assert_eq!(broker.disconnect("three", Reply::code(0x8E)), 1);
    assert_eq!(three.end().await, None);
    // No table of DISCONNECT has this one.
    assert_eq!(broker.disconnect("odd", Reply::code(0x8A)), 1);
    assert_eq!(odd.raw_end().await, Ok(vec![0xE0, 2, 0x8A, 0]));
    assert_eq!(broker.disconnect("nobody", Reply::code(0x8E)), 0);
    for client_id in ["five", "three", "odd"] {
        gone(&broker, client_id).await;
        assert!(broker.session(client_id).is_some(), "the session stays");
    }
}

#[tokio::test]
async fn a_live_connection_is_closed_broken_off_or_frozen() {
    let broker = broker();
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    assert_eq!(broker.cut("c", Cut::Close), 1);
    assert_eq!(client.raw_end().await, Ok(Vec::new()));

    let mut client = Client::connect(&broker, &Options::new("c")).await;
    client.subscribe("t").await;
    assert_eq!(broker.freeze("c"), 1);
    broker.publish("t", b"x", false);
    let nothing = tokio::time::timeout(Duration::from_millis(300), client.is_quiet()).await;
    assert!(nothing.is_err(), "neither PINGRESP nor PUBLISH");
    assert_eq!(broker.thaw("c"), 1);
    let mut seen = (false, false);
    while seen != (true, true) {
        match client.packet().await {
            crate::client::Packet::V5_0Pingresp(_) => seen.0 = true,
            crate::client::Packet::V5_0Publish(_) => seen.1 = true,
            other => panic!("{other}"),
        }
    }
    // A frozen link loses its session to the next one without a word.
    assert_eq!(broker.freeze("c"), 1);
    let (mut second, connack) = Client::open(&broker, &Options::new("c")).await;
    assert!(connack.session_present);
    assert!(second.message().await.dup);
    assert_eq!(client.raw_end().await, Ok(Vec::new()));
}

#[tokio::test]
async fn pings_stay_without_an_answer_when_told_so() {
    let broker = broker();
    broker.script().ignore_pings("c", Times::Next(1));
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    let unanswered = tokio::time::timeout(Duration::from_millis(300), client.is_quiet()).await;
    assert!(unanswered.is_err());
    assert!(client.is_quiet().await);
    let mut events = broker.events();
    for _ in 0..2 {
        events
            .wait_for(|event| matches!(event, Event::Ping { .. }), DEADLINE)
            .await
            .unwrap();
    }
    let refused = events
        .wait_for(
            |event| matches!(event, Event::Ping { .. }),
            Duration::from_millis(50),
        )
        .await;
    assert!(
        refused.unwrap_err().to_string().contains("Ping"),
        "the last events are shown"
    );
}

#[tokio::test]
async fn the_events_tell_a_connections_life_in_order() {
    let broker = broker();
    let mut client = Client::connect(&broker, &Options::new("c").login("alice", "any")).await;
    client.subscribe("t").await;
    client.publish_only("t", "x", false).await;
    client.puback().await;
    client.take().await;
    client.disconnect(None).await;
    client.end().await;
    let records = broker.events().take();
    assert!(
        records
            .iter()
            .zip(0..)
            .all(|(record, number)| record.sequence == number)
    );
    let names: Vec<String> = records
        .iter()
        .map(|record| {
            format!("{:?}", record.event)
                .split(' ')
                .next()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(
        names,
        [
            "Connected",
            "Subscribed",
            "Published",
            "Delivered",
            "Acknowledged",
            "Disconnected"
        ]
    );
    assert_eq!(
        records[0].event,
        Event::Connected {
            client_id: "c".into(),
            user_name: Some("alice".into()),
            protocol: Protocol::V5,
            clean: false,
            session_expiry: 3600,
            keep_alive: 60,
            session_present: false,
        }
    );
    assert!(matches!(
        &records[5].event,
        Event::Disconnected {
            how: End::ByClient(0),
            ..
        }
    ));
}
