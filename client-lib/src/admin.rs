//! What tools ask: the daemon's version, its apps, its history, its health.

use std::time::SystemTime;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::admin_service_client::AdminServiceClient;

use crate::call::{Call, DEADLINE, DIAGNOSE_DEADLINE};
use crate::client::Client;
use crate::status::{ConnectionStatus, system_time};

/// What a daemon is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Version {
    /// As `imd --version` prints it.
    pub version: String,
    /// The oldest and the newest protocol it speaks.
    pub protocol: (u32, u32),
    /// What it can do beyond the protocol's number.
    pub capabilities: Vec<String>,
    /// Random for each start of the daemon.
    pub run_id: String,
    /// When it was started.
    pub started: Option<SystemTime>,
    /// Its process.
    pub pid: i32,
    /// Its instance's name.
    pub instance: String,
}

/// How far an app's connect is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectPhase {
    /// It has not asked for the connection, or its connect has ended.
    None,
    /// It waits for the connection.
    Pending,
    /// It was told onSuccess, and nothing has ended the connection since.
    Succeeded,
}

/// A bound app.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct App {
    /// In reverse DNS form.
    pub app_id: String,
    /// Random for each start of the app.
    pub instance_id: String,
    /// The app's own version.
    pub app_version: String,
    /// Its process, as the kernel names it.
    pub pid: i32,
    /// When it was bound.
    pub bound: Option<SystemTime>,
    /// Empty before Init.
    pub app_key: String,
    /// How far its connect is.
    pub phase: ConnectPhase,
    /// How many events its slowest subscription is behind; `None` without one.
    pub lag: Option<u64>,
    /// How many subscriptions it has.
    pub subscriptions: u32,
}

/// A change of the status.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusChange {
    /// When.
    pub time: Option<SystemTime>,
    /// To what.
    pub connection: ConnectionStatus,
    /// Its name as the daemon says it.
    pub name: String,
    /// Grows with every change of one run of the daemon.
    pub generation: u64,
    /// Why, for people to read.
    pub reason: String,
    /// The code that ended an attempt or the connection.
    pub last_code: Option<Code>,
    /// The run of the daemon it was in; empty if an older daemon says it.
    pub run_id: String,
}

/// From a start of the daemon to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DaemonRun {
    /// Random for each start of the daemon.
    pub run_id: String,
    /// When it was started; `None` if that is no longer known.
    pub started: Option<SystemTime>,
    /// When it ended in order; `None` if it runs, or ended without a word.
    pub ended: Option<SystemTime>,
    /// As `imd --version` prints it.
    pub version: String,
    /// Its process.
    pub pid: i32,
}

/// What the connection has been through, over several runs of the daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Timeline {
    /// Oldest first.
    pub changes: Vec<StatusChange>,
    /// Oldest first; the last is the one that answers.
    pub runs: Vec<DaemonRun>,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// All is well.
    Ok,
    /// It works, but.
    Warning,
    /// It does not work.
    Failed,
    /// The broker let through what it must refuse.
    Insecure,
    /// It could not be looked at.
    Skipped,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at: `config.file`, `database`, `server`, `broker.client_id`.
    pub check: String,
    /// How it went.
    pub verdict: Verdict,
    /// What was found.
    pub text: String,
    /// What to do about it; empty when nothing need be done.
    pub mend: String,
}

impl Client {
    /// What the daemon is.
    pub fn version(&self) -> Call<Version> {
        self.call("GetVersion", |link| async move {
            let message = v1::GetVersionRequest {};
            link.unary("GetVersion", DEADLINE, message, |channel, request| async {
                AdminServiceClient::new(channel).get_version(request).await
            })
            .await
            .map(Version::from_wire)
        })
    }

    /// The apps that are bound, this one too.
    pub fn apps(&self) -> Call<Vec<App>> {
        self.call("ListApps", |link| async move {
            let message = v1::ListAppsRequest {};
            link.unary("ListApps", DEADLINE, message, |channel, request| async {
                AdminServiceClient::new(channel).list_apps(request).await
            })
            .await
            .map(|answer| answer.apps.into_iter().map(App::from_wire).collect())
        })
    }

    /// The last status changes of this run of the daemon, oldest first.
    pub fn status_changes(&self) -> Call<Vec<StatusChange>> {
        self.call("ListStatusChanges", |link| async move {
            let message = v1::ListStatusChangesRequest { since: None };
            link.unary("ListStatusChanges", DEADLINE, message, |channel, request| async {
                AdminServiceClient::new(channel)
                    .list_status_changes(request)
                    .await
            })
            .await
            .map(|answer| answer.changes.into_iter().map(StatusChange::from_wire).collect())
        })
    }

    /// The status changes since then, those of earlier runs of the daemon too, and the last one before.
    pub fn timeline(&self, since: SystemTime) -> Call<Timeline> {
        let since = Some(prost_types::Timestamp::from(since));
        self.call("ListStatusChanges", move |link| async move {
            let message = v1::ListStatusChangesRequest { since };
            link.unary("ListStatusChanges", DEADLINE, message, |channel, request| async {
                AdminServiceClient::new(channel)
                    .list_status_changes(request)
                    .await
            })
            .await
            .map(Timeline::from_wire)
        })
    }

    /// The daemon's figures, as OpenMetrics text.
    pub fn metrics(&self) -> Call<String> {
        self.call("GetMetrics", |link| async move {
            let message = v1::GetMetricsRequest {};
            link.unary("GetMetrics", DEADLINE, message, |channel, request| async {
                AdminServiceClient::new(channel).get_metrics(request).await
            })
            .await
            .map(|answer| answer.open_metrics)
        })
    }

    /// Lets the daemon look at itself, and with `probe_broker` try at the broker what it must refuse. It
    /// may take 30 seconds.
    pub fn diagnose(&self, probe_broker: bool) -> Call<Vec<Finding>> {
        self.call("Diagnose", move |link| async move {
            let message = v1::DiagnoseRequest { probe_broker };
            link.unary("Diagnose", DIAGNOSE_DEADLINE, message, |channel, request| async {
                AdminServiceClient::new(channel).diagnose(request).await
            })
            .await
            .map(|answer| answer.findings.into_iter().map(Finding::from_wire).collect())
        })
    }

    /// Stops the daemon in order; `reason` is for its log and the apps' goodbye.
    pub fn shutdown(&self, reason: impl Into<String>) -> Call<()> {
        let reason = reason.into();
        self.call("Shutdown", |link| async move {
            let message = v1::ShutdownRequest { reason };
            link.unary("Shutdown", DEADLINE, message, |channel, request| async {
                AdminServiceClient::new(channel).shutdown(request).await
            })
            .await
            .map(|v1::ShutdownResponse {}| ())
        })
    }
}

impl Version {
    fn from_wire(wire: v1::GetVersionResponse) -> Self {
        Self {
            version: wire.version,
            protocol: (wire.protocol_min, wire.protocol_max),
            capabilities: wire.capabilities,
            run_id: wire.daemon_run_id,
            started: wire.start_time.as_ref().and_then(system_time),
            pid: wire.pid,
            instance: wire.instance,
        }
    }
}

impl App {
    fn from_wire(wire: v1::App) -> Self {
        let phase = match wire.connect_phase() {
            v1::ConnectPhase::Unspecified | v1::ConnectPhase::None => ConnectPhase::None,
            v1::ConnectPhase::Pending => ConnectPhase::Pending,
            v1::ConnectPhase::Succeeded => ConnectPhase::Succeeded,
        };
        Self {
            app_id: wire.app_id,
            instance_id: wire.instance_id,
            app_version: wire.app_version,
            pid: wire.pid,
            bound: wire.bind_time.as_ref().and_then(system_time),
            app_key: wire.app_key,
            phase,
            lag: wire.lag,
            subscriptions: wire.subscriptions,
        }
    }
}

impl DaemonRun {
    fn from_wire(wire: v1::DaemonRun) -> Self {
        Self {
            run_id: wire.daemon_run_id,
            started: wire.start_time.as_ref().and_then(system_time),
            ended: wire.end_time.as_ref().and_then(system_time),
            version: wire.version,
            pid: wire.pid,
        }
    }
}

impl Timeline {
    fn from_wire(wire: v1::ListStatusChangesResponse) -> Self {
        Self {
            changes: wire.changes.into_iter().map(StatusChange::from_wire).collect(),
            runs: wire.runs.into_iter().map(DaemonRun::from_wire).collect(),
        }
    }
}

impl StatusChange {
    fn from_wire(wire: v1::StatusChange) -> Self {
        Self {
            time: wire.time.as_ref().and_then(system_time),
            connection: ConnectionStatus::from_number(wire.status),
            name: wire.status_name,
            generation: wire.generation,
            reason: wire.reason,
            last_code: Some(Code(wire.last_code)).filter(|code| code.0 != 0),
            run_id: wire.daemon_run_id,
        }
    }
}

impl Finding {
    fn from_wire(wire: v1::Finding) -> Self {
        let verdict = match wire.verdict() {
            v1::Verdict::Ok => Verdict::Ok,
            v1::Verdict::Warning => Verdict::Warning,
            v1::Verdict::Failed => Verdict::Failed,
            v1::Verdict::Insecure => Verdict::Insecure,
            v1::Verdict::Unspecified | v1::Verdict::Skipped => Verdict::Skipped,
        };
        Self {
            check: wire.check,
            verdict,
            text: wire.text,
            mend: wire.mend,
        }
    }
}
