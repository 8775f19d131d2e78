use proptest::prelude::*;

use super::*;
use crate::link::bytes_of::{self, Sent, sent};
use crate::link::frame::Violation;

fn connect(user_name: Option<&str>) -> Connect<'_> {
    Connect {
        client_id: "desktop:K:alice",
        user_name,
        password: "s3cret",
        clean: false,
        keep_alive: Duration::from_secs(30),
        session_expiry: Duration::from_secs(7 * 24 * 3600),
    }
}

/// A wire that has sent its CONNECT, and what it sent.
fn dialed(protocol: Protocol) -> (Wire, BytesMut) {
    let mut wire = Wire::new(protocol);
    let mut output = BytesMut::new();
    wire.connect(&connect(Some("alice")), &mut output).unwrap();
    (wire, output)
}

fn open(protocol: Protocol) -> Wire {
    let (mut wire, _) = dialed(protocol);
    let acceptance = match protocol {
        Protocol::V5 => bytes_of::connack(false, 0, &[]),
        Protocol::V311 => bytes_of::connack_311(false, 0),
    };
    let packet = receive(&mut wire, &acceptance).0.unwrap();
    assert!(matches!(packet, Some(Packet::Accepted(_))), "{packet:?}");
    wire
}

fn receive(wire: &mut Wire, bytes: &[u8]) -> (Result<Option<Packet>, Violation>, BytesMut) {
    let mut output = BytesMut::new();
    let received = wire.receive(&mut BytesMut::from(bytes), &mut output);
    (received, output)
}

fn publish<'a>(topic: &'a str, payload: &[u8]) -> Publish<'a> {
    Publish {
        topic,
        payload: payload.into(),
        retain: true,
        again: None,
    }
}

#[track_caller]
fn refused(protocol: Protocol, bytes: &[u8]) -> Farewell {
    let (mut wire, _) = dialed(protocol);
    match receive(&mut wire, bytes).0 {
        Ok(Some(Packet::Refused(farewell))) => farewell,
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn violation(wire: &mut Wire, bytes: &[u8]) -> (String, Vec<Sent>) {
    let (received, output) = receive(wire, bytes);
    (received.unwrap_err().0, sent(&output, 5))
}

#[test]
fn connect_tells_the_server_our_limits_and_who_we_are() {
    let (_, output) = dialed(Protocol::V5);
    let all = sent(&output, 5);
    let [
        Sent::Connect {
            protocol,
            flags,
            body,
        },
    ] = &all[..]
    else {
        panic!("{all:?}");
    };
    // User name and password, no will, clean start 0.
    assert_eq!((*protocol, *flags), (5, 0b1100_0000));
    let has = |bytes: &[u8]| body.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(&[33, 0xFF, 0xFF]), "as many as there are packet ids");
    assert!(has(&[39, 0x00, 0x10, 0x00, 0x00]), "maximum packet size 1 MiB");
    assert!(has(&[17, 0x00, 0x09, 0x3A, 0x80]), "session expiry 7 days");
    assert!(has(b"desktop:K:alice") && has(b"s3cret"));
}

#[test]
fn a_connect_that_asks_who_we_are_has_a_password_and_no_user_name() {
    let mut wire = Wire::new(Protocol::V5);
    let mut output = BytesMut::new();
    let token = "x".repeat(300);
    let mut ask = connect(None);
    ask.password = &token;
    wire.connect(&ask, &mut output).unwrap();
    let all = sent(&output, 5);
    let [Sent::Connect { flags, body, .. }] = &all[..] else {
        panic!("{all:?}");
    };
    assert_eq!(*flags, 0b0100_0000);
    let name = b"desktop:K:alice";
    let at = body
        .windows(name.len())
        .position(|window| window == name)
        .unwrap()
        + name.len();
    assert_eq!(body[at..at + 2], 300_u16.to_be_bytes());
    assert_eq!(&body[at + 2..], token.as_bytes());

    let mut wire = Wire::new(Protocol::V311);
    assert!(wire.connect(&ask, &mut output).is_err());
}

#[test]
fn an_answer_of_mqtt_3_to_mqtt_5_is_a_refusal_with_the_mapped_reason() {
    for (code, reason) in [(0, 0x84), (1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87)] {
        let told = refused(Protocol::V5, &bytes_of::connack_311(false, code));
        assert_eq!((told.raw, told.reason), (code, reason));
    }
}

#[test]
fn a_refusal_in_mqtt_3_has_the_reason_of_mqtt_5_and_its_own_number() {
    let table = [(1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87), (77, 77)];
    for (code, reason) in table {
        let told = refused(Protocol::V311, &bytes_of::connack_311(false, code));
        assert_eq!((told.raw, told.reason), (code, reason));
    }
}

#[test]
fn every_refusing_code_keeps_its_number_and_the_servers_words() {
    for code in 1..=255 {
        let bytes = bytes_of::connack(
            false,
            code,
            &[
                bytes_of::reason_string("why"),
                bytes_of::server_reference("two.example:99"),
                bytes_of::user_property("im-code", "31008"),
            ],
        );
        let told = refused(Protocol::V5, &bytes);
        assert_eq!(told.raw, code);
        assert_eq!(told.words.reason_string.as_deref(), Some("why"), "{code:#x}");
        assert_eq!(told.words.server_reference.as_deref(), Some("two.example:99"));
        assert_eq!(told.words.user_property("im-code"), Some("31008"));
    }
}

#[test]
fn a_refusal_whose_properties_cannot_be_read_still_has_its_number() {
    let bytes = bytes_of::packet(0x20, &[0, 0x8B, 200, 1, 2]);
    let told = refused(Protocol::V5, &bytes);
    assert_eq!((told.raw, told.words), (0x8B, Words::default()));
}

#[test]
fn half_a_connack_is_waited_for() {
    let properties = [
        vec![19, 0, 60],
        vec![37, 0],
        bytes_of::receive_maximum(20),
        bytes_of::maximum_packet_size(1000),
    ];
    let whole = bytes_of::connack(true, 0, &properties);
    for cut in 0..whole.len() {
        let (mut wire, _) = dialed(Protocol::V5);
        assert_eq!(receive(&mut wire, &whole[..cut]).0, Ok(None), "{cut}");
    }
    let (mut wire, _) = dialed(Protocol::V5);
    let accepted = receive(&mut wire, &whole).0.unwrap().unwrap();
    assert_eq!(
        accepted,
        Packet::Accepted(Accepted {
            session_present: true,
            keep_alive: Some(Duration::from_secs(60)),
            retain_available: false,
            receive_maximum: 20,
            maximum_packet_size: Some(1000),
            words: Words::default(),
        })
    );
}

#[test]
fn a_server_that_speaks_http_is_found_out_by_its_first_byte() {
    let (mut wire, _) = dialed(Protocol::V5);
    let (text, said) = violation(&mut wire, b"HTTP/1.1 400 Bad Request\r\n");
    assert!(text.contains("HTTP"), "{text}");
    assert_eq!(said, []);
    assert_eq!(receive(&mut wire, &bytes_of::connack(false, 0, &[])).0, Ok(None));
}

#[test]
fn an_announced_packet_of_256_megabytes_ends_the_link() {
    let mut wire = open(Protocol::V5);
    let (text, said) = violation(&mut wire, &[0x30, 0xFF, 0xFF, 0xFF, 0x7F]);
    assert!(text.contains("268435460"), "{text}");
    assert!(matches!(&said[..], [Sent::Disconnect { .. }]), "{said:?}");
}

#[test]
fn what_the_library_takes_but_mqtt_forbids_ends_the_link() {
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("a second CONNACK", bytes_of::connack(false, 0, &[])),
        (
            "packet id 0",
            bytes_of::publish("im/K/u/alice/bob", 0, false, b"x"),
        ),
        (
            "a wildcard in a topic",
            bytes_of::publish("im/K/#", 1, false, b"x"),
        ),
        ("no topic", bytes_of::publish("", 1, false, b"x")),
        ("QoS 2", {
            let mut bytes = bytes_of::publish("im/K/u/alice/bob", 1, false, b"x");
            bytes[0] = 0x34;
            bytes
        }),
        ("an acknowledgement of nothing", bytes_of::puback(9)),
        ("a SUBACK of nothing", bytes_of::suback(9, &[0])),
        ("PINGREQ", vec![0xC0, 0]),
        ("PUBREL", bytes_of::packet(0x62, &[0, 1])),
        ("flags where there are none", vec![0xD1, 0]),
        ("packet type 0", vec![0x00, 0]),
        ("AUTH", bytes_of::packet(0xF0, &[0x18, 0])),
    ];
    for (what, bytes) in cases {
        let mut wire = open(Protocol::V5);
        let (received, output) = receive(&mut wire, &bytes);
        assert!(received.is_err(), "{what}: {received:?}");
        let said = sent(&output, 5);
        assert!(matches!(&said[..], [Sent::Disconnect { .. }]), "{what}: {said:?}");
        assert_eq!(receive(&mut wire, &bytes_of::PINGRESP).0, Ok(None), "{what}");
    }
}

#[test]
fn a_disconnect_with_any_code_keeps_its_number_and_words() {
    for code in 0..=255 {
        let mut wire = open(Protocol::V5);
        let words = [
            bytes_of::reason_string("bye"),
            bytes_of::user_property("im-code", "31010"),
        ];
        let (received, output) = receive(&mut wire, &bytes_of::disconnect(code, &words));
        let Ok(Some(Packet::Disconnect(told))) = received else {
            panic!("{code:#x}: {received:?}");
        };
        assert_eq!((told.raw, told.reason), (code, code));
        assert_eq!(told.words.reason_string.as_deref(), Some("bye"), "{code:#x}");
        assert!(output.is_empty());
    }
    let mut wire = open(Protocol::V5);
    let received = receive(&mut wire, &[0xE0, 0]).0.unwrap();
    assert!(matches!(received, Some(Packet::Disconnect(told)) if told.raw == 0));
    let mut wire = open(Protocol::V311);
    assert!(receive(&mut wire, &[0xE0, 0]).0.is_err());
}

#[test]
fn acknowledgements_with_unlisted_codes_keep_their_numbers() {
    let mut wire = open(Protocol::V5);
    let mut output = BytesMut::new();
    let packet = wire
        .publish(publish("im/K/c/alice/desktop", &[1]), &mut output)
        .unwrap();
    let refusing = bytes_of::puback_refusing(packet.0, 0xA5, &[bytes_of::reason_string("no")]);
    let Ok(Some(Packet::PublishAcknowledged { reason, words, .. })) = receive(&mut wire, &refusing).0 else {
        panic!("no PUBACK");
    };
    assert_eq!((reason, words.reason_string.as_deref()), (0xA5, Some("no")));

    let filters = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
    let packet = wire.subscribe(&filters, &mut output).unwrap();
    let answer = bytes_of::suback(packet.0, &[1, 0xA5, 0x87]);
    let Ok(Some(Packet::SubscribeAcknowledged { reasons, .. })) = receive(&mut wire, &answer).0 else {
        panic!("no SUBACK");
    };
    assert_eq!(reasons, [1, 0xA5, 0x87]);
}

#[test]
fn a_message_is_acknowledged_only_when_asked_and_once() {
    for protocol in [Protocol::V5, Protocol::V311] {
        let mut wire = open(protocol);
        let (bytes, version) = match protocol {
            Protocol::V5 => (bytes_of::publish("im/K/u/alice/bob", 7, true, b"hello"), 5),
            Protocol::V311 => (bytes_of::publish_311("im/K/u/alice/bob", 7, true, b"hello"), 4),
        };
        let (received, mut output) = receive(&mut wire, &bytes);
        assert_eq!(
            received,
            Ok(Some(Packet::Message(Message {
                packet: Some(PacketId(7)),
                topic: "im/K/u/alice/bob".to_owned(),
                retain: true,
                payload: Bytes::from_static(b"hello"),
            })))
        );
        assert!(output.is_empty());
        wire.acknowledge(PacketId(7), &mut output).unwrap();
        assert_eq!(sent(&output, version), [Sent::Puback { id: 7 }]);
    }
}

#[test]
fn a_server_may_send_more_at_once_than_any_sensible_limit_as_mosquitto_does() {
    for protocol in [Protocol::V5, Protocol::V311] {
        let mut wire = open(protocol);
        for id in 1..=3_000 {
            let bytes = match protocol {
                Protocol::V5 => bytes_of::publish("im/K/u/alice/bob", id, false, b"x"),
                Protocol::V311 => bytes_of::publish_311("im/K/u/alice/bob", id, false, b"x"),
            };
            assert!(receive(&mut wire, &bytes).0.is_ok(), "{protocol:?} {id}");
        }
    }
}

#[test]
fn a_message_of_an_earlier_connection_goes_out_again_as_a_duplicate_under_its_id() {
    for (protocol, version) in [(Protocol::V5, 5), (Protocol::V311, 4)] {
        let mut wire = open(protocol);
        wire.reserve(PacketId(1)).unwrap();
        let mut output = BytesMut::new();
        let fresh = wire.publish(publish("fresh", b"x"), &mut output).unwrap();
        assert_ne!(fresh, PacketId(1), "the reserved id is not given to another");
        let again = Publish {
            again: Some(PacketId(1)),
            retain: false,
            ..publish("again", b"x")
        };
        assert_eq!(wire.publish(again, &mut output), Ok(PacketId(1)));
        let all = sent(&output, version);
        assert!(matches!(&all[0], Sent::Publish { dup: false, .. }), "{all:?}");
        assert!(
            matches!(&all[1], Sent::Publish { id: 1, dup: true, .. }),
            "{all:?}"
        );
        for id in [1, fresh.0] {
            let answer = receive(&mut wire, &bytes_of::puback(id)).0;
            assert!(
                matches!(answer, Ok(Some(Packet::PublishAcknowledged { .. }))),
                "{answer:?}"
            );
        }
    }
}

#[test]
fn an_unsubscription_is_answered_whatever_the_server_says_of_it() {
    for protocol in [Protocol::V5, Protocol::V311] {
        let mut wire = open(protocol);
        let mut output = BytesMut::new();
        let packet = wire.unsubscribe("im/K/g/staff/+", &mut output).unwrap();
        let answer = match protocol {
            Protocol::V5 => bytes_of::unsuback(packet.0, &[0xA5]),
            Protocol::V311 => bytes_of::unsuback_311(packet.0),
        };
        let answer = receive(&mut wire, &answer).0;
        assert_eq!(answer, Ok(Some(Packet::UnsubscribeAcknowledged { packet })));
    }
}

#[test]
fn a_packet_larger_than_the_server_takes_is_an_error_and_not_sent() {
    let (mut wire, _) = dialed(Protocol::V5);
    let small = bytes_of::connack(false, 0, &[bytes_of::maximum_packet_size(50)]);
    assert!(receive(&mut wire, &small).0.is_ok());
    let mut output = BytesMut::new();
    for _ in 0..70_000 {
        // More often than there are packet ids: none is kept.
        let refused = wire.publish(publish("t", &[0; 100]), &mut output);
        assert_eq!(refused, Err(Unsent::TooLarge { size: 108, limit: 50 }));
    }
    assert!(output.is_empty());
    assert!(wire.publish(publish("t", &[0; 42]), &mut output).is_ok());
}

#[test]
fn farewells_say_whether_the_session_stays() {
    for (protocol, end, body) in [
        (Protocol::V5, false, vec![0]),
        (Protocol::V5, true, vec![0, 5, 17, 0, 0, 0, 0]),
        (Protocol::V311, true, vec![]),
    ] {
        let mut wire = open(protocol);
        let mut output = BytesMut::new();
        wire.disconnect(end, &mut output).unwrap();
        assert_eq!(sent(&output, 5), [Sent::Disconnect { body }]);
    }
    let (mut wire, mut output) = dialed(Protocol::V5);
    output.clear();
    wire.disconnect(false, &mut output).unwrap();
    assert!(output.is_empty(), "before CONNACK there is no farewell");
}

/// Whole packets a server may send, of either version.
fn valid_packets() -> Vec<Vec<u8>> {
    let words = [
        bytes_of::reason_string("why"),
        bytes_of::server_reference("two.example"),
        bytes_of::user_property("im-code", "31008"),
    ];
    vec![
        bytes_of::connack(true, 0, &words),
        bytes_of::connack(false, 0x87, &words),
        bytes_of::connack(false, 0, &[vec![33, 0, 1], vec![39, 0, 0, 1, 0], vec![19, 0, 9]]),
        bytes_of::connack_311(true, 0),
        bytes_of::suback(1, &[1, 1, 0x87]),
        bytes_of::suback_311(1, &[1, 0x80]),
        bytes_of::puback(1),
        bytes_of::puback_refusing(1, 0x87, &words),
        bytes_of::publish("im/K/u/alice/bob", 1, true, b"payload"),
        bytes_of::publish_311("im/K/u/alice/bob", 1, true, b"payload"),
        bytes_of::disconnect(0x8E, &words),
        bytes_of::PINGRESP.to_vec(),
    ]
}

/// Feeds everything and, where the server has said yes, sends too. Nothing may panic.
fn survive(protocol: Protocol, accepted: bool, bytes: &[u8], split: usize) {
    let mut wire = if accepted {
        open(protocol)
    } else {
        dialed(protocol).0
    };
    let mut output = BytesMut::new();
    let mut input = BytesMut::new();
    for chunk in bytes.chunks(split.max(1)) {
        input.extend_from_slice(chunk);
        while let Ok(Some(packet)) = wire.receive(&mut input, &mut output) {
            if let Packet::Message(Message {
                packet: Some(packet), ..
            }) = packet
            {
                let _: Result<(), Violation> = wire.acknowledge(packet, &mut output);
            }
        }
    }
    let _: Result<PacketId, Violation> = wire.subscribe(&["a/+".to_owned()], &mut output);
    let _: Result<PacketId, Unsent> = wire.publish(publish("a", &[1]), &mut output);
    let _: Result<PacketId, Violation> = wire.unsubscribe("a/+", &mut output);
    let _: Result<(), Violation> = wire.ping(&mut output);
    let _: Result<(), Violation> = wire.disconnect(true, &mut output);
}

fn protocols() -> impl Strategy<Value = Protocol> {
    prop_oneof![Just(Protocol::V5), Just(Protocol::V311)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_never_panic(
        protocol in protocols(),
        accepted: bool,
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        split in 1..50_usize,
    ) {
        survive(protocol, accepted, &bytes, split);
    }

    #[test]
    fn mutated_packets_never_panic(
        protocol in protocols(),
        accepted: bool,
        chosen in proptest::collection::vec(0..12_usize, 1..6),
        mutations in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
        split in 1..50_usize,
    ) {
        let packets = valid_packets();
        let mut bytes: Vec<u8> = chosen.iter().flat_map(|at| packets[*at].clone()).collect();
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        survive(protocol, accepted, &bytes, split);
    }
}
