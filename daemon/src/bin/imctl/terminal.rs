//! The terminal on standard output.

use std::io::{self, IsTerminal as _};

use rustix::termios::tcgetwinsize;

/// Columns and rows; `None` where standard output is no terminal.
pub(crate) fn size() -> Option<(u16, u16)> {
    let stdout = io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = tcgetwinsize(&stdout).ok();
    // A terminal that does not say it counts as the smallest usual one.
    size.map(|size| (size.ws_col, size.ws_row))
        .filter(|(columns, rows)| *columns > 0 && *rows > 0)
        .or(Some((80, 24)))
}

/// Columns; `None` where standard output is no terminal.
pub(crate) fn columns() -> Option<u32> {
    size().map(|(columns, _)| columns.into())
}
