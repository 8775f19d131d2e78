//! The one place that reads a clock.

use std::time::Duration;

use imd_core::time::{BootTime, Now, UnixTime};
use rustix::time::{ClockId, clock_gettime};

/// Both clocks, read together.
#[must_use]
pub fn now() -> Now {
    Now {
        boot: BootTime::since_boot(read(ClockId::Boottime)),
        unix: unix(),
    }
}

/// The wall clock's time of a point on the boot clock, as far as the wall clock is right.
#[must_use]
pub fn unix_of(point: BootTime) -> UnixTime {
    let Now { boot, unix } = now();
    let ahead = millis(point.since(boot));
    let behind = millis(boot.since(point));
    UnixTime::from_millis(unix.as_millis().saturating_add(ahead).saturating_sub(behind))
}

fn unix() -> UnixTime {
    UnixTime::from_millis(millis(read(ClockId::Realtime)))
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
