//! What the demo prints: who did what, when.

use std::io::{IsTerminal as _, Write as _};

use imd_core::time::BootTime;

use crate::clock;

/// The demo's output: one line for each thing that happened, with the seconds since the start.
pub(crate) struct Timeline {
    start: BootTime,
    colours: bool,
}

impl Timeline {
    pub(crate) fn start() -> Self {
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self {
            start: clock::now().boot,
            colours,
        }
    }

    pub(crate) fn seconds(&self) -> f64 {
        clock::now().boot.since(self.start).as_secs_f64()
    }

    /// A heading: what the lines under it show.
    pub(crate) fn act(&self, title: &str) {
        if self.colours {
            say(&format!("\n\x1b[1m{title}\x1b[0m"));
        } else {
            say(&format!("\n{title}"));
        }
    }

    /// One thing that happened.
    pub(crate) fn line(&self, who: &str, what: &str) {
        self.line_at(self.seconds(), who, what);
    }

    /// One thing that happened at this point.
    pub(crate) fn line_of(&self, point: BootTime, who: &str, what: &str) {
        self.line_at(point.since(self.start).as_secs_f64(), who, what);
    }

    fn line_at(&self, seconds: f64, who: &str, what: &str) {
        if self.colours {
            say(&format!(
                "  \x1b[2m{seconds:7.3} s\x1b[0m  \x1b[36m{who:<14}\x1b[0m {what}"
            ));
        } else {
            say(&format!("  {seconds:7.3} s  {who:<14} {what}"));
        }
    }

    /// Text without a time.
    #[expect(
        clippy::unused_self,
        reason = "all of the demo's output goes through the timeline"
    )]
    pub(crate) fn text(&self, text: &str) {
        say(text);
    }
}

/// A reader that has gone away is no reason to stop: the exit code still tells how the demo went.
fn say(text: &str) {
    let _: std::io::Result<()> = writeln!(std::io::stdout().lock(), "{text}");
}
