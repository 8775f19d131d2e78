use imd::rpc::Limits;
use imd::store::rows::{Gap, LogContent};
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::event::Content;
use imd_proto::imd::v1::event_service_client::EventServiceClient;
use imd_proto::imd::v1::subscribe_request::Start;
use imd_proto::imd::v1::subscribe_response::Content as Told;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::support::*;

type Events = Streaming<v1::SubscribeResponse>;

fn from(start: Start) -> v1::SubscribeRequest {
    v1::SubscribeRequest { start: Some(start) }
}

fn at(epoch: &str, offset: u64) -> v1::Cursor {
    v1::Cursor {
        epoch: epoch.to_owned(),
        offset,
    }
}

fn ack(name: &str, cursor: v1::Cursor) -> v1::AckEventsRequest {
    v1::AckEventsRequest {
        name: name.to_owned(),
        cursor: Some(cursor),
    }
}

async fn subscribe(
    events: &mut EventServiceClient<Channel>,
    request: impl tonic::IntoRequest<v1::SubscribeRequest>,
) -> Events {
    soon(events.subscribe(request)).await.unwrap().into_inner()
}

async fn started(events: &mut Events) -> (v1::Cursor, bool) {
    match next(events).await.content.unwrap() {
        Told::Started(started) => (started.cursor.unwrap(), started.recovered),
        Told::Events(_) => panic!("no start"),
    }
}

async fn page(events: &mut Events) -> Vec<v1::Event> {
    match next(events).await.content.unwrap() {
        Told::Events(page) => page.events,
        Told::Started(started) => panic!("{started:?}"),
    }
}

/// Up to and with this offset.
async fn up_to(events: &mut Events, newest: u64) -> Vec<u64> {
    let mut all = Vec::new();
    while all.last() != Some(&newest) {
        let page = page(events).await;
        all.extend(page.iter().map(|event| event.cursor.as_ref().unwrap().offset));
    }
    all
}

#[tokio::test]
async fn every_kind_of_event_is_told_with_its_cursor() {
    let daemon = Daemon::start();
    daemon.archive.open("epoch");
    let mut events = daemon.events().await;
    let mut stream = subscribe(&mut events, from(Start::Cursor(at("epoch", 0)))).await;
    assert_eq!(started(&mut stream).await, (at("epoch", 0), true));
    daemon.archive.receive("bob", "你好".as_bytes());
    for content in [
        LogContent::Gap(Gap::GroupSequence {
            group: "club".to_owned(),
            sender: "bob".to_owned(),
            missing: 3,
        }),
        LogContent::Gap(Gap::OtherInstallation {
            installation: "other".to_owned(),
        }),
        LogContent::Gap(Gap::SessionLost),
        LogContent::Gap(Gap::DatabaseDamaged {
            text: "page 7".to_owned(),
        }),
        LogContent::OfflineSyncCompleted { complete: true },
        LogContent::Unreadable {
            topic: "im/k/u/me/bob".to_owned(),
            reason: "no envelope".to_owned(),
            bytes: 5,
        },
        LogContent::Deleted { message_id: 9 },
    ] {
        daemon.archive.log(content);
    }
    let mut all = Vec::new();
    while all.len() < 8 {
        all.extend(page(&mut stream).await);
    }
    for (event, offset) in all.iter().zip(1..) {
        assert_eq!(event.cursor, Some(at("epoch", offset)));
        assert_eq!(event.time.unwrap().nanos, 123_000_000);
    }
    let mut contents = all.into_iter().map(|event| event.content.unwrap());
    assert!(matches!(
        contents.next().unwrap(),
        Content::Message(message) if message.content == "你好" && message.uid == "theirs"
    ));
    let kinds = [
        v1::GapKind::GroupSequence,
        v1::GapKind::OtherInstallation,
        v1::GapKind::SessionLost,
        v1::GapKind::DatabaseDamaged,
    ];
    for kind in kinds {
        let Content::Gap(gap) = contents.next().unwrap() else {
            panic!("no gap");
        };
        assert_eq!(gap.kind(), kind);
        assert!(!gap.text.is_empty());
        assert_eq!(gap.conversation.is_some(), kind == v1::GapKind::GroupSequence);
    }
    assert!(matches!(contents.next().unwrap(), Content::OfflineSyncCompleted(sync) if sync.complete));
    assert!(matches!(contents.next().unwrap(), Content::Unreadable(kept) if kept.bytes == 5));
    assert!(matches!(contents.next().unwrap(), Content::Deleted(deleted) if deleted.message_id == 9));
}

#[tokio::test]
async fn before_an_account_is_open_a_subscriber_waits_and_another_database_begins_again() {
    let daemon = Daemon::start();
    let mut events = daemon.events().await;
    let mut stream = subscribe(&mut events, from(Start::Tail(true))).await;
    daemon.archive.open("a");
    assert_eq!(started(&mut stream).await, (at("a", 0), true));
    daemon.archive.receive("bob", b"{}");
    assert_eq!(up_to(&mut stream, 1).await, [1]);
    daemon.archive.open("b");
    assert_eq!(started(&mut stream).await, (at("b", 0), false));
    daemon.archive.receive("bob", b"{}");
    let event = page(&mut stream).await.remove(0);
    assert_eq!(event.cursor, Some(at("b", 1)));
}

#[tokio::test]
async fn an_app_goes_on_where_it_acknowledged() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    daemon.archive.receive("bob", b"{}");
    let (binding, _bound) = daemon.bind("one").await;
    let mut events = daemon.events().await;
    let named = || bound(&binding, from(Start::Name("main".to_owned())));
    let mut stream = subscribe(&mut events, named()).await;
    assert_eq!(started(&mut stream).await, (at("a", 1), false));
    for _ in 0..4 {
        daemon.archive.receive("bob", b"{}");
    }
    assert_eq!(up_to(&mut stream, 5).await, [2, 3, 4, 5]);
    drop(stream);
    for offset in [3, 2] {
        let ack = bound(&binding, ack("main", at("a", offset)));
        events.ack_events(ack).await.unwrap();
    }
    assert_eq!(daemon.archive.cursor_of("org.example.Chat", "main"), Some(3));
    let mut stream = subscribe(&mut events, named()).await;
    assert_eq!(started(&mut stream).await, (at("a", 3), true));
    assert_eq!(up_to(&mut stream, 5).await, [4, 5]);
}

#[tokio::test]
async fn a_kept_cursor_needs_a_binding_and_a_cursor_that_can_be() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    daemon.archive.receive("bob", b"{}");
    let (binding, _bound) = daemon.bind("one").await;
    let mut events = daemon.events().await;
    let named = |name: &str| from(Start::Name(name.to_owned()));
    assert_eq!(code(events.subscribe(named("main")).await), Code::IMD_NOT_BOUND);
    assert_eq!(
        code(events.ack_events(ack("main", at("a", 1))).await),
        Code::IMD_NOT_BOUND
    );
    for (wrong, expected) in [
        (ack("", at("a", 1)), Code::BIZ_ERROR_INVALID_PARAMETER),
        (ack("main", at("", 1)), Code::BIZ_ERROR_INVALID_PARAMETER),
        (ack("main", at("a", 2)), Code::BIZ_ERROR_INVALID_PARAMETER),
        (ack("main", at("b", 1)), Code::RC_DB_DATA_NOT_FOUND),
    ] {
        assert_eq!(code(events.ack_events(bound(&binding, wrong)).await), expected);
    }
    assert_eq!(
        code(events.subscribe(bound(&binding, named("a b"))).await),
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
    assert_eq!(
        code(events.subscribe(from(Start::Cursor(at("", 1)))).await),
        Code::BIZ_ERROR_INVALID_PARAMETER
    );
    daemon.archive.open("");
    assert_eq!(
        code(events.ack_events(bound(&binding, ack("main", at("a", 1)))).await),
        Code::RC_DB_NOT_INIT
    );
}

#[tokio::test]
async fn a_stopping_daemon_ends_the_streams_with_a_word() {
    let daemon = Daemon::start();
    daemon.archive.open("a");
    let mut events = daemon.events().await;
    let mut stream = subscribe(&mut events, from(Start::Tail(true))).await;
    started(&mut stream).await;
    daemon.stop.ask("the test ends");
    assert_eq!(end(&mut stream).await, Code::IMD_STOPPING);
    daemon.served().await.unwrap();
}

/// 16 KiB each, so that few of them are more than all buffers together.
const LONG: usize = 16 * 1024;
const ROUNDS: u64 = 60;
const A_ROUND: u64 = 10;

#[tokio::test]
async fn of_a_hundred_subscribers_one_that_does_not_read_holds_up_nobody_and_loses_nothing() {
    let daemon = Daemon::with(Limits {
        connections_of_process: 200,
        ..Limits::default()
    });
    daemon.archive.open("a");
    let narrow = Endpoint::from_static("http://localhost")
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(65_535);
    let mut events = EventServiceClient::new(daemon.channel_with(narrow).await);
    let mut stopped = subscribe(&mut events, from(Start::Tail(true))).await;
    started(&mut stopped).await;
    let mut others = Vec::new();
    for _ in 0..99 {
        let mut events = daemon.events().await;
        let mut stream = subscribe(&mut events, from(Start::Tail(true))).await;
        started(&mut stream).await;
        others.push(stream);
    }
    let content = vec![b'x'; LONG];
    for round in 0..ROUNDS {
        for _ in 0..A_ROUND {
            daemon.archive.receive("bob", &content);
        }
        let first = round * A_ROUND + 1;
        let last = first + A_ROUND - 1;
        for stream in &mut others {
            assert_eq!(up_to(stream, last).await, (first..=last).collect::<Vec<_>>());
        }
    }
    let total = ROUNDS * A_ROUND;
    let reads = daemon.archive.take_pages().len();
    assert!(reads < 300, "the 99 are served from memory, not by {reads} reads");

    assert_eq!(up_to(&mut stopped, total).await, (1..=total).collect::<Vec<_>>());
    // The first page it had to wait for begins where all that was held for it ended.
    let held = daemon.archive.take_pages().into_iter().next().unwrap();
    let bytes = held * u64::try_from(LONG).unwrap();
    assert!(bytes < 1024 * 1024, "{bytes} bytes were held for it");
}
