//! The reference: what the design says must follow from an input, for every caller and for the connection.
//!
//! [`Model::begin`] is told the input and writes into [`Step`] what may and must happen; `checks.rs` holds
//! the core's actions against it. Where the design leaves room, both ways are allowed, and the model then
//! follows the core.

use std::collections::BTreeMap;
use std::time::Duration;

use imd_core::account::{Account, AppKey, Token, UserId};
use imd_core::io::{
    Accepted, Action, Config, ConnectId, ConnectKey, ConnectRequest, ConnectionStatus, Epoch, Fault,
    FaultKind, HangUp, Identity, Input, InstanceId, LinkEvent, Network, Opened, Protocol, Remembered,
    Request, Status,
};
use imd_core::jwt::Claims;
use imd_core::server::Server;
use imd_core::time::{BootTime, Now};
use imd_core::{Code, ConnectPhase};

use crate::link::{Doom, Link, Stage, Sync, Up};
use crate::pace::{MAX_HOPS, Pace, Span};
use crate::verdict::{self, Verdict};

pub struct Model {
    pub config: Config,
    pub now: Now,
    /// What the file of the wanted state says.
    pub disk: Option<Remembered>,
    /// As last published.
    pub status: Option<Status>,
    pub network: Network,
    pub database: Option<Database>,
    pub link: Option<Link>,
    pub newest_epoch: Option<Epoch>,
    pub pace: Pace,
    /// The connection, while it is wanted.
    pub hold: Option<Hold>,
    pub instances: BTreeMap<InstanceId, Instance>,
    /// Every token a CONNACK has taken, and for whom.
    pub taken: Vec<(Account, Token)>,
    /// The accounts that have been logged in.
    pub logged_in: Vec<Account>,
    /// The statuses the last end may have left; `None`: any that is an end.
    pub ended: Option<Vec<ConnectionStatus>>,
    pub stopped: bool,
    pub step: Step,
}

/// The one database the shell has been asked for last.
pub struct Database {
    pub account: Account,
    pub state: DatabaseState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatabaseState {
    Opening,
    Open,
    Failed,
}

/// The connection somebody wants.
pub struct Hold {
    pub app_key: AppKey,
    pub user: Option<UserId>,
    /// The first success is past (for a restarted daemon: before its start): limits no longer end it.
    pub succeeded: bool,
    /// It was taken up from the last run: nobody asked for it in this one.
    pub from_last_run: bool,
    pub tokens: Vec<Brought>,
    /// Where a server has sent us, until it fails.
    pub referred: Option<Server>,
    /// A server said that it does not speak MQTT 5.
    pub older_protocol: bool,
    pub redirected: bool,
    /// Lenient tries since a CONNACK took a token: at least, at most.
    pub refusals: (usize, usize),
}

/// A token an app brought.
pub struct Brought {
    pub token: Token,
    /// The server has refused it, and there is no leniency left.
    pub refused: bool,
    /// It has been sent.
    pub tried: bool,
    /// A CONNACK has taken it since this connection is wanted.
    pub taken: bool,
}

#[derive(Default)]
pub struct Instance {
    pub app_key: Option<AppKey>,
    pub latest: Option<Latest>,
    /// Its binding has ended: the core may forget what is not pending.
    pub unbound: bool,
}

/// An instance's latest accepted connect.
pub struct Latest {
    pub connect: ConnectId,
    pub token: Token,
    pub user: Option<UserId>,
    pub deadline: Option<BootTime>,
    /// onDatabaseOpened has been heard.
    pub opened: bool,
    pub answered: bool,
    pub state: State,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Pending,
    /// And no end since.
    Succeeded(UserId),
    Over(Told),
}

/// The terminal callback of a connect, in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Nothing,
    Success(UserId),
    Error(Code),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    #[default]
    No,
    May,
    Must,
}

/// What must and may happen in answer to one input.
#[derive(Default)]
pub struct Step {
    pub answer: Option<ExpectedAnswer>,
    pub tells: BTreeMap<ConnectKey, Vec<Told>>,
    pub told: BTreeMap<ConnectKey, Told>,
    pub opens: BTreeMap<ConnectKey, ExpectedOpen>,
    pub opened: BTreeMap<ConnectKey, Result<Opened, ()>>,
    pub closing: Option<Closing>,
    pub at_once: Option<AtOnce>,
    pub ping: Need,
    /// When the link that was there before the input wanted to be asked.
    pub ping_due: Option<(Epoch, BootTime)>,
    pub pinged: bool,
    pub login: Option<Epoch>,
    pub sync: (Need, bool),
    pub open_account: Option<Account>,
    pub wipe: Need,
    /// The wanted state must be switched off.
    pub off: Need,
    pub off_written: bool,
    /// The token must be gone from the file, or must be the one of the CONNACK.
    pub erased: bool,
    pub remembered: Option<Token>,
    pub stop: bool,
    pub stopped: bool,
    pub unbound: Option<InstanceId>,
    /// Who is told because the connection ends.
    pub by_end: Vec<ConnectKey>,
    /// What ends, should the core decide so where it may.
    pub maybe_end: Option<Vec<Code>>,
    pub group_refused: bool,
    /// The next token's caller may have named the user that nobody named before.
    pub adopt: bool,
}

pub struct ExpectedAnswer {
    pub call: imd_core::io::CallId,
    pub allowed: Vec<Result<(), Code>>,
    pub got: Option<Result<(), Code>>,
    /// What is accepted, once it is known to be.
    pub undecided: Option<(ConnectRequest, Option<UserId>)>,
}

pub struct ExpectedOpen {
    pub well: bool,
    pub must: bool,
}

/// The link that has to end, or may.
pub struct Closing {
    pub epoch: Epoch,
    pub need: Need,
    pub how: Vec<HangUp>,
    pub done: bool,
}

/// A dial that follows in the same step, with no delay.
pub struct AtOnce {
    pub need: Need,
    pub protocol: Option<Protocol>,
    pub server: Option<Server>,
    pub done: bool,
}

const ANY_END: [HangUp; 2] = [HangUp::Abort, HangUp::KeepSession];
const ANY: [HangUp; 3] = [HangUp::Abort, HangUp::KeepSession, HangUp::EndSession];

impl Model {
    pub fn new(config: Config, now: Now) -> Self {
        Self {
            config,
            now,
            disk: None,
            status: None,
            network: Network::Available,
            database: None,
            link: None,
            newest_epoch: None,
            pace: Pace::default(),
            hold: None,
            instances: BTreeMap::new(),
            taken: Vec::new(),
            logged_in: Vec::new(),
            ended: None,
            stopped: false,
            step: Step::default(),
        }
    }

    /// The daemon is gone; what it wrote is still there, and the server still knows its tokens.
    pub fn restarted(&mut self) {
        let mut fresh = Self::new(self.config.clone(), self.now);
        fresh.disk = self.disk.take();
        fresh.taken = std::mem::take(&mut self.taken);
        fresh.logged_in = std::mem::take(&mut self.logged_in);
        *self = fresh;
    }

    /// The link, unless it has to end in this step.
    pub fn live(&self) -> Option<&Link> {
        let doomed = self
            .step
            .closing
            .as_ref()
            .filter(|closing| closing.need == Need::Must);
        self.link
            .as_ref()
            .filter(|link| doomed.is_none_or(|closing| closing.epoch != link.epoch()))
    }

    pub fn account(&self) -> Option<Account> {
        let hold = self.hold.as_ref()?;
        Some(Account {
            app_key: hold.app_key.clone(),
            user_id: hold.user.clone()?,
        })
    }

    pub fn database_of(&self, account: &Account) -> Option<DatabaseState> {
        let database = self.database.as_ref()?;
        (database.account == *account).then_some(database.state)
    }

    pub fn pending(&self) -> Vec<ConnectKey> {
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

    pub fn latest(&self, key: &ConnectKey) -> Option<&Latest> {
        let latest = self.instances.get(&key.instance)?.latest.as_ref()?;
        (latest.connect == key.connect).then_some(latest)
    }

    pub fn latest_mut(&mut self, key: &ConnectKey) -> Option<&mut Latest> {
        let latest = self.instances.get_mut(&key.instance)?.latest.as_mut()?;
        (latest.connect == key.connect).then_some(latest)
    }

    pub fn phase(&self, instance: &InstanceId) -> ConnectPhase {
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
    pub fn begin(&mut self, now: Now, input: &Input) {
        self.now = now;
        self.step = Step::default();
        if self.stopped {
            if let Input::Call { call, .. } = input {
                self.expect_answer(*call, vec![Err(Code::IMD_STOPPING)]);
            }
            return;
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
                Request::Disconnect { .. } => self.sign_out(*call, false),
                Request::Logout { .. } => self.sign_out(*call, true),
            },
            Input::Unbound { instance } => {
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
            Input::Resumed => self.resumed(),
            Input::Timeout => {}
            Input::Stop => self.stop(),
        }
    }

    // What is due.

    fn due(&mut self, resumed: bool) {
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
    fn nameless_due(&mut self) {
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

    fn sync_due(&mut self, resumed: bool) {
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

    // Calls.

    fn expect_answer(&mut self, call: imd_core::io::CallId, allowed: Vec<Result<(), Code>>) {
        self.step.answer = Some(ExpectedAnswer {
            call,
            allowed,
            got: None,
            undecided: None,
        });
    }

    fn init(&mut self, call: imd_core::io::CallId, instance: &InstanceId, app_key: &AppKey) {
        let busy = self.phase(instance) != ConnectPhase::None;
        let entry = self.instances.entry(instance.clone()).or_default();
        entry.unbound = false;
        let same = entry.app_key.as_ref().is_none_or(|own| own == app_key);
        if busy && !same {
            self.expect_answer(call, vec![Err(Code::RC_CONNECTION_EXIST)]);
        } else {
            entry.app_key = Some(app_key.clone());
            self.expect_answer(call, vec![Ok(())]);
        }
    }

    fn connect(&mut self, call: imd_core::io::CallId, request: &ConnectRequest) {
        if self.latest(&request.key).is_none()
            && let Some(app_key) = &request.app_key
        {
            // Init and connect in one.
            let entry = self.instances.entry(request.key.instance.clone()).or_default();
            entry.app_key.get_or_insert_with(|| app_key.clone());
        }
        match self.gate(request) {
            Gate::Attach => {
                self.expect_answer(call, vec![Ok(())]);
                self.attach(request);
            }
            Gate::Refuse(code) => self.expect_answer(call, vec![Err(code)]),
            Gate::Accept(user) => {
                self.expect_answer(call, vec![Ok(())]);
                self.accept(request, user);
            }
            Gate::Either(user) => {
                self.expect_answer(call, vec![Ok(()), Err(Code::RC_CONNECTION_EXIST)]);
                if let Some(answer) = self.step.answer.as_mut() {
                    answer.undecided = Some((request.clone(), user));
                }
            }
        }
    }

    fn gate(&self, request: &ConnectRequest) -> Gate {
        if self.latest(&request.key).is_some() {
            return Gate::Attach;
        }
        let own_key = self
            .instances
            .get(&request.key.instance)
            .and_then(|entry| entry.app_key.as_ref());
        let app_key = match (own_key, request.app_key.as_ref()) {
            (None, None) => return Gate::Refuse(Code::RC_CLIENT_NOT_INIT),
            (Some(own), Some(other)) if own != other => {
                return Gate::Refuse(Code::BIZ_ERROR_INVALID_PARAMETER);
            }
            (Some(key), _) | (None, Some(key)) => key,
        };
        if self.phase(&request.key.instance) != ConnectPhase::None {
            return Gate::Refuse(Code::RC_CONNECTION_EXIST);
        }
        let claims = Claims::read(&request.token).unwrap_or_default();
        let sub = claims.sub.as_deref().map(UserId::parse);
        let other_app = claims.app.is_some_and(|app| app != app_key.as_str());
        let other_user = match (&sub, &request.user_id) {
            (Some(Err(_)), _) => true,
            (Some(Ok(sub)), Some(user)) => sub != user,
            (Some(Ok(_)) | None, None) | (None, Some(_)) => false,
        };
        if other_app || other_user {
            return Gate::Refuse(Code::RC_CONN_TOKEN_INCORRECT);
        }
        if self.config.servers.of(app_key).is_empty() {
            return Gate::Refuse(Code::IMD_NO_SERVER);
        }
        let remembered = self.disk.as_ref().filter(|disk| {
            disk.app_key == *app_key && disk.token.as_ref().is_some_and(|token| *token == request.token)
        });
        let user = request
            .user_id
            .clone()
            .or_else(|| sub.and_then(Result::ok))
            .or_else(|| remembered.and_then(|disk| disk.user_id.clone()));
        let Some(hold) = self.hold.as_ref() else {
            return Gate::Accept(user);
        };
        if hold.app_key != *app_key {
            return Gate::Refuse(Code::RC_CONNECTION_EXIST);
        }
        match (&hold.user, &user) {
            (Some(holder), Some(user)) if holder != user => Gate::Refuse(Code::RC_CONNECTION_EXIST),
            (Some(_), None) => {
                let brought = |brought: &&Brought| brought.token == request.token;
                let in_use = hold.tokens.iter().filter(|brought| !brought.refused).count() == 1;
                match hold.tokens.iter().find(brought) {
                    None => Gate::Refuse(Code::RC_CONNECTION_EXIST),
                    Some(brought) if in_use && !brought.refused => Gate::Accept(user),
                    Some(_) => Gate::Either(user),
                }
            }
            (Some(_) | None, Some(_)) | (None, None) => Gate::Accept(user),
        }
    }

    /// The same connect once more: its callbacks, where they were not heard.
    fn attach(&mut self, request: &ConnectRequest) {
        let open = self
            .account()
            .is_some_and(|account| self.database_of(&account) == Some(DatabaseState::Open));
        let Some(latest) = self.latest_mut(&request.key) else {
            return;
        };
        let (state, unheard) = (latest.state.clone(), !request.database_opened_seen);
        latest.opened = !unheard;
        latest.answered = false;
        let replay = match state {
            State::Pending => None,
            State::Succeeded(user) => Some(Told::Success(user)),
            State::Over(told) => Some(told),
        };
        if unheard {
            let must = replay.is_none() && open;
            self.expect_open(&request.key, true, must);
        }
        if let Some(told) = replay {
            self.step.tells.insert(request.key.clone(), vec![told]);
        }
    }

    /// The gate is open: from here on this connect gets exactly one terminal callback.
    pub fn accept(&mut self, request: &ConnectRequest, user: Option<UserId>) {
        let entry = self.instances.entry(request.key.instance.clone()).or_default();
        let app_key = entry.app_key.clone().or_else(|| request.app_key.clone());
        entry.app_key.clone_from(&app_key);
        entry.latest = Some(Latest {
            connect: request.key.connect.clone(),
            token: request.token.clone(),
            user: user.clone(),
            deadline: request.time_limit.map(|limit| self.now.boot + limit),
            opened: request.database_opened_seen,
            answered: false,
            state: State::Pending,
        });
        let brought = Brought {
            token: request.token.clone(),
            refused: false,
            tried: false,
            taken: false,
        };
        match (self.hold.as_mut(), app_key) {
            (Some(hold), _) => {
                let known = hold.tokens.iter_mut().find(|known| known.token == request.token);
                match known {
                    Some(known) if known.refused => *known = brought,
                    Some(_) => {}
                    None => hold.tokens.push(brought),
                }
                self.pace.joined(self.now.boot);
                if hold.tokens.iter().any(|brought| !brought.tried) {
                    self.pace.fresh_token(self.now.boot);
                }
            }
            (None, Some(app_key)) => {
                self.pace = Pace::default();
                self.hold = Some(Hold {
                    app_key,
                    user,
                    succeeded: false,
                    from_last_run: false,
                    tokens: vec![brought],
                    referred: None,
                    older_protocol: false,
                    redirected: false,
                    refusals: (0, 0),
                });
                // The clean-up of a logout has to give way, or is let finish.
                if self.live().is_some() {
                    self.close(Need::May, ANY.to_vec());
                }
            }
            (None, None) => {}
        }
        let account = self.account();
        if let Some(account) = account
            && self.database_of(&account) == Some(DatabaseState::Open)
        {
            self.expect_open(&request.key, true, true);
        }
        if self.live().is_some_and(Link::is_online)
            && let Some(user) = self.hold.as_ref().and_then(|hold| hold.user.clone())
        {
            self.tell(&request.key, vec![Told::Success(user)]);
        }
    }

    fn sign_out(&mut self, call: imd_core::io::CallId, logout: bool) {
        self.expect_answer(call, vec![Ok(())]);
        self.step.erased = logout;
        if self.hold.is_none() {
            if self.disk.as_ref().is_some_and(|disk| disk.wanted) {
                self.step.off = Need::Must;
            } else {
                self.step.off = Need::May;
            }
            if let Some(ended) = self.ended.as_mut() {
                ended.push(ConnectionStatus::SignOut);
            }
            return;
        }
        let mut how = if logout { ANY.to_vec() } else { ANY_END.to_vec() };
        if let Some(link) = self.live() {
            let older = link.dial.protocol == Protocol::V311;
            let (online, accepted) = match link.stage {
                Stage::Online { .. } => (true, true),
                Stage::LoggingIn { .. } => (false, true),
                Stage::Dialing { .. } => (false, false),
            };
            if online {
                how = match (logout, older) {
                    (true, false) => vec![HangUp::EndSession],
                    (true, true) | (false, _) => vec![HangUp::KeepSession],
                };
            }
            self.step.wipe = match logout && older && accepted {
                true if online && self.network == Network::Available => Need::Must,
                true => Need::May,
                false => Need::No,
            };
        }
        let wipe = self.step.wipe;
        self.end(&[Code::RC_CONN_CANCELED], how);
        self.step.wipe = wipe;
        self.ended = Some(vec![ConnectionStatus::SignOut]);
    }

    // The account.

    fn start(&mut self, remembered: Option<&Remembered>) {
        let Some(remembered) = remembered else {
            return;
        };
        let Some(account) = remembered.account() else {
            return;
        };
        self.step.open_account = Some(account);
        if let Some(token) = &remembered.token
            && remembered.wanted
            && remembered.verified
        {
            self.hold = Some(Hold {
                app_key: remembered.app_key.clone(),
                user: remembered.user_id.clone(),
                succeeded: true,
                from_last_run: true,
                tokens: vec![Brought {
                    token: token.clone(),
                    refused: false,
                    tried: false,
                    taken: false,
                }],
                referred: None,
                older_protocol: false,
                redirected: false,
                refusals: (0, 0),
            });
        }
    }

    fn account_opened(&mut self, account: &Account, well: bool) {
        let waiting = self
            .database
            .as_mut()
            .filter(|database| database.account == *account && database.state == DatabaseState::Opening);
        let Some(database) = waiting else { return };
        database.state = if well {
            DatabaseState::Open
        } else {
            DatabaseState::Failed
        };
        if self.account().as_ref() != Some(account) {
            return;
        }
        self.expect_opens(well);
        if !well {
            let from_last_run = self.hold.as_ref().is_some_and(|hold| hold.from_last_run);
            self.end(&[Code::BIZ_ERROR_DATABASE_ERROR], ANY_END.to_vec());
            if from_last_run {
                // The wanted state stays as it is: the next start tries again.
                self.step.off = Need::May;
            }
        }
    }

    pub fn expect_opens(&mut self, well: bool) {
        for key in self.pending() {
            if self.latest(&key).is_some_and(|latest| !latest.opened) {
                self.expect_open(&key, well, true);
            }
        }
    }

    fn expect_open(&mut self, key: &ConnectKey, well: bool, must: bool) {
        if self.latest(key).is_some_and(|latest| !latest.opened) {
            self.step.opens.insert(key.clone(), ExpectedOpen { well, must });
        }
    }

    // The link.

    fn close(&mut self, need: Need, how: Vec<HangUp>) {
        if let Some(link) = &self.link {
            self.step.closing = Some(Closing {
                epoch: link.epoch(),
                need,
                how,
                done: false,
            });
        }
    }

    /// The link is lost: when may the next attempt be?
    pub fn lost(&mut self, noticed: Span, bare_eof: bool) {
        let Some(link) = &self.link else {
            return;
        };
        if link.wipe {
            return;
        }
        match link.stage {
            Stage::Online { since, up, .. } => self.pace.lived(noticed, up.accepted, Some(since), bare_eof),
            Stage::LoggingIn { up } => self.pace.lived(noticed, up.accepted, None, bare_eof),
            Stage::Dialing { .. } => self.pace.failed(noticed),
        }
        if let Some(hold) = self.hold.as_mut() {
            hold.redirected = false;
            hold.referred = None;
        }
    }

    fn link_event(&mut self, event: &LinkEvent) {
        if self.link.as_ref().is_some_and(|link| link.wipe) {
            self.wipe_event(event);
            return;
        }
        let now = self.now.boot;
        match event {
            LinkEvent::Accepted(accepted) => self.accepted(accepted),
            LinkEvent::Refused(words) => {
                let Some(link) = self.link.as_ref() else { return };
                let verdict = verdict::of_connack(words, &link.dial, self.now.unix);
                self.judged(verdict, true);
            }
            LinkEvent::ServerDisconnect(words) => {
                let Some(link) = self.link.as_ref() else { return };
                let verdict = verdict::of_disconnect(words, &link.dial);
                self.judged(verdict, true);
            }
            LinkEvent::Failed(fault) => self.failed(fault),
            LinkEvent::LoginRefused { .. } => {
                self.end(&[Code::RC_CONN_ID_REJECT], ANY_END.to_vec());
            }
            LinkEvent::LoggedIn => self.logged_in(),
            LinkEvent::GroupRefused { .. } => self.step.group_refused = true,
            LinkEvent::MarkerFound { .. } => {}
            LinkEvent::MarkerReturned => {
                let Some(link) = self.link.as_mut() else { return };
                let running = matches!(
                    link.stage,
                    Stage::Online {
                        sync: Sync::Running,
                        ..
                    }
                );
                if let Some(up) = link.up() {
                    up.marker_returned = true;
                }
                if running {
                    self.step.sync = (Need::Must, true);
                } else if !self.link.as_ref().is_some_and(Link::is_online) {
                    self.step.sync = (Need::May, true);
                }
            }
            LinkEvent::Received => {
                if let Some(up) = self.link.as_mut().and_then(Link::up) {
                    up.receive(now);
                }
            }
            LinkEvent::Unacknowledged { since } => {
                if let Some(up) = self.link.as_mut().and_then(Link::up) {
                    up.unacknowledged = *since;
                }
            }
        }
    }

    fn wipe_event(&mut self, event: &LinkEvent) {
        match event {
            LinkEvent::Accepted(_) => self.close(Need::Must, ANY.to_vec()),
            LinkEvent::Refused(_) | LinkEvent::ServerDisconnect(_) | LinkEvent::Failed(_) => self.link = None,
            LinkEvent::LoggedIn
            | LinkEvent::LoginRefused { .. }
            | LinkEvent::GroupRefused { .. }
            | LinkEvent::MarkerFound { .. }
            | LinkEvent::MarkerReturned
            | LinkEvent::Received
            | LinkEvent::Unacknowledged { .. } => {}
        }
    }

    fn accepted(&mut self, accepted: &Accepted) {
        let now = self.now.boot;
        let ours = self.config.keep_alive;
        let theirs = accepted.keep_alive.filter(|theirs| !theirs.is_zero());
        let keep_alive = theirs.map_or(ours, |theirs| theirs.min(ours));
        let Some(link) = self.link.as_mut() else { return };
        link.stage = Stage::LoggingIn {
            up: Up::new(now, keep_alive),
        };
        let (token, identity, epoch) = (link.dial.token.clone(), link.dial.identity.clone(), link.epoch());
        if let Some(verdict) = accepted.im_code.and_then(verdict::of_im_code) {
            self.close(Need::Must, ANY_END.to_vec());
            self.judged(verdict, false);
            return;
        }
        let named = accepted.user_id.as_deref().map(UserId::parse);
        match (identity, named) {
            (Identity::Discover, None | Some(Err(_))) => {
                self.close(Need::Must, ANY.to_vec());
                self.token_refused(Code::RC_CONN_TOKEN_INCORRECT, false, true);
            }
            (Identity::Discover, Some(Ok(user))) => {
                self.close(Need::Must, ANY.to_vec());
                self.discovered(&user);
            }
            (Identity::Known(account), Some(named)) if named.as_ref() != Ok(&account.user_id) => {
                self.close(Need::Must, ANY_END.to_vec());
                self.token_refused(Code::RC_CONN_TOKEN_INCORRECT, false, false);
            }
            (Identity::Known(account), Some(_) | None) => {
                self.step.login = Some(epoch);
                self.step.remembered = Some(token.clone());
                self.taken.push((account, token.clone()));
                if let Some(brought) = self.brought(&token) {
                    brought.taken = true;
                }
                if let Some(hold) = self.hold.as_mut() {
                    hold.refusals.0 = 0;
                }
            }
        }
    }

    fn discovered(&mut self, user: &UserId) {
        self.turn_away(user);
        if self.pending().is_empty() {
            self.end(&[], ANY.to_vec());
            self.ended = None;
            return;
        }
        if let Some(hold) = self.hold.as_mut() {
            hold.user = Some(user.clone());
        }
        if let Some(account) = self.account()
            && self.database_of(&account) == Some(DatabaseState::Open)
        {
            self.expect_opens(true);
        }
    }

    /// The user is known: whoever expects another has come to the wrong account.
    pub fn turn_away(&mut self, user: &UserId) {
        for key in self.pending() {
            let declared = self.latest(&key).and_then(|latest| latest.user.as_ref());
            if declared.is_some_and(|declared| declared != user) {
                self.tell(&key, vec![Told::Error(Code::RC_CONNECTION_EXIST)]);
            }
        }
    }

    fn logged_in(&mut self) {
        let now = self.now.boot;
        let Some(link) = self.link.as_mut() else { return };
        let Stage::LoggingIn { up } = link.stage else {
            return;
        };
        link.stage = Stage::Online {
            since: now,
            up,
            sync: Sync::Running,
        };
        if up.marker_returned {
            self.step.sync = (Need::Must, true);
        }
        self.pace.logged_in();
        let Some(account) = self.account() else { return };
        self.logged_in.push(account.clone());
        if let Some(hold) = self.hold.as_mut() {
            hold.succeeded = true;
            hold.refusals = (0, 0);
        }
        for key in self.pending() {
            self.tell(&key, vec![Told::Success(account.user_id.clone())]);
        }
    }

    fn failed(&mut self, fault: &Fault) {
        if fault.kind == FaultKind::Proxy {
            let first = self.hold.as_ref().is_some_and(|hold| !hold.succeeded);
            let account = self.account();
            let known = account.is_some_and(|account| self.taken.iter().any(|(taken, _)| *taken == account));
            if first && !known {
                self.link = None;
                self.end(&[Code::RC_CONN_PROXY_UNAVAILABLE], Vec::new());
                return;
            }
            if first {
                self.step.off = Need::May;
                self.step.maybe_end = Some(vec![Code::RC_CONN_PROXY_UNAVAILABLE]);
                for key in self.pending() {
                    let allowed = vec![Told::Nothing, Told::Error(Code::RC_CONN_PROXY_UNAVAILABLE)];
                    self.tell(&key, allowed);
                }
            }
        }
        self.lost(Span::at(self.now.boot), fault.kind == FaultKind::BareEof);
        self.link = None;
    }

    /// The server has spoken. `closed`: and closed the link.
    fn judged(&mut self, verdict: Verdict, closed: bool) {
        match verdict {
            Verdict::Token { code, by_table } => {
                let connack = self
                    .link
                    .as_ref()
                    .is_some_and(|link| closed && matches!(link.stage, Stage::Dialing { .. }));
                self.token_refused(code, by_table, !connack && closed);
                if closed {
                    self.link = None;
                }
            }
            Verdict::End { codes } => {
                if closed {
                    self.link = None;
                }
                self.end(&codes, ANY_END.to_vec());
            }
            Verdict::Loop { hint } => {
                self.lost(Span::at(self.now.boot), false);
                if let Some(hint) = hint {
                    self.pace.hinted(Span::at(self.now.boot), hint);
                }
                self.link = None;
            }
            Verdict::Nameless => {
                self.token_refused(Code::RC_CONN_TOKEN_INCORRECT, false, true);
                if let Some(hold) = self.hold.as_mut() {
                    hold.older_protocol = true;
                }
                self.link = None;
            }
            Verdict::OlderProtocol => {
                let server = self.link.take().map(|link| link.dial.server);
                if let Some(hold) = self.hold.as_mut() {
                    hold.older_protocol = true;
                }
                self.step.at_once = Some(AtOnce {
                    need: Need::Must,
                    protocol: Some(Protocol::V311),
                    server,
                    done: false,
                });
            }
            Verdict::Elsewhere(server) => self.redirected(server),
        }
    }

    fn redirected(&mut self, server: Server) {
        let at = Span::at(self.now.boot);
        let (hops, since_login) = (self.pace.hops, self.pace.hops_since_login);
        self.lost(at, false);
        self.link = None;
        if let Some(hold) = self.hold.as_mut() {
            hold.referred = Some(server.clone());
            hold.redirected = true;
        }
        if hops >= MAX_HOPS || self.network == Network::Unavailable {
            return;
        }
        let need = if since_login < MAX_HOPS {
            Need::Must
        } else {
            Need::May
        };
        self.pace.hops = hops;
        self.pace.redirect_pending(need == Need::Must);
        self.step.at_once = Some(AtOnce {
            need,
            protocol: None,
            server: Some(server),
            done: false,
        });
    }

    pub fn brought(&mut self, token: &Token) -> Option<&mut Brought> {
        let hold = self.hold.as_mut()?;
        hold.tokens.iter_mut().find(|brought| brought.token == *token)
    }

    /// The token in use is refused. `unclear`: the words were not about the token alone, so that other
    /// callers may be told too.
    fn token_refused(&mut self, code: Code, by_table: bool, unclear: bool) {
        let Some(token) = self.link.as_ref().map(|link| link.dial.token.clone()) else {
            return;
        };
        let leniency = self.leniency(&token, by_table);
        let pending = self.pending();
        let Some(hold) = self.hold.as_ref() else { return };
        let usable = |other: &Token| {
            *other != token
                && hold
                    .tokens
                    .iter()
                    .any(|brought| brought.token == *other && !brought.refused)
        };
        let untried = |other: &Token| {
            let brought = hold.tokens.iter().find(|brought| brought.token == *other);
            brought.is_some_and(|brought| !brought.tried)
        };
        let others = hold.tokens.iter().any(|brought| usable(&brought.token));
        let mut waiting = false;
        let mut tells = Vec::new();
        for key in &pending {
            let Some(latest) = self.latest(key) else { continue };
            let nothing = vec![Told::Nothing];
            let either = vec![Told::Nothing, Told::Error(code)];
            let allowed = if latest.token == token {
                match leniency {
                    Need::No => vec![Told::Error(code)],
                    Need::Must if !others => nothing,
                    Need::Must | Need::May => either,
                }
            } else if unclear || !untried(&latest.token) {
                either
            } else {
                waiting = true;
                nothing
            };
            tells.push((key.clone(), allowed));
        }
        let end = match leniency {
            _ if waiting => Need::No,
            Need::Must if !unclear => Need::No,
            Need::No if !others => Need::Must,
            Need::No | Need::May | Need::Must => Need::May,
        };
        if end == Need::Must {
            self.end_with_token(code);
            return;
        }
        for (key, allowed) in tells {
            self.tell(&key, allowed);
        }
        if end == Need::May {
            self.step.off = Need::May;
            self.step.maybe_end = Some(vec![code]);
        }
        if let Some(brought) = self.brought(&token) {
            brought.refused = leniency == Need::No;
        }
        let Some(hold) = self.hold.as_mut() else { return };
        let mut refusals = hold.refusals;
        if leniency == Need::Must && !others {
            hold.refusals.0 += 1;
        }
        hold.refusals.1 += 1;
        let good_before = hold
            .tokens
            .iter()
            .any(|brought| !brought.refused && (brought.taken || hold.from_last_run));
        if hold.user.is_none() {
            self.step.adopt = true;
        }
        if others {
            refusals = (0, 2);
        }
        let at = Span::at(self.now.boot);
        self.lost(at, false);
        match leniency {
            Need::Must if !others => self.pace.lenient(at, refusals),
            Need::No if !good_before => {}
            Need::No | Need::Must | Need::May => self.pace.lenient_or_failed(at, refusals),
        }
    }

    fn end_with_token(&mut self, code: Code) {
        let closing = self.step.closing.take();
        let connack = self.link.as_ref().map(Link::epoch);
        self.end(&[code], ANY_END.to_vec());
        // `end` asks for a hang-up; a link that the server closed needs none, and one that is still open
        // was asked for already.
        self.step.closing = closing.filter(|closing| Some(closing.epoch) == connack);
    }

    /// Whether this token gets a further try although the server refused it.
    fn leniency(&self, token: &Token, by_table: bool) -> Need {
        let (Some(hold), Some(account)) = (self.hold.as_ref(), self.account()) else {
            return Need::No;
        };
        let Some(brought) = hold.tokens.iter().find(|brought| brought.token == *token) else {
            return Need::No;
        };
        let ever = self
            .taken
            .iter()
            .any(|(taken, known)| *taken == account && known == token);
        let (least, most) = hold.refusals;
        if !by_table || !(ever || hold.from_last_run) || least >= 3 {
            Need::No
        } else if ever && hold.succeeded && (brought.taken || hold.from_last_run) && most < 3 {
            Need::Must
        } else {
            Need::May
        }
    }

    // The network.

    fn network(&mut self, network: Network) {
        if self.network == network {
            return;
        }
        self.network = network;
        match network {
            Network::Available => self.pace.network_back(self.now.boot),
            Network::Unavailable => {
                let now = self.now.boot;
                let Some(link) = self.link.as_mut() else { return };
                match link.stage {
                    _ if link.wipe => self.close(Need::May, ANY.to_vec()),
                    Stage::Dialing { .. } => self.close(Need::Must, ANY_END.to_vec()),
                    Stage::LoggingIn { .. } => self.close(Need::May, ANY_END.to_vec()),
                    Stage::Online { .. } => {
                        self.step.ping = Need::Must;
                        if let Some(up) = link.up() {
                            up.probe(now);
                        }
                    }
                }
            }
        }
    }

    fn network_changed(&mut self) {
        self.pace.restart(self.now.boot);
        self.doubt(false);
    }

    fn resumed(&mut self) {
        self.pace.restart(self.now.boot);
        self.doubt(true);
    }

    /// An online link is asked; one that is not yet up may be given up for a fresh one.
    fn doubt(&mut self, slept: bool) {
        let now = self.now.boot;
        let Some(link) = self.link.as_mut() else { return };
        match link.stage {
            _ if link.wipe => self.close(Need::May, ANY.to_vec()),
            Stage::Online { .. } => {
                self.step.ping = Need::Must;
                match link.up() {
                    Some(up) if slept => up.wake(now),
                    Some(up) => up.probe(now),
                    None => {}
                }
            }
            Stage::Dialing { .. } if slept => {}
            Stage::Dialing { .. } | Stage::LoggingIn { .. } => {
                if self.step.closing.is_none() {
                    self.step.ping = Need::May;
                    self.close(Need::May, ANY_END.to_vec());
                }
            }
        }
    }

    fn stop(&mut self) {
        self.step.stop = true;
        self.stopped = true;
        if let Some(link) = self.live() {
            let how = if link.is_online() {
                vec![HangUp::KeepSession]
            } else {
                ANY.to_vec()
            };
            self.close(Need::Must, how);
        }
    }

    // Ends.

    /// One of these must be what this connect is told in this step.
    pub fn tell(&mut self, key: &ConnectKey, allowed: Vec<Told>) {
        if let [only] = allowed.as_slice() {
            self.conclude(key, only);
        }
        self.step.tells.insert(key.clone(), allowed);
    }

    pub fn conclude(&mut self, key: &ConnectKey, told: &Told) {
        let Some(latest) = self.latest_mut(key) else {
            return;
        };
        if latest.state != State::Pending {
            return;
        }
        match told {
            Told::Nothing => {}
            Told::Success(user) => latest.state = State::Succeeded(user.clone()),
            Told::Error(_) => latest.state = State::Over(told.clone()),
        }
    }

    /// The connection is no longer wanted; who still waits is told one of these codes.
    pub fn end(&mut self, codes: &[Code], how: Vec<HangUp>) {
        for key in self.pending() {
            let allowed: Vec<Told> = codes.iter().copied().map(Told::Error).collect();
            self.step.tells.insert(key.clone(), allowed.clone());
            if let Some(told) = allowed.first() {
                self.conclude(&key, told);
            }
            self.step.by_end.push(key);
        }
        self.over(codes);
        self.step.off = Need::Must;
        if self.step.closing.is_none() {
            self.close(Need::Must, how);
        }
    }

    /// What an end leaves behind, whoever decided it.
    pub fn over(&mut self, codes: &[Code]) {
        for entry in self.instances.values_mut() {
            if let Some(latest) = entry.latest.as_mut()
                && let State::Succeeded(user) = &latest.state
            {
                latest.state = State::Over(Told::Success(user.clone()));
            }
        }
        let token = |code: &Code| [Code::RC_CONN_TOKEN_INCORRECT, Code::RC_CONN_TOKEN_EXPIRE].contains(code);
        self.step.erased |= codes.iter().any(token);
        self.hold = None;
        self.pace = Pace::default();
        self.step.wipe = Need::No;
        self.ended = Some(codes.iter().copied().map(verdict::status_of).collect());
    }
}

enum Gate {
    Attach,
    Refuse(Code),
    Accept(Option<UserId>),
    /// The design leaves it open.
    Either(Option<UserId>),
}

/// Whether this action may come at all after a stop.
pub fn is_quiet(action: &Action) -> bool {
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
        | Action::Notify(_) => false,
    }
}

/// The edge of a deadline, within which the model does not insist.
pub const EDGE: Duration = Duration::from_millis(1);
