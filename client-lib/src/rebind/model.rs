//! The machine against a reference that knows only the rules: what it has seen so far, and which times follow.

use std::time::Duration;

use proptest::prelude::*;

use super::tests::failure;
use super::*;
use crate::clock::BootTime;

/// What may happen next.
#[derive(Clone, Debug)]
enum Step {
    /// The time passes, and the timer rings if it is due.
    Pass(Duration),
    /// The machine sleeps until its own timer is due.
    UntilDue,
    Tell(Input),
}

fn step() -> impl Strategy<Value = Step> {
    let loss = prop_oneof![
        Just(DaemonLoss::Died),
        Just(DaemonLoss::Hung),
        Just(DaemonLoss::Stopped {
            reason: "update".to_owned()
        }),
    ];
    let kind = prop_oneof![
        3 => Just(FailureKind::NobodyThere),
        1 => Just(FailureKind::Silent),
        1 => Just(FailureKind::StrangersSocket),
        1 => Just(FailureKind::VersionSkew),
        1 => Just(FailureKind::Refused),
    ];
    prop_oneof![
        3 => (0..3_000_u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        1 => (0..100_000_u64).prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        6 => Just(Step::UntilDue),
        4 => Just(Step::Tell(Input::Dialed)),
        4 => Just(Step::Tell(Input::Bound)),
        4 => kind.prop_map(|kind| Step::Tell(Input::Failed(failure(kind)))),
        2 => loss.clone().prop_map(|loss| Step::Tell(Input::Ended(loss))),
        2 => loss.prop_map(|loss| Step::Tell(Input::Closed(loss))),
        2 => Just(Step::Tell(Input::Appeared)),
        1 => Just(Step::Tell(Input::Timeout)),
    ]
}

/// The rules, told by what has happened and not by states.
#[derive(Default)]
struct Reference {
    /// The attempt under way: when its dial began, and whether the socket is open.
    attempt: Option<(BootTime, bool)>,
    bound_since: Option<BootTime>,
    /// A binding that has ended, with its socket still open: since when.
    leaving_since: Option<BootTime>,
    last_dial: Option<BootTime>,
    /// Nothing is under way: when the delay is over.
    delay_over: Option<BootTime>,
    /// How often the delay has doubled.
    doublings: u32,
    /// When the name came into being first, since the last dial or loss.
    appeared: Option<BootTime>,
    dials: u32,
    bindings: u32,
    losses: u32,
}

impl Reference {
    fn due(&self) -> Option<BootTime> {
        let limit = self.attempt.map(|(dial, _)| dial + ATTEMPT_LIMIT);
        let grace = self.leaving_since.map(|since| since + GRACE);
        limit.or(grace).or_else(|| self.next_dial())
    }

    /// After the delay, or when the name appears, and never within 10 ms of the last dial.
    fn next_dial(&self) -> Option<BootTime> {
        let delay_over = self.delay_over?;
        let by_name = self.appeared.map(|appeared| {
            let spaced = self.last_dial.map(|dial| dial + FIRST_DELAY);
            spaced.map_or(appeared, |spaced| spaced.max(appeared))
        });
        Some(by_name.map_or(delay_over, |by_name| by_name.min(delay_over)))
    }

    fn idle(&mut self, now: BootTime) {
        self.attempt = None;
        self.leaving_since = None;
        if self.appeared.is_some() {
            // There is something there: it does not matter how long there was not.
            self.appeared = Some(now);
            self.doublings = 0;
            self.delay_over = Some(now + FIRST_DELAY);
        } else {
            let delay = Duration::from_millis(10 << self.doublings.min(7));
            self.delay_over = Some(now + delay.min(LONGEST_DELAY));
            self.doublings += 1;
        }
    }

    /// What the timer does when it is due.
    fn ring(&mut self, now: BootTime) {
        if self.due().is_none_or(|due| due > now) {
            return;
        }
        if self.attempt.is_some() || self.leaving_since.is_some() {
            self.idle(now);
        } else {
            self.attempt = Some((now, false));
            self.last_dial = Some(now);
            self.delay_over = None;
            self.appeared = None;
            self.dials += 1;
        }
    }

    fn hear(&mut self, now: BootTime, input: &Input) {
        match input {
            Input::Dialed => {
                if let Some((_, open)) = &mut self.attempt {
                    *open = true;
                }
            }
            Input::Bound => {
                if let Some((_, true)) = self.attempt {
                    self.attempt = None;
                    self.bound_since = Some(now);
                    self.bindings += 1;
                }
            }
            Input::Failed(failure) => {
                if self.attempt.is_some() {
                    let asked_again_soon =
                        matches!(failure.kind, FailureKind::NobodyThere | FailureKind::Silent);
                    if !asked_again_soon {
                        self.doublings = 7;
                    }
                    self.idle(now);
                }
            }
            Input::Ended(_) => {
                if self.lose(now) {
                    self.leaving_since = Some(now);
                }
            }
            Input::Closed(_) => {
                if self.lose(now) || self.leaving_since.is_some() {
                    self.idle(now);
                }
            }
            Input::Appeared => {
                if self.bound_since.is_none() {
                    self.appeared.get_or_insert(now);
                    if self.delay_over.is_some() {
                        self.doublings = 0;
                    }
                }
            }
            Input::Timeout | Input::Dropped => {}
        }
    }

    fn lose(&mut self, now: BootTime) -> bool {
        let Some(since) = self.bound_since.take() else {
            return false;
        };
        self.losses += 1;
        self.appeared = None;
        if now.since(since) >= STABLE {
            self.doublings = 0;
        }
        true
    }
}

/// What the machine has asked for, and what must never be.
#[derive(Default)]
struct Seen {
    dials: u32,
    bindings: u32,
    losses: u32,
    /// Between a dial and its end.
    dialing: bool,
    bound: bool,
    watched: bool,
}

impl Seen {
    fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Dial => {
                assert!(!self.dialing, "one dial at a time");
                assert!(!self.bound, "nothing is dialled while there is a binding");
                assert!(self.watched);
                self.dialing = true;
                self.dials += 1;
            }
            Action::Bind => assert!(self.dialing),
            Action::Abandon | Action::ShowFailure(_) => self.dialing = false,
            Action::TellBound => {
                assert!(self.dialing && !self.bound && !self.watched);
                self.dialing = false;
                self.bound = true;
                self.bindings += 1;
            }
            Action::TellLost(_) => {
                assert!(self.bound, "once for each loss");
                self.bound = false;
                self.losses += 1;
            }
            Action::HangUp => assert!(!self.bound && !self.dialing),
            Action::Watch => self.watched = true,
            Action::Unwatch => self.watched = false,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 5_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_machine_does_what_the_rules_say(
        begins_bound: bool,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut now = tests::at(1_000);
        let mut reference = Reference::default();
        let mut seen = Seen::default();
        let mut machine = if begins_bound {
            reference.bound_since = Some(now);
            seen.bound = true;
            Machine::bound(now)
        } else {
            reference.delay_over = Some(now);
            reference.ring(now);
            Machine::unbound(now)
        };
        for step in std::iter::once(Step::Tell(Input::Timeout)).chain(steps) {
            let input = match step {
                Step::Pass(time) => {
                    now = now + time;
                    Input::Timeout
                }
                Step::UntilDue => {
                    now = machine.poll_timeout().unwrap_or(now).max(now);
                    Input::Timeout
                }
                Step::Tell(input) => input,
            };
            reference.ring(now);
            reference.hear(now, &input);
            reference.ring(now);
            machine.handle(now, input);
            while let Some(action) = machine.poll_action() {
                seen.carry_out(&action);
            }
            prop_assert_eq!(machine.poll_timeout(), reference.due());
            prop_assert_eq!(seen.bound, reference.bound_since.is_some());
            prop_assert_eq!(seen.bound, machine.poll_timeout().is_none(), "who waits has a timer");
            prop_assert_eq!(seen.dialing, reference.attempt.is_some());
            prop_assert_eq!(
                (seen.dials, seen.bindings, seen.losses),
                (reference.dials, reference.bindings, reference.losses)
            );
            prop_assert_eq!(seen.watched, !seen.bound);
        }
    }
}
