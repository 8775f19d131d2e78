//! What a user would pick instead of imd, each a small program that the benches drive by lines: a command on
//! standard input, its figures as one line on standard output.

use std::io::{self, BufRead as _, Write as _};

/// The clock the benches count on, in nanoseconds: the same in every process of the machine.
#[must_use]
pub fn monotonic() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// Says something to the bench.
///
/// # Errors
/// The bench is gone.
pub fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// What the bench asks for next; `None` when it is done.
///
/// # Errors
/// The input cannot be read.
pub fn asked() -> io::Result<Option<String>> {
    io::stdin().lock().lines().next().transpose()
}
