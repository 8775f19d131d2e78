//! The one error of the library: a code, a text for people, and whether the daemon has seen the call.

use std::fmt;

use imd_proto::code::Code;
use imd_proto::endpoint::EndpointError;
use imd_proto::status::{from_status, is_from_daemon};

/// Whether a failed call had reached the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It never left this process: making it again cannot do anything twice.
    No,
    /// It was on its way when the daemon went away, or stayed silent: it may have been carried out.
    Unknown,
    /// The daemon itself answered with this error.
    Yes,
}

/// Why a call failed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {text}")]
pub struct Error {
    code: Code,
    text: String,
    action: Option<String>,
    sent: Sent,
}

impl Error {
    /// The code: an open set, so a server's own number arrives unharmed.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What happened, for people to read.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the app should do.
    #[must_use]
    pub fn action(&self) -> &str {
        self.action.as_deref().unwrap_or_else(|| self.code.action())
    }

    /// Whether the daemon has seen the call: the question after [`Code::IPC_DISCONNECT`].
    #[must_use]
    pub fn sent(&self) -> Sent {
        self.sent
    }

    pub(crate) fn new(code: Code, text: impl Into<String>, sent: Sent) -> Self {
        Self {
            code,
            text: text.into(),
            action: None,
            sent,
        }
    }

    /// For one who is not bound yet, no library will bind again.
    pub(crate) fn before_binding(mut self) -> Self {
        if self.code == Code::IPC_DISCONNECT {
            self.action = Some("Start the daemon: imd. `imctl doctor` says more.".to_owned());
        }
        self
    }

    /// onError's words.
    pub(crate) fn told(code: i32, text: String, action: String) -> Self {
        Self {
            code: Code(code),
            text,
            action: Some(action).filter(|action| !action.is_empty()),
            sent: Sent::Yes,
        }
    }

    /// What a status says; one that the transport made has `sent` unknown.
    pub(crate) fn from_status(call: &str, status: &tonic::Status) -> Self {
        let failure = from_status(status);
        if is_from_daemon(status) {
            return Self::new(failure.code, failure.text, Sent::Yes);
        }
        let text = format!("{call}: {}", failure.text);
        Self::new(failure.code, text, Sent::Unknown)
    }

    /// For what goes on with the next daemon, one that stops in order is gone like any other.
    pub(crate) fn is_loss(&self) -> bool {
        self.code == Code::IPC_DISCONNECT
            || self.code == Code::IMD_STOPPING
            || self.code == Code::IMD_NOT_BOUND
    }

    /// What the library waits out where it goes on by itself: a daemon that is lost, that hangs, or that has no
    /// room at the moment.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_loss() || self.is_silence() || self.code == Code::IMD_TOO_MANY
    }

    /// Whether it is what [`silent`](Self::silent) makes: the call may still be carried out.
    pub(crate) fn is_silence(&self) -> bool {
        self.code == Code::IMD_DEADLINE_EXCEEDED && self.sent == Sent::Unknown
    }

    /// The deadline has passed and the daemon is still there.
    pub(crate) fn silent(call: &str, deadline: std::time::Duration, sent: Sent) -> Self {
        let text = format!("the daemon is there, but did not answer {call} within {deadline:?}");
        Self::new(Code::IMD_DEADLINE_EXCEEDED, text, sent)
    }

    /// The daemon's answer is none.
    pub(crate) fn lacks(call: &str, what: &str) -> Self {
        let text = format!("the daemon's answer to {call} has no {what}");
        Self::new(Code::IMD_INTERNAL, text, Sent::Yes)
    }

    /// The last [`Client`](crate::Client) was dropped before the answer came.
    pub(crate) fn client_dropped(call: &str) -> Self {
        let text = format!("the last Client was dropped before the answer to {call} came");
        Self::new(Code::IPC_DISCONNECT, text, Sent::Unknown)
    }

    /// There is no usable socket path.
    pub(crate) fn no_path(error: &EndpointError) -> Self {
        Self::new(Code::IMD_INVALID_SOCKET_PATH, error.to_string(), Sent::No)
    }

    /// The system gives no timer.
    pub(crate) fn no_timer(error: &std::io::Error) -> Self {
        let text = format!("the system gives no timer: {error}");
        Self::new(Code::IMD_INTERNAL, text, Sent::No)
    }

    /// The library's own thread cannot be had.
    pub(crate) fn no_thread(error: &dyn fmt::Display) -> Self {
        let text = format!("the library's own thread cannot be started: {error}");
        Self::new(Code::IMD_INTERNAL, text, Sent::No)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} (sent: {:?})", self.sent)
    }
}
