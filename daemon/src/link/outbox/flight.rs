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

const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
const NOT_AUTHORIZED: u8 = 0x87;
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
#[derive(Default)]
pub(super) struct InFlight {
    /// The first `sent` of them were sent on the present connection.
    flights: VecDeque<Flight>,
    sent: usize,
    /// The payloads of those.
    bytes: usize,
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

    /// The connection is gone.
    pub(super) fn link_ended(&mut self) {
        self.sent = 0;
        self.bytes = 0;
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
        let flight = Flight { parcel, packet: None };
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
    let code = words::im_code(words).unwrap_or(match reason {
        NOT_AUTHORIZED if to_group => Code::NOT_IN_GROUP,
        PACKET_TOO_LARGE => Code::RC_MSG_CONTENT_EXCEED_LIMIT,
        _ => Code::UNKNOWN,
    });
    Published::Refused {
        code: code.0,
        text: format!(
            "the server refuses the message: {}",
            words::refusal(reason, words)
        ),
    }
}

/// The answer to a message that the server would not take.
pub(super) fn too_large(text: String) -> Published {
    Published::Refused {
        code: Code::RC_MSG_CONTENT_EXCEED_LIMIT.0,
        text,
    }
}
