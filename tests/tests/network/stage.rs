//! alice's machine, a router, and a Mosquitto behind it.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use imd::clock;
use imd_proto::imd::v1::ConnectionStatus;
use imd_tests::daemon::Daemon;
use imd_tests::lab::{HERE, Lab, SERVER};
use imd_tests::mosquitto::Mosquitto;
use imd_tests::rpc::Rpc;
use imd_tests::wait::{SOON, eventually, never, timed, when};

/// Short, so that a dead link is noticed while a test waits.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(5);

pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) broker: Mosquitto,
    pub(crate) daemon: Daemon,
    rpc: Rpc,
}

impl Stage {
    /// Alice is connected.
    pub(crate) fn connected() -> Self {
        let lab = Lab::new();
        let broker = Mosquitto::start_in(lab.server(), SERVER);
        Self::on(lab, broker)
    }

    /// Alice is connected with this broker.
    pub(crate) fn on(lab: Lab, broker: Mosquitto) -> Self {
        let daemon = Daemon::on(lab.here(), &config(&broker.url()), &[]);
        daemon.connect("alice", &broker.token("alice"));
        let rpc = daemon.rpc();
        Self {
            lab,
            broker,
            daemon,
            rpc,
        }
    }

    pub(crate) fn is(&self, name: &str) -> ConnectionStatus {
        self.is_that(name, |status| status.status_name == name)
    }

    pub(crate) fn is_that(&self, what: &str, is: impl Fn(&ConnectionStatus) -> bool) -> ConnectionStatus {
        eventually(SOON, what, || match self.rpc.status() {
            Ok(status) if is(&status) => Ok(status),
            other => Err(Box::new(other)),
        })
    }

    /// How long it takes until the status is this one.
    pub(crate) fn time_until(&self, name: &str) -> Duration {
        timed(|| self.is(name)).1
    }

    /// How often the daemon's threads have gone to sleep of their own accord, and so have been woken.
    pub(crate) fn sleeps(&mut self) -> u64 {
        let tasks = format!("/proc/{}/task", self.daemon.pid());
        let count = |status: String| -> u64 {
            let row = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            row.unwrap().trim().parse().unwrap()
        };
        fs::read_dir(tasks)
            .unwrap()
            .map(|task| count(fs::read_to_string(task.unwrap().path().join("status")).unwrap()))
            .sum()
    }

    /// How often it is woken within so long, once 3 seconds have passed in which it was not: the kernel tells of
    /// its own address checks (IPv6) up to 2 seconds after a cable is plugged.
    pub(crate) fn woken_within(&mut self, span: Duration) -> u64 {
        let (mut count, mut since) = (self.sleeps(), clock::now().boot);
        eventually(SOON, "three seconds in which nothing wakes the daemon", || {
            let now = clock::now().boot;
            let later = self.sleeps();
            if later != count {
                (count, since) = (later, now);
            }
            when(now.since(since) >= Duration::from_secs(3), later)
        });
        never(span, "an hour's worth of wake-ups", || {
            let woken = self.sleeps() - count;
            (woken > 60).then_some(woken)
        });
        self.sleeps() - count
    }

    pub(crate) fn pull_the_cable(&self) {
        self.lab.router().ip(&["link", "set", "c0", "down"]);
    }

    pub(crate) fn plug_the_cable(&self) {
        self.lab.router().ip(&["link", "set", "c0", "up"]);
    }

    /// The address of this machine is given up, and with it the way out.
    pub(crate) fn drop_address(&self, address: Ipv4Addr) {
        let address = format!("{address}/24");
        self.lab.here().ip(&["address", "del", &address, "dev", "eth0"]);
    }

    pub(crate) fn take_address(&self, address: Ipv4Addr) {
        let address = format!("{address}/24");
        self.lab.here().ip(&["address", "add", &address, "dev", "eth0"]);
        self.take_route();
    }

    pub(crate) fn drop_route(&self) {
        self.lab.here().ip(&["route", "del", "default"]);
    }

    pub(crate) fn take_route(&self) {
        self.lab
            .here()
            .ip(&["route", "add", "default", "via", "10.9.0.1"]);
    }

    /// What the router does with packets to the server: `blackhole` or `prohibit`.
    pub(crate) fn block(&self, how: &str) {
        self.lab.router().ip(&["route", "add", how, &SERVER.to_string()]);
    }

    pub(crate) fn unblock(&self, how: &str) {
        self.lab.router().ip(&["route", "del", how, &SERVER.to_string()]);
    }
}

/// Alice's machine, when it has the address of a test's beginning.
pub(crate) const HOME: Ipv4Addr = HERE;

/// Another address of the same network.
pub(crate) const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 3);

pub(crate) fn config(url: &str) -> String {
    let keep_alive = KEEP_ALIVE.as_secs();
    format!("[server]\nurls = [\"{url}\"]\nplaintext = true\n\n[link]\nkeep_alive = {keep_alive}\n")
}

/// The middle and the worst but one in a hundred.
pub(crate) fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: usize| times[(times.len() * share).div_ceil(100) - 1];
    format!(
        "{} rounds: p50 {:?}, p99 {:?}, worst {:?}",
        times.len(),
        at(50),
        at(99),
        at(100)
    )
}
