//! The one place that reads a clock: the boot clock, which also runs while the machine sleeps, as tokio's
//! timers do not.

use std::io;
use std::ops::Add;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A point on the boot clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BootTime(Duration);

impl BootTime {
    pub(crate) const fn since_boot(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long this is after `earlier`; nothing, if it is before.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }
}

pub(crate) fn now() -> BootTime {
    let time = clock_gettime(ClockId::Boottime);
    BootTime::since_boot(Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    ))
}

/// Waits until the point is reached.
pub(crate) async fn sleep_until(point: BootTime) {
    match Alarm::new() {
        Ok(mut alarm) => {
            alarm.set(Some(point));
            alarm.wait().await;
        }
        // A process that has no descriptor left: late is better than never.
        Err(_) => tokio::time::sleep(point.since(now())).await,
    }
}

/// One alarm on the boot clock.
pub(crate) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// What the timer is set to.
    set: Option<BootTime>,
}

impl Alarm {
    /// An alarm that is not set. To be made inside a runtime.
    pub(crate) fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        Ok(Self {
            timer: readable(timer)?,
            set: None,
        })
    }

    /// Sets it to this point, past or future, or to none. The system is asked only for a change.
    pub(crate) fn set(&mut self, point: Option<BootTime>) {
        if self.set == point {
            return;
        }
        self.set = point;
        // A value of 0 would disarm the timer.
        let value = point.map_or(Duration::ZERO, |point| point.0.max(Duration::from_nanos(1)));
        let setting = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: i64::try_from(value.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: value.subsec_nanos().into(),
            },
        };
        if let Err(error) = timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::ABSTIME, &setting) {
            tracing::error!(%error, "the timer cannot be set");
        }
    }

    /// Waits until the point is reached. After that it is not set.
    pub(crate) async fn wait(&mut self) {
        loop {
            let mut ready = match self.timer.readable().await {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::error!(%error, "the timer cannot be read");
                    return std::future::pending().await;
                }
            };
            let expired = ready.try_io(|timer| {
                let mut count = [0; 8];
                Ok(rustix::io::read(timer.get_ref(), &mut count)?)
            });
            match expired {
                Ok(Ok(_)) => {
                    self.set = None;
                    return;
                }
                Ok(Err(error)) => tracing::error!(%error, "the timer cannot be read"),
                // A setting in between has taken the expiry back.
                Err(_) => {}
            }
        }
    }
}

/// A descriptor the runtime wakes for when it can be read.
#[expect(
    deprecated,
    reason = "what replaces it is unsafe, because not every type keeps its descriptor; OwnedFd does"
)]
pub(crate) fn readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_alarm_set_to_the_past_rings_at_once_and_one_that_is_not_set_never() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(BootTime::since_boot(Duration::ZERO)));
        alarm.wait().await;
        alarm.set(Some(now() + Duration::from_secs(3600)));
        alarm.set(None);
        let rang = tokio::time::timeout(Duration::from_millis(20), alarm.wait()).await;
        assert!(rang.is_err());
    }

    #[tokio::test]
    async fn an_alarm_that_is_set_again_while_it_rings_rings_for_the_last_point() {
        let mut alarm = Alarm::new().unwrap();
        for round in 0..5_000_u64 {
            let microseconds = |factor: u64| Duration::from_micros(round * factor % 50);
            alarm.set(Some(now() + microseconds(7)));
            // It may ring now, or have rung without being heard.
            let _ = tokio::time::timeout(Duration::ZERO, alarm.wait()).await;
            let point = now() + microseconds(11);
            alarm.set(Some(point));
            let rang = tokio::time::timeout(Duration::from_secs(20), alarm.wait()).await;
            assert!(rang.is_ok(), "round {round}");
            assert!(now() >= point, "round {round}");
        }
    }

    #[tokio::test]
    async fn a_sleep_ends_no_earlier_than_its_point() {
        let point = now() + Duration::from_millis(5);
        sleep_until(point).await;
        assert!(now() >= point);
    }
}
