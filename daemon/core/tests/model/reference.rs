//! The reference: what the design says must follow from an input, for every caller and for the connection.
//!
//! [`Model::begin`] is told the input and writes into [`Step`] what may and must happen; `checks.rs` holds
//! the core's actions against it. Where the design leaves room, both ways are allowed, and the model then
//! follows the core.

use std::collections::BTreeMap;
use std::time::Duration;

use imd_core::account::{Account, AppKey, Token, UserId};
use imd_core::io::{
    Action, CallId, Config, ConnectId, ConnectKey, ConnectRequest, ConnectionStatus, Epoch, HangUp, Input,
    InstanceId, Network, Opened, Protocol, Remembered, Request, Status,
};
use imd_core::server::Server;
use imd_core::time::{BootTime, Now};
use imd_core::{Code, ConnectPhase};

use crate::link::{Doom, Link, Stage, Sync};
use crate::pace::{Pace, Span};
use crate::renewal::Renewal;

pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) now: Now,
    /// What the file of the wanted state says.
    pub(crate) disk: Option<Remembered>,
    /// As last published.
    pub(crate) status: Option<Status>,
    pub(crate) network: Network,
    pub(crate) storage_full: Option<String>,
    pub(crate) database: Option<Database>,
    pub(crate) link: Option<Link>,
    pub(crate) newest_epoch: Option<Epoch>,
    pub(crate) pace: Pace,
    /// The connection, while it is wanted.
    pub(crate) hold: Option<Hold>,
    pub(crate) instances: BTreeMap<InstanceId, Instance>,
    /// Every token a CONNACK has taken, and for whom.
    pub(crate) taken: Vec<(Account, Token)>,
    /// The accounts that have been logged in.
    pub(crate) logged_in: Vec<Account>,
    /// The statuses the last end may have left; `None`: any that is an end.
    pub(crate) ended: Option<Vec<ConnectionStatus>>,
    /// Somebody has signed out in this run.
    pub(crate) signed_out: bool,
    pub(crate) stopped: bool,
    pub(crate) renewal: Renewal,
    pub(crate) step: Step,
}

/// The one database the shell has been asked for last.
pub(crate) struct Database {
    pub(crate) account: Account,
    pub(crate) state: DatabaseState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseState {
    Opening,
    Open,
    Failed,
}

/// The connection somebody wants.
pub(crate) struct Hold {
    pub(crate) app_key: AppKey,
    pub(crate) user: Option<UserId>,
    /// The first success is past (for a restarted daemon: before its start): limits no longer end it.
    pub(crate) succeeded: bool,
    /// It was taken up from the last run: nobody asked for it in this one.
    pub(crate) from_last_run: bool,
    pub(crate) tokens: Vec<Brought>,
    /// Where a server has sent us, until it fails.
    pub(crate) referred: Option<Server>,
    /// A server said that it does not speak MQTT 5.
    pub(crate) older_protocol: bool,
    /// A server has answered a CONNECT, so that what is spoken is known.
    pub(crate) spoken: bool,
    /// Closes on a CONNECT, without a word, in a row and in one version.
    pub(crate) silent_closes: u32,
    pub(crate) redirected: bool,
    /// Lenient tries since a CONNACK took a token: at least, at most.
    pub(crate) refusals: (usize, usize),
}

/// A token an app brought.
pub(crate) struct Brought {
    pub(crate) token: Token,
    /// The server has refused it, and there is no leniency left.
    pub(crate) refused: bool,
    /// It has been sent.
    pub(crate) tried: bool,
    /// A CONNACK has taken it since this connection is wanted.
    pub(crate) taken: bool,
    /// By UpdateToken, too.
    pub(crate) updated: bool,
    /// By UpdateToken alone: once it is taken, those before it are of no use, nor is it once it is replaced.
    pub(crate) replaces: bool,
    /// By the last UpdateToken, and not sent since.
    pub(crate) next: bool,
}

#[derive(Default)]
pub(crate) struct Instance {
    pub(crate) app_key: Option<AppKey>,
    pub(crate) latest: Option<Latest>,
    /// Its binding has ended: the core may forget what is not pending.
    pub(crate) unbound: bool,
}

/// An instance's latest accepted connect.
pub(crate) struct Latest {
    pub(crate) connect: ConnectId,
    pub(crate) token: Token,
    /// Brought by UpdateToken since.
    pub(crate) updated: Option<Token>,
    pub(crate) user: Option<UserId>,
    pub(crate) deadline: Option<BootTime>,
    /// onDatabaseOpened has been heard.
    pub(crate) opened: bool,
    pub(crate) answered: bool,
    pub(crate) state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Pending,
    /// And no end since.
    Succeeded(UserId),
    Over(Told),
}

/// The terminal callback of a connect, in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Nothing,
    Success(UserId),
    Error(Code),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Need {
    #[default]
    No,
    May,
    Must,
}

/// What must and may happen in answer to one input.
#[derive(Default)]
pub(crate) struct Step {
    pub(crate) answer: Option<ExpectedAnswer>,
    pub(crate) tells: BTreeMap<ConnectKey, Vec<Told>>,
    pub(crate) told: BTreeMap<ConnectKey, Told>,
    pub(crate) opens: BTreeMap<ConnectKey, ExpectedOpen>,
    pub(crate) opened: BTreeMap<ConnectKey, Result<Opened, ()>>,
    pub(crate) closing: Option<Closing>,
    pub(crate) at_once: Option<AtOnce>,
    pub(crate) ping: Need,
    /// When the link that was there before the input wanted to be asked.
    pub(crate) ping_due: Option<(Epoch, BootTime)>,
    pub(crate) pinged: bool,
    pub(crate) login: Option<Epoch>,
    pub(crate) sync: (Need, bool),
    pub(crate) open_account: Option<Account>,
    pub(crate) wipe: Need,
    /// The wanted state must be switched off.
    pub(crate) off: Need,
    pub(crate) off_written: bool,
    /// The token must be gone from the file, or must be the one of the CONNACK.
    pub(crate) erased: bool,
    pub(crate) remembered: Option<Token>,
    pub(crate) stop: bool,
    pub(crate) stopped: bool,
    pub(crate) unbound: Option<InstanceId>,
    /// Who is told because the connection ends.
    pub(crate) by_end: Vec<ConnectKey>,
    /// What ends, should the core decide so where it may.
    pub(crate) maybe_end: Option<Vec<Code>>,
    pub(crate) group_refused: bool,
    /// The next token's caller may have named the user that nobody named before.
    pub(crate) adopt: bool,
}

pub(crate) struct ExpectedAnswer {
    pub(crate) call: CallId,
    pub(crate) allowed: Vec<Result<(), Code>>,
    pub(crate) got: Option<Result<(), Code>>,
    /// What is accepted, once it is known to be.
    pub(crate) undecided: Option<(ConnectRequest, Option<UserId>)>,
}

pub(crate) struct ExpectedOpen {
    pub(crate) well: bool,
    pub(crate) must: bool,
}

/// The link that has to end, or may.
pub(crate) struct Closing {
    pub(crate) epoch: Epoch,
    pub(crate) need: Need,
    pub(crate) how: Vec<HangUp>,
    pub(crate) done: bool,
}

/// A dial that follows in the same step, with no delay.
pub(crate) struct AtOnce {
    pub(crate) need: Need,
    pub(crate) protocol: Option<Protocol>,
    pub(crate) server: Option<Server>,
    pub(crate) done: bool,
}

pub(crate) const ANY_END: [HangUp; 2] = [HangUp::Abort, HangUp::KeepSession];
pub(crate) const ANY: [HangUp; 3] = [HangUp::Abort, HangUp::KeepSession, HangUp::EndSession];

impl Model {
    pub(crate) fn new(config: Config, now: Now) -> Self {
        Self {
            config,
            now,
            disk: None,
            status: None,
            network: Network::Available,
            storage_full: None,
            database: None,
            link: None,
            newest_epoch: None,
            pace: Pace::default(),
            hold: None,
            instances: BTreeMap::new(),
            taken: Vec::new(),
            logged_in: Vec::new(),
            ended: None,
            signed_out: false,
            stopped: false,
            renewal: Renewal::default(),
            step: Step::default(),
        }
    }

    /// The daemon is gone; what it wrote is still there, and the server still knows its tokens.
    pub(crate) fn restarted(&mut self) {
        let mut fresh = Self::new(self.config.clone(), self.now);
        fresh.disk = self.disk.take();
        fresh.taken = std::mem::take(&mut self.taken);
        fresh.logged_in = std::mem::take(&mut self.logged_in);
        *self = fresh;
    }

    /// The link, unless it has to end in this step.
    pub(crate) fn live(&self) -> Option<&Link> {
        let doomed = self
            .step
            .closing
            .as_ref()
            .filter(|closing| closing.need == Need::Must);
        self.link
            .as_ref()
            .filter(|link| doomed.is_none_or(|closing| closing.epoch != link.epoch()))
    }

    pub(crate) fn account(&self) -> Option<Account> {
        let hold = self.hold.as_ref()?;
        Some(Account {
            app_key: hold.app_key.clone(),
            user_id: hold.user.clone()?,
        })
    }

    pub(crate) fn database_of(&self, account: &Account) -> Option<DatabaseState> {
        let database = self.database.as_ref()?;
        (database.account == *account).then_some(database.state)
    }

    pub(crate) fn pending(&self) -> Vec<ConnectKey> {
        let pending = |latest: &Latest| latest.state == State::Pending;
        self.instances
            .iter()
            .filter_map(|(instance, entry)| {
                let latest = entry.latest.as_ref().filter(|latest| pending(latest))?;
                Some(ConnectKey {
                    instance: instance.clone(),
                    connect: latest.connect.clone(),
                })
            })
            .collect()
    }

    pub(crate) fn latest(&self, key: &ConnectKey) -> Option<&Latest> {
        let latest = self.instances.get(&key.instance)?.latest.as_ref()?;
        (latest.connect == key.connect).then_some(latest)
    }

    pub(crate) fn latest_mut(&mut self, key: &ConnectKey) -> Option<&mut Latest> {
        let latest = self.instances.get_mut(&key.instance)?.latest.as_mut()?;
        (latest.connect == key.connect).then_some(latest)
    }

    pub(crate) fn phase(&self, instance: &InstanceId) -> ConnectPhase {
        let latest = self
            .instances
            .get(instance)
            .and_then(|entry| entry.latest.as_ref());
        match latest.map(|latest| &latest.state) {
            None | Some(State::Over(_)) => ConnectPhase::None,
            Some(State::Pending) => ConnectPhase::Pending,
            Some(State::Succeeded(_)) => ConnectPhase::Succeeded,
        }
    }

    /// An input is about to be handled: what must follow?
    pub(crate) fn begin(&mut self, now: Now, input: &Input) {
        self.now = now;
        self.step = Step::default();
        if self.stopped {
            if let Input::Call { call, .. } = input {
                self.expect_answer(*call, vec![Err(Code::IMD_STOPPING)]);
            }
            return;
        }
        if self.hold.is_none() {
            self.newest_may_change();
        }
        self.step.ping_due = self.link.as_mut().and_then(|link| {
            let epoch = link.epoch();
            Some((epoch, link.up()?.ping_due()))
        });
        self.due(matches!(input, Input::Resumed));
        match input {
            Input::Start { remembered } => self.start(remembered.as_ref()),
            Input::Call { call, request } => match request {
                Request::Init { instance, app_key } => self.init(*call, instance, app_key),
                Request::Connect(request) => self.connect(*call, request),
                Request::UpdateToken(update) => self.update_token(*call, update),
                Request::Disconnect { .. } => self.sign_out(*call, false),
                Request::Logout { .. } => self.sign_out(*call, true),
            },
            Input::TokenProvider { instance, .. } => {
                self.renewal.providers.insert(instance.clone());
            }
            Input::NoTokenProvider { instance } => self.renewal.gone(instance),
            Input::Unbound { instance } => {
                self.renewal.gone(instance);
                self.step.unbound = Some(instance.clone());
                if let Some(entry) = self.instances.get_mut(instance) {
                    entry.unbound = true;
                }
            }
            Input::AccountOpened { account, result } => self.account_opened(account, result.is_ok()),
            Input::Link { epoch, event } => {
                if self.live().is_some_and(|link| link.epoch() == *epoch) {
                    self.link_event(event);
                }
            }
            Input::Network(network) => self.network(*network),
            Input::NetworkChanged => self.network_changed(),
            Input::Sleeping => self.sleeping(),
            Input::Resumed => self.resumed(),
            Input::StorageFull(why) => self.storage_full.clone_from(why),
            Input::Timeout => {}
            Input::Stop => self.stop(),
        }
    }

    // What is due.

    pub(crate) fn due(&mut self, resumed: bool) {
        let now = self.now.boot;
        let expired: Vec<ConnectKey> = self
            .pending()
            .into_iter()
            .filter(|key| {
                let deadline = self.latest(key).and_then(|latest| latest.deadline);
                deadline.is_some_and(|deadline| deadline <= now)
            })
            .collect();
        let any = !expired.is_empty();
        for key in expired {
            self.tell(&key, vec![Told::Error(Code::RC_CONNECT_TIMEOUT)]);
        }
        let unlimited = self.hold.as_ref().is_some_and(|hold| hold.succeeded);
        if any && !unlimited && self.pending().is_empty() {
            self.step.by_end = self.step.tells.keys().cloned().collect();
            self.end(&[Code::RC_CONNECT_TIMEOUT], ANY_END.to_vec());
            return;
        }
        self.nameless_due();
        self.sync_due(resumed);
        let Some(link) = self.link.as_ref() else {
            return;
        };
        // After sleep an answer may still be on its way: ask first.
        if resumed && link.is_online() {
            return;
        }
        if let Doom::Dies(span) = link.doom(now) {
            self.close(
                Need::Must,
                if link.wipe { ANY.to_vec() } else { ANY_END.to_vec() },
            );
            self.lost(span, false);
        }
    }

    /// Where only 3.1.1 is spoken, a token whose user nobody knows is refused when its turn comes, unsent.
    pub(crate) fn nameless_due(&mut self) {
        let now = self.now.boot;
        let nameless = |hold: &Hold| hold.user.is_none() && hold.older_protocol;
        let Some(wait) = self.pace.wait else { return };
        if self.link.is_some() || !self.hold.as_ref().is_some_and(nameless) || now < wait.span.from {
            return;
        }
        let code = Code::RC_CONN_TOKEN_INCORRECT;
        for key in self.pending() {
            self.tell(&key, vec![Told::Nothing, Told::Error(code)]);
        }
        self.step.off = Need::May;
        self.step.maybe_end = Some(vec![code]);
        self.step.adopt = true;
        self.pace.failed(Span::at(now));
        if let Some(wait) = self.pace.wait.as_mut() {
            wait.span.from = now;
        }
    }

    pub(crate) fn sync_due(&mut self, resumed: bool) {
        let Some(link) = self.link.as_ref() else {
            return;
        };
        let Stage::Online {
            sync: Sync::Running, ..
        } = link.stage
        else {
            return;
        };
        let dies = link.doom(self.now.boot) != Doom::Lives;
        let need = match link.sync_is_over(self.now.boot) {
            (true, _) if !dies && !resumed => Need::Must,
            (_, true) => Need::May,
            (_, false) => Need::No,
        };
        self.step.sync = (need, false);
    }
}

/// Whether this action may come at all after a stop.
pub(crate) fn is_quiet(action: &Action) -> bool {
    match action {
        Action::Answer { .. } | Action::Stopped => true,
        Action::Callback { .. }
        | Action::Persist(_)
        | Action::OpenAccount(_)
        | Action::Dial(_)
        | Action::Login { .. }
        | Action::Ping { .. }
        | Action::HangUp { .. }
        | Action::Publish(_)
        | Action::Notify(_)
        | Action::AskForToken { .. }
        | Action::ForgetServers { .. } => false,
    }
}

/// The edge of a deadline, within which the model does not insist.
pub(crate) const EDGE: Duration = Duration::from_millis(1);
