//! How long to wait before the next attempt.

use std::time::Duration;

use crate::random::Random;

/// RongCloud's table, in milliseconds; the last value repeats.
pub(crate) const TABLE: [u64; 10] = [50, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];

/// The first wait: after it a restarted table dials.
pub(crate) const FIRST: Duration = Duration::from_millis(50);

/// The longest wait of the table.
pub(crate) const LONGEST: Duration = Duration::from_secs(64);

/// The further tries of a token that the server took before and now refuses, as a server does whose own
/// user database is down.
pub(crate) const LENIENCY: [Duration; 3] = [
    Duration::from_secs(4),
    Duration::from_secs(16),
    Duration::from_secs(64),
];

/// A life this long restarts the table.
pub(crate) const STABLE: Duration = Duration::from_secs(20);

/// The table and where in it we are. From the third value on the wait is uniform between 0 and the value
/// (full jitter), so that the clients of a restarted server do not come back all at once.
#[derive(Default)]
pub(crate) struct Backoff {
    failures: usize,
}

impl Backoff {
    pub(crate) fn next(&mut self, random: &mut Random) -> Duration {
        let millis = TABLE
            .get(self.failures)
            .or(TABLE.last())
            .copied()
            .unwrap_or_default();
        let value = Duration::from_millis(millis);
        let wait = if self.failures < 2 {
            value
        } else {
            random.up_to(value)
        };
        self.failures = self.failures.saturating_add(1);
        wait
    }

    pub(crate) fn restart(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_two_waits_are_exact_and_the_others_within_their_value() {
        for seed in 0..500 {
            let mut random = Random::new(seed);
            let mut backoff = Backoff::default();
            assert_eq!(backoff.next(&mut random), Duration::from_millis(50));
            assert_eq!(backoff.next(&mut random), Duration::from_millis(250));
            for most in TABLE.iter().skip(2).chain([&64_000, &64_000]) {
                assert!(backoff.next(&mut random) <= Duration::from_millis(*most));
            }
            backoff.restart();
            assert_eq!(backoff.next(&mut random), FIRST);
        }
    }

    #[test]
    fn the_jitter_spreads_evenly() {
        let mut random = Random::new(7);
        let below = (0..10_000)
            .filter(|_| random.up_to(LONGEST) < LONGEST / 2)
            .count();
        assert!((4_700..5_300).contains(&below), "{below}");
    }
}
