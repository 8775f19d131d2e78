//! What came in, on its way to the store: handed over in order, acknowledged when it is committed, and only
//! on the connection that brought it.
//!
//! One hand-over is under way at a time; what comes meanwhile goes with the next, so that a slow disk makes
//! larger commits and not more of them.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::Arc;

use imd_core::io::Epoch;

use super::retry::until_kept;
use super::session::Delivery;
use super::vault::{BoxFuture, Vault};
use super::wire::PacketId;
use crate::store::rows::{Arrival, Gap};

/// How many arrivals may wait for the store; beyond that nothing is read from the socket. It is what a
/// server of MQTT 5 may send before the first is acknowledged, so it is reached by those of 3.1.1 and by
/// QoS 0.
const MOST: usize = 1024;

/// How many bytes may.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// How many notes may wait; more are the work of a server that talks nonsense.
const MOST_NOTES: usize = 256;

/// What the link has to say of the account, in its place between the messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    Gap(Gap),
    OfflineSyncCompleted { complete: bool },
    GroupCode { group: String, code: i32 },
}

/// What is acknowledged when the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub(super) epoch: Epoch,
    pub(super) packet: PacketId,
}

/// The end of a hand-over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of it is committed: these may be acknowledged, in this order.
    Stored(Vec<Ticket>),
    /// Nothing of it may be acknowledged.
    Failed(String),
}

enum Item {
    Delivery { epoch: Epoch, delivery: Delivery },
    Note(Note),
}

struct Storing {
    tickets: Vec<Ticket>,
    count: usize,
    size: usize,
    done: BoxFuture<Result<(), String>>,
}

/// The queue and what is being stored.
#[derive(Default)]
pub(super) struct Inbox {
    waiting: VecDeque<Item>,
    storing: Option<Storing>,
    /// Of all deliveries, waiting and being stored.
    count: usize,
    size: usize,
    notes: usize,
}

impl Inbox {
    /// Something came in on this connection.
    pub(super) fn push(&mut self, epoch: Epoch, delivery: Delivery) {
        self.count += 1;
        self.size += delivery.size;
        self.waiting.push_back(Item::Delivery { epoch, delivery });
    }

    /// Something is to be noted, after all that came before.
    pub(super) fn note(&mut self, note: Note) {
        if self.notes >= MOST_NOTES {
            tracing::warn!(?note, "not noted: too many notes wait for the store");
            return;
        }
        self.notes += 1;
        self.waiting.push_back(Item::Note(note));
    }

    /// Whether no more is to be read for now.
    pub(super) fn is_full(&self) -> bool {
        self.count > MOST || self.size > MOST_BYTES
    }

    /// The connection is gone. What it brought and nobody has begun to store comes again, but for QoS 0.
    pub(super) fn link_ended(&mut self) {
        let (mut count, mut size) = (0, 0);
        self.waiting.retain(|item| match item {
            Item::Delivery { delivery, .. } if delivery.packet.is_some() => {
                count += 1;
                size += delivery.size;
                false
            }
            Item::Delivery { .. } | Item::Note(_) => true,
        });
        self.count -= count;
        self.size -= size;
    }

    /// Gives the store what waits, if it has done with what it had. Returns what needs no storing.
    pub(super) fn hand_over<V: Vault>(&mut self, vault: &Arc<V>) -> Vec<Ticket> {
        let mut at_once = Vec::new();
        while self.storing.is_none() {
            let (mut tickets, mut arrivals) = (Vec::new(), Vec::new());
            let (mut count, mut size) = (0, 0);
            while let Some(Item::Delivery { .. }) = self.waiting.front()
                && arrivals.len() <= MOST
                && let Some(Item::Delivery { epoch, delivery }) = self.waiting.pop_front()
            {
                count += 1;
                size += delivery.size;
                tickets.extend(delivery.packet.map(|packet| Ticket { epoch, packet }));
                arrivals.extend(delivery.arrival);
            }
            if !arrivals.is_empty() {
                self.storing = Some(Storing {
                    tickets,
                    count,
                    size,
                    done: store(&**vault, arrivals),
                });
                break;
            }
            self.count -= count;
            self.size -= size;
            at_once.append(&mut tickets);
            let Some(Item::Note(note)) = self.waiting.pop_front() else {
                break;
            };
            self.notes -= 1;
            self.storing = Some(Storing {
                tickets: Vec::new(),
                count: 0,
                size: 0,
                done: keep(vault, note),
            });
        }
        at_once
    }

    /// Waits for the end of a hand-over. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Outcome {
        let result = match &mut self.storing {
            Some(storing) => (&mut storing.done).await,
            None => pending().await,
        };
        let tickets = self.storing.take().map_or_else(Vec::new, |storing| {
            self.count -= storing.count;
            self.size -= storing.size;
            storing.tickets
        });
        match result {
            Ok(()) => Outcome::Stored(tickets),
            Err(reason) => Outcome::Failed(reason),
        }
    }
}

fn store(vault: &impl Vault, arrivals: Vec<Arrival>) -> BoxFuture<Result<(), String>> {
    let stored = vault.receive(arrivals);
    Box::pin(async move { stored.await.map(drop) })
}

/// A note never comes again, so it is not given up.
fn keep<V: Vault>(vault: &Arc<V>, note: Note) -> BoxFuture<Result<(), String>> {
    let vault = Arc::clone(vault);
    Box::pin(async move {
        until_kept("a note on the account", || match note.clone() {
            Note::Gap(gap) => vault.note_gap(gap),
            Note::OfflineSyncCompleted { complete } => vault.offline_sync_completed(complete),
            Note::GroupCode { group, code } => vault.group_code(group, code),
        })
        .await;
        Ok(())
    })
}

#[cfg(test)]
mod tests;
