//! Cable, address and route: gone, and back.

use std::net::Ipv4Addr;
use std::time::Duration;

use imd_proto::imd::v1::NetworkState;
use imd_tests::daemon::{Daemon, config as local_config};
use imd_tests::lab::{Lab, SERVER};
use imd_tests::mosquitto::Mosquitto;
use imd_tests::progress::say;
use imd_tests::wait::never;
use imd_tests::{count, is_long};

use crate::stage::{ELSEWHERE, HOME, Stage, config, spread};

/// From "network back" to CONNECTED.
const MENDED: Duration = Duration::from_secs(1);

/// What a link that is asked has to answer in.
const ASKED: Duration = Duration::from_secs(3);

/// For what the machine itself adds to a figure.
const SLACK: Duration = Duration::from_secs(1);

#[test]
fn without_a_cable_the_status_says_so_and_with_one_it_connects() {
    let stage = Stage::connected();
    stage.pull_the_cable();
    let noticed = stage.time_until("NETWORK_UNAVAILABLE");
    assert!(noticed <= ASKED + SLACK, "{noticed:?}");
    let status = stage.is("NETWORK_UNAVAILABLE");
    assert_eq!(status.status, -1);
    assert!(status.reason.contains("no network"), "{}", status.reason);
    stage.plug_the_cable();
    stage.is("CONNECTED");
}

#[test]
fn a_cable_that_is_back_within_a_moment_costs_nothing() {
    let stage = Stage::connected();
    let logins = stage.broker.logins().len();
    stage.pull_the_cable();
    stage.is_that("the loss to be seen", |status| {
        status.network() == NetworkState::Unavailable
    });
    stage.plug_the_cable();
    stage.is_that("the cable to be seen", |status| {
        status.network() == NetworkState::Available
    });
    never(ASKED + SLACK, "an end of the connection", || {
        let status = stage.is_that("any", |_| true);
        (status.status_name != "CONNECTED").then_some(status)
    });
    assert_eq!(stage.broker.logins().len(), logins);
}

#[test]
fn the_time_from_a_network_that_is_back_to_connected_is_short() {
    let stage = Stage::connected();
    let mut times = Vec::new();
    for round in 0..count(30, 100) {
        match round % 6 {
            0 => {
                stage.pull_the_cable();
                stage.is("NETWORK_UNAVAILABLE");
                stage.plug_the_cable();
            }
            1 => {
                stage.drop_route();
                stage.is("SUSPEND");
                stage.take_route();
            }
            _ => {
                stage.drop_address(HOME);
                stage.is("NETWORK_UNAVAILABLE");
                stage.take_address(HOME);
            }
        }
        times.push(stage.time_until("CONNECTED"));
    }
    let shown = spread(&mut times);
    say(&format!("from network back to CONNECTED: {shown}"));
    let late = times.iter().filter(|time| **time > MENDED).count();
    assert!(late * 100 <= times.len(), "{late} of them took longer: {shown}");
}

#[test]
fn another_address_means_another_connection_at_once() {
    let stage = Stage::connected();
    let logins = stage.broker.logins().len();
    stage.lab.here().shell(&format!(
        "ip address del {HOME}/24 dev eth0 && ip address add {ELSEWHERE}/24 dev eth0 && \
         ip route replace default via 10.9.0.1"
    ));
    let noticed = stage.is_that("another login", |status| {
        status.status_name == "CONNECTED" && stage.broker.logins().len() > logins
    });
    let log = stage.daemon.log();
    assert!(
        log.contains(&format!("this machine no longer has the address {HOME}")),
        "{noticed:?}"
    );
    let second = format!("New client connected from {ELSEWHERE}");
    assert!(stage.broker.log().contains(&second), "{}", stage.broker.log());
}

#[test]
fn an_address_beside_the_one_in_use_changes_nothing() {
    let stage = Stage::connected();
    let logins = stage.broker.logins().len();
    stage
        .lab
        .here()
        .ip(&["address", "add", &format!("{ELSEWHERE}/24"), "dev", "eth0"]);
    never(ASKED + SLACK, "an end of the connection", || {
        let status = stage.is_that("any", |_| true);
        (status.status_name != "CONNECTED").then_some(status)
    });
    assert_eq!(stage.broker.logins().len(), logins);
}

#[test]
fn with_the_network_gone_nothing_wakes_the_daemon() {
    let mut stage = Stage::connected();
    stage.drop_address(HOME);
    stage.is("NETWORK_UNAVAILABLE");
    let (span, most) = if is_long() { (60, 1) } else { (10, 1) };
    let woken = stage.woken_within(Duration::from_secs(span));
    say(&format!("woken {woken} times in {span} s without a network"));
    assert!(woken <= most, "woken {woken} times in {span} s");
    stage.is("NETWORK_UNAVAILABLE");
}

#[test]
fn a_server_on_this_machine_needs_no_network() {
    let lab = Lab::without_cables();
    let broker = Mosquitto::start_in(lab.here(), Ipv4Addr::LOCALHOST);
    let daemon = Daemon::on(lab.here(), &local_config(&broker.url(), ""), &[]);
    daemon.connect("alice", &broker.token("alice"));
    assert_eq!(daemon.status().network(), NetworkState::Unavailable);
}

#[test]
fn a_daemon_that_starts_without_a_network_waits_for_it() {
    let lab = Lab::new();
    let broker = Mosquitto::start_in(lab.server(), SERVER);
    lab.here().ip(&["link", "set", "eth0", "down"]);
    let daemon = Daemon::on(lab.here(), &config(&broker.url()), &[]);
    let connecting = daemon
        .home()
        .start_connect(&broker.token("alice"), &["--user-id", "alice"]);
    daemon.await_status("NETWORK_UNAVAILABLE");
    assert_eq!(daemon.status().attempt, 0);
    lab.here()
        .shell("ip link set eth0 up && ip route add default via 10.9.0.1");
    daemon.await_status("CONNECTED");
    connecting.finish().expect_code(0);
}
