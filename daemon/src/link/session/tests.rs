use std::time::Duration;

use imd_core::account::{AppKey, Token, UserId};
use imd_core::io::{Accepted, Epoch, Protocol, ServerWords};
use imd_core::server::Transport;
use imd_proto::code::Code;

use super::*;
use crate::link::bytes_of::{self, Sent, sent};

const CHANNEL: &str = "im/K/c/alice/desktop";

fn at(seconds: u64) -> BootTime {
    BootTime::since_boot(Duration::from_secs(seconds))
}

fn dial(protocol: Protocol) -> Dial {
    Dial {
        epoch: Epoch(1),
        server: Server {
            transport: Transport::Tcp,
            host: "127.0.0.1".into(),
            port: 1883,
            path: "".into(),
        },
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
        assert_eq!(test.receive(0, &acceptance), [LinkEvent::Received, accepted]);
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
        std::iter::from_fn(|| self.session.poll_event()).collect()
    }

    fn receive(&mut self, seconds: u64, bytes: &[u8]) -> Vec<LinkEvent> {
        self.session.received(at(seconds), &mut BytesMut::from(bytes));
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
            assert_eq!(test.receive(2, &acknowledgements[0]), [LinkEvent::Received]);
            assert_eq!(
                test.receive(3, &acknowledgements[1]),
                [
                    LinkEvent::Received,
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
    let [_, LinkEvent::LoginRefused { what }] = &events[..] else {
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
        [
            LinkEvent::Received,
            refused,
            LinkEvent::Unacknowledged { since: None }
        ]
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
    let events = test.receive(2, &bytes_of::suback(subscribe, &[1, 0x87, 0x87, 1, 0x87]));
    let group = "club".to_owned();
    assert_eq!(events, [LinkEvent::Received, LinkEvent::GroupRefused { group }]);
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
fn a_message_that_cannot_be_stored_is_not_acknowledged() {
    let (mut test, ..) = Test::logging_in(Protocol::V5, &[]);
    for topic in ["im/K/u/alice/bob", "im/K/s/alice", "im/K/c/alice/phone"] {
        assert_eq!(test.message(topic, 9, false, b"hello"), []);
    }
    assert_eq!(test.sent(), []);
    assert_eq!(test.session.messages, 3);
}

#[test]
fn a_refusal_has_the_servers_words_cleaned_and_cut() {
    let mut session = Session::open(&dial(Protocol::V5), device(), Vec::new()).unwrap();
    let long = "é".repeat(600);
    let words = [
        bytes_of::reason_string(&format!("\u{1b}[31m{long}")),
        bytes_of::server_reference("two.example"),
        bytes_of::user_property("im-code", "31008"),
        bytes_of::user_property("im-retry-after", "90"),
        bytes_of::user_property("ticket\u{1b}", "47\n11"),
    ];
    session.received(
        at(1),
        &mut BytesMut::from(&bytes_of::connack(false, 0x8B, &words)[..]),
    );
    assert_eq!(session.poll_event(), Some(LinkEvent::Received));
    assert_eq!(
        session.poll_event(),
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
    assert_eq!(session.poll_event(), None, "the refusal was the last word");
}

#[test]
fn an_acceptance_names_the_user_and_the_servers_keep_alive() {
    let mut dial = dial(Protocol::V5);
    dial.identity = Identity::Discover;
    let mut session = Session::open(&dial, device(), Vec::new()).unwrap();
    let words = [
        vec![19, 0, 20],
        bytes_of::user_property("im-user-id", "alice"),
        bytes_of::user_property("im-code", "-3"),
        bytes_of::reason_string("welcome"),
    ];
    session.received(
        at(1),
        &mut BytesMut::from(&bytes_of::connack(true, 0, &words)[..]),
    );
    assert_eq!(session.poll_event(), Some(LinkEvent::Received));
    assert_eq!(
        session.poll_event(),
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
            [LinkEvent::Received, LinkEvent::LoggedIn, LinkEvent::ServerDisconnect(words)]
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
