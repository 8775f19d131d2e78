//! The connection: status, callbacks, apps, findings.

use imd_core::io::{Callback, Network, OfflineSync, OpenFailure, Opened, Refusal};
use imd_core::time::BootTime;
use imd_core::{ConnectPhase, account::AppKey};
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::connect_response::Event;
use prost_types::Duration;

use super::{code, timestamp};
use crate::clock;
use crate::hub::{BoundApp, Published};
use crate::rpc::diagnose::{Finding, Verdict};

pub(in crate::rpc) fn status(published: &Published) -> v1::ConnectionStatus {
    let status = &published.status;
    let (last_code, last_code_name) = code(status.last_code);
    v1::ConnectionStatus {
        status: status.status.number(),
        status_name: status.status.name().to_owned(),
        generation: status.generation,
        reason: status.reason.clone(),
        attempt: status.attempt,
        next_retry_time: status.next_retry.map(clock::unix_of).map(timestamp),
        next_retry_in: status.next_retry.map(from_now),
        last_code,
        last_code_name,
        network: network(status.network).into(),
        app_key: text(status.app_key.as_ref()),
        user_id: text(status.user_id.as_ref()),
        server: text(status.server.as_ref()),
        change_time: Some(timestamp(published.changed)),
        offline_sync: offline_sync(status.offline_sync).into(),
        storage_full: status.storage_full.clone().unwrap_or_default(),
    }
}

pub(in crate::rpc) fn status_change(published: &Published, run_id: &str) -> v1::StatusChange {
    let status = &published.status;
    let (last_code, last_code_name) = code(status.last_code);
    v1::StatusChange {
        time: Some(timestamp(published.changed)),
        status: status.status.number(),
        status_name: status.status.name().to_owned(),
        generation: status.generation,
        reason: status.reason.clone(),
        last_code,
        last_code_name,
        daemon_run_id: run_id.to_owned(),
    }
}

pub(in crate::rpc) fn callback(callback: Callback) -> v1::ConnectResponse {
    let event = match callback {
        Callback::DatabaseOpened(Ok(Opened { note })) => Event::DatabaseOpened(v1::DatabaseOpened {
            code: 0,
            code_name: String::new(),
            text: note.unwrap_or_default(),
        }),
        Callback::DatabaseOpened(Err(OpenFailure { text })) => {
            let code = Code::BIZ_ERROR_DATABASE_ERROR;
            Event::DatabaseOpened(v1::DatabaseOpened {
                code: code.0,
                code_name: code.name().to_owned(),
                text,
            })
        }
        Callback::Success(user_id) => Event::Success(v1::ConnectSuccess {
            user_id: user_id.to_string(),
        }),
        Callback::Error(Refusal { code, text }) => Event::Error(v1::ConnectError {
            code: code.0,
            code_name: code.name().to_owned(),
            text,
            action: code.action().to_owned(),
        }),
    };
    v1::ConnectResponse { event: Some(event) }
}

/// `lags`: those of its event streams.
pub(in crate::rpc) fn app(
    app: &BoundApp,
    app_key: Option<&AppKey>,
    phase: ConnectPhase,
    lags: &[u64],
) -> v1::App {
    v1::App {
        app_id: app.app.app_id.to_string(),
        instance_id: app.instance.0.to_string(),
        app_version: app.app_version.to_string(),
        pid: app.app.pid,
        bind_time: Some(timestamp(app.bound_at)),
        app_key: text(app_key),
        connect_phase: connect_phase(phase).into(),
        lag: lags.iter().copied().max(),
        subscriptions: u32::try_from(lags.len()).unwrap_or(u32::MAX),
    }
}

pub(in crate::rpc) fn finding(finding: Finding) -> v1::Finding {
    let verdict = match finding.verdict {
        Verdict::Ok => v1::Verdict::Ok,
        Verdict::Warning => v1::Verdict::Warning,
        Verdict::Failed => v1::Verdict::Failed,
        Verdict::Insecure => v1::Verdict::Insecure,
        Verdict::Skipped => v1::Verdict::Skipped,
    };
    v1::Finding {
        check: finding.check.into_owned(),
        verdict: verdict.into(),
        text: finding.text,
        mend: finding.mend,
    }
}

fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// One that is past is due at once.
fn from_now(point: BootTime) -> Duration {
    Duration::try_from(point.since(clock::now().boot)).unwrap_or_default()
}

fn network(network: Network) -> v1::NetworkState {
    match network {
        Network::Available => v1::NetworkState::Available,
        Network::Unavailable => v1::NetworkState::Unavailable,
    }
}

fn offline_sync(state: OfflineSync) -> v1::OfflineSyncState {
    match state {
        OfflineSync::NotConnected => v1::OfflineSyncState::Unspecified,
        OfflineSync::Running => v1::OfflineSyncState::Running,
        OfflineSync::Complete => v1::OfflineSyncState::Complete,
        OfflineSync::Incomplete => v1::OfflineSyncState::Incomplete,
    }
}

fn connect_phase(phase: ConnectPhase) -> v1::ConnectPhase {
    match phase {
        ConnectPhase::None => v1::ConnectPhase::None,
        ConnectPhase::Pending => v1::ConnectPhase::Pending,
        ConnectPhase::Succeeded => v1::ConnectPhase::Succeeded,
    }
}

#[cfg(test)]
mod tests {
    use imd_core::io::{ConnectionStatus, Status};
    use imd_core::time::UnixTime;

    use super::*;

    #[test]
    fn the_next_retry_is_told_on_both_clocks() {
        let due = clock::now().boot + std::time::Duration::from_secs(64);
        let published = Published {
            status: Status {
                status: ConnectionStatus::Suspend,
                generation: 7,
                reason: "refused".to_owned(),
                attempt: 3,
                next_retry: Some(due),
                last_code: Some(Code::UNKNOWN),
                network: Network::Available,
                app_key: Some(AppKey::parse("key").unwrap()),
                user_id: None,
                server: None,
                offline_sync: OfflineSync::NotConnected,
                storage_full: Some("no room".to_owned()),
            },
            changed: UnixTime::from_millis(-1),
        };
        let wire = status(&published);
        assert_eq!((wire.status, wire.status_name.as_str()), (13, "SUSPEND"));
        assert_eq!((wire.last_code, wire.last_code_name.as_str()), (-1, "UNKNOWN"));
        assert_eq!((wire.app_key.as_str(), wire.user_id.as_str()), ("key", ""));
        assert_eq!(wire.storage_full, "no room");
        let left = wire.next_retry_in.unwrap().seconds;
        assert!((60..=64).contains(&left), "{left}");
        let wall = wire.next_retry_time.unwrap().seconds - clock::now().unix.as_millis() / 1000;
        assert!((60..=65).contains(&wall), "{wall}");
        let before = wire.change_time.unwrap();
        assert_eq!((before.seconds, before.nanos), (-1, 999_000_000));
    }

    #[test]
    fn an_error_is_told_with_what_to_do_about_it() {
        let wire = callback(Callback::Error(Refusal {
            code: Code::RC_CONN_TOKEN_INCORRECT,
            text: "the server refused it".to_owned(),
        }));
        let Some(Event::Error(error)) = wire.event else {
            panic!("not an error");
        };
        assert_eq!(
            (error.code, error.code_name.as_str()),
            (31004, "RC_CONN_TOKEN_INCORRECT")
        );
        assert!(!error.action.is_empty());
    }
}
