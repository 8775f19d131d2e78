//! `imd broker`: the small broker in a process of its own, for the tests of people who write apps.
//!
//! It keeps nothing on disk. Its first line says where it is and which tokens it takes; with `--control` it
//! then takes [`Command`]s, one JSON object a line, and answers each with one when it has been done.

use std::io::{self, Write as _};
use std::time::Duration;

use imd_core::account::{AppKey, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use uuid::Uuid;

use super::broker::{self, Accounts, Broker, BrokerConfig, Cut, End, Event, Reply, Sessions, Who};
use super::story::Failed;
use crate::clock;
use crate::lifecycle::Signals;

/// DISCONNECT "session taken over": what another login of the same class makes a broker say.
const TAKEN_OVER: u8 = 0x8E;

/// The longest command.
const LONGEST_LINE: u64 = 16 * 1024;

/// How long a connection may take to end once it was told to.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the one at the other end of standard input may ask.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
enum Command {
    /// A token of this user that ends in so many seconds; with a negative number one that has ended.
    Token { user: String, seconds: i64 },
    /// Ends the broker in order. The sessions stay.
    Stop,
    /// Ends it as SIGKILL does. The sessions stay.
    Kill,
    /// Starts it again on the same port, after a stop in order if it runs.
    Start,
    /// Ends this user's connections as a login elsewhere does.
    Kick { user: String },
    /// Breaks off this user's connections without a word.
    Cut { user: String },
}

/// Runs a broker on 127.0.0.1 until SIGTERM or Ctrl-C; with `control` until the end of standard input.
///
/// # Errors
/// The port cannot be had.
pub async fn serve(port: u16, app_key: &AppKey, control: bool) -> Result<(), Failed> {
    let mut signals =
        Signals::watch().map_err(|error| Failed::new(format!("no watch for signals: {error}")))?;
    let served = Served::start(port, app_key)
        .map_err(|error| Failed::new(format!("the broker cannot listen on 127.0.0.1:{port}: {error}")))?;
    say(&served.hello()).map_err(|error| Failed::new(format!("standard output: {error}")))?;
    if !control {
        signals.next().await;
        served.broker.stop().await;
        return Ok(());
    }
    tokio::select! {
        _ = signals.next() => {}
        ended = served.obey(BufReader::new(tokio::io::stdin())) => {
            ended.map_err(|error| Failed::new(format!("the commands: {error}")))?;
        }
    }
    Ok(())
}

/// The broker, and what its tokens are signed with.
struct Served {
    broker: Broker,
    app_key: AppKey,
    secret: String,
}

impl Served {
    fn start(port: u16, app_key: &AppKey) -> io::Result<Self> {
        let secret = Uuid::new_v4().to_string();
        let accounts = Accounts::new();
        accounts.add_app(app_key, secret.as_bytes());
        let config = BrokerConfig {
            port,
            ..BrokerConfig::with_accounts(accounts)
        };
        Ok(Self {
            broker: Broker::start(config)?,
            app_key: app_key.clone(),
            secret,
        })
    }

    fn hello(&self) -> Value {
        json!({ "url": self.broker.url(), "app_key": self.app_key.as_str(), "secret": self.secret })
    }

    /// Carries out one command after the other, until there are no more.
    async fn obey(&self, mut input: impl AsyncBufRead + Unpin) -> io::Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = (&mut input)
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut line)
                .await?;
            if length == 0 {
                return Ok(());
            }
            if !line.ends_with(b"\n") {
                return Err(io::Error::other(
                    "a line without an end, or one of more than 16 KiB",
                ));
            }
            let answer = match self.answer(&line).await {
                Ok(answer) => answer,
                Err(text) => json!({ "error": text }),
            };
            say(&answer)?;
        }
    }

    async fn answer(&self, line: &[u8]) -> Result<Value, String> {
        let done = json!({ "done": true });
        match serde_json::from_slice(line).map_err(|error| format!("this is no command: {error}"))? {
            Command::Token { user, seconds } => {
                UserId::parse(&user).map_err(|invalid| invalid.text)?;
                let now = clock::now().unix;
                let app_key = self.app_key.as_str();
                let token = broker::token(self.secret.as_bytes(), app_key, &user, seconds, now);
                return Ok(json!({ "token": token }));
            }
            Command::Stop => self.broker.stop().await,
            Command::Kill => self.broker.kill().await,
            Command::Start => {
                let started = self.broker.restart(Sessions::Keep).await;
                started.map_err(|error| format!("the broker cannot start again: {error}"))?;
            }
            Command::Kick { user } => {
                let reply = || Reply::code(TAKEN_OVER).reason("session taken over");
                self.end(&user, End::Disconnected(TAKEN_OVER), |who| {
                    self.broker.disconnect(who, reply())
                })
                .await?;
            }
            Command::Cut { user } => {
                self.end(&user, End::Cut(Cut::Reset), |who| {
                    self.broker.cut(who, Cut::Reset)
                })
                .await?;
            }
        }
        Ok(done)
    }

    /// Ends a user's connections, and waits until they have ended so.
    async fn end(&self, user: &str, wanted: End, end: impl FnOnce(Who) -> usize) -> Result<(), String> {
        let mut events = self.broker.events();
        events.skip_past();
        let count = end(Who::User(user.to_owned()));
        if count == 0 {
            return Err(format!("{user} has no connection"));
        }
        for _ in 0..count {
            let ended = |event: &Event| matches!(event, Event::Disconnected { how, .. } if *how == wanted);
            let seen = events.wait_for(ended, PATIENCE).await;
            seen.map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

fn say(line: &Value) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_taken_whole_or_not_at_all() {
        let read = |line: &str| serde_json::from_str::<Command>(line);
        let kick = Command::Kick {
            user: "alice".to_owned(),
        };
        assert_eq!(read(r#"{"command":"kick","user":"alice"}"#).unwrap(), kick);
        assert_eq!(read(r#"{"command":"stop"}"#).unwrap(), Command::Stop);
        for bad in ["", "stop", r#"{"command":"kick"}"#, r#"{"command":"dance"}"#] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_command_that_cannot_be_done_is_answered_with_the_reason() {
        let served = Served::start(0, &AppKey::parse("K").unwrap()).unwrap();
        for (line, words) in [
            ("{}\n", "no command"),
            ("{\"command\":\"kick\",\"user\":\"alice\"}\n", "no connection"),
            (
                "{\"command\":\"token\",\"user\":\"a/b\",\"seconds\":1}\n",
                "user id",
            ),
        ] {
            let refused = served.answer(line.as_bytes()).await.unwrap_err();
            assert!(refused.contains(words), "{line}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_line_without_an_end_ends_the_commands() {
        let served = Served::start(0, &AppKey::parse("K").unwrap()).unwrap();
        assert!(served.obey(&b""[..]).await.is_ok());
        let endless = vec![b'x'; 20_000];
        assert!(served.obey(endless.as_slice()).await.is_err());
    }
}
