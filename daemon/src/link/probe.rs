//! Short connections of their own, by which `imctl doctor` sees what the server lets through.
//!
//! Nobody is disturbed: whatever is tried concerns a user that does not exist, no session stays, and
//! nothing is retained.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use imd_core::account::{Account, AppKey, Token};
use imd_core::io::{Fault, FaultKind, Protocol, ServerWords};
use imd_core::server::Server;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use uuid::Uuid;

use super::frame::Violation;
use super::wire::{Connect, Packet, Publish, Unsent, Wire};
use super::words;
use crate::transport::{self, Reached, Stream, Transports, Unreached};

/// How long one question to the server may take.
const ANSWER: Duration = Duration::from_secs(5);

/// How long a message may take from our publish back to our subscription.
const ROUND_TRIP: Duration = Duration::from_secs(1);

const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// None of these connections lives as long.
const DEAD_AFTER: Duration = Duration::from_secs(30);

/// What is published.
const PAYLOAD: &[u8] = b"imctl doctor";

/// The lowest reason code that refuses.
const REFUSED: u8 = 0x80;

/// CONNACK: the server does not know this version of MQTT.
const UNKNOWN_VERSION: u8 = 0x84;

/// So many closes in a row on a CONNECT of MQTT 5, without a word, are taken for a server's way to say that
/// it does not know it, as the daemon itself takes them.
const SILENT_CLOSES: u32 = 2;

/// What the server answered to a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Accepted,
    Refused(ServerWords),
}

/// What came of something that the server must not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    LetThrough,
    /// It did not get through; how that showed.
    Held(String),
    /// It cannot be told; why.
    Unclear(String),
}

/// One forbidden thing and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// What was tried, for people to read.
    pub what: &'static str,
    /// On which topic.
    pub topic: String,
    pub outcome: Outcome,
}

/// A server, and the ways to it.
#[derive(Clone)]
pub struct Place {
    pub transports: Arc<Transports>,
    /// Whose servers it is one of, where that is known.
    pub app_key: Option<AppKey>,
    pub server: Server,
}

/// Connects to the server, up to where MQTT begins, and says nothing.
///
/// # Errors
/// The server cannot be reached.
pub async fn reach(place: &Place) -> Result<Reached, Unreached> {
    let Place {
        transports,
        app_key,
        server,
    } = place;
    transports.dial(app_key.as_ref(), server, DEAD_AFTER).await
}

/// Connects as `account`, with a client id that belongs to another user.
///
/// # Errors
/// The server cannot be reached, or does not answer.
pub async fn foreign_client_id(place: &Place, account: &Account, token: &Token) -> Result<Answer, Fault> {
    let client_id = format!("desktop:{}:{}", account.app_key, ghost());
    match Visit::begin(&mut Protocol::V5, place, account, token, &client_id).await? {
        Begun::Accepted(visit) => {
            visit.end().await;
            Ok(Answer::Accepted)
        }
        Begun::Refused(words) => Ok(Answer::Refused(words)),
    }
}

/// Publishes and subscribes as `account` where that user has no business, with a client id of the class
/// `doctor`.
///
/// # Errors
/// The server cannot be reached, does not answer, or refuses the CONNECT.
pub async fn forbidden_topics(
    place: &Place,
    account: &Account,
    token: &Token,
) -> Result<Vec<Attempt>, Fault> {
    let Account { app_key, user_id } = account;
    let (one, two) = (ghost(), ghost());
    let publishes = [
        (
            "write in another user's name",
            format!("im/{app_key}/u/{one}/{two}"),
        ),
        ("write as the system", format!("im/{app_key}/s/{one}")),
        (
            "write to another user's own channel",
            format!("im/{app_key}/c/{one}/desktop"),
        ),
        (
            "write under another App Key",
            format!("im/{two}/u/{one}/{user_id}"),
        ),
    ];
    let filters = [
        ("read another user's inbox", format!("im/{app_key}/u/{one}/+")),
        ("read everything of the App Key", format!("im/{app_key}/#")),
    ];
    let client_id = format!("doctor:{app_key}:{user_id}");
    let mut protocol = Protocol::V5;
    let mut attempts = Vec::new();
    for (what, topic) in publishes {
        let mut visit = Visit::accepted(&mut protocol, place, account, token, &client_id).await?;
        let outcome = in_time(visit.forbidden_publish(&topic)).await;
        visit.end().await;
        attempts.push(Attempt { what, topic, outcome });
    }
    // Some brokers grant a subscription that they then do not serve, so what counts is whether a message
    // comes. Writing to another user's inbox is allowed.
    let allowed = format!("im/{app_key}/u/{one}/{user_id}");
    for (what, topic) in filters {
        let mut visit = Visit::accepted(&mut protocol, place, account, token, &client_id).await?;
        let outcome = in_time(visit.forbidden_subscription(&topic, &allowed)).await;
        visit.end().await;
        attempts.push(Attempt { what, topic, outcome });
    }
    Ok(attempts)
}

async fn in_time(attempt: impl Future<Output = Result<Outcome, Fault>>) -> Outcome {
    match timeout(ANSWER, attempt).await {
        Ok(Ok(outcome)) => outcome,
        // Some servers close on whoever does what is forbidden.
        Ok(Err(fault)) if fault.kind == FaultKind::BareEof => Outcome::Held(fault.text),
        Ok(Err(fault)) => Outcome::Unclear(fault.text),
        Err(_) => Outcome::Unclear(format!("no answer within {} s", ANSWER.as_secs())),
    }
}

/// A user id that nobody has.
fn ghost() -> String {
    let id = Uuid::new_v4().simple().to_string();
    format!("doctor-{}", id.get(..12).unwrap_or(&id))
}

/// One short connection.
struct Visit {
    server: Server,
    protocol: Protocol,
    stream: Stream,
    wire: Wire,
    input: BytesMut,
    output: BytesMut,
}

enum Begun {
    Accepted(Box<Visit>),
    Refused(ServerWords),
}

impl Visit {
    /// Connects in `protocol`, and turns it from MQTT 5 into 3.1.1 if the server does not know 5.
    async fn begin(
        protocol: &mut Protocol,
        place: &Place,
        account: &Account,
        token: &Token,
        client_id: &str,
    ) -> Result<Begun, Fault> {
        let mut silent_closes = 0;
        loop {
            let begun = Self::begin_in(*protocol, place, account, token, client_id).await;
            if *protocol == Protocol::V311 {
                return begun;
            }
            match &begun {
                Ok(Begun::Refused(words)) if words.reason == UNKNOWN_VERSION => *protocol = Protocol::V311,
                Err(fault) if fault.kind == FaultKind::BareEof => {
                    silent_closes += 1;
                    if silent_closes == SILENT_CLOSES {
                        *protocol = Protocol::V311;
                    }
                }
                Ok(_) | Err(_) => return begun,
            }
        }
    }

    async fn begin_in(
        protocol: Protocol,
        place: &Place,
        account: &Account,
        token: &Token,
        client_id: &str,
    ) -> Result<Begun, Fault> {
        let mut visit = Self {
            server: place.server.clone(),
            protocol,
            stream: reach(place).await?.stream,
            wire: Wire::new(protocol),
            input: BytesMut::new(),
            output: BytesMut::new(),
        };
        let connect = Connect {
            client_id,
            user_name: Some(account.user_id.as_str()),
            password: token.reveal(),
            clean: true,
            keep_alive: KEEP_ALIVE,
            session_expiry: Duration::ZERO,
        };
        let made = visit.wire.connect(&connect, &mut visit.output);
        visit.checked(made)?;
        let answer = match timeout(ANSWER, visit.answer()).await {
            Ok(answer) => answer?,
            Err(_) => {
                let text = format!("no answer to the CONNECT within {} s", ANSWER.as_secs());
                return Err(visit.fault(FaultKind::Io, &text));
            }
        };
        match answer {
            Packet::Accepted(_) => Ok(Begun::Accepted(Box::new(visit))),
            Packet::Refused(farewell) => Ok(Begun::Refused(words::farewell(&farewell))),
            Packet::Message(_)
            | Packet::PublishAcknowledged { .. }
            | Packet::SubscribeAcknowledged { .. }
            | Packet::UnsubscribeAcknowledged { .. }
            | Packet::Pong
            | Packet::Disconnect(_) => Err(visit.fault(FaultKind::Protocol, "no CONNACK came")),
        }
    }

    async fn accepted(
        protocol: &mut Protocol,
        place: &Place,
        account: &Account,
        token: &Token,
        client_id: &str,
    ) -> Result<Self, Fault> {
        match Self::begin(protocol, place, account, token, client_id).await? {
            Begun::Accepted(visit) => Ok(*visit),
            Begun::Refused(words) => Err(Fault {
                kind: FaultKind::Protocol,
                text: format!(
                    "{} refuses the client id {client_id} with {:#04x}{}",
                    place.server,
                    words.raw,
                    words
                        .reason_string
                        .map(|text| format!(", {text}"))
                        .unwrap_or_default()
                ),
            }),
        }
    }

    async fn forbidden_publish(&mut self, topic: &str) -> Result<Outcome, Fault> {
        let (reason, _) = self.publish(topic).await?;
        Ok(if reason >= REFUSED {
            Outcome::Held(format!("refused with {reason:#04x}"))
        } else if self.protocol == Protocol::V311 {
            Outcome::Unclear("an acknowledgement of MQTT 3.1.1 cannot refuse".to_owned())
        } else {
            Outcome::LetThrough
        })
    }

    async fn forbidden_subscription(&mut self, filter: &str, allowed: &str) -> Result<Outcome, Fault> {
        let reason = self.subscribe(filter).await?;
        if reason >= REFUSED {
            return Ok(Outcome::Held(format!("refused with {reason:#04x}")));
        }
        let (reason, came_back) = self.publish(allowed).await?;
        if reason >= REFUSED {
            let text = format!("a message to {allowed} is refused with {reason:#04x}");
            return Ok(Outcome::Unclear(text));
        }
        if came_back {
            return Ok(Outcome::LetThrough);
        }
        match timeout(ROUND_TRIP, self.message_on(allowed)).await {
            Ok(came_back) => came_back.map(|()| Outcome::LetThrough),
            Err(_) => Ok(Outcome::Held("granted, but no message comes".to_owned())),
        }
    }

    /// Publishes; returns the reason code of the acknowledgement, and whether the message itself came
    /// back before it.
    async fn publish(&mut self, topic: &str) -> Result<(u8, bool), Fault> {
        let publish = Publish {
            topic,
            payload: PAYLOAD.into(),
            retain: false,
            again: None,
        };
        let made = self
            .wire
            .publish(publish, &mut self.output)
            .map_err(|unsent| match unsent {
                Unsent::TooLarge { size, limit } => {
                    Violation(format!("the server takes {limit} bytes; a message has {size}"))
                }
                Unsent::Violation(violation) => violation,
            });
        let sent = self.checked(made)?;
        let mut came_back = false;
        loop {
            let answer = self.answer().await?;
            if let Packet::PublishAcknowledged { packet, reason, .. } = answer {
                if packet == sent {
                    return Ok((reason, came_back));
                }
            } else {
                came_back |= is_ours(&answer, topic);
            }
        }
    }

    /// Subscribes, and returns the reason code of the acknowledgement.
    async fn subscribe(&mut self, filter: &str) -> Result<u8, Fault> {
        let made = self.wire.subscribe(&[filter.to_owned()], &mut self.output);
        let sent = self.checked(made)?;
        loop {
            if let Packet::SubscribeAcknowledged { packet, reasons, .. } = self.answer().await?
                && packet == sent
            {
                return Ok(reasons.first().copied().unwrap_or(REFUSED));
            }
        }
    }

    async fn message_on(&mut self, topic: &str) -> Result<(), Fault> {
        while !is_ours(&self.answer().await?, topic) {}
        Ok(())
    }

    /// Sends what waits, and returns the next packet.
    async fn answer(&mut self) -> Result<Packet, Fault> {
        loop {
            let received = self.wire.receive(&mut self.input, &mut self.output);
            if let Some(packet) = self.checked(received)? {
                if let Packet::Disconnect(farewell) = &packet {
                    let text = format!("the server said DISCONNECT {:#04x}", farewell.raw);
                    return Err(self.fault(FaultKind::BareEof, &text));
                }
                return Ok(packet);
            }
            let exchanged = async {
                self.stream.write_all_buf(&mut self.output).await?;
                self.stream.flush().await?;
                self.stream.read_buf(&mut self.input).await
            };
            match exchanged.await {
                Ok(0) => return Err(self.fault(FaultKind::BareEof, "the server closed the connection")),
                Ok(_) => {}
                Err(error) => return Err(transport::broken(&self.server, &error)),
            }
        }
    }

    /// Says farewell, as far as that goes.
    async fn end(mut self) {
        if self.wire.disconnect(true, &mut self.output).is_err() {
            return;
        }
        let said = async {
            self.stream.write_all_buf(&mut self.output).await?;
            self.stream.shutdown().await?;
            tokio::io::copy(&mut self.stream, &mut tokio::io::sink()).await
        };
        if let Ok(Err(error)) = timeout(ROUND_TRIP, said).await {
            tracing::debug!(server = %self.server, %error, "no farewell");
        }
    }

    fn checked<T>(&self, result: Result<T, Violation>) -> Result<T, Fault> {
        result.map_err(|violation| self.fault(FaultKind::Protocol, &violation.to_string()))
    }

    fn fault(&self, kind: FaultKind, text: &str) -> Fault {
        Fault {
            kind,
            text: format!("{}: {text}", self.server),
        }
    }
}

/// Whether this is the message that was published on `topic`.
fn is_ours(packet: &Packet, topic: &str) -> bool {
    matches!(packet, Packet::Message(message) if message.topic == topic && message.payload == PAYLOAD)
}

#[cfg(test)]
mod tests;
