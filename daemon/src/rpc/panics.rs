//! A panic is a fault in imd: it is logged as one, and it ends the call that met it and nothing else.

use std::any::Any;
use std::panic::{self, PanicHookInfo};

use imd_proto::code::Code;
use imd_proto::status::to_status;
use tonic::body::Body;

/// Has every panic of the process logged as ERROR, with its place. Called once, by whoever starts the
/// daemon, after the log is set up.
pub fn log_panics() {
    panic::set_hook(Box::new(log));
}

fn log(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        place,
        thread = thread.name().unwrap_or_default(),
        text = info.payload_as_str().unwrap_or_default(),
        "panic"
    );
}

/// What the caller gets in place of an answer. The panic's own text is for the log, not for apps.
pub(super) fn answer(_panic: Box<dyn Any + Send>) -> http::Response<Body> {
    let status = to_status(
        Code::IMD_INTERNAL,
        "a fault in imd itself ended this call; the daemon's log has a line at level ERROR about it",
    );
    status.into_http()
}
