//! The connection.
//!
//! ```text
//!                     connect                    user unknown
//!    Idle ───────────────────────▶ (account) ─────────────────────┐
//!     ▲                                │ user known               │
//!     │                                ▼                          ▼
//!     │                             Opening ◀──────────── Dialing (discover)
//!     │                                │ database open      CONNACK names the user
//!     │          next attempt          ▼
//!     │  ┌─────────────────────────▶ Dialing ──────▶ redirect, other protocol: Dialing again
//!     │  │                             │ CONNACK
//!     │  │                             ▼
//!     │  │                          LoggingIn
//!     │  │                             │ SUBACK and the marker's PUBACK
//!     │  │                             ▼
//!     │  │                           Online
//!     │  │                             │
//!     │  │   a fault, from any of the three (one door: Core::fail)
//!     │  │                             ▼
//!     │  └──────── Waiting ◀──────────────────────▶ Paused
//!     │                                  network gone, network back
//!     │
//!     └─ from anywhere: a terminal verdict, the last time limit, disconnect, logout (Core::end)
//! ```
//!
//! After a logout in MQTT 3.1.1 one clean connect (`Erasing`) ends the session at the server.

mod attempt;
mod backoff;
mod callers;
mod end;
mod fault;
mod gate;
mod link;
mod login;
mod network;
mod publish;
mod renewal;
mod target;
mod verdict;

use std::collections::VecDeque;

use imd_proto::code::Code;

use self::callers::Callers;
pub use self::callers::ConnectPhase;
use self::link::{Link, Next, SYNC_LIMIT, Sync};
use self::renewal::Renewal;
use self::target::{Ending, Target, Want};
use crate::account::{Account, AppKey};
use crate::io::{
    Action, Callback, Config, ConnectKey, ConnectionStatus, Epoch, Event, HangUp, Input, InstanceId, Network,
    OpenFailure, Opened, Refusal, Remembered, Status,
};
use crate::random::Random;
use crate::time::{BootTime, Now};

/// Why the core wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WakeUp {
    /// A caller's time limit ends.
    TimeLimit,
    /// The next attempt is due.
    NextAttempt,
    /// No CONNACK in time.
    DialLimit,
    /// No SUBACK, or no PUBACK of the marker, in time.
    LoginLimit,
    /// PINGREQ is due.
    Ping,
    /// Nothing was received for too long.
    Silence,
    /// A packet was not acknowledged in time.
    Acknowledgement,
    /// The marker did not come back in time.
    OfflineSync,
    /// The clean connect after a logout took too long.
    EraseLimit,
    /// The token nears its end: an app is to be asked for another one.
    TokenRenewal,
}

/// The account's database.
enum Database {
    Closed,
    Opening(Account),
    Open(Account, Opened),
}

/// The connection as a state machine.
///
/// Feed it with [`Core::handle`]; then carry out all of [`Core::poll_action`], in order; then sleep until
/// [`Core::poll_timeout`] or the next input, whichever comes first.
pub struct Core {
    config: Config,
    random: Random,
    callers: Callers,
    want: Want,
    link: Link,
    database: Database,
    network: Network,
    /// What was last given to [`Action::Persist`], or found at the start.
    remembered: Option<Remembered>,
    /// Whose session the server keeps, as far as is known: what it has lost is told at the next login.
    last_login: Option<Account>,
    epoch: u64,
    /// Why the status is what it is.
    reason: String,
    server: Option<crate::server::Server>,
    /// Why what comes in cannot be stored. It changes nothing but the status.
    storage_full: Option<String>,
    renewal: Renewal,
    published: Option<Status>,
    stopping: bool,
    actions: VecDeque<Action>,
}

impl Core {
    #[must_use]
    pub fn new(config: Config) -> Self {
        let reason = "no app has asked for a connection".to_owned();
        Self {
            random: Random::new(config.seed),
            config,
            callers: Callers::default(),
            want: Want::Off(Ending::default()),
            link: Link::Idle,
            database: Database::Closed,
            network: Network::Available,
            remembered: None,
            last_login: None,
            epoch: 0,
            reason,
            server: None,
            storage_full: None,
            renewal: Renewal::default(),
            published: None,
            stopping: false,
            actions: VecDeque::new(),
        }
    }

    /// Something happened. What was due before `now` is carried out first.
    pub fn handle(&mut self, now: Now, input: Input) {
        if self.stopping {
            self.handle_while_stopping(&input);
            return;
        }
        if let Input::Resumed = input {
            self.stir(now, true);
        }
        if let Input::Unbound { instance } | Input::NoTokenProvider { instance } = &input {
            // Else it would be asked for what was due just before it went.
            self.renewal.cannot_provide(instance);
        }
        self.expire(now);
        match input {
            Input::Start { remembered } => self.start(now, remembered),
            Input::Call { call, request } => self.handle_request(now, call, request),
            Input::Unbound { instance } => self.callers.unbind(&instance),
            Input::TokenProvider { instance, app } => self.renewal.can_provide(instance, app),
            Input::AccountOpened { account, result } => self.account_opened(now, &account, result),
            Input::Link { epoch, event } => self.handle_link(now, epoch, event),
            Input::Network(network) => self.network_is(now, network),
            Input::NetworkChanged => {
                self.network_is(now, Network::Available);
                self.stir(now, false);
            }
            Input::Sleeping => self.lie_down(now),
            Input::StorageFull(why) => self.storage_full = why,
            Input::NoTokenProvider { .. } | Input::Resumed | Input::Timeout => {}
            Input::Stop => {
                self.stop();
                return;
            }
        }
        // What the input has made due at once, such as a limit of 0 or a packet that is long overdue.
        self.expire(now);
        self.renew_token(now);
        self.publish();
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Core::handle`] with [`Input::Timeout`], and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(BootTime, WakeUp)> {
        if self.stopping {
            return None;
        }
        let limits = self.callers.waiters().filter_map(|(_, waiter)| waiter.deadline);
        let limit = limits.min().map(|at| (at, WakeUp::TimeLimit));
        let renewal = self.renewal.wake_up().map(|at| (at, WakeUp::TokenRenewal));
        [limit, self.link_timeout(), renewal].into_iter().flatten().min()
    }

    fn link_timeout(&self) -> Option<(BootTime, WakeUp)> {
        match &self.link {
            Link::Idle | Link::Opening(_) | Link::Paused { .. } => None,
            Link::Waiting { until, .. } => Some((*until, WakeUp::NextAttempt)),
            Link::Dialing { deadline, .. } => Some((*deadline, WakeUp::DialLimit)),
            Link::Erasing { deadline, .. } => Some((*deadline, WakeUp::EraseLimit)),
            Link::LoggingIn { deadline, .. } => Some((*deadline, WakeUp::LoginLimit)),
            Link::Online { session } => {
                let pulse = &session.pulse;
                let sync = match session.sync {
                    Sync::Running { quiet_since } => Some((quiet_since + SYNC_LIMIT, WakeUp::OfflineSync)),
                    Sync::Complete | Sync::Incomplete => None,
                };
                [
                    pulse.ping_due().map(|at| (at, WakeUp::Ping)),
                    Some((pulse.silence_deadline(), WakeUp::Silence)),
                    pulse
                        .acknowledgement_deadline()
                        .map(|at| (at, WakeUp::Acknowledgement)),
                    sync,
                ]
                .into_iter()
                .flatten()
                .min()
            }
        }
    }

    /// The App Key of an app instance, and how far its connect is.
    #[must_use]
    pub fn instance(&self, instance: &InstanceId) -> (Option<&AppKey>, ConnectPhase) {
        self.callers
            .get(instance)
            .map_or((None, ConnectPhase::None), |known| {
                (known.app_key.as_ref(), known.phase())
            })
    }

    /// The status as last published; `None` before the first.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.published.as_ref()
    }

    fn push(&mut self, action: Action) {
        self.actions.push_back(action);
    }

    fn call_back(&mut self, connect: ConnectKey, callback: Callback) {
        self.push(Action::Callback { connect, callback });
    }

    /// Carries out what is due, each thing at most once: what one of them starts is due later. The limits
    /// come first, so that a late wake-up makes no attempt for callers who are gone.
    fn expire(&mut self, now: Now) {
        let passed = |deadline: BootTime| deadline <= now.boot;
        if self
            .callers
            .waiters()
            .any(|(_, waiter)| waiter.deadline.is_some_and(passed))
        {
            self.time_limits(now);
        }
        while let Some((at, wake_up)) = self.poll_timeout()
            && at <= now.boot
        {
            match wake_up {
                WakeUp::TimeLimit => self.time_limits(now),
                WakeUp::NextAttempt => self.open_or_dial(now, Next::Attempt),
                WakeUp::DialLimit => self.overdue(
                    now,
                    Code::RC_CONN_ACK_TIMEOUT,
                    "no answer to the login within 15 s",
                ),
                WakeUp::LoginLimit => {
                    self.overdue(
                        now,
                        Code::RC_CONN_ACK_TIMEOUT,
                        "no answer to SUBSCRIBE or to the marker within 15 s",
                    );
                }
                WakeUp::Silence => {
                    self.overdue(now, Code::RC_PING_EXCEED_LIMIT, "the server has fallen silent")
                }
                WakeUp::Acknowledgement => {
                    self.overdue(
                        now,
                        Code::RC_PING_EXCEED_LIMIT,
                        "the server does not acknowledge what it was sent",
                    );
                }
                WakeUp::Ping => self.ping(now),
                WakeUp::OfflineSync => self.offline_sync(false),
                WakeUp::EraseLimit => self.hang_up(HangUp::Abort),
                WakeUp::TokenRenewal => self.renew_token(now),
            }
        }
    }

    /// What the last run left: its account's history is readable at once, and if its connection was
    /// wanted and had been up, it is dialled without any app.
    fn start(&mut self, now: Now, remembered: Option<Remembered>) {
        let Some(remembered) = remembered else { return };
        let account = remembered.account();
        self.last_login = account.clone().filter(|_| remembered.verified);
        let token = remembered
            .token
            .clone()
            .filter(|_| remembered.wanted && remembered.verified);
        match (&account, token) {
            (Some(_), Some(token)) => {
                let user_id = remembered.user_id.clone();
                let mut target = Target::new(remembered.app_key.clone(), user_id, token, true);
                if let Some(updated) = remembered.updated_token.clone() {
                    target.tokens.update(updated);
                }
                "connecting, as before the daemon started".clone_into(&mut self.reason);
                self.want = Want::On(Box::new(target));
            }
            (_, None) | (None, Some(_)) => {
                let code = remembered.last_code;
                self.reason = code.map_or_else(
                    || "not connected since the daemon started: an app has to connect".to_owned(),
                    |code| format!("ended by {code} before the daemon started: an app has to connect"),
                );
                self.want = Want::Off(Ending {
                    status: code.map_or(ConnectionStatus::Unconnected, verdict::ended_status),
                    code,
                    app_key: Some(remembered.app_key.clone()),
                    user_id: remembered.user_id.clone(),
                    signed_out: None,
                });
            }
        }
        self.remembered = Some(remembered);
        match (&self.want, account) {
            (Want::On(_), _) => self.open_or_dial(now, Next::Attempt),
            (Want::Off(_), Some(account)) => self.open(account),
            (Want::Off(_), None) => {}
        }
    }

    fn account_opened(&mut self, now: Now, account: &Account, result: Result<Opened, OpenFailure>) {
        if !matches!(&self.database, Database::Opening(opening) if opening == account) {
            return;
        }
        match result {
            Ok(opened) => {
                self.database = Database::Open(account.clone(), opened);
                self.tell_database();
                if let Link::Opening(next) = self.link {
                    self.open_or_dial(now, next);
                }
            }
            Err(failure) => {
                self.database = Database::Closed;
                // The account of the last run matters to nobody once another, or none yet, is wanted.
                if matches!(&self.want, Want::On(target) if target.account().as_ref() == Some(account)) {
                    self.database_failed(failure);
                }
            }
        }
    }

    fn database_failed(&mut self, failure: OpenFailure) {
        for key in self.callers.take_database_untold() {
            self.call_back(key, Callback::DatabaseOpened(Err(failure.clone())));
        }
        let code = Code::BIZ_ERROR_DATABASE_ERROR;
        if let Want::On(target) = &self.want {
            if target.verified && !self.callers.is_waiting() {
                // Nobody was there to be told: the next start tries again.
                let (app_key, user_id) = (Some(target.app_key.clone()), target.user_id.clone());
                let status = ConnectionStatus::Unconnected;
                self.want = Want::Off(Ending {
                    status,
                    code: Some(code),
                    app_key,
                    user_id,
                    signed_out: None,
                });
                self.link = Link::Idle;
                self.reason = failure.text;
            } else {
                self.end(&Refusal {
                    code,
                    text: failure.text,
                });
            }
        }
    }

    /// onDatabaseOpened for those who have not heard it, once it is open.
    fn tell_database(&mut self) {
        let Database::Open(account, opened) = &self.database else {
            return;
        };
        let Want::On(target) = &self.want else { return };
        if target.account().as_ref() != Some(account) {
            return;
        }
        let opened = opened.clone();
        for key in self.callers.take_database_untold() {
            self.call_back(key, Callback::DatabaseOpened(Ok(opened.clone())));
        }
    }

    /// The end of the daemon, not of the connection: the session and the wanted state stay.
    fn stop(&mut self) {
        if let Some((_, how)) = self.link.live() {
            self.hang_up(how);
        }
        self.link = Link::Idle;
        self.stopping = true;
        self.push(Action::Stopped);
    }

    fn handle_while_stopping(&mut self, input: &Input) {
        if let Input::Call { call, .. } = *input {
            let refusal = Refusal {
                code: Code::IMD_STOPPING,
                text: "the daemon is stopping".to_owned(),
            };
            self.push(Action::Answer {
                call,
                result: Err(refusal),
            });
        }
    }

    fn notify(&mut self, event: Event) {
        self.push(Action::Notify(event));
    }

    fn next_epoch(&mut self) -> Epoch {
        self.epoch = self.epoch.saturating_add(1);
        Epoch(self.epoch)
    }
}
