//! The daemon dies and comes back: it reconnects by itself only where that is wanted.

use std::time::Duration;

use imd_tests::daemon::{Daemon, config};
use imd_tests::mosquitto::Mosquitto;
use imd_tests::scripted::Scripted;
use imd_tests::wait::never;

/// Long enough for a daemon that means to dial.
const QUIET: Duration = Duration::from_secs(3);

/// DISCONNECT: session taken over.
const TAKEN_OVER: u8 = 0x8E;

#[test]
fn a_killed_daemon_reconnects_with_no_app_present() {
    let broker = Mosquitto::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &broker.token("alice"));
    for _ in 0..3 {
        daemon.kill9();
        daemon.start();
        let status = daemon.await_status("CONNECTED");
        assert_eq!(status.user_id, "alice");
        assert_eq!(daemon.rpc().apps().unwrap(), Vec::new());
    }
    assert_eq!(broker.logins().len(), 4);
}

#[test]
fn a_stopped_daemon_reconnects_too() {
    let broker = Mosquitto::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &broker.token("alice"));
    daemon.restart();
    daemon.await_status("CONNECTED");
}

#[test]
fn after_kicked_it_stays_offline_until_an_app_connects() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", "opaque");
    assert_eq!(broker.disconnect_all(TAKEN_OVER), 1);
    daemon.await_status("KICKED_OFFLINE_BY_OTHER_CLIENT");
    daemon.kill9();
    daemon.start();
    never(QUIET, "a dial after KICKED", || {
        let dials = broker.broker().total_network_connections();
        (dials > 1).then_some(dials)
    });
    assert_ne!(daemon.status().status_name, "CONNECTED");
    daemon.connect("alice", "opaque");
}

#[test]
fn after_sign_out_or_a_wrong_token_it_stays_offline() {
    let mut broker = Mosquitto::start();
    let mut daemon = Daemon::for_server(&broker.url());
    let token = broker.token("alice");
    let stays_offline = |daemon: &mut Daemon, broker: &Mosquitto| {
        daemon.kill9();
        let dials = broker.connections();
        daemon.start();
        never(QUIET, "a dial", || {
            (broker.connections() > dials).then(|| broker.log())
        });
    };
    for end in ["disconnect", "logout"] {
        daemon.connect("alice", &token);
        daemon.imctl(&[end]).expect_code(0);
        stays_offline(&mut daemon, &broker);
    }
    broker.change_token("alice", "another");
    let refused = daemon.home().connect(&token, &[]);
    refused.expect_code(1);
    stays_offline(&mut daemon, &broker);
}

#[test]
fn without_remember_a_restarted_daemon_knows_nobody() {
    let broker = Mosquitto::start();
    let mut daemon = Daemon::configured(&config(&broker.url(), "remember = false"));
    daemon.connect("alice", &broker.token("alice"));
    daemon.kill9();
    let dials = broker.connections();
    daemon.start();
    never(QUIET, "a dial", || {
        (broker.connections() > dials).then(|| broker.log())
    });
    assert_eq!(daemon.status().user_id, "");
}
