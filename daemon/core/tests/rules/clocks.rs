//! The wall clock may be set at any time, and the machine may sleep: the connection goes by the boot clock.

use imd_core::io::{ConnectionStatus, FaultKind, Input, Network};

use crate::support::{Imd, ms, secs, with};

const HOUR: i64 = 3_600_000;

/// Every state that waits for something, or for nothing.
const SCENES: [(&str, fn() -> Imd); 6] = [
    ("connected", Imd::online),
    ("a question that waits for its answer", || {
        let mut imd = Imd::online();
        imd.pongs = false;
        imd.input(Input::NetworkChanged);
        imd
    }),
    ("waiting for the next attempt", || {
        let mut imd = Imd::online();
        imd.fails(FaultKind::Io);
        imd
    }),
    ("dialling for an app that waits 30 s", || {
        let mut imd = Imd::with_apps();
        assert_eq!(imd.connect("chat", with("t1").limit(secs(30))), Ok(()));
        imd
    }),
    ("without a network", || {
        let mut imd = Imd::online();
        imd.fails(FaultKind::Io);
        imd.network(Network::Unavailable);
        imd
    }),
    ("signed out", || {
        let mut imd = Imd::online();
        imd.disconnect("chat");
        imd
    }),
];

#[test]
fn a_wall_clock_that_is_set_by_an_hour_wakes_nobody_and_delays_nothing() {
    for (name, scene) in SCENES {
        for by in [HOUR, -HOUR] {
            let (mut still, mut moved) = (scene(), scene());
            moved.set_wall_clock(by);
            let due = still.core().poll_timeout();
            assert!(moved.core().poll_timeout() == due, "{name}: set by {by} ms");
            for span in [ms(0), ms(1), secs(2), secs(60), secs(3_600)] {
                for imd in [&mut still, &mut moved] {
                    imd.input(Input::Timeout);
                    imd.wait(span);
                }
                assert!(
                    still.actions == moved.actions,
                    "{name}: set by {by} ms, after {span:?}"
                );
                assert!(
                    still.core().poll_timeout() == moved.core().poll_timeout(),
                    "{name}"
                );
            }
        }
    }
}

#[test]
fn a_wall_clock_that_is_set_again_and_again_changes_no_wait() {
    let waits = |by: i64| {
        let mut imd = Imd::online();
        let waits: Vec<_> = (0..12)
            .map(|round| {
                imd.fails(FaultKind::Io);
                imd.set_wall_clock(if round % 2 == 0 { by } else { -by });
                imd.redials()
            })
            .collect();
        waits
    };
    assert_eq!(waits(0), waits(HOUR));
}

#[test]
fn what_fell_due_in_a_sleep_of_an_hour_is_done_on_waking_and_once() {
    let mut imd = Imd::online();
    imd.fails(FaultKind::Io);
    let dials = imd.dials();
    imd.pass(secs(3_600));
    imd.input(Input::Resumed);
    imd.input(Input::Timeout);
    assert_eq!(imd.dials(), dials + 1);
    imd.is(ConnectionStatus::Connecting);

    let mut imd = Imd::with_apps();
    assert_eq!(imd.connect("chat", with("t1").limit(secs(30))), Ok(()));
    imd.pass(secs(3_600));
    imd.input(Input::Resumed);
    imd.is(ConnectionStatus::Timeout);
}
