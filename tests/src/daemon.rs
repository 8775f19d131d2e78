//! The real daemon, in a [`Home`] of its own.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::process::{Command, Stdio};

use imd_proto::imd::v1::ConnectionStatus;

use crate::home::Home;
use crate::lab::Namespace;
use crate::process::{Finished, Process};
use crate::rpc::Rpc;
use crate::wait::{SOON, eventually, when};

/// A daemon that runs, or did. When dropped it is killed, and its log read: an ERROR in it that was not
/// expected fails the test, as a panic does.
#[derive(Debug)]
pub struct Daemon {
    home: Home,
    process: Option<Process>,
    environment: Vec<(String, String)>,
    /// Where it runs, if not in the host's network.
    namespace: Option<Namespace>,
    expected_errors: Vec<String>,
}

impl Daemon {
    /// Starts a daemon for this server, and waits until it answers.
    #[must_use]
    pub fn for_server(url: &str) -> Self {
        Self::configured(&config(url, ""))
    }

    /// Starts a daemon with this configuration, and waits until it answers.
    #[must_use]
    pub fn configured(config: &str) -> Self {
        Self::with(config, &[])
    }

    /// Starts a daemon with this configuration and environment, and waits until it answers.
    #[must_use]
    pub fn with(config: &str, environment: &[(&str, &str)]) -> Self {
        Self::at(None, config, environment)
    }

    /// As [`Daemon::with`], on a machine of a lab.
    #[must_use]
    pub fn on(namespace: &Namespace, config: &str, environment: &[(&str, &str)]) -> Self {
        Self::at(Some(namespace.clone()), config, environment)
    }

    fn at(namespace: Option<Namespace>, config: &str, environment: &[(&str, &str)]) -> Self {
        let home = Home::new();
        home.write_config(config);
        let mut daemon = Self {
            home,
            process: None,
            namespace,
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            expected_errors: Vec::new(),
        };
        daemon.start();
        daemon
    }

    /// Starts it again, and waits until it answers.
    ///
    /// # Panics
    /// When it runs, or ends, or does not answer.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "the daemon runs");
        let mut command = self.home.imd();
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(namespace) = &self.namespace {
            command = namespace.inside(&command);
        }
        self.log_to_file(&mut command);
        let mut process = Process::start(&mut command);
        let pid = process.pid();
        eventually(SOON, "the daemon to answer", || {
            if let Some(status) = process.ended() {
                panic!("the daemon ended ({status}):\n{}", self.log());
            }
            let version = Rpc::dial(&self.home.socket()).and_then(|rpc| rpc.version())?;
            when(
                u32::try_from(version.pid) == Ok(pid),
                crate::rpc::other_daemon(version.pid),
            )
        });
        self.process = Some(process);
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// SIGTERM, and waits for the orderly end.
    ///
    /// # Panics
    /// When it ends with anything but 0.
    pub fn terminate(&mut self) {
        if let Some(mut process) = self.process.take() {
            let status = process.terminate();
            assert!(
                status.success(),
                "the daemon ended with {status}:\n{}",
                self.log()
            );
        }
    }

    /// SIGTERM, and a start.
    pub fn restart(&mut self) {
        self.terminate();
        self.start();
    }

    /// The process of this run.
    ///
    /// # Panics
    /// When it was ended.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the daemon runs")
    }

    #[must_use]
    pub fn pid(&mut self) -> u32 {
        self.process().pid()
    }

    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// An ERROR line with this text is no fault of the test.
    pub fn expect_error(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    /// Everything it has said, in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.path("log")).unwrap_or_default()).into_owned()
    }

    /// A fresh connection to it.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn rpc(&self) -> Rpc {
        Rpc::dial(&self.home.socket()).unwrap_or_else(|failure| panic!("no daemon: {failure:?}"))
    }

    /// Its status.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn status(&self) -> ConnectionStatus {
        self.rpc()
            .status()
            .unwrap_or_else(|failure| panic!("no status: {failure:?}\n{}", self.log()))
    }

    /// Waits until its status is the named one, such as `CONNECTED`.
    pub fn await_status(&self, name: &str) -> ConnectionStatus {
        self.await_status_that(name, |status| status.status_name == name)
    }

    /// Waits until its status is as wanted.
    pub fn await_status_that(&self, what: &str, is: impl Fn(&ConnectionStatus) -> bool) -> ConnectionStatus {
        let rpc = self.rpc();
        eventually(SOON, &format!("the status {what}"), || match rpc.status() {
            Ok(status) if is(&status) => Ok(status),
            other => Err(Box::new(other)),
        })
    }

    /// Runs imctl to its end.
    #[must_use]
    pub fn imctl(&self, arguments: &[&str]) -> Finished {
        self.home.run_imctl(arguments)
    }

    /// Connects this user with `imctl connect`.
    ///
    /// # Panics
    /// When that fails.
    pub fn connect(&self, user: &str, token: &str) {
        let finished = self.home.connect(token, &["--user-id", user]);
        assert_eq!(finished.code, Some(0), "{finished:?}\n{}", self.log());
        assert_eq!(self.status().status_name, "CONNECTED");
    }

    fn log_to_file(&self, command: &mut Command) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.home.path("log"))
            .expect("a log can be written");
        let copy = log.try_clone().expect("a file can be shared");
        command.stdin(Stdio::null()).stdout(copy).stderr(log);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill9();
        let errors = unexpected_errors(&self.log(), &self.expected_errors);
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(60).collect::<Vec<_>>();
            eprintln!("-- the end of the daemon's log");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        } else {
            assert!(
                errors.is_empty(),
                "the daemon's log has errors:\n{}",
                errors.join("\n")
            );
        }
    }
}

/// A configuration with one server and these lines under `[link]`.
#[must_use]
pub fn config(url: &str, link: &str) -> String {
    let mut text = format!("[server]\nurls = [\"{url}\"]\n");
    if !link.is_empty() {
        let _ = write!(text, "\n[link]\n{link}\n");
    }
    text
}

/// The lines of a log that fail a test.
pub(crate) fn unexpected_errors(log: &str, expected: &[String]) -> Vec<String> {
    log.lines()
        .filter(|line| is_error(line))
        .filter(|line| !expected.iter().any(|text| line.contains(text)))
        .map(str::to_owned)
        .collect()
}

/// The level is the first word of a line, or the second after the time.
fn is_error(line: &str) -> bool {
    line.split_whitespace().take(2).any(|word| word == "ERROR") || line.contains("panicked at")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_line_is_told_from_a_line_about_errors() {
        assert!(is_error(
            "2026-01-01T00:00:00Z ERROR imd::store: the disk is gone"
        ));
        assert!(is_error("ERROR imd::store: the disk is gone"));
        assert!(is_error("thread 'main' panicked at daemon/src/main.rs:1:1:"));
        assert!(!is_error(
            "2026-01-01T00:00:00Z  INFO imd::link: the server said ERROR"
        ));
    }
}
