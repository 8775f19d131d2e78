//! P4: from the broker to the app. One message at a time goes to bob, whose app is on imd, and to carol, whose
//! app has its own MQTT connection (rumqttc) and stores nothing; both get the same bytes. Between them a row
//! is committed to SQLite: what storing costs on this disk at this moment.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use imd_benches::broker::Broker;
use imd_benches::monotonic::{Instant, timed};
use imd_benches::publisher::{Publisher, content, envelope};
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::rival::Rival;
use imd_benches::statistics::Samples;
use imd_benches::{CONTENT, Scale, stage};
use imd_client::{Client, EventKind, Start};
use rusqlite::Connection;
use tokio_stream::StreamExt as _;

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P4", scale);
    let count = scale.pick(100, 1500);
    let broker = Broker::start();
    let daemon = stage::daemon(&broker.url());
    let app = stage::client(&daemon, "Event");
    stage::connect(&app.blocking(), &broker, "bob");
    let events = follow(app);
    let port = broker.port();
    let mut rival = Rival::rust(
        "mqtt-reader",
        &["127.0.0.1", &port, "carol", "event", "im/demo/u/carol/+"],
    );
    rival.tell(broker.token("carol"));
    rival.await_ready();
    let directory = tempfile::tempdir().unwrap();
    let database = database(directory.path());
    let mut alice = Publisher::alice(&broker);

    let mut times = [const { Vec::new() }; 3];
    for round in 0..count + count / 10 {
        let payload = envelope(content(CONTENT));
        let sent = Instant::now();
        alice.publish("im/demo/u/bob/alice", &payload);
        let seen = events.recv_timeout(Duration::from_secs(20)).unwrap();
        let imd = seen.since(sent);
        alice.settle();
        let sent = Instant::now();
        alice.publish("im/demo/u/carol/alice", &payload);
        let seen = Instant(rival.hear().parse().unwrap());
        let direct = seen.since(sent);
        alice.settle();
        let ((), commit) = timed(|| {
            database
                .execute(
                    "INSERT INTO messages (topic, payload) VALUES ('bob', ?1)",
                    [&payload],
                )
                .map(drop)
                .unwrap();
        });
        // The first tenth warms everything up.
        if round >= count / 10 {
            for (times, time) in times.iter_mut().zip([imd, direct, commit]) {
                times.push(time);
            }
        }
    }
    let [imd, direct, commit] = times.map(Samples::micros);
    let over = imd.median() - direct.median() - commit.median();
    report.add(Finding::new(
        "broker → app event, p50, over rumqttc in process and over the run's own p50 commit",
        over,
        "µs",
        Goal::AtMost(100.0),
    ));
    for (what, times) in [
        ("broker → app event through imd", imd),
        ("broker → app through rumqttc, nothing stored", direct),
        ("a SQLite commit of the same bytes", commit),
    ] {
        report.add(Finding::new(
            format!("{what}, p50"),
            times.median(),
            "µs",
            Goal::None,
        ));
        report.add(Finding::new(
            format!("{what}, p99"),
            times.quantile(0.99),
            "µs",
            Goal::None,
        ));
    }
    report.end();
}

/// When each message came.
fn follow(app: Client) -> mpsc::Receiver<Instant> {
    let (tell, told) = mpsc::channel();
    let (ready, started) = mpsc::channel();
    std::thread::spawn(move || {
        let mut events = app.subscribe(Start::Tail);
        pollster::block_on(async {
            while let Some(event) = events.next().await {
                let seen = Instant::now();
                let event = event.unwrap();
                if matches!(event.kind, EventKind::Message(_)) && tell.send(seen).is_err() {
                    break;
                }
                if matches!(event.kind, EventKind::Started { .. }) {
                    ready.send(()).unwrap();
                }
            }
        });
    });
    started.recv().unwrap();
    told
}

/// A database on the disk that the daemon's is on.
fn database(directory: &Path) -> Connection {
    let connection = Connection::open(directory.join("commit.db")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "FULL").unwrap();
    let table = "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL)";
    connection.execute_batch(table).unwrap();
    connection
}
