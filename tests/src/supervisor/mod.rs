//! A service manager for one service, which does for it what systemd does: it holds the listening socket,
//! starts the daemon on the first connect, hands the socket over, reads the notifications (and looks who sent
//! them), kills on a missed watchdog, and restarts after a failure. What it does when it takes from
//! `systemd/imd.service`, as it is shipped.

mod manager;
mod unit;

use std::fs::{self, DirBuilder, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_passcred;
use rustix::process::{Pid, Signal, kill_process};

pub use unit::Unit;

use crate::daemon::unexpected_errors;
use crate::home::Home;
use crate::rpc::Rpc;
use crate::wait::{SOON, eventually, when};
use manager::Manager;

/// What the manager saw or did, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    Started {
        pid: u32,
    },
    /// The service said this: `READY=1`.
    Said {
        pid: u32,
        word: String,
    },
    /// Somebody else said this on its behalf; it does not count.
    Pretended {
        pid: u32,
        word: String,
    },
    WatchdogMissed {
        pid: u32,
    },
    /// It did not end in time, and got SIGKILL.
    Overdue {
        pid: u32,
    },
    Ended {
        pid: u32,
        status: ExitStatus,
    },
}

/// What the manager is asked.
enum Order {
    Start,
    Stop,
    /// The test is over.
    Quit,
}

/// What both sides see.
#[derive(Default)]
struct Board {
    journal: Vec<Happening>,
    /// The process, and whether it is ready.
    main: Option<(u32, bool)>,
}

type Shared = Arc<Mutex<Board>>;

/// The manager, with its service in a home of its own. Dropping it kills the service, and an ERROR in its log
/// that was not expected fails the test.
pub struct Supervisor {
    home: Home,
    board: Shared,
    orders: mpsc::Sender<Order>,
    bell: UnixStream,
    thread: Option<JoinHandle<()>>,
    expected_errors: Vec<String>,
}

impl Supervisor {
    /// Starts the socket, as it is shipped. The service starts with the first connect.
    #[must_use]
    pub fn listening(config: &str) -> Self {
        Self::with(config, Unit::shipped(), &[])
    }

    /// Starts the socket of a service that is changed so.
    ///
    /// # Panics
    /// When there is no socket to be had.
    #[must_use]
    pub fn with(config: &str, unit: Unit, environment: &[(&str, &str)]) -> Self {
        let home = Home::new();
        home.write_config(config);
        let socket = home.socket();
        let directory = socket.parent().expect("a socket lies in a directory");
        let made = DirBuilder::new().mode(0o700).create(directory);
        made.expect("a directory can be made");
        let listener = UnixListener::bind(&socket).expect("a socket can be made");
        fs::set_permissions(&socket, Permissions::from_mode(0o600)).expect("its mode can be set");
        let notifications = UnixDatagram::bind(home.path("notify")).expect("a socket can be made");
        set_socket_passcred(&notifications, true).expect("a socket can tell who speaks");
        let mut command = home.imd();
        command.envs(environment.iter().copied());
        let (bell, ring) = UnixStream::pair().expect("a pair of sockets can be made");
        let (orders, queue) = mpsc::channel();
        let board = Shared::default();
        let manager = Manager::new(
            &command,
            home.path("log"),
            home.path("notify"),
            unit,
            listener,
            notifications,
            Arc::clone(&board),
        );
        let thread = thread::spawn(move || manager.run(&queue, &ring));
        Self {
            home,
            board,
            orders,
            bell,
            thread: Some(thread),
            expected_errors: Vec::new(),
        }
    }

    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    /// `systemctl start`: returns when the service is ready.
    pub fn start(&self) {
        self.order(Order::Start);
        self.await_ready();
    }

    /// `systemctl stop` of the service alone: the next connect starts it again. Returns when it has ended.
    pub fn stop(&self) {
        let main = self.board().main;
        self.order(Order::Stop);
        if let Some((main, _)) = main {
            self.await_end(main);
        }
    }

    /// `systemctl restart`: returns when the successor is ready.
    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// A fresh connection, as an app makes it: it starts the service.
    ///
    /// # Panics
    /// When there is none to be had.
    #[must_use]
    pub fn rpc(&self) -> Rpc {
        Rpc::dial(&self.home.socket()).unwrap_or_else(|failure| panic!("no connection: {failure:?}"))
    }

    /// Waits until a service is ready. Gives its pid.
    pub fn await_ready(&self) -> u32 {
        self.await_ready_but(None)
    }

    /// Waits until another service than this one is ready. Gives its pid.
    pub fn await_successor(&self, pid: u32) -> u32 {
        self.await_ready_but(Some(pid))
    }

    fn await_ready_but(&self, former: Option<u32>) -> u32 {
        eventually(SOON * 2, "the service to be ready", || {
            let board = self.board();
            match board.main {
                Some((pid, true)) if Some(pid) != former => Ok(pid),
                Some(_) | None => Err(board.journal.clone()),
            }
        })
    }

    /// Waits until this process of the service has ended. Gives how.
    pub fn await_end(&self, main: u32) -> ExitStatus {
        eventually(SOON, "the end of the service", || {
            let journal = self.journal();
            let end = journal.iter().find_map(|one| match one {
                Happening::Ended { pid, status } if *pid == main => Some(*status),
                Happening::Ended { .. }
                | Happening::Started { .. }
                | Happening::Said { .. }
                | Happening::Pretended { .. }
                | Happening::WatchdogMissed { .. }
                | Happening::Overdue { .. } => None,
            });
            end.ok_or(journal)
        })
    }

    /// Sends a signal to the service.
    ///
    /// # Panics
    /// When none runs.
    pub fn signal(&self, signal: Signal) {
        let main = self.board().main;
        let (pid, _) = main.expect("the service runs");
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // One that has just ended is not signalled: that is no fault.
        let _ = kill_process(pid.expect("a process has a pid"), signal);
    }

    /// Everything so far.
    #[must_use]
    pub fn journal(&self) -> Vec<Happening> {
        self.board().journal.clone()
    }

    /// Waits until this has happened.
    pub fn await_happening(&self, what: &str, is: impl Fn(&Happening) -> bool) {
        eventually(SOON * 2, what, || {
            let journal = self.journal();
            when(journal.iter().any(&is), journal)
        });
    }

    /// How often the service was started.
    #[must_use]
    pub fn starts(&self) -> usize {
        let journal = self.journal();
        let starts = journal
            .iter()
            .filter(|one| matches!(one, Happening::Started { .. }));
        starts.count()
    }

    /// What a process of the service has said, in its order.
    #[must_use]
    pub fn words(&self, of: u32) -> Vec<String> {
        let said = self.journal().into_iter().filter_map(|one| match one {
            Happening::Said { pid, word } if pid == of => Some(word),
            Happening::Said { .. }
            | Happening::Started { .. }
            | Happening::Pretended { .. }
            | Happening::WatchdogMissed { .. }
            | Happening::Overdue { .. }
            | Happening::Ended { .. } => None,
        });
        said.collect()
    }

    /// Everything the service has logged, in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.path("log")).unwrap_or_default()).into_owned()
    }

    /// An ERROR line with this text is no fault of the test.
    pub fn expect_error(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    fn order(&self, order: Order) {
        let taken = self.orders.send(order).is_ok() && (&self.bell).write_all(b"!").is_ok();
        assert!(taken, "the supervisor's thread lives");
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let rung = self.orders.send(Order::Quit).is_ok() && (&self.bell).write_all(b"!").is_ok();
        if let Some(thread) = self.thread.take()
            && rung
        {
            let _ = thread.join();
        }
        let log = self.log();
        if thread::panicking() {
            let tail = log.lines().rev().take(60).collect::<Vec<_>>();
            eprintln!("-- the end of the service's log");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        } else {
            let errors = unexpected_errors(&log, &self.expected_errors);
            assert!(errors.is_empty(), "the log has errors:\n{}", errors.join("\n"));
        }
    }
}

/// How long a unit's time is: `100ms`, `60`, `5s`.
fn span(text: &str) -> Duration {
    let (number, unit) = match text.find(|c: char| !c.is_ascii_digit()) {
        Some(at) => text.split_at(at),
        None => (text, "s"),
    };
    let number: u64 = number.parse().expect("a time begins with a number");
    match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        other => panic!("{other:?} is no unit of time that the tests know"),
    }
}
