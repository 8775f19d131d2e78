//! Between the wire's types and ours: all conversions, both ways, and nowhere else.

mod conversation;
mod event;
mod message;
mod session;

use std::time::Duration;

use imd_core::account::Invalid;
use imd_core::io::Refusal;
use imd_core::time::UnixTime;
use imd_proto::code::Code;
use imd_proto::status::to_status;
use prost_types::Timestamp;
use tonic::Status;

pub(super) use conversation::{conversation, conversations, group};
pub(super) use event::news;
pub(super) use message::{message, outbox, outcome, page};
pub(super) use session::{app, callback, finding, status, status_change};

use crate::hub::LogError;
use crate::link::Stopped;
use crate::store::StoreError;
use crate::store::read::UpdateError;
use crate::store::rows::SendError;

pub(super) fn timestamp(time: UnixTime) -> Timestamp {
    let millis = time.as_millis();
    let nanos = millis.rem_euclid(1000).saturating_mul(1_000_000);
    Timestamp {
        seconds: millis.div_euclid(1000),
        nanos: i32::try_from(nanos).unwrap_or_default(),
    }
}

pub(super) fn refusal(refusal: Refusal) -> Status {
    to_status(refusal.code, refusal.text)
}

pub(super) fn invalid(invalid: Invalid) -> Status {
    to_status(invalid.code, invalid.text)
}

pub(super) fn stopping(_: Stopped) -> Status {
    to_status(Code::IMD_STOPPING, Stopped.to_string())
}

/// The daemon is alive, but one of its parts did not answer.
pub(super) fn late(call: &str, deadline: Duration) -> Status {
    let text = format!(
        "the store did not answer {call} within {} s; what was asked may be done all the same",
        deadline.as_secs()
    );
    to_status(Code::IMD_DEADLINE_EXCEEDED, text)
}

/// Nothing has that name or id.
pub(super) fn not_found(text: String) -> Status {
    to_status(Code::RC_DB_DATA_NOT_FOUND, text)
}

pub(super) fn failed(error: impl Failed) -> Status {
    error.into_status()
}

/// Why the archive did not do it, as a status.
pub(super) trait Failed {
    fn into_status(self) -> Status;
}

impl Failed for StoreError {
    fn into_status(self) -> Status {
        let code = match &self {
            Self::NoAccount => Code::RC_DB_NOT_INIT,
            Self::Stopped => Code::IMD_STOPPING,
            Self::Late(_) => Code::IMD_DEADLINE_EXCEEDED,
            Self::File { .. } | Self::Thread(_) | Self::Disk(_) | Self::Database(_) => Code::RC_DB_SQL_ERROR,
        };
        to_status(code, self.to_string())
    }
}

impl Failed for SendError {
    fn into_status(self) -> Status {
        let Invalid { code, text } = not_sent(&self);
        to_status(code, text)
    }
}

/// Why a message is not in the outbox.
fn not_sent(error: &SendError) -> Invalid {
    let code = match error {
        SendError::NoAccount => Code::RC_DB_NOT_INIT,
        SendError::Full { .. } | SendError::Storage(_) | SendError::Store(_) => {
            Code::PROTOCOL_MESSAGE_SAVED_ERROR
        }
    };
    Invalid {
        code,
        text: error.to_string(),
    }
}

impl Failed for UpdateError {
    fn into_status(self) -> Status {
        match self {
            Self::DraftTooLong(_) => to_status(Code::BIZ_ERROR_INVALID_PARAMETER, self.to_string()),
            Self::Store(error) => error.into_status(),
        }
    }
}

impl Failed for LogError {
    fn into_status(self) -> Status {
        match self {
            Self::OtherEpoch => not_found(
                "the log that the cursor belongs to is not that of the database that is open".to_owned(),
            ),
            Self::Beyond { newest } => to_status(
                Code::BIZ_ERROR_INVALID_PARAMETER,
                format!("the cursor is beyond the log's end, which is {newest}"),
            ),
            Self::Store(error) => error.into_status(),
        }
    }
}

/// `None`: no time that a clock shows.
pub(super) fn millis(time: &Timestamp) -> Option<i64> {
    let nanos = i64::from(time.nanos) / 1_000_000;
    time.seconds.checked_mul(1000)?.checked_add(nanos)
}

fn code(code: Option<Code>) -> (i32, String) {
    code.map_or((0, String::new()), |code| (code.0, code.name().to_owned()))
}
