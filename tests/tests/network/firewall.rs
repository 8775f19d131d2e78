//! Packets that are dropped in silence, or refused: no news of it comes from the kernel, the link itself tells.

use std::time::Duration;

use imd_tests::progress::say;

use crate::stage::{KEEP_ALIVE, Stage};

/// For what the machine itself adds to a figure.
const SLACK: Duration = Duration::from_millis(500);

/// Within this a link that nobody answers on is not CONNECTED.
fn bound() -> Duration {
    KEEP_ALIVE * 3 / 2 + SLACK
}

#[test]
fn a_firewall_that_drops_in_silence_is_noticed_on_an_idle_link() {
    let stage = Stage::connected();
    stage.block("blackhole");
    let noticed = stage.time_until("SUSPEND");
    say(&format!("half-open and idle: noticed after {noticed:?}"));
    assert!(noticed <= bound(), "{noticed:?}");
    stage.unblock("blackhole");
    stage.is("CONNECTED");
}

#[test]
fn a_firewall_that_drops_in_silence_is_noticed_on_a_busy_link() {
    let stage = Stage::connected();
    stage.block("blackhole");
    let sent = stage.daemon.imctl(&["send", "--to", "bob", "words"]);
    let noticed = stage.time_until("SUSPEND");
    say(&format!("half-open and busy: noticed after {noticed:?}"));
    assert!(noticed <= bound(), "{noticed:?}");
    assert_ne!(sent.code, Some(3), "{sent:?}");
    stage.unblock("blackhole");
    stage.is("CONNECTED");
}

#[test]
fn a_firewall_that_refuses_is_said_and_the_loop_goes_on() {
    let stage = Stage::connected();
    stage.block("prohibit");
    stage.is("SUSPEND");
    let status = stage.is_that("a refused attempt", |status| {
        status.reason.contains("No route to host") || status.reason.contains("Network is unreachable")
    });
    assert!(status.reason.contains("cannot be reached"), "{}", status.reason);
    stage.unblock("prohibit");
    stage.is("CONNECTED");
}
