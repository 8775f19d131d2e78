//! `watch --screen`: one screen, kept up to date: the status, the next attempt, the apps, the outbox, the last
//! events.
//!
//! It is drawn when something on it has changed, and once a second while a countdown runs. The terminal does the
//! clipping: lines do not wrap while the screen is up, so nothing has to know how wide a letter is.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::pending;
use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use imd_client::admin::App;
use imd_client::{Client, Code, Event, EventKind, Start, Status};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_stream::StreamExt as _;

use crate::doctor::Instance;
use crate::output::{Failure, Mood, Output, plain};
use crate::status::mood;
use crate::{apps, clock, terminal, watch};

/// How many events are kept: more than any screen has lines.
const EVENTS: usize = 200;

/// Apps come and go without an event: they are asked for so often.
const ASK: Duration = Duration::from_secs(2);

const SECOND: Duration = Duration::from_secs(1);

/// The terminal's other screen, without cursor and without wrapping; and back.
const ENTER: &str = "\u{1b}[?1049h\u{1b}[?25l\u{1b}[?7l";
const LEAVE: &str = "\u{1b}[?7h\u{1b}[?25h\u{1b}[?1049l";

type Asked = Pin<Box<dyn Future<Output = Told>>>;

/// What the daemon was asked for.
#[derive(Default)]
struct Told {
    apps: Vec<App>,
    /// Messages that wait, and their bytes.
    outbox: Option<(u64, u64)>,
    /// It is there, and has not answered.
    hangs: bool,
}

/// Shows the screen until Ctrl-C, SIGTERM or the terminal's end. A daemon that goes away is waited for.
pub(crate) async fn show(client: &Client, instance: &Instance, output: &Output) -> Result<(), Failure> {
    if terminal::size().is_none() || output.is_json() {
        let text = "--screen needs a terminal to draw on; without it, watch prints lines";
        return Err(Failure::own(Code::BIZ_ERROR_INVALID_PARAMETER, text));
    }
    let mut signals = Signals::watch()?;
    let mut changes = client.connection_status_changes();
    let mut events = Some(client.subscribe(Start::Tail));
    let mut asks = tokio::time::interval(ASK);
    asks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut asked: Option<Asked> = None;
    let mut view = View {
        imctl: instance.imctl(),
        ..View::default()
    };
    let mut screen = Screen::enter()?;
    loop {
        screen.draw(&view, output)?;
        let is_asked = asked.is_some();
        let answer = async {
            match &mut asked {
                Some(asked) => asked.await,
                None => pending().await,
            }
        };
        let event = async {
            match &mut events {
                Some(events) => events.next().await,
                None => pending().await,
            }
        };
        let countdown = async {
            match view.seconds_left() {
                Some(_) => tokio::time::sleep(SECOND).await,
                None => pending().await,
            }
        };
        tokio::select! {
            wanted = signals.next() => match wanted {
                Wanted::End => return Ok(()),
                Wanted::Redraw => screen.forget(),
            },
            change = changes.next() => match change {
                Some(change) => view.status(change),
                None => return Ok(()),
            },
            event = event => match event {
                Some(Ok(event)) => view.event(&event, output),
                // What the daemon refuses once it refuses again.
                Some(Err(_)) | None => events = None,
            },
            _ = asks.tick(), if !is_asked => {
                let client = client.clone();
                asked = Some(Box::pin(async move { ask(&client).await }));
            }
            told = answer => {
                asked = None;
                view.told = told;
            }
            () = countdown => {}
        }
    }
}

/// The other apps, and what waits to be sent. Without a daemon nobody and nothing is known.
async fn ask(client: &Client) -> Told {
    let mut apps = match client.apps().await {
        Ok(apps) => apps,
        Err(error) => {
            return Told {
                hangs: error.code() == Code::IMD_DEADLINE_EXCEEDED,
                ..Told::default()
            };
        }
    };
    apps.retain(|app| app.instance_id != client.instance_id());
    let outbox = client.list_outbox(1, None).await.ok();
    Told {
        apps,
        outbox: outbox.map(|outbox| (outbox.waiting_messages, outbox.waiting_bytes)),
        hangs: false,
    }
}

/// What is on the screen.
#[derive(Default)]
struct View {
    /// This program, as a command.
    imctl: String,
    status: Option<Arc<Status>>,
    /// On the boot clock: when the next attempt is due.
    due: Option<Duration>,
    told: Told,
    /// Newest last.
    events: VecDeque<String>,
}

impl View {
    fn status(&mut self, status: Arc<Status>) {
        self.due = status.next_retry.map(|next| clock::since_boot() + next.after);
        self.status = Some(status);
    }

    fn event(&mut self, event: &Event, output: &Output) {
        if event.kind == (EventKind::Started { recovered: true }) {
            return;
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(watch::line(event, output));
    }

    /// Up to the next attempt; `None` when none is due.
    fn seconds_left(&self) -> Option<u64> {
        let left = self.due?.checked_sub(clock::since_boot())?;
        // 0.4 s are shown as 1: the attempt has not begun.
        Some(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
    }

    /// The lines from the top, no more than `rows`: the events get what is left.
    fn lines(&self, rows: usize, output: &Output) -> Vec<String> {
        let mut lines = self.head(output);
        lines.push(String::new());
        lines.extend(apps::table(&self.told.apps).lines().map(str::to_owned));
        let outbox = self.told.outbox.map_or_else(
            || "OUTBOX  -".to_owned(),
            |(messages, bytes)| format!("OUTBOX  {messages} wait, {} KiB", bytes.div_ceil(1024)),
        );
        lines.extend([String::new(), outbox, String::new(), "LAST EVENTS".to_owned()]);
        lines.truncate(rows);
        let room = rows.saturating_sub(lines.len());
        let skip = self.events.len().saturating_sub(room);
        lines.extend(self.events.iter().skip(skip).cloned());
        lines
    }

    fn head(&self, output: &Output) -> Vec<String> {
        let Some(status) = &self.status else {
            return vec!["…".to_owned()];
        };
        let mut first = output.paint(
            mood(status.connection),
            &format!("{} ({})", status.name, status.number()),
        );
        if !status.user_id.is_empty() {
            let _ = write!(
                first,
                "  {} of {}",
                plain(&status.user_id),
                plain(&status.app_key)
            );
        }
        if !status.server.is_empty() {
            let _ = write!(first, "  {}", plain(&status.server));
        }
        let mut lines = Vec::new();
        if self.told.hangs && !status.is_daemon_lost() {
            // What follows is what it said last.
            let words = format!(
                "THE DAEMON DOES NOT ANSWER: it hangs, or is stopped; {} doctor says more. Last it said:",
                self.imctl
            );
            lines.push(output.paint(Mood::Bad, &words));
        }
        lines.extend([first, plain(&status.reason)]);
        if let Some(seconds) = self.seconds_left() {
            let words = format!("attempt {} in {seconds} s", status.attempt.saturating_add(1));
            lines.push(output.paint(Mood::Waiting, &words));
        } else if status.attempt > 0 {
            lines.push(format!("attempt {}", status.attempt));
        }
        if let Some(code) = status.last_code {
            lines.push(format!("last code {code}"));
        }
        lines
    }
}

/// The terminal while it is ours. It is given back when this is dropped, a panic included.
struct Screen {
    drawn: Option<String>,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        put(ENTER)?;
        Ok(Self { drawn: None })
    }

    /// The next drawing is done even if nothing has changed.
    fn forget(&mut self) {
        self.drawn = None;
    }

    fn draw(&mut self, view: &View, output: &Output) -> Result<(), Failure> {
        let (_, rows) = terminal::size().unwrap_or((80, 24));
        let frame = frame(&view.lines(rows.into(), output));
        if self.drawn.as_ref() != Some(&frame) {
            put(&frame)?;
            self.drawn = Some(frame);
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _: io::Result<()> = put(LEAVE);
    }
}

/// From the top left corner; what was there before is wiped line by line, so nothing flickers.
fn frame(lines: &[String]) -> String {
    let mut frame = "\u{1b}[H".to_owned();
    for (index, line) in lines.iter().enumerate() {
        if index > 0 {
            frame.push_str("\r\n");
        }
        frame.push_str(line);
        frame.push_str("\u{1b}[K");
    }
    frame.push_str("\u{1b}[J");
    frame
}

fn put(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

enum Wanted {
    End,
    Redraw,
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    resized: Signal,
}

impl Signals {
    fn watch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            resized: signal(SignalKind::window_change())?,
        })
    }

    async fn next(&mut self) -> Wanted {
        tokio::select! {
            _ = self.interrupt.recv() => Wanted::End,
            _ = self.terminate.recv() => Wanted::End,
            _ = self.hangup.recv() => Wanted::End,
            _ = self.resized.recv() => Wanted::Redraw,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_events_get_the_lines_that_are_left() {
        let mut view = View::default();
        view.events
            .extend((0..50).map(|number| format!("event {number}")));
        let lines = view.lines(12, &Output::new(false));
        assert_eq!(lines.len(), 12);
        assert_eq!(lines.last().unwrap(), "event 49");
        assert!(lines.contains(&"LAST EVENTS".to_owned()));
        assert_eq!(view.lines(3, &Output::new(false)).len(), 3);
    }

    #[test]
    fn a_frame_wipes_what_was_there_before_without_clearing_the_screen() {
        let drawn = frame(&["a".to_owned(), "b".to_owned()]);
        assert_eq!(drawn, "\u{1b}[Ha\u{1b}[K\r\nb\u{1b}[K\u{1b}[J");
    }
}
