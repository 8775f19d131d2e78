//! When the next attempt may come, and when it must: the reconnect table, hints, leniency and the
//! short-life guard, kept as bounds, because the core draws its jitter from its own seed.

use std::time::Duration;

use imd_core::time::BootTime;

/// The reconnect table, in milliseconds; its last entry holds for ever.
const TABLE: [u64; 10] = [50, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];
/// The tries a refused token gets on a reconnect, in seconds.
const LENIENCY: [u64; 3] = [4, 16, 64];
const SHORT_LIFE: Duration = Duration::from_secs(150);
const GUARD_WAIT: Duration = Duration::from_secs(64);
const STABLE: Duration = Duration::from_secs(20);
const FALLING_ASLEEP: Duration = Duration::from_secs(30);
const LONGEST_HINT: Duration = Duration::from_secs(3_600);
pub(crate) const MAX_HOPS: usize = 5;

/// A stretch of time: what is noticed late may count from when it was due or from when it was noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) from: BootTime,
    pub(crate) to: BootTime,
}

impl Span {
    pub(crate) fn at(now: BootTime) -> Self {
        Self { from: now, to: now }
    }

    fn after(self, least: Duration, most: Duration) -> Self {
        Self {
            from: self.from + least,
            to: self.to + most,
        }
    }
}

/// What a wait is for, and so what may shorten it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The table: a change of the network, a resume and a connect shorten it.
    Table,
    /// A hint of the server: nothing shortens it.
    Hint,
    /// Leniency with a token: nothing but another token shortens it.
    Lenient,
    /// Either of the two.
    TableOrLenient,
    /// Three short lives: only a connect shortens it.
    Guard,
    /// The table or the guard: whether a life was short is not certain.
    TableOrGuard,
}

impl Cause {
    fn is_unclear(self) -> bool {
        matches!(self, Self::TableOrLenient | Self::TableOrGuard)
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) span: Span,
    pub(crate) cause: Cause,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Pace {
    /// How many failures the table has counted since its restart: at least, at most.
    failures: (usize, usize),
    pub(crate) wait: Option<Wait>,
    /// Bare EOFs soon after a login: at least, at most.
    short_lives: (usize, usize),
    /// Redirects followed since the last wait or stable life: at least, at most.
    pub(crate) hops: (usize, usize),
    /// Those that the last failure put an end to: a redirect that comes with it goes on from there.
    pub(crate) hops_ended: (usize, usize),
}

impl Pace {
    /// An attempt failed, or a link.
    pub(crate) fn failed(&mut self, noticed: Span) {
        let (least, most) = bounds(self.failures);
        let (span, cause) = match self.short_lives {
            (3.., _) => (noticed.after(GUARD_WAIT, GUARD_WAIT), Cause::Guard),
            (_, 3..) => (noticed.after(least, most.max(GUARD_WAIT)), Cause::TableOrGuard),
            (_, _) => (noticed.after(least, most), Cause::Table),
        };
        self.wait = Some(Wait { span, cause });
        let guarded = usize::from(cause != Cause::Table);
        self.failures = ((self.failures.0 + 1).saturating_sub(guarded), self.failures.1 + 1);
        self.hops_ended = std::mem::take(&mut self.hops);
    }

    // The following three come after `failed` or `lived`, and replace its wait.

    /// The server said when to come back. The table may, or may not, count this as a failure.
    pub(crate) fn hinted(&mut self, noticed: Span, hint: Duration) {
        let hint = hint.min(LONGEST_HINT);
        let (_, most) = bounds(self.failures);
        self.wait = Some(Wait {
            span: noticed.after(hint, hint.max(most)),
            cause: Cause::Hint,
        });
        self.failures.0 = self.failures.0.saturating_sub(1);
    }

    /// A token that was good before is refused, for this time (at least, at most) since.
    pub(crate) fn lenient(&mut self, noticed: Span, refusals: (usize, usize)) {
        let wait = |refusal: usize| Duration::from_secs(LENIENCY[refusal.min(LENIENCY.len() - 1)]);
        self.wait = Some(Wait {
            span: noticed.after(wait(refusals.0), wait(refusals.1)),
            cause: Cause::Lenient,
        });
        self.failures.0 = self.failures.0.saturating_sub(1);
    }

    /// Either the table or leniency: the design leaves the order of tokens open here.
    pub(crate) fn lenient_or_failed(&mut self, noticed: Span, refusals: (usize, usize)) {
        let table = self.wait;
        self.lenient(noticed, refusals);
        if let (Some(wait), Some(table)) = (self.wait.as_mut(), table) {
            wait.span.from = wait.span.from.min(table.span.from);
            wait.span.to = wait.span.to.max(table.span.to);
            wait.cause = Cause::TableOrLenient;
        }
    }

    /// A link that was up has ended. Its life may count from CONNACK or from the login's end.
    pub(crate) fn lived(
        &mut self,
        noticed: Span,
        accepted: BootTime,
        logged_in: Option<BootTime>,
        bare_eof: bool,
    ) {
        let most = noticed.to.since(accepted);
        let least = logged_in.map_or(Duration::ZERO, |since| noticed.from.since(since));
        if logged_in.is_some() && least >= STABLE {
            self.failures = (0, 0);
            self.hops = (0, 0);
        } else if logged_in.is_some() && most >= STABLE {
            self.failures.0 = 0;
            self.hops.0 = 0;
        }
        let (lo, hi) = self.short_lives;
        self.short_lives = if least >= SHORT_LIFE {
            (0, 0)
        } else if most >= SHORT_LIFE {
            (0, hi + usize::from(bare_eof))
        } else {
            let counts = usize::from(bare_eof && logged_in.is_some());
            (lo + counts, hi + usize::from(bare_eof))
        };
        self.failed(noticed);
    }

    /// A redirect has come: it is no failure of the table, and may need no wait.
    pub(crate) fn redirect_pending(&mut self, at_once: bool) {
        self.failures.0 = self.failures.0.saturating_sub(1);
        if at_once {
            self.wait = None;
        }
    }

    /// A redirect is followed, at once.
    pub(crate) fn hop(&mut self) {
        let (least, most) = self.hops;
        self.hops = (least + 1, most + 1);
        self.wait = None;
    }

    /// The network changed, or the machine woke up.
    pub(crate) fn restart(&mut self, now: BootTime) {
        self.restart_table(now, &[Cause::Table]);
    }

    /// A connect was accepted while this one was wanted already.
    pub(crate) fn joined(&mut self, now: BootTime) {
        self.short_lives = (0, 0);
        self.restart_table(now, &[Cause::Table, Cause::Guard, Cause::TableOrGuard]);
    }

    /// Nothing listened: the server restarts, and nobody fights over the session.
    pub(crate) fn server_was_away(&mut self) {
        self.short_lives = (0, 0);
    }

    fn restart_table(&mut self, now: BootTime, shortened: &[Cause]) {
        match self.wait.as_mut() {
            Some(wait) if shortened.contains(&wait.cause) => {
                let soon = now + Duration::from_millis(TABLE[0]);
                let was_due = now >= wait.span.from;
                wait.span = Span {
                    from: now,
                    to: wait.span.to.min(soon).max(now),
                };
                wait.cause = Cause::Table;
                // What was due is no longer waiting when the table restarts.
                self.failures = (0, if was_due { self.failures.1.max(1) } else { 1 });
            }
            Some(wait) if wait.cause.is_unclear() => {
                wait.span.from = now;
                self.failures.0 = 0;
            }
            Some(_) | None => self.failures.0 = 0,
        }
    }

    /// A token that was not tried yet need not wait for one that is refused.
    pub(crate) fn fresh_token(&mut self, now: BootTime) {
        if let Some(wait) = self.wait.as_mut()
            && [Cause::Lenient, Cause::TableOrLenient].contains(&wait.cause)
        {
            wait.span.from = now;
            wait.cause = Cause::TableOrLenient;
            self.failures.0 = 0;
        }
    }

    /// There is a network again: at once, but no firm wait is cut short.
    pub(crate) fn network_back(&mut self, now: BootTime) {
        self.failures.0 = 0;
        self.wait = self.wait.filter(|wait| wait.cause != Cause::Table);
        if let Some(wait) = self.wait.as_mut()
            && wait.cause.is_unclear()
        {
            wait.span.from = now;
        }
    }

    /// The machine is about to sleep: an attempt by the table is put off.
    pub(crate) fn falls_asleep(&mut self, now: BootTime) {
        match self.wait {
            Some(wait) if wait.cause == Cause::Table => self.asleep(now),
            Some(wait) if wait.cause.is_unclear() => {
                self.failures.0 = 0;
                if let Some(wait) = self.wait.as_mut() {
                    wait.span.to = wait.span.to.max(now + FALLING_ASLEEP);
                    wait.span.from = wait.span.from.min(now + FALLING_ASLEEP);
                }
            }
            Some(_) | None => {}
        }
    }

    /// The link was ended for the night: the next attempt is the first one of the table, when nothing wakes the
    /// loop before.
    pub(crate) fn asleep(&mut self, now: BootTime) {
        self.failures = (0, 0);
        self.wait = Some(Wait {
            span: Span::at(now + FALLING_ASLEEP),
            cause: Cause::Table,
        });
    }

    /// As [`Pace::network_back`], where it is open whether the attempts had paused.
    pub(crate) fn network_may_be_back(&mut self, now: BootTime) {
        self.failures.0 = 0;
        if let Some(wait) = self.wait.as_mut() {
            wait.span.from = now;
        }
    }

    /// The attempt is given up for another place, after the table's first wait.
    pub(crate) fn soon(&mut self, now: BootTime) {
        self.wait = Some(Wait {
            span: Span::at(now + Duration::from_millis(TABLE[0])),
            cause: Cause::Table,
        });
    }

    pub(crate) fn dialed(&mut self) {
        self.wait = None;
    }
}

fn bounds((least, most): (usize, usize)) -> (Duration, Duration) {
    let entry = |at: usize| Duration::from_millis(TABLE[at.min(TABLE.len() - 1)]);
    let jittered = most >= 2;
    (if jittered { Duration::ZERO } else { entry(least) }, entry(most))
}
