//! P11: a link that is half-open. The network swallows everything without a word; how long until the status is
//! no longer CONNECTED, in lengths of the keep-alive.

use imd_benches::Scale;
use imd_benches::broker::Broker;
use imd_benches::monotonic::Instant;
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::stage;
use imd_benches::statistics::Samples;
use imd_client::ConnectionStatus;
use imd_tests::daemon::{Daemon, config};
use imd_tests::proxy::Proxy;

/// The users, and the keep-alive of each, in seconds: the default too.
const KEEP_ALIVES: [(&str, u32); 3] = [("alice", 5), ("bob", 10), ("carol", 30)];

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P11", scale);
    let broker = Broker::start();
    let watched = KEEP_ALIVES[..scale.pick(1, KEEP_ALIVES.len())].iter();
    let ratios: Vec<_> = std::thread::scope(|scope| {
        let broker = &broker;
        let threads: Vec<_> = watched
            .map(|&(user, keep_alive)| {
                let rounds = scale.pick(1, if keep_alive > 10 { 2 } else { 5 });
                scope.spawn(move || {
                    let ratios = (0..rounds).map(|_| half_open(broker, user, keep_alive));
                    (keep_alive, Samples::new(ratios))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for (keep_alive, ratios) in ratios {
        let what = format!("half-open link → not CONNECTED, at worst, keep-alive {keep_alive} s");
        let mut finding = Finding::median(what, &ratios, "×", Goal::AtMost(1.5));
        finding.figure = ratios.most();
        report.add(finding);
    }
    report.end();
}

fn half_open(broker: &Broker, user: &str, keep_alive: u32) -> f64 {
    let proxy = Proxy::start(broker.address());
    let link = format!("keep_alive = {keep_alive}");
    let daemon = Daemon::with(&config(&proxy.url(), &link), &[("IMD_LOG", "info")]);
    let app = stage::app(&daemon, "Watch");
    stage::connect(&app, broker, user);
    let mut changes = app.connection_status_changes();
    // The login's last answers may still be on their way: what was received last begins the count.
    while changes.next().unwrap().offline_sync != imd_client::OfflineSync::Complete {}
    proxy.freeze();
    let frozen = Instant::now();
    while changes.next().unwrap().connection == ConnectionStatus::Connected {}
    frozen.elapsed().as_secs_f64() / f64::from(keep_alive)
}
