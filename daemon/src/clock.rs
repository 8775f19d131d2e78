//! The one place that reads a clock.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use imd_core::time::{BootTime, Now, UnixTime};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

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

/// The processor time this process has used.
#[must_use]
pub fn processor_time() -> Duration {
    read(ClockId::ProcessCPUTime)
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

/// One alarm on the boot clock, which also runs while the machine sleeps, as tokio's timers do not.
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// What the timer is set to.
    set: Option<BootTime>,
}

impl Alarm {
    /// An alarm that is not set. To be made inside a runtime.
    ///
    /// # Errors
    /// The system gives no timer.
    pub fn new() -> io::Result<Self> {
        let timer = timerfd_create(
            TimerfdClockId::Boottime,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, because not every type keeps its descriptor; OwnedFd does"
        )]
        let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
        Ok(Self { timer, set: None })
    }

    /// Sets it to this point, past or future, or to none. The system is asked only for a change.
    pub fn set(&mut self, point: Option<BootTime>) {
        if self.set == point {
            return;
        }
        self.set = point;
        // A value of 0 would disarm the timer.
        let value = point.map_or(Duration::ZERO, |point| {
            point.as_duration().max(Duration::from_nanos(1))
        });
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let setting = Itimerspec {
            it_interval: zero,
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
    pub async fn wait(&mut self) {
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

/// Notices that the machine has slept: the boot clock runs on, the monotonic clock does not. The wall clock has no
/// say in it.
pub struct SleepWatch {
    ahead: Duration,
    read: fn() -> Duration,
}

impl SleepWatch {
    /// A shorter sleep is none.
    const NOTICED: Duration = Duration::from_secs(1);

    /// Begins to watch.
    #[must_use]
    pub fn new() -> Self {
        Self::of(ahead)
    }

    /// Watches what `read` says of the time slept since the boot.
    pub(crate) fn of(read: fn() -> Duration) -> Self {
        Self { ahead: read(), read }
    }

    /// Whether the machine has slept since the last look.
    pub fn has_slept(&mut self) -> bool {
        let ahead = (self.read)();
        let before = std::mem::replace(&mut self.ahead, ahead);
        ahead.saturating_sub(before) > Self::NOTICED
    }
}

impl Default for SleepWatch {
    fn default() -> Self {
        Self::new()
    }
}

/// How far the boot clock is ahead of the monotonic clock: the time slept since the boot.
fn ahead() -> Duration {
    let monotonic = read(ClockId::Monotonic);
    read(ClockId::Boottime).saturating_sub(monotonic)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn an_alarm_in_the_past_goes_off_at_once_and_once() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(BootTime::since_boot(Duration::ZERO)));
        alarm.wait().await;
        let again = tokio::time::timeout(Duration::from_millis(20), alarm.wait()).await;
        assert!(again.is_err());
    }

    #[tokio::test]
    async fn an_alarm_goes_off_at_its_point_and_not_before() {
        let mut alarm = Alarm::new().unwrap();
        let point = now().boot + Duration::from_millis(30);
        alarm.set(Some(point));
        alarm.wait().await;
        assert!(now().boot >= point);
    }

    #[tokio::test]
    async fn an_alarm_that_is_taken_back_does_not_go_off() {
        let mut alarm = Alarm::new().unwrap();
        alarm.set(Some(now().boot + Duration::from_millis(5)));
        alarm.set(None);
        let waited = tokio::time::timeout(Duration::from_millis(50), alarm.wait()).await;
        assert!(waited.is_err());
    }

    #[test]
    fn a_sleep_is_noticed_once() {
        thread_local! {
            static SLEPT: Cell<u64> = const { Cell::new(10_000) };
        }
        let mut watch = SleepWatch::of(|| Duration::from_millis(SLEPT.get()));
        let mut look = |slept| {
            SLEPT.set(slept);
            watch.has_slept()
        };
        assert!(!look(10_900));
        assert!(look(12_000));
        assert!(!look(12_000));
        // No clock of a machine does this.
        assert!(!look(0));
        assert!(look(3_600_000));
    }
}
