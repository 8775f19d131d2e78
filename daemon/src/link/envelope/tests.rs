use imd_core::account::AppKey;
use proptest::prelude::*;

use super::*;

fn account() -> Account {
    Account {
        app_key: AppKey::parse("K").unwrap(),
        user_id: UserId::parse("alice").unwrap(),
    }
}

fn text(uid: &str) -> Envelope {
    Envelope {
        uid: uid.to_owned(),
        origin: "there".to_owned(),
        seq: 7,
        object_name: "RC:TxtMsg".to_owned(),
        content: Bytes::from_static(br#"{"content":"hi"}"#),
        flags: 3,
        sent_time_ms: 1_700_000_000_000,
    }
}

fn read(topic: &str, payload: impl Into<Bytes>) -> Arrival {
    let publication = Publication {
        topic,
        payload: payload.into(),
        retain: false,
        now: 5,
    };
    arrival(&account(), &publication)
}

#[track_caller]
fn message_of(arrival: Arrival) -> Incoming {
    let Arrival::Message(message) = arrival else {
        panic!("{arrival:?}");
    };
    message
}

#[track_caller]
fn reason_of(arrival: Arrival) -> String {
    let Arrival::Unreadable { reason, .. } = arrival else {
        panic!("{arrival:?}");
    };
    reason
}

#[test]
fn the_sender_and_the_conversation_come_from_the_topic() {
    let payload = text("u1").encode_to_vec();
    for (topic, kind, target, sender, sent_by_me, wants_receipt) in [
        (
            "im/K/u/alice/王芳",
            ConversationKind::Private,
            "王芳",
            "王芳",
            false,
            true,
        ),
        (
            "im/K/u/alice/alice",
            ConversationKind::Private,
            "alice",
            "alice",
            true,
            false,
        ),
        (
            "im/K/g/staff/bob",
            ConversationKind::Group,
            "staff",
            "bob",
            false,
            false,
        ),
        (
            "im/K/g/staff/alice",
            ConversationKind::Group,
            "staff",
            "alice",
            true,
            false,
        ),
        (
            "im/K/s/alice",
            ConversationKind::System,
            "system",
            "system",
            false,
            false,
        ),
    ] {
        let message = message_of(read(topic, payload.clone()));
        let target = target.to_owned();
        assert_eq!(message.conversation, ConversationKey { kind, target }, "{topic}");
        assert_eq!(message.sender, sender, "{topic}");
        assert_eq!(
            (message.sent_by_me, message.wants_receipt),
            (sent_by_me, wants_receipt),
            "{topic}"
        );
        assert_eq!((message.uid.as_str(), message.seq, message.flags), ("u1", 7, 3));
        assert_eq!(
            (message.origin.as_str(), message.sent_time),
            ("there", 1_700_000_000_000)
        );
    }
}

#[test]
fn a_topic_that_is_not_ours_is_kept_aside_with_what_it_brought() {
    let payload = text("u1").encode_to_vec();
    for topic in [
        "im/K/u/bob/alice",
        "im/K/u/alice",
        "im/K/u/alice/bob/more",
        "im/K/u/alice/",
        "im/K/u/alice/..",
        "im/K/g/staff",
        "im/K/g//bob",
        "im/K/s/bob",
        "im/K/s/alice/bob",
        "im/K/c/alice/phone",
        "im/Q/u/alice/bob",
        "om/K/u/alice/bob",
        "im/K",
        "x",
    ] {
        let arrival = read(topic, payload.clone());
        let Arrival::Unreadable {
            topic: kept,
            payload: brought,
            ..
        } = &arrival
        else {
            panic!("{topic}: {arrival:?}");
        };
        assert_eq!((kept.as_str(), brought), (topic, &payload));
    }
    let long = reason_of(read(&format!("im/K/u/alice/{}", "x".repeat(65)), payload));
    assert!(long.contains("sender"), "{long}");
}

#[test]
fn what_is_out_of_bounds_is_kept_aside_with_a_reason() {
    type Spoil = fn(&mut Envelope);
    let spoil: [(&str, Spoil); 11] = [
        ("uid", |e| e.uid = String::new()),
        ("uid", |e| e.uid = "x".repeat(65)),
        ("uid", |e| e.uid = "a/b".to_owned()),
        ("origin", |e| e.origin = "o".repeat(65)),
        ("origin", |e| e.origin = "\n".to_owned()),
        ("seq", |e| e.seq = u64::MAX),
        ("object name", |e| e.object_name = String::new()),
        ("object name", |e| e.object_name = "名".to_owned()),
        ("131073 bytes", |e| e.content = vec![0; 128 * 1024 + 1].into()),
        ("flags 0", |e| e.flags = 0),
        ("flags 2", |e| e.flags = 2),
    ];
    for (named, spoil) in spoil {
        let mut envelope = text("u1");
        spoil(&mut envelope);
        let reason = reason_of(read("im/K/u/alice/bob", envelope.encode_to_vec()));
        assert!(reason.contains(named), "{named}: {reason}");
    }
    let reason = reason_of(read("im/K/u/alice/bob", &b"hello"[..]));
    assert!(reason.contains("no Envelope"), "{reason}");

    let mut largest = text("u1");
    largest.content = vec![0; 128 * 1024].into();
    largest.sent_time_ms = i64::MIN;
    let message = message_of(read("im/K/u/alice/bob", largest.encode_to_vec()));
    assert_eq!((message.content.len(), message.sent_time), (131_072, 0));
}

#[test]
fn a_system_message_may_be_plain_json() {
    let json = r#" {"content":"maintenance at 22:00"}"#;
    let message = message_of(read("im/K/s/alice", json.as_bytes()));
    assert_eq!(
        (message.object_name.as_str(), message.content.as_slice()),
        ("RC:TxtMsg", json.as_bytes())
    );
    assert_eq!((message.flags, message.seq, message.sent_time), (3, 0, 5));
    let other = message_of(read("im/K/s/alice", json.as_bytes()));
    assert_ne!(message.uid, other.uid, "two equal notices are two messages");

    let named = message_of(read("im/K/s/alice", &br#"{"uid":"n-1"}"#[..]));
    assert_eq!(named.uid, "n-1");

    for (payload, named) in [
        (&br#"{"uid":7}"#[..], "uid"),
        (br#"{"uid":"a b"}"#, "uid"),
        (b"{oops", "begins like JSON"),
        (b"[1]", "no Envelope"),
        (b"hello", "no Envelope"),
    ] {
        let reason = reason_of(read("im/K/s/alice", payload));
        assert!(reason.contains(named), "{reason}");
    }
    // Nobody but the server side may be so short.
    assert!(matches!(
        read("im/K/u/alice/bob", json.as_bytes()),
        Arrival::Unreadable { .. }
    ));
}

#[test]
fn a_retained_notice_is_one_message_however_often_it_comes() {
    let uid = || {
        let publication = Publication {
            topic: "im/K/s/alice",
            payload: Bytes::from_static(b"{}"),
            retain: true,
            now: 5,
        };
        message_of(arrival(&account(), &publication)).uid
    };
    assert_eq!(uid(), uid());
    assert_eq!(uid().len(), 64);
}

#[test]
fn a_receipt_is_read_from_a_private_inbox_alone() {
    let due = DueReceipts {
        peer: "bob".to_owned(),
        uids: vec!["u1".to_owned(), "u2".to_owned()],
    };
    let (topic, payload) = receipts(&account(), "here", 9, &due);
    assert_eq!(topic, "im/K/u/bob/alice");
    let envelope = Envelope::decode(&payload[..]).unwrap();
    assert_eq!(
        (envelope.object_name.as_str(), envelope.flags),
        ("imd:receipt", 0)
    );

    let arrival = read("im/K/u/alice/bob", payload.clone());
    let uids = due.uids.clone();
    assert_eq!(
        arrival,
        Arrival::Receipt {
            peer: "bob".to_owned(),
            uids
        }
    );
    for topic in ["im/K/g/staff/bob", "im/K/s/alice"] {
        reason_of(read(topic, payload.clone()));
    }
    for uids in [vec![], vec!["a b".to_owned()]] {
        let due = DueReceipts {
            peer: "bob".to_owned(),
            uids,
        };
        let (_, payload) = receipts(&account(), "here", 9, &due);
        assert!(reason_of(read("im/K/u/alice/bob", payload)).contains("receipt"));
    }
}

#[test]
fn nothing_is_sent_to_the_system() {
    let due = Due {
        position: 1,
        conversation: ConversationKey {
            kind: ConversationKind::System,
            target: "system".to_owned(),
        },
        uid: "u".to_owned(),
        seq: 1,
        object_name: "o".to_owned(),
        content: Vec::new(),
        flags: 3,
        sent_time: 0,
    };
    assert_eq!(publication(&account(), "here", &due), None);
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("im/K/u/alice/bob".to_owned()),
        2 => Just("im/K/s/alice".to_owned()),
        1 => Just("im/K/g/staff/bob".to_owned()),
        1 => any::<String>(),
        1 => "(im|K|u|g|s|c|alice|/|\\.){1,12}",
    ]
}

proptest! {
    #[test]
    fn whatever_comes_is_read_or_kept_aside(
        topic in topic(),
        payload in proptest::collection::vec(any::<u8>(), 0..200),
        retain: bool,
    ) {
        let publication = Publication { topic: &topic, payload: payload.clone().into(), retain, now: 0 };
        if let Arrival::Unreadable { payload: kept, reason, .. } = arrival(&account(), &publication) {
            prop_assert_eq!(kept, payload);
            prop_assert!(!reason.is_empty());
        }
    }

    #[test]
    fn an_envelope_with_one_byte_changed_is_read_or_kept_aside(at in 0_usize..70, byte: u8, topic in topic()) {
        let mut payload = text("0192f0c1-7f6e-7a00-8000-000000000001").encode_to_vec();
        let end = payload.len() - 1;
        payload[at.min(end)] = byte;
        let publication = Publication { topic: &topic, payload: payload.into(), retain: false, now: 0 };
        if let Arrival::Message(message) = arrival(&account(), &publication) {
            prop_assert!(is_uid(&message.uid));
        }
    }

    #[test]
    fn what_is_sent_is_what_the_other_side_reads(
        uid in "[A-Za-z0-9_-]{1,64}",
        seq in 0..u64::MAX / 2,
        object_name in "[ -~]{1,64}",
        content in proptest::collection::vec(any::<u8>(), 0..200),
        flags in prop_oneof![Just(1_u32), Just(3), Just(16)],
        sent_time in 0..LATEST,
        to_group: bool,
    ) {
        let (kind, target) = if to_group {
            (ConversationKind::Group, "staff")
        } else {
            (ConversationKind::Private, "bob")
        };
        let due = Due {
            position: 1,
            conversation: ConversationKey { kind, target: target.to_owned() },
            uid, seq, object_name, content, flags, sent_time,
        };
        let (topic, payload) = publication(&account(), "here", &due).unwrap();
        let bob = Account { app_key: AppKey::parse("K").unwrap(), user_id: UserId::parse("bob").unwrap() };
        let read = Publication { topic: &topic, payload: payload.into(), retain: false, now: 0 };
        let message = message_of(arrival(&bob, &read));
        prop_assert_eq!(message.sender.as_str(), "alice");
        prop_assert_eq!(message.conversation.target.as_str(), if to_group { "staff" } else { "alice" });
        prop_assert_eq!(message.origin.as_str(), "here");
        prop_assert_eq!(
            (message.uid, message.seq, message.object_name, message.content, message.flags, message.sent_time),
            (due.uid, due.seq, due.object_name, due.content, due.flags, due.sent_time)
        );
    }
}
