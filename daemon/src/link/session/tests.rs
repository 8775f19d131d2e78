use std::collections::BTreeSet;
use std::time::Duration;

use imd_core::account::{AppKey, Token, UserId};
use imd_core::io::{Accepted, Epoch, Protocol, ServerWords};
use imd_core::server::Transport;
use imd_core::time::UnixTime;
use imd_proto::code::Code;
use imd_proto::im::wire::v1::{Envelope, Marker};
use prost::Message as _;

use super::*;
use crate::link::bytes_of::{self, Sent, sent};

const CHANNEL: &str = "im/K/c/alice/desktop";

const RECEIVED: LinkEvent = LinkEvent::Received { messages: false };

fn at(seconds: u64) -> BootTime {
    BootTime::since_boot(Duration::from_secs(seconds))
}

fn now(seconds: u64) -> Now {
    Now {
        boot: at(seconds),
        unix: UnixTime::from_millis(1_700_000_000_000),
    }
}

fn dial(protocol: Protocol) -> Dial {
    Dial {
        epoch: Epoch(1),
        app_key: AppKey::parse("K").unwrap(),
        server: Server {
            transport: Transport::Tcp,
            host: "127.0.0.1".into(),
            port: 1883,
            path: "".into(),
        },
        others: Vec::new(),
        protocol,
        client_id: "desktop:K:alice".to_owned(),
        identity: Identity::Known(Account {
            app_key: AppKey::parse("K").unwrap(),
            user_id: UserId::parse("alice").unwrap(),
        }),
        token: Token::parse("t".to_owned()).ok().unwrap(),
        clean: false,
        session_expiry: Duration::from_secs(60),
        keep_alive: Duration::from_secs(30),
    }
}

fn device() -> Device {
    Device {
        class: DeviceClass::default(),
        installation: InstallationId::new("here"),
    }
}

struct Test {
    session: Session,
    version: u8,
}

impl Test {
    /// A session that the server has accepted.
    fn accepted(protocol: Protocol, groups: &[&str]) -> Self {
        let groups = groups.iter().map(|&group| group.to_owned()).collect();
        let session = Session::open(&dial(protocol), device(), groups).unwrap();
        let (version, acceptance) = match protocol {
            Protocol::V5 => (5, bytes_of::connack(false, 0, &[])),
            Protocol::V311 => (4, bytes_of::connack_311(false, 0)),
        };
        let mut test = Self { session, version };
        test.sent();
        let accepted = LinkEvent::Accepted(Accepted::default());
        assert_eq!(test.receive(0, &acceptance), [RECEIVED, accepted]);
        test
    }

    /// One whose SUBSCRIBE and marker are on their way: their packet ids and the nonce.
    fn logging_in(protocol: Protocol, groups: &[&str]) -> (Self, u16, u16, String) {
        let mut test = Self::accepted(protocol, groups);
        test.session.login(at(1));
        let all = test.sent();
        let [
            Sent::Subscribe { id: subscribe, .. },
            Sent::Publish {
                id: marker, payload, ..
            },
        ] = &all[..]
        else {
            panic!("{all:?}");
        };
        let nonce = Marker::decode(&payload[..]).unwrap().nonce;
        assert_eq!(test.events(), [LinkEvent::Unacknowledged { since: Some(at(1)) }]);
        (test, *subscribe, *marker, nonce)
    }

    fn sent(&mut self) -> Vec<Sent> {
        sent(&self.session.output().split(), self.version)
    }

    fn events(&mut self) -> Vec<LinkEvent> {
        self.told().into_iter().map(link_event).collect()
    }

    fn told(&mut self) -> Vec<Told> {
        std::iter::from_fn(|| self.session.poll_told()).collect()
    }

    fn receive(&mut self, seconds: u64, bytes: &[u8]) -> Vec<LinkEvent> {
        self.session.received(now(seconds), &mut BytesMut::from(bytes));
        self.events()
    }

    /// What a message on a topic leads to, but for "received".
    fn message(&mut self, topic: &str, id: u16, retain: bool, payload: &[u8]) -> Vec<LinkEvent> {
        let bytes = match self.version {
            5 => bytes_of::publish(topic, id, retain, payload),
            _ => bytes_of::publish_311(topic, id, retain, payload),
        };
        self.receive(2, &bytes).split_off(1)
    }
}

#[track_caller]
fn link_event(told: Told) -> LinkEvent {
    let Told::Link(event) = told else {
        panic!("{told:?}");
    };
    event
}

fn marker(nonce: &str, installation: &str) -> Vec<u8> {
    Marker {
        nonce: nonce.to_owned(),
        installation: installation.to_owned(),
    }
    .encode_to_vec()
}

#[test]
fn a_login_is_one_subscribe_with_every_filter_and_the_retained_marker() {
    for protocol in [Protocol::V5, Protocol::V311] {
        let mut test = Test::accepted(protocol, &["staff"]);
        test.session.login(at(1));
        let all = test.sent();
        let [
            Sent::Subscribe { filters, .. },
            Sent::Publish {
                topic,
                retain,
                payload,
                ..
            },
        ] = &all[..]
        else {
            panic!("{all:?}");
        };
        assert_eq!(
            filters,
            &["im/K/u/alice/+", "im/K/s/alice", CHANNEL, "im/K/g/staff/+"]
        );
        assert_eq!((topic.as_str(), *retain), (CHANNEL, true));
        let marker = Marker::decode(&payload[..]).unwrap();
        assert_eq!(marker.installation, "here");
        assert!(!marker.nonce.is_empty());
    }
}

#[test]
fn logged_in_is_told_when_both_acknowledgements_are_there_in_either_order() {
    for protocol in [Protocol::V5, Protocol::V311] {
        for subscribe_first in [true, false] {
            let (mut test, subscribe, marker, _) = Test::logging_in(protocol, &[]);
            let suback = match protocol {
                Protocol::V5 => bytes_of::suback(subscribe, &[1, 1, 1]),
                Protocol::V311 => bytes_of::suback_311(subscribe, &[1, 1, 1]),
            };
            let mut acknowledgements = [suback, bytes_of::puback(marker)];
            if !subscribe_first {
                acknowledgements.reverse();
            }
            let mut events = test.receive(2, &acknowledgements[0]);
            if subscribe_first {
                let since = Some(at(2));
                assert_eq!(events.pop(), Some(LinkEvent::Unacknowledged { since }));
            }
            assert_eq!(events, [RECEIVED]);
            assert_eq!(
                test.receive(3, &acknowledgements[1]),
                [
                    RECEIVED,
                    LinkEvent::LoggedIn,
                    LinkEvent::Unacknowledged { since: None }
                ]
            );
        }
    }
}

#[test]
fn a_refused_inbox_refuses_the_login_and_nothing_makes_it_good() {
    let (mut test, subscribe, marker, _) = Test::logging_in(Protocol::V5, &[]);
    let events = test.receive(2, &bytes_of::suback(subscribe, &[0x87, 1, 1]));
    let [_, LinkEvent::LoginRefused { what }, _] = &events[..] else {
        panic!("{events:?}");
    };
    assert!(
        what.contains("own inbox") && what.contains("0x87 (not authorized)"),
        "{what}"
    );
    let events = test.receive(3, &bytes_of::puback(marker));
    assert!(!events.contains(&LinkEvent::LoggedIn), "{events:?}");
}

#[test]
fn a_refused_marker_refuses_the_login_with_the_servers_words() {
    let (mut test, subscribe, marker, _) = Test::logging_in(Protocol::V5, &[]);
    test.receive(2, &bytes_of::suback(subscribe, &[1, 1, 1]));
    let words = [bytes_of::reason_string("not\nyours")];
    let events = test.receive(3, &bytes_of::puback_refusing(marker, 0x87, &words));
    let refused = LinkEvent::LoginRefused {
        what: "the marker on the own channel: 0x87 (not authorized), notyours".to_owned(),
    };
    assert_eq!(
        events,
        [RECEIVED, refused, LinkEvent::Unacknowledged { since: None }]
    );
}

#[test]
fn nobody_subscribed_to_the_marker_is_no_refusal() {
    let (mut test, subscribe, marker, _) = Test::logging_in(Protocol::V5, &[]);
    test.receive(2, &bytes_of::suback(subscribe, &[1, 1, 1]));
    let events = test.receive(3, &bytes_of::puback_refusing(marker, 0x10, &[]));
    assert!(events.contains(&LinkEvent::LoggedIn), "{events:?}");
}

#[test]
fn a_refused_group_is_told_and_the_login_goes_on() {
    let (mut test, subscribe, marker, _) = Test::logging_in(Protocol::V5, &["staff", "club"]);
    let answer = bytes_of::suback(subscribe, &[1, 0x87, 0x87, 0x87, 1]);
    test.session.received(now(2), &mut BytesMut::from(&answer[..]));
    let club = LinkEvent::GroupRefused {
        group: "club".to_owned(),
    };
    let staff = Told::GroupGranted {
        group: "staff".to_owned(),
    };
    assert_eq!(test.told()[1..3], [Told::Link(club), staff]);
    let events = test.receive(3, &bytes_of::puback(marker));
    assert!(events.contains(&LinkEvent::LoggedIn), "{events:?}");
}

#[test]
fn a_suback_that_answers_another_number_of_filters_is_a_protocol_fault() {
    let (mut test, subscribe, ..) = Test::logging_in(Protocol::V5, &[]);
    let events = test.receive(2, &bytes_of::suback(subscribe, &[1]));
    let Some(LinkEvent::Failed(fault)) = events.last() else {
        panic!("{events:?}");
    };
    assert_eq!(fault.kind, FaultKind::Protocol);
    assert!(fault.text.contains("mqtt://127.0.0.1:1883"), "{}", fault.text);
    assert!(test.session.is_over());
}

#[test]
fn the_marker_found_first_tells_who_was_connected_last_and_ours_comes_back() {
    let (mut test, _, _, nonce) = Test::logging_in(Protocol::V5, &[]);
    let installation = InstallationId::new("there");
    assert_eq!(
        test.message(CHANNEL, 1, true, &marker("other", "there")),
        [LinkEvent::MarkerFound { installation }]
    );
    // From the queue: what was published while nobody was here.
    assert_eq!(test.message(CHANNEL, 2, false, &marker("old", "elsewhere")), []);
    assert_eq!(
        test.message(CHANNEL, 3, true, &marker("another", "elsewhere")),
        []
    );
    assert_eq!(
        test.message(CHANNEL, 4, false, &marker(&nonce, "here")),
        [LinkEvent::MarkerReturned]
    );
    let acknowledged = [1, 2, 3, 4].map(|id| Sent::Puback { id });
    assert_eq!(test.sent(), acknowledged);
}

#[test]
fn our_own_marker_of_an_earlier_login_tells_nothing() {
    let (mut test, ..) = Test::logging_in(Protocol::V311, &[]);
    assert_eq!(test.message(CHANNEL, 1, true, &marker("earlier", "here")), []);
    assert_eq!(test.message(CHANNEL, 2, true, &marker("later", "there")), []);
    assert_eq!(test.sent().len(), 2);
}

#[test]
fn what_is_no_marker_on_the_own_channel_is_acknowledged_and_forgotten() {
    let (mut test, ..) = Test::logging_in(Protocol::V5, &[]);
    assert_eq!(test.message(CHANNEL, 1, true, b"\xFF\xFF"), []);
    assert_eq!(test.message(CHANNEL, 2, true, b""), []);
    assert_eq!(test.sent().len(), 2);
    assert!(!test.session.is_over());
}

#[test]
fn a_refusal_has_the_servers_words_cleaned_and_cut() {
    let mut session = Session::open(&dial(Protocol::V5), device(), BTreeSet::new()).unwrap();
    let long = "é".repeat(600);
    let words = [
        bytes_of::reason_string(&format!("\u{1b}[31m{long}")),
        bytes_of::server_reference("two.example"),
        bytes_of::user_property("im-code", "31008"),
        bytes_of::user_property("im-retry-after", "90"),
        bytes_of::user_property("ticket\u{1b}", "47\n11"),
    ];
    session.received(
        now(1),
        &mut BytesMut::from(&bytes_of::connack(false, 0x8B, &words)[..]),
    );
    assert_eq!(session.poll_told().map(link_event), Some(RECEIVED));
    assert_eq!(
        session.poll_told().map(link_event),
        Some(LinkEvent::Refused(ServerWords {
            reason: 0x8B,
            raw: 0x8B,
            reason_string: Some(format!("[31m{}", "é".repeat(508))),
            server_reference: Some("two.example".to_owned()),
            user_properties: vec![("ticket".to_owned(), "4711".to_owned())],
            im_code: Some(Code::RC_CONN_APP_BLOCKED_OR_DELETED),
            retry_after: Some(Duration::from_secs(90)),
        }))
    );
    assert!(session.is_over());
    session.closed(false);
    assert_eq!(
        session.poll_told().map(link_event),
        None,
        "the refusal was the last word"
    );
}

#[test]
fn an_acceptance_names_the_user_and_the_servers_keep_alive() {
    let mut dial = dial(Protocol::V5);
    dial.identity = Identity::Discover;
    let mut session = Session::open(&dial, device(), BTreeSet::new()).unwrap();
    let words = [
        vec![19, 0, 20],
        bytes_of::user_property("im-user-id", "alice"),
        bytes_of::user_property("im-code", "-3"),
        bytes_of::reason_string("welcome"),
    ];
    session.received(
        now(1),
        &mut BytesMut::from(&bytes_of::connack(true, 0, &words)[..]),
    );
    assert_eq!(session.poll_told().map(link_event), Some(RECEIVED));
    assert_eq!(
        session.poll_told().map(link_event),
        Some(LinkEvent::Accepted(Accepted {
            session_present: true,
            user_id: Some("alice".to_owned()),
            keep_alive: Some(Duration::from_secs(20)),
            im_code: Some(Code(-3)),
            reason_string: Some("welcome".to_owned()),
        }))
    );
}

#[test]
fn a_kick_in_the_same_read_as_the_login_is_told_after_it() {
    let (mut test, subscribe, marker, _) = Test::logging_in(Protocol::V5, &[]);
    let bytes = [
        bytes_of::suback(subscribe, &[1, 1, 1]),
        bytes_of::puback(marker),
        bytes_of::disconnect(0x8E, &[]),
        bytes_of::PINGRESP.to_vec(),
    ];
    let events = test.receive(2, &bytes.concat());
    assert!(
        matches!(
            &events[..],
            [RECEIVED, LinkEvent::LoggedIn, LinkEvent::ServerDisconnect(words)]
            if words.reason == 0x8E
        ),
        "{events:?}"
    );
}

#[test]
fn an_end_without_a_word_is_told_apart_from_one_within_a_packet() {
    for (partial, kind) in [(false, FaultKind::BareEof), (true, FaultKind::Io)] {
        let mut test = Test::accepted(Protocol::V5, &[]);
        test.session.closed(partial);
        let events = test.events();
        assert!(
            matches!(&events[..], [LinkEvent::Failed(fault)] if fault.kind == kind),
            "{events:?}"
        );
        assert_eq!(test.receive(2, &bytes_of::PINGRESP), []);
    }
}

#[test]
fn pings_and_farewells_are_sent_and_after_the_farewell_nothing_comes() {
    let mut test = Test::accepted(Protocol::V5, &[]);
    test.session.ping();
    assert_eq!(test.sent(), [Sent::Ping]);
    test.session.hang_up(HangUp::EndSession);
    assert!(matches!(&test.sent()[..], [Sent::Disconnect { body }] if body.len() == 7));
    assert_eq!(test.receive(2, &bytes_of::PINGRESP), []);

    let mut test = Test::accepted(Protocol::V5, &[]);
    test.session.ping();
    test.session.hang_up(HangUp::Abort);
    assert_eq!(test.sent(), []);
}

/// A message's payload.
fn envelope(uid: &str) -> Vec<u8> {
    Envelope {
        uid: uid.to_owned(),
        object_name: "RC:TxtMsg".to_owned(),
        flags: 3,
        ..Envelope::default()
    }
    .encode_to_vec()
}

/// The uid of each message that is to be stored, with its packet id.
fn deliveries(told: &[Told]) -> Vec<(Option<u16>, String)> {
    told.iter()
        .filter_map(|told| match told {
            Told::Delivered(delivery) => Some(delivery),
            Told::Link(_) | Told::Acknowledged { .. } | Told::GroupGranted { .. } => None,
        })
        .map(|delivery| {
            let uid = match &delivery.arrival {
                Some(Arrival::Message(message)) => message.uid.clone(),
                Some(other) => format!("{other:?}"),
                None => "nothing".to_owned(),
            };
            (delivery.packet.map(|packet| packet.0), uid)
        })
        .collect()
}

#[test]
fn messages_are_told_in_order_and_acknowledged_only_when_asked() {
    let (mut test, ..) = Test::logging_in(Protocol::V5, &["staff"]);
    let bytes = [
        bytes_of::publish("im/K/u/alice/bob", 7, false, &envelope("one")),
        bytes_of::publish_qos_0("im/K/g/staff/bob", &envelope("two")),
        bytes_of::publish("im/K/s/alice", 9, false, &envelope("three")),
        bytes_of::publish("im/K/c/alice/phone", 10, false, b"x"),
    ];
    test.session
        .received(now(2), &mut BytesMut::from(&bytes.concat()[..]));
    let told = test.told();
    assert_eq!(told[0], Told::Link(LinkEvent::Received { messages: true }));
    let all = deliveries(&told);
    assert_eq!(all[0], (Some(7), "one".to_owned()));
    assert_eq!(all[1], (None, "two".to_owned()));
    assert_eq!(all[2], (Some(9), "three".to_owned()));
    assert!(all[3].1.contains("Unreadable"), "{all:?}");
    assert_eq!(test.sent(), []);
    test.session.acknowledge(PacketId(7));
    test.session.acknowledge(PacketId(9));
    assert_eq!(test.sent(), [Sent::Puback { id: 7 }, Sent::Puback { id: 9 }]);
}

#[test]
fn a_group_that_was_left_is_unsubscribed_when_it_speaks_and_acknowledged_without_storing() {
    for protocol in [Protocol::V5, Protocol::V311] {
        let (mut test, ..) = Test::logging_in(protocol, &[]);
        for id in [1, 2] {
            let bytes = match protocol {
                Protocol::V5 => bytes_of::publish("im/K/g/old/bob", id, false, &envelope("x")),
                Protocol::V311 => bytes_of::publish_311("im/K/g/old/bob", id, false, &envelope("x")),
            };
            test.session.received(now(2), &mut BytesMut::from(&bytes[..]));
            assert_eq!(deliveries(&test.told()), [(Some(id), "nothing".to_owned())]);
        }
        let sent = test.sent();
        let [Sent::Unsubscribe { id, filter }] = &sent[..] else {
            panic!("{sent:?}");
        };
        assert_eq!(filter, "im/K/g/old/+");
        let answer = match protocol {
            Protocol::V5 => bytes_of::unsuback(*id, &[0]),
            Protocol::V311 => bytes_of::unsuback_311(*id),
        };
        assert_eq!(test.receive(3, &answer), [RECEIVED]);
    }
}

#[test]
fn a_group_joined_before_the_login_goes_with_it_and_one_joined_after_goes_alone() {
    let mut test = Test::accepted(Protocol::V5, &[]);
    test.session.join_group(at(1), "early");
    assert_eq!(test.sent(), []);
    test.session.login(at(1));
    let sent = test.sent();
    assert!(matches!(&sent[0], Sent::Subscribe { filters, .. } if filters[3] == "im/K/g/early/+"));
    test.events();

    test.session.join_group(at(2), "late");
    let sent = test.sent();
    let [Sent::Subscribe { id, filters }] = &sent[..] else {
        panic!("{sent:?}");
    };
    assert_eq!(filters, &["im/K/g/late/+"]);
    let refusal = bytes_of::suback(*id, &[0x87]);
    let group = "late".to_owned();
    assert_eq!(
        test.receive(3, &refusal),
        [RECEIVED, LinkEvent::GroupRefused { group }]
    );

    test.session.quit_group(at(4), "late");
    assert!(matches!(&test.sent()[..], [Sent::Unsubscribe { filter, .. }] if filter == "im/K/g/late/+"));
}

#[test]
fn more_groups_than_one_packet_holds_go_in_several_and_the_login_waits_for_the_first() {
    let groups: Vec<String> = (0..1000).map(|number| format!("{number:0>64}")).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let mut test = Test::accepted(Protocol::V5, &groups);
    test.session.login(at(1));
    let mut counts = Vec::new();
    for sent in test.sent() {
        if let Sent::Subscribe { filters, .. } = sent {
            counts.push(filters.len());
        }
    }
    assert!(counts.len() > 1, "{counts:?}");
    assert_eq!(counts.iter().sum::<usize>(), 1003);
}

#[test]
fn an_answer_to_a_message_is_told_and_the_deadline_goes_on_to_the_next() {
    let (mut test, subscribe, marker, _) = Test::logging_in(Protocol::V5, &[]);
    let login = [bytes_of::suback(subscribe, &[1, 1, 1]), bytes_of::puback(marker)];
    test.receive(2, &login.concat());
    let mut send = |topic| {
        let publish = Publish {
            topic,
            payload: [1].into(),
            retain: false,
            again: None,
        };
        test.session.publish(at(5), publish).unwrap()
    };
    let (one, two) = (send("one"), send("two"));
    assert_eq!(test.events(), [LinkEvent::Unacknowledged { since: Some(at(5)) }]);
    let refusal = bytes_of::puback_refusing(one.0, 0x87, &[]);
    test.session.received(now(8), &mut BytesMut::from(&refusal[..]));
    let told = test.told();
    assert_eq!(
        told[1..],
        [
            Told::Acknowledged {
                packet: one,
                reason: 0x87,
                words: Words::default()
            },
            Told::Link(LinkEvent::Unacknowledged { since: Some(at(8)) })
        ]
    );
    // Nothing is read: nothing can be held against the server, and a ping is as good as answered.
    test.session.set_deaf(true, at(9));
    assert_eq!(test.events(), [LinkEvent::Unacknowledged { since: None }]);
    test.session.ping();
    assert_eq!(test.events(), [LinkEvent::Received { messages: true }]);
    test.session.set_deaf(false, at(99));
    assert_eq!(test.events(), [LinkEvent::Unacknowledged { since: Some(at(99)) }]);
    let answer = bytes_of::puback(two.0);
    test.session.received(now(100), &mut BytesMut::from(&answer[..]));
    assert_eq!(
        test.told().last(),
        Some(&Told::Link(LinkEvent::Unacknowledged { since: None }))
    );
}
