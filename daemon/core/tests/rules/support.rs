//! A daemon with everything around it faked: apps, file, databases, clocks, server.

use std::sync::Arc;
use std::time::Duration;

use imd_core::account::{Account, AppKey, DeviceClass, InstallationId, Token, UserId};
use imd_core::io::{
    Accepted, Action, CallId, Callback, Config, ConnectId, ConnectKey, ConnectRequest, ConnectionStatus,
    Dial, Epoch, Event, Fault, FaultKind, HangUp, Input, InstanceId, LinkEvent, LoginPolicy, Network,
    OpenFailure, Opened, Remembered, Request, Requester, ServerDirectory, ServerWords, Status,
};
use imd_core::server::{Server, Transport};
use imd_core::time::{BootTime, Now, UnixTime};
use imd_core::{Code, Core, WakeUp};

use crate::wish::Wish;
pub(crate) use crate::wish::with;

/// When every test begins, in seconds since 1970.
pub(crate) const BEGIN: i64 = 1_900_000_000;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

pub(crate) fn account(id: &str) -> Account {
    Account {
        app_key: AppKey::parse("demo").unwrap(),
        user_id: user(id),
    }
}

pub(crate) fn secret(text: &str) -> Token {
    Token::parse(text.to_owned()).unwrap()
}

/// A JWT with these claims.
pub(crate) fn jwt(claims: &str) -> String {
    use base64::Engine as _;
    let part = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part(claims))
}

/// What an app was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Opened,
    NotOpened,
    Success(UserId),
    Error(Code),
}

pub(crate) fn success(id: &str) -> Told {
    Told::Success(user(id))
}

pub(crate) fn words(reason: u8) -> ServerWords {
    ServerWords {
        reason,
        raw: reason,
        ..ServerWords::default()
    }
}

pub(crate) fn im_code(code: i32) -> ServerWords {
    ServerWords {
        im_code: Some(Code(code)),
        ..words(0x80)
    }
}

pub(crate) fn hint(seconds: u64) -> ServerWords {
    ServerWords {
        retry_after: Some(secs(seconds)),
        ..words(0x89)
    }
}

pub(crate) fn elsewhere(reference: &str) -> ServerWords {
    ServerWords {
        server_reference: Some(reference.to_owned()),
        ..words(0x9C)
    }
}

pub(crate) struct Imd {
    core: Core,
    config: Config,
    pub(crate) now: Now,
    /// What the file of the wanted state says.
    pub(crate) disk: Option<Remembered>,
    /// Databases open at once, unless this is off.
    pub(crate) databases_answer: bool,
    pub(crate) databases_open: bool,
    /// The server answers each PINGREQ.
    pub(crate) pongs: bool,
    /// All that was asked for, in order.
    pub(crate) actions: Vec<Action>,
    calls: u64,
}

impl Imd {
    /// A daemon on its first day. The App Keys `demo` and `other` have a server,
    /// `beside` has one that is away and one on this machine.
    pub(crate) fn new() -> Self {
        Self::with_login(LoginPolicy::One)
    }

    pub(crate) fn with_login(login: LoginPolicy) -> Self {
        let server = |host: &str| Server {
            transport: Transport::Tcp,
            host: host.into(),
            port: 1883,
            path: "".into(),
        };
        let mut servers = ServerDirectory {
            missing: "no server for this App Key: write imd.toml".to_owned(),
            plaintext: true,
            ..ServerDirectory::default()
        };
        for key in ["demo", "other"] {
            let key = AppKey::parse(key).unwrap();
            servers.by_app.insert(key, vec![server("one.example")]);
        }
        let beside = vec![server("away.example"), server("127.0.0.1")];
        servers.by_app.insert(AppKey::parse("beside").unwrap(), beside);
        let key = AppKey::parse("several").unwrap();
        let nav = Server {
            transport: Transport::Nav,
            ..server("nav.example")
        };
        servers.by_app.insert(AppKey::parse("nav").unwrap(), vec![nav]);
        let several = ["first.example", "second.example", "third.example"];
        servers.by_app.insert(key, several.map(server).to_vec());
        let config = Config {
            servers,
            device_class: DeviceClass::default(),
            login,
            installation: InstallationId::new("here"),
            keep_alive: secs(30),
            session_expiry: secs(604_800),
            seed: 7,
        };
        let mut imd = Self {
            core: Core::new(config.clone()),
            config,
            now: Now {
                boot: BootTime::since_boot(secs(100)),
                unix: UnixTime::from_millis(BEGIN * 1_000),
            },
            disk: None,
            databases_answer: true,
            databases_open: true,
            pongs: true,
            actions: Vec::new(),
            calls: 0,
        };
        imd.input(Input::Start { remembered: None });
        imd
    }

    /// Three apps that have called Init with `demo`.
    pub(crate) fn with_apps() -> Self {
        let mut imd = Self::new();
        for app in ["chat", "mail", "bot"] {
            assert_eq!(imd.init(app, "demo"), Ok(()));
        }
        imd
    }

    /// `chat` is connected as alice.
    pub(crate) fn online() -> Self {
        let mut imd = Self::with_apps();
        assert_eq!(imd.connect("chat", with("t1").user("alice")), Ok(()));
        imd.comes_up();
        assert_eq!(imd.status().status, ConnectionStatus::Connected);
        imd
    }

    /// Killed, and started again with what is on disk.
    pub(crate) fn restart(&mut self) {
        self.core = Core::new(self.config.clone());
        self.actions.clear();
        let remembered = self.disk.clone();
        self.input(Input::Start { remembered });
    }

    /// The configuration lets nothing leave the machine unencrypted, from the next start on.
    pub(crate) fn forbid_plaintext(&mut self) {
        self.config.servers.plaintext = false;
    }

    // What happens.

    /// One input, and what the faked world answers to it at once.
    pub(crate) fn input(&mut self, input: Input) {
        self.core.handle(self.now, input);
        let mut follows = Vec::new();
        while let Some(action) = self.core.poll_action() {
            if let Action::Persist(remembered) = &action {
                self.disk = Some((**remembered).clone());
            }
            if let Action::OpenAccount(account) = &action
                && self.databases_answer
            {
                follows.push(opened(account.clone(), self.databases_open));
            }
            if let Action::Ping { epoch } = &action
                && self.pongs
            {
                let (epoch, event) = (*epoch, LinkEvent::Received { messages: false });
                follows.push(Input::Link { epoch, event });
            }
            self.actions.push(action);
        }
        for input in follows {
            self.input(input);
        }
    }

    pub(crate) fn call(&mut self, request: Request) -> Result<(), Code> {
        self.calls += 1;
        let asked = CallId(self.calls);
        self.input(Input::Call { call: asked, request });
        let mut answers = self.actions.iter().filter_map(|action| match action {
            Action::Answer { call, result } if *call == asked => Some(result.clone()),
            Action::Answer { .. }
            | Action::Callback { .. }
            | Action::Persist(_)
            | Action::OpenAccount(_)
            | Action::Dial(_)
            | Action::Login { .. }
            | Action::Ping { .. }
            | Action::HangUp { .. }
            | Action::Publish(_)
            | Action::Notify(_)
            | Action::AskForToken { .. }
            | Action::ForgetServers { .. }
            | Action::Stopped => None,
        });
        let answer = answers.next().expect("every call is answered");
        assert!(answers.next().is_none(), "answered twice");
        answer.map_err(|refusal| refusal.code)
    }

    pub(crate) fn init(&mut self, app: &str, app_key: &str) -> Result<(), Code> {
        let (instance, app_key) = (instance(app), AppKey::parse(app_key).unwrap());
        self.call(Request::Init { instance, app_key })
    }

    pub(crate) fn connect(&mut self, app: &str, wish: Wish) -> Result<(), Code> {
        let id = wish.id.unwrap_or_else(|| format!("{app}-{}", self.calls));
        self.call(Request::Connect(ConnectRequest {
            key: ConnectKey {
                instance: instance(app),
                connect: ConnectId(id.into()),
            },
            app: requester(app),
            app_key: wish.app_key.map(|key| AppKey::parse(key).unwrap()),
            token: secret(&wish.token),
            user_id: wish.user.map(user),
            time_limit: wish.limit,
            database_opened_seen: wish.seen,
            resumes: wish.resumes,
        }))
    }

    pub(crate) fn disconnect(&mut self, app: &str) {
        let by = requester(app);
        assert_eq!(self.call(Request::Disconnect { by }), Ok(()));
    }

    pub(crate) fn logout(&mut self, app: &str) {
        let by = requester(app);
        assert_eq!(self.call(Request::Logout { by }), Ok(()));
    }

    pub(crate) fn unbind(&mut self, app: &str) {
        let instance = instance(app);
        self.input(Input::Unbound { instance });
    }

    pub(crate) fn database(&mut self, id: &str, opens: bool) {
        self.input(opened(account(id), opens));
    }

    pub(crate) fn network(&mut self, network: Network) {
        self.input(Input::Network(network));
    }

    // The server.

    /// Something on the link that was dialled last.
    pub(crate) fn link(&mut self, event: LinkEvent) {
        let epoch = self.dialed().epoch;
        self.link_of(epoch, event);
    }

    pub(crate) fn link_of(&mut self, epoch: Epoch, event: LinkEvent) {
        self.input(Input::Link { epoch, event });
    }

    pub(crate) fn accepts(&mut self) {
        self.link(LinkEvent::Accepted(Accepted {
            session_present: true,
            ..Accepted::default()
        }));
    }

    pub(crate) fn accepts_as(&mut self, user: &str) {
        self.link(LinkEvent::Accepted(Accepted {
            session_present: true,
            user_id: Some(user.to_owned()),
            ..Accepted::default()
        }));
    }

    pub(crate) fn comes_up(&mut self) {
        self.accepts();
        self.link(LinkEvent::LoggedIn);
    }

    pub(crate) fn refuses(&mut self, words: ServerWords) {
        self.link(LinkEvent::Refused(words));
    }

    pub(crate) fn disconnects(&mut self, words: ServerWords) {
        self.link(LinkEvent::ServerDisconnect(words));
    }

    pub(crate) fn fails(&mut self, kind: FaultKind) {
        let text = "as the test wants it".to_owned();
        self.link(LinkEvent::Failed(Fault { kind, text }));
    }

    // Time.

    /// Time passes and nobody says so: the next input comes late.
    pub(crate) fn pass(&mut self, span: Duration) {
        let millis = i64::try_from(span.as_millis()).unwrap();
        self.now = Now {
            boot: self.now.boot + span,
            unix: UnixTime::from_millis(self.now.unix.as_millis() + millis),
        };
    }

    /// Somebody sets the wall clock, by so many milliseconds.
    pub(crate) fn set_wall_clock(&mut self, by: i64) {
        self.now.unix = UnixTime::from_millis(self.now.unix.as_millis() + by);
    }

    /// Time passes, with every wake-up at its time.
    pub(crate) fn wait(&mut self, span: Duration) {
        let end = self.now.boot + span;
        while let Some((at, _)) = self.core.poll_timeout()
            && at <= end
        {
            self.pass(at.since(self.now.boot));
            self.input(Input::Timeout);
        }
        self.pass(end.since(self.now.boot));
    }

    /// To the next wake-up: how long it took, and what it was for.
    pub(crate) fn wake(&mut self) -> (Duration, WakeUp) {
        let (at, why) = self.core.poll_timeout().expect("something is due some time");
        let span = at.since(self.now.boot);
        self.wait(span);
        (span, why)
    }

    /// To the next attempt, past all else: how long it took.
    pub(crate) fn redials(&mut self) -> Duration {
        let begin = self.now.boot;
        let dials = self.dials();
        while self.dials() == dials {
            self.wake();
        }
        self.now.boot.since(begin)
    }

    pub(crate) fn now(&self) -> BootTime {
        self.now.boot
    }

    pub(crate) fn next_wake_up(&self) -> Option<WakeUp> {
        self.core.poll_timeout().map(|(_, why)| why)
    }

    // What was seen.

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn status(&self) -> Status {
        self.core.status().expect("a status is published").clone()
    }

    pub(crate) fn is(&self, status: ConnectionStatus) {
        let is = self.status();
        assert_eq!(is.status, status, "{}", is.reason);
    }

    /// All that an app was told, in order.
    pub(crate) fn told(&self, app: &str) -> Vec<Told> {
        let told = |action: &Action| {
            let Action::Callback { connect, callback } = action else {
                return None;
            };
            (connect.instance == instance(app)).then(|| match callback {
                Callback::DatabaseOpened(Ok(_)) => Told::Opened,
                Callback::DatabaseOpened(Err(_)) => Told::NotOpened,
                Callback::Success(user) => Told::Success(user.clone()),
                Callback::Error(refusal) => Told::Error(refusal.code),
            })
        };
        self.actions.iter().filter_map(told).collect()
    }

    /// What a test has seen, it need not see again.
    pub(crate) fn forget(&mut self) {
        self.actions.retain(|action| matches!(action, Action::Dial(_)));
    }

    pub(crate) fn dials(&self) -> usize {
        self.actions
            .iter()
            .filter(|action| matches!(action, Action::Dial(_)))
            .count()
    }

    /// The last dial.
    pub(crate) fn dialed(&self) -> Dial {
        let dial = |action: &Action| match action {
            Action::Dial(dial) => Some((**dial).clone()),
            Action::Answer { .. }
            | Action::Callback { .. }
            | Action::Persist(_)
            | Action::OpenAccount(_)
            | Action::Login { .. }
            | Action::Ping { .. }
            | Action::HangUp { .. }
            | Action::Publish(_)
            | Action::Notify(_)
            | Action::AskForToken { .. }
            | Action::ForgetServers { .. }
            | Action::Stopped => None,
        };
        self.actions.iter().rev().find_map(dial).expect("a dial")
    }

    /// How the last link that was hung up was hung up.
    pub(crate) fn hung_up(&self) -> Option<HangUp> {
        self.actions.iter().rev().find_map(|action| {
            let Action::HangUp { how, .. } = action else {
                return None;
            };
            Some(*how)
        })
    }

    pub(crate) fn pings(&self) -> usize {
        self.actions
            .iter()
            .filter(|action| matches!(action, Action::Ping { .. }))
            .count()
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let event = |action: &Action| {
            let Action::Notify(event) = action else {
                return None;
            };
            Some(event.clone())
        };
        self.actions.iter().filter_map(event).collect()
    }

    /// Where the first such action stands among all that was asked for.
    pub(crate) fn first(&self, what: impl Fn(&Action) -> bool) -> usize {
        self.actions
            .iter()
            .position(what)
            .expect("the action was asked for")
    }

    pub(crate) fn wanted(&self) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.wanted)
    }

    pub(crate) fn remembered_token(&self) -> Option<String> {
        let token = self.disk.as_ref()?.token.as_ref()?;
        Some(token.reveal().to_owned())
    }
}

fn opened(account: Account, opens: bool) -> Input {
    let text = "the file is not a database".to_owned();
    let result = if opens {
        Ok(Opened::default())
    } else {
        Err(OpenFailure { text })
    };
    Input::AccountOpened { account, result }
}

pub(crate) fn instance(app: &str) -> InstanceId {
    InstanceId(app.into())
}

pub(crate) fn requester(app: &str) -> Requester {
    Requester {
        app_id: Arc::from(format!("org.example.{app}")),
        pid: 4_711,
    }
}

impl Imd {
    /// The loop is at work.
    #[track_caller]
    pub(crate) fn is_trying(&self) {
        let is = self.status().status;
        assert!(
            [ConnectionStatus::Connecting, ConnectionStatus::Suspend].contains(&is),
            "{is:?}"
        );
    }
}
