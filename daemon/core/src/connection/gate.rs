//! What apps ask for: taken or refused at the door, with a reason.

use imd_proto::code::Code;

use super::Core;
use super::backoff::FIRST;
use super::callers::{ConnectPhase, Slot, Waiter};
use super::link::{Link, Wait};
use super::target::{Target, Want};
use crate::account::{AppKey, Token, UserId};
use crate::io::{Action, CallId, Callback, ConnectKey, ConnectRequest, InstanceId, Opened, Refusal, Request};
use crate::jwt::Claims;
use crate::time::Now;

/// Refuses a call.
pub(super) fn refuse<T>(code: Code, text: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal {
        code,
        text: text.into(),
    })
}

impl Core {
    pub(super) fn handle_request(&mut self, now: Now, call: CallId, request: Request) {
        match request {
            Request::Init { instance, app_key } => {
                let result = self.init(&instance, app_key);
                self.answer(call, result);
            }
            Request::Connect(request) => self.connect(now, call, request),
            Request::UpdateToken(update) => {
                let result = self.update_token(now, update);
                self.answer(call, result);
            }
            Request::Disconnect { by } => {
                self.sign_out(now, &by, false);
                self.answer(call, Ok(()));
            }
            Request::Logout { by } => {
                self.sign_out(now, &by, true);
                self.answer(call, Ok(()));
            }
        }
    }

    fn answer(&mut self, call: CallId, result: Result<(), Refusal>) {
        self.push(Action::Answer { call, result });
    }

    fn init(&mut self, id: &InstanceId, app_key: AppKey) -> Result<(), Refusal> {
        let Some(instance) = self.callers.bind(id) else {
            return refuse(
                Code::IMD_TOO_MANY,
                "1,024 apps are known already, and all of them still count",
            );
        };
        if let Some(present) = &instance.app_key
            && *present != app_key
            && instance.phase() != ConnectPhase::None
        {
            return refuse(
                Code::RC_CONNECTION_EXIST,
                format!(
                    "this app is connected with the App Key {present}; disconnect before Init with another"
                ),
            );
        }
        instance.app_key = Some(app_key);
        Ok(())
    }

    fn connect(&mut self, now: Now, call: CallId, request: ConnectRequest) {
        if self.attach(call, &request) {
            return;
        }
        match self.admit(&request) {
            Err(refusal) => self.answer(call, Err(refusal)),
            Ok(Admitted { app_key, user_id }) => {
                self.answer(call, Ok(()));
                self.take(now, request, app_key, user_id);
            }
        }
    }

    /// The same connect again: the wait goes on where it was, or its outcome is told once more.
    fn attach(&mut self, call: CallId, request: &ConnectRequest) -> bool {
        let ConnectRequest {
            key,
            database_opened_seen,
            ..
        } = request;
        let Some(instance) = self.callers.get(&key.instance) else {
            return false;
        };
        let (told, outcome) = match &instance.slot {
            Slot::Pending(waiter) if waiter.connect == key.connect => (waiter.database_told, None),
            Slot::Done {
                connect,
                outcome,
                database_told,
                ..
            } if *connect == key.connect => (*database_told, Some(outcome.clone())),
            Slot::Free | Slot::Pending(_) | Slot::Done { .. } => return false,
        };
        self.callers.bind(&key.instance);
        self.answer(call, Ok(()));
        if told && !database_opened_seen && !matches!(&outcome, Some(Err(_))) {
            self.call_back(key.clone(), Callback::DatabaseOpened(Ok(Opened::default())));
        }
        match outcome {
            None => {}
            Some(Ok(user_id)) => self.call_back(key.clone(), Callback::Success(user_id)),
            Some(Err(refusal)) => self.call_back(key.clone(), Callback::Error(refusal)),
        }
        true
    }

    /// May this connect be taken? Says whose it is, as far as is known.
    fn admit(&mut self, request: &ConnectRequest) -> Result<Admitted, Refusal> {
        if let Some(app_key) = &request.app_key {
            let present = self
                .callers
                .get(&request.key.instance)
                .and_then(|known| known.app_key.as_ref());
            if let Some(present) = present
                && present != app_key
            {
                return refuse(
                    Code::BIZ_ERROR_INVALID_PARAMETER,
                    format!("connect names the App Key {app_key}, Init named {present}"),
                );
            }
            self.init(&request.key.instance, app_key.clone())?;
        }
        let Some(instance) = self.callers.get(&request.key.instance) else {
            return refuse(Code::RC_CLIENT_NOT_INIT, "connect was called before Init");
        };
        let Some(app_key) = instance.app_key.clone() else {
            return refuse(Code::RC_CLIENT_NOT_INIT, "connect was called before Init");
        };
        match instance.phase() {
            ConnectPhase::None => {}
            ConnectPhase::Pending => {
                return refuse(
                    Code::RC_CONNECTION_EXIST,
                    "this app has called connect already, and it is pending",
                );
            }
            ConnectPhase::Succeeded => {
                return refuse(
                    Code::RC_CONNECTION_EXIST,
                    "this app is connected, or being reconnected, already",
                );
            }
        }
        let user_id = self.whose(request, &app_key)?;
        if self.config.servers.of(&app_key).is_empty() {
            return refuse(Code::IMD_NO_SERVER, self.config.servers.missing.clone());
        }
        self.fits_the_connection(request, &app_key, user_id.as_ref())?;
        self.gives_way_to_an_end(request)?;
        Ok(Admitted { app_key, user_id })
    }

    /// The user: named by the caller, else by the token, else remembered for the same token.
    fn whose(&self, request: &ConnectRequest, app_key: &AppKey) -> Result<Option<UserId>, Refusal> {
        let subject = subject(&request.token, app_key)?;
        if let (Some(subject), Some(user_id)) = (&subject, &request.user_id)
            && subject != user_id
        {
            return refuse(
                Code::RC_CONN_TOKEN_INCORRECT,
                format!("the token is that of the user {subject}, userId says {user_id}"),
            );
        }
        let remembered = || {
            let remembered = self.remembered.as_ref()?;
            let same = remembered.app_key == *app_key && remembered.token.as_ref() == Some(&request.token);
            if same { remembered.user_id.clone() } else { None }
        };
        Ok(request.user_id.clone().or(subject).or_else(remembered))
    }

    /// There is one connection: another account has to wait for its end.
    fn fits_the_connection(
        &self,
        request: &ConnectRequest,
        app_key: &AppKey,
        user_id: Option<&UserId>,
    ) -> Result<(), Refusal> {
        let Want::On(target) = &self.want else {
            return Ok(());
        };
        let held = |text: &str| {
            let holder = match &target.user_id {
                Some(user_id) => format!("{user_id} of App Key {}", target.app_key),
                None => format!(
                    "a user of App Key {} whom the server has not named yet",
                    target.app_key
                ),
            };
            refuse(
                Code::RC_CONNECTION_EXIST,
                format!("the connection is held by {holder}; {text}"),
            )
        };
        if target.app_key != *app_key {
            return held("disconnect first, or use another instance of the daemon (imd --instance NAME)");
        }
        match (&target.user_id, user_id) {
            (Some(holder), Some(caller)) if holder != caller => {
                held("disconnect first, or use another instance of the daemon (imd --instance NAME)")
            }
            (Some(_), None) if !target.tokens.contains(&request.token) => {
                held("this token does not say whose it is: name the user (userId) to join")
            }
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// What had succeeded before this daemon was started goes on, but never against an end that came since: the
    /// library looked at the status before it asked, and somebody may have signed out in between.
    fn gives_way_to_an_end(&self, request: &ConnectRequest) -> Result<(), Refusal> {
        match &self.want {
            Want::Off(ending) if request.resumes && !ending.is_unknown() => {
                let how = ending.signed_out.as_ref().unwrap_or(&self.reason);
                refuse(
                    Code::RC_CONN_CANCELED,
                    format!("the connection has ended, and is not taken up again by itself: {how}"),
                )
            }
            Want::Off(_) | Want::On(_) => Ok(()),
        }
    }

    fn take(&mut self, now: Now, request: ConnectRequest, app_key: AppKey, user_id: Option<UserId>) {
        let ConnectRequest {
            key,
            token,
            time_limit,
            database_opened_seen,
            ..
        } = request;
        let ConnectKey { instance, connect } = key;
        let waiter = Waiter {
            connect,
            token: token.clone(),
            updated: None,
            user_id: user_id.clone(),
            deadline: time_limit.map(|limit| now.boot + limit),
            database_told: database_opened_seen,
        };
        if let Some(instance) = self.callers.bind(&instance) {
            instance.slot = Slot::Pending(waiter);
        }
        match &mut self.want {
            Want::On(target) => {
                let callers = &self.callers;
                target.tokens.add(token, |token| callers.waits_for(token));
                self.join(now);
            }
            Want::Off(_) => {
                let target = Target::new(app_key, user_id, token, false);
                self.begin(now, target);
            }
        }
    }

    /// Another caller of the connection that is there.
    fn join(&mut self, now: Now) {
        self.tell_database();
        let Want::On(target) = &mut self.want else { return };
        target.short_lives = 0;
        match &mut self.link {
            Link::Online { .. } => self.tell_success(),
            Link::Waiting {
                until,
                why: why @ (Wait::Table | Wait::ShortLives),
            } => {
                target.backoff.restart();
                *until = (*until).min(now.boot + FIRST);
                *why = Wait::Table;
            }
            Link::Waiting {
                until,
                why: why @ Wait::Leniency,
            } => {
                // A token that has not been tried does not wait for one that was refused.
                if target.tokens.rotate_to_untried() {
                    *until = (*until).min(now.boot + FIRST);
                    *why = Wait::Table;
                }
            }
            Link::Paused { hold } => {
                let shortened = hold.is_some_and(|hold| match hold.why {
                    Wait::ShortLives | Wait::Table => true,
                    Wait::Leniency => target.tokens.rotate_to_untried(),
                    Wait::ServerHint => false,
                });
                if shortened {
                    *hold = None;
                }
            }
            Link::Waiting {
                why: Wait::ServerHint,
                ..
            }
            | Link::Idle
            | Link::Opening(_)
            | Link::Dialing { .. }
            | Link::LoggingIn { .. }
            | Link::Erasing { .. } => {}
        }
    }
}

/// The user a token names, if it names one.
pub(super) fn subject(token: &Token, app_key: &AppKey) -> Result<Option<UserId>, Refusal> {
    let claims = Claims::read(token).unwrap_or_default();
    if let Some(app) = &claims.app
        && app != app_key.as_str()
    {
        return refuse(
            Code::RC_CONN_TOKEN_INCORRECT,
            format!("the token is for the App Key {app:?}, this app's is {app_key}"),
        );
    }
    match claims.sub.as_deref().map(UserId::parse) {
        None => Ok(None),
        Some(Ok(user_id)) => Ok(Some(user_id)),
        Some(Err(invalid)) => refuse(
            Code::RC_CONN_TOKEN_INCORRECT,
            format!("the token names a user that cannot be one: {}", invalid.text),
        ),
    }
}

/// A connect that may be taken.
struct Admitted {
    app_key: AppKey,
    user_id: Option<UserId>,
}
