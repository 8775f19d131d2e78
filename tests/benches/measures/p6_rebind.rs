//! P6: the daemon is killed, and started again. From the moment its socket takes connections to the moment the
//! app, which does nothing, has its status again; and how often the app is told that the daemon is gone.

use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use imd_benches::broker::Broker;
use imd_benches::monotonic::Instant;
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::statistics::Samples;
use imd_benches::{Scale, stage};
use imd_client::ConnectionStatus;

/// Between two looks at the socket.
const LOOK: Duration = Duration::from_micros(200);

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P6", scale);
    let kills = scale.pick(5, 200);
    let broker = Broker::start();
    let mut daemon = stage::daemon(&broker.url());
    let app = stage::app(&daemon, "Rebind");
    stage::connect(&app, &broker, "bob");
    let (tell, told) = mpsc::channel();
    let _listener = app.client().add_connection_status_listener(move |status| {
        // The bench may have ended.
        let _ = tell.send((Instant::now(), status.connection));
    });
    let mut times = Vec::new();
    let mut losses = 0;
    for _ in 0..kills {
        daemon.kill9();
        let socket = daemon.home().socket();
        let watcher = thread::spawn(move || {
            while UnixStream::connect(&socket).is_err() {
                thread::sleep(LOOK);
            }
            Instant::now()
        });
        daemon.start();
        let listens = watcher.join().unwrap();
        // What came before the kill is told first.
        let mut is_lost = false;
        loop {
            let (at, status) = told.recv_timeout(Duration::from_secs(20)).unwrap();
            if status == ConnectionStatus::DaemonLost {
                losses += 1;
                is_lost = true;
            } else if is_lost {
                times.push(at.since(listens));
                break;
            }
        }
    }
    let micros = Samples::micros(times);
    let what = format!("rebind once a new daemon listens, p99 of {kills} kills");
    report.add(Finding::new(
        what,
        micros.quantile(0.99) / 1000.0,
        "ms",
        Goal::AtMost(50.0),
    ));
    report.add(Finding::new(
        "the same, p50",
        micros.median() / 1000.0,
        "ms",
        Goal::None,
    ));
    let each = f64::from(losses) / f64::from(u32::try_from(kills).unwrap());
    report.add(Finding::new(
        "times that an app is told of the loss (-2), for each kill",
        each,
        "",
        Goal::AtMost(1.0),
    ));
    report.end();
}
