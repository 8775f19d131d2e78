//! One client's session: what it subscribed to, what waits for it, what it has been sent and not yet
//! acknowledged. It outlives connections, as long as its expiry says.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imd_core::time::BootTime;
use tokio::sync::{Notify, watch};

use super::auth::Identity;
use super::script::Peer;
use super::wire::Forwarded;
use super::{Control, Qos, topic};

/// A message on its way.
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: Qos,
    pub(super) retain: bool,
    pub(super) properties: Forwarded,
    pub(super) expires: Option<BootTime>,
    /// The publisher's client id; `None`: the broker itself.
    pub(super) publisher: Option<String>,
}

impl Message {
    fn has_expired(&self, now: BootTime) -> bool {
        self.expires.is_some_and(|end| end <= now)
    }
}

/// What a SUBSCRIBE said of one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Subscription {
    pub(super) qos: Qos,
    pub(super) no_local: bool,
    pub(super) retain_as_published: bool,
    pub(super) retained: RetainedOnSubscribe,
}

/// Whether a SUBSCRIBE wants the retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RetainedOnSubscribe {
    Send,
    SendIfFirst,
    Skip,
}

/// A message to be written now.
pub(super) struct Outgoing {
    /// `None`: QoS 0.
    pub(super) packet_id: Option<u16>,
    pub(super) dup: bool,
    pub(super) retain: bool,
    pub(super) expiry_left: Option<u32>,
    pub(super) message: Arc<Message>,
}

/// What is known of a session from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionView {
    pub is_connected: bool,
    pub subscriptions: Vec<String>,
    /// Messages not sent yet, or to be sent again.
    pub queued: usize,
    /// Messages sent on the present connection and not acknowledged.
    pub in_flight: usize,
    /// Messages lost because the queue was full.
    pub dropped: u64,
}

struct Waiting {
    message: Arc<Message>,
    qos: Qos,
    retain: bool,
    /// Sent before on another connection, under this id.
    sent_as: Option<u16>,
}

struct InFlight {
    packet_id: u16,
    waiting: Waiting,
}

/// The connection a session has at present.
pub(super) struct Attached {
    /// Its number: an older connection of the same client must not touch the session any more.
    pub(super) connection: u64,
    pub(super) peer: Peer,
    pub(super) control: watch::Sender<Control>,
    pub(super) wake: Arc<Notify>,
    /// How many messages may be in flight.
    pub(super) quota: usize,
}

pub(super) enum Presence {
    Attached(Attached),
    /// Until then; `None`: for ever.
    Detached(Option<BootTime>),
}

pub(super) struct Session {
    pub(super) presence: Presence,
    pub(super) identity: Identity,
    subscriptions: BTreeMap<String, Subscription>,
    queue: VecDeque<Waiting>,
    queue_limit: usize,
    in_flight: VecDeque<InFlight>,
    used_ids: HashSet<u16>,
    last_id: u16,
    dropped: u64,
}

impl Session {
    pub(super) fn new(attached: Attached, identity: Identity, queue_limit: usize) -> Self {
        Self {
            presence: Presence::Attached(attached),
            identity,
            subscriptions: BTreeMap::new(),
            queue: VecDeque::new(),
            queue_limit,
            in_flight: VecDeque::new(),
            used_ids: HashSet::new(),
            last_id: 0,
            dropped: 0,
        }
    }

    /// Gives the session to another connection: what was sent and not acknowledged goes back to the head of
    /// the queue, in its order and under its ids.
    pub(super) fn attach(&mut self, attached: Attached, identity: Identity) {
        self.presence = Presence::Attached(attached);
        self.identity = identity;
        while let Some(InFlight { packet_id, waiting }) = self.in_flight.pop_back() {
            self.queue.push_front(Waiting {
                sent_as: Some(packet_id),
                ..waiting
            });
        }
    }

    pub(super) fn has_ended(&self, now: BootTime) -> bool {
        match &self.presence {
            Presence::Attached(_) => false,
            Presence::Detached(until) => until.is_some_and(|until| until <= now),
        }
    }

    pub(super) fn attached(&self) -> Option<&Attached> {
        match &self.presence {
            Presence::Attached(attached) => Some(attached),
            Presence::Detached(_) => None,
        }
    }

    pub(super) fn view(&self) -> SessionView {
        SessionView {
            is_connected: self.attached().is_some(),
            subscriptions: self.subscriptions.keys().cloned().collect(),
            queued: self.queue.len(),
            in_flight: self.in_flight.len(),
            dropped: self.dropped,
        }
    }

    pub(super) fn subscription_count(&self) -> usize {
        self.subscriptions.len()
    }

    /// Whether the filter was not there before.
    pub(super) fn subscribe(&mut self, filter: &str, subscription: Subscription) -> bool {
        self.subscriptions
            .insert(filter.to_owned(), subscription)
            .is_none()
    }

    /// Whether the filter was there.
    pub(super) fn unsubscribe(&mut self, filter: &str) -> bool {
        self.subscriptions.remove(filter).is_some()
    }

    /// Takes a message if a subscription fits, once however many do. Answers whether one did.
    pub(super) fn offer(&mut self, own_id: &str, message: &Arc<Message>) -> bool {
        let is_own = message.publisher.as_deref() == Some(own_id);
        let mut best: Option<Subscription> = None;
        for (filter, subscription) in &self.subscriptions {
            if (is_own && subscription.no_local) || !topic::matches(filter, &message.topic) {
                continue;
            }
            let found = best.get_or_insert(*subscription);
            found.qos = found.qos.max(subscription.qos);
            found.retain_as_published |= subscription.retain_as_published;
        }
        let Some(subscription) = best else {
            return false;
        };
        // Membership may have ended since the SUBSCRIBE.
        if !self.identity.may_read(&message.topic) {
            return false;
        }
        self.enqueue(
            message,
            subscription.qos,
            message.retain && subscription.retain_as_published,
        );
        true
    }

    /// Puts a message in the queue. A full queue loses its oldest.
    pub(super) fn enqueue(&mut self, message: &Arc<Message>, granted: Qos, retain: bool) {
        let qos = message.qos.min(granted);
        if qos == Qos::AtMostOnce && self.attached().is_none() {
            return;
        }
        if self.queue.len() >= self.queue_limit
            && let Some(lost) = self.queue.pop_front()
        {
            self.dropped += 1;
            if let Some(packet_id) = lost.sent_as {
                self.used_ids.remove(&packet_id);
            }
        }
        self.queue.push_back(Waiting {
            message: Arc::clone(message),
            qos,
            retain,
            sent_as: None,
        });
        if let Some(attached) = self.attached() {
            attached.wake.notify_one();
        }
    }

    /// The next message to write, while the client's receive maximum allows one.
    pub(super) fn next(&mut self, now: BootTime) -> Option<Outgoing> {
        let quota = self.attached()?.quota;
        loop {
            let is_tracked = self.queue.front()?.qos == Qos::AtLeastOnce;
            if is_tracked && self.in_flight.len() >= quota {
                return None;
            }
            let waiting = self.queue.pop_front()?;
            if waiting.message.has_expired(now) {
                if let Some(packet_id) = waiting.sent_as {
                    self.used_ids.remove(&packet_id);
                }
                continue;
            }
            let outgoing = Outgoing {
                packet_id: is_tracked.then(|| waiting.sent_as.unwrap_or_else(|| self.free_id())),
                dup: waiting.sent_as.is_some(),
                retain: waiting.retain,
                expiry_left: waiting.message.expires.map(|end| seconds(end.since(now))),
                message: Arc::clone(&waiting.message),
            };
            if let Some(packet_id) = outgoing.packet_id {
                self.in_flight.push_back(InFlight { packet_id, waiting });
            }
            return Some(outgoing);
        }
    }

    /// The client has it, or cannot take it: it is done with.
    pub(super) fn settle(&mut self, packet_id: u16) -> Option<Arc<Message>> {
        let index = self
            .in_flight
            .iter()
            .position(|sent| sent.packet_id == packet_id)?;
        self.used_ids.remove(&packet_id);
        self.in_flight.remove(index).map(|sent| sent.waiting.message)
    }

    /// An id that no message in flight or to be repeated has. There is one: a quota is below 65,535, and the
    /// messages to be repeated were within the quota of the connection before.
    fn free_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if self.used_ids.insert(self.last_id) {
                return self.last_id;
            }
        }
    }
}

fn seconds(left: Duration) -> u32 {
    u32::try_from(left.as_secs()).unwrap_or(u32::MAX)
}
