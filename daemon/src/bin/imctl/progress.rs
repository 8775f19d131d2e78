//! A line on the terminal while something is waited for. Where standard error is no terminal: nothing.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use imd_client::{Client, Status};
use tokio::time::MissedTickBehavior;

use crate::clock;

const TICK: Duration = Duration::from_secs(1);

/// Waits for `answer`, and shows the status meanwhile.
pub(crate) async fn during<T>(client: &Client, answer: impl Future<Output = T>) -> T {
    if !io::stderr().is_terminal() {
        return answer.await;
    }
    let begun = clock::since_boot();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut answer = std::pin::pin!(answer);
    let answer = loop {
        tokio::select! {
            biased;
            answer = &mut answer => break answer,
            _ = ticks.tick() => {
                let waited = clock::since_boot().saturating_sub(begun).as_secs();
                show(&line(&client.connection_status(), waited));
            }
        }
    };
    show("");
    answer
}

fn line(status: &Status, waited: u64) -> String {
    let mut line = format!("waiting {waited} s: {}", status.name);
    if status.attempt > 0 {
        line.push_str(&format!(", attempt {}", status.attempt));
    }
    line
}

fn show(line: &str) {
    // Without a terminal there is no one to show it to.
    let _ = write!(io::stderr(), "\r\u{1b}[2K{line}");
    let _ = io::stderr().flush();
}
