//! The one task that drives the core: whatever happens becomes an input, and the actions are carried out in
//! their order.
//!
//! Only [`Action::Persist`] holds up the actions behind it. Meanwhile the socket, the commands and the alarm
//! are still served; what the core then asks for queues up in the core.

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::io;
use std::sync::Arc;

use imd_core::Core;
use imd_core::account::Account;
use imd_core::io::{
    Action, CallId, Callback, ConnectKey, Event, Input, LinkEvent, OpenFailure, Opened, Refusal, Remembered,
    Request,
};
use tokio::sync::{mpsc, oneshot};

use super::connection::{Connection, Happening, Up};
use super::handle::Command;
use super::session::{Device, Session};
use super::vault::{BoxFuture, Vault};
use crate::clock::{self, Alarm, SleepWatch};
use crate::hub::Hub;

/// The task's state. Make it with [`Driver::new`], then spawn [`Driver::run`].
pub struct Driver<V> {
    core: Core,
    vault: V,
    hub: Arc<Hub>,
    device: Device,
    /// `None`: every handle is gone.
    commands: Option<mpsc::Receiver<Command>>,
    alarm: Alarm,
    sleep: SleepWatch,
    connection: Connection,
    persisting: Option<BoxFuture<Result<(), String>>>,
    /// Opened one after the other, in the core's order.
    opening: VecDeque<(Account, BoxFuture<Result<Opened, OpenFailure>>)>,
    calls: Calls,
    stop: Stop,
}

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
    Opened(Account, Result<Opened, OpenFailure>),
    Network(Happening),
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
        commands: mpsc::Receiver<Command>,
    ) -> io::Result<Self> {
        Ok(Self {
            core,
            vault,
            hub,
            device,
            commands: Some(commands),
            alarm: Alarm::new()?,
            sleep: SleepWatch::new(),
            connection: Connection::None,
            persisting: None,
            opening: VecDeque::new(),
            calls: Calls::default(),
            stop: Stop::No,
        })
    }

    /// Runs until [`Command::Stop`], or until every handle is gone; the server has then been told.
    pub async fn run(mut self, remembered: Option<Remembered>) {
        self.tell(Input::Start { remembered });
        loop {
            self.carry_out();
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
        tokio::select! {
            command = command => Wake::Command(command),
            () = self.alarm.wait() => Wake::Alarm,
            result = persisted => Wake::Persisted(result),
            (account, result) = opened => Wake::Opened(account, result),
            happening = self.connection.next() => Wake::Network(happening),
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
                self.tell(Input::AccountOpened { account, result });
            }
            Wake::Network(happening) => self.happened(happening),
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
            Command::Instance { instance, answer } => {
                let (app_key, phase) = self.core.instance(&instance);
                // Who asked may have gone.
                let _: Result<(), _> = answer.send((app_key.cloned(), phase));
            }
            Command::JoinGroup { answer, .. } | Command::QuitGroup { answer, .. } => drop(answer),
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

    /// Whether all is done; then those who wait for it are told.
    fn has_ended(&mut self) -> bool {
        let Stop::Agreed(waiting) = &mut self.stop else {
            return false;
        };
        if !matches!(self.connection, Connection::None) {
            return false;
        }
        for done in waiting.drain(..) {
            // Who asked may have gone.
            let _: Result<(), ()> = done.send(());
        }
        true
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
                let opening = self.vault.open_account(account.clone());
                self.opening.push_back((account, opening));
            }
            Action::Dial(dial) => {
                tracing::debug!(server = %dial.server, epoch = dial.epoch.0, "dialing");
                self.connection.dial(dial);
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
            Action::Notify(event) => log_event(&event),
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
                        up.session.received(clock::now().boot, &mut up.input);
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
            Happening::Closed => self.connection.closed(),
        }
    }

    fn dialed(&mut self, result: Result<super::dial::Stream, imd_core::io::Fault>) {
        let Connection::Dialing { dial, .. } = std::mem::replace(&mut self.connection, Connection::None)
        else {
            return;
        };
        let epoch = dial.epoch;
        let opened = result.and_then(|stream| {
            let session = Session::open(&dial, self.device.clone(), Vec::new())?;
            Ok(Up::new(epoch, session, stream))
        });
        match opened {
            Ok(up) => self.connection = Connection::Up(Box::new(up)),
            Err(fault) => {
                let event = LinkEvent::Failed(fault);
                self.tell(Input::Link { epoch, event });
            }
        }
    }

    /// Tells the core what the session has to tell, and closes the connection if that was its end.
    fn tell_session(&mut self) {
        let Connection::Up(up) = &mut self.connection else {
            return;
        };
        let epoch = up.epoch;
        let now = clock::now();
        while let Some(event) = up.session.poll_event() {
            self.core.handle(now, Input::Link { epoch, event });
        }
        if up.session.is_over() {
            self.connection.close();
        }
    }
}

/// The calls that wait for their answer, and the connects that wait for their callbacks. The core bounds
/// both: it answers each call, and ends each connect it took.
#[derive(Default)]
struct Calls {
    last: u64,
    waiting: BTreeMap<CallId, Waiting>,
    callbacks: BTreeMap<ConnectKey, mpsc::Sender<Callback>>,
}

struct Waiting {
    answer: oneshot::Sender<Result<(), Refusal>>,
    /// Where a connect's callbacks go, once it is taken.
    connect: Option<(ConnectKey, mpsc::Sender<Callback>)>,
}

impl Calls {
    fn ask(&mut self, answer: oneshot::Sender<Result<(), Refusal>>) -> CallId {
        self.wait(Waiting {
            answer,
            connect: None,
        })
    }

    fn connect(
        &mut self,
        key: ConnectKey,
        answer: oneshot::Sender<Result<(), Refusal>>,
        callbacks: mpsc::Sender<Callback>,
    ) -> CallId {
        self.wait(Waiting {
            answer,
            connect: Some((key, callbacks)),
        })
    }

    fn wait(&mut self, waiting: Waiting) -> CallId {
        self.last += 1;
        let call = CallId(self.last);
        self.waiting.insert(call, waiting);
        call
    }

    /// A connect that is taken gets its callbacks from then on: the newest of those with the same key. One
    /// that is refused leaves an earlier one's unharmed.
    fn answer(&mut self, call: CallId, result: Result<(), Refusal>) {
        let Some(Waiting { answer, connect }) = self.waiting.remove(&call) else {
            tracing::error!(call = call.0, "an answer to a call that does not wait");
            return;
        };
        if result.is_ok()
            && let Some((key, callbacks)) = connect
        {
            self.callbacks.insert(key, callbacks);
        }
        // Who asked may have gone.
        let _: Result<(), _> = answer.send(result);
    }

    fn call_back(&mut self, connect: &ConnectKey, callback: Callback) {
        let sender = match &callback {
            Callback::DatabaseOpened(_) => self.callbacks.get(connect).cloned(),
            Callback::Success(_) | Callback::Error(_) => self.callbacks.remove(connect),
        };
        // The app may have gone; the connect goes on without it.
        if let Some(sender) = sender
            && sender.try_send(callback).is_err()
        {
            tracing::debug!(instance = %connect.instance.0, "nobody waits for a callback");
        }
    }
}

fn log_event(event: &Event) {
    match event {
        Event::OfflineSyncCompleted { complete } => {
            tracing::info!(complete, "the messages that waited at the server have been read");
        }
        Event::OtherInstallation { installation } => {
            tracing::warn!(%installation, "another installation was connected last: messages may have gone there");
        }
        Event::SessionLost => {
            tracing::warn!("the server had no session of this account: messages may have been lost");
        }
        Event::GroupRefused { group } => tracing::warn!(group, "the server refused a group's subscription"),
    }
}

#[cfg(test)]
mod tests;
