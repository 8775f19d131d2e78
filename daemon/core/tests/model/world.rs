//! Everything around the core: apps, the shell that carries actions out, the file, the clocks, the server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use imd_core::account::{Account, DeviceClass, InstallationId};
use imd_core::io::{
    Accepted, Action, CallId, Callback, Config, ConnectId, ConnectKey, ConnectRequest, Epoch, Fault,
    FaultKind, Input, InstanceId, LinkEvent, LoginPolicy, Network, OpenFailure, Opened, Protocol, Request,
    Requester, ServerDirectory, ServerWords,
};
use imd_core::server::{Server, Transport};
use imd_core::time::{BootTime, Now, UnixTime};
use imd_core::{Code, Core};

use crate::checks::{Checked, ensure};
use crate::link::{Link, Stage};
use crate::reference::Model;
use crate::transition::{
    APPS, App, Connack, Key, Leftover, LoginStep, OnlineStep, Opening, Reply, Secret, Transition, Wish, Words,
};

/// When every case begins, in seconds since 1970.
pub const EPOCH_SECONDS: i64 = 1_900_000_000;

/// More inputs than this with no time between them are a livelock.
const MAX_INPUTS_AT_ONCE: usize = 60;
const MAX_ACTIONS_OF_ONE_INPUT: usize = 60;

pub struct World {
    core: Core,
    model: Model,
    now: Now,
    seed: u64,
    apps: Vec<AppSide>,
    opening: Opening,
    /// Databases that are being opened.
    unopened: VecDeque<Account>,
    /// The server takes everything and says nothing.
    half_open: bool,
    epochs: Vec<Epoch>,
    inbox: VecDeque<Input>,
    /// After so many more actions the daemon dies.
    crash_after: Option<usize>,
    crashed: bool,
    calls: u64,
    connects: u64,
    pub trace: Option<Vec<String>>,
}

/// What an app's library knows.
#[derive(Default)]
struct AppSide {
    key: Option<Key>,
    /// Its binding has ended, so that it must init again.
    unbound: bool,
    connect: Option<AppConnect>,
    /// Asked, and not yet answered.
    asked: Option<AppConnect>,
}

#[derive(Clone)]
struct AppConnect {
    id: ConnectId,
    wish: Wish,
    deadline: Option<BootTime>,
    opened: bool,
    done: bool,
    /// Issued once more after its end: its outcome may be told again.
    replay: bool,
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
        ..ServerDirectory::default()
    };
    let both = vec![server("one.example"), server("fallback.example")];
    servers.by_app.insert(Key::Demo.parse()?, both);
    servers
        .by_app
        .insert(Key::Other.parse()?, vec![server("other.example")]);
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
    pub fn new(seed: u64) -> Result<Self, String> {
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
        })
    }

    pub fn run(&mut self, case: &[Transition]) -> Checked {
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

    fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = self.trace.as_mut() {
            trace.push(line());
        }
    }

    fn apply(&mut self, transition: Transition) -> Checked {
        match transition {
            Transition::Init(app, key) => self.init(app, key),
            Transition::Connect(wish) => self.connect(wish),
            Transition::Reissue { app, honest } => self.reissue(app, honest),
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
            Transition::WallClock { minutes } => {
                let unix = self.now.unix.as_millis() + minutes * 60_000;
                self.now.unix = UnixTime::from_millis(unix);
                Ok(())
            }
        }
    }

    // Time.

    fn pass(&mut self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        self.now = Now {
            boot: self.now.boot + span,
            unix: UnixTime::from_millis(self.now.unix.as_millis().saturating_add(millis)),
        };
    }

    fn wake(&mut self, times: usize) -> Checked {
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

    // Apps.

    fn call(&mut self, request: Request) -> Checked {
        self.calls += 1;
        let call = CallId(self.calls);
        self.input(Input::Call { call, request })
    }

    fn init(&mut self, app: App, key: Key) -> Checked {
        let app_key = key.parse()?;
        let instance = instance(app);
        self.call(Request::Init { instance, app_key })?;
        let took = self
            .core
            .instance(&self::instance(app))
            .0
            .map(|key| key.as_str().to_owned());
        let side = &mut self.apps[app.0];
        if took.as_deref() == Some(key.text()) {
            side.key = Some(key);
            side.unbound = false;
        }
        Ok(())
    }

    /// The library inits again by itself after its binding has ended.
    fn rebind(&mut self, app: App) -> Checked {
        match self.apps[app.0].key {
            Some(key) if self.apps[app.0].unbound => self.init(app, key),
            Some(_) | None => Ok(()),
        }
    }

    fn connect(&mut self, wish: Wish) -> Checked {
        self.rebind(wish.app)?;
        // A limit of its own that has passed is told before, not in one breath with the answer.
        let own = self.apps[wish.app.0].connect.as_ref();
        if own.is_some_and(|own| !own.done && own.deadline.is_some_and(|deadline| deadline <= self.now.boot))
        {
            self.input(Input::Timeout)?;
        }
        if self.crashed {
            return Ok(());
        }
        self.connects += 1;
        let limit = u64::try_from(wish.limit).ok().filter(|limit| *limit > 0);
        let connect = AppConnect {
            id: ConnectId(format!("c{}", self.connects).into()),
            wish,
            deadline: limit.map(|limit| self.now.boot + Duration::from_secs(limit)),
            opened: false,
            done: false,
            replay: false,
        };
        self.issue(connect)
    }

    fn issue(&mut self, connect: AppConnect) -> Checked {
        let app = connect.wish.app;
        let request = ConnectRequest {
            key: ConnectKey {
                instance: instance(app),
                connect: connect.id.clone(),
            },
            app: requester(app),
            app_key: connect.wish.one_call.map(Key::parse).transpose()?,
            token: connect.wish.secret.token()?,
            user_id: connect.wish.user.map(|user| user.parse()).transpose()?,
            time_limit: connect.deadline.map(|deadline| deadline.since(self.now.boot)),
            database_opened_seen: connect.opened,
        };
        self.apps[app.0].asked = Some(connect);
        self.call(Request::Connect(request))
    }

    fn reissue(&mut self, app: App, honest: bool) -> Checked {
        self.rebind(app)?;
        if self.crashed {
            return Ok(());
        }
        let Some(mut connect) = self.apps[app.0].connect.clone() else {
            return Ok(());
        };
        // A limit that has passed meanwhile is the library's own matter.
        let passed = connect.deadline.is_some_and(|deadline| deadline <= self.now.boot);
        if !connect.done && passed {
            return Ok(());
        }
        connect.replay = connect.done;
        connect.opened &= honest;
        self.issue(connect)
    }

    // The daemon.

    fn stop(&mut self) -> Checked {
        self.input(Input::Stop)?;
        if !self.crashed {
            self.call(Request::Disconnect {
                by: requester(App(0)),
            })?;
        }
        self.restart(true)
    }

    fn restart(&mut self, rebind: bool) -> Checked {
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
            if side.connect.as_ref().is_some_and(|connect| connect.done) {
                side.connect = None;
            }
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
    fn input(&mut self, input: Input) -> Checked {
        // An attempt that is due together with the end of all attempts may be made, and undone: so that the
        // model need not follow that, these inputs do not come late.
        let ends = match &input {
            Input::Stop | Input::Network(_) => true,
            Input::Call { request, .. } => {
                matches!(request, Request::Disconnect { .. } | Request::Logout { .. })
            }
            Input::Start { .. }
            | Input::Unbound { .. }
            | Input::AccountOpened { .. }
            | Input::Link { .. }
            | Input::NetworkChanged
            | Input::Resumed
            | Input::Timeout => false,
        };
        if ends
            && self
                .core
                .poll_timeout()
                .is_some_and(|(at, _)| at <= self.now.boot)
        {
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

    fn feed(&mut self, input: Input) -> Checked {
        let now = self.now;
        self.note(|| {
            format!(
                "{:>12?} > {}",
                now.boot.as_duration(),
                crate::words::input(&input)
            )
        });
        self.model.begin(now, &input);
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
            self.model.action(&action)?;
            self.carry_out(action)?;
            self.crash_after = self.crash_after.map(|left| left - 1);
        }
        Err(format!("{MAX_ACTIONS_OF_ONE_INPUT} actions from one input"))
    }

    fn carry_out(&mut self, action: Action) -> Checked {
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
            | Action::Stopped => {}
        }
        Ok(())
    }

    /// What an app hears over all its daemons: one terminal callback, and onDatabaseOpened once before it.
    fn callback(&mut self, key: &ConnectKey, callback: &Callback) -> Checked {
        let side = (0..APPS).find(|app| instance(App(*app)) == key.instance);
        let connect = side
            .and_then(|app| self.apps[app].connect.as_mut())
            .filter(|connect| connect.id == key.connect);
        let Some(connect) = connect else {
            return Err(format!(
                "{}/{} hears of a connect it does not know",
                key.instance.0, key.connect.0
            ));
        };
        match callback {
            Callback::DatabaseOpened(_) => {
                ensure!(
                    !connect.opened && (!connect.done || connect.replay),
                    "{} hears onDatabaseOpened once too often",
                    key.instance.0
                );
                connect.opened = true;
            }
            Callback::Success(_) | Callback::Error(_) => {
                ensure!(
                    !connect.done || connect.replay,
                    "{} hears a second terminal callback",
                    key.instance.0
                );
                connect.done = true;
                connect.replay = false;
            }
        }
        Ok(())
    }

    fn opened(&mut self, account: Account, well: bool) -> Checked {
        self.input(opened(account, well))
    }

    // The server.

    fn server(&mut self, reply: Reply) -> Checked {
        if self.half_open {
            return Ok(());
        }
        let Some(link) = self.model.link.as_ref() else {
            return Ok(());
        };
        let event = match link.stage {
            Stage::Dialing { .. } => self.connack(reply.dialing),
            Stage::LoggingIn { .. } => login_step(reply.logging_in),
            Stage::Online { .. } => Some(self.online_step(reply.online)),
        };
        match event {
            Some(event) => self.link_event(event),
            None => Ok(()),
        }
    }

    fn link_event(&mut self, event: LinkEvent) -> Checked {
        let Some(epoch) = self.model.link.as_ref().map(|link| link.epoch()) else {
            return Ok(());
        };
        let received = match &event {
            LinkEvent::Failed(_) | LinkEvent::Unacknowledged { .. } | LinkEvent::Received { .. } => false,
            LinkEvent::Accepted(_)
            | LinkEvent::Refused(_)
            | LinkEvent::LoggedIn
            | LinkEvent::LoginRefused { .. }
            | LinkEvent::GroupRefused { .. }
            | LinkEvent::MarkerFound { .. }
            | LinkEvent::MarkerReturned
            | LinkEvent::ServerDisconnect(_) => true,
        };
        if received {
            let event = LinkEvent::Received { messages: false };
            self.input(Input::Link { epoch, event })?;
        }
        self.input(Input::Link { epoch, event })
    }

    fn connack(&self, connack: Connack) -> Option<LinkEvent> {
        let dial = &self.model.link.as_ref()?.dial;
        let older = dial.protocol == Protocol::V311;
        let mut event = match connack {
            Connack::Honest {
                names,
                session_present,
            } => {
                let secret = Secret::of(&dial.token);
                let expired = secret
                    .and_then(Secret::claims)
                    .and_then(|(_, _, exp)| exp)
                    .is_some_and(|exp| exp * 1_000 + 300_000 < self.now.unix.as_millis());
                match secret.and_then(Secret::owner) {
                    Some(owner) if !expired => LinkEvent::Accepted(Accepted {
                        session_present,
                        user_id: names.then(|| owner.text().to_owned()),
                        ..Accepted::default()
                    }),
                    Some(_) => LinkEvent::Refused(plain(0x87)),
                    None => LinkEvent::Refused(plain(0x86)),
                }
            }
            Connack::Accept {
                user,
                keep_alive,
                im_code,
            } => LinkEvent::Accepted(Accepted {
                session_present: false,
                user_id: user.map(str::to_owned),
                keep_alive: keep_alive.map(Duration::from_secs),
                im_code: im_code.map(Code),
                reason_string: None,
            }),
            Connack::Refuse(said) => LinkEvent::Refused(words(said)),
            Connack::Fail(kind) => failed(kind),
            Connack::Silence => return None,
        };
        if older {
            without_properties(&mut event);
        }
        Some(event)
    }

    fn online_step(&mut self, step: OnlineStep) -> LinkEvent {
        match step {
            OnlineStep::Received { messages } => LinkEvent::Received { messages },
            OnlineStep::MarkerReturned => LinkEvent::MarkerReturned,
            OnlineStep::MarkerFound => marker("here"),
            OnlineStep::GroupRefused => LinkEvent::GroupRefused {
                group: "g".to_owned(),
            },
            OnlineStep::Unacknowledged(age) => {
                let accepted = self.model.link.as_mut().and_then(Link::up).map(|up| up.accepted);
                let sent = |age| BootTime::since_boot(self.now.boot.as_duration().saturating_sub(age));
                LinkEvent::Unacknowledged {
                    since: age.map(sent).max(accepted.filter(|_| age.is_some())),
                }
            }
            OnlineStep::Disconnect(said) => LinkEvent::ServerDisconnect(words(said)),
            OnlineStep::Fail(kind) => failed(kind),
        }
    }

    /// Whatever an ended link still says changes nothing.
    fn stale(&mut self, leftover: Leftover) -> Checked {
        self.input(Input::Timeout)?;
        let live = self.model.link.as_ref().map(|link| link.epoch());
        let ended = self
            .epochs
            .iter()
            .rev()
            .copied()
            .find(|epoch| Some(*epoch) != live);
        let Some(epoch) = ended.filter(|_| !self.crashed) else {
            return Ok(());
        };
        let event = match leftover {
            Leftover::Accepted => LinkEvent::Accepted(Accepted::default()),
            Leftover::Refused => LinkEvent::Refused(plain(0x86)),
            Leftover::LoggedIn => LinkEvent::LoggedIn,
            Leftover::LoginRefused => LinkEvent::LoginRefused {
                what: "the inbox".to_owned(),
            },
            Leftover::MarkerReturned => LinkEvent::MarkerReturned,
            Leftover::Received => LinkEvent::Received { messages: true },
            Leftover::Unacknowledged => LinkEvent::Unacknowledged {
                since: Some(BootTime::since_boot(Duration::ZERO)),
            },
            Leftover::Kicked => LinkEvent::ServerDisconnect(plain(0x8e)),
            Leftover::Failed => failed(FaultKind::Io),
        };
        self.note(|| format!("{:>12} > stale {epoch:?} {event:?}", ""));
        let before = (self.core.poll_timeout(), self.core.status().cloned());
        self.core.handle(self.now, Input::Link { epoch, event });
        ensure!(
            self.core.poll_action().is_none(),
            "a stale event leads to an action"
        );
        let after = (self.core.poll_timeout(), self.core.status().cloned());
        ensure!(before == after, "a stale event changes {before:?} into {after:?}");
        Ok(())
    }
}

fn login_step(step: LoginStep) -> Option<LinkEvent> {
    Some(match step {
        LoginStep::LoggedIn => LinkEvent::LoggedIn,
        LoginStep::LoginRefused => LinkEvent::LoginRefused {
            what: "the inbox".to_owned(),
        },
        LoginStep::MarkerReturned => LinkEvent::MarkerReturned,
        LoginStep::MarkerFound => marker("elsewhere"),
        LoginStep::GroupRefused => LinkEvent::GroupRefused {
            group: "g".to_owned(),
        },
        LoginStep::Received => LinkEvent::Received { messages: true },
        LoginStep::Disconnect(said) => LinkEvent::ServerDisconnect(words(said)),
        LoginStep::Fail(kind) => failed(kind),
        LoginStep::Silence => return None,
    })
}

/// MQTT 3.1.1 has no properties.
fn without_properties(event: &mut LinkEvent) {
    if let LinkEvent::Accepted(accepted) = event {
        *accepted = Accepted {
            session_present: accepted.session_present,
            ..Accepted::default()
        };
    } else if let LinkEvent::Refused(said) = event {
        *said = plain(said.reason);
    }
}

fn words(said: Words) -> ServerWords {
    ServerWords {
        server_reference: said.reference.map(str::to_owned),
        im_code: said.im_code.map(Code),
        retry_after: said.retry_after.map(Duration::from_secs),
        ..plain(said.reason)
    }
}

fn plain(reason: u8) -> ServerWords {
    ServerWords {
        reason,
        raw: reason,
        ..ServerWords::default()
    }
}

fn failed(kind: FaultKind) -> LinkEvent {
    LinkEvent::Failed(Fault {
        kind,
        text: "as the case wants it".to_owned(),
    })
}

fn marker(installation: &str) -> LinkEvent {
    LinkEvent::MarkerFound {
        installation: InstallationId::new(installation),
    }
}

fn opened(account: Account, well: bool) -> Input {
    let result = if well {
        Ok(Opened::default())
    } else {
        Err(OpenFailure {
            text: "the disk is on fire".to_owned(),
        })
    };
    Input::AccountOpened { account, result }
}

fn instance(app: App) -> InstanceId {
    InstanceId(format!("app{}", app.0).into())
}

fn requester(app: App) -> Requester {
    Requester {
        app_id: Arc::from(format!("org.example.App{}", app.0)),
        pid: 4_711,
    }
}
