//! One network connection: from its CONNECT to its end.
//!
//! One task owns the socket. It never waits for anything but the socket, its orders, its deadlines and the
//! gate before its oldest acknowledgement. What it may hold is bounded: it reads no further while
//! [`OUTPUT_LIMIT`](super::line::OUTPUT_LIMIT) bytes wait to be written.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use imd_core::time::BootTime;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};

use super::auth::Identity;
use super::events::{Cut, End, Event, SHOWN_PAYLOAD};
use super::greeting::greet;
use super::line::Line;
use super::router::{QUOTA_EXCEEDED, Welcome};
use super::script::{Gate, Peer, PublishAnswer, Reply};
use super::session::{Message, Subscription};
use super::wire::{Fault, Forwarded, Received, Wire};
use super::{Control, Hall, Qos, Stop, stopped};
use crate::clock;

/// The most acknowledgements that wait behind a gate; with one more the connection is ended with 0x97.
const MAX_PENDING_ACKNOWLEDGEMENTS: usize = 65_535;

pub(super) const NOT_AUTHORIZED: u8 = 0x87;
const PROTOCOL_ERROR: u8 = 0x82;
const SERVER_SHUTTING_DOWN: u8 = 0x8B;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8D;
const SESSION_TAKEN_OVER: u8 = 0x8E;

/// Serves one connection to its end.
pub(super) async fn serve(hall: Arc<Hall>, stream: TcpStream, number: u64, mut stop: watch::Receiver<Stop>) {
    let mut line = Line::new(stream);
    let greeted = tokio::select! {
        greeted = greet(&hall, &mut line, number) => greeted,
        abrupt = stopped(&mut stop) => Err(if abrupt { Cut::Reset } else { Cut::Close }),
    };
    match greeted {
        Ok(Some(mut served)) => {
            let ending = served.run(&mut line, &mut stop).await;
            let cut = served.farewell(&mut line.wire, ending);
            line.end(cut).await;
        }
        Ok(None) => line.end(Cut::Close).await,
        Err(cut) => line.end(cut).await,
    }
}

/// An acknowledgement that is to be written, in the order of the PUBLISHes.
struct Pending {
    packet_id: u16,
    code: u8,
    gate: Option<Gate>,
}

/// A connection whose CONNECT was accepted. Dropping it gives the session back and tells the log, so this
/// also happens when the task is aborted or panics.
pub(super) struct Served {
    hall: Arc<Hall>,
    peer: Peer,
    identity: Identity,
    number: u64,
    control: watch::Receiver<Control>,
    wake: Arc<Notify>,
    pending: VecDeque<Pending>,
    /// How long nothing may come, one and a half times what the client said.
    keep_alive: Option<Duration>,
    heard: BootTime,
    /// What the CONNECT said, which a DISCONNECT may change, but not from 0.
    granted_expiry: u32,
    session_expiry: u32,
    how: End,
}

impl Drop for Served {
    fn drop(&mut self) {
        let now = clock::now().boot;
        self.hall
            .memory
            .lock()
            .detach(&self.peer.client_id, self.number, self.session_expiry, now);
        self.hall.log.push(Event::Disconnected {
            client_id: self.peer.client_id.clone(),
            how: self.how.clone(),
        });
    }
}

/// What ends the connection, with what is to be said on it.
enum Ending {
    /// As it is.
    Plain(End),
    /// With a DISCONNECT.
    Said(End, Reply),
    /// Cut.
    Cut(End, Cut),
}

impl From<Fault> for Ending {
    fn from(Fault(text): Fault) -> Self {
        Self::Plain(End::Protocol(text))
    }
}

impl Served {
    pub(super) fn new(
        hall: Arc<Hall>,
        peer: Peer,
        identity: Identity,
        number: u64,
        welcome: Welcome,
        keep_alive: u16,
        session_expiry: u32,
    ) -> Self {
        Self {
            hall,
            peer,
            identity,
            number,
            control: welcome.control,
            wake: welcome.wake,
            pending: VecDeque::new(),
            keep_alive: match keep_alive {
                0 => None,
                seconds => Some(Duration::from_secs(u64::from(seconds)) * 3 / 2),
            },
            heard: clock::now().boot,
            granted_expiry: session_expiry,
            session_expiry,
            how: End::Closed,
        }
    }

    async fn run(&mut self, line: &mut Line, stop: &mut watch::Receiver<Stop>) -> Ending {
        let silence = tokio::time::sleep(self.keep_alive.unwrap_or_default());
        tokio::pin!(silence);
        loop {
            // What it is told outranks what there is to do: a frozen connection does nothing more.
            if matches!(self.control.has_changed(), Ok(false))
                && let Err(ending) = self.work(line)
            {
                return ending;
            }
            let gate = self.pending.front().and_then(|pending| pending.gate.clone());
            tokio::select! {
                biased;
                abrupt = stopped(stop) => return stop_ending(abrupt),
                changed = self.control.changed() => {
                    let command = match changed {
                        Ok(()) => self.control.borrow_and_update().clone(),
                        // The session is gone: the broker has lost its memory.
                        Err(_) => Control::Cut(Cut::Close),
                    };
                    if let Some(ending) = self.obey(command, stop).await {
                        return ending;
                    }
                }
                is_open = line.exchange() => if !is_open {
                    // What came before the end still counts.
                    return match self.work(line) {
                        Ok(()) => Ending::Plain(End::Closed),
                        Err(ending) => ending,
                    };
                },
                () = self.wake.notified() => {}
                () = async { if let Some(gate) = &gate { gate.opened().await } }, if gate.is_some() => {}
                () = &mut silence, if self.keep_alive.is_some() => {
                    let allowed = self.keep_alive.unwrap_or_default();
                    let silent = clock::now().boot.since(self.heard);
                    if silent >= allowed {
                        return Ending::Said(End::KeepAliveTimeout, Reply::code(KEEP_ALIVE_TIMEOUT));
                    }
                    silence.set(tokio::time::sleep(allowed.saturating_sub(silent)));
                }
            }
        }
    }

    /// Does all that can be done without waiting.
    fn work(&mut self, line: &mut Line) -> Result<(), Ending> {
        let now = clock::now().boot;
        while line.has_room() {
            let Some(packet) = line.wire.next(&mut line.input, now)? else {
                break;
            };
            self.heard = now;
            self.handle(&mut line.wire, packet, now)?;
        }
        while let Some(pending) = self.pending.front()
            && pending.gate.as_ref().is_none_or(Gate::is_open)
        {
            line.wire.puback(pending.packet_id, pending.code)?;
            self.pending.pop_front();
        }
        while line.has_room() && self.deliver_one(&mut line.wire, now)? {}
        Ok(())
    }

    fn handle(&mut self, wire: &mut Wire, packet: Received, now: BootTime) -> Result<(), Ending> {
        match packet {
            Received::Connect(_) => Err(Fault("a second CONNECT".to_owned()).into()),
            Received::Publish {
                message,
                packet_id,
                dup,
            } => self.published(message, packet_id, dup, now),
            Received::Puback { packet_id, code } => {
                let settled = self
                    .hall
                    .memory
                    .lock()
                    .settle(&self.peer.client_id, self.number, packet_id);
                if let Some(message) = settled {
                    self.hall.log.push(Event::Acknowledged {
                        client_id: self.peer.client_id.clone(),
                        topic: message.topic.clone(),
                        code,
                    });
                }
                Ok(())
            }
            Received::Subscribe { packet_id, filters } => {
                let answered: Vec<(String, u8)> = filters
                    .into_iter()
                    .map(|(filter, subscription)| {
                        let code = self.subscribed(&filter, subscription, now);
                        (filter, code)
                    })
                    .collect();
                let codes: Vec<u8> = answered.iter().map(|(_, code)| *code).collect();
                wire.suback(packet_id, &codes)?;
                self.hall.log.push(Event::Subscribed {
                    client_id: self.peer.client_id.clone(),
                    filters: answered,
                });
                Ok(())
            }
            Received::Unsubscribe { packet_id, filters } => {
                let codes: Vec<u8> = {
                    let mut router = self.hall.memory.lock();
                    filters
                        .iter()
                        .map(|filter| router.unsubscribe(&self.peer.client_id, self.number, filter))
                        .collect()
                };
                wire.unsuback(packet_id, &codes)?;
                self.hall.log.push(Event::Unsubscribed {
                    client_id: self.peer.client_id.clone(),
                    filters,
                });
                Ok(())
            }
            Received::Ping => {
                self.hall.log.push(Event::Ping {
                    client_id: self.peer.client_id.clone(),
                });
                if !self.hall.script.ignores_ping(&self.peer) {
                    wire.pingresp();
                }
                Ok(())
            }
            Received::Disconnect { code, session_expiry } => {
                if let Some(expiry) = session_expiry {
                    if self.granted_expiry == 0 && expiry != 0 {
                        let text = "a DISCONNECT that gives a session a life it was not opened with";
                        return Err(Ending::Said(
                            End::Protocol(text.to_owned()),
                            Reply::code(PROTOCOL_ERROR).reason(text),
                        ));
                    }
                    self.session_expiry = expiry;
                }
                Err(Ending::Plain(End::ByClient(code)))
            }
        }
    }

    fn published(
        &mut self,
        mut message: Message,
        packet_id: Option<u16>,
        dup: bool,
        now: BootTime,
    ) -> Result<(), Ending> {
        message.publisher = Some(self.peer.client_id.clone());
        let allowed = self.identity.may_write(&message.topic);
        let scripted = if allowed {
            self.hall.script.publish(&self.peer, &message.topic)
        } else {
            None
        };
        let mut event = shown(&message, dup);
        let route = |message| self.hall.memory.lock().publish(message, now);
        let (code, acknowledged, gate) = match scripted {
            _ if !allowed => (NOT_AUTHORIZED, true, None),
            None => (route(message), true, None),
            Some(PublishAnswer::Puback(code)) => {
                if code < 0x80 {
                    route(message);
                }
                (code, true, None)
            }
            Some(PublishAnswer::Withhold) => (route(message), false, None),
            Some(PublishAnswer::Lose) => (0, false, None),
            Some(PublishAnswer::Hold(gate)) => (route(message), true, Some(gate)),
        };
        if let Event::Published { code: shown, .. } = &mut event {
            *shown = code;
        }
        self.hall.log.push(event);
        if let Some(gate) = &gate {
            gate.arrive();
        }
        let Some(packet_id) = packet_id.filter(|_| acknowledged) else {
            return Ok(());
        };
        if self.pending.len() >= MAX_PENDING_ACKNOWLEDGEMENTS {
            let text = "too many messages wait for their acknowledgement";
            return Err(Ending::Said(
                End::Protocol(text.to_owned()),
                Reply::code(QUOTA_EXCEEDED),
            ));
        }
        self.pending.push_back(Pending {
            packet_id,
            code,
            gate,
        });
        Ok(())
    }

    fn subscribed(&self, filter: &str, subscription: Subscription, now: BootTime) -> u8 {
        if !self.identity.may_read(filter) {
            return NOT_AUTHORIZED;
        }
        let scripted = self.hall.script.subscribe(&self.peer, filter);
        if let Some(code) = scripted.filter(|code| *code >= 0x80) {
            return code;
        }
        let granted =
            self.hall
                .memory
                .lock()
                .subscribe(&self.peer.client_id, self.number, filter, subscription, now);
        scripted.unwrap_or(granted)
    }

    /// Writes the next message of the queue. `false`: there is none for now.
    fn deliver_one(&self, wire: &mut Wire, now: BootTime) -> Result<bool, Ending> {
        let next = self
            .hall
            .memory
            .lock()
            .next(&self.peer.client_id, self.number, now);
        let Some(outgoing) = next else {
            return Ok(false);
        };
        let is_lost = self
            .hall
            .script
            .loses_delivery(&self.peer, &outgoing.message.topic);
        if is_lost || wire.publish(&outgoing)?.is_err() {
            // Lost by the script, or too large for the client: neither comes again.
            if let Some(packet_id) = outgoing.packet_id {
                self.hall
                    .memory
                    .lock()
                    .settle(&self.peer.client_id, self.number, packet_id);
            }
            return Ok(true);
        }
        self.hall.log.push(Event::Delivered {
            client_id: self.peer.client_id.clone(),
            topic: outgoing.message.topic.clone(),
            dup: outgoing.dup,
            retain: outgoing.retain,
        });
        Ok(true)
    }

    /// Does what it is told. A frozen connection neither reads nor writes until it is told something else.
    async fn obey(&mut self, mut command: Control, stop: &mut watch::Receiver<Stop>) -> Option<Ending> {
        let mut was_frozen = false;
        loop {
            match command {
                Control::Run => {
                    if was_frozen {
                        self.heard = clock::now().boot;
                    }
                    return None;
                }
                Control::Freeze => was_frozen = true,
                // A frozen connection is a dead network: nothing is said on it any more.
                Control::TakenOver if was_frozen => {
                    return Some(Ending::Cut(End::TakenOver, Cut::Close));
                }
                Control::TakenOver => {
                    return Some(Ending::Said(End::TakenOver, Reply::code(SESSION_TAKEN_OVER)));
                }
                Control::Disconnect(reply) => {
                    return Some(Ending::Said(End::Disconnected(reply.code), reply));
                }
                Control::Cut(cut) => return Some(Ending::Cut(End::Cut(cut), cut)),
            }
            command = tokio::select! {
                abrupt = stopped(stop) => return Some(stop_ending(abrupt)),
                changed = self.control.changed() => match changed {
                    Ok(()) => self.control.borrow_and_update().clone(),
                    Err(_) => Control::Cut(Cut::Close),
                },
            };
        }
    }

    /// Says what is to be said, gives the session back, and answers how the socket ends.
    fn farewell(mut self, wire: &mut Wire, ending: Ending) -> Cut {
        match ending {
            Ending::Plain(how) => {
                self.how = how;
                Cut::Close
            }
            Ending::Said(how, reply) => {
                wire.disconnect(&reply);
                self.how = how;
                Cut::Close
            }
            Ending::Cut(how, cut) => {
                wire.output().clear();
                self.how = how;
                cut
            }
        }
    }
}

fn stop_ending(abrupt: bool) -> Ending {
    if abrupt {
        Ending::Cut(End::Killed, Cut::Reset)
    } else {
        Ending::Said(End::Stopped, Reply::code(SERVER_SHUTTING_DOWN))
    }
}

fn shown(message: &Message, dup: bool) -> Event {
    Event::Published {
        client_id: message.publisher.clone(),
        topic: message.topic.clone(),
        payload: message.payload.slice(..message.payload.len().min(SHOWN_PAYLOAD)),
        payload_len: message.payload.len(),
        qos: message.qos,
        retain: message.retain,
        dup,
        code: 0,
    }
}

/// Publishes on the broker's own behalf: to every subscriber, whatever the access rules say of writing.
pub(super) fn inject(hall: &Hall, topic: &str, payload: &[u8], retain: bool) -> u8 {
    let message = Message {
        topic: topic.to_owned(),
        payload: Bytes::copy_from_slice(payload),
        qos: Qos::AtLeastOnce,
        retain,
        properties: Forwarded::default(),
        expires: None,
        publisher: None,
    };
    let event = shown(&message, false);
    let code = hall.memory.lock().publish(message, clock::now().boot);
    hall.log.push(event);
    code
}
