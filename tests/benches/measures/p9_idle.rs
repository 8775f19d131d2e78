//! P9: a connected daemon with five apps that do nothing. Four daemons idle side by side, and each source of
//! wake-ups is the difference between two of them:
//!
//! | daemon | keep-alive | apps | watchdog | tells |
//! |---|---|---|---|---|
//! | alice's | 1 hour | 0 | no | what is left: the wake-ups that the goal is about, without apps |
//! | bob's | 30 s | 0 | no | less alice's: the MQTT keep-alive |
//! | carol's | 30 s | 5 | no | less bob's: the apps, which is the IPC keep-alive |
//! | the server side's | 1 hour | 0 | 60 s | less alice's: systemd's watchdog |

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use imd_benches::broker::Broker;
use imd_benches::process::{Usage, cpu_nanoseconds, private_memory, resident_memory, usage};
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::rival::Rival;
use imd_benches::{Scale, stage};
use imd_tests::daemon::{Daemon, config};

use crate::p5_apps::start_on_imd;

const APPS: u32 = 5;

/// Until everybody has settled: a connection counts as stable, the offline messages as read, after less.
const SETTLE: Duration = Duration::from_secs(40);

/// The period systemd's unit sets.
const WATCHDOG: Duration = Duration::from_secs(60);

struct Idle {
    daemon: Daemon,
    _apps: Vec<Rival>,
}

/// What a daemon did in the time that was watched.
struct Seen {
    wakeups: f64,
    cpu: f64,
    threads: Vec<(String, u64)>,
}

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P9", scale);
    let minutes = scale.pick(1, 10);
    let broker = Broker::start();
    let directory = tempfile::tempdir().unwrap();
    let notify = directory.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    std::thread::spawn(move || while systemd.recv(&mut [0; 256]).is_ok() {});

    let micros = WATCHDOG.as_micros().to_string();
    let watchdog = [
        ("NOTIFY_SOCKET", notify.to_str().unwrap()),
        ("WATCHDOG_USEC", micros.as_str()),
    ];
    let mut idles = [
        start(&broker, "alice", 3600, 0, &[]),
        start(&broker, "bob", 30, 0, &[]),
        start(&broker, "carol", 30, APPS, &[]),
        start(&broker, "system", 3600, 0, &watchdog),
    ];
    std::thread::sleep(SETTLE);
    let pids = idles.each_mut().map(|idle| idle.daemon.pid());
    let before = pids.map(|pid| (usage(pid), cpu_nanoseconds(pid)));
    std::thread::sleep(Duration::from_secs(60) * u32::try_from(minutes).unwrap());
    let seen = [0, 1, 2, 3].map(|at| {
        let (usage_before, cpu_before) = &before[at];
        seen(
            usage_before,
            &usage(pids[at]),
            cpu_nanoseconds(pids[at]) - cpu_before,
        )
    });
    let span = f64::from(u32::try_from(minutes).unwrap());
    let a_minute = seen.each_ref().map(|seen| seen.wakeups / span);
    let [base, keep_alive, apps, watchdog] = a_minute;

    let memory = f64::from(u32::try_from(resident_memory(pids[2])).unwrap()) / 1024.0;
    report.add(Finding::new(
        "memory (RSS) of a connected daemon with 5 apps",
        memory,
        "MB",
        Goal::AtMost(12.0),
    ));
    let private = f64::from(u32::try_from(private_memory(pids[2])).unwrap()) / 1024.0;
    report.add(Finding::new("of it private", private, "MB", Goal::None));
    report.add(Finding::new(
        "wake-ups a minute beyond keep-alives and watchdog",
        base,
        "",
        Goal::AtMost(1.0),
    ));
    report.add(Finding::new(
        "wake-ups a minute for MQTT keep-alive (30 s)",
        keep_alive - base,
        "",
        Goal::None,
    ));
    report.add(Finding::new(
        "wake-ups a minute for 5 apps' IPC keep-alive",
        apps - keep_alive,
        "",
        Goal::None,
    ));
    report.add(Finding::new(
        "wake-ups a minute for systemd's watchdog (60 s)",
        watchdog - base,
        "",
        Goal::None,
    ));
    let cpu = seen[2].cpu / (span * 60.0) * 100.0;
    report.add(Finding::new(
        "CPU with 5 apps, of a core",
        cpu,
        "%",
        Goal::AtMost(0.01),
    ));
    for (name, seen) in ["alice", "bob", "carol", "system"].iter().zip(&seen) {
        let threads: Vec<String> = seen
            .threads
            .iter()
            .map(|(thread, count)| format!("{thread} {count}"))
            .collect();
        report.note(format!(
            "wake-ups of {name}'s daemon in {minutes} min: {}",
            threads.join(", ")
        ));
    }
    report.end();
}

fn start(broker: &Broker, user: &str, keep_alive: u32, apps: u32, environment: &[(&str, &str)]) -> Idle {
    let config = config(&broker.url(), &format!("keep_alive = {keep_alive}"));
    let daemon = Daemon::with(&config, &[&[("IMD_LOG", "info")][..], environment].concat());
    let first = stage::app(&daemon, "First");
    stage::connect(&first, broker, user);
    drop(first);
    let socket = daemon.home().socket();
    let mut apps: Vec<Rival> = (0..apps).map(|number| start_on_imd(&socket, number)).collect();
    apps.iter_mut().for_each(Rival::await_ready);
    Idle { daemon, _apps: apps }
}

fn seen(before: &Usage, after: &Usage, cpu_nanoseconds: u64) -> Seen {
    let threads = after.sleeps.iter().zip(&before.sleeps);
    Seen {
        wakeups: (after.all_sleeps() - before.all_sleeps()) as f64,
        cpu: cpu_nanoseconds as f64 / 1e9,
        threads: threads
            .map(|((name, after), (_, before))| (name.clone(), after - before))
            .collect(),
    }
}
