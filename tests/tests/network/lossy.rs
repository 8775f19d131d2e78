//! A third of all packets lost, half a second of delay: slow, but whole.

use std::time::Duration;

use imd_tests::lab::{Lab, Relay};
use imd_tests::mosquitto::Mosquitto;
use imd_tests::progress::say;
use imd_tests::wait::{eventually, never, when};

use crate::stage::Stage;

/// A message may need several of TCP's repetitions, which come ever later.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn with_half_a_second_of_delay_everything_works() {
    let lab = Lab::new();
    let mut relay = Relay::lay(&lab);
    relay.set(0.0, Duration::from_millis(500));
    let broker = Mosquitto::start_in(lab.server(), relay.server());
    let stage = Stage::on(lab, broker);
    // Longer than the keep-alive and what is left after it.
    never(Duration::from_secs(8), "an end of the connection", || {
        let status = stage.is_that("any", |_| true);
        (status.status_name != "CONNECTED").then_some(status)
    });
}

#[test]
fn with_a_third_of_all_packets_lost_every_message_arrives() {
    let lab = Lab::new();
    let mut relay = Relay::lay(&lab);
    let broker = Mosquitto::start_in(lab.server(), relay.server());
    let stage = Stage::on(lab, broker);
    relay.set(0.3, Duration::from_millis(20));
    for number in 0..10 {
        let text = format!("message {number}");
        let sent = stage.daemon.imctl(&["send", "--to", "bob", &text]);
        assert_ne!(sent.code, Some(3), "{sent:?}");
    }
    // What the server has acknowledged; a connection that was given up meanwhile does not matter.
    eventually(PATIENCE, "all messages at the server", || {
        let history = stage.daemon.imctl(&["--json", "history", "--with", "bob"]);
        let sent = history.stdout.matches(r#""sent_status_name":"SENT""#).count();
        when(sent == 10, history)
    });
    say("all messages arrived over a link that loses 30 % of its packets");
}
