//! The app instances: who may connect, who waits, who was told what.

use std::collections::BTreeMap;

use crate::account::{AppKey, Token, UserId};
use crate::io::{ConnectId, ConnectKey, InstanceId, Refusal};
use crate::time::BootTime;

/// How many instances are known at once.
const MOST: usize = 1024;

/// How far an app instance's connect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectPhase {
    /// It has not asked, or its connect has ended.
    None,
    /// It waits.
    Pending,
    /// It was told onSuccess, and nothing has ended the connection since.
    Succeeded,
}

/// All instances that are bound, or whose connect is not over.
#[derive(Default)]
pub(crate) struct Callers {
    instances: BTreeMap<InstanceId, Instance>,
    /// Counts the ends of bindings: the lowest number went first.
    unbindings: u64,
}

pub(crate) struct Instance {
    pub(crate) app_key: Option<AppKey>,
    pub(crate) slot: Slot,
    /// Set when the binding has ended.
    unbound: Option<u64>,
}

/// The one connect of an instance.
pub(crate) enum Slot {
    Free,
    Pending(Waiter),
    Done {
        connect: ConnectId,
        outcome: Result<UserId, Refusal>,
        database_told: bool,
        holds: bool,
    },
}

/// An accepted connect without its terminal callback.
pub(crate) struct Waiter {
    pub(crate) connect: ConnectId,
    /// As its connect brought it; the updated one, if the server has refused that.
    pub(crate) token: Token,
    /// As UpdateToken has brought it since.
    pub(crate) updated: Option<Token>,
    /// The user the caller expects: named by it or by its token.
    pub(crate) user_id: Option<UserId>,
    pub(crate) deadline: Option<BootTime>,
    /// onDatabaseOpened was called.
    pub(crate) database_told: bool,
}

impl Instance {
    pub(crate) fn phase(&self) -> ConnectPhase {
        match &self.slot {
            Slot::Free | Slot::Done { holds: false, .. } => ConnectPhase::None,
            Slot::Pending(_) => ConnectPhase::Pending,
            Slot::Done { holds: true, .. } => ConnectPhase::Succeeded,
        }
    }
}

impl Callers {
    pub(crate) fn get(&self, id: &InstanceId) -> Option<&Instance> {
        self.instances.get(id)
    }

    /// The instance, which is bound (again) if it was not. `None`: there are too many.
    pub(crate) fn bind(&mut self, id: &InstanceId) -> Option<&mut Instance> {
        if !self.instances.contains_key(id) && self.instances.len() >= MOST && !self.forget_oldest() {
            return None;
        }
        let instance = self.instances.entry(id.clone()).or_insert(Instance {
            app_key: None,
            slot: Slot::Free,
            unbound: None,
        });
        instance.unbound = None;
        Some(instance)
    }

    /// The binding has ended. A connect that waits goes on, and one that is over can still be asked for.
    pub(crate) fn unbind(&mut self, id: &InstanceId) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        if matches!(instance.slot, Slot::Free) {
            self.instances.remove(id);
        } else {
            self.unbindings = self.unbindings.saturating_add(1);
            instance.unbound = Some(self.unbindings);
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let oldest = self
            .instances
            .iter()
            .filter(|(_, instance)| !matches!(instance.slot, Slot::Pending(_)))
            .filter_map(|(id, instance)| Some((instance.unbound?, id.clone())))
            .min();
        oldest.is_some_and(|(_, id)| self.instances.remove(&id).is_some())
    }

    pub(crate) fn waiters(&self) -> impl Iterator<Item = (&InstanceId, &Waiter)> {
        self.instances
            .iter()
            .filter_map(|(id, instance)| match &instance.slot {
                Slot::Pending(waiter) => Some((id, waiter)),
                Slot::Free | Slot::Done { .. } => None,
            })
    }

    pub(crate) fn waits_for(&self, token: &Token) -> bool {
        self.waiters()
            .any(|(_, waiter)| waiter.token == *token || waiter.updated.as_ref() == Some(token))
    }

    /// UpdateToken has brought a token: it is good for all who wait.
    pub(crate) fn update_token(&mut self, token: &Token) {
        for (_, waiter) in self.pending_mut() {
            waiter.updated = Some(token.clone());
        }
    }

    /// The server has refused a token. Whoever waits with the other one of its two goes on waiting.
    pub(crate) fn token_refused(&mut self, token: &Token) {
        for (_, waiter) in self.pending_mut() {
            if waiter.updated.as_ref() == Some(token) {
                waiter.updated = None;
            } else if waiter.token == *token
                && let Some(updated) = waiter.updated.take()
            {
                waiter.token = updated;
            }
        }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiters().next().is_some()
    }

    /// Marks that onDatabaseOpened is called; the keys of those who have not heard it.
    pub(crate) fn take_database_untold(&mut self) -> Vec<ConnectKey> {
        self.pending_mut()
            .filter(|(_, waiter)| !waiter.database_told)
            .map(|(id, waiter)| {
                waiter.database_told = true;
                ConnectKey {
                    instance: id.clone(),
                    connect: waiter.connect.clone(),
                }
            })
            .collect()
    }

    fn pending_mut(&mut self) -> impl Iterator<Item = (&InstanceId, &mut Waiter)> {
        self.instances
            .iter_mut()
            .filter_map(|(id, instance)| match &mut instance.slot {
                Slot::Pending(waiter) => Some((id, waiter)),
                Slot::Free | Slot::Done { .. } => None,
            })
    }

    /// Ends the wait of those that `which` names; their keys.
    pub(crate) fn settle(
        &mut self,
        outcome: &Result<UserId, Refusal>,
        which: impl Fn(&Waiter) -> bool,
    ) -> Vec<ConnectKey> {
        let mut settled = Vec::new();
        for (id, instance) in &mut self.instances {
            let Slot::Pending(waiter) = &instance.slot else {
                continue;
            };
            if !which(waiter) {
                continue;
            }
            let connect = waiter.connect.clone();
            settled.push(ConnectKey {
                instance: id.clone(),
                connect: connect.clone(),
            });
            instance.slot = Slot::Done {
                connect,
                outcome: outcome.clone(),
                database_told: waiter.database_told,
                holds: outcome.is_ok(),
            };
        }
        settled
    }

    /// The connection has ended: whoever held it may connect again.
    pub(crate) fn release(&mut self) {
        for instance in self.instances.values_mut() {
            if let Slot::Done { holds, .. } = &mut instance.slot {
                *holds = false;
            }
        }
    }
}
