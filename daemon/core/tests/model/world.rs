//! Everything around the core: apps, the shell that carries actions out, the file, the clocks, the server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use imd_core::Core;
use imd_core::account::{Account, DeviceClass, InstallationId};
use imd_core::io::{
    Action, Config, ConnectId, Epoch, Input, InstanceId, LinkEvent, LoginPolicy, Network, OpenFailure,
    Opened, Request, Requester, ServerDirectory,
};
use imd_core::server::{Server, Transport};
use imd_core::time::{BootTime, Now, UnixTime};

use crate::chart::{Edges, Look};
use crate::checks::{Checked, ensure};
use crate::link::Doom;
use crate::reference::Model;
use crate::transition::{APPS, App, Key, Opening, Transition, Wish};

/// When every case begins, in seconds since 1970.
pub(crate) const EPOCH_SECONDS: i64 = 1_900_000_000;

/// More inputs than this with no time between them are a livelock.
const MAX_INPUTS_AT_ONCE: usize = 60;
const MAX_ACTIONS_OF_ONE_INPUT: usize = 60;

pub(crate) struct World {
    pub(crate) core: Core,
    pub(crate) model: Model,
    pub(crate) now: Now,
    pub(crate) seed: u64,
    pub(crate) apps: Vec<AppSide>,
    pub(crate) opening: Opening,
    /// Databases that are being opened.
    pub(crate) unopened: VecDeque<Account>,
    /// The server takes everything and says nothing.
    pub(crate) half_open: bool,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) inbox: VecDeque<Input>,
    /// After so many more actions the daemon dies.
    pub(crate) crash_after: Option<usize>,
    pub(crate) crashed: bool,
    pub(crate) calls: u64,
    pub(crate) connects: u64,
    pub(crate) trace: Option<Vec<String>>,
    /// The changes of the status, for the chart.
    pub(crate) edges: Edges,
}

/// What an app's library knows.
#[derive(Default)]
pub(crate) struct AppSide {
    pub(crate) key: Option<Key>,
    /// Its binding has ended, so that it must init again.
    pub(crate) unbound: bool,
    pub(crate) connect: Option<AppConnect>,
    /// Asked, and not yet answered.
    pub(crate) asked: Option<AppConnect>,
}

#[derive(Clone)]
pub(crate) struct AppConnect {
    pub(crate) id: ConnectId,
    pub(crate) wish: Wish,
    pub(crate) deadline: Option<BootTime>,
    pub(crate) opened: bool,
    pub(crate) done: bool,
    /// Issued once more after its end: its outcome may be told again.
    pub(crate) replay: bool,
    /// It was told of its success. That it has ended since, the app need not have seen.
    pub(crate) succeeded: bool,
    /// It says that it is no new wish of the app.
    pub(crate) resumes: bool,
}

fn server(host: &str) -> Server {
    Server {
        transport: Transport::Tcp,
        host: host.into(),
        port: 1883,
        path: "".into(),
    }
}

fn config(seed: u64) -> Result<Config, String> {
    let mut servers = ServerDirectory {
        missing: "write a file".to_owned(),
        plaintext: true,
        ..ServerDirectory::default()
    };
    let both = vec![server("one.example"), server("fallback.example")];
    servers.by_app.insert(Key::Demo.parse()?, both);
    servers
        .by_app
        .insert(Key::Other.parse()?, vec![server("other.example")]);
    let beside = vec![server("away.example"), server("localhost")];
    servers.by_app.insert(Key::Local.parse()?, beside);
    Ok(Config {
        servers,
        device_class: DeviceClass::default(),
        login: if seed.is_multiple_of(5) {
            LoginPolicy::Many
        } else {
            LoginPolicy::One
        },
        installation: InstallationId::new("here"),
        keep_alive: Duration::from_secs(30),
        session_expiry: Duration::from_secs(604_800),
        seed,
    })
}

impl World {
    pub(crate) fn new(seed: u64) -> Result<Self, String> {
        let now = Now {
            boot: BootTime::since_boot(Duration::from_secs(1_000)),
            unix: UnixTime::from_millis(EPOCH_SECONDS * 1_000),
        };
        let config = config(seed)?;
        Ok(Self {
            core: Core::new(config.clone()),
            model: Model::new(config, now),
            now,
            seed,
            apps: (0..APPS).map(|_| AppSide::default()).collect(),
            opening: Opening::AtOnce,
            unopened: VecDeque::new(),
            half_open: false,
            epochs: Vec::new(),
            inbox: VecDeque::new(),
            crash_after: None,
            crashed: false,
            calls: 0,
            connects: 0,
            trace: None,
            edges: Edges::new(),
        })
    }

    pub(crate) fn run(&mut self, case: &[Transition]) -> Checked {
        self.input(Input::Start { remembered: None })?;
        for transition in case {
            self.note(|| format!("== {transition:?}"));
            self.apply(*transition)?;
            if self.crashed {
                self.restart(true)?;
            }
        }
        Ok(())
    }

    pub(crate) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.as_mut() {
            trace.push(line());
        }
    }

    pub(crate) fn apply(&mut self, transition: Transition) -> Checked {
        match transition {
            Transition::Init(app, key) => self.init(app, key),
            Transition::Connect(wish) => self.connect(wish),
            Transition::Reissue { app, honest } => self.reissue(app, honest),
            Transition::UpdateToken { app, secret, bound } => self.update_token(app, secret, bound),
            Transition::Provides { app, can } => {
                let instance = instance(app);
                self.input(if can {
                    let app = requester(app);
                    Input::TokenProvider { instance, app }
                } else {
                    Input::NoTokenProvider { instance }
                })
            }
            Transition::Disconnect(app) => {
                let by = requester(app);
                self.call(Request::Disconnect { by })
            }
            Transition::Logout(app) => {
                let by = requester(app);
                self.call(Request::Logout { by })
            }
            Transition::Unbound(app) => {
                self.apps[app.0].unbound = true;
                let instance = instance(app);
                self.input(Input::Unbound { instance })
            }
            Transition::Server(reply) => self.server(reply),
            Transition::HalfOpen => {
                self.half_open = self.model.link.is_some();
                Ok(())
            }
            Transition::Stale(leftover) => self.stale(leftover),
            Transition::Databases(opening) => {
                self.opening = opening;
                Ok(())
            }
            Transition::Opened { well } => match self.unopened.pop_front() {
                Some(account) => self.opened(account, well),
                None => Ok(()),
            },
            Transition::Restart { rebind } => self.restart(rebind),
            Transition::CrashAfter(actions) => {
                self.crash_after = Some(actions);
                Ok(())
            }
            Transition::Stop => self.stop(),
            Transition::Wake(times) => self.wake(times),
            Transition::Pass(span) => {
                self.pass(span);
                Ok(())
            }
            Transition::Late(span) => {
                self.pass(span);
                self.input(Input::Timeout)
            }
            Transition::Sleeping => self.input(Input::Sleeping),
            Transition::Resumed { asleep } => {
                self.pass(asleep);
                self.input(Input::Resumed)
            }
            Transition::NetworkChanged if self.model.network == Network::Available => {
                self.input(Input::NetworkChanged)
            }
            Transition::NetworkChanged => Ok(()),
            Transition::Network { available } => {
                let network = if available {
                    Network::Available
                } else {
                    Network::Unavailable
                };
                self.input(Input::Network(network))
            }
            Transition::StorageFull(full) => {
                self.input(Input::StorageFull(full.then(|| "no room".to_owned())))
            }
            Transition::WallClock { minutes } => {
                let unix = self.now.unix.as_millis() + minutes * 60_000;
                self.now.unix = UnixTime::from_millis(unix);
                Ok(())
            }
        }
    }

    // Time.

    pub(crate) fn pass(&mut self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.now = Now {
            boot: self.now.boot + span,
            unix: UnixTime::from_millis(self.now.unix.as_millis().saturating_add(millis)),
        };
    }

    pub(crate) fn wake(&mut self, times: usize) -> Checked {
        for _ in 0..times {
            let Some((at, why)) = self.core.poll_timeout() else {
                return Ok(());
            };
            self.note(|| format!("-- woken for {why:?}"));
            self.pass(at.since(self.now.boot));
            self.input(Input::Timeout)?;
            let next = self.core.poll_timeout();
            ensure!(
                self.crashed || next.is_none_or(|(next, _)| next > self.now.boot),
                "the wake-up for {why:?} is still due"
            );
            if self.crashed {
                return Ok(());
            }
        }
        Ok(())
    }

    // The daemon.

    pub(crate) fn stop(&mut self) -> Checked {
        self.input(Input::Stop)?;
        if !self.crashed {
            self.call(Request::Disconnect {
                by: requester(App(0)),
            })?;
        }
        self.restart(true)
    }

    pub(crate) fn restart(&mut self, rebind: bool) -> Checked {
        self.note(|| "-- the daemon starts again".to_owned());
        let network = self.model.network;
        self.seed = self.seed.wrapping_add(1_000_003);
        let mut config = self.model.config.clone();
        config.seed = self.seed;
        self.core = Core::new(config);
        self.model.restarted();
        self.epochs.clear();
        self.unopened.clear();
        self.inbox.clear();
        self.half_open = false;
        self.crash_after = None;
        self.crashed = false;
        for side in &mut self.apps {
            side.unbound = true;
            // Whether the call was taken is unknown: the library asks again with the same id.
            let idle = side.connect.as_ref().is_none_or(|connect| connect.done);
            if let Some(asked) = side.asked.take()
                && idle
            {
                side.connect = Some(asked);
            }
            let goes_on = |connect: &AppConnect| !connect.done || connect.succeeded;
            side.connect = side.connect.take().filter(goes_on);
        }
        let remembered = self.model.disk.clone();
        self.input(Input::Start { remembered })?;
        if network == Network::Unavailable {
            self.input(Input::Network(network))?;
        }
        for app in (0..APPS).map(App).filter(|_| rebind) {
            self.reissue(app, true)?;
        }
        Ok(())
    }

    /// One input and all that follows from it with no time between.
    pub(crate) fn input(&mut self, input: Input) -> Checked {
        // An attempt that is due together with the end of all attempts may be made, and undone: so that the
        // model need not follow that, these inputs do not come late.
        let ends = match &input {
            Input::Stop | Input::Network(_) | Input::NetworkChanged | Input::Sleeping => true,
            Input::Call { request, .. } => {
                // A verdict that needs no dial may be due too: who connects then comes after it.
                !matches!(request, Request::Init { .. })
            }
            Input::Start { .. }
            | Input::Unbound { .. }
            | Input::TokenProvider { .. }
            | Input::NoTokenProvider { .. }
            | Input::AccountOpened { .. }
            | Input::Link { .. }
            | Input::Resumed
            | Input::StorageFull(_)
            | Input::Timeout => false,
        };
        let now = self.now.boot;
        let due = self.core.poll_timeout().is_some_and(|(at, _)| at <= now);
        // At the very edge of a deadline the core decides, and the model follows before it goes on.
        let doom = self.model.link.as_ref().map(|link| link.doom(now));
        if ends && due || doom == Some(Doom::MayDie) {
            self.inbox.push_back(Input::Timeout);
        }
        self.inbox.push_back(input);
        for _ in 0..MAX_INPUTS_AT_ONCE {
            match self.inbox.pop_front() {
                Some(input) if !self.crashed => self.feed(input)?,
                Some(_) | None => return Ok(()),
            }
        }
        Err(format!("{MAX_INPUTS_AT_ONCE} inputs, and no time has passed"))
    }

    pub(crate) fn feed(&mut self, input: Input) -> Checked {
        let now = self.now;
        self.note(|| {
            format!(
                "{:>12?} > {}",
                now.boot.as_duration(),
                crate::words::input(&input)
            )
        });
        self.model.begin(now, &input);
        let due = self.core.poll_timeout().filter(|(at, _)| *at <= now.boot);
        let mut look = Look::begin(&input, due.map(|(_, why)| why), self.core.status());
        self.core.handle(now, input);
        for _ in 0..MAX_ACTIONS_OF_ONE_INPUT {
            if self.crash_after == Some(0) {
                self.crashed = true;
                self.note(|| "-- dies".to_owned());
                return Ok(());
            }
            let Some(action) = self.core.poll_action() else {
                return self.model.settle(&self.core);
            };
            self.note(|| format!("{:>12} < {}", "", crate::words::action(&action)));
            if let Action::Publish(status) = &action {
                look.published(status, &mut self.edges);
            }
            self.model.action(&action)?;
            self.carry_out(action)?;
            self.crash_after = self.crash_after.map(|left| left - 1);
        }
        Err(format!("{MAX_ACTIONS_OF_ONE_INPUT} actions from one input"))
    }

    pub(crate) fn carry_out(&mut self, action: Action) -> Checked {
        match action {
            Action::OpenAccount(account) => match self.opening {
                Opening::AtOnce => self.inbox.push_back(opened(account, true)),
                Opening::Failing => self.inbox.push_back(opened(account, false)),
                Opening::Later => {
                    self.unopened.retain(|before| *before != account);
                    self.unopened.push_back(account);
                }
            },
            Action::Dial(dial) => {
                self.half_open = false;
                self.epochs.push(dial.epoch);
            }
            Action::Ping { epoch } if !self.half_open => self.inbox.push_back(Input::Link {
                epoch,
                event: LinkEvent::Received { messages: false },
            }),
            Action::Answer { result, .. } => {
                for side in &mut self.apps {
                    if let Some(asked) = side.asked.take()
                        && result.is_ok()
                    {
                        side.connect = Some(asked);
                    }
                }
            }
            Action::Callback { connect, callback } => return self.callback(&connect, &callback),
            Action::Ping { .. }
            | Action::Persist(_)
            | Action::Login { .. }
            | Action::HangUp { .. }
            | Action::Publish(_)
            | Action::Notify(_)
            | Action::AskForToken { .. }
            | Action::ForgetServers { .. }
            | Action::Stopped => {}
        }
        Ok(())
    }

    pub(crate) fn opened(&mut self, account: Account, well: bool) -> Checked {
        self.input(opened(account, well))
    }
}

pub(crate) fn opened(account: Account, well: bool) -> Input {
    let result = if well {
        Ok(Opened::default())
    } else {
        Err(OpenFailure {
            text: "the disk is on fire".to_owned(),
        })
    };
    Input::AccountOpened { account, result }
}

pub(crate) fn instance(app: App) -> InstanceId {
    InstanceId(format!("app{}", app.0).into())
}

pub(crate) fn requester(app: App) -> Requester {
    Requester {
        app_id: Arc::from(format!("org.example.App{}", app.0)),
        pid: 4_711,
    }
}
