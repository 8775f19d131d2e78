//! What apps ask for: taken or refused at the door, joined, ended. And the account's database.

use imd_core::account::{Account, AppKey, UserId};
use imd_core::io::{
    CallId, ConnectKey, ConnectRequest, ConnectionStatus, HangUp, InstanceId, Network, Protocol, Remembered,
    Status,
};
use imd_core::jwt::Claims;
use imd_core::{Code, ConnectPhase};

use crate::link::{Link, Stage};
use crate::pace::Pace;
use crate::reference::{
    ANY, ANY_END, Brought, DatabaseState, ExpectedAnswer, ExpectedOpen, Hold, Latest, Model, Need, State,
    Told,
};

impl Model {
    pub(crate) fn expect_answer(&mut self, call: CallId, allowed: Vec<Result<(), Code>>) {
        self.step.answer = Some(ExpectedAnswer {
            call,
            allowed,
            got: None,
            undecided: None,
        });
    }

    pub(crate) fn init(&mut self, call: CallId, instance: &InstanceId, app_key: &AppKey) {
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

    pub(crate) fn connect(&mut self, call: CallId, request: &ConnectRequest) {
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
            return if request.resumes && !self.knows_of_no_end() {
                Gate::Refuse(Code::RC_CONN_CANCELED)
            } else {
                Gate::Accept(user)
            };
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

    /// Nobody has signed out, and what everybody can see names no account and no code.
    fn knows_of_no_end(&self) -> bool {
        let is_blank = |status: &Status| {
            status.status == ConnectionStatus::Unconnected
                && status.last_code.is_none()
                && status.app_key.is_none()
        };
        !self.signed_out && self.status.as_ref().is_none_or(is_blank)
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
    pub(crate) fn accept(&mut self, request: &ConnectRequest, user: Option<UserId>) {
        let entry = self.instances.entry(request.key.instance.clone()).or_default();
        let app_key = entry.app_key.clone().or_else(|| request.app_key.clone());
        entry.app_key.clone_from(&app_key);
        entry.latest = Some(Latest {
            connect: request.key.connect.clone(),
            token: request.token.clone(),
            updated: None,
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
            updated: false,
            replaces: false,
            next: false,
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
                    spoken: false,
                    silent_closes: 0,
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

    pub(crate) fn sign_out(&mut self, call: CallId, logout: bool) {
        self.expect_answer(call, vec![Ok(())]);
        self.step.erased = logout;
        self.signed_out = true;
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

    pub(crate) fn start(&mut self, remembered: Option<&Remembered>) {
        let Some(remembered) = remembered else {
            return;
        };
        let Some(account) = remembered.account() else {
            return;
        };
        self.step.open_account = Some(account.clone());
        if let Some(token) = &remembered.token
            && remembered.wanted
            && remembered.verified
        {
            // The file does not tell of a verified account's token whether a server has taken it.
            self.taken.push((account, token.clone()));
            self.hold = Some(Hold {
                app_key: remembered.app_key.clone(),
                user: remembered.user_id.clone(),
                succeeded: true,
                from_last_run: true,
                tokens: [Brought {
                    token: token.clone(),
                    refused: false,
                    tried: false,
                    taken: true,
                    updated: false,
                    replaces: false,
                    next: false,
                }]
                .into_iter()
                .chain(remembered.updated_token.clone().map(Brought::updated))
                .collect(),
                referred: None,
                older_protocol: false,
                spoken: false,
                silent_closes: 0,
                redirected: false,
                refusals: (0, 0),
            });
        }
    }

    pub(crate) fn account_opened(&mut self, account: &Account, well: bool) {
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
            let somebody_waits = !self.pending().is_empty();
            self.end(&[Code::BIZ_ERROR_DATABASE_ERROR], ANY_END.to_vec());
            if from_last_run {
                // The wanted state stays as it is, and the next start tries again; unless an app was told.
                self.step.off = if somebody_waits { Need::May } else { Need::No };
            }
        }
    }

    pub(crate) fn expect_opens(&mut self, well: bool) {
        for key in self.pending() {
            if self.latest(&key).is_some_and(|latest| !latest.opened) {
                self.expect_open(&key, well, true);
            }
        }
    }

    pub(crate) fn expect_open(&mut self, key: &ConnectKey, well: bool, must: bool) {
        if self.latest(key).is_some_and(|latest| !latest.opened) {
            self.step.opens.insert(key.clone(), ExpectedOpen { well, must });
        }
    }
}

enum Gate {
    Attach,
    Refuse(Code),
    Accept(Option<UserId>),
    /// The design leaves it open.
    Either(Option<UserId>),
}
