//! A stretch of time as one row of letters: what the connection was in each slice of it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use imd_client::ConnectionStatus;
use imd_client::admin::{StatusChange, Timeline};

use crate::output::Mood;

/// What was so. A slice shows the worst of what was in it: the later in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Before anything that is known.
    Nothing,
    Connected,
    /// Nobody wanted the connection.
    Off,
    /// Connecting, or waiting for the next attempt or the network.
    Waiting,
    /// The daemon did not run.
    Down,
    /// The daemon ended without a word, somewhere in between.
    Unknown,
    /// Ended by a code: kicked, refused, blocked.
    Ended,
}

impl State {
    pub(super) const SHOWN: [Self; 6] = [
        Self::Connected,
        Self::Waiting,
        Self::Ended,
        Self::Off,
        Self::Down,
        Self::Unknown,
    ];

    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
    fn of(status: ConnectionStatus) -> Self {
        match status {
            ConnectionStatus::Connected => Self::Connected,
            ConnectionStatus::Connecting
            | ConnectionStatus::Suspend
            | ConnectionStatus::NetworkUnavailable => Self::Waiting,
            ConnectionStatus::Unconnected | ConnectionStatus::SignOut => Self::Off,
            _ => Self::Ended,
        }
    }

    pub(super) const fn letter(self) -> char {
        match self {
            Self::Nothing => ' ',
            Self::Connected => '=',
            Self::Off => '.',
            Self::Waiting => '~',
            Self::Down => '_',
            Self::Unknown => '?',
            Self::Ended => '!',
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Nothing => "not known",
            Self::Connected => "connected",
            Self::Off => "not wanted",
            Self::Waiting => "waiting",
            Self::Down => "daemon down",
            Self::Unknown => "daemon ended at some time",
            Self::Ended => "ended by a code",
        }
    }

    pub(super) const fn mood(self) -> Mood {
        match self {
            Self::Connected => Mood::Good,
            Self::Waiting => Mood::Waiting,
            Self::Ended | Self::Unknown => Mood::Bad,
            Self::Nothing | Self::Off | Self::Down => Mood::Plain,
        }
    }
}

/// A state and when it began; it holds up to the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) at: SystemTime,
    pub(super) state: State,
}

/// The states one after the other.
pub(super) fn states(timeline: &Timeline) -> Vec<Since> {
    in_order(of_runs(timeline))
}

/// A state that claims a later time than the next was told by a clock that ran ahead: it was before the next.
fn in_order(mut states: Vec<Since>) -> Vec<Since> {
    let mut next = None;
    for since in states.iter_mut().rev() {
        since.at = next.map_or(since.at, |next| since.at.min(next));
        next = Some(since.at);
    }
    states
}

fn of_runs(timeline: &Timeline) -> Vec<Since> {
    let mut by_run: BTreeMap<&str, Vec<&StatusChange>> = BTreeMap::new();
    for change in &timeline.changes {
        by_run.entry(&change.run_id).or_default().push(change);
    }
    let mut states = Vec::new();
    for (index, run) in timeline.runs.iter().enumerate() {
        if let Some(at) = run.started {
            states.push(Since {
                at,
                state: State::Off,
            });
        }
        let changes = by_run.get(run.run_id.as_str()).into_iter().flatten();
        states.extend(changes.filter_map(|change| since(change)));
        let is_last = index + 1 == timeline.runs.len();
        match (run.ended, states.last()) {
            (Some(at), _) => states.push(Since {
                at,
                state: State::Down,
            }),
            // It is not known when, so the time after its last word is shown as what it is.
            (None, Some(last)) if !is_last => states.push(Since {
                at: last.at,
                state: State::Unknown,
            }),
            (None, _) => {}
        }
    }
    if timeline.runs.is_empty() {
        states.extend(timeline.changes.iter().filter_map(since));
    }
    states
}

fn since(change: &StatusChange) -> Option<Since> {
    Some(Since {
        at: change.time?,
        state: State::of(change.connection),
    })
}

/// One letter for each slice of the time.
pub(super) fn row(states: &[Since], from: SystemTime, span: Duration, columns: u32) -> Vec<State> {
    (0..columns)
        .map(|column| {
            let begin = from + span * column / columns;
            let end = from + span * (column + 1) / columns;
            let begun = states.partition_point(|state| state.at <= begin);
            let ended = states.partition_point(|state| state.at < end);
            let before = begun.checked_sub(1).and_then(|index| states.get(index));
            before
                .into_iter()
                .chain(states.get(begun..ended).unwrap_or_default())
                .map(|since| since.state)
                .max()
                .unwrap_or(State::Nothing)
        })
        .collect()
}

/// How long each state was, within the time.
pub(super) fn totals(states: &[Since], from: SystemTime, span: Duration) -> Vec<(State, Duration)> {
    let to = from + span;
    let length = |state: State| -> Duration {
        states
            .iter()
            .enumerate()
            .filter(|(_, since)| since.state == state)
            .map(|(index, since)| {
                let end = states.get(index + 1).map_or(to, |next| next.at);
                let (begin, end) = (since.at.clamp(from, to), end.clamp(from, to));
                end.duration_since(begin).unwrap_or_default()
            })
            .sum()
    };
    State::SHOWN
        .into_iter()
        .map(|state| (state, length(state)))
        .filter(|(_, length)| !length.is_zero())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn states(list: &[(u64, State)]) -> Vec<Since> {
        let since = |(seconds, state): &(u64, State)| Since {
            at: at(*seconds),
            state: *state,
        };
        list.iter().map(since).collect()
    }

    fn drawn(list: &[(u64, State)]) -> String {
        let row = row(&states(list), at(0), Duration::from_secs(100), 10);
        row.into_iter().map(State::letter).collect()
    }

    #[test]
    fn a_state_fills_the_row_up_to_the_next_one() {
        assert_eq!(drawn(&[]), "          ");
        assert_eq!(drawn(&[(20, State::Connected)]), "  ========");
        assert_eq!(drawn(&[(0, State::Connected), (50, State::Down)]), "=====_____");
        assert_eq!(drawn(&[(0, State::Off), (5, State::Connected)]), ".=========");
    }

    #[test]
    fn a_clock_that_ran_ahead_hides_nothing_of_what_came_after() {
        let told = states(&[(10, State::Off), (900, State::Connected), (50, State::Down)]);
        let row = row(&in_order(told), at(0), Duration::from_secs(100), 10);
        let drawn: String = row.into_iter().map(State::letter).collect();
        assert_eq!(drawn, " ...._____");
    }

    #[test]
    fn a_short_trouble_is_not_lost_in_a_long_slice() {
        let moment = [
            (0, State::Connected),
            (33, State::Waiting),
            (34, State::Connected),
        ];
        assert_eq!(drawn(&moment), "===~======");
    }

    #[test]
    fn each_state_is_counted_within_the_time_alone() {
        let list = states(&[(0, State::Connected), (50, State::Down), (80, State::Connected)]);
        let totals = totals(&list, at(10), Duration::from_secs(90));
        assert_eq!(
            totals,
            [
                (State::Connected, Duration::from_secs(60)),
                (State::Down, Duration::from_secs(30))
            ]
        );
    }
}
