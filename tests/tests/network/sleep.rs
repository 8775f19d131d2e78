//! A machine that goes to sleep, and a captive portal, as the system bus tells of them.

use imd_tests::daemon::{Daemon, config};
use imd_tests::mosquitto::Mosquitto;
use imd_tests::system_bus::SystemBus;
use imd_tests::wait::{SOON, eventually, when};

const BUS: &str = "DBUS_SYSTEM_BUS_ADDRESS";

fn connected(bus: &SystemBus, broker: &Mosquitto) -> Daemon {
    let daemon = Daemon::with(&config(&broker.url(), ""), &[(BUS, bus.address())]);
    daemon.connect("alice", &broker.token("alice"));
    daemon
}

#[test]
fn before_sleep_the_server_is_told_in_order_and_on_waking_the_daemon_connects() {
    let (bus, broker) = (SystemBus::start(), Mosquitto::start());
    let daemon = connected(&bus, &broker);
    for round in 1..=3 {
        eventually(SOON, "the lock that delays a sleep", || {
            when(bus.delays() == 1, bus.delays())
        });
        bus.prepare_for_sleep(true);
        eventually(SOON, "the lock to be given back", || {
            when(bus.delays() == 0, bus.delays())
        });
        let goodbyes = broker
            .log()
            .matches("Received DISCONNECT from desktop:demo:alice")
            .count();
        assert_eq!(
            goodbyes, round,
            "the server was told before the lock was given back"
        );
        let status = daemon.await_status("SUSPEND");
        assert!(status.reason.contains("goes to sleep"), "{}", status.reason);
        bus.prepare_for_sleep(false);
        daemon.await_status("CONNECTED");
        assert_eq!(broker.logins().len(), round + 1);
    }
}

#[test]
fn what_comes_while_the_machine_sleeps_is_kept_by_the_server() {
    let (bus, broker) = (SystemBus::start(), Mosquitto::start());
    let daemon = connected(&bus, &broker);
    eventually(SOON, "the lock that delays a sleep", || {
        when(bus.delays() == 1, bus.delays())
    });
    bus.prepare_for_sleep(true);
    daemon.await_status("SUSPEND");
    let payload = r#"{"content":"while you slept"}"#;
    broker
        .publish("system", &broker.token("system"), "im/demo/s/alice", payload)
        .expect_code(0);
    bus.prepare_for_sleep(false);
    daemon.await_status("CONNECTED");
    eventually(SOON, "the message", || {
        let found = daemon.imctl(&["search", "slept"]);
        when(found.stdout.contains("while you slept"), found)
    });
}

#[test]
fn a_captive_portal_is_named_where_the_server_is_not_reached() {
    let (bus, broker) = (SystemBus::start(), Mosquitto::start());
    let daemon = connected(&bus, &broker);
    bus.portal(true);
    let mut broker = broker;
    broker.stop();
    daemon.await_status_that("the portal in the reason", |status| {
        status.reason.contains("captive portal")
    });
    let doctor = daemon.imctl(&["doctor"]);
    assert!(doctor.stdout.contains("captive portal"), "{doctor:?}");
    broker.restart();
    bus.portal(false);
    daemon.await_status("CONNECTED");
    let doctor = daemon.imctl(&["doctor"]);
    assert!(!doctor.stdout.contains("captive portal"), "{doctor:?}");
}

#[test]
fn without_a_bus_nothing_is_missed_and_nothing_is_said() {
    let broker = Mosquitto::start();
    let nowhere = [(BUS, "unix:path=/nonexistent/bus")];
    let daemon = Daemon::with(&config(&broker.url(), ""), &nowhere);
    daemon.connect("alice", &broker.token("alice"));
    let said: Vec<_> = daemon
        .log()
        .lines()
        .filter(|line| line.contains("WARN") || line.contains("ERROR"))
        .map(str::to_owned)
        .collect();
    assert!(said.is_empty(), "{said:?}");
}
