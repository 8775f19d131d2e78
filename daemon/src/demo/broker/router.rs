//! All sessions and all retained messages: who gets what.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imd_core::time::BootTime;
use tokio::sync::{Notify, watch};

use super::auth::Identity;
use super::script::{Peer, Who};
use super::session::{
    Attached, Message, Outgoing, Presence, RetainedOnSubscribe, Session, SessionView, Subscription,
};
use super::{Control, topic};

/// The most sessions; a CONNECT that would begin one more is refused with 0x97.
const MAX_SESSIONS: usize = 10_000;

/// The most retained messages; a PUBLISH that would keep one more is refused with 0x97.
const MAX_RETAINED: usize = 100_000;

/// The most filters of one session; a SUBSCRIBE to one more is refused with 0x97.
const MAX_SUBSCRIPTIONS: usize = 10_000;

pub(super) const QUOTA_EXCEEDED: u8 = 0x97;
const BAD_CLIENT_ID: u8 = 0x85;
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// A session that never expires.
const NEVER: u32 = u32::MAX;

#[derive(Default)]
pub(super) struct Router {
    sessions: BTreeMap<String, Session>,
    retained: BTreeMap<String, Arc<Message>>,
}

/// A connection that wants its session.
pub(super) struct Arrival {
    pub(super) connection: u64,
    pub(super) peer: Peer,
    pub(super) identity: Identity,
    pub(super) clean: bool,
    pub(super) quota: usize,
    pub(super) queue_limit: usize,
}

/// What a connection gets.
pub(super) struct Welcome {
    pub(super) session_present: bool,
    pub(super) control: watch::Receiver<Control>,
    pub(super) wake: Arc<Notify>,
}

impl Router {
    /// Gives a connection its session. A connection that had it is told that it is taken over.
    ///
    /// # Errors
    /// The code of the refusal.
    pub(super) fn attach(&mut self, arrival: Arrival, now: BootTime) -> Result<Welcome, u8> {
        self.sessions.retain(|_, session| !session.has_ended(now));
        let client_id = arrival.peer.client_id.clone();
        let (control, commands) = watch::channel(Control::Run);
        let wake = Arc::new(Notify::new());
        let attached = Attached {
            connection: arrival.connection,
            peer: arrival.peer,
            control,
            wake: Arc::clone(&wake),
            quota: arrival.quota,
        };
        // User ids may have colons in them, so two users' client ids can be the same text; and who comes to
        // learn its own name may bring any client id. Neither gets at another user's session.
        let is_same_owner = match self.sessions.get(&client_id).map(|session| &session.identity) {
            None => true,
            Some(Identity::Discovery { .. }) => false,
            Some(owner) if owner.is_same_user(&arrival.identity) => true,
            Some(_) => return Err(BAD_CLIENT_ID),
        };
        let old = self.sessions.remove(&client_id);
        if let Some(before) = old.as_ref().and_then(Session::attached) {
            before.control.send_replace(Control::TakenOver);
        }
        let old = old.filter(|_| is_same_owner && !arrival.clean);
        let session_present = old.is_some();
        let session = match old {
            Some(mut session) => {
                session.attach(attached, arrival.identity);
                session
            }
            None if self.sessions.len() >= MAX_SESSIONS => return Err(QUOTA_EXCEEDED),
            None => Session::new(attached, arrival.identity, arrival.queue_limit),
        };
        self.sessions.insert(client_id, session);
        Ok(Welcome {
            session_present,
            control: commands,
            wake,
        })
    }

    /// Takes the session from a connection that has ended, if it still had it.
    pub(super) fn detach(&mut self, client_id: &str, connection: u64, expiry: u32, now: BootTime) {
        let Some(session) = self.owned(client_id, connection) else {
            return;
        };
        if expiry == 0 {
            self.sessions.remove(client_id);
        } else {
            session.presence =
                Presence::Detached((expiry != NEVER).then(|| now + Duration::from_secs(u64::from(expiry))));
        }
    }

    /// Subscribes; what is retained under the filter goes into the queue. Answers the code for the SUBACK.
    pub(super) fn subscribe(
        &mut self,
        client_id: &str,
        connection: u64,
        filter: &str,
        subscription: Subscription,
        now: BootTime,
    ) -> u8 {
        let retained: Vec<Arc<Message>> = self
            .retained
            .values()
            .filter(|message| topic::matches(filter, &message.topic))
            .filter(|message| message.expires.is_none_or(|end| end > now))
            .cloned()
            .collect();
        let Some(session) = self.owned(client_id, connection) else {
            return QUOTA_EXCEEDED;
        };
        if session.subscription_count() >= MAX_SUBSCRIPTIONS {
            return QUOTA_EXCEEDED;
        }
        let is_first = session.subscribe(filter, subscription);
        let wanted = match subscription.retained {
            RetainedOnSubscribe::Send => true,
            RetainedOnSubscribe::SendIfFirst => is_first,
            RetainedOnSubscribe::Skip => false,
        };
        if wanted {
            for message in &retained {
                session.enqueue(message, subscription.qos, true);
            }
        }
        u8::from(subscription.qos == super::Qos::AtLeastOnce)
    }

    /// Unsubscribes. Answers the code for the UNSUBACK.
    pub(super) fn unsubscribe(&mut self, client_id: &str, connection: u64, filter: &str) -> u8 {
        const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
        let existed = self
            .owned(client_id, connection)
            .is_some_and(|session| session.unsubscribe(filter));
        if existed { 0 } else { NO_SUBSCRIPTION_EXISTED }
    }

    /// Gives a message to every session that wants it, and keeps it if it is to be retained. Answers the code
    /// for the PUBACK.
    pub(super) fn publish(&mut self, message: Message, now: BootTime) -> u8 {
        let message = Arc::new(message);
        if message.retain {
            if message.payload.is_empty() {
                self.retained.remove(&message.topic);
            } else if self.retained.len() >= MAX_RETAINED && !self.retained.contains_key(&message.topic) {
                return QUOTA_EXCEEDED;
            } else {
                self.retained.insert(message.topic.clone(), Arc::clone(&message));
            }
        }
        let mut receivers = 0_usize;
        for (client_id, session) in &mut self.sessions {
            if !session.has_ended(now) && session.offer(client_id, &message) {
                receivers += 1;
            }
        }
        if receivers == 0 {
            NO_MATCHING_SUBSCRIBERS
        } else {
            0
        }
    }

    /// The next message for a connection.
    pub(super) fn next(&mut self, client_id: &str, connection: u64, now: BootTime) -> Option<Outgoing> {
        self.owned(client_id, connection)?.next(now)
    }

    /// Ends a message's being in flight.
    pub(super) fn settle(
        &mut self,
        client_id: &str,
        connection: u64,
        packet_id: u16,
    ) -> Option<Arc<Message>> {
        self.owned(client_id, connection)?.settle(packet_id)
    }

    /// Tells connections something; an end that was told before stands. Answers how many were told.
    pub(super) fn control(&self, who: &Who, command: &Control) -> usize {
        self.sessions
            .values()
            .filter_map(Session::attached)
            .filter(|attached| who.is(&attached.peer))
            .map(|attached| {
                attached.control.send_if_modified(|current| {
                    let may_change = matches!(current, Control::Run | Control::Freeze);
                    if may_change {
                        *current = command.clone();
                    }
                    may_change
                })
            })
            .filter(|told| *told)
            .count()
    }

    /// The client ids that have a connection.
    pub(super) fn connected(&self) -> Vec<String> {
        self.sessions
            .iter()
            .filter(|(_, session)| session.attached().is_some())
            .map(|(client_id, _)| client_id.clone())
            .collect()
    }

    pub(super) fn view(&self, client_id: &str, now: BootTime) -> Option<SessionView> {
        let session = self.sessions.get(client_id)?;
        (!session.has_ended(now)).then(|| session.view())
    }

    /// Forgets everything, as a broker without a disk does.
    pub(super) fn clear(&mut self) {
        self.sessions.clear();
        self.retained.clear();
    }

    fn owned(&mut self, client_id: &str, connection: u64) -> Option<&mut Session> {
        self.sessions.get_mut(client_id).filter(|session| {
            session
                .attached()
                .is_some_and(|attached| attached.connection == connection)
        })
    }
}
