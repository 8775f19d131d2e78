//! The programs imd is measured against: those in C are compiled by `./tests/bench`, those in Rust are a
//! workspace of their own (`tests/benches/rivals`).

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use imd_tests::sources::root;

/// A rival that runs. It is killed when dropped.
#[derive(Debug)]
pub struct Rival {
    name: &'static str,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Rival {
    /// Starts one of those in Rust.
    ///
    /// # Panics
    /// When it has not been built.
    #[must_use]
    pub fn rust(name: &'static str, arguments: &[&str]) -> Self {
        Self::start(name, &root().join("target/rivals/release").join(name), arguments)
    }

    /// Starts one of those in C.
    ///
    /// # Panics
    /// When it has not been built.
    #[must_use]
    pub fn c(name: &'static str, arguments: &[&str]) -> Self {
        Self::start(name, &root().join("target/bench/programs").join(name), arguments)
    }

    /// Starts a program of imd's own that speaks in lines too.
    ///
    /// # Panics
    /// When it can't be started.
    #[must_use]
    pub fn start(name: &'static str, path: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(path)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; run ./tests/bench", path.display()));
        let input = child.stdin.take().expect("stdin is piped");
        let output = BufReader::new(child.stdout.take().expect("stdout is piped"));
        Self {
            name,
            child,
            input,
            output,
        }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Gives it a line.
    ///
    /// # Panics
    /// When it has ended.
    pub fn tell(&mut self, line: &str) {
        let told = writeln!(self.input, "{line}").and_then(|()| self.input.flush());
        told.unwrap_or_else(|error| panic!("{} does not listen: {error}", self.name));
    }

    /// Its next line.
    ///
    /// # Panics
    /// When it ends without one.
    pub fn hear(&mut self) -> String {
        let mut line = String::new();
        let length = self.output.read_line(&mut line).unwrap_or_default();
        assert!(length > 0, "{} ended without its figures", self.name);
        line.truncate(line.trim_end().len());
        line
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it says anything else.
    pub fn await_ready(&mut self) {
        assert_eq!(self.hear(), "ready", "{}", self.name);
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it ends with a fault.
    pub fn await_end(mut self) {
        let status = self.child.wait().expect("a child can be waited for");
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// Its next line, as a time in nanoseconds.
    ///
    /// # Panics
    /// When it is no number.
    pub fn hear_time(&mut self) -> Duration {
        let line = self.hear();
        Duration::from_nanos(line.parse().unwrap_or_else(|_| panic!("{}: {line}", self.name)))
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
