//! What a test tells the broker to answer, instead of what it would answer by itself.
//!
//! A script is a list of rules. Each says whom it is for, how often, and what is answered; the first rule
//! that fits is taken. Without rules the broker behaves well.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::{Protocol, topic};

/// The most rules of one kind; one more replaces the oldest.
const MAX_RULES: usize = 1024;

/// Whom a rule, or a fault, is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// Every connection.
    Anyone,
    /// The connection of this client id.
    Client(String),
    /// Every connection with this user name.
    User(String),
    /// Every connection that speaks this version.
    Speaks(Protocol),
}

impl From<&str> for Who {
    fn from(client_id: &str) -> Self {
        Self::Client(client_id.to_owned())
    }
}

impl Who {
    pub(super) fn is(&self, peer: &Peer) -> bool {
        match self {
            Self::Anyone => true,
            Self::Client(id) => *id == peer.client_id,
            Self::User(name) => peer.user_name.as_ref() == Some(name),
            Self::Speaks(protocol) => *protocol == peer.protocol,
        }
    }
}

/// Who is at the other end, as its CONNECT said.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) client_id: String,
    pub(super) user_name: Option<String>,
    pub(super) protocol: Protocol,
}

/// How often a rule is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Until the rules are cleared.
    Always,
    /// This many times, then the rule is gone.
    Next(usize),
}

/// A reason code and the words that go with it, for a CONNACK or a DISCONNECT. MQTT 3.1.1 gets the code alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reply {
    /// Any byte, in a table of the standard or not.
    pub code: u8,
    /// `None`: what is true. A CONNACK only.
    pub session_present: Option<bool>,
    pub reason_string: Option<String>,
    pub server_reference: Option<String>,
    pub user_properties: Vec<(String, String)>,
    /// In seconds; the broker then enforces it. A CONNACK only.
    pub server_keep_alive: Option<u16>,
    /// In seconds; the broker then keeps it. A CONNACK only.
    pub session_expiry: Option<u32>,
}

impl Reply {
    /// This code and nothing else.
    #[must_use]
    pub fn code(code: u8) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }

    /// With a text for people.
    #[must_use]
    pub fn reason(mut self, text: &str) -> Self {
        self.reason_string = Some(text.to_owned());
        self
    }

    /// With the name of another server.
    #[must_use]
    pub fn server_reference(mut self, server: &str) -> Self {
        self.server_reference = Some(server.to_owned());
        self
    }

    /// With one more user property.
    #[must_use]
    pub fn user_property(mut self, name: &str, value: &str) -> Self {
        self.user_properties.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the server's own keep-alive, in seconds.
    #[must_use]
    pub fn server_keep_alive(mut self, seconds: u16) -> Self {
        self.server_keep_alive = Some(seconds);
        self
    }

    /// With the server's own session expiry, in seconds.
    #[must_use]
    pub fn session_expiry(mut self, seconds: u32) -> Self {
        self.session_expiry = Some(seconds);
        self
    }

    /// Saying this of the session, true or not.
    #[must_use]
    pub fn session_present(mut self, present: bool) -> Self {
        self.session_present = Some(present);
        self
    }
}

/// What is done after the last byte of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Close in order (FIN).
    Close,
    /// Break off (RST).
    Reset,
    /// Keep the connection open, read, and say nothing more.
    Stay,
}

/// The answer to a CONNECT.
#[derive(Clone, Debug)]
pub enum ConnectAnswer {
    /// A CONNACK in the client's version. Code 0 lets the connection on, if its token is good too; any other
    /// refuses it.
    Connack(Reply),
    /// The CONNACK of MQTT 3.1.1, whatever the client spoke: how an old broker refuses version 5.
    Version311(u8),
    /// These bytes: half a CONNACK, an HTTP reply, a header that announces 256 MB.
    Raw { bytes: Bytes, then: Then },
    /// No byte, only an end.
    Silent(Then),
    /// The usual answer, once the gate is open.
    Hold(Gate),
}

/// The answer to a PUBLISH that is allowed.
#[derive(Clone, Debug)]
pub enum PublishAnswer {
    /// A PUBACK with this code; below 0x80 the message is delivered all the same.
    Puback(u8),
    /// Delivered, never acknowledged on this connection.
    Withhold,
    /// Neither delivered nor acknowledged.
    Lose,
    /// Delivered at once, acknowledged when the gate is open; later acknowledgements wait behind it.
    Hold(Gate),
}

/// A barrier of a test: what comes to it waits until it is opened.
#[derive(Clone, Debug)]
pub struct Gate {
    inner: Arc<GateState>,
}

#[derive(Debug)]
struct GateState {
    waiting: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(GateState {
                waiting: watch::Sender::new(0),
                open: watch::Sender::new(false),
            }),
        }
    }

    /// Lets everything through, for ever.
    pub fn open(&self) {
        self.inner.open.send_replace(true);
    }

    /// How many packets have come to it so far.
    #[must_use]
    pub fn arrived(&self) -> usize {
        *self.inner.waiting.borrow()
    }

    /// Returns when at least this many have come. The caller sets the deadline.
    pub async fn wait_arrived(&self, count: usize) {
        let mut waiting = self.inner.waiting.subscribe();
        // The sender lives in self, so this ends only when the count is reached.
        let _: Result<_, _> = waiting.wait_for(|arrived| *arrived >= count).await;
    }

    pub(super) fn arrive(&self) {
        self.inner.waiting.send_modify(|arrived| *arrived += 1);
    }

    pub(super) fn is_open(&self) -> bool {
        *self.inner.open.borrow()
    }

    pub(super) async fn opened(&self) {
        let mut open = self.inner.open.subscribe();
        // The sender lives in self, so this ends only when the gate is open.
        let _: Result<_, _> = open.wait_for(|open| *open).await;
    }
}

/// The rules of a broker. Cheap to clone; every clone is the same script.
#[derive(Clone, Default)]
pub struct Script {
    rules: Arc<Mutex<Rules>>,
}

#[derive(Default)]
struct Rules {
    connect: Vec<Rule<ConnectAnswer>>,
    subscribe: Vec<Rule<u8>>,
    publish: Vec<Rule<PublishAnswer>>,
    deliver: Vec<Rule<()>>,
    ping: Vec<Rule<()>>,
}

struct Rule<T> {
    who: Who,
    /// A topic filter; `None` fits everything.
    about: Option<String>,
    times: Times,
    answer: T,
}

impl Script {
    /// Answers CONNECT so.
    pub fn on_connect(&self, who: impl Into<Who>, times: Times, answer: ConnectAnswer) {
        push(&mut self.lock().connect, who.into(), None, times, answer);
    }

    /// Answers SUBSCRIBE to `filter`, or to one that this covers, with this code. 0x80 and above refuse it;
    /// below, the subscription is made and the code told.
    pub fn on_subscribe(&self, who: impl Into<Who>, filter: &str, times: Times, code: u8) {
        push(&mut self.lock().subscribe, who.into(), Some(filter), times, code);
    }

    /// Answers a PUBLISH whose topic matches `filter` so.
    pub fn on_publish(&self, who: impl Into<Who>, filter: &str, times: Times, answer: PublishAnswer) {
        push(&mut self.lock().publish, who.into(), Some(filter), times, answer);
    }

    /// Does not deliver messages whose topic matches `filter` to this client: they are lost on their way.
    pub fn lose_deliveries(&self, who: impl Into<Who>, filter: &str, times: Times) {
        push(&mut self.lock().deliver, who.into(), Some(filter), times, ());
    }

    /// Leaves PINGREQ without an answer.
    pub fn ignore_pings(&self, who: impl Into<Who>, times: Times) {
        push(&mut self.lock().ping, who.into(), None, times, ());
    }

    /// Forgets every rule. What already waits at a gate goes on waiting.
    pub fn clear(&self) {
        *self.lock() = Rules::default();
    }

    pub(super) fn connect(&self, peer: &Peer) -> Option<ConnectAnswer> {
        take(&mut self.lock().connect, peer, |_| true)
    }

    pub(super) fn subscribe(&self, peer: &Peer, filter: &str) -> Option<u8> {
        take(&mut self.lock().subscribe, peer, |about| {
            about == filter || topic::covers(about, filter) || topic::matches(about, filter)
        })
    }

    pub(super) fn publish(&self, peer: &Peer, name: &str) -> Option<PublishAnswer> {
        take(&mut self.lock().publish, peer, |about| {
            topic::matches(about, name)
        })
    }

    pub(super) fn loses_delivery(&self, peer: &Peer, name: &str) -> bool {
        take(&mut self.lock().deliver, peer, |about| {
            topic::matches(about, name)
        })
        .is_some()
    }

    pub(super) fn ignores_ping(&self, peer: &Peer) -> bool {
        take(&mut self.lock().ping, peer, |_| true).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Rules> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push<T>(rules: &mut Vec<Rule<T>>, who: Who, about: Option<&str>, times: Times, answer: T) {
    if rules.len() == MAX_RULES {
        rules.remove(0);
    }
    rules.push(Rule {
        who,
        about: about.map(str::to_owned),
        times,
        answer,
    });
}

fn take<T: Clone>(rules: &mut Vec<Rule<T>>, peer: &Peer, fits: impl Fn(&str) -> bool) -> Option<T> {
    rules.retain(|rule| rule.times != Times::Next(0));
    let rule = rules
        .iter_mut()
        .find(|rule| rule.who.is(peer) && rule.about.as_deref().is_none_or(&fits))?;
    if let Times::Next(left) = &mut rule.times {
        *left -= 1;
    }
    Some(rule.answer.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(client_id: &str) -> Peer {
        Peer {
            client_id: client_id.to_owned(),
            user_name: Some("alice".to_owned()),
            protocol: Protocol::V5,
        }
    }

    #[test]
    fn a_rule_is_taken_as_often_as_it_says_by_those_it_is_for() {
        let script = Script::default();
        script.on_subscribe("a", "im/+/u/#", Times::Next(1), 0x87);
        script.on_subscribe(Who::User("alice".into()), "im/+/u/#", Times::Next(1), 0x97);
        assert_eq!(script.subscribe(&peer("b"), "im/K/u/b/+"), Some(0x97));
        assert_eq!(script.subscribe(&peer("a"), "im/K/g/1/+"), None);
        assert_eq!(script.subscribe(&peer("a"), "im/K/u/a/+"), Some(0x87));
        assert_eq!(script.subscribe(&peer("a"), "im/K/u/a/+"), None);
        script.ignore_pings(Who::Speaks(Protocol::V3_1_1), Times::Always);
        assert!(!script.ignores_ping(&peer("a")));
        script.ignore_pings(Who::Anyone, Times::Always);
        assert!(script.ignores_ping(&peer("a")) && script.ignores_ping(&peer("a")));
        script.clear();
        assert!(!script.ignores_ping(&peer("a")));
    }
}
