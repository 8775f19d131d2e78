//! Two hundred daemons, one after the other. In a program of its own: it counts what the process has open.

#![cfg(test)]

mod fake;

use std::fs;
use std::time::Duration;

use fake::{FakeDaemon, Script, wait};
use imd_client::{Client, ConnectOptions, EventKind, Start};
use rustix::time::{ClockId, clock_gettime};
use tokio_stream::StreamExt as _;

const KILLS: usize = 200;

fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").unwrap().count()
}

/// Waits until it is no more than this.
#[track_caller]
fn settles(what: &str, count: impl Fn() -> usize, most: usize) {
    wait(async {
        while count() > most {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(count() <= most, "{what}");
}

fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn two_hundred_kills_are_two_hundred_losses_and_leave_nothing_behind() {
    let mut daemon = FakeDaemon::with(Script::default());
    let client = Client::builder("demo").socket(daemon.socket()).build().unwrap();
    wait(client.connect("token", ConnectOptions::new())).unwrap();
    let mut events = client.subscribe(Start::Tail);
    let started = wait(events.next()).unwrap().unwrap();
    assert_eq!(started.kind, EventKind::Started { recovered: true });
    let mut changes = client.connection_status_changes();
    assert!(wait(changes.next()).unwrap().is_connected());
    let (files, threads_before) = (open_files(), threads());

    let mut rebinds = Vec::new();
    for kill in 1..=KILLS {
        let sending = client.send_text("bob", format!("message {kill}"));
        daemon.kill();
        let lost = wait(changes.next()).unwrap();
        assert!(lost.is_daemon_lost(), "one value for the loss {kill}: {lost}");
        daemon.restart();
        let listens = now();
        let next = wait(changes.next()).unwrap();
        rebinds.push(now().saturating_sub(listens));
        assert!(!next.is_daemon_lost(), "and one for the daemon after it: {next}");
        assert_eq!(next.daemon_run_id, format!("run {}", kill + 1));
        let accepted = wait(sending.accepted()).unwrap();
        let EventKind::Message(message) = wait(events.next()).unwrap().unwrap().kind else {
            panic!("the events are the messages alone");
        };
        assert_eq!(message.uid, accepted.uid);
        // The connect is with this daemon, too.
        daemon.script.wait_for_calls("Connect", kill + 1);
    }
    rebinds.sort();
    let [median, worst] = [KILLS / 2, KILLS * 99 / 100].map(|at| rebinds[at]);
    eprintln!("bound again after the new daemon listened: p50 {median:?}, p99 {worst:?}");

    settles("descriptors", open_files, files);
    settles("threads", threads, threads_before);
    assert_eq!(daemon.script.count("Bind"), KILLS + 1);
    let ids: Vec<_> = daemon
        .script
        .connects
        .lock()
        .unwrap()
        .iter()
        .map(|connect| connect.connect_id.clone())
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]));
}
