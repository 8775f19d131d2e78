//! The connection itself. (Under construction.)

use std::collections::VecDeque;

use crate::account::AppKey;
use crate::io::{Action, Config, Input, InstanceId, Status};
use crate::time::{BootTime, Now};

/// Why the core wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum WakeUp {
    /// A caller's time limit ends.
    TimeLimit,
    /// The next attempt is due.
    NextAttempt,
}

/// How far an app instance's connect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectPhase {
    None,
    Pending,
    Succeeded,
}

/// The connection. Feed it with [`Core::handle`]; then carry out all of [`Core::poll_action`], in order;
/// then sleep until [`Core::poll_timeout`] or the next input.
pub struct Core {
    actions: VecDeque<Action>,
}

impl Core {
    #[must_use]
    pub fn new(_config: Config) -> Self {
        Self {
            actions: VecDeque::new(),
        }
    }

    /// Something happened. What was due before `now` is carried out first.
    pub fn handle(&mut self, _now: Now, _input: Input) {}

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When to call [`Core::handle`] with [`Input::Timeout`], and what for.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(BootTime, WakeUp)> {
        None
    }

    /// The App Key of an app instance, and how far its connect is.
    #[must_use]
    pub fn instance(&self, _instance: &InstanceId) -> (Option<&AppKey>, ConnectPhase) {
        (None, ConnectPhase::None)
    }

    /// The status as last published; `None` before the first.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        None
    }
}
