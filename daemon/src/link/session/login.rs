//! Subscriptions and the marker: what makes a connection a login, and the groups that come and go after it.

use imd_core::account::{Account, DeviceClass, InstallationId};
use imd_core::io::LinkEvent;
use imd_core::time::BootTime;
use imd_proto::im::wire::v1::Marker;
use prost::Message as _;
use uuid::Uuid;

use super::{Session, Told};
use crate::link::frame::Violation;
use crate::link::wire::{Message, PacketId, Publish, Unsent, Words};
use crate::link::words;

/// The lowest reason code that refuses.
const REFUSED: u8 = 0x80;

/// The largest SUBSCRIBE, in bytes; with more groups than that there are several.
const LARGEST_SUBSCRIBE: usize = 64 * 1024;

/// How far the login is.
pub(super) enum Login {
    None,
    Running {
        nonce: String,
        /// The own filters' SUBSCRIBE; `None`: its SUBACK is there.
        subscribe: Option<PacketId>,
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
pub(super) enum Filter {
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

pub(super) fn own_channel(account: &Account, class: &DeviceClass) -> String {
    let Account { app_key, user_id } = account;
    format!("im/{app_key}/c/{user_id}/{class}")
}

impl Session {
    /// Sends SUBSCRIBE and the marker.
    pub(in crate::link) fn login(&mut self, now: BootTime) {
        let result = self.try_login(now);
        self.settle(result);
    }

    /// The group's messages are wanted from here on.
    pub(in crate::link) fn join_group(&mut self, now: BootTime, group: &str) {
        self.left.remove(group);
        self.groups.insert(group.to_owned());
        if self.over || matches!(self.login, Login::None) {
            // The login subscribes it.
            return;
        }
        let result = self
            .subscribe(now, vec![Filter::Group(group.to_owned())])
            .map(drop);
        self.settle(result);
        self.tell_oldest();
    }

    /// They are not wanted any more.
    pub(in crate::link) fn quit_group(&mut self, now: BootTime, group: &str) {
        self.groups.remove(group);
        if self.over || matches!(self.login, Login::None) {
            return;
        }
        let result = self.unsubscribe(now, group.to_owned());
        self.settle(result);
        self.tell_oldest();
    }

    fn try_login(&mut self, now: BootTime) -> Result<(), Violation> {
        let Some(account) = &self.account else {
            return Err(Violation::new("a login without a user id was asked for"));
        };
        let channel = own_channel(account, &self.device.class);
        let filters = [Filter::Inbox, Filter::System, Filter::OwnChannel]
            .into_iter()
            .chain(self.groups.iter().cloned().map(Filter::Group))
            .collect();
        let subscribe = self.subscribe(now, filters)?;
        let nonce = Uuid::new_v4().to_string();
        let marker = Marker {
            nonce: nonce.clone(),
            installation: self.device.installation.as_str().to_owned(),
        };
        let publish = Publish {
            topic: &channel,
            payload: marker.encode_to_vec().into(),
            retain: self.retain_available,
            again: None,
        };
        let marker = self
            .wire
            .publish(publish, &mut self.output)
            .map_err(|unsent| match unsent {
                Unsent::TooLarge { size, limit } => Violation(format!(
                    "the server takes packets of {limit} bytes; the marker alone has {size}"
                )),
                Unsent::Violation(violation) => violation,
            })?;
        self.unacknowledged.insert(marker, 0, now);
        self.login = Login::Running {
            nonce,
            subscribe: Some(subscribe),
            marker: Some(marker),
            refused: false,
        };
        self.tell_oldest();
        Ok(())
    }

    /// Sends what fits into one SUBSCRIBE, then the next; returns the first one's id.
    fn subscribe(&mut self, now: BootTime, filters: Vec<Filter>) -> Result<PacketId, Violation> {
        let Some(account) = self.account.clone() else {
            return Err(Violation::new("a subscription without a user id was asked for"));
        };
        let largest = self
            .maximum_packet_size
            .and_then(|size| usize::try_from(size).ok())
            .map_or(LARGEST_SUBSCRIBE, |size| size.min(LARGEST_SUBSCRIBE));
        let mut first = None;
        let mut filters = filters.into_iter().peekable();
        while filters.peek().is_some() {
            // The header.
            let mut size = 16;
            let (mut part, mut topics) = (Vec::new(), Vec::new());
            while let Some(filter) = filters.peek() {
                let topic = filter.topic(&account, &self.device.class);
                size += topic.len() + 3;
                if size > largest && part.len() >= 3 {
                    break;
                }
                topics.push(topic);
                part.extend(filters.next());
            }
            let packet = self.wire.subscribe(&topics, &mut self.output)?;
            self.unacknowledged.insert(packet, 0, now);
            self.subscriptions.insert(packet, part);
            first = first.or(Some(packet));
        }
        first.ok_or_else(|| Violation::new("a subscription to nothing was asked for"))
    }

    /// Sends UNSUBSCRIBE, once for each group.
    pub(super) fn unsubscribe(&mut self, now: BootTime, group: String) -> Result<(), Violation> {
        let Some(account) = &self.account else {
            return Ok(());
        };
        if self.left.contains(&group) {
            return Ok(());
        }
        let filter = Filter::Group(group.clone()).topic(account, &self.device.class);
        let packet = self.wire.unsubscribe(&filter, &mut self.output)?;
        self.unacknowledged.insert(packet, 0, now);
        self.left.insert(group);
        Ok(())
    }

    pub(super) fn subscribed(
        &mut self,
        packet: PacketId,
        reasons: &[u8],
        words: &Words,
    ) -> Result<(), Violation> {
        let Some(filters) = self.subscriptions.remove(&packet) else {
            return Ok(());
        };
        if reasons.len() != filters.len() {
            return Err(Violation(format!(
                "the server answered {} subscriptions with {} reason codes",
                filters.len(),
                reasons.len()
            )));
        }
        for (filter, reason) in filters.into_iter().zip(reasons) {
            self.answered(filter, *reason, words);
        }
        if let Login::Running { subscribe, .. } = &mut self.login
            && *subscribe == Some(packet)
        {
            *subscribe = None;
        }
        self.tell_login();
        Ok(())
    }

    /// The server's answer to one filter.
    fn answered(&mut self, filter: Filter, reason: u8, words: &Words) {
        let refused = reason >= REFUSED;
        match filter {
            Filter::Inbox if refused => {
                if let Login::Running { refused, .. } = &mut self.login {
                    *refused = true;
                }
                let what = format!("the own inbox: {}", words::refusal(reason, words));
                self.tell(LinkEvent::LoginRefused { what });
            }
            Filter::System | Filter::OwnChannel if refused => {
                tracing::warn!(
                    server = %self.server,
                    ?filter,
                    reason = words::refusal(reason, words),
                    "the server refused a subscription"
                );
            }
            Filter::Group(group) if refused => {
                tracing::warn!(
                    server = %self.server,
                    group,
                    reason = words::refusal(reason, words),
                    "the server refused a group's subscription"
                );
                // Whoever left it meanwhile need not be told.
                if self.groups.contains(&group) {
                    self.tell(LinkEvent::GroupRefused { group });
                }
            }
            Filter::Inbox | Filter::System | Filter::OwnChannel if reason == 0 => {
                tracing::warn!(
                    server = %self.server,
                    ?filter,
                    "the server grants QoS 0 alone: messages to here may be lost"
                );
            }
            Filter::Group(group) => self.told.push_back(Told::GroupGranted { group }),
            Filter::Inbox | Filter::System | Filter::OwnChannel => {}
        }
    }

    /// Whether this was the answer to the marker.
    pub(super) fn marker_published(&mut self, packet: PacketId, reason: u8, words: &Words) -> bool {
        let Login::Running { marker, refused, .. } = &mut self.login else {
            return false;
        };
        if *marker != Some(packet) {
            return false;
        }
        *marker = None;
        if reason >= REFUSED && !*refused {
            *refused = true;
            let what = format!("the marker on the own channel: {}", words::refusal(reason, words));
            self.tell(LinkEvent::LoginRefused { what });
        }
        self.tell_login();
        true
    }

    /// LoggedIn, once SUBACK and PUBACK are both there.
    fn tell_login(&mut self) {
        if let Login::Running {
            nonce,
            subscribe: None,
            marker: None,
            refused: false,
        } = &mut self.login
        {
            self.login = Login::Done {
                nonce: std::mem::take(nonce),
            };
            self.tell(LinkEvent::LoggedIn);
        }
    }

    pub(super) fn marker(&mut self, message: &Message) {
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
            self.tell(LinkEvent::MarkerReturned);
        } else if message.retain && !self.marker_found && !marker.installation.is_empty() {
            self.marker_found = true;
            if marker.installation != self.device.installation.as_str() {
                let installation = InstallationId::new(&words::shown(&marker.installation));
                self.tell(LinkEvent::MarkerFound { installation });
            }
        }
    }
}
