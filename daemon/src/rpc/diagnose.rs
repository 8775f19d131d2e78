//! What Diagnose finds: the shell's checks, which rpc is given, and those rpc makes itself.

use std::borrow::Cow;

use imd_core::io::ConnectionStatus;

use super::accept::Admission;
use crate::hub::{Hub, MAX_BOUND};

/// The checks of whoever knows the rest of the daemon: configuration, database, server, broker.
#[tonic::async_trait]
pub trait Diagnose: Send + Sync + 'static {
    /// Looks, and says what it found. With `probe_broker` it also tries at the broker what that must
    /// refuse.
    async fn findings(&self, probe_broker: bool) -> Vec<Finding>;
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, in words parted by dots: `broker.client_id`.
    pub check: Cow<'static, str>,
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do about it; empty when nothing need be done.
    pub mend: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    Warning,
    Failed,
    /// The broker let through what it must refuse.
    Insecure,
    /// It could not be looked at.
    Skipped,
}

impl Verdict {
    /// For programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Failed => "FAILED",
            Self::Insecure => "INSECURE",
            Self::Skipped => "SKIPPED",
        }
    }
}

/// What rpc itself knows.
pub(super) fn own_findings(hub: &Hub, admission: &Admission, instance: &str) -> Vec<Finding> {
    vec![apps(hub, admission, instance), status(hub)]
}

fn apps(hub: &Hub, admission: &Admission, instance: &str) -> Finding {
    let bound = hub.apps.list().len();
    let open = admission.open();
    let most = admission.limits().connections;
    let full = bound >= MAX_BOUND || open >= most;
    Finding {
        check: "apps".into(),
        verdict: if full { Verdict::Warning } else { Verdict::Ok },
        text: format!(
            "{bound} of at most {MAX_BOUND} apps are bound, {open} of at most {most} connections are open"
        ),
        mend: if full {
            let imctl = match instance {
                "imd" => "imctl".to_owned(),
                name => format!("imctl --instance {name}"),
            };
            format!("End apps that are not needed; `{imctl} apps` lists them.")
        } else {
            String::new()
        },
    }
}

fn status(hub: &Hub) -> Finding {
    let status = &hub.status.newest().status;
    let verdict = match status.status {
        ConnectionStatus::Connected | ConnectionStatus::SignOut => Verdict::Ok,
        ConnectionStatus::NetworkUnavailable | ConnectionStatus::Connecting | ConnectionStatus::Suspend => {
            Verdict::Warning
        }
        ConnectionStatus::Unconnected if status.last_code.is_none() => Verdict::Ok,
        ConnectionStatus::Unconnected
        | ConnectionStatus::KickedOfflineByOtherClient
        | ConnectionStatus::TokenIncorrect
        | ConnectionStatus::ConnUserBlocked
        | ConnectionStatus::Timeout
        | ConnectionStatus::ProxyUnavailable => Verdict::Failed,
    };
    let mend = match (verdict, status.last_code) {
        (Verdict::Warning | Verdict::Failed, Some(code)) => code.action().to_owned(),
        (Verdict::Warning | Verdict::Failed, None) => "Wait; imd goes on by itself.".to_owned(),
        (Verdict::Ok | Verdict::Insecure | Verdict::Skipped, _) => String::new(),
    };
    Finding {
        check: "status".into(),
        verdict,
        text: format!("{}: {}", status.status.name(), status.reason),
        mend,
    }
}
