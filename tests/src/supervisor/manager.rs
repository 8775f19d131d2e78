//! The manager's thread: one poll over the socket, the notifications, the process and the orders.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use imd::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::unit::Sequel;
use super::{Board, Happening, Order, Shared, Unit};

/// Hands the socket over as systemd does: standard input becomes descriptor 3, and only the shell that becomes
/// the daemon knows the pid to name.
const HAND_OVER: &str = "exec 3<&0 </dev/null; export LISTEN_PID=$$ WATCHDOG_PID=$$; exec \"$@\"";

/// How long a service that missed its watchdog has to write its last words.
const ABORT: Duration = Duration::from_secs(2);

/// The longest notification.
const WORDS: usize = 4096;

pub(super) struct Manager {
    program: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    log: PathBuf,
    unit: Unit,
    listener: UnixListener,
    notifications: UnixDatagram,
    board: Shared,
    state: State,
}

/// Points in time are on the boot clock.
enum State {
    /// Waits for a connect.
    Listening,
    Running(Service),
    /// Waits for its restart.
    Failed {
        until: Duration,
    },
}

struct Service {
    child: Child,
    handle: OwnedFd,
    /// When it is dead if it has not said that it lives. From its READY on.
    watchdog: Option<Duration>,
    phase: Phase,
}

enum Phase {
    Wanted,
    /// It was asked to end, until then.
    Ending {
        until: Duration,
        sequel: Option<Sequel>,
    },
}

/// What woke the manager.
struct Woken {
    connect: bool,
    words: bool,
    ended: bool,
    order: bool,
}

impl Manager {
    pub(super) fn new(
        imd: &Command,
        log: PathBuf,
        notify: PathBuf,
        unit: Unit,
        listener: UnixListener,
        notifications: UnixDatagram,
        board: Shared,
    ) -> Self {
        let mut environment: Vec<(OsString, OsString)> = imd
            .get_envs()
            .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
            .collect();
        let watchdog = unit.watchdog.as_micros().to_string();
        let of_systemd = [
            ("NOTIFY_SOCKET", notify.into_os_string()),
            ("WATCHDOG_USEC", watchdog.into()),
            ("LISTEN_FDS", "1".into()),
            ("LISTEN_FDNAMES", "imd.socket".into()),
        ];
        environment.extend(of_systemd.map(|(name, value)| (name.into(), value)));
        let program = [imd.get_program()].into_iter().chain(imd.get_args());
        Self {
            program: program.map(OsStr::to_owned).collect(),
            environment,
            log,
            unit,
            listener,
            notifications,
            board,
            state: State::Listening,
        }
    }

    pub(super) fn run(mut self, orders: &mpsc::Receiver<Order>, bell: &UnixStream) {
        loop {
            let woken = self.wait(bell);
            // What it said before its end counts.
            if woken.words || woken.ended {
                while self.hear() {}
            }
            if woken.ended {
                self.ended();
            }
            if woken.order {
                let mut rings = [0];
                let rung = (&mut &*bell).read_exact(&mut rings);
                rung.expect("the bell is whole");
                match orders.recv() {
                    Ok(Order::Start) => self.start(),
                    Ok(Order::Stop) => self.stop(),
                    Ok(Order::Quit) | Err(_) => return self.quit(),
                }
            }
            if woken.connect && matches!(self.state, State::Listening) {
                self.start();
            }
            self.pass_time();
        }
    }

    fn wait(&self, bell: &UnixStream) -> Woken {
        let service = match &self.state {
            State::Running(service) => Some(service.handle.as_fd()),
            State::Listening | State::Failed { .. } => None,
        };
        let listening = matches!(self.state, State::Listening);
        let mut fds = vec![
            PollFd::new(&self.notifications, PollFlags::IN),
            PollFd::new(bell, PollFlags::IN),
        ];
        if listening {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        if let Some(service) = &service {
            fds.push(PollFd::new(service, PollFlags::IN));
        }
        let timeout = self.due().map(|due| {
            let left = due.saturating_sub(now());
            Timespec::try_from(left).expect("a wait is short")
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => panic!("poll: {error}"),
        }
        let ready = |at: usize| fds.get(at).is_some_and(|fd| !fd.revents().is_empty());
        Woken {
            words: ready(0),
            order: ready(1),
            connect: listening && ready(2),
            ended: service.is_some() && ready(2),
        }
    }

    fn due(&self) -> Option<Duration> {
        match &self.state {
            State::Listening => None,
            State::Failed { until } => Some(*until),
            State::Running(Service {
                watchdog,
                phase: Phase::Wanted,
                ..
            }) => *watchdog,
            State::Running(Service {
                phase: Phase::Ending { until, .. },
                ..
            }) => Some(*until),
        }
    }

    fn start(&mut self) {
        if let State::Running(_) = self.state {
            return;
        }
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.expect("a log can be written");
        let socket = self.listener.try_clone().expect("a descriptor can be shared");
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", HAND_OVER, "sh"])
            .args(&self.program)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(OwnedFd::from(socket)))
            .stdout(log.try_clone().expect("a file can be shared"))
            .stderr(log);
        let child = command.spawn().expect("a shell can be started");
        let handle = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        self.note(Happening::Started { pid: child.id() });
        self.board().main = Some((child.id(), false));
        self.state = State::Running(Service {
            handle: handle.expect("a child can be watched"),
            child,
            watchdog: None,
            phase: Phase::Wanted,
        });
    }

    /// SIGTERM, and no restart.
    fn stop(&mut self) {
        let until = now() + self.unit.stop_within;
        match &mut self.state {
            State::Listening => {}
            State::Failed { .. } => self.state = State::Listening,
            State::Running(service) => {
                let sequel = Some(Sequel::Listen);
                service.phase = Phase::Ending { until, sequel };
                service.signal(Signal::TERM);
            }
        }
    }

    fn quit(&mut self) {
        if let State::Running(service) = &mut self.state {
            let _ = service.child.kill();
            let _ = service.child.wait();
        }
    }

    fn ended(&mut self) {
        let State::Running(service) = &mut self.state else {
            return;
        };
        let status = service
            .child
            .try_wait()
            .expect("a child can be asked for its end");
        let Some(status) = status else { return };
        let pid = service.child.id();
        let sequel = match service.phase {
            Phase::Ending {
                sequel: Some(sequel), ..
            } => sequel,
            Phase::Ending { sequel: None, .. } | Phase::Wanted => self.unit.after(status),
        };
        self.state = match sequel {
            Sequel::Listen => State::Listening,
            Sequel::Restart => State::Failed {
                until: now() + self.unit.restart_after,
            },
        };
        self.note(Happening::Ended { pid, status });
        self.board().main = None;
    }

    /// Reads one datagram. False: there is none.
    fn hear(&mut self) -> bool {
        let mut bytes = [0; WORDS];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(
            &self.notifications,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut control,
            RecvFlags::DONTWAIT,
        );
        let Ok(received) = received else { return false };
        let sender = control.drain().find_map(|message| {
            let RecvAncillaryMessage::ScmCredentials(sender) = message else {
                return None;
            };
            Some(sender.pid.as_raw_nonzero().get())
        });
        let sender = sender.and_then(|pid| u32::try_from(pid).ok()).unwrap_or_default();
        let said = bytes.get(..received.bytes).unwrap_or_default();
        for word in String::from_utf8_lossy(said).lines() {
            self.heard(sender, word.to_owned());
        }
        true
    }

    fn heard(&mut self, pid: u32, word: String) {
        let watchdog = now() + self.unit.watchdog;
        let service = match &mut self.state {
            State::Running(service) if service.child.id() == pid => service,
            State::Running(_) | State::Listening | State::Failed { .. } => {
                self.note(Happening::Pretended { pid, word });
                return;
            }
        };
        match word.as_str() {
            "READY=1" => {
                service.watchdog = Some(watchdog);
                self.board().main = Some((pid, true));
            }
            "WATCHDOG=1" if service.watchdog.is_some() => service.watchdog = Some(watchdog),
            _ => {}
        }
        self.note(Happening::Said { pid, word });
    }

    fn pass_time(&mut self) {
        if self.due().is_none_or(|due| now() < due) {
            return;
        }
        let until = now() + ABORT;
        match &mut self.state {
            State::Listening => {}
            State::Failed { .. } => self.start(),
            State::Running(service) => {
                let pid = service.child.id();
                match service.phase {
                    Phase::Wanted => {
                        service.phase = Phase::Ending { until, sequel: None };
                        service.signal(Signal::ABORT);
                        self.note(Happening::WatchdogMissed { pid });
                    }
                    Phase::Ending { sequel, .. } => {
                        service.phase = Phase::Ending { until, sequel };
                        service.signal(Signal::KILL);
                        self.note(Happening::Overdue { pid });
                    }
                }
            }
        }
    }

    fn note(&self, happening: Happening) {
        self.board().journal.push(happening);
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Service {
    /// With SIGCONT behind it, as systemd does: a stopped process takes no other signal but SIGKILL.
    fn signal(&self, signal: Signal) {
        // One that has just ended is not signalled: that is no fault.
        let _ = pidfd_send_signal(&self.handle, signal);
        let _ = pidfd_send_signal(&self.handle, Signal::CONT);
    }
}

/// The boot clock.
fn now() -> Duration {
    clock::now().boot.as_duration()
}
