//! SUBSCRIBE and the marker, and that there is one connection.

use imd::demo::broker::{ConnectAnswer, Cut, Event, Gate, PublishAnswer, Reply, Sessions, Times, Who};
use imd_client::OfflineSync;
use imd_proto::code::Code;
use imd_tests::wait::{SOON, eventually, when};

use super::stage::{ALICE, App, Connect, Ended, Left, Stage, TOKEN, assert_says};

const REJECTED: Ended = Ended {
    code: Code::RC_CONN_ID_REJECT,
    status: 2,
    name: "UNCONNECTED",
    token: Left::Kept,
    says: &[],
};

/// What every login subscribes.
const FILTERS: [&str; 3] = ["im/demo/u/alice/+", "im/demo/s/alice", "im/demo/c/alice/desktop"];

/// The filters of each SUBSCRIBE there has been.
fn subscribes(stage: &Stage) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for record in stage.broker.broker().events().take() {
        if let Event::Subscribed { filters, .. } = record.event {
            all.push(filters.into_iter().map(|(filter, _)| filter).collect());
        }
    }
    all
}

#[test]
fn a_refused_inbox_is_31002_naming_the_inbox() {
    for code in [0x80, 0x87, 0x97, 0xA2] {
        let stage = Stage::start();
        stage
            .broker
            .broker()
            .script()
            .on_subscribe(Who::Anyone, FILTERS[0], Times::Always, code);
        let connect = stage.app("First").connect("alice", TOKEN);
        let text = connect.error().text().to_owned();
        assert_says(&text, &[&format!("{code:#04x}")]);
        assert!(
            stage.history().iter().all(|change| change.status != 0),
            "never CONNECTED"
        );
        let says = &["the own inbox", "is the App Key right"];
        stage.assert_refused(&connect, &Ended { says, ..REJECTED });
    }
}

#[test]
fn a_refused_marker_is_31002_naming_the_marker() {
    let stage = Stage::start();
    stage.broker.broker().script().on_publish(
        Who::Anyone,
        "im/demo/c/#",
        Times::Always,
        PublishAnswer::Puback(0x87),
    );
    let connect = stage.app("First").connect("alice", TOKEN);
    let says = &["the marker", "0x87 (not authorized)"];
    stage.assert_refused(&connect, &Ended { says, ..REJECTED });
}

#[test]
fn a_refused_system_inbox_is_no_verdict() {
    let stage = Stage::start();
    stage
        .broker
        .broker()
        .script()
        .on_subscribe(Who::Anyone, FILTERS[1], Times::Always, 0x87);
    stage.app("First").connect("alice", TOKEN).success();
    stage.assert_connected();
}

#[test]
fn onsuccess_waits_for_the_markers_puback() {
    let stage = Stage::start();
    let gate = Gate::new();
    stage.broker.broker().script().on_publish(
        Who::Anyone,
        "im/demo/c/#",
        Times::Next(1),
        PublishAnswer::Hold(gate.clone()),
    );
    let connect = stage.app("First").connect("alice", TOKEN);
    stage.broker.wait(gate.wait_arrived(1));
    // The marker itself comes back before its PUBACK: that is not enough.
    stage
        .broker
        .await_event(|event| matches!(event, Event::Acknowledged { topic, .. } if topic == FILTERS[2]));
    assert_eq!(stage.daemon.status().status_name, "CONNECTING");
    assert!(connect.is_waiting());
    gate.open();
    connect.success();
    stage.assert_connected();
}

#[test]
fn the_marker_that_comes_back_completes_the_offline_sync() {
    let stage = Stage::start();
    let app = stage.alice();
    let status = eventually(SOON, "the end of the offline sync", || {
        let status = app.client.connection_status();
        if status.offline_sync == OfflineSync::Complete {
            Ok(status)
        } else {
            Err(status)
        }
    });
    assert!(status.is_connected());
    let marker = stage.broker.broker().events().take().into_iter().any(|record| {
        matches!(
            record.event,
            Event::Published { topic, retain: true, .. } if topic == FILTERS[2]
        )
    });
    assert!(marker, "the marker is retained");
}

#[test]
fn while_the_marker_is_away_the_offline_sync_is_running() {
    let stage = Stage::start();
    stage
        .broker
        .broker()
        .script()
        .lose_deliveries(Who::Anyone, "im/demo/c/#", Times::Always);
    let app = stage.alice();
    assert_eq!(
        app.client
            .blocking()
            .fetch_connection_status()
            .unwrap()
            .offline_sync,
        OfflineSync::Running
    );
}

#[test]
fn every_connack_is_followed_by_the_full_subscribe_whatever_it_says_of_the_session() {
    let stage = Stage::start();
    let _app = stage.alice();
    for present in [true, false] {
        let lie = Reply::code(0).session_present(present);
        stage.behave();
        stage.answer(ConnectAnswer::Connack(lie));
        let logins = subscribes(&stage).len();
        stage.broker.broker().cut(Who::Anyone, Cut::Reset);
        eventually(SOON, "the next SUBSCRIBE", || {
            let seen = subscribes(&stage);
            when(seen.len() > logins, seen)
        });
        stage.assert_connected();
    }
    assert_eq!(subscribes(&stage), [FILTERS, FILTERS, FILTERS]);
}

#[test]
fn however_many_apps_connect_and_whatever_happens_there_is_one_connection() {
    let stage = Stage::start();
    let apps: Vec<App> = (0..12).map(|number| stage.app(&format!("App{number}"))).collect();
    let connects: Vec<Connect> = apps.iter().map(|app| app.connect("alice", TOKEN)).collect();
    for connect in &connects {
        assert_eq!(connect.success(), "alice");
    }
    assert_eq!(stage.connects(), [format!("{ALICE} V5 0x00")]);
    let broker = stage.broker.broker();
    for (logins, cut) in (2..).zip([Cut::Reset, Cut::Close, Cut::Reset]) {
        broker.cut(Who::Anyone, cut);
        stage.await_connects(logins);
        stage.assert_connected();
        assert_eq!(broker.connections(), [ALICE]);
    }
    stage.broker.wait(broker.restart(Sessions::Lose)).unwrap();
    stage.await_connects(5);
    stage.assert_connected();
    assert_eq!(
        broker.total_network_connections(),
        5,
        "each connection had its CONNECT"
    );
}
