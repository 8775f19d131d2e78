//! The processes of a testbed: none outlives the test's own.

use std::fs::File;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use tempfile::TempDir;

use super::{Error, program};

/// Between two looks at a process.
pub(super) const PAUSE: Duration = Duration::from_millis(10);

/// So many looks make the deadline of 20 seconds.
pub(super) const LOOKS: usize = 2000;

/// A running `imd`, killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) child: Child,
    program: &'static str,
    log: PathBuf,
}

impl Process {
    /// Starts `imd` with what `arrange` adds. What it says on standard error goes to the file `log`.
    pub(super) fn start(
        program: &'static str,
        log: PathBuf,
        arrange: impl FnOnce(&mut Command),
    ) -> Result<Self, Error> {
        let imd = program::imd()?;
        let what = format!("{program} ({}) cannot be started", imd.display());
        let file = File::options().create(true).append(true).open(&log);
        let file = file.map_err(Error::system(format!("{}", log.display())))?;
        let mut command = Command::new(imd);
        command
            .arg("--die-with-parent")
            .arg(std::process::id().to_string());
        // Nothing of the person's own configuration reaches a test.
        command.env_clear();
        for name in ["IMD_LOG", "RUST_BACKTRACE", "NO_COLOR"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        arrange(&mut command);
        let child = spawn(command).map_err(Error::system(what))?;
        Ok(Self { child, program, log })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All it has said.
    pub(super) fn log(&self) -> String {
        read_log(&self.log)
    }

    /// An error if it has ended.
    pub(super) fn must_run(&mut self) -> Result<(), Error> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(error) => Err(self.unobserved(error)),
        }
    }

    pub(super) fn ended(&self, status: ExitStatus) -> Error {
        Error::Ended {
            program: self.program,
            status,
            log: self.log(),
        }
    }

    pub(super) fn late(&self, what: &'static str) -> Error {
        Error::Deadline {
            what,
            log: self.log(),
        }
    }

    fn unobserved(&self, source: io::Error) -> Error {
        Error::system(format!("{} cannot be watched", self.program))(source)
    }

    /// SIGKILL; returns when the process is gone.
    pub(super) fn kill(mut self) -> Result<(), Error> {
        self.signal(Signal::KILL)?;
        let status = self.end("the end after SIGKILL")?;
        if status.signal() == Some(Signal::KILL.as_raw()) {
            Ok(())
        } else {
            // It had ended by itself before.
            Err(self.ended(status))
        }
    }

    /// SIGTERM; returns when the process has ended in order.
    pub(super) fn terminate(mut self) -> Result<(), Error> {
        self.signal(Signal::TERM)?;
        let status = self.end("the end after SIGTERM")?;
        if status.success() {
            Ok(())
        } else {
            Err(self.ended(status))
        }
    }

    /// SIGSTOP; returns when no thread of it runs any more.
    pub(super) fn suspend(&mut self) -> Result<(), Error> {
        self.signal(Signal::STOP)?;
        self.changed(WaitIdOptions::STOPPED, "the stop after SIGSTOP")
    }

    /// SIGCONT; returns when it runs on.
    pub(super) fn resume(&mut self) -> Result<(), Error> {
        self.signal(Signal::CONT)?;
        self.changed(WaitIdOptions::CONTINUED, "the going on after SIGCONT")
    }

    fn signal(&self, signal: Signal) -> Result<(), Error> {
        // A child that nobody has waited for keeps its pid.
        kill_process(Pid::from_child(&self.child), signal).map_err(|errno| self.unobserved(errno.into()))
    }

    fn end(&mut self, what: &'static str) -> Result<ExitStatus, Error> {
        for _ in 0..LOOKS {
            match self.child.try_wait() {
                Ok(Some(status)) => return Ok(status),
                Ok(None) => thread::sleep(PAUSE),
                Err(error) => return Err(self.unobserved(error)),
            }
        }
        Err(self.late(what))
    }

    fn changed(&mut self, how: WaitIdOptions, what: &'static str) -> Result<(), Error> {
        let pid = Pid::from_child(&self.child);
        for _ in 0..LOOKS {
            // Ends are not asked for here: they are left for the child's own wait.
            match waitid(WaitId::Pid(pid), how | WaitIdOptions::NOHANG) {
                Ok(Some(_)) => return Ok(()),
                Ok(None) => self.must_run()?,
                Err(errno) => {
                    self.must_run()?;
                    return Err(self.unobserved(errno.into()));
                }
            }
            thread::sleep(PAUSE);
        }
        Err(self.late(what))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that is gone already needs neither.
        let _: io::Result<()> = self.child.kill();
        let _: io::Result<ExitStatus> = self.child.wait();
    }
}

/// All that a process has said.
pub(super) fn read_log(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// A private directory, removed when dropped.
pub(super) fn directory() -> Result<TempDir, Error> {
    tempfile::Builder::new()
        .prefix("imd-")
        .tempdir()
        .map_err(Error::system("no directory for the test"))
}

struct Order {
    command: Command,
    answer: SyncSender<io::Result<Child>>,
}

/// Starts a child on a thread that stays: to the kernel, which ends a child with its parent, the parent is the
/// thread that started it, and the thread of a test ends with the test.
fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: Mutex<Option<SyncSender<Order>>> = Mutex::new(None);
    let gone = || io::Error::other("the thread that starts processes is gone");
    let mut starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner);
    let orders = if let Some(orders) = &*starter {
        orders
    } else {
        let (give, orders) = sync_channel::<Order>(1);
        thread::Builder::new()
            .name("imd-testing".to_owned())
            .spawn(move || {
                for Order { mut command, answer } in orders {
                    // Who asked waits for it.
                    let _: Result<(), _> = answer.send(command.spawn());
                }
            })?;
        starter.insert(give)
    };
    let (answer, answered) = sync_channel(1);
    orders.send(Order { command, answer }).map_err(|_| gone())?;
    answered.recv().map_err(|_| gone())?
}
