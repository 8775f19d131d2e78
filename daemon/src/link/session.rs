//! One MQTT session on one network connection, without the socket: what is asked for becomes packets, and
//! what the server sends becomes [`Told`].
//!
//! | file | what is in it |
//! |---|---|
//! | `session.rs` | from CONNECT to the end: packets, messages, publishing, faults |
//! | `session/login.rs` | subscriptions and the marker |
//! | `session/unacknowledged.rs` | since when the server owes an answer |

mod login;
mod unacknowledged;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use imd_core::account::{Account, DeviceClass, InstallationId};
use imd_core::io::{Dial, Fault, FaultKind, HangUp, Identity, LinkEvent};
use imd_core::server::{Server, Transport};
use imd_core::time::{BootTime, Now};

use self::login::{Filter, Login, own_channel};
use self::unacknowledged::Unacknowledged;
use super::envelope::{self, Publication};
use super::frame::Violation;
use super::wire::{Connect, Message, Packet, PacketId, Publish, Unsent, Wire, Words};
use super::words;
use crate::store::rows::Arrival;
use crate::transport;

/// Who we are in every login, whatever the account.
#[derive(Clone)]
pub struct Device {
    pub class: DeviceClass,
    pub installation: InstallationId,
}

/// What a session tells, in the order in which it happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// For the core.
    Link(LinkEvent),
    /// To be stored, and then acknowledged with [`Session::acknowledge`].
    Delivered(Delivery),
    /// The answer to a [`Session::publish`].
    Acknowledged {
        packet: PacketId,
        reason: u8,
        words: Words,
    },
    GroupGranted {
        group: String,
    },
}

/// Something that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    /// `None`: QoS 0, which has no acknowledgement.
    pub(super) packet: Option<PacketId>,
    /// `None`: from a group that was left; it is acknowledged only.
    pub(super) arrival: Option<Arrival>,
    pub(super) size: usize,
}

/// What the server said when it took the CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) session_present: bool,
    /// How many messages may wait for the server's acknowledgement.
    pub(super) receive_maximum: u16,
}

/// One MQTT session, from CONNECT to the end of its network connection.
pub(super) struct Session {
    wire: Wire,
    server: Server,
    account: Option<Account>,
    device: Device,
    session_expiry: Duration,
    /// Groups whose messages are wanted.
    groups: BTreeSet<String>,
    /// Groups left on this connection.
    left: BTreeSet<String>,
    terms: Option<Terms>,
    retain_available: bool,
    maximum_packet_size: Option<u32>,
    login: Login,
    /// SUBSCRIBEs that are not answered, with what they ask for.
    subscriptions: BTreeMap<PacketId, Vec<Filter>>,
    unacknowledged: Unacknowledged,
    oldest: Option<BootTime>,
    /// Nothing is read for a while, so no acknowledgement can be heard.
    deaf: bool,
    marker_found: bool,
    over: bool,
    told: VecDeque<Told>,
    output: BytesMut,
}

impl Session {
    /// A session whose CONNECT waits in [`Session::output`].
    ///
    /// # Errors
    /// What `dial` says cannot be said in MQTT.
    pub(super) fn open(dial: &Dial, device: Device, groups: BTreeSet<String>) -> Result<Self, Fault> {
        let account = match &dial.identity {
            Identity::Known(account) => Some(account.clone()),
            Identity::Discover => None,
        };
        let mut wire = Wire::new(dial.protocol);
        let mut output = BytesMut::new();
        let connect = Connect {
            client_id: &dial.client_id,
            user_name: account.as_ref().map(|account| account.user_id.as_str()),
            password: dial.token.reveal(),
            clean: dial.clean,
            keep_alive: dial.keep_alive,
            session_expiry: dial.session_expiry,
        };
        wire.connect(&connect, &mut output)
            .map_err(|violation| protocol_fault(&dial.server, &violation))?;
        Ok(Self {
            wire,
            server: dial.server.clone(),
            account,
            device,
            session_expiry: dial.session_expiry,
            groups,
            left: BTreeSet::new(),
            terms: None,
            retain_available: true,
            maximum_packet_size: None,
            login: Login::None,
            subscriptions: BTreeMap::new(),
            unacknowledged: Unacknowledged::default(),
            oldest: None,
            deaf: false,
            marker_found: false,
            over: false,
            told: VecDeque::new(),
            output,
        })
    }

    /// What waits to be sent.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// The next thing it tells.
    pub(super) fn poll_told(&mut self) -> Option<Told> {
        self.told.pop_front()
    }

    /// Whether the connection is to be closed, once what waits is sent.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    /// Whose session it is; `None`: that is what the server is asked.
    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// What the server said when it took the CONNECT.
    pub(super) fn terms(&self) -> Option<Terms> {
        self.terms
    }

    /// How long the server keeps the session.
    pub(super) fn session_expiry(&self) -> Duration {
        self.session_expiry
    }

    /// Sends PINGREQ.
    pub(super) fn ping(&mut self) {
        let result = self.wire.ping(&mut self.output);
        self.settle(result);
        if self.deaf {
            // The answer cannot be heard, and it is not the server's fault.
            self.tell(LinkEvent::Received { messages: true });
        }
    }

    /// Says farewell, where `how` has one. Nothing comes from this session any more.
    pub(super) fn hang_up(&mut self, how: HangUp) {
        let said = match how {
            HangUp::KeepSession => self.wire.disconnect(false, &mut self.output),
            HangUp::EndSession => self.wire.disconnect(true, &mut self.output),
            HangUp::Abort => {
                self.output.clear();
                Ok(())
            }
        };
        if let Err(violation) = said {
            tracing::debug!(server = %self.server, %violation, "no farewell");
        }
        self.over = true;
        self.told.clear();
    }

    /// Keeps the id of a message that an earlier connection of this session has sent.
    pub(super) fn reserve(&mut self, packet: PacketId) {
        let result = self.wire.reserve(packet);
        self.settle(result);
    }

    /// Publishes; the answer is told as [`Told::Acknowledged`].
    ///
    /// # Errors
    /// [`Unsent::TooLarge`] leaves the session as it was; a violation ends it.
    pub(super) fn publish(&mut self, now: BootTime, publish: Publish<'_>) -> Result<PacketId, Unsent> {
        let size = publish.payload.len();
        match self.wire.publish(publish, &mut self.output) {
            Ok(packet) => {
                self.unacknowledged.insert(packet, size, now);
                self.tell_oldest();
                Ok(packet)
            }
            Err(Unsent::Violation(violation)) => {
                self.settle(Err(violation.clone()));
                Err(Unsent::Violation(violation))
            }
            Err(too_large @ Unsent::TooLarge { .. }) => Err(too_large),
        }
    }

    /// Sends PUBACK for what came on this session.
    pub(super) fn acknowledge(&mut self, packet: PacketId) {
        if self.over {
            return;
        }
        let result = self.wire.acknowledge(packet, &mut self.output);
        self.settle(result);
    }

    /// Whether reading pauses: until it goes on, the server can answer nothing.
    pub(super) fn set_deaf(&mut self, deaf: bool, now: BootTime) {
        if self.deaf && !deaf {
            self.unacknowledged.deaf_until(now);
        }
        self.deaf = deaf;
        self.tell_oldest();
    }

    /// Whether reading pauses.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf
    }

    /// Bytes have come; what is whole is taken off `input`.
    pub(super) fn received(&mut self, now: Now, input: &mut BytesMut) {
        if self.over {
            return;
        }
        let begin = self.told.len();
        if self.terms.is_none()
            && let Some(spoken) = transport::other_protocol(input)
        {
            self.fail(Fault {
                kind: FaultKind::Protocol,
                text: format!("{}: {spoken}", self.server),
            });
        }
        while !self.over {
            let result = match self.wire.receive(input, &mut self.output) {
                Ok(None) => break,
                Ok(Some(packet)) => self.take(now, packet),
                Err(violation) => Err(violation),
            };
            self.settle(result);
        }
        let messages = self
            .told
            .iter()
            .skip(begin)
            .any(|told| matches!(told, Told::Delivered(_)));
        self.told
            .insert(begin, Told::Link(LinkEvent::Received { messages }));
        self.tell_oldest();
    }

    /// The server has closed; `partial`: in the middle of a packet.
    pub(super) fn closed(&mut self, partial: bool) {
        let fault = if partial {
            Fault {
                kind: FaultKind::Io,
                text: format!("{} closed the connection in the middle of a packet", self.server),
            }
        } else {
            Fault {
                kind: FaultKind::BareEof,
                text: format!(
                    "{} closed the connection without a word{}",
                    self.server,
                    self.unanswered()
                ),
            }
        };
        self.fail(fault);
    }

    /// Reading or writing failed.
    pub(super) fn broken(&mut self, error: &std::io::Error) {
        let mut fault = transport::broken(&self.server, error);
        fault.text.push_str(self.unanswered());
        self.fail(fault);
    }

    /// What an end before the first answer may mean, where nothing is encrypted.
    fn unanswered(&self) -> &'static str {
        match (self.terms, self.server.transport) {
            (None, Transport::Tcp) => "; does it encrypt there? Then it is mqtts://",
            (None, Transport::WebSocket) => "; does it encrypt there? Then it is wss://",
            (Some(_), _) | (None, Transport::Tls | Transport::WebSocketTls | Transport::Nav) => "",
        }
    }

    /// What came could not be stored, and only a fresh connection makes the server send it again.
    pub(super) fn not_stored(&mut self, reason: &str) {
        let fault = Fault {
            kind: FaultKind::Io,
            text: format!("messages from {} could not be stored: {reason}", self.server),
        };
        self.fail(fault);
    }

    fn take(&mut self, now: Now, packet: Packet) -> Result<(), Violation> {
        match packet {
            Packet::Accepted(accepted) => {
                self.retain_available = accepted.retain_available;
                self.maximum_packet_size = accepted.maximum_packet_size;
                self.terms = Some(Terms {
                    session_present: accepted.session_present,
                    receive_maximum: accepted.receive_maximum,
                });
                self.tell(LinkEvent::Accepted(words::accepted(&accepted)));
                Ok(())
            }
            Packet::Refused(farewell) => {
                self.over = true;
                self.tell(LinkEvent::Refused(words::farewell(&farewell)));
                Ok(())
            }
            Packet::Disconnect(farewell) => {
                self.over = true;
                self.tell(LinkEvent::ServerDisconnect(words::farewell(&farewell)));
                Ok(())
            }
            Packet::SubscribeAcknowledged {
                packet,
                reasons,
                words,
            } => {
                self.unacknowledged.remove(packet, now.boot);
                self.subscribed(packet, &reasons, &words)
            }
            Packet::UnsubscribeAcknowledged { packet } => {
                self.unacknowledged.remove(packet, now.boot);
                Ok(())
            }
            Packet::PublishAcknowledged {
                packet,
                reason,
                words,
            } => {
                self.unacknowledged.remove(packet, now.boot);
                if !self.marker_published(packet, reason, &words) {
                    self.told.push_back(Told::Acknowledged {
                        packet,
                        reason,
                        words,
                    });
                }
                Ok(())
            }
            Packet::Message(message) => self.message(now, message),
            Packet::Pong => {
                tracing::trace!(server = %self.server, "pong");
                Ok(())
            }
        }
    }

    fn message(&mut self, now: Now, message: Message) -> Result<(), Violation> {
        let Some(account) = &self.account else {
            return Err(Violation::new("the server sent a message before a login"));
        };
        if own_channel(account, &self.device.class) == message.topic {
            self.marker(&message);
            return match message.packet {
                Some(packet) => self.wire.acknowledge(packet, &mut self.output),
                None => Ok(()),
            };
        }
        let size = message.topic.len() + message.payload.len();
        let mut delivery = Delivery {
            packet: message.packet,
            arrival: None,
            size,
        };
        let group = envelope::group_of(account, &message.topic);
        if let Some(group) = group.filter(|group| !self.groups.contains(*group)) {
            // The server's session still has it, from before it was left.
            let group = group.to_owned();
            self.unsubscribe(now.boot, group)?;
        } else {
            let publication = Publication {
                topic: &message.topic,
                payload: message.payload,
                retain: message.retain,
                now: now.unix.as_millis(),
            };
            delivery.arrival = Some(envelope::arrival(account, &publication));
        }
        self.told.push_back(Told::Delivered(delivery));
        Ok(())
    }

    fn tell_oldest(&mut self) {
        let since = self.unacknowledged.oldest().filter(|_| !self.deaf);
        if since != self.oldest && !self.over {
            self.oldest = since;
            self.tell(LinkEvent::Unacknowledged { since });
        }
    }

    fn tell(&mut self, event: LinkEvent) {
        self.told.push_back(Told::Link(event));
    }

    fn settle(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result {
            let fault = protocol_fault(&self.server, &violation);
            self.fail(fault);
        }
    }

    fn fail(&mut self, fault: Fault) {
        if !self.over {
            self.over = true;
            self.tell(LinkEvent::Failed(fault));
        }
    }
}

fn protocol_fault(server: &Server, violation: &Violation) -> Fault {
    Fault {
        kind: FaultKind::Protocol,
        text: format!("{server}: {violation}"),
    }
}

#[cfg(test)]
mod tests;
