//! How the cost grows with the work: with the apps, the messages stored, the size of a message, the way to the
//! broker. Each series is a picture under `target/bench`.

use std::time::Duration;

use imd_benches::broker::Broker;
use imd_benches::latency::LongLine;
use imd_benches::monotonic::Instant;
use imd_benches::plot::{Line, Plot, Scaling};
use imd_benches::process::proportional_memory;
use imd_benches::publisher::{Publisher, content, envelope};
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::rival::Rival;
use imd_benches::statistics::Samples;
use imd_benches::{CONTENT, Scale, stage};

use crate::p5_apps::start_on_imd;
use crate::p7_history::Filled;
use crate::{p2_receive, p3_send};

/// Apps, each a process that follows the events: the daemon's memory, and how fast all of them are told.
pub(crate) fn apps(scale: Scale) {
    let mut report = Report::begin("S-apps", scale);
    let messages = scale.pick(200, 2000);
    let (mut memory, mut rate) = (Vec::new(), Vec::new());
    for count in [1_u32, 5, 10, 20, 100].into_iter().take(scale.pick(3, 5)) {
        let broker = Broker::start();
        let mut daemon = stage::daemon(&broker.url());
        let first = stage::app(&daemon, "First");
        stage::connect(&first, &broker, "bob");
        drop(first);
        let socket = daemon.home().socket();
        let mut apps: Vec<Rival> = (0..count).map(|number| start_on_imd(&socket, number)).collect();
        apps.iter_mut().for_each(Rival::await_ready);
        let mut alice = Publisher::alice(&broker);
        let start = Instant::now();
        for _ in 0..messages {
            alice.publish("im/demo/u/bob/alice", &envelope(content(CONTENT)));
        }
        for app in &mut apps {
            await_messages(app, messages);
        }
        let time = start.elapsed().as_secs_f64();
        let deliveries = f64::from(count) * float(messages) / time;
        let mb = float(usize::try_from(proportional_memory(daemon.pid())).unwrap()) / 1024.0;
        report.add(Finding::new(
            format!("{count} apps: memory (PSS) of the daemon"),
            mb,
            "MB",
            Goal::None,
        ));
        report.add(Finding::new(
            format!("{count} apps: events delivered"),
            deliveries,
            "/s",
            Goal::None,
        ));
        memory.push((f64::from(count), mb));
        rate.push((f64::from(count), deliveries));
    }
    let apps = || ("apps".to_owned(), Scaling::Logarithmic);
    draw(
        "series-apps-memory",
        "The daemon's memory",
        apps(),
        "MB (PSS)",
        Scaling::Linear,
        vec![("imd", memory)],
    );
    draw(
        "series-apps-events",
        "Events delivered to all apps",
        apps(),
        "events/s",
        Scaling::Logarithmic,
        vec![("imd", rate)],
    );
    report.end();
}

fn await_messages(app: &mut Rival, wanted: usize) {
    loop {
        app.tell("how many?");
        if app.hear().parse::<usize>().unwrap() >= wanted {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Messages stored: a page, the opening of the database.
pub(crate) fn stored(scale: Scale) {
    let mut report = Report::begin("S-stored", scale);
    let broker = Broker::start();
    let (mut page, mut opening) = (Vec::new(), Vec::new());
    for count in [1_000, 10_000, 100_000, 1_000_000]
        .into_iter()
        .take(scale.pick(2, 4))
    {
        let mut filled = Filled::new(&broker, count);
        let pages = Samples::micros((0..scale.pick(50, 1000)).map(|_| filled.page()));
        let openings = Samples::micros((0..scale.pick(2, 7)).map(|_| filled.opening(&broker)));
        let what = format!("{count} messages stored");
        report.add(Finding::new(
            format!("{what}: page of 50, p50"),
            pages.median() / 1000.0,
            "ms",
            Goal::None,
        ));
        report.add(Finding::new(
            format!("{what}: page of 50, p99"),
            pages.quantile(0.99) / 1000.0,
            "ms",
            Goal::None,
        ));
        report.add(Finding::new(
            format!("{what}: onDatabaseOpened"),
            openings.median() / 1000.0,
            "ms",
            Goal::None,
        ));
        page.push((float(count), pages.median() / 1000.0));
        opening.push((float(count), openings.median() / 1000.0));
    }
    let lines = vec![
        ("page of the 50 newest, p50", page),
        ("onDatabaseOpened", opening),
    ];
    let axis = ("messages stored".to_owned(), Scaling::Logarithmic);
    draw(
        "series-stored",
        "A large history",
        axis,
        "ms",
        Scaling::Linear,
        lines,
    );
    report.end();
}

/// Bytes in a message: received and sent.
pub(crate) fn size(scale: Scale) {
    let mut report = Report::begin("S-size", scale);
    let broker = Broker::start();
    let (bob, alice) = (stage::daemon(&broker.url()), stage::daemon(&broker.url()));
    let (receiver, sender) = (stage::app(&bob, "Receive"), stage::app(&alice, "Send"));
    stage::connect(&receiver, &broker, "bob");
    stage::connect(&sender, &broker, "carol");
    let (mut received, mut sent) = (Vec::new(), Vec::new());
    for bytes in [64, 256, 1024, 4096, 16 * 1024, 128 * 1024] {
        // About as many bytes of each size.
        let count = (scale.pick(1 << 20, 1 << 24) / bytes).clamp(64, scale.pick(1000, 20_000));
        let in_rate = p2_receive::imd(&receiver, &broker, count, bytes);
        let out_rate = p3_send::imd(&sender, count, bytes);
        report.add(Finding::new(
            format!("{bytes} bytes: received"),
            in_rate,
            "/s",
            Goal::None,
        ));
        report.add(Finding::new(
            format!("{bytes} bytes: sent"),
            out_rate,
            "/s",
            Goal::None,
        ));
        received.push((float(bytes), in_rate));
        sent.push((float(bytes), out_rate));
    }
    let lines = vec![("received", received), ("sent", sent)];
    let axis = ("bytes in a message".to_owned(), Scaling::Logarithmic);
    draw(
        "series-size",
        "Messages by their size",
        axis,
        "messages/s",
        Scaling::Logarithmic,
        lines,
    );
    report.end();
}

/// The way to the broker: received and sent.
pub(crate) fn round_trip(scale: Scale) {
    let mut report = Report::begin("S-rtt", scale);
    let (mut received, mut sent) = (Vec::new(), Vec::new());
    let broker = Broker::start();
    for millis in [0_u32, 20, 100] {
        let line = LongLine::start(broker.address(), Duration::from_millis(millis.into()));
        let (bob, carol) = (stage::daemon(&line.url()), stage::daemon(&line.url()));
        let (receiver, sender) = (stage::app(&bob, "Receive"), stage::app(&carol, "Send"));
        stage::connect(&receiver, &broker, "bob");
        stage::connect(&sender, &broker, "carol");
        let count = scale.pick(1000, 10_000);
        let in_rate = p2_receive::imd(&receiver, &broker, count, CONTENT);
        let out_rate = p3_send::imd(&sender, count, CONTENT);
        report.add(Finding::new(
            format!("round trip {millis} ms: received"),
            in_rate,
            "/s",
            Goal::None,
        ));
        report.add(Finding::new(
            format!("round trip {millis} ms: sent, 256 in flight"),
            out_rate,
            "/s",
            Goal::None,
        ));
        received.push((f64::from(millis), in_rate));
        sent.push((f64::from(millis), out_rate));
    }
    let lines = vec![("received", received), ("sent, 256 in flight", sent)];
    let axis = ("round trip to the broker, ms".to_owned(), Scaling::Linear);
    draw(
        "series-rtt",
        "Messages over a long line",
        axis,
        "messages/s",
        Scaling::Logarithmic,
        lines,
    );
    report.end();
}

fn draw(
    name: &str,
    title: &str,
    x: (String, Scaling),
    y: &str,
    scaling: Scaling,
    lines: Vec<(&str, Vec<(f64, f64)>)>,
) {
    let line = |(name, points): (&str, Vec<(f64, f64)>)| Line {
        name: name.to_owned(),
        points,
    };
    let plot = Plot {
        title: title.to_owned(),
        x,
        y: (y.to_owned(), scaling),
        lines: lines.into_iter().map(line).collect(),
    };
    plot.draw(name);
}

fn float(count: usize) -> f64 {
    count as f64
}
