//! The one task that drives the core: whatever happens becomes an input, and the actions are carried out in
//! their order.
//!
//! Only [`Action::Persist`] holds up the actions behind it. Meanwhile the socket, the commands and the alarm
//! are still served; what the core then asks for queues up in the core.
//!
//! Messages pass the core by: `driver/messages.rs` moves them between the session and the store.

mod calls;
mod messages;
mod surroundings;

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use imd_core::Core;
use imd_core::account::Account;
use imd_core::io::{Action, Epoch, Fault, Input, LinkEvent, OpenFailure, Opened, Remembered, Request};
use imd_core::time::BootTime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;

use self::calls::Calls;
use self::messages::GroupChange;
use self::surroundings::Stir;
pub use self::surroundings::Surroundings;
use super::connection::{Connection, Happening, Up};
use super::handle::Command;
use super::inbox::{Inbox, Outcome};
use super::outbox::{Outbox, Progress};
use super::session::{Device, Session};
use super::vault::{BoxFuture, Vault};
use crate::clock::{self, Alarm, SleepWatch};
use crate::hub::Hub;
use crate::nav::Directory;
use crate::network::View;
use crate::store::rows::Group;
use crate::transport::Reached;

/// How long the end waits until the store knows what the server has taken.
const SETTLE: Duration = Duration::from_secs(1);

/// The task's state. Make it with [`Driver::new`], then spawn [`Driver::run`].
pub struct Driver<V> {
    core: Core,
    vault: Arc<V>,
    hub: Arc<Hub>,
    device: Device,
    directory: Arc<Directory>,
    /// `None`: every handle is gone.
    commands: Option<mpsc::Receiver<Command>>,
    alarm: Alarm,
    sleep: SleepWatch,
    surroundings: Surroundings,
    /// As seen last.
    network: View,
    /// The machine sleeps when this is dropped: when the server has been told.
    falling_asleep: Option<oneshot::Sender<()>>,
    connection: Connection,
    persisting: Option<BoxFuture<Result<(), String>>>,
    /// Opened one after the other, in the core's order.
    opening: VecDeque<(Account, BoxFuture<Opening>)>,
    inbox: Inbox,
    /// `None`: no account's database is open.
    outbox: Option<Outbox<V>>,
    /// The open account's groups, and how the server answered their subscription.
    groups: BTreeMap<String, i32>,
    /// Carried out one after the other.
    group_changes: VecDeque<GroupChange>,
    /// Why what comes in cannot be stored.
    storage_full: watch::Receiver<Option<String>>,
    /// The connection that inbox and outbox know of.
    live: Option<Epoch>,
    /// When the server was heard last, and on which connection.
    heard: Option<(Epoch, BootTime)>,
    calls: Calls,
    stop: Stop,
}

/// What came of opening an account's database.
type Opening = Result<(Opened, Vec<Group>), OpenFailure>;

/// How far the end is.
enum Stop {
    No,
    Asked(Vec<oneshot::Sender<()>>),
    /// The core has nothing more to ask for.
    Agreed(Vec<oneshot::Sender<()>>),
}

/// What wakes the task.
enum Wake {
    Command(Option<Command>),
    Alarm,
    Persisted(Result<(), String>),
    Opened(Account, Opening),
    Network(Happening),
    Stored(Outcome),
    Pumped(Progress),
    GroupChanged(Result<(), String>),
    StorageFull(Option<String>),
    Surroundings(Stir),
}

impl<V: Vault> Driver<V> {
    /// Everything the task needs. To be called inside the runtime that runs it.
    ///
    /// # Errors
    /// The system gives no timer.
    pub fn new(
        core: Core,
        vault: V,
        hub: Arc<Hub>,
        device: Device,
        directory: Arc<Directory>,
        commands: mpsc::Receiver<Command>,
        surroundings: Surroundings,
    ) -> io::Result<Self> {
        Ok(Self {
            core,
            storage_full: vault.storage_full(),
            vault: Arc::new(vault),
            hub,
            device,
            directory,
            commands: Some(commands),
            alarm: Alarm::new()?,
            sleep: SleepWatch::new(),
            surroundings,
            network: View::unknown(),
            falling_asleep: None,
            connection: Connection::None,
            persisting: None,
            opening: VecDeque::new(),
            inbox: Inbox::default(),
            outbox: None,
            groups: BTreeMap::new(),
            group_changes: VecDeque::new(),
            live: None,
            heard: None,
            calls: Calls::default(),
            stop: Stop::No,
        })
    }

    /// Runs until [`Command::Stop`], or until every handle is gone; the server has then been told.
    pub async fn run(mut self, remembered: Option<Remembered>) {
        self.tell(Input::Start { remembered });
        self.first_look();
        loop {
            self.carry_out();
            self.move_messages();
            self.carry_out();
            if matches!(self.connection, Connection::None) {
                self.falling_asleep = None;
            }
            if self.has_ended() {
                break;
            }
            self.alarm.set(self.core.poll_timeout().map(|(at, _)| at));
            let wake = self.next().await;
            if self.sleep.has_slept() {
                tracing::info!("the machine slept");
                self.tell(Input::Resumed);
            }
            self.take(wake);
        }
        self.end().await;
    }

    /// Waits for what wakes the task. Dropping the future loses nothing.
    async fn next(&mut self) -> Wake {
        let command = async {
            match &mut self.commands {
                Some(commands) => commands.recv().await,
                None => pending().await,
            }
        };
        let persisted = async {
            match &mut self.persisting {
                Some(persisting) => persisting.await,
                None => pending().await,
            }
        };
        let opened = async {
            match self.opening.front_mut() {
                Some((account, opening)) => (account.clone(), opening.await),
                None => pending().await,
            }
        };
        let pumped = async {
            match &mut self.outbox {
                Some(outbox) => outbox.next().await,
                None => pending().await,
            }
        };
        let group_changed = async {
            match self.group_changes.front_mut() {
                Some(change) => change.done().await,
                None => pending().await,
            }
        };
        let storage_full = async {
            match self.storage_full.changed().await {
                Ok(()) => self.storage_full.borrow_and_update().clone(),
                // The store has stopped.
                Err(_) => pending().await,
            }
        };
        tokio::select! {
            command = command => Wake::Command(command),
            () = self.alarm.wait() => Wake::Alarm,
            result = persisted => Wake::Persisted(result),
            (account, result) = opened => Wake::Opened(account, result),
            happening = self.connection.next() => Wake::Network(happening),
            outcome = self.inbox.next() => Wake::Stored(outcome),
            progress = pumped => Wake::Pumped(progress),
            result = group_changed => Wake::GroupChanged(result),
            why = storage_full => Wake::StorageFull(why),
            stir = self.surroundings.next() => Wake::Surroundings(stir),
        }
    }

    fn take(&mut self, wake: Wake) {
        match wake {
            Wake::Command(Some(command)) => self.command(command),
            Wake::Command(None) => {
                self.commands = None;
                self.ask_to_stop(None);
            }
            Wake::Alarm => self.tell(Input::Timeout),
            Wake::Persisted(result) => {
                self.persisting = None;
                if let Err(reason) = result {
                    tracing::warn!(
                        reason,
                        "the wanted state is not safe on disk: a restarted daemon would not know of it"
                    );
                }
            }
            Wake::Opened(account, result) => {
                self.opening.pop_front();
                let result = result.map(|(opened, groups)| {
                    self.account_opened(account.clone(), groups);
                    opened
                });
                self.tell(Input::AccountOpened { account, result });
            }
            Wake::Network(happening) => self.happened(happening),
            Wake::Stored(outcome) => self.stored(outcome),
            Wake::Pumped(progress) => {
                if let Some(outbox) = &mut self.outbox {
                    outbox.progressed(progress, clock::now());
                }
            }
            Wake::GroupChanged(result) => self.group_changed(result),
            Wake::StorageFull(why) => self.tell(Input::StorageFull(why)),
            Wake::Surroundings(stir) => self.stirred(stir),
        }
    }

    fn tell(&mut self, input: Input) {
        self.core.handle(clock::now(), input);
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Ask { request, answer } => {
                let call = self.calls.ask(answer);
                self.tell(Input::Call { call, request });
            }
            Command::Connect {
                request,
                answer,
                callbacks,
            } => {
                let call = self.calls.connect(request.key.clone(), answer, callbacks);
                let request = Request::Connect(request);
                self.tell(Input::Call { call, request });
            }
            Command::Unbound { instance } => self.tell(Input::Unbound { instance }),
            Command::TokenProvider { instance, app } => self.tell(match app {
                Some(app) => Input::TokenProvider { instance, app },
                // It has opened another stream since.
                None if self.hub.token_providers.is_open(&instance) => return,
                None => Input::NoTokenProvider { instance },
            }),
            Command::Instance { instance, answer } => {
                let (app_key, phase) = self.core.instance(&instance);
                // Who asked may have gone.
                let _: Result<(), _> = answer.send((app_key.cloned(), phase));
            }
            Command::JoinGroup { group, answer } => self.change_group(group, true, answer),
            Command::QuitGroup { group, answer } => self.change_group(group, false, answer),
            Command::LastHeard { answer } => {
                let heard = match (&self.connection, self.heard) {
                    (Connection::Up(up), Some((epoch, at))) if up.epoch == epoch => Some(at),
                    (
                        Connection::Up(_)
                        | Connection::None
                        | Connection::Dialing { .. }
                        | Connection::Closing { .. },
                        _,
                    ) => None,
                };
                // Who asked may have gone.
                let _: Result<(), _> = answer.send(heard);
            }
            Command::Stop { done } => self.ask_to_stop(Some(done)),
        }
    }

    fn ask_to_stop(&mut self, done: Option<oneshot::Sender<()>>) {
        match &mut self.stop {
            Stop::No => {
                self.stop = Stop::Asked(done.into_iter().collect());
                self.tell(Input::Stop);
            }
            Stop::Asked(waiting) | Stop::Agreed(waiting) => waiting.extend(done),
        }
    }

    fn has_ended(&self) -> bool {
        matches!(self.stop, Stop::Agreed(_)) && matches!(self.connection, Connection::None)
    }

    /// Gives the store what the server has answered, and tells those who wait for the end.
    async fn end(self) {
        if let Some(mut outbox) = self.outbox
            && timeout(SETTLE, outbox.settle()).await.is_err()
        {
            tracing::warn!("the store does not take what the server has answered: it will be sent again");
        }
        if let Stop::Agreed(waiting) = self.stop {
            for done in waiting {
                // Who asked may have gone.
                let _: Result<(), ()> = done.send(());
            }
        }
    }

    /// Carries out what the core asks for, up to what has to be waited for.
    fn carry_out(&mut self) {
        while self.persisting.is_none() {
            let Some(action) = self.core.poll_action() else {
                return;
            };
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Answer { call, result } => self.calls.answer(call, result),
            Action::Callback { connect, callback } => self.calls.call_back(&connect, callback),
            Action::Persist(remembered) => self.persisting = Some(self.vault.persist(*remembered)),
            Action::OpenAccount(account) => {
                self.account_closed();
                let opening = open(&self.vault, account.clone());
                self.opening.push_back((account, opening));
            }
            Action::Dial(dial) => {
                tracing::debug!(server = %dial.server, epoch = dial.epoch.0, "dialing");
                self.connection.dial(dial, &self.directory);
            }
            Action::Login { epoch } => {
                if let Some(session) = self.connection.session(epoch) {
                    session.login(clock::now().boot);
                    self.tell_session();
                }
            }
            Action::Ping { epoch } => {
                if let Some(session) = self.connection.session(epoch) {
                    session.ping();
                    self.tell_session();
                }
            }
            Action::HangUp { epoch, how } => self.connection.hang_up(epoch, how),
            Action::Publish(status) => self.hub.status.publish(*status),
            Action::Notify(event) => self.notify(event),
            Action::AskForToken { instance, expires } => {
                tracing::info!(instance = %instance.0, "an app is asked for a new token");
                self.hub.token_providers.ask(&instance, expires);
            }
            Action::ForgetServers { app_key, user_id } => self.directory.forget(&app_key, user_id.as_ref()),
            Action::Stopped => {
                if let Stop::Asked(waiting) = &mut self.stop {
                    self.stop = Stop::Agreed(std::mem::take(waiting));
                }
            }
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Dialed(result) => self.dialed(result),
            Happening::Read(count) => {
                if let Connection::Up(up) = &mut self.connection {
                    if count == 0 {
                        up.session.closed(!up.input.is_empty());
                    } else {
                        let now = clock::now();
                        self.heard = Some((up.epoch, now.boot));
                        up.session.received(now, &mut up.input);
                    }
                }
                self.tell_session();
            }
            Happening::Sent => {}
            Happening::Broken(error) => {
                if let Connection::Up(up) = &mut self.connection {
                    up.session.broken(&error);
                }
                self.tell_session();
            }
            Happening::Closed => self.connection.closed(&self.directory),
        }
    }

    fn dialed(&mut self, result: Result<Reached, Fault>) {
        let Connection::Dialing { mut dial, .. } = std::mem::replace(&mut self.connection, Connection::None)
        else {
            return;
        };
        let epoch = dial.epoch;
        let opened = result.and_then(|reached| {
            if reached.server != dial.server {
                dial.server = reached.server.clone();
                let server = reached.server.clone();
                let event = LinkEvent::Reached { server };
                self.tell(Input::Link { epoch, event });
            }
            let groups = self.groups.keys().cloned().collect();
            let session = Session::open(&dial, self.device.clone(), groups)?;
            Ok(Up::new(epoch, session, reached))
        });
        match opened {
            Ok(up) => self.connection = Connection::Up(Box::new(up)),
            Err(fault) => {
                let event = self.surroundings.explained(LinkEvent::Failed(fault));
                self.tell(Input::Link { epoch, event });
            }
        }
    }
}

/// Opens the database, and looks up what a login needs to know of it.
fn open<V: Vault>(vault: &Arc<V>, account: Account) -> BoxFuture<Opening> {
    let vault = Arc::clone(vault);
    Box::pin(async move {
        let opened = vault.open_account(account).await?;
        let groups = vault.groups().await.map_err(|reason| OpenFailure {
            text: format!("the groups cannot be read: {reason}"),
        })?;
        Ok((opened, groups))
    })
}

#[cfg(test)]
mod tests;
