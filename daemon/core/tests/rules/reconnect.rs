//! The loop: delays, the network, sleep, keep-alive, and what one link leaves to the next (nothing).

use std::time::Duration;

use imd_core::io::{
    Accepted, ConnectionStatus, Event, FaultKind, HangUp, Input, LinkEvent, Network, OfflineSync,
};
use imd_core::{Code, WakeUp};

use super::support::*;

/// The reconnect table, in milliseconds.
const TABLE: [u64; 10] = [50, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];

#[test]
fn the_waits_grow_by_the_table_and_are_spread_from_the_third_on() {
    let mut imd = Imd::online();
    imd.fails(FaultKind::Io);
    let mut spread = 0;
    for (failure, most) in TABLE.into_iter().chain([64_000; 20]).enumerate() {
        let waited = imd.redials();
        if failure < 2 {
            assert_eq!(waited, ms(most));
        } else {
            assert!(waited <= ms(most), "{waited:?} after failure {failure}");
            spread += usize::from(waited < ms(most) / 2);
        }
        imd.fails(FaultKind::ConnectionRefused);
    }
    assert!(
        (5..24).contains(&spread),
        "{spread} of 28 waits are in the lower half"
    );
}

#[test]
fn twenty_seconds_of_connection_restart_the_table_and_nothing_less_does() {
    for (life, wait) in [(ms(19_999), ms(250)), (secs(20), ms(50))] {
        let mut imd = Imd::online();
        imd.wait(secs(30));
        imd.fails(FaultKind::Io);
        assert_eq!(imd.redials(), ms(50));
        imd.comes_up();
        imd.wait(life);
        imd.fails(FaultKind::Io);
        assert_eq!(imd.redials(), wait, "after {life:?}");
    }
}

#[test]
fn news_of_the_network_a_resume_and_a_connect_hurry_the_next_attempt() {
    let hurries: [fn(&mut Imd); 3] = [
        |imd| imd.input(Input::NetworkChanged),
        |imd| imd.input(Input::Resumed),
        |imd| assert_eq!(imd.connect("mail", with("t1")), Ok(())),
    ];
    for hurry in hurries {
        let mut imd = Imd::online();
        imd.fails(FaultKind::Io);
        for _ in 0..9 {
            imd.redials();
            imd.fails(FaultKind::ConnectionRefused);
        }
        hurry(&mut imd);
        assert!(imd.redials() <= ms(50));
        imd.fails(FaultKind::ConnectionRefused);
        assert_eq!(imd.redials(), ms(50), "the table begins again");
    }
}

#[test]
fn nothing_shortens_what_the_server_asked_for() {
    let mut imd = Imd::online();
    imd.disconnects(hint(45));
    imd.input(Input::NetworkChanged);
    imd.input(Input::Resumed);
    assert_eq!(imd.connect("mail", with("t1")), Ok(()));
    imd.network(Network::Unavailable);
    imd.network(Network::Available);
    imd.is(ConnectionStatus::Suspend);
    assert_eq!(imd.redials(), secs(45));
}

#[test]
fn nothing_but_another_token_shortens_leniency() {
    let mut imd = Imd::online();
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.refuses(words(0x87));
    imd.input(Input::NetworkChanged);
    imd.input(Input::Resumed);
    assert_eq!(imd.connect("mail", with("t1")), Ok(()));
    imd.network(Network::Unavailable);
    imd.network(Network::Available);
    assert_eq!(imd.redials(), secs(4));
}

/// Three times up, and three times cut within 150 s.
fn fought_over(life: Duration) -> Imd {
    let mut imd = Imd::online();
    for cut in 1..=3 {
        if cut > 1 {
            imd.redials();
            imd.comes_up();
        }
        imd.wait(life);
        imd.fails(FaultKind::BareEof);
    }
    imd
}

#[test]
fn three_short_lives_in_a_row_wait_for_the_longest_time_and_say_why() {
    for life in [ms(0), ms(149_999)] {
        let mut imd = fought_over(life);
        let reason = imd.status().reason;
        assert!(reason.contains("signed in elsewhere?"), "{reason}");
        assert_eq!(imd.redials(), secs(64));
        imd.fails(FaultKind::BareEof);
        assert_eq!(imd.redials(), secs(64), "and goes on waiting");
    }
}

#[test]
fn a_server_that_was_away_in_between_is_no_rival() {
    let mut imd = Imd::online();
    for _ in 0..5 {
        imd.wait(secs(20));
        imd.fails(FaultKind::BareEof);
        assert_eq!(imd.redials(), ms(50));
        imd.fails(FaultKind::ConnectionRefused);
        assert_eq!(imd.redials(), ms(250));
        imd.comes_up();
    }
}

#[test]
fn lives_that_end_otherwise_or_late_are_no_fight() {
    let mut imd = fought_over(secs(150));
    assert!(imd.redials() < secs(64));
    let mut imd = Imd::online();
    for _ in 0..5 {
        imd.fails(FaultKind::Io);
        assert!(imd.redials() < secs(4));
        imd.comes_up();
    }
}

#[test]
fn only_a_long_life_or_a_connect_makes_up_after_a_fight() {
    let mut imd = fought_over(secs(1));
    imd.input(Input::NetworkChanged);
    imd.input(Input::Resumed);
    assert_eq!(imd.redials(), secs(64));
    imd.comes_up();
    imd.wait(secs(150));
    imd.fails(FaultKind::BareEof);
    assert_eq!(imd.redials(), ms(50));

    let mut imd = fought_over(secs(1));
    assert_eq!(imd.connect("mail", with("t1")), Ok(()));
    assert_eq!(imd.redials(), ms(50));
}

#[test]
fn without_a_network_nothing_is_tried_and_nobody_is_woken() {
    let mut imd = Imd::online();
    imd.fails(FaultKind::Io);
    imd.network(Network::Unavailable);
    imd.is(ConnectionStatus::NetworkUnavailable);
    assert_eq!(imd.next_wake_up(), None);
    let dials = imd.dials();
    imd.pass(secs(3_600));
    imd.network(Network::Available);
    assert_eq!(imd.dials(), dials + 1, "at once");
    imd.is(ConnectionStatus::Connecting);
}

#[test]
fn the_loss_of_the_network_ends_a_dial_but_a_link_that_is_up_is_asked_first() {
    let mut imd = Imd::online();
    let pings = imd.pings();
    imd.network(Network::Unavailable);
    assert_eq!(imd.pings(), pings + 1);
    imd.wait(secs(60));
    imd.is(ConnectionStatus::Connected);
    imd.pongs = false;
    imd.wait(secs(60));
    imd.is(ConnectionStatus::NetworkUnavailable);
    imd.network(Network::Available);
    imd.network(Network::Unavailable);
    assert_eq!(imd.hung_up(), Some(HangUp::Abort));
    imd.is(ConnectionStatus::NetworkUnavailable);
}

#[test]
fn without_a_network_a_server_on_this_machine_is_still_reached() {
    let mut imd = Imd::new();
    assert_eq!(imd.init("chat", "beside"), Ok(()));
    assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
    assert_eq!(&*imd.dialed().server.host, "away.example");
    imd.network(Network::Unavailable);
    assert_eq!(imd.redials(), ms(50));
    assert_eq!(&*imd.dialed().server.host, "127.0.0.1");
    imd.fails(FaultKind::ConnectionRefused);
    imd.redials();
    assert_eq!(&*imd.dialed().server.host, "127.0.0.1");
    imd.comes_up();
    imd.is(ConnectionStatus::Connected);
}

#[test]
fn before_sleep_the_server_is_told_and_on_waking_it_is_dialled_at_once() {
    let mut imd = Imd::online();
    imd.input(Input::Sleeping);
    assert_eq!(imd.hung_up(), Some(HangUp::KeepSession));
    imd.is(ConnectionStatus::Suspend);
    let dials = imd.dials();
    imd.input(Input::Sleeping);
    imd.wait(secs(29));
    assert_eq!(imd.dials(), dials);
    imd.pass(secs(3_600));
    imd.input(Input::Resumed);
    assert_eq!(imd.dials(), dials + 1, "at once");
    imd.comes_up();

    imd.input(Input::Sleeping);
    imd.wait(secs(30));
    assert_eq!(imd.dials(), dials + 2, "it did not sleep after all");
}

#[test]
fn an_attempt_under_way_when_the_network_changes_has_3_s_left() {
    for event in [Input::NetworkChanged, Input::Resumed] {
        let mut imd = Imd::with_apps();
        assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
        imd.wait(secs(1));
        imd.input(event.clone());
        imd.wait(ms(2_999));
        imd.is(ConnectionStatus::Connecting);
        imd.wait(ms(1));
        imd.is(ConnectionStatus::Suspend);
        imd.redials();
        imd.accepts();
        imd.input(event);
        imd.wait(secs(3));
        imd.is(ConnectionStatus::Suspend);
    }
}

#[test]
fn a_quiet_link_is_asked_after_30_s_and_dead_after_43_5() {
    let mut imd = Imd::online();
    imd.pongs = false;
    imd.wait(ms(29_999));
    assert_eq!(imd.pings(), 0);
    imd.wait(ms(1));
    assert_eq!(imd.pings(), 1);
    imd.wait(ms(13_499));
    imd.is(ConnectionStatus::Connected);
    imd.wait(ms(1));
    imd.is(ConnectionStatus::Suspend);
    assert_eq!(imd.hung_up(), Some(HangUp::Abort));
    assert_eq!(imd.status().last_code, Some(Code::RC_PING_EXCEED_LIMIT));
}

#[test]
fn an_answer_keeps_the_link_and_an_idle_hour_wakes_nobody_for_anything_else() {
    let mut imd = Imd::online();
    imd.link(LinkEvent::MarkerReturned);
    let end = imd.now() + secs(3_600);
    let mut wake_ups = 0;
    while imd.now() < end {
        assert_eq!(imd.wake().1, WakeUp::Ping);
        wake_ups += 1;
    }
    assert_eq!(wake_ups, 120);
    imd.is(ConnectionStatus::Connected);
}

#[test]
fn the_smaller_keep_alive_holds_and_0_is_no_wish() {
    for (theirs, asked) in [(20, 20), (60, 30), (0, 30)] {
        let mut imd = Imd::with_apps();
        assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
        imd.link(LinkEvent::Accepted(Accepted {
            keep_alive: Some(secs(theirs)),
            ..Accepted::default()
        }));
        imd.link(LinkEvent::LoggedIn);
        imd.link(LinkEvent::MarkerReturned);
        assert_eq!(imd.wake(), (secs(asked), WakeUp::Ping));
    }
}

#[test]
fn a_link_that_only_sends_is_dead_when_nothing_is_acknowledged_for_15_s() {
    let mut imd = Imd::online();
    imd.wait(secs(10));
    let since = imd.now();
    imd.link(LinkEvent::Unacknowledged { since: Some(since) });
    imd.wait(ms(14_999));
    imd.is(ConnectionStatus::Connected);
    imd.link(LinkEvent::Received { messages: true });
    imd.wait(ms(1));
    imd.is(ConnectionStatus::Suspend);

    let mut imd = Imd::online();
    let since = imd.now();
    imd.link(LinkEvent::Unacknowledged { since: Some(since) });
    imd.wait(secs(14));
    imd.link(LinkEvent::Unacknowledged { since: None });
    imd.wait(secs(60));
    imd.is(ConnectionStatus::Connected);
}

#[test]
fn a_packet_that_is_long_overdue_ends_the_link_at_once() {
    let mut imd = Imd::online();
    let since = imd.now();
    imd.wait(secs(20));
    imd.link(LinkEvent::Unacknowledged { since: Some(since) });
    imd.is(ConnectionStatus::Suspend);
}

#[test]
fn a_fresh_link_begins_with_fresh_deadlines() {
    let mut imd = Imd::online();
    let since = imd.now();
    imd.pongs = false;
    imd.wait(secs(10));
    imd.link(LinkEvent::Unacknowledged { since: Some(since) });
    imd.input(Input::NetworkChanged);
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.comes_up();
    imd.wait(ms(29_999));
    imd.is(ConnectionStatus::Connected);
}

#[test]
fn what_an_ended_link_still_says_changes_nothing() {
    let mut imd = Imd::online();
    let old = imd.dialed().epoch;
    imd.fails(FaultKind::Io);
    imd.redials();
    let (actions, status, due) = (imd.actions.len(), imd.status(), imd.core().poll_timeout());
    for event in [
        LinkEvent::Accepted(Accepted::default()),
        LinkEvent::LoggedIn,
        LinkEvent::MarkerReturned,
        LinkEvent::Received { messages: true },
        LinkEvent::Unacknowledged {
            since: Some(imd.now()),
        },
        LinkEvent::Refused(words(0x87)),
        LinkEvent::ServerDisconnect(words(0x8E)),
    ] {
        imd.link_of(old, event);
        assert_eq!((imd.actions.len(), imd.status()), (actions, status.clone()));
        assert_eq!(imd.core().poll_timeout(), due);
    }
}

#[test]
fn a_wake_asks_first_and_redials_only_if_that_fails() {
    let mut imd = Imd::online();
    imd.pass(secs(8 * 3_600));
    let pings = imd.pings();
    imd.input(Input::Resumed);
    assert_eq!(imd.pings(), pings + 1);
    imd.is(ConnectionStatus::Connected);
    imd.wait(secs(60));
    imd.is(ConnectionStatus::Connected);

    imd.pongs = false;
    imd.pass(secs(8 * 3_600));
    imd.input(Input::Resumed);
    imd.wait(ms(2_999));
    imd.is(ConnectionStatus::Connected);
    imd.wait(ms(1));
    imd.is(ConnectionStatus::Suspend);
}

#[test]
fn a_second_sleep_is_no_answer_that_failed() {
    let mut imd = Imd::online();
    imd.pongs = false;
    imd.input(Input::Resumed);
    imd.pass(secs(600));
    imd.input(Input::Resumed);
    imd.is(ConnectionStatus::Connected);
    imd.wait(secs(3));
    imd.is(ConnectionStatus::Suspend);
}

#[test]
fn what_was_sent_before_sleep_has_its_full_time_after_it() {
    let mut imd = Imd::online();
    let since = imd.now();
    imd.link(LinkEvent::Unacknowledged { since: Some(since) });
    imd.pass(secs(3_600));
    imd.input(Input::Resumed);
    imd.link(LinkEvent::Unacknowledged {
        since: Some(since + ms(1)),
    });
    imd.wait(ms(14_999));
    imd.is(ConnectionStatus::Connected);
    imd.wait(ms(1));
    imd.is(ConnectionStatus::Suspend);
}

#[test]
fn a_change_of_the_network_is_answered_by_a_question_that_has_3_s() {
    let mut imd = Imd::online();
    imd.pongs = false;
    imd.input(Input::NetworkChanged);
    imd.wait(ms(2_999));
    imd.is(ConnectionStatus::Connected);
    imd.wait(ms(1));
    imd.is(ConnectionStatus::Suspend);
}

#[test]
fn the_marker_ends_the_backlog_once_per_login() {
    let mut imd = Imd::online();
    assert_eq!(imd.status().offline_sync, OfflineSync::Running);
    imd.link(LinkEvent::MarkerReturned);
    imd.link(LinkEvent::MarkerReturned);
    assert_eq!(imd.events(), [Event::OfflineSyncCompleted { complete: true }]);
    assert_eq!(imd.status().offline_sync, OfflineSync::Complete);
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.accepts();
    imd.link(LinkEvent::MarkerReturned);
    assert_eq!(imd.events().len(), 1, "not before the login is through");
    imd.link(LinkEvent::LoggedIn);
    assert_eq!(imd.events().len(), 2);
}

#[test]
fn thirty_quiet_seconds_end_the_backlog_as_incomplete() {
    let mut imd = Imd::online();
    imd.wait(secs(20));
    imd.link(LinkEvent::Received { messages: true });
    imd.wait(ms(29_999));
    assert_eq!(imd.events(), []);
    imd.wait(ms(1));
    assert_eq!(imd.events(), [Event::OfflineSyncCompleted { complete: false }]);
    imd.link(LinkEvent::MarkerReturned);
    assert_eq!(imd.events().len(), 1);
}

#[test]
fn each_status_is_the_one_before_plus_one() {
    let mut imd = Imd::online();
    imd.fails(FaultKind::Io);
    imd.redials();
    imd.comes_up();
    imd.disconnect("chat");
    let published = imd.actions.iter().filter_map(|action| {
        let imd_core::io::Action::Publish(status) = action else {
            return None;
        };
        Some(status.generation)
    });
    let generations: Vec<u64> = published.collect();
    assert!(
        generations.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{generations:?}"
    );
}
