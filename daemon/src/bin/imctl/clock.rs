//! Times: read here alone, and written here alone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};

/// The wall clock's time.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + read(ClockId::Realtime)
}

/// The time since the machine was started, which no one sets.
pub(crate) fn since_boot() -> Duration {
    read(ClockId::Boottime)
}

/// For programs: RFC 3339 in UTC, with milliseconds.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| "beyond the calendar".to_owned(), |time| format!("{time:.3}"))
}

/// For people: the time of day where they are.
pub(crate) fn time_of_day(time: SystemTime) -> String {
    local(time, "%H:%M:%S%.3f")
}

/// For people: date and time of day where they are.
pub(crate) fn date_and_time(time: SystemTime) -> String {
    local(time, "%Y-%m-%d %H:%M:%S%.3f")
}

/// For people: the hour and the minute where they are.
pub(crate) fn hour_and_minute(time: SystemTime) -> String {
    local(time, "%H:%M")
}

/// For a file's name: date and time where they are.
pub(crate) fn file_name_part(time: SystemTime) -> String {
    local(time, "%Y%m%d-%H%M%S")
}

fn local(time: SystemTime, format: &str) -> String {
    Timestamp::try_from(time).map_or_else(
        |_| "beyond the calendar".to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime(format).to_string(),
    )
}

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_utc_with_milliseconds() {
        let time = UNIX_EPOCH + Duration::from_millis(1_700_000_000_250);
        assert_eq!(rfc3339(time), "2023-11-14T22:13:20.250Z");
        assert_eq!(rfc3339(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_time_that_no_calendar_has_does_no_harm() {
        let far = UNIX_EPOCH + Duration::from_secs(1 << 60);
        assert_eq!(rfc3339(far), "beyond the calendar");
        assert_eq!(time_of_day(far), "beyond the calendar");
    }
}
