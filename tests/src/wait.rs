//! Bounded waiting.

use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use imd::clock;

/// How long anything may take that should be done at once: generous, since the machine may be busy.
pub const SOON: Duration = Duration::from_secs(20);

/// Asks `probe` again and again until it has an answer.
///
/// # Panics
/// When the deadline has passed: with `what` was awaited, and what `probe` saw last.
pub fn eventually<T, S: Debug>(deadline: Duration, what: &str, probe: impl FnMut() -> Result<T, S>) -> T {
    eventually_or_tell(deadline, what, probe, String::new)
}

/// As [`eventually`], for a wait whose failure needs more words: `tell` is asked for them when the deadline has
/// passed, and not before.
///
/// # Panics
/// As [`eventually`], with what `tell` says.
pub fn eventually_or_tell<T, S: Debug>(
    deadline: Duration,
    what: &str,
    mut probe: impl FnMut() -> Result<T, S>,
    tell: impl FnOnce() -> String,
) -> T {
    let start = clock::now().boot;
    loop {
        match probe() {
            Ok(found) => return found,
            Err(seen) => {
                let waited = clock::now().boot.since(start);
                if waited >= deadline {
                    panic!("waited {waited:?} for {what}; last seen: {seen:?}{}", tell());
                }
            }
        }
        pause();
    }
}

/// Checks again and again, for the whole span, that something does not happen.
///
/// # Panics
/// When `probe` sees it, with what it saw.
pub fn never<S: Debug>(span: Duration, what: &str, mut probe: impl FnMut() -> Option<S>) {
    let start = clock::now().boot;
    while clock::now().boot.since(start) < span {
        if let Some(seen) = probe() {
            panic!(
                "{what} must not happen, but after {:?}: {seen:?}",
                clock::now().boot.since(start)
            );
        }
        pause();
    }
}

/// The one place where a test sleeps: between two looks.
fn pause() {
    thread::sleep(Duration::from_millis(5));
}

/// How long `action` takes.
pub fn timed<T>(action: impl FnOnce() -> T) -> (T, Duration) {
    let start = clock::now().boot;
    let result = action();
    (result, clock::now().boot.since(start))
}

/// `Ok` if it is true, else what was seen: an answer for [`eventually`].
///
/// # Errors
/// `seen`, when `is` is false.
pub fn when<S>(is: bool, seen: S) -> Result<(), S> {
    if is { Ok(()) } else { Err(seen) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_the_wait() {
        let mut left = 3;
        let answer = eventually(SOON, "the third try", || {
            left -= 1;
            when(left == 0, left).map(|()| "done")
        });
        assert_eq!(answer, "done");
    }

    #[test]
    #[should_panic(expected = "for a number over 9; last seen: 7")]
    fn a_missed_deadline_tells_what_was_seen_last() {
        eventually(Duration::from_millis(20), "a number over 9", || Err::<(), _>(7));
    }

    #[test]
    #[should_panic(expected = "a visit must not happen")]
    fn what_must_not_happen_is_seen() {
        never(SOON, "a visit", || Some("visitor"));
    }
}
