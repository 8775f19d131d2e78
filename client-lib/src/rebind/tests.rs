//! The rules, one by one. Times are what a test says they are.

use super::*;

pub(super) fn at(millis: u64) -> BootTime {
    BootTime::since_boot(Duration::from_millis(millis))
}

pub(super) fn failure(kind: FailureKind) -> Failure {
    let code = match kind {
        FailureKind::NobodyThere => Code::IPC_DISCONNECT,
        FailureKind::Silent => Code::IMD_DEADLINE_EXCEEDED,
        FailureKind::StrangersSocket => Code::IMD_REFUSED_PEER,
        FailureKind::VersionSkew => Code::IMD_VERSION_SKEW,
        FailureKind::Refused => Code::INVALID_APP_KEY,
    };
    Failure {
        kind,
        code,
        text: "as the test says".to_owned(),
    }
}

fn nobody() -> Input {
    Input::Failed(failure(FailureKind::NobodyThere))
}

fn actions(machine: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| machine.poll_action()).collect()
}

/// Lets the time pass to the machine's own timer. When that is, and what it does then.
fn ring(machine: &mut Machine) -> (BootTime, Vec<Action>) {
    let due = machine.poll_timeout().expect("a timer is set");
    machine.handle(due, Input::Timeout);
    (due, actions(machine))
}

/// Bound since the time 0.
fn bound() -> Machine {
    Machine::bound(at(0))
}

/// Binds, at once.
fn bind(machine: &mut Machine, now: BootTime) {
    machine.handle(now, Input::Dialed);
    machine.handle(now, Input::Bound);
    assert!(actions(machine).ends_with(&[Action::Unwatch, Action::TellBound]));
}

#[test]
fn a_client_without_a_daemon_dials_at_once_and_then_less_and_less_often() {
    let mut machine = Machine::unbound(at(0));
    assert_eq!(actions(&mut machine), [Action::Watch, Action::Dial]);
    let mut now = at(0);
    let mut delays = Vec::new();
    for _ in 0..9 {
        machine.handle(now, nobody());
        assert_eq!(
            actions(&mut machine),
            [Action::ShowFailure(failure(FailureKind::NobodyThere))]
        );
        let (due, dialed) = ring(&mut machine);
        assert_eq!(dialed, [Action::Dial]);
        delays.push(due.since(now).as_millis());
        now = due;
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
}

#[test]
fn a_loss_is_told_once_and_dialled_for_after_10_ms() {
    let mut machine = bound();
    machine.handle(at(60_000), Input::Closed(DaemonLoss::Died));
    machine.handle(at(60_000), Input::Closed(DaemonLoss::Died));
    machine.handle(at(60_000), Input::Ended(DaemonLoss::Hung));
    let told = [Action::TellLost(DaemonLoss::Died), Action::Watch];
    assert_eq!(actions(&mut machine), told);
    assert_eq!(ring(&mut machine), (at(60_010), vec![Action::Dial]));
}

#[test]
fn after_a_goodbye_nothing_is_dialled_before_the_socket_is_closed() {
    let goodbye = DaemonLoss::Stopped {
        reason: "update".to_owned(),
    };
    let mut machine = bound();
    machine.handle(at(5_000), Input::Ended(goodbye.clone()));
    assert_eq!(
        actions(&mut machine),
        [Action::TellLost(goodbye.clone()), Action::Watch]
    );
    machine.handle(at(5_100), Input::Closed(DaemonLoss::Died));
    assert_eq!(actions(&mut machine), []);
    assert_eq!(ring(&mut machine), (at(5_110), vec![Action::Dial]));

    let mut machine = bound();
    machine.handle(at(5_000), Input::Ended(goodbye));
    actions(&mut machine);
    assert_eq!(ring(&mut machine), (at(5_500), vec![Action::HangUp]));
    assert_eq!(ring(&mut machine), (at(5_510), vec![Action::Dial]));
}

#[test]
fn the_name_that_appears_is_dialled_at_once_and_the_delays_begin_again() {
    let mut machine = Machine::unbound(at(0));
    let mut now = at(0);
    for _ in 0..6 {
        machine.handle(now, nobody());
        now = ring(&mut machine).0;
    }
    machine.handle(now, nobody());
    actions(&mut machine);
    let appeared = now + Duration::from_millis(100);
    machine.handle(appeared, Input::Appeared);
    assert_eq!(actions(&mut machine), [Action::Dial]);
    // It listens a moment later than its name is there.
    machine.handle(appeared, nobody());
    actions(&mut machine);
    assert_eq!(machine.poll_timeout(), Some(appeared + FIRST_DELAY));
}

#[test]
fn a_name_that_appears_again_and_again_is_dialled_every_10_ms_at_most() {
    let mut machine = Machine::unbound(at(0));
    actions(&mut machine);
    let mut dials = Vec::new();
    for millis in 0..100 {
        machine.handle(at(millis), Input::Appeared);
        if actions(&mut machine).contains(&Action::Dial) {
            dials.push(millis);
        }
        machine.handle(at(millis), nobody());
        actions(&mut machine);
    }
    assert_eq!(dials, [10, 20, 30, 40, 50, 60, 70, 80, 90]);
}

#[test]
fn a_name_that_appears_while_the_old_one_is_dialled_is_dialled_right_after_it() {
    let mut machine = Machine::unbound(at(0));
    machine.handle(at(1), Input::Dialed);
    machine.handle(at(500), Input::Appeared);
    machine.handle(at(700), nobody());
    let dials: Vec<_> = actions(&mut machine)
        .into_iter()
        .filter(|action| *action == Action::Dial)
        .collect();
    assert_eq!(dials.len(), 2, "the first, and one more at once");
}

#[test]
fn a_daemon_that_accepts_and_dies_at_once_is_dialled_less_and_less_often() {
    let mut machine = bound();
    machine.handle(at(10_000), Input::Closed(DaemonLoss::Died));
    let mut delays = Vec::new();
    let mut now = at(10_000);
    for _ in 0..9 {
        let (due, _) = ring(&mut machine);
        delays.push(due.since(now).as_millis());
        now = due;
        bind(&mut machine, now);
        machine.handle(now, Input::Closed(DaemonLoss::Died));
    }
    assert_eq!(delays, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    let (due, _) = ring(&mut machine);
    bind(&mut machine, due);
    let later = due + STABLE;
    machine.handle(later, Input::Closed(DaemonLoss::Died));
    assert_eq!(
        machine.poll_timeout(),
        Some(later + FIRST_DELAY),
        "a good binding"
    );
}

#[test]
fn a_daemon_that_hangs_while_binding_is_given_2_seconds() {
    for opened in [false, true] {
        let mut machine = Machine::unbound(at(0));
        if opened {
            machine.handle(at(1), Input::Dialed);
        }
        actions(&mut machine);
        let (due, done) = ring(&mut machine);
        assert_eq!(due, at(2_000));
        let [Action::Abandon, Action::ShowFailure(failure)] = done.as_slice() else {
            panic!("{done:?}");
        };
        assert_eq!(
            (failure.kind, failure.code),
            (FailureKind::Silent, Code::IMD_DEADLINE_EXCEEDED)
        );
        assert_eq!(ring(&mut machine), (at(2_010), vec![Action::Dial]));
    }
}

#[test]
fn an_answer_that_comes_after_a_sleep_of_the_machine_is_none() {
    let mut machine = Machine::unbound(at(0));
    machine.handle(at(1), Input::Dialed);
    actions(&mut machine);
    machine.handle(at(3_600_000), Input::Bound);
    let done = actions(&mut machine);
    assert_eq!(done.first(), Some(&Action::Abandon));
    assert!(!done.contains(&Action::TellBound));
    let (due, dialed) = ring(&mut machine);
    assert_eq!((due, dialed), (at(3_600_010), vec![Action::Dial]));
    bind(&mut machine, due);
}

#[test]
fn a_sleep_of_the_machine_makes_one_dial_and_not_those_that_were_missed() {
    let mut machine = Machine::unbound(at(0));
    machine.handle(at(0), nobody());
    actions(&mut machine);
    machine.handle(at(3_600_000), Input::Timeout);
    assert_eq!(actions(&mut machine), [Action::Dial]);
}

#[test]
fn a_refusal_is_a_decision_and_is_asked_again_after_a_second() {
    for kind in [
        FailureKind::StrangersSocket,
        FailureKind::VersionSkew,
        FailureKind::Refused,
    ] {
        let mut machine = Machine::unbound(at(0));
        machine.handle(at(5), Input::Failed(failure(kind)));
        assert_eq!(machine.poll_timeout(), Some(at(1_005)), "{kind:?}");
        machine.handle(at(100), Input::Appeared);
        assert!(
            actions(&mut machine).ends_with(&[Action::Dial]),
            "another may be there"
        );
    }
}

#[test]
fn the_last_client_ends_everything() {
    let mut dialing = Machine::unbound(at(0));
    actions(&mut dialing);
    let mut waiting = Machine::unbound(at(0));
    waiting.handle(at(0), nobody());
    actions(&mut waiting);
    let mut leaving = bound();
    leaving.handle(at(1), Input::Ended(DaemonLoss::Hung));
    actions(&mut leaving);
    for (mut machine, wanted) in [
        (bound(), vec![Action::HangUp]),
        (dialing, vec![Action::Abandon]),
        (waiting, vec![]),
        (leaving, vec![Action::HangUp]),
    ] {
        machine.handle(at(5), Input::Dropped);
        assert_eq!(actions(&mut machine), wanted);
        assert_eq!(machine.poll_timeout(), None);
        for input in [Input::Appeared, Input::Dialed, Input::Bound, Input::Timeout] {
            machine.handle(at(20), input);
        }
        assert_eq!(actions(&mut machine), []);
    }
}
