//! `timeline`: what the connection has been through, over the runs of the daemon.

mod strip;

use std::time::{Duration, SystemTime};

use imd_client::Client;
use imd_client::admin::{StatusChange, Timeline};

use self::strip::State;
use crate::output::{Failure, Output, plain};
use crate::shapes::{Change, or_dash};
use crate::status::mood;
use crate::{clock, terminal};

/// A wider row would be read no better.
const WIDEST: u32 = 144;

/// Lists every change, and draws the last hours where there is a terminal to draw on.
pub(crate) async fn show(client: &Client, hours: u32, output: &mut Output) -> Result<(), Failure> {
    let span = Duration::from_secs(u64::from(hours) * 3600);
    let now = clock::now();
    let from = now - span;
    let timeline = client.timeline(from).await?;
    if output.is_json() {
        for change in &timeline.changes {
            output.print(&Change::from(change), |_| String::new())?;
        }
        return Ok(());
    }
    let list = list(&timeline, output);
    output.raw(list.as_bytes())?;
    // Below the list, where it is not scrolled away.
    if let Some(columns) = terminal::columns() {
        let text = picture(&timeline, from, span, columns.clamp(24, WIDEST), output);
        output.raw(text.as_bytes())?;
    }
    Ok(())
}

/// The row, its hours, what its letters mean, and how long each was.
fn picture(timeline: &Timeline, from: SystemTime, span: Duration, columns: u32, output: &Output) -> String {
    let states = strip::states(timeline);
    let mut text = "\n".to_owned();
    for state in strip::row(&states, from, span, columns) {
        text.push_str(&output.paint(state.mood(), &state.letter().to_string()));
    }
    text.push('\n');
    text.push_str(&hours(from, span, columns));
    text.push('\n');
    for (state, length) in strip::totals(&states, from, span) {
        let letter = output.paint(state.mood(), &state.letter().to_string());
        text.push_str(&format!("{letter} {:<26}{}\n", state.word(), words(length)));
    }
    text
}

/// The times of day under a row, as many as have room.
fn hours(from: SystemTime, span: Duration, columns: u32) -> String {
    const STEP: u32 = 12;
    let mut line = String::new();
    for column in (0..columns.saturating_sub(5)).step_by(STEP as usize) {
        let label = clock::hour_and_minute(from + span * column / columns);
        line.push_str(&format!("{:<width$}", format!("|{label}"), width = STEP as usize));
    }
    line.trim_end().to_owned()
}

fn words(length: Duration) -> String {
    let seconds = length.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    if hours > 0 {
        format!("{hours} h {minutes:02} min")
    } else if minutes > 0 {
        format!("{minutes} min {:02} s", seconds % 60)
    } else {
        format!("{:.1} s", length.as_secs_f64())
    }
}

/// Every change with its reason, and the starts and ends of the daemon between them.
fn list(timeline: &Timeline, output: &Output) -> String {
    let mut text = String::new();
    let mut known: Vec<&StatusChange> = timeline.changes.iter().collect();
    for (index, run) in timeline.runs.iter().enumerate() {
        let (of_run, others): (Vec<_>, Vec<_>) =
            known.into_iter().partition(|change| change.run_id == run.run_id);
        known = others;
        if let Some(started) = run.started {
            let time = clock::date_and_time(started);
            text.push_str(&format!("{time}  imd {} starts, pid {}\n", run.version, run.pid));
        }
        of_run
            .iter()
            .for_each(|change| text.push_str(&line(change, output)));
        let is_last = index + 1 == timeline.runs.len();
        if let Some(ended) = run.ended {
            text.push_str(&format!("{}  imd ends\n", clock::date_and_time(ended)));
        } else if !is_last {
            let mood = State::Unknown.mood();
            let words = output.paint(mood, "imd ended without a word: killed, or the power went");
            text.push_str(&format!("{:23}  {words}\n", "some time after"));
        }
    }
    known
        .iter()
        .for_each(|change| text.push_str(&line(change, output)));
    text
}

fn line(change: &StatusChange, output: &Output) -> String {
    let time = or_dash(change.time, clock::date_and_time);
    let name = format!("{} ({})", change.name, change.connection.number());
    let name = output.paint(mood(change.connection), &name);
    let code = change
        .last_code
        .map(|code| format!("  {code}"))
        .unwrap_or_default();
    let line = format!("{time}  {name}{code}  {}", plain(&change.reason));
    format!("{}\n", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hours_stand_under_their_columns() {
        let line = hours(SystemTime::UNIX_EPOCH, Duration::from_secs(86_400), 48);
        let starts: Vec<_> = line.match_indices('|').map(|(at, _)| at).collect();
        assert_eq!(starts, [0, 12, 24, 36]);
        assert!(line.chars().count() <= 48, "{line}");
    }

    #[test]
    fn a_length_is_told_in_words() {
        for (seconds, told) in [(0.25, "0.2 s"), (61.0, "1 min 01 s"), (7380.0, "2 h 03 min")] {
            assert_eq!(words(Duration::from_secs_f64(seconds)), told);
        }
    }
}
