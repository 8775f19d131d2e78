//! The small broker in a process of its own, steered over its standard input.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{LOOKS, PAUSE, Process, directory};
use super::{Daemon, Error};

/// The App Key where the test names none.
const APP_KEY: &str = "testing";

/// A small MQTT broker on 127.0.0.1, for tests: `imd broker`.
///
/// It keeps nothing on disk. Sessions, and so the messages that wait for somebody, live as long as this value:
/// over [`stop`](Self::stop), [`kill`](Self::kill) and [`start`](Self::start) too.
#[derive(Debug)]
pub struct Broker {
    url: String,
    app_key: String,
    state: Mutex<State>,
    /// Removed after the process that writes its log there.
    _directory: TempDir,
}

struct State {
    process: Process,
    commands: ChildStdin,
    answers: Receiver<String>,
    is_up: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("pid", &self.process.pid())
            .field("is_up", &self.is_up)
            .finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts a broker on a free port, for the App Key `testing`.
    ///
    /// # Errors
    /// There is no `imd`, or it does not start.
    pub fn spawn() -> Result<Self, Error> {
        Self::spawn_for(APP_KEY)
    }

    /// Starts a broker on a free port, for an app that has its App Key built in.
    ///
    /// # Errors
    /// There is no `imd`, it does not start, or this is no App Key.
    pub fn spawn_for(app_key: &str) -> Result<Self, Error> {
        let directory = directory()?;
        let log = directory.path().join("broker.log");
        let mut process = Process::start("imd broker", log, |command| {
            command
                .args([
                    "broker",
                    "--listen",
                    "127.0.0.1:0",
                    "--control",
                    "--app-key",
                    app_key,
                ])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
        })?;
        let (Some(commands), Some(output)) = (process.child.stdin.take(), process.child.stdout.take()) else {
            return Err(Error::State("the broker has no pipes"));
        };
        let (give, answers) = sync_channel(1);
        let reading = thread::Builder::new()
            .name("imd-broker".to_owned())
            .spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if give.send(line).is_err() {
                        return;
                    }
                }
            });
        reading.map_err(Error::system("no thread for the broker's answers"))?;
        let mut state = State {
            process,
            commands,
            answers,
            is_up: true,
        };
        let hello = state.answer("the start of the broker")?;
        Ok(Self {
            url: text(&hello, "url")?,
            app_key: text(&hello, "app_key")?,
            state: Mutex::new(state),
            _directory: directory,
        })
    }

    /// Where it listens, the same after a restart: `mqtt://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The App Key that its tokens are for.
    #[must_use]
    pub fn app_key(&self) -> &str {
        &self.app_key
    }

    /// A token of this user, good for a day. Every legal user id is a user.
    ///
    /// # Errors
    /// A user id that is none.
    pub fn token(&self, user_id: &str) -> Result<String, Error> {
        self.token_for(user_id, 24 * 3600)
    }

    /// A token of this user that ends in so many seconds; with a negative number it has ended that long ago.
    ///
    /// # Errors
    /// A user id that is none.
    pub fn token_for(&self, user_id: &str, seconds: i64) -> Result<String, Error> {
        let command = json!({ "command": "token", "user": user_id, "seconds": seconds });
        text(&self.command("a token", &command)?, "token")
    }

    /// Ends it in order: DISCONNECT "server shutting down" to every daemon.
    ///
    /// # Errors
    /// It is not up.
    pub fn stop(&self) -> Result<(), Error> {
        self.turn(false, "the stop of the broker", "stop")
    }

    /// Ends it as SIGKILL does: daemons see a broken connection.
    ///
    /// # Errors
    /// It is not up.
    pub fn kill(&self) -> Result<(), Error> {
        self.turn(false, "the death of the broker", "kill")
    }

    /// Starts it again, on the same port and with the sessions it had.
    ///
    /// # Errors
    /// It is up, or another program has taken the port.
    pub fn start(&self) -> Result<(), Error> {
        self.turn(true, "the start of the broker", "start")
    }

    /// Ends the connection of this user's daemon as a login elsewhere does, and returns when it has ended: the
    /// daemon's status goes to KICKED_OFFLINE_BY_OTHER_CLIENT.
    ///
    /// # Errors
    /// The user has no connection.
    pub fn kick(&self, user_id: &str) -> Result<(), Error> {
        let command = json!({ "command": "kick", "user": user_id });
        self.command("the kick", &command).map(drop)
    }

    /// Breaks off the connection of this user's daemon, and returns when it has ended: the daemon comes back by
    /// itself.
    ///
    /// # Errors
    /// The user has no connection.
    pub fn cut(&self, user_id: &str) -> Result<(), Error> {
        let command = json!({ "command": "cut", "user": user_id });
        self.command("the cut", &command).map(drop)
    }

    /// See [`Daemon::spawn`].
    ///
    /// # Errors
    /// As there.
    pub fn daemon(&self) -> Result<Daemon, Error> {
        Daemon::spawn(self)
    }

    fn turn(&self, up: bool, what: &'static str, command: &str) -> Result<(), Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match (state.is_up, up) {
            (true, true) => return Err(Error::State("the broker is up already")),
            (false, false) => return Err(Error::State("the broker is down already")),
            (true, false) | (false, true) => {}
        }
        state.ask(what, &json!({ "command": command }))?;
        state.is_up = up;
        Ok(())
    }

    fn command(&self, what: &'static str, command: &Value) -> Result<Value, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ask(what, command)
    }
}

impl State {
    fn ask(&mut self, what: &'static str, command: &Value) -> Result<Value, Error> {
        let line = format!("{command}\n");
        let written = self.commands.write_all(line.as_bytes());
        if let Err(error) = written {
            self.process.must_run()?;
            return Err(Error::system("the broker takes no commands")(error));
        }
        self.answer(what)
    }

    /// The next line of the broker.
    fn answer(&mut self, what: &'static str) -> Result<Value, Error> {
        for _ in 0..LOOKS {
            match self.answers.recv_timeout(PAUSE) {
                Ok(line) => {
                    let answer: Value =
                        serde_json::from_str(&line).map_err(|error| Error::Broker(error.to_string()))?;
                    return match answer.get("error").and_then(Value::as_str) {
                        Some(text) => Err(Error::Broker(text.to_owned())),
                        None => Ok(answer),
                    };
                }
                // Its output ends a moment before itself.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => self.process.must_run()?,
            }
        }
        Err(self.process.late(what))
    }
}

fn text(answer: &Value, name: &str) -> Result<String, Error> {
    let text = answer.get(name).and_then(Value::as_str);
    text.map(str::to_owned).ok_or_else(|| {
        Error::Broker(format!(
            "its answer has no {name}: is this imd of the same version?"
        ))
    })
}
