//! The codec's packets in the broker's own terms.

use mqtt_protocol_core::mqtt::packet::{self, Property, SubEntry, v3_1_1, v5_0};
use zeroize::Zeroizing;

use super::super::session::{RetainedOnSubscribe, Subscription};
use super::super::{Protocol, Qos};
use super::Connect;

/// A session that never expires.
const NEVER: u32 = u32::MAX;

pub(super) fn connect_v3_1_1(packet: &v3_1_1::Connect) -> Connect {
    Connect {
        protocol: Protocol::V3_1_1,
        client_id: packet.client_id().to_owned(),
        user_name: given(packet.user_name()),
        password: packet
            .password()
            .map(|password| Zeroizing::new(password.to_vec())),
        clean: packet.clean_session(),
        keep_alive: packet.keep_alive(),
        session_expiry: if packet.clean_session() { 0 } else { NEVER },
        receive_maximum: u16::MAX,
        wants_authentication: false,
    }
}

pub(super) fn connect_v5(packet: &v5_0::Connect) -> Connect {
    let receive_maximum = packet.props().iter().find_map(|property| {
        if let Property::ReceiveMaximum(maximum) = property {
            Some(maximum.val())
        } else {
            None
        }
    });
    Connect {
        protocol: Protocol::V5,
        client_id: packet.client_id().to_owned(),
        user_name: given(packet.user_name()),
        password: packet
            .password()
            .map(|password| Zeroizing::new(password.to_vec())),
        clean: packet.clean_start(),
        keep_alive: packet.keep_alive(),
        session_expiry: session_expiry(packet.props()).unwrap_or(0),
        receive_maximum: receive_maximum.unwrap_or(u16::MAX),
        wants_authentication: packet
            .props()
            .iter()
            .any(|property| matches!(property, Property::AuthenticationMethod(_))),
    }
}

/// An empty user name is none.
fn given(user_name: Option<&str>) -> Option<String> {
    user_name.filter(|name| !name.is_empty()).map(str::to_owned)
}

pub(super) fn session_expiry(properties: &packet::Properties) -> Option<u32> {
    properties.iter().find_map(|property| {
        if let Property::SessionExpiryInterval(seconds) = property {
            Some(seconds.val())
        } else {
            None
        }
    })
}

pub(super) fn subscription(entry: &SubEntry) -> (String, Subscription) {
    let options = entry.sub_opts();
    let subscription = Subscription {
        // QoS 2 is granted as 1.
        qos: match options.qos() {
            packet::Qos::AtMostOnce => Qos::AtMostOnce,
            packet::Qos::AtLeastOnce | packet::Qos::ExactlyOnce => Qos::AtLeastOnce,
        },
        no_local: options.nl(),
        retain_as_published: options.rap(),
        retained: match options.rh() {
            packet::RetainHandling::SendRetained => RetainedOnSubscribe::Send,
            packet::RetainHandling::SendRetainedIfNotExists => RetainedOnSubscribe::SendIfFirst,
            packet::RetainHandling::DoNotSendRetained => RetainedOnSubscribe::Skip,
        },
    };
    (entry.topic_filter().to_owned(), subscription)
}

/// The four low bits of a packet's first byte, which the codec does not look at.
pub(super) fn has_legal_flags(first: u8) -> bool {
    match first >> 4 {
        0 => false,
        // PUBLISH: QoS 3 is none, and QoS 0 is never a repetition.
        3 => first & 0x06 != 0x06 && (first & 0x06 != 0 || first & 0x08 == 0),
        6 | 8 | 10 => first & 0x0F == 0x02,
        _ => first & 0x0F == 0,
    }
}
