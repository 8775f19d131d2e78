//! What of `systemd/imd.service` the manager goes by.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use super::span;
use crate::sources::root;

/// The signals after which systemd calls an end clean: SIGHUP, SIGINT, SIGPIPE, SIGTERM.
const CLEAN_SIGNALS: [i32; 4] = [1, 2, 13, 15];

/// The settings of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    pub restart_after: Duration,
    pub watchdog: Duration,
    pub stop_within: Duration,
    /// Exit codes that count as success.
    pub success: Vec<i32>,
    /// Exit codes after which it is not restarted.
    pub no_restart: Vec<i32>,
}

/// What follows an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sequel {
    Restart,
    /// The next connect starts it.
    Listen,
}

impl Unit {
    /// As the file says.
    ///
    /// # Panics
    /// When it lacks a setting, or has another policy than the manager knows.
    #[must_use]
    pub fn shipped() -> Self {
        let path = root().join("systemd/imd.service");
        let text = fs::read_to_string(path).expect("the unit can be read");
        let value = |name: &str| {
            let found = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            found.unwrap_or_else(|| panic!("imd.service has no {name}="))
        };
        let codes = |name: &str| {
            let words = value(name).split_whitespace();
            words
                .map(|word| word.parse().expect("a code is a number"))
                .collect()
        };
        assert_eq!(value("Type"), "notify");
        assert_eq!(value("Restart"), "on-failure");
        assert_eq!(value("StartLimitIntervalSec"), "0");
        Self {
            restart_after: span(value("RestartSec")),
            watchdog: span(value("WatchdogSec")),
            stop_within: span(value("TimeoutStopSec")),
            success: codes("SuccessExitStatus"),
            no_restart: codes("RestartPreventExitStatus"),
        }
    }

    /// With another watchdog period.
    #[must_use]
    pub fn watchdog(mut self, period: Duration) -> Self {
        self.watchdog = period;
        self
    }

    /// `Restart=on-failure`, when nobody asked for the end.
    pub(super) fn after(&self, status: ExitStatus) -> Sequel {
        let clean = match status.code() {
            Some(code) => code == 0 || self.success.contains(&code) || self.no_restart.contains(&code),
            None => status
                .signal()
                .is_some_and(|signal| CLEAN_SIGNALS.contains(&signal)),
        };
        if clean { Sequel::Listen } else { Sequel::Restart }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn the_shipped_unit_is_read() {
        let unit = Unit::shipped();
        assert_eq!(unit.restart_after, Duration::from_millis(100));
        assert_eq!(unit.watchdog, Duration::from_secs(60));
        assert_eq!(unit.no_restart, [78]);
    }

    #[test]
    fn a_failure_is_restarted_a_clean_end_and_an_error_in_the_config_file_are_not() {
        let unit = Unit::shipped();
        for failure in [
            exited(1),
            exited(101),
            ExitStatus::from_raw(9),
            ExitStatus::from_raw(6),
        ] {
            assert_eq!(unit.after(failure), Sequel::Restart, "{failure}");
        }
        for end in [exited(0), exited(78), exited(143), ExitStatus::from_raw(15)] {
            assert_eq!(unit.after(end), Sequel::Listen, "{end}");
        }
    }
}
