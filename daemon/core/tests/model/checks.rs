//! The core's actions, one by one and after every step, held against what the model says.

use std::time::Duration;

use imd_core::account::{Account, UserId};
use imd_core::io::{
    Action, Callback, ConnectKey, ConnectionStatus, Dial, Epoch, Event, HangUp, Identity, LoginPolicy,
    Network, Protocol, Remembered, Status,
};
use imd_core::server::Server;
use imd_core::time::BootTime;

use crate::link::{Doom, Link, Stage, Sync};
use crate::pace::{Cause, Span, Wait};
use crate::reference::{Brought, DatabaseState, EDGE, Model, Need, Told, is_quiet};

/// What is wrong, for the person who reads the failure.
pub(crate) type Checked = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($text:tt)*) => {
        if !$holds {
            return Err(format!($($text)*));
        }
    };
}
pub(crate) use ensure;

/// Whether this status is one of nobody wanting the connection.
pub(crate) fn is_end(status: ConnectionStatus) -> bool {
    match status {
        ConnectionStatus::NetworkUnavailable
        | ConnectionStatus::Connected
        | ConnectionStatus::Connecting
        | ConnectionStatus::Suspend => false,
        ConnectionStatus::Unconnected
        | ConnectionStatus::KickedOfflineByOtherClient
        | ConnectionStatus::TokenIncorrect
        | ConnectionStatus::ConnUserBlocked
        | ConnectionStatus::SignOut
        | ConnectionStatus::Timeout
        | ConnectionStatus::ProxyUnavailable => true,
    }
}

impl Model {
    /// The core asks for this; the shell is about to do it.
    pub(crate) fn action(&mut self, action: &Action) -> Checked {
        ensure!(
            !self.step.stopped,
            "something is asked for after Stopped: {}",
            crate::words::action(action)
        );
        if self.stopped && !self.step.stop {
            ensure!(is_quiet(action), "a stopped daemon still does things");
        }
        match action {
            Action::Answer { call, result } => {
                let Some(answer) = self.step.answer.as_mut() else {
                    return Err(format!("{call:?} is answered, and nobody asked"));
                };
                ensure!(
                    answer.call == *call,
                    "{call:?} is answered instead of {:?}",
                    answer.call
                );
                ensure!(answer.got.is_none(), "{call:?} is answered twice");
                let got = result.as_ref().copied().map_err(|refusal| refusal.code);
                let refused_at_stop = self.stopped && got.is_err();
                ensure!(
                    refused_at_stop || answer.allowed.contains(&got),
                    "{call:?} is answered {result:?}, expected one of {:?}",
                    answer.allowed
                );
                answer.got = Some(got);
                if let Some((request, user)) = answer.undecided.take()
                    && got.is_ok()
                {
                    self.accept(&request, user);
                }
                Ok(())
            }
            Action::Callback { connect, callback } => self.callback(connect, callback),
            Action::Persist(remembered) => self.persist(remembered),
            Action::OpenAccount(account) => {
                let asked = self.step.open_account.take();
                ensure!(
                    asked.as_ref() == Some(account) || self.account().as_ref() == Some(account),
                    "{account} is opened, and nobody wants it"
                );
                self.database = Some(crate::reference::Database {
                    account: account.clone(),
                    state: DatabaseState::Opening,
                });
                Ok(())
            }
            Action::Dial(dial) => self.dial(dial),
            Action::Login { epoch } => {
                ensure!(
                    self.step.login.take() == Some(*epoch),
                    "Login on {epoch:?} without its CONNACK"
                );
                Ok(())
            }
            Action::Ping { epoch } => self.ping(*epoch),
            Action::HangUp { epoch, how } => self.hang_up(*epoch, *how),
            Action::Publish(status) => self.publish(status),
            Action::Notify(event) => self.notify(event),
            Action::AskForToken { instance, expires } => self.asked(instance, *expires),
            Action::ForgetServers { .. } => Err("no server of this world was named by a nav".to_owned()),
            Action::Stopped => {
                ensure!(self.step.stop, "Stopped without Stop");
                self.step.stopped = true;
                Ok(())
            }
        }
    }

    fn callback(&mut self, key: &ConnectKey, callback: &Callback) -> Checked {
        let name = format!("{}/{}", key.instance.0, key.connect.0);
        let answered = self
            .step
            .answer
            .as_ref()
            .is_some_and(|answer| answer.got == Some(Ok(())));
        let Some(latest) = self.latest_mut(key) else {
            return Err(format!("{name} is called back, but is no accepted connect"));
        };
        ensure!(
            latest.answered || answered,
            "{name} is called back before its call is answered"
        );
        ensure!(
            !self.step.told.contains_key(key),
            "{name} is called back after its terminal callback"
        );
        match callback {
            Callback::DatabaseOpened(result) => {
                let Some(expected) = self.step.opens.get(key) else {
                    return Err(format!(
                        "{name}: onDatabaseOpened out of place, or once too often"
                    ));
                };
                ensure!(
                    expected.well == result.is_ok(),
                    "{name}: onDatabaseOpened says the contrary"
                );
                let again = self
                    .step
                    .opened
                    .insert(key.clone(), result.clone().map_err(|_| ()))
                    .is_some();
                ensure!(!again, "{name}: onDatabaseOpened twice");
                if let Some(latest) = self.latest_mut(key) {
                    latest.opened = true;
                }
                Ok(())
            }
            Callback::Success(user) => {
                let replay = self.hold.is_none();
                let connected = self
                    .status
                    .as_ref()
                    .is_some_and(|status| status.status == ConnectionStatus::Connected);
                ensure!(
                    connected || replay || answered,
                    "{name}: onSuccess before CONNECTED is published"
                );
                self.step.told.insert(key.clone(), Told::Success(user.clone()));
                Ok(())
            }
            Callback::Error(refusal) => {
                ensure!(
                    !self.step.by_end.contains(key) || self.step.off != Need::Must || self.step.off_written,
                    "{name}: onError before the end is written"
                );
                self.step.told.insert(key.clone(), Told::Error(refusal.code));
                Ok(())
            }
        }
    }

    fn persist(&mut self, remembered: &Remembered) -> Checked {
        let was = self.disk.replace(remembered.clone());
        ensure!(
            was.as_ref() != Some(remembered),
            "the wanted state is written although nothing changed"
        );
        if remembered.wanted {
            let Some(hold) = self.hold.as_ref() else {
                return Err("the connection is remembered as wanted, and nobody wants it".to_owned());
            };
            ensure!(
                hold.app_key == remembered.app_key,
                "another App Key is remembered"
            );
            if self.step.adopt
                && hold.user.is_none()
                && let Some(user) = remembered.user_id.clone()
            {
                self.adopt(user)?;
            }
            let Some(hold) = self.hold.as_ref() else {
                return Ok(());
            };
            ensure!(
                hold.user.is_none() || remembered.user_id.is_none() || hold.user == remembered.user_id,
                "another user is remembered"
            );
            ensure!(
                remembered.token.is_some(),
                "a wanted connection is remembered without a token"
            );
            if let Some(updated) = &remembered.updated_token {
                let is_updated = |brought: &Brought| brought.token == *updated && brought.updated;
                ensure!(
                    hold.tokens.iter().any(is_updated) && remembered.token.as_ref() != Some(updated),
                    "a token is remembered as updated that no UpdateToken brought"
                );
            }
            if remembered.verified {
                let account = remembered.account();
                ensure!(
                    account.is_some_and(|account| self.taken.iter().any(|(taken, _)| *taken == account)),
                    "an account is remembered as verified that no CONNACK has taken"
                );
            }
            return Ok(());
        }
        ensure!(
            self.step.off != Need::No || was.is_none_or(|was| !was.wanted),
            "the connection is remembered as unwanted for no reason"
        );
        self.step.off_written = true;
        if self.step.off == Need::May
            && self.hold.is_some()
            && let Some(codes) = self.step.maybe_end.take()
        {
            self.over(&codes);
        }
        Ok(())
    }

    /// The next token's caller named a user, so that there is no need to discover one.
    fn adopt(&mut self, user: UserId) -> Checked {
        let named = self.pending().iter().any(|key| {
            let latest = self.latest(key);
            latest.is_some_and(|latest| latest.user.as_ref() == Some(&user))
        });
        ensure!(named, "{user} becomes the user, and nobody named it");
        self.step.adopt = false;
        let before = std::mem::take(&mut self.step.tells);
        self.turn_away(&user);
        for (key, allowed) in before {
            // Who brought the refused token is told that.
            if allowed.contains(&Told::Nothing) && self.step.tells.contains_key(&key) {
                continue;
            }
            self.step.tells.insert(key, allowed);
        }
        if let Some(hold) = self.hold.as_mut() {
            hold.user = Some(user);
        }
        if let Some(account) = self.account()
            && self.database_of(&account) == Some(DatabaseState::Open)
        {
            self.expect_opens(true);
        }
        Ok(())
    }

    fn dial(&mut self, dial: &Dial) -> Checked {
        let now = self.now.boot;
        ensure!(self.link.is_none(), "a second link beside the one that is there");
        ensure!(
            self.newest_epoch.is_none_or(|newest| newest < dial.epoch),
            "{:?} is not newer than the epochs before it",
            dial.epoch
        );
        self.newest_epoch = Some(dial.epoch);
        let wipe = self.step.wipe != Need::No && self.hold.is_none();
        ensure!(
            wipe || self.network == Network::Available || dial.server.is_local(),
            "an attempt although there is no network"
        );
        if wipe {
            ensure!(
                dial.clean && dial.protocol == Protocol::V311,
                "a logout's reconnect must be clean and 3.1.1"
            );
            self.step.wipe = Need::No;
        } else {
            self.dial_of_the_hold(dial)?;
            self.pace.dialed();
        }
        self.link = Some(Link::new(now, dial.clone(), wipe));
        Ok(())
    }

    fn dial_of_the_hold(&mut self, dial: &Dial) -> Checked {
        let now = self.now.boot;
        let Some(hold) = self.hold.as_ref() else {
            return Err("an attempt although nobody wants the connection".to_owned());
        };
        match self.step.at_once.as_mut().filter(|at_once| !at_once.done) {
            Some(at_once) if at_once.need == Need::Must || at_once.server.as_ref() == Some(&dial.server) => {
                let server = at_once
                    .server
                    .as_ref()
                    .is_none_or(|server| *server == dial.server);
                let protocol = at_once.protocol.is_none_or(|protocol| protocol == dial.protocol);
                ensure!(
                    server && protocol,
                    "the redirect or fallback goes elsewhere: {}",
                    dial.server
                );
                at_once.done = true;
                if at_once.protocol.is_none() {
                    self.pace.hop();
                }
            }
            Some(_) | None => {
                if let Some(Wait { span, cause }) = self.pace.wait {
                    ensure!(
                        now >= span.from,
                        "an attempt {:?} before its time ({cause:?})",
                        span.from.since(now)
                    );
                }
            }
        }
        let configured = self.config.servers.of(&hold.app_key);
        ensure!(
            configured.contains(&dial.server) || hold.referred.as_ref() == Some(&dial.server),
            "{} is no server of this App Key",
            dial.server
        );
        let elsewhere = hold.referred.as_ref() == Some(&dial.server);
        let is_once = |server: &Server| {
            let dialed = std::iter::once(&dial.server).chain(&dial.others);
            dialed.filter(|dialed| *dialed == server).count() == 1
        };
        // With nothing but loopback up, those on this machine alone.
        let reachable: Vec<&Server> = match self.network {
            Network::Available => configured.iter().collect(),
            Network::Unavailable => configured.iter().filter(|server| server.is_local()).collect(),
        };
        let each_once = reachable.iter().all(|server| is_once(server));
        ensure!(
            elsewhere || (dial.others.len() + 1 == reachable.len() && each_once),
            "not each of the App Key's servers is dialled once: {}, {:?}",
            dial.server,
            dial.others
        );
        ensure!(
            dial.others.is_empty() || configured.contains(&dial.server),
            "others are dialled beside the one that was referred to"
        );
        ensure!(
            (dial.protocol == Protocol::V311) == hold.older_protocol,
            "3.1.1 before the server refused MQTT 5, or closed on it twice, or 5 after that"
        );
        ensure!(dial.keep_alive == self.config.keep_alive, "not our keep-alive");
        let usable = |brought: &&Brought| brought.token == dial.token && !brought.refused;
        ensure!(
            hold.tokens.iter().any(|brought| usable(&brought)),
            "a token is sent that nobody brought, or that was refused"
        );
        let account = self.account();
        match (&dial.identity, account) {
            (Identity::Discover, None) => {
                ensure!(
                    dial.session_expiry.is_zero(),
                    "a discovery that leaves a session behind"
                );
                ensure!(dial.protocol == Protocol::V5, "3.1.1 cannot name the user");
                ensure!(
                    !dial.client_id.is_empty() && !dial.client_id.contains(':'),
                    "a discovery under the client id {}",
                    dial.client_id
                );
            }
            (Identity::Known(known), Some(account)) => {
                ensure!(*known == account, "an attempt as {known} instead of {account}");
                self.check_identity(dial, &account)?;
            }
            (Identity::Discover, Some(_)) | (Identity::Known(_), None) => {
                return Err(format!(
                    "the user is known exactly if the CONNECT says so: {:?}",
                    dial.identity
                ));
            }
        }
        self.token_sent(&dial.token);
        Ok(())
    }

    fn check_identity(&self, dial: &Dial, account: &Account) -> Checked {
        let mut client_id = format!(":{}:{}", account.app_key, account.user_id);
        if self.config.login == LoginPolicy::Many {
            client_id = format!(".{}{client_id}", self.config.installation);
        }
        client_id.insert_str(0, "desktop");
        ensure!(!dial.clean, "only a logout may clean the session");
        ensure!(dial.client_id == client_id, "the client id is {}", dial.client_id);
        ensure!(
            dial.session_expiry == self.config.session_expiry,
            "the session is not kept as long as configured"
        );
        ensure!(
            self.database_of(account) == Some(DatabaseState::Open),
            "an attempt before the account's database is open"
        );
        // An attempt that was due comes before what the input asks for.
        let asking = self
            .step
            .answer
            .as_ref()
            .is_some_and(|answer| answer.got.is_none());
        for key in self.pending() {
            ensure!(
                self.latest(&key)
                    .is_some_and(|latest| latest.opened || asking && !latest.answered),
                "an attempt before {} heard onDatabaseOpened",
                key.instance.0
            );
        }
        Ok(())
    }

    fn ping(&mut self, epoch: Epoch) -> Checked {
        let now = self.now.boot;
        let asked = self.step.ping != Need::No;
        let due = |(link, due): (Epoch, BootTime)| link == epoch && now + EDGE >= due;
        if self.link.is_none() && self.step.ping_due.is_some_and(due) {
            // It was due before the input that ended the link.
            return Ok(());
        }
        let Some(link) = self.link.as_mut().filter(|link| link.epoch() == epoch) else {
            return Err(format!("PINGREQ on {epoch:?}, which is not the link"));
        };
        let Some(up) = link.up() else {
            return Err("PINGREQ before CONNACK".to_owned());
        };
        ensure!(
            asked || now + EDGE >= up.ping_due(),
            "PINGREQ {:?} after something was received",
            now.since(up.received)
        );
        up.pinged = now;
        self.step.pinged = true;
        Ok(())
    }

    fn hang_up(&mut self, epoch: Epoch, how: HangUp) -> Checked {
        let Some(link) = self.link.as_ref().filter(|link| link.epoch() == epoch) else {
            return Err(format!("HangUp of {epoch:?}, which is not the link"));
        };
        let discovery = link.dial.identity == Identity::Discover;
        let now = self.now.boot;
        match self
            .step
            .closing
            .as_mut()
            .filter(|closing| closing.epoch == epoch)
        {
            Some(closing) => {
                ensure!(
                    discovery || closing.how.contains(&how),
                    "HangUp with {how:?}, expected one of {:?}",
                    closing.how
                );
                closing.done = true;
                if closing.need == Need::May {
                    self.pace.wait = Some(Wait {
                        span: Span {
                            from: now,
                            to: now + Duration::from_secs(64),
                        },
                        cause: Cause::Table,
                    });
                }
            }
            None => {
                ensure!(
                    link.doom(now) != Doom::Lives,
                    "HangUp of a healthy link ({:?} since {:?})",
                    link.stage,
                    now
                );
                ensure!(
                    discovery || how != HangUp::EndSession,
                    "a dead link takes its session along"
                );
                self.lost(Span::at(now), false);
            }
        }
        self.link = None;
        Ok(())
    }

    fn publish(&mut self, status: &Status) -> Checked {
        if let Some(before) = &self.status {
            ensure!(
                status.generation == before.generation + 1,
                "generation {} after {}",
                status.generation,
                before.generation
            );
            let same = Status {
                generation: before.generation,
                ..status.clone()
            } == *before;
            ensure!(!same, "the same status is published twice");
        }
        let disk = self.disk.as_ref();
        if status.status == ConnectionStatus::Connected {
            let Some(link) = self.link.as_ref().filter(|link| link.is_online()) else {
                return Err("CONNECTED without a login".to_owned());
            };
            let safe = disk.is_some_and(|disk| {
                disk.wanted
                    && disk.verified
                    && disk.account() == self.account()
                    && disk.token.as_ref() == Some(&link.dial.token)
            });
            ensure!(safe, "CONNECTED is published before the wanted state is written");
            ensure!(
                status.server.as_ref() == Some(&link.dial.server),
                "CONNECTED with another server than the one that answered"
            );
        } else if !is_end(status.status) {
            ensure!(
                disk.is_some_and(|disk| disk.wanted),
                "{} is published before the wanted state is written",
                status.status.name()
            );
        } else if self.step.off == Need::Must && self.hold.is_none() {
            ensure!(
                self.step.off_written || disk.is_none_or(|disk| !disk.wanted),
                "{} is published before the wanted state is written",
                status.status.name()
            );
        }
        self.status = Some(status.clone());
        Ok(())
    }

    fn notify(&mut self, event: &Event) -> Checked {
        match event {
            Event::OfflineSyncCompleted { complete } => {
                let (need, expected) = self.step.sync;
                ensure!(
                    need != Need::No && *complete == expected,
                    "OFFLINE_SYNC_COMPLETED {{ {complete} }} out of place"
                );
                self.step.sync = (Need::No, expected);
                if let Some(link) = self.link.as_mut()
                    && let Stage::Online { sync, .. } = &mut link.stage
                {
                    ensure!(
                        *sync == Sync::Running,
                        "OFFLINE_SYNC_COMPLETED twice for one login"
                    );
                    *sync = Sync::Told;
                }
                Ok(())
            }
            Event::SessionLost => {
                let account = self.account();
                ensure!(
                    account.is_some_and(|account| self
                        .taken
                        .iter()
                        .filter(|(taken, _)| *taken == account)
                        .count()
                        > 1),
                    "a session is called lost that there never was"
                );
                Ok(())
            }
            Event::OtherInstallation { installation } => {
                ensure!(
                    *installation != self.config.installation,
                    "this installation is called another"
                );
                Ok(())
            }
            Event::GroupRefused { .. } => {
                ensure!(self.step.group_refused, "no group was refused");
                self.step.group_refused = false;
                Ok(())
            }
        }
    }
}
