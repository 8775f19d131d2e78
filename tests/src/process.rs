//! Child processes that can't outlive their test, and calls that can't hang it.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::wait::{SOON, eventually};

/// How long a command may run.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);

/// A child process, killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it.
    ///
    /// # Panics
    /// When it can't be started.
    pub fn start(command: &mut Command) -> Self {
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{} can't be started: {error}", command.get_program().display()));
        Self { child }
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its end, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked for its end")
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let pid = self.pid();
        eventually(deadline, &format!("the end of process {pid}"), || {
            self.ended().ok_or("it runs")
        })
    }

    /// Checks that it can go on: that it has not ended, and that nobody has stopped it. It looks, and takes
    /// nothing from whoever waits for the end.
    ///
    /// # Panics
    /// With what has become of it, when it can't.
    #[track_caller]
    pub fn assert_runs(&self, name: &str) {
        let changes = WaitIdOptions::EXITED | WaitIdOptions::STOPPED;
        let looking = WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let state = waitid(WaitId::Pid(self.id()), changes | looking).expect("a child can be looked at");
        let Some(state) = state else { return };
        let fate = if let Some(code) = state.exit_status() {
            format!("has ended with {code}")
        } else if let Some(signal) = state.terminating_signal() {
            format!("was killed by signal {signal}")
        } else if let Some(signal) = state.stopping_signal() {
            format!("was stopped by signal {signal}")
        } else {
            return;
        };
        panic!("{name}, process {}, {fate}: not by this test", self.pid());
    }

    /// What each of its threads is doing, for a process that should do something and does not: from the kernel,
    /// and as a backtrace where gdb is installed.
    #[must_use]
    pub fn portrait(&self) -> String {
        let pid = self.pid();
        let mut text = String::new();
        for thread in std::fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let read = |file: &str| std::fs::read_to_string(thread.path().join(file)).unwrap_or_default();
            let status = read("status");
            let state = status.lines().find_map(|line| line.strip_prefix("State:"));
            let _ = writeln!(
                text,
                "thread {} {}: {}, in {}",
                thread.file_name().display(),
                read("comm").trim(),
                state.unwrap_or_default().trim(),
                read("wchan"),
            );
        }
        let pid = pid.to_string();
        let mut gdb = Command::new("gdb");
        gdb.args(["-p", &pid, "-batch", "-ex", "thread apply all backtrace"]);
        match gdb.stdin(Stdio::null()).output() {
            Ok(output) => text.push_str(&String::from_utf8_lossy(&output.stdout)),
            Err(error) => {
                let _ = writeln!(text, "no backtrace, gdb can't be started: {error}");
            }
        }
        text
    }

    fn id(&self) -> Pid {
        let id = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        id.expect("a child has a pid")
    }

    pub fn signal(&self, signal: Signal) {
        // A process that has ended is not signalled: that is no fault.
        let _ = kill_process(self.id(), signal);
    }

    /// The most memory it ever had, in MB.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn peak_memory_mb(&self) -> u64 {
        self.memory("VmHWM:") / 1024
    }

    /// The memory it has, in kB.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn memory_kb(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, row: &str) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("a running process has a status");
        let value = status.lines().find_map(|line| line.strip_prefix(row));
        let kilobytes = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
        kilobytes.expect("a running process has its memory in its status")
    }

    /// SIGKILL, and waits for the end.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.wait(SOON);
    }

    /// SIGTERM, and waits for the end.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(SOON)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command that has ended left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// The output, if the exit code is this one.
    ///
    /// # Panics
    /// With all that the command said, when it is another.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// The last line of the output, as JSON.
    ///
    /// # Panics
    /// When it is no JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let line = self.stdout.lines().last().unwrap_or_default();
        serde_json::from_str(line)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {:?}\nstderr: {}", self.stdout, self.stderr))
    }
}

/// A command that runs while the test does something else.
#[derive(Debug)]
pub struct Running {
    process: Process,
    stdout: thread::JoinHandle<String>,
    stderr: thread::JoinHandle<String>,
}

impl Running {
    /// Starts it, with `input` as its standard input.
    pub fn start(command: &mut Command, input: &[u8]) -> Self {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Process::start(command);
        let mut stdin = process.child.stdin.take().expect("stdin is piped");
        let input = input.to_vec();
        // A command that refuses early does not read its input.
        thread::spawn(move || stdin.write_all(&input));
        let stdout = drain(process.child.stdout.take().expect("stdout is piped"));
        let stderr = drain(process.child.stderr.take().expect("stderr is piped"));
        Self {
            process,
            stdout,
            stderr,
        }
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Waits for its end.
    #[must_use]
    pub fn finish(mut self) -> Finished {
        let status = self.process.wait(COMMAND_DEADLINE);
        Finished {
            code: status.code(),
            stdout: self.stdout.join().expect("a reader does not panic"),
            stderr: self.stderr.join().expect("a reader does not panic"),
        }
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command, input: &[u8]) -> Finished {
    Running::start(command, input).finish()
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a fault is still worth showing.
        let _ = from.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait::when;

    #[test]
    fn a_command_gets_its_input_and_gives_its_output_and_code() {
        let finished = run(
            Command::new("sh").args(["-c", "cat; echo words >&2; exit 3"]),
            b"data",
        );
        assert_eq!(
            finished,
            Finished {
                code: Some(3),
                stdout: "data".to_owned(),
                stderr: "words\n".to_owned()
            }
        );
    }

    #[test]
    fn what_has_become_of_a_process_is_told_by_its_name() {
        let fate = |process: &Process| {
            let look = std::panic::AssertUnwindSafe(|| process.assert_runs("the sleeper"));
            let panic = std::panic::catch_unwind(look).err()?;
            Some(panic.downcast_ref::<String>().unwrap().clone())
        };
        let mut process = Process::start(Command::new("sleep").arg("60"));
        let told = |words: &str, process: &Process| {
            let wanted = format!(
                "the sleeper, process {}, {words}: not by this test",
                process.pid()
            );
            eventually(SOON, words, || {
                let fate = fate(process);
                when(fate.as_ref() == Some(&wanted), fate)
            });
        };
        assert_eq!(fate(&process), None);
        eventually(SOON, "it to sleep", || {
            let portrait = process.portrait();
            when(portrait.contains(" sleep: S (sleeping), in "), portrait)
        });
        process.signal(Signal::STOP);
        told("was stopped by signal 19", &process);
        process.signal(Signal::CONT);
        eventually(SOON, "it to go on", || fate(&process).map_or(Ok(()), Err));
        process.signal(Signal::KILL);
        told("was killed by signal 9", &process);
        assert!(
            !process.wait(SOON).success(),
            "who waits for the end still has it"
        );
        told(
            "has ended with 3",
            &Process::start(Command::new("sh").args(["-c", "exit 3"])),
        );
    }

    #[test]
    fn a_dropped_process_is_dead() {
        let process = Process::start(Command::new("sleep").arg("60"));
        let pid = process.pid();
        drop(process);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }
}
