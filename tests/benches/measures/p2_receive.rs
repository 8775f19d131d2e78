//! P2: messages received per second. They wait at the broker for a receiver that was away; it drains them.
//! imd commits each with fsync before it acknowledges it, and sends a receipt; libmosquitto in C stores nothing,
//! or commits each to SQLite by itself.

use std::time::Duration;

use imd_benches::broker::Broker;
use imd_benches::monotonic::Instant;
use imd_benches::publisher::{Publisher, content, envelope};
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::rival::Rival;
use imd_benches::statistics::Samples;
use imd_benches::{CONTENT, Scale, stage};
use imd_client::{BlockingClient, ConnectionStatus};

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P2", scale);
    let (rounds, count) = (scale.pick(1, 7), scale.pick(4_000, 40_000));
    // One commit for each takes long.
    let few = count / 40;
    let broker = Broker::start();
    let daemon = stage::daemon(&broker.url());
    let app = stage::app(&daemon, "Receive");
    stage::connect(&app, &broker, "bob");
    let directory = tempfile::tempdir().unwrap();

    let mut rates = [const { Vec::new() }; 3];
    for round in 0..rounds {
        let database = directory.path().join(format!("{round}.db"));
        let database = database.to_str().unwrap();
        for (rates, rate) in rates.iter_mut().zip([
            imd(&app, &broker, count, CONTENT),
            c(&broker, count, &[]),
            c(&broker, few, &[database]),
        ]) {
            rates.push(rate);
        }
    }
    let [imd, nothing, sqlite] = &rates;
    let to_nothing = Samples::ratios(imd, nothing);
    report.add(Finding::median(
        "received per second, to libmosquitto storing nothing",
        &to_nothing,
        "×",
        Goal::AtLeast(0.5),
    ));
    let to_sqlite = Samples::ratios(imd, sqlite);
    report.add(Finding::median(
        "received per second, to libmosquitto and a SQLite commit for each",
        &to_sqlite,
        "×",
        Goal::AtLeast(10.0),
    ));
    for (what, rates) in [
        ("imd", imd),
        ("libmosquitto, nothing stored", nothing),
        ("libmosquitto, a SQLite commit for each", sqlite),
    ] {
        report.add(Finding::median(
            format!("received by {what}"),
            &Samples::new(rates.iter().copied()),
            "/s",
            Goal::None,
        ));
    }
    report.end();
}

/// Lets so many messages wait for a user.
fn publish(broker: &Broker, user: &str, count: usize, bytes: usize) {
    let mut alice = Publisher::alice(broker);
    let topic = format!("im/demo/u/{user}/alice");
    for _ in 0..count {
        alice.publish(&topic, &envelope(content(bytes)));
    }
    alice.settle();
}

/// The rate at which imd takes what waits for bob.
pub(crate) fn imd(app: &BlockingClient, broker: &Broker, count: usize, bytes: usize) -> f64 {
    app.disconnect().unwrap();
    let before = app.unread_count(true).unwrap();
    publish(broker, "bob", count, bytes);
    // A few large messages may all be there at the first look.
    let begin = (Instant::now(), 0);
    let mut first = None;
    stage::connect(app, broker, "bob");
    loop {
        let seen = usize::try_from(app.unread_count(true).unwrap() - before).unwrap();
        let now = Instant::now();
        if seen >= count {
            let (start, at_start) = first.unwrap_or(begin);
            return rate(count - at_start, now.since(start));
        }
        if seen > 0 {
            first.get_or_insert((now, seen));
        }
        assert_eq!(app.connection_status().connection, ConnectionStatus::Connected);
        // To look is work too: not too often.
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The rate at which a C client takes what waits for carol.
fn c(broker: &Broker, count: usize, database: &[&str]) -> f64 {
    let (port, count_word) = (broker.port(), count.to_string());
    let rest = ["127.0.0.1", &port, "carol", "receive", "im/demo/u/carol/+"];
    let mut prepare = Rival::c("receive", &[&["prepare"][..], &rest].concat());
    prepare.tell(broker.token("carol"));
    prepare.await_end();
    publish(broker, "carol", count, CONTENT);
    let mut drain = Rival::c(
        "receive",
        &[&["drain"][..], &rest, &[count_word.as_str()], database].concat(),
    );
    drain.tell(broker.token("carol"));
    let time = drain.hear_time();
    drain.await_end();
    rate(count - 1, time)
}

fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
