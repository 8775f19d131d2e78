//! P5: twenty apps on one imd, beside twenty apps that each have their own MQTT connection and their own SQLite.
//! Both sides speak TLS. Each is a process. The user gets the same messages on either side, and every app has seen all of
//! them when memory is counted. The memory is that of the apps, and of the daemon where there is one.

use std::path::Path;

use imd_benches::broker::Broker;
use imd_benches::process::proportional_memory;
use imd_benches::publisher::{Publisher, content, envelope};
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::rival::Rival;
use imd_benches::statistics::Samples;
use imd_benches::{CONTENT, Scale, stage};
use imd_tests::home::binary;
use imd_tests::wait::{SOON, eventually, when};

const APPS: u32 = 20;
const MESSAGES: usize = 200;

/// What one side takes.
struct Cost {
    connections: f64,
    /// In MB.
    memory: f64,
}

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P5", scale);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..scale.pick(1, 5) {
        ours.push(on_imd());
        theirs.push(alone());
    }
    let column = |costs: &[Cost], of: fn(&Cost) -> f64| costs.iter().map(of).collect::<Vec<f64>>();
    let [our_memory, their_memory] = [&ours, &theirs].map(|costs| column(costs, |cost| cost.memory));
    let [our_links, their_links] = [&ours, &theirs].map(|costs| column(costs, |cost| cost.connections));
    let one = Goal::AtMost(1.0);
    report.add(Finding::median(
        "server connections of 20 apps on one imd",
        &Samples::new(our_links),
        "",
        one,
    ));
    report.add(Finding::median(
        "server connections of 20 apps alone",
        &Samples::new(their_links),
        "",
        Goal::None,
    ));
    let ratio = Samples::ratios(&our_memory, &their_memory);
    report.add(Finding::median(
        "total PSS, 20 apps and imd to 20 apps alone",
        &ratio,
        "×",
        Goal::AtMost(0.5),
    ));
    report.add(Finding::median(
        "PSS of 20 apps and imd",
        &Samples::new(our_memory),
        "MB",
        Goal::None,
    ));
    report.add(Finding::median(
        "PSS of 20 apps alone",
        &Samples::new(their_memory),
        "MB",
        Goal::None,
    ));
    report.end();
}

fn on_imd() -> Cost {
    let broker = Broker::start();
    let mut daemon = stage::encrypted_daemon(&broker);
    let first = stage::app(&daemon, "First");
    stage::connect(&first, &broker, "bob");
    drop(first);
    let socket = daemon.home().socket();
    let apps = (0..APPS).map(|number| start_on_imd(&socket, number)).collect();
    cost(&broker, apps, Some(daemon.pid()))
}

/// An app on imd, as a process.
pub(crate) fn start_on_imd(socket: &Path, number: u32) -> Rival {
    let (socket, name) = (socket.display().to_string(), format!("App{number}"));
    Rival::start("app-on-imd", &binary("app-on-imd"), &[&socket, &name])
}

fn alone() -> Cost {
    let broker = Broker::start();
    let directory = tempfile::tempdir().unwrap();
    let (port, ca_file) = (broker.tls_port(), broker.ca_file().display().to_string());
    let start = |number: u32| {
        let (client_id, database) = (
            format!("app-{number}"),
            directory.path().join(format!("{number}.db")),
        );
        let arguments = ["127.0.0.1", &port, "bob", &client_id, "im/demo/u/bob/+", &ca_file];
        let mut app = Rival::rust(
            "app-alone",
            &[&arguments[..], &[database.to_str().unwrap()]].concat(),
        );
        app.tell(broker.token("bob"));
        app
    };
    cost(&broker, (0..APPS).map(start).collect(), None)
}

fn cost(broker: &Broker, mut apps: Vec<Rival>, daemon: Option<u32>) -> Cost {
    apps.iter_mut().for_each(Rival::await_ready);
    let connections = broker.connections();
    let mut alice = Publisher::alice(broker);
    for _ in 0..MESSAGES {
        alice.publish("im/demo/u/bob/alice", &envelope(content(CONTENT)));
    }
    alice.settle();
    for app in &mut apps {
        eventually(SOON, "the app to see all messages", || {
            app.tell("how many?");
            let seen: usize = app.hear().parse().unwrap();
            when(seen >= MESSAGES, seen)
        });
    }
    let pids = apps.iter().map(Rival::pid).chain(daemon);
    let kib: u64 = pids.map(proportional_memory).sum();
    Cost {
        connections: f64::from(u32::try_from(connections).unwrap()),
        memory: f64::from(u32::try_from(kib).unwrap()) / 1024.0,
    }
}
