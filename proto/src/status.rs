//! Code to gRPC status and back: both directions, and nowhere else.
//!
//! The code travels in `google.rpc.ErrorInfo`: reason = its name, domain = `imd`, metadata `code` = its
//! number. A status without it was not made by the daemon but by the transport on the way: its sources
//! tell which, never its text.

use std::collections::HashMap;
use std::error::Error as _;

use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::code::{Carrier, Code};

/// The domain of imd's own [`tonic_types::ErrorInfo`].
pub const DOMAIN: &str = "imd";

/// A code with the text a person reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub text: String,
}

/// The status that carries a code.
#[must_use]
pub fn to_status(code: Code, text: impl Into<String>) -> Status {
    let carrier = code.row().map_or(Carrier::Unknown, |row| row.carrier);
    let metadata = HashMap::from([("code".to_owned(), code.0.to_string())]);
    let details = ErrorDetails::with_error_info(code.name(), DOMAIN, metadata);
    Status::with_error_details(grpc_code(carrier), text, details)
}

/// The code a status carries; for a status the transport made, the code that says so.
#[must_use]
pub fn from_status(status: &Status) -> Failure {
    let Some(code) = carried(status) else {
        return Failure {
            code: from_transport(status),
            text: transport_text(status),
        };
    };
    Failure {
        code,
        text: status.message().to_owned(),
    }
}

/// A daemon says nothing about a call that it does not know: its gRPC server does, and not to a person.
fn transport_text(status: &Status) -> String {
    if status.code() == tonic::Code::Unimplemented {
        return "the daemon does not know this call: it is older than the app's library. Upgrade imd and start it \
                again"
            .to_owned();
    }
    status.message().to_owned()
}

/// Whether the daemon itself made this status: only then it has certainly seen the call.
#[must_use]
pub fn is_from_daemon(status: &Status) -> bool {
    carried(status).is_some()
}

fn carried(status: &Status) -> Option<Code> {
    let info = status.get_details_error_info()?;
    if info.domain != DOMAIN {
        return None;
    }
    info.metadata.get("code")?.parse().ok().map(Code)
}

fn from_transport(status: &Status) -> Code {
    match status.code() {
        tonic::Code::OutOfRange => return Code::IMD_REQUEST_TOO_LARGE,
        tonic::Code::ResourceExhausted => return Code::IMD_TOO_MANY,
        tonic::Code::Unimplemented => return Code::IMD_VERSION_SKEW,
        tonic::Code::DeadlineExceeded => return Code::IMD_DEADLINE_EXCEEDED,
        tonic::Code::Ok
        | tonic::Code::Cancelled
        | tonic::Code::Unknown
        | tonic::Code::InvalidArgument
        | tonic::Code::NotFound
        | tonic::Code::AlreadyExists
        | tonic::Code::PermissionDenied
        | tonic::Code::FailedPrecondition
        | tonic::Code::Aborted
        | tonic::Code::Internal
        | tonic::Code::Unavailable
        | tonic::Code::DataLoss
        | tonic::Code::Unauthenticated => {}
    }
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<tonic::TimeoutExpired>() {
            return Code::IMD_DEADLINE_EXCEEDED;
        }
        if error.is::<tonic::transport::Error>() || error.is::<std::io::Error>() {
            return Code::IPC_DISCONNECT;
        }
        source = error.source();
    }
    if status.code() == tonic::Code::Unavailable {
        return Code::IPC_DISCONNECT;
    }
    Code::IMD_INTERNAL
}

fn grpc_code(carrier: Carrier) -> tonic::Code {
    match carrier {
        Carrier::Unknown => tonic::Code::Unknown,
        Carrier::InvalidArgument => tonic::Code::InvalidArgument,
        Carrier::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Carrier::NotFound => tonic::Code::NotFound,
        Carrier::AlreadyExists => tonic::Code::AlreadyExists,
        Carrier::PermissionDenied => tonic::Code::PermissionDenied,
        Carrier::ResourceExhausted => tonic::Code::ResourceExhausted,
        Carrier::FailedPrecondition => tonic::Code::FailedPrecondition,
        Carrier::Aborted => tonic::Code::Aborted,
        Carrier::Unimplemented => tonic::Code::Unimplemented,
        Carrier::Internal => tonic::Code::Internal,
        Carrier::Unavailable => tonic::Code::Unavailable,
        Carrier::Unauthenticated => tonic::Code::Unauthenticated,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::code::TABLE;

    #[track_caller]
    fn round_trip(code: Code) {
        let failure = from_status(&to_status(code, "what happened"));
        assert_eq!(failure.code, code);
        assert_eq!(failure.text, "what happened");
        assert!(is_from_daemon(&to_status(code, "")));
    }

    #[test]
    fn every_row_survives_the_round_trip() {
        for row in TABLE {
            round_trip(row.code);
        }
    }

    proptest! {
        #[test]
        fn any_number_survives_the_round_trip(number: i32) {
            round_trip(Code(number));
        }
    }

    #[test]
    fn a_call_the_daemon_does_not_know_is_version_skew_with_the_mend() {
        let failure = from_status(&Status::unimplemented(""));
        assert_eq!(failure.code, Code::IMD_VERSION_SKEW);
        assert!(failure.text.contains("Upgrade imd"), "{}", failure.text);
    }

    #[test]
    fn a_status_the_daemon_did_not_make_is_told_by_its_sources_not_its_text() {
        assert_eq!(from_status(&Status::unknown("31004")).code, Code::IMD_INTERNAL);
        let mut cut = Status::unknown("transport error");
        cut.set_source(std::sync::Arc::new(std::io::Error::from(
            std::io::ErrorKind::BrokenPipe,
        )));
        assert_eq!(from_status(&cut).code, Code::IPC_DISCONNECT);
        assert!(!is_from_daemon(&cut));
    }
}
