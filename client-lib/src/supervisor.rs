//! The one task that keeps a client bound: it drives the rebind machine, and owns the socket.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::bind::{Before, Bound, Dialed, Identity, Word};
use crate::call::LinkNumber;
use crate::claim::Claim;
use crate::clock::{self, Alarm};
use crate::error::Error;
use crate::listeners::Board;
use crate::rebind::{Action, Failure, Input, Machine};
use crate::renewal::Renewed;
use crate::socket_watch::SocketWatch;
use crate::status::{DaemonLoss, Status};
use crate::uplink::{Binding, Uplink};

#[cfg(test)]
mod tests;

/// What all of a client's tasks share.
pub(crate) struct Shared {
    pub(crate) uplink: Uplink,
    pub(crate) board: Board,
    pub(crate) claim: Claim,
    pub(crate) renewed: Renewed,
}

impl Shared {
    /// A status that came by this link.
    pub(crate) fn saw(&self, link: LinkNumber, status: &Status) {
        if self.board.publish(link, status.clone()) {
            self.claim.saw(link, status);
        }
    }
}

pub(crate) struct Supervisor {
    identity: Arc<Identity>,
    shared: Arc<Shared>,
    machine: Machine,
    alarm: Alarm,
    attempt: Attempt,
    /// A binding, from its first word to the close of its socket.
    bound: Option<Line>,
    watch: Option<SocketWatch>,
    uplink: watch::Sender<Binding>,
    links: LinkNumber,
    /// The last run of the daemon that has said goodbye.
    stopped: Option<String>,
}

struct Line {
    bound: Bound,
    /// The stream has ended; the socket has not.
    is_over: bool,
}

/// How far a dial is.
enum Attempt {
    None,
    Dialing(Stage<Dialed>),
    Dialed(Dialed),
    Binding(Stage<Bound>),
    Bound(Box<Bound>),
}

type Stage<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

impl Supervisor {
    /// Binds, and fails if that fails.
    pub(crate) async fn bind(identity: Arc<Identity>) -> Result<(Self, Arc<Shared>), Error> {
        let number = LinkNumber(1);
        let bound = identity.bind(number).await?;
        let Bound { link, .. } = &bound;
        let board = Board::bound(number, bound.status.clone());
        let binding = Binding::Bound(Arc::clone(link));
        let mut supervisor = Self::new(identity, Machine::bound(clock::now()), binding, board)?;
        supervisor.links = number;
        supervisor.bound = Some(Line {
            bound,
            is_over: false,
        });
        let shared = Arc::clone(&supervisor.shared);
        Ok((supervisor, shared))
    }

    /// Binds when there is a daemon.
    pub(crate) fn wait(identity: Arc<Identity>) -> Result<(Self, Arc<Shared>), Error> {
        let now = clock::now();
        let binding = Binding::Lost {
            since: now,
            loss: DaemonLoss::NotYetThere,
        };
        let supervisor = Self::new(identity, Machine::unbound(now), binding, Board::unbound())?;
        let shared = Arc::clone(&supervisor.shared);
        Ok((supervisor, shared))
    }

    fn new(identity: Arc<Identity>, machine: Machine, binding: Binding, board: Board) -> Result<Self, Error> {
        let (sender, uplink) = Uplink::new(binding);
        let shared = Shared {
            uplink,
            board,
            claim: Claim::default(),
            renewed: Renewed::default(),
        };
        Ok(Self {
            identity,
            shared: Arc::new(shared),
            machine,
            alarm: Alarm::new().map_err(|error| Error::no_timer(&error))?,
            attempt: Attempt::None,
            bound: None,
            watch: None,
            uplink: sender,
            links: LinkNumber::default(),
            stopped: None,
        })
    }

    /// Runs until the client's last end, which `dropped` tells.
    pub(crate) async fn run(mut self, dropped: impl Future<Output = ()>) {
        let mut dropped = std::pin::pin!(dropped);
        let mut is_dropped = false;
        while !is_dropped {
            self.act();
            self.alarm.set(self.machine.poll_timeout());
            let input = tokio::select! {
                biased;
                () = dropped.as_mut() => {
                    is_dropped = true;
                    Some(Input::Dropped)
                }
                input = follow(&mut self.bound, &self.shared) => input,
                input = self.attempt.step() => Some(input),
                () = appeared(&mut self.watch) => Some(Input::Appeared),
                () = self.alarm.wait() => Some(Input::Timeout),
            };
            if let Some(input) = input {
                self.machine.handle(clock::now(), input);
            }
        }
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            self.carry_out(action);
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Watch => {
                self.watch = SocketWatch::new(&self.identity.socket)
                    .inspect_err(not_watched)
                    .ok();
            }
            Action::Unwatch => self.watch = None,
            Action::Dial => {
                // Whatever was left of the binding before has no reader any longer.
                self.bound = None;
                let identity = Arc::clone(&self.identity);
                self.attempt = Attempt::Dialing(Box::pin(async move { identity.dial().await }));
            }
            Action::Bind => {
                if let Attempt::Dialed(dialed) = std::mem::replace(&mut self.attempt, Attempt::None) {
                    self.links = LinkNumber(self.links.0.saturating_add(1));
                    let (identity, number) = (Arc::clone(&self.identity), self.links);
                    let before = Before::Outage {
                        stopped: self.stopped.clone(),
                    };
                    self.attempt =
                        Attempt::Binding(Box::pin(
                            async move { identity.greet(dialed, number, &before).await },
                        ));
                }
            }
            Action::Abandon => self.attempt = Attempt::None,
            Action::HangUp => {
                if let Some(line) = self.bound.take() {
                    line.bound.hang_up();
                }
            }
            Action::TellBound => {
                if let Attempt::Bound(bound) = std::mem::replace(&mut self.attempt, Attempt::None) {
                    let link = Arc::clone(&bound.link);
                    tracing::info!(daemon_run_id = link.run_id, "bound to the daemon");
                    let (number, status) = (link.number, bound.status.clone());
                    // In this order: who is told of the daemon may make calls at once.
                    self.uplink.send_replace(Binding::Bound(link));
                    self.shared.board.rebound(number, status);
                    self.bound = Some(Line {
                        bound: *bound,
                        is_over: false,
                    });
                }
            }
            Action::TellLost(loss) => {
                tracing::info!(%loss, "the daemon is lost");
                let line = self.bound.as_ref();
                self.stopped = match &loss {
                    DaemonLoss::Stopped { .. } => line.map(|line| line.bound.link.run_id.clone()),
                    DaemonLoss::NotYetThere
                    | DaemonLoss::Died
                    | DaemonLoss::Hung
                    | DaemonLoss::Unbound { .. } => None,
                };
                self.shared.board.lost(&loss);
                self.uplink.send_replace(Binding::Lost {
                    since: clock::now(),
                    loss,
                });
            }
            Action::ShowFailure(failure) => {
                tracing::debug!(code = failure.code.0, reason = failure.text, "not bound");
                self.shared.board.attempt_failed(&failure);
            }
        }
    }
}

impl Attempt {
    /// Its next step; never, where it waits for the machine.
    async fn step(&mut self) -> Input {
        match self {
            Self::None | Self::Dialed(_) | Self::Bound(_) => std::future::pending().await,
            Self::Dialing(stage) => match stage.await {
                Ok(dialed) => {
                    *self = Self::Dialed(dialed);
                    Input::Dialed
                }
                Err(error) => self.failed(&error),
            },
            Self::Binding(stage) => match stage.await {
                Ok(bound) => {
                    *self = Self::Bound(Box::new(bound));
                    Input::Bound
                }
                Err(error) => self.failed(&error),
            },
        }
    }

    fn failed(&mut self, error: &Error) -> Input {
        *self = Self::None;
        Input::Failed(Failure::of(error))
    }
}

/// The next thing that a binding has to tell the machine.
async fn follow(line: &mut Option<Line>, shared: &Shared) -> Option<Input> {
    let Some(Line { bound, is_over }) = line else {
        return std::future::pending().await;
    };
    if *is_over {
        bound.closed().await;
        *line = None;
        return Some(Input::Closed(DaemonLoss::Died));
    }
    match bound.word().await {
        Word::Status(status) => {
            shared.saw(bound.link.number, &status);
            None
        }
        Word::Ended(loss) => {
            *is_over = true;
            Some(Input::Ended(loss))
        }
        Word::Closed(loss) => {
            *line = None;
            Some(Input::Closed(loss))
        }
    }
}

/// Waits for the socket's name, while it is watched.
async fn appeared(watch: &mut Option<SocketWatch>) {
    if let Some(socket) = watch {
        match socket.appeared().await {
            Ok(()) => return,
            Err(error) => not_watched(&error),
        }
        *watch = None;
    }
    std::future::pending().await
}

fn not_watched(error: &io::Error) {
    tracing::debug!(%error, "the socket's directory is not watched; the daemon is dialled again and again");
}
