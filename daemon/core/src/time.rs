//! Two clocks, kept apart by their types: one to count with, one to show.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// A point on the boot clock (`CLOCK_BOOTTIME`), which also runs while the machine sleeps. All deadlines
/// are counted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootTime(Duration);

impl BootTime {
    /// The point this long after the boot.
    #[must_use]
    pub const fn since_boot(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the boot this is.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        self.0
    }

    /// How long this is after `earlier`; nothing, if it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }
}

/// A point on the wall clock, in milliseconds since 1970. It may jump: it is compared with a token's `exp`
/// and shown to people, and nothing is counted on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The point this many milliseconds after 1970.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }
}

/// Both clocks, read together: every input brings them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub boot: BootTime,
    pub unix: UnixTime,
}

/// A length of time for people: `0.05 s`, `4 s`, `2 min`.
#[derive(Clone, Copy, Debug)]
pub struct Words(pub Duration);

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        if seconds < 0.995 {
            write!(f, "{seconds:.2} s")
        } else if seconds < 10.0 {
            let text = format!("{seconds:.1}");
            write!(f, "{} s", text.strip_suffix(".0").unwrap_or(&text))
        } else if seconds < 120.0 {
            write!(f, "{seconds:.0} s")
        } else {
            write!(f, "{:.0} min", seconds / 60.0)
        }
    }
}
