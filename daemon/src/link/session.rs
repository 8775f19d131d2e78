//! One MQTT session on one network connection, without the socket: what the core asks for becomes packets,
//! and what the server sends becomes [`LinkEvent`]s.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use imd_core::account::{Account, DeviceClass, InstallationId};
use imd_core::io::{Dial, Fault, FaultKind, HangUp, Identity, LinkEvent};
use imd_core::server::Server;
use imd_core::time::BootTime;
use imd_proto::im::wire::v1::Marker;
use prost::Message as _;
use uuid::Uuid;

use super::frame::Violation;
use super::wire::{Connect, Message, Packet, PacketId, Wire, Words};
use super::words;

/// The lowest reason code that refuses.
const REFUSED: u8 = 0x80;

/// Who we are in every login, whatever the account.
#[derive(Clone)]
pub struct Device {
    pub class: DeviceClass,
    pub installation: InstallationId,
}

/// One MQTT session, from CONNECT to the end of its network connection.
pub(super) struct Session {
    wire: Wire,
    server: Server,
    account: Option<Account>,
    device: Device,
    /// Groups whose messages are wanted.
    groups: Vec<String>,
    retain_available: bool,
    login: Login,
    /// Our packets that the server has not acknowledged, and since when.
    unacknowledged: BTreeMap<PacketId, BootTime>,
    oldest: Option<BootTime>,
    /// Messages that were left unacknowledged.
    messages: u64,
    marker_found: bool,
    over: bool,
    events: VecDeque<LinkEvent>,
    output: BytesMut,
}

/// How far the login is.
enum Login {
    None,
    Running {
        nonce: String,
        /// `None`: the SUBACK is there.
        subscribe: Option<PacketId>,
        filters: Vec<Filter>,
        /// `None`: the PUBACK is there.
        marker: Option<PacketId>,
        refused: bool,
    },
    Done {
        nonce: String,
    },
}

/// What is subscribed, in the order in which the SUBACK answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Filter {
    Inbox,
    System,
    OwnChannel,
    Group(String),
}

impl Filter {
    fn topic(&self, account: &Account, class: &DeviceClass) -> String {
        let Account { app_key, user_id } = account;
        match self {
            Self::Inbox => format!("im/{app_key}/u/{user_id}/+"),
            Self::System => format!("im/{app_key}/s/{user_id}"),
            Self::OwnChannel => own_channel(account, class),
            Self::Group(group) => format!("im/{app_key}/g/{group}/+"),
        }
    }
}

fn own_channel(account: &Account, class: &DeviceClass) -> String {
    let Account { app_key, user_id } = account;
    format!("im/{app_key}/c/{user_id}/{class}")
}

impl Session {
    /// A session whose CONNECT waits in [`Session::output`].
    ///
    /// # Errors
    /// What `dial` says cannot be said in MQTT.
    pub(super) fn open(dial: &Dial, device: Device, groups: Vec<String>) -> Result<Self, Fault> {
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
            groups,
            retain_available: true,
            login: Login::None,
            unacknowledged: BTreeMap::new(),
            oldest: None,
            messages: 0,
            marker_found: false,
            over: false,
            events: VecDeque::new(),
            output,
        })
    }

    /// What waits to be sent.
    pub(super) fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    /// The next event.
    pub(super) fn poll_event(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    /// Whether the connection is to be closed, once what waits is sent.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Sends SUBSCRIBE and the marker.
    pub(super) fn login(&mut self, now: BootTime) {
        let result = self.try_login(now);
        self.settle(result);
    }

    /// Sends PINGREQ.
    pub(super) fn ping(&mut self) {
        let result = self.wire.ping(&mut self.output);
        self.settle(result);
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
        self.events.clear();
    }

    /// Bytes have come; what is whole is taken off `input`.
    pub(super) fn received(&mut self, now: BootTime, input: &mut BytesMut) {
        if self.over {
            return;
        }
        self.events.push_back(LinkEvent::Received);
        while !self.over {
            let result = match self.wire.receive(input, &mut self.output) {
                Ok(None) => break,
                Ok(Some(packet)) => self.take(now, packet),
                Err(violation) => Err(violation),
            };
            self.settle(result);
        }
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
                text: format!("{} closed the connection without a word", self.server),
            }
        };
        self.fail(fault);
    }

    /// Reading or writing failed.
    pub(super) fn broken(&mut self, error: &std::io::Error) {
        let fault = Fault {
            kind: FaultKind::Io,
            text: format!("the connection to {} broke: {error}", self.server),
        };
        self.fail(fault);
    }

    fn try_login(&mut self, now: BootTime) -> Result<(), Violation> {
        let Some(account) = &self.account else {
            return Err(Violation::new("a login without a user id was asked for"));
        };
        let class = &self.device.class;
        let filters: Vec<Filter> = [Filter::Inbox, Filter::System, Filter::OwnChannel]
            .into_iter()
            .chain(self.groups.iter().cloned().map(Filter::Group))
            .collect();
        let topics: Vec<String> = filters
            .iter()
            .map(|filter| filter.topic(account, class))
            .collect();
        let nonce = Uuid::new_v4().to_string();
        let marker = Marker {
            nonce: nonce.clone(),
            installation: self.device.installation.as_str().to_owned(),
        };
        let channel = own_channel(account, class);
        let subscribe = self.wire.subscribe(&topics, &mut self.output)?;
        let marker = self.wire.publish(
            &channel,
            marker.encode_to_vec(),
            self.retain_available,
            &mut self.output,
        )?;
        self.unacknowledged.insert(subscribe, now);
        self.unacknowledged.insert(marker, now);
        self.tell_oldest();
        self.login = Login::Running {
            nonce,
            subscribe: Some(subscribe),
            filters,
            marker: Some(marker),
            refused: false,
        };
        Ok(())
    }

    fn take(&mut self, now: BootTime, packet: Packet) -> Result<(), Violation> {
        match packet {
            Packet::Accepted(accepted) => {
                self.retain_available = accepted.retain_available;
                self.events
                    .push_back(LinkEvent::Accepted(words::accepted(&accepted)));
                Ok(())
            }
            Packet::Refused(farewell) => {
                self.over = true;
                self.events
                    .push_back(LinkEvent::Refused(words::farewell(&farewell)));
                Ok(())
            }
            Packet::Disconnect(farewell) => {
                self.over = true;
                self.events
                    .push_back(LinkEvent::ServerDisconnect(words::farewell(&farewell)));
                Ok(())
            }
            Packet::SubscribeAcknowledged {
                packet,
                reasons,
                words,
            } => self.subscribed(packet, &reasons, &words),
            Packet::PublishAcknowledged {
                packet,
                reason,
                words,
            } => {
                self.published(packet, reason, &words);
                Ok(())
            }
            Packet::Message(message) => self.message(&message),
            Packet::Pong => {
                tracing::trace!(server = %self.server, at = ?now, "pong");
                Ok(())
            }
        }
    }

    fn subscribed(&mut self, packet: PacketId, reasons: &[u8], words: &Words) -> Result<(), Violation> {
        self.unacknowledged.remove(&packet);
        let Login::Running {
            subscribe,
            filters,
            refused,
            ..
        } = &mut self.login
        else {
            return Ok(());
        };
        if *subscribe != Some(packet) {
            return Ok(());
        }
        if reasons.len() != filters.len() {
            return Err(Violation(format!(
                "the server answered {} subscriptions with {} reason codes",
                filters.len(),
                reasons.len()
            )));
        }
        *subscribe = None;
        for (filter, reason) in filters.iter().zip(reasons) {
            match (filter, *reason >= REFUSED) {
                (Filter::Inbox, true) => {
                    *refused = true;
                    let what = format!("the own inbox: {}", words::refusal(*reason, words));
                    self.events.push_back(LinkEvent::LoginRefused { what });
                }
                (Filter::Inbox | Filter::System | Filter::OwnChannel, false) if *reason == 0 => {
                    tracing::warn!(
                        server = %self.server,
                        ?filter,
                        "the server grants QoS 0 alone: messages to here may be lost"
                    );
                }
                (Filter::System | Filter::OwnChannel, true) => {
                    tracing::warn!(
                        server = %self.server,
                        ?filter,
                        reason = words::refusal(*reason, words),
                        "the server refused a subscription"
                    );
                }
                (Filter::Group(group), true) => {
                    tracing::warn!(
                        server = %self.server,
                        group,
                        reason = words::refusal(*reason, words),
                        "the server refused a group's subscription"
                    );
                    self.events
                        .push_back(LinkEvent::GroupRefused { group: group.clone() });
                }
                (Filter::Inbox | Filter::System | Filter::OwnChannel | Filter::Group(_), false) => {}
            }
        }
        self.tell_login();
        Ok(())
    }

    fn published(&mut self, packet: PacketId, reason: u8, words: &Words) {
        self.unacknowledged.remove(&packet);
        let Login::Running { marker, refused, .. } = &mut self.login else {
            return;
        };
        if *marker != Some(packet) {
            return;
        }
        *marker = None;
        if reason >= REFUSED && !*refused {
            *refused = true;
            let what = format!("the marker on the own channel: {}", words::refusal(reason, words));
            self.events.push_back(LinkEvent::LoginRefused { what });
        }
        self.tell_login();
    }

    /// LoggedIn, once SUBACK and PUBACK are both there.
    fn tell_login(&mut self) {
        if let Login::Running {
            nonce,
            subscribe: None,
            marker: None,
            refused: false,
            ..
        } = &mut self.login
        {
            self.login = Login::Done {
                nonce: std::mem::take(nonce),
            };
            self.events.push_back(LinkEvent::LoggedIn);
        }
    }

    fn message(&mut self, message: &Message) -> Result<(), Violation> {
        let is_marker = self
            .account
            .as_ref()
            .is_some_and(|account| own_channel(account, &self.device.class) == message.topic);
        if is_marker {
            self.marker(message);
            return match message.packet {
                Some(packet) => self.wire.acknowledge(packet, &mut self.output),
                None => Ok(()),
            };
        }
        self.messages = self.messages.saturating_add(1);
        if self.messages == 1 {
            tracing::info!(
                server = %self.server,
                "not acknowledged: messages are stored from a later version on"
            );
        }
        Ok(())
    }

    fn marker(&mut self, message: &Message) {
        let marker = match Marker::decode(message.payload.clone()) {
            Ok(marker) => marker,
            Err(error) => {
                tracing::warn!(server = %self.server, %error, "there is no marker on the own channel");
                return;
            }
        };
        let (Login::Running { nonce, .. } | Login::Done { nonce }) = &self.login else {
            // An earlier session's, from the queue.
            return;
        };
        if marker.nonce == *nonce {
            self.events.push_back(LinkEvent::MarkerReturned);
        } else if message.retain && !self.marker_found && !marker.installation.is_empty() {
            self.marker_found = true;
            if marker.installation != self.device.installation.as_str() {
                let installation = InstallationId::new(&words::shown(&marker.installation));
                self.events.push_back(LinkEvent::MarkerFound { installation });
            }
        }
    }

    fn tell_oldest(&mut self) {
        let since = self.unacknowledged.values().min().copied();
        if since != self.oldest && !self.over {
            self.oldest = since;
            self.events.push_back(LinkEvent::Unacknowledged { since });
        }
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
            self.events.push_back(LinkEvent::Failed(fault));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.messages > 0 {
            tracing::info!(
                server = %self.server,
                count = self.messages,
                "messages left unacknowledged: the server keeps them"
            );
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
