//! Data on standard output, words on standard error, and the exit status.

use std::env;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use clap::builder::styling::{AnsiColor, Style};
use imd_client::{Code, Error};
use serde::Serialize;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Where the data goes.
pub(crate) struct Output {
    out: Box<dyn Write>,
    json: bool,
    colour: bool,
}

/// What a word is coloured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Good,
    Waiting,
    Bad,
    Plain,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let stdout = io::stdout();
        let wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
            && env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self {
            colour: wanted && stdout.is_terminal(),
            out: Box::new(stdout),
            json,
        }
    }

    /// Prints a thing: an object for programs, or what `words` makes of it for people.
    pub(crate) fn print<T: Serialize>(
        &mut self,
        object: &T,
        words: impl FnOnce(&Self) -> String,
    ) -> Result<(), Failure> {
        let line = if self.json {
            serde_json::to_string(object).map_err(io::Error::from)?
        } else {
            words(self)
        };
        self.raw(format!("{line}\n").as_bytes())
    }

    /// Prints bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        written.map_err(|error| match Failure::from(error) {
            Failure::Io(error) => Failure::Io(format!("standard output cannot be written: {error}")),
            other @ (Failure::Error(_) | Failure::Own { .. } | Failure::Told(_) | Failure::Closed) => other,
        })
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A word in its colour, where colours are wanted.
    pub(crate) fn paint(&self, mood: Mood, word: &str) -> String {
        let style: Style = match mood {
            Mood::Good => AnsiColor::Green.on_default(),
            Mood::Waiting => AnsiColor::Yellow.on_default(),
            Mood::Bad => AnsiColor::Red.on_default(),
            Mood::Plain => return word.to_owned(),
        };
        if self.colour {
            format!("{style}{word}{style:#}")
        } else {
            word.to_owned()
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The library's error.
    Error(Error),
    /// imctl's own.
    Own { code: Code, text: String },
    /// The system would not: no code of imd's is about that.
    Io(String),
    /// All has been said on standard output.
    Told(Exit),
    /// Nobody reads standard output any longer, so there is nothing left to do.
    Closed,
}

/// The exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Failed = 1,
    NoDaemon = 3,
    Timeout = 4,
}

impl Exit {
    /// The exit status for a code.
    pub(crate) fn of(code: Code) -> Self {
        match code {
            Code::IPC_DISCONNECT | Code::IMD_STOPPING => Self::NoDaemon,
            Code::RC_CONNECT_TIMEOUT | Code::IMD_DEADLINE_EXCEEDED => Self::Timeout,
            _ => Self::Failed,
        }
    }
}

impl Failure {
    pub(crate) fn own(code: Code, text: impl Into<String>) -> Self {
        Self::Own {
            code,
            text: text.into(),
        }
    }

    /// Says it on standard error.
    pub(crate) fn tell(&self) -> ExitCode {
        let (code, text, action) = match self {
            Self::Error(error) => (error.code(), error.text(), advice(error)),
            Self::Own { code, text } => (*code, text.as_str(), ""),
            Self::Io(text) => {
                say(&format!("imctl: {text}"));
                return ExitCode::from(Exit::Failed as u8);
            }
            Self::Told(exit) => return ExitCode::from(*exit as u8),
            Self::Closed => return ExitCode::SUCCESS,
        };
        say(&format!("{code}: {text}"));
        if !action.is_empty() {
            say(action);
        }
        ExitCode::from(Exit::of(code) as u8)
    }
}

/// What the person should do: not what the table says to an app that lives on after the loss.
fn advice(error: &Error) -> &str {
    let lost = error.code() == Code::IPC_DISCONNECT && error.action() == error.code().action();
    if lost { "" } else { error.action() }
}

/// Waits until nobody reads standard output any longer, as a program that writes seldom would not notice.
/// A file or a device always has a reader.
pub(crate) async fn unread() {
    let watched = io::stdout().as_fd().try_clone_to_owned().and_then(|stdout| {
        #[expect(
            deprecated,
            reason = "what replaces it is unsafe, because not every type keeps its descriptor; OwnedFd does"
        )]
        AsyncFd::with_interest(stdout, Interest::ERROR)
    });
    match watched {
        Ok(stdout) if stdout.ready(Interest::ERROR).await.is_ok() => {}
        Ok(_) | Err(_) => std::future::pending().await,
    }
}

/// A text of others, on one line: what would steer the terminal, or turn the line's direction, is shown as it
/// is written in Rust.
pub(crate) fn plain(text: &str) -> String {
    let steers = |letter: char| {
        letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if steers(letter) {
            plain.extend(letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    plain
}

/// Words for people, on standard error.
pub(crate) fn say(words: &str) {
    // With standard error closed there is no one to tell.
    let _ = writeln!(io::stderr(), "{words}");
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::Io(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(colour: bool) -> Output {
        Output {
            out: Box::new(io::sink()),
            json: false,
            colour,
        }
    }

    #[test]
    fn colours_are_used_only_where_they_are_wanted() {
        assert_eq!(output(false).paint(Mood::Good, "CONNECTED"), "CONNECTED");
        assert!(output(true).paint(Mood::Good, "CONNECTED").starts_with('\u{1b}'));
    }

    #[test]
    fn a_text_of_others_does_not_steer_the_terminal() {
        assert_eq!(
            plain("开会 \"at\" 9\n\u{1b}[2J\u{202e}x"),
            "开会 \"at\" 9\\n\\u{1b}[2J\\u{202e}x"
        );
    }

    #[test]
    fn a_code_has_its_exit_status() {
        for (code, exit) in [
            (Code::IPC_DISCONNECT, Exit::NoDaemon),
            (Code::RC_CONNECT_TIMEOUT, Exit::Timeout),
            (Code::IMD_DEADLINE_EXCEEDED, Exit::Timeout),
            (Code::RC_CONNECTION_EXIST, Exit::Failed),
            (Code(47_011), Exit::Failed),
        ] {
            assert_eq!(Exit::of(code), exit, "{code}");
        }
    }

    #[test]
    fn a_closed_pipe_is_no_fault() {
        let failure = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(matches!(failure, Failure::Closed));
    }
}
