//! The objects of `--json`. Fields are only ever added.

mod messages;

use std::time::SystemTime;

use imd_client::admin::{App, ConnectPhase, Finding, StatusChange, Verdict};
use imd_client::{Code, Network, OfflineSync};
use serde::Serialize;

use crate::clock::rfc3339;

pub(crate) use messages::{Conversation, Event, Group, Message, event_name};

/// A new token was taken.
#[derive(Serialize)]
pub(crate) struct TokenUpdated {
    /// When it ends, by its own word.
    pub(crate) expires: Option<String>,
}

/// The state of the connection.
#[derive(Serialize)]
pub(crate) struct Status<'a> {
    status: i32,
    status_name: &'a str,
    generation: u64,
    reason: &'a str,
    attempt: u32,
    next_retry_time: Option<String>,
    next_retry_in_ms: Option<u64>,
    last_code: Option<i32>,
    last_code_name: Option<&'a str>,
    network: &'static str,
    app_key: Option<&'a str>,
    user_id: Option<&'a str>,
    server: Option<&'a str>,
    change_time: Option<String>,
    offline_sync: &'static str,
    storage_full: Option<&'a str>,
}

impl<'a> From<&'a imd_client::Status> for Status<'a> {
    fn from(status: &'a imd_client::Status) -> Self {
        Self {
            status: status.number(),
            status_name: &status.name,
            generation: status.generation,
            reason: &status.reason,
            attempt: status.attempt,
            next_retry_time: status.next_retry.map(|next| rfc3339(next.at)),
            next_retry_in_ms: status
                .next_retry
                .map(|next| u64::try_from(next.after.as_millis()).unwrap_or(u64::MAX)),
            last_code: status.last_code.map(|code| code.0),
            last_code_name: status.last_code.map(Code::name),
            network: network(status.network),
            app_key: filled(&status.app_key),
            user_id: filled(&status.user_id),
            server: filled(&status.server),
            change_time: status.changed.map(rfc3339),
            offline_sync: offline_sync(status.offline_sync),
            storage_full: status.storage_full.as_deref(),
        }
    }
}

/// A bound app.
#[derive(Serialize)]
pub(crate) struct BoundApp<'a> {
    app_id: &'a str,
    instance_id: &'a str,
    app_version: Option<&'a str>,
    pid: i32,
    bind_time: Option<String>,
    app_key: Option<&'a str>,
    connect_phase: &'static str,
    lag: Option<u64>,
    subscriptions: u32,
}

impl<'a> From<&'a App> for BoundApp<'a> {
    fn from(app: &'a App) -> Self {
        Self {
            app_id: &app.app_id,
            instance_id: &app.instance_id,
            app_version: filled(&app.app_version),
            pid: app.pid,
            bind_time: app.bound.map(rfc3339),
            app_key: filled(&app.app_key),
            connect_phase: phase(app.phase),
            lag: app.lag,
            subscriptions: app.subscriptions,
        }
    }
}

/// A status change of the past.
#[derive(Serialize)]
pub(crate) struct Change<'a> {
    time: Option<String>,
    status: i32,
    status_name: &'a str,
    generation: u64,
    reason: &'a str,
    last_code: Option<i32>,
    last_code_name: Option<&'a str>,
    daemon_run_id: Option<&'a str>,
}

impl<'a> From<&'a StatusChange> for Change<'a> {
    fn from(change: &'a StatusChange) -> Self {
        Self {
            time: change.time.map(rfc3339),
            status: change.connection.number(),
            status_name: &change.name,
            generation: change.generation,
            reason: &change.reason,
            last_code: change.last_code.map(|code| code.0),
            last_code_name: change.last_code.map(Code::name),
            daemon_run_id: filled(&change.run_id),
        }
    }
}

/// A callback of a connect.
#[derive(Serialize)]
pub(crate) struct Callback<'a> {
    pub(crate) time: String,
    pub(crate) elapsed_ms: u64,
    pub(crate) event: &'static str,
    pub(crate) code: i32,
    pub(crate) code_name: &'a str,
    pub(crate) user_id: Option<&'a str>,
    pub(crate) text: Option<&'a str>,
    pub(crate) action: Option<&'a str>,
}

/// A check of the doctor.
#[derive(Serialize)]
pub(crate) struct Check {
    pub(crate) check: String,
    #[serde(serialize_with = "verdict_name")]
    pub(crate) verdict: Verdict,
    pub(crate) text: String,
    pub(crate) mend: String,
}

impl From<Finding> for Check {
    fn from(finding: Finding) -> Self {
        Self {
            check: finding.check,
            verdict: finding.verdict,
            text: finding.text,
            mend: finding.mend,
        }
    }
}

/// A token and what it says.
#[derive(Serialize)]
pub(crate) struct MintedToken<'a> {
    pub(crate) token: &'a str,
    pub(crate) app_key: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) issue_time: String,
    pub(crate) expire_time: String,
}

fn verdict_name<S: serde::Serializer>(verdict: &Verdict, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(self::verdict(*verdict))
}

pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "OK",
        Verdict::Warning => "WARNING",
        Verdict::Failed => "FAILED",
        Verdict::Insecure => "INSECURE",
        Verdict::Skipped => "SKIPPED",
        _ => "UNKNOWN",
    }
}

pub(crate) fn phase(phase: ConnectPhase) -> &'static str {
    match phase {
        ConnectPhase::None => "NONE",
        ConnectPhase::Pending => "PENDING",
        ConnectPhase::Succeeded => "SUCCEEDED",
        _ => "UNKNOWN",
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
pub(crate) fn network(network: Network) -> &'static str {
    match network {
        Network::Available => "AVAILABLE",
        Network::Unavailable => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

fn offline_sync(sync: OfflineSync) -> &'static str {
    match sync {
        OfflineSync::NotConnected => "NOT_CONNECTED",
        OfflineSync::Running => "RUNNING",
        OfflineSync::Complete => "COMPLETE",
        OfflineSync::Incomplete => "INCOMPLETE",
        _ => "UNKNOWN",
    }
}

fn filled(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// The name of a time that is there, else a dash.
pub(crate) fn or_dash(time: Option<SystemTime>, write: impl FnOnce(SystemTime) -> String) -> String {
    time.map_or_else(|| "-".to_owned(), write)
}
