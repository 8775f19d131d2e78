//! Sessions, queues, redelivery, retained messages: nothing lost, nothing out of order.

use imd::demo::broker::{Broker, BrokerConfig, End, Event, Protocol};
use mqtt_protocol_core::mqtt::packet::{Qos, RetainHandling, SubOpts};

use crate::client::{Client, Connack, DEADLINE, Options};
use crate::{broker, gone};

const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

#[tokio::test]
async fn a_message_reaches_every_subscriber_of_either_version_and_no_one_else() {
    let broker = broker();
    let mut five = Client::connect(&broker, &Options::new("five")).await;
    let mut three = Client::connect(&broker, &Options::v3("three")).await;
    let mut other = Client::connect(&broker, &Options::new("other")).await;
    assert_eq!(five.subscribe("im/K/u/five/+").await, 1);
    assert_eq!(three.subscribe("im/+/u/#").await, 1);
    assert_eq!(other.subscribe("im/K/u/other/+").await, 1);
    assert_eq!(other.publish("im/K/u/five/other", "hello").await, 0);
    assert_eq!(five.take().await.payload, "hello");
    assert_eq!(three.take().await.payload, "hello");
    assert!(other.is_quiet().await);
    assert_eq!(other.publish("nobody/here", "").await, NO_MATCHING_SUBSCRIBERS);
    assert_eq!(three.publish("nobody/here", "").await, 0, "3.1.1 has no codes");
}

#[tokio::test]
async fn what_came_while_a_client_was_away_waits_for_it_in_order() {
    for options in [Options::new("away"), Options::v3("away")] {
        let broker = broker();
        let mut away = Client::connect(&broker, &options).await;
        away.subscribe("t").await;
        away.disconnect(None).await;
        gone(&broker, "away").await;
        let mut sender = Client::connect(&broker, &Options::new("sender")).await;
        for index in 0..100 {
            assert_eq!(sender.publish("t", &index.to_string()).await, 0);
        }
        assert_eq!(broker.session("away").unwrap().queued, 100);
        let (mut back, connack) = Client::open(&broker, &options).await;
        assert!(connack.session_present);
        for index in 0..100 {
            let message = back.take().await;
            assert_eq!((message.payload, message.dup), (index.to_string(), false));
        }
        assert!(back.is_quiet().await);
    }
}

#[tokio::test]
async fn unacknowledged_messages_come_again_with_dup_under_the_same_ids_before_later_ones() {
    for options in [Options::new("reader"), Options::v3("reader")] {
        let broker = broker();
        let mut reader = Client::connect(&broker, &options).await;
        reader.subscribe("t").await;
        for index in 0..6 {
            broker.publish("t", index.to_string().as_bytes(), false);
        }
        let mut ids = Vec::new();
        for index in 0..6 {
            let message = reader.message().await;
            // The third is acknowledged out of order: the hole must not move the others.
            if index == 0 || index == 2 {
                reader.acknowledge(message.packet_id.unwrap()).await;
            } else {
                ids.push((index.to_string(), message.packet_id));
            }
        }
        assert!(reader.is_quiet().await);
        drop(reader);
        gone(&broker, "reader").await;
        broker.publish("t", b"later", false);
        let mut reader = Client::connect(&broker, &options).await;
        for (payload, packet_id) in ids {
            let message = reader.take().await;
            assert_eq!(
                (message.payload, message.packet_id, message.dup),
                (payload, packet_id, true)
            );
        }
        let later = reader.take().await;
        assert_eq!((later.payload.as_str(), later.dup), ("later", false));
        assert!(reader.is_quiet().await);
        assert_eq!(broker.session("reader").unwrap().in_flight, 0);
    }
}

#[tokio::test]
async fn no_more_is_in_flight_than_the_client_allows_even_when_it_allows_less_than_before() {
    let broker = broker();
    let mut reader = Client::connect(&broker, &Options::new("reader")).await;
    reader.subscribe("t").await;
    for index in 0..5 {
        broker.publish("t", index.to_string().as_bytes(), false);
    }
    for _ in 0..5 {
        reader.message().await;
    }
    let narrow = Options {
        receive_maximum: Some(2),
        ..Options::new("reader")
    };
    let mut reader = Client::connect(&broker, &narrow).await;
    let (first, second) = (reader.message().await, reader.message().await);
    assert!(reader.is_quiet().await);
    let view = broker.session("reader").unwrap();
    assert_eq!((view.in_flight, view.queued), (2, 3));
    reader.acknowledge(first.packet_id.unwrap()).await;
    let third = reader.message().await;
    assert_eq!((third.payload.as_str(), third.dup), ("2", true));
    assert!(reader.is_quiet().await);
    reader.acknowledge(second.packet_id.unwrap()).await;
    assert_eq!(reader.message().await.payload, "3");
}

#[tokio::test]
async fn a_client_that_sends_more_than_the_receive_maximum_is_told_so() {
    let mut config = BrokerConfig::default();
    config.receive_maximum = 2;
    let broker = Broker::start(config).unwrap();
    let gate = imd::demo::broker::Gate::new();
    let hold = imd::demo::broker::PublishAnswer::Hold(gate.clone());
    broker
        .script()
        .on_publish("sender", "t", imd::demo::broker::Times::Always, hold);
    let mut sender = Client::connect(&broker, &Options::new("sender")).await;
    for index in 1..=3_u8 {
        // By hand: the test's codec would not send the third.
        sender.send_raw(&[0x32, 7, 0, 1, b't', 0, index, 0, b'x']).await;
    }
    assert_eq!(sender.end().await, Some(0x93));
}

#[tokio::test]
async fn a_full_queue_drops_its_oldest_and_counts_them() {
    let mut config = BrokerConfig::default();
    config.queue_limit = 10;
    let broker = Broker::start(config).unwrap();
    let mut away = Client::connect(&broker, &Options::new("away")).await;
    away.subscribe("t").await;
    drop(away);
    gone(&broker, "away").await;
    for index in 0..25 {
        broker.publish("t", index.to_string().as_bytes(), false);
    }
    let view = broker.session("away").unwrap();
    assert_eq!((view.queued, view.dropped), (10, 15));
    let mut away = Client::connect(&broker, &Options::new("away")).await;
    for index in 15..25 {
        assert_eq!(away.take().await.payload, index.to_string());
    }
}

#[tokio::test]
async fn a_message_that_has_expired_is_not_delivered() {
    let broker = broker();
    let mut away = Client::connect(&broker, &Options::new("away")).await;
    away.subscribe("t").await;
    drop(away);
    gone(&broker, "away").await;
    let mut sender = Client::connect(&broker, &Options::new("sender")).await;
    for (life, payload) in [(0, b'a'), (60, b'b')] {
        let id = payload;
        sender
            .send_raw(&[0x32, 12, 0, 1, b't', 0, id, 5, 2, 0, 0, 0, life, payload])
            .await;
    }
    assert!(sender.raw_bytes(8).await.starts_with(&[0x40, 2, 0, b'a']));
    let mut away = Client::connect(&broker, &Options::new("away")).await;
    assert_eq!(away.take().await.payload, "b");
    assert!(away.is_quiet().await);
}

#[tokio::test]
async fn a_retained_message_is_told_to_later_subscribers_until_it_is_erased() {
    let broker = broker();
    let mut writer = Client::connect(&broker, &Options::new("writer")).await;
    writer.publish_only("c/marker", "one", true).await;
    assert_eq!(writer.puback().await.1, NO_MATCHING_SUBSCRIBERS);
    writer.publish_only("c/marker", "two", true).await;
    writer.puback().await;

    let mut reader = Client::connect(&broker, &Options::new("reader")).await;
    reader.subscribe("c/+").await;
    let message = reader.take().await;
    assert_eq!((message.payload.as_str(), message.retain), ("two", true));

    // To a subscription that is there already it is a message like any other.
    broker.publish("c/marker", b"three", true);
    assert!(!reader.take().await.retain);

    // Subscribing again repeats it, unless that was not wanted.
    reader.subscribe("c/+").await;
    assert!(reader.take().await.retain);
    for handling in [
        RetainHandling::DoNotSendRetained,
        RetainHandling::SendRetainedIfNotExists,
    ] {
        reader
            .subscribe_with("c/+", SubOpts::new().set_qos(Qos::AtLeastOnce).set_rh(handling))
            .await;
        assert!(reader.is_quiet().await);
    }

    // Retain As Published keeps the flag.
    reader
        .subscribe_with(
            "c/+",
            SubOpts::new()
                .set_qos(Qos::AtLeastOnce)
                .set_rap(true)
                .set_rh(RetainHandling::DoNotSendRetained),
        )
        .await;
    broker.publish("c/marker", b"four", true);
    assert!(reader.take().await.retain);

    broker.publish("c/marker", b"", true);
    assert_eq!(reader.take().await.payload, "");
    let mut late = Client::connect(&broker, &Options::new("late")).await;
    late.subscribe("#").await;
    assert!(late.is_quiet().await);
}

#[tokio::test]
async fn ones_own_message_comes_back_unless_no_local_was_asked_for() {
    let broker = broker();
    let mut client = Client::connect(&broker, &Options::new("me")).await;
    client.subscribe("echo").await;
    client
        .subscribe_with("silent", SubOpts::new().set_qos(Qos::AtLeastOnce).set_nl(true))
        .await;
    assert_eq!(client.publish("silent", "x").await, NO_MATCHING_SUBSCRIBERS);
    assert!(client.is_quiet().await);
    client.publish_only("echo", "x", false).await;
    client.puback().await;
    assert_eq!(client.take().await.topic, "echo");
}

#[tokio::test]
async fn overlapping_filters_bring_a_message_once() {
    let broker = broker();
    let mut client = Client::connect(&broker, &Options::new("me")).await;
    for filter in ["a/+", "a/#", "a/b"] {
        client.subscribe(filter).await;
    }
    broker.publish("a/b", b"x", false);
    assert_eq!(client.take().await.payload, "x");
    assert!(client.is_quiet().await);
}

#[tokio::test]
async fn a_takeover_tells_the_old_connection_and_keeps_the_session() {
    for protocol in [Protocol::V5, Protocol::V3_1_1] {
        let options = Options {
            protocol,
            ..Options::new("desktop:K:alice")
        };
        let broker = broker();
        let mut first = Client::connect(&broker, &options).await;
        first.subscribe("t").await;
        let (mut second, connack) = Client::open(&broker, &options).await;
        assert!(connack.session_present);
        let said = match protocol {
            Protocol::V5 => Some(0x8E),
            Protocol::V3_1_1 => None,
        };
        assert_eq!(first.end().await, said);
        broker
            .wait_for(
                |event| {
                    matches!(
                        event,
                        Event::Disconnected {
                            how: End::TakenOver,
                            ..
                        }
                    )
                },
                DEADLINE,
            )
            .await
            .unwrap();
        broker.publish("t", b"x", false);
        assert_eq!(second.take().await.payload, "x");
        assert_eq!(broker.connections(), ["desktop:K:alice"]);
        assert_eq!(broker.total_connects(), 2);
    }
}

#[tokio::test]
async fn a_clean_start_and_an_expiry_of_nothing_leave_no_session() {
    let broker = broker();
    for options in [
        Options {
            session_expiry: 0,
            ..Options::new("c")
        },
        Options {
            clean: true,
            ..Options::v3("c")
        },
    ] {
        let mut client = Client::connect(&broker, &options).await;
        client.subscribe("t").await;
        client.disconnect(None).await;
        client.end().await;
        assert_eq!(broker.session("c"), None);
    }
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    client.subscribe("t").await;
    client.disconnect(None).await;
    client.end().await;
    assert!(broker.session("c").is_some());
    let clean = Options {
        clean: true,
        ..Options::new("c")
    };
    let (_client, connack) = Client::open(&broker, &clean).await;
    assert!(!connack.session_present);
    assert!(broker.session("c").unwrap().subscriptions.is_empty());
}

#[tokio::test]
async fn a_disconnect_may_change_the_sessions_life_but_not_give_it_one() {
    let broker = broker();
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    client.disconnect(Some(0)).await;
    assert_eq!(client.end().await, None);
    assert_eq!(broker.session("c"), None, "logout ends the session");

    let options = Options {
        session_expiry: 0,
        ..Options::new("c")
    };
    let mut client = Client::connect(&broker, &options).await;
    client.disconnect(Some(60)).await;
    assert_eq!(client.end().await, Some(0x82));
    assert_eq!(broker.session("c"), None);
}

#[tokio::test]
async fn a_session_ends_when_its_time_is_over() {
    let broker = broker();
    let options = Options {
        session_expiry: 1,
        ..Options::new("c")
    };
    let client = Client::connect(&broker, &options).await;
    drop(client);
    gone(&broker, "c").await;
    assert!(broker.session("c").is_some());
    let deadline = tokio::time::timeout(DEADLINE, async {
        while broker.session("c").is_some() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    deadline.await.unwrap();
    let (_client, connack) = Client::open(&broker, &options).await;
    assert!(!connack.session_present);
}

#[tokio::test]
async fn a_silent_client_is_dropped_after_one_and_a_half_keep_alives() {
    let broker = broker();
    let options = Options {
        keep_alive: 1,
        ..Options::new("c")
    };
    let mut client = Client::connect(&broker, &options).await;
    assert!(client.is_quiet().await);
    let asked = std::time::Duration::from_millis(1500);
    let before = imd::clock::now().boot;
    assert_eq!(client.end().await, Some(0x8D));
    let waited = imd::clock::now().boot.since(before);
    assert!(waited > asked.mul_f64(0.9), "{waited:?}");
}

#[tokio::test]
async fn a_client_without_an_id_is_given_one() {
    let broker = broker();
    let (_client, connack) = Client::open(&broker, &Options::new("")).await;
    let Connack { properties, .. } = connack;
    let [(name, id)] = &properties[..] else {
        panic!("{properties:?}");
    };
    assert_eq!(name, "client id");
    assert_eq!(&broker.connections()[..], std::slice::from_ref(id));
    let (_client, connack) = Client::open(&broker, &Options::v3("")).await;
    assert_eq!(
        connack.code, 2,
        "3.1.1 has no way to tell the id of a lasting session"
    );
}

#[tokio::test]
async fn what_the_standard_forbids_ends_the_connection_with_its_code() {
    let broker = broker();
    for (bytes, code) in [
        // QoS 1 with packet identifier 0, and a name with a wildcard: the codec lets both pass.
        (&b"\x32\x06\x00\x01t\x00\x00\x00"[..], 0x82),
        (b"\x32\x07\x00\x02a#\x00\x01\x00", 0x90),
        (b"\x34\x06\x00\x01t\x00\x01\x00", 0x9B),
        (b"\x82\x07\x00\x01\x00\x00\x01+\x03", 0x81),
        (b"\x82\x08\x00\x01\x00\x00\x02a+\x01", 0x8F),
        (b"\x82\x0F\x00\x01\x00\x00\x09$share/g/\x01", 0x9E),
        (b"\x40\x02\x00\x07", 0x82),
        (b"\x20\x03\x00\x00\x00", 0x81),
        (b"\x30\xff\xff\xff\x7f", 0x95),
        (b"\x30\xff\xff\xff\xff\x7f", 0x81),
    ] {
        let mut client = Client::connect(&broker, &Options::new("c")).await;
        client.send_raw(bytes).await;
        let said = client.end().await;
        assert!(
            said == Some(code) || (code == 0x81 && said.is_some()),
            "{bytes:02x?} {said:02x?}"
        );
    }
    // A second CONNECT, and anything before the first.
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    client
        .send_raw(b"\x10\x0d\x00\x04MQTT\x05\x00\x00\x00\x00\x00\x00")
        .await;
    client.end().await;
    let mut client = Client::dial(broker.address(), Protocol::V5).await;
    client.send_raw(b"\x30\x04\x00\x01t\x00").await;
    assert_eq!(client.raw_end().await, Ok(Vec::new()));
    let mut client = Client::dial(broker.address(), Protocol::V5).await;
    client.send_raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(client.raw_end().await, Ok(Vec::new()));
    let mut client = Client::dial(broker.address(), Protocol::V5).await;
    client
        .send_raw(b"\x10\x0d\x00\x04MQTT\x06\x00\x00\x00\x00\x00\x00")
        .await;
    assert_eq!(client.raw_end().await, Ok(vec![0x20, 2, 0, 1]));
}
