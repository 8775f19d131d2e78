//! What was published and is not answered.

use std::collections::VecDeque;
use std::sync::Arc;

use imd_core::time::BootTime;
use imd_proto::code::Code;

use crate::link::session::Session;
use crate::link::wire::{PacketId, Publish, Unsent, Words};
use crate::link::words;
use crate::store::rows::{DueReceipts, Published};

/// The lowest reason code that refuses.
const REFUSED: u8 = 0x80;

/// After so many connections in a row that the server closed with no answer, messages go one at a time.
const FRUITLESS: u8 = 2;

/// After so many connections closed on one message, it is given up.
pub(super) const BLAMED: u8 = 3;

const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
const NOT_AUTHORIZED: u8 = 0x87;
/// What ejabberd says where its access rules refuse.
const TOPIC_NAME_INVALID: u8 = 0x90;
const PACKET_TOO_LARGE: u8 = 0x95;

/// What a publish is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cargo {
    Message {
        position: i64,
        to_group: bool,
        /// The server has taken it before, and the peer has not.
        again: bool,
    },
    Receipts(DueReceipts),
}

/// Ready to be published.
pub(super) struct Parcel {
    pub(super) cargo: Cargo,
    pub(super) topic: String,
    pub(super) payload: Arc<[u8]>,
}

struct Flight {
    parcel: Parcel,
    /// Its id in the server's session; `None`: that session is gone.
    packet: Option<PacketId>,
    /// How often the server has closed when this alone was not answered.
    blamed: u8,
}

/// What came of a publish that was tried.
pub(super) enum Launch {
    Sent,
    /// It can never go to this server.
    TooLarge {
        parcel: Parcel,
        text: String,
    },
    /// The connection has failed.
    Failed,
}

/// The in-flight table, in the order of the first sending.
///
/// Some servers, above all those of MQTT 3.1.1, have no other way to refuse a message than to close the
/// connection. Such a message would come first on every next one, and nothing would ever go. So when the
/// server closes again and again with no answer, what is in flight goes one at a time; the one on which it
/// still closes is given up.
#[derive(Default)]
pub(super) struct InFlight {
    /// The first `sent` of them were sent on the present connection.
    flights: VecDeque<Flight>,
    sent: usize,
    /// The payloads of those.
    bytes: usize,
    /// The server has answered something on the present connection.
    is_answered: bool,
    /// How many connections in a row the server has closed with no answer.
    fruitless: u8,
    /// So many go one at a time.
    careful: usize,
}

impl InFlight {
    /// How many were sent on the present connection, and their bytes.
    pub(super) fn sent(&self) -> (usize, usize) {
        (self.sent, self.bytes)
    }

    /// Whether something of an earlier connection has to be sent before anything fresh.
    pub(super) fn has_unsent(&self) -> bool {
        self.flights.len() > self.sent
    }

    /// Whether messages go one at a time.
    pub(super) fn is_careful(&self) -> bool {
        self.careful > 0
    }

    /// The server has closed in a way that may be its answer to a message. Returns what is given up.
    pub(super) fn closed_by_server(&mut self) -> Option<Cargo> {
        if self.sent == 0 {
            return None;
        }
        if !self.is_careful() {
            self.fruitless = if self.is_answered { 0 } else { self.fruitless + 1 };
            if self.fruitless >= FRUITLESS {
                self.fruitless = 0;
                self.careful = self.flights.len();
            }
            return None;
        }
        let first = self.flights.front_mut()?;
        first.blamed += 1;
        if first.blamed < BLAMED {
            return None;
        }
        let Flight { parcel, .. } = self.flights.pop_front()?;
        self.sent -= 1;
        self.bytes -= parcel.payload.len();
        self.careful = self.flights.len();
        Some(parcel.cargo)
    }

    /// The connection is gone.
    pub(super) fn link_ended(&mut self) {
        self.sent = 0;
        self.bytes = 0;
        self.is_answered = false;
    }

    /// The server has taken a CONNECT. With its session the packet ids live on.
    pub(super) fn resume(&mut self, session: &mut Session, session_present: bool) {
        for flight in &mut self.flights {
            if !session_present {
                flight.packet = None;
            }
            if let Some(packet) = flight.packet {
                session.reserve(packet);
            }
        }
    }

    /// Publishes for the first time.
    pub(super) fn launch(&mut self, parcel: Parcel, session: &mut Session, now: BootTime) -> Launch {
        let flight = Flight {
            parcel,
            packet: None,
            blamed: 0,
        };
        self.flights.push_back(flight);
        self.launch_next(session, now)
    }

    /// Publishes the first that was not sent on this connection.
    pub(super) fn launch_next(&mut self, session: &mut Session, now: BootTime) -> Launch {
        let Some(flight) = self.flights.get_mut(self.sent) else {
            return Launch::Failed;
        };
        let publish = Publish {
            topic: &flight.parcel.topic,
            payload: Arc::clone(&flight.parcel.payload),
            retain: false,
            again: flight.packet,
        };
        match session.publish(now, publish) {
            Ok(packet) => {
                flight.packet = Some(packet);
                self.sent += 1;
                self.bytes += flight.parcel.payload.len();
                Launch::Sent
            }
            Err(Unsent::TooLarge { size, limit }) => match self.flights.remove(self.sent) {
                Some(Flight { parcel, .. }) => Launch::TooLarge {
                    parcel,
                    text: format!("the message makes a packet of {size} bytes; the server takes {limit}"),
                },
                None => Launch::Failed,
            },
            Err(Unsent::Violation(_)) => Launch::Failed,
        }
    }

    /// The server has answered.
    pub(super) fn acknowledged(&mut self, packet: PacketId) -> Option<Cargo> {
        // Servers answer in order: it is the first.
        let place = self
            .flights
            .iter()
            .take(self.sent)
            .position(|flight| flight.packet == Some(packet))?;
        let Flight { parcel, .. } = self.flights.remove(place)?;
        self.sent -= 1;
        self.bytes -= parcel.payload.len();
        self.is_answered = true;
        self.fruitless = 0;
        self.careful = self.careful.saturating_sub(1);
        Some(parcel.cargo)
    }
}

/// What the answer to a message means.
pub(super) fn answer(to_group: bool, reason: u8, words: &Words) -> Published {
    if reason < REFUSED {
        return Published::Taken {
            no_receiver: reason == NO_MATCHING_SUBSCRIBERS,
        };
    }
    Published::Refused {
        code: words::im_code(words).unwrap_or(code(to_group, reason)).0,
        text: format!(
            "the server refuses the message: {}",
            words::refusal(reason, words)
        ),
    }
}

fn code(to_group: bool, reason: u8) -> Code {
    match reason {
        NOT_AUTHORIZED | TOPIC_NAME_INVALID if to_group => Code::NOT_IN_GROUP,
        PACKET_TOO_LARGE => Code::RC_MSG_CONTENT_EXCEED_LIMIT,
        _ => Code::UNKNOWN,
    }
}

/// The answer to a message on which the server closes. `reason`: that of its DISCONNECT, if there was one.
pub(super) fn given_up(to_group: bool, reason: Option<u8>) -> Published {
    let (code, said) = match reason {
        Some(reason) => (code(to_group, reason), format!(" with {reason:#04x}")),
        None => (Code::UNKNOWN, " without a word".to_owned()),
    };
    Published::Refused {
        code: code.0,
        text: format!("the server closed the connection{said} on this message, {BLAMED} times"),
    }
}

/// Whether a DISCONNECT with this reason may be about a message.
pub(super) fn is_about_a_message(reason: u8) -> bool {
    const MALFORMED_PACKET: u8 = 0x81;
    const PROTOCOL_ERROR: u8 = 0x82;
    const IMPLEMENTATION_SPECIFIC: u8 = 0x83;
    const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
    matches!(
        reason,
        MALFORMED_PACKET
            | PROTOCOL_ERROR
            | IMPLEMENTATION_SPECIFIC
            | NOT_AUTHORIZED
            | TOPIC_NAME_INVALID
            | PACKET_TOO_LARGE
            | PAYLOAD_FORMAT_INVALID
    )
}

/// The answer to a message that the server would not take.
pub(super) fn too_large(text: String) -> Published {
    Published::Refused {
        code: Code::RC_MSG_CONTENT_EXCEED_LIMIT.0,
        text,
    }
}
