//! AdminService: for people who run the daemon.

use std::sync::Arc;
use std::time::Duration;

use imd_core::ConnectPhase;
use imd_core::account::AppKey;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::admin_service_server::AdminService;
use imd_proto::status::to_status;
use imd_proto::{PROTOCOL, PROTOCOL_MIN};
use tonic::{Request, Response, Status};

use super::accept::Admission;
use super::archive::Archive;
use super::arguments::words;
use super::binding::{Caller, peer};
use super::convert;
use super::diagnose::{Diagnose, Finding, Verdict, own_findings};
use super::metrics::{self, Readings};
use super::pages::Pages;
use super::server::{About, CAPABILITIES};
use super::session::within_deadline;
use super::stop::Stop;
use super::timeline;
use crate::hub::{BoundApp, EventLog, Hub, Lag};
use crate::link;
use crate::store::Figures;

/// How long the checks may take, those at the broker included.
const CHECKS: Duration = Duration::from_secs(30);

/// What is on disk, and who follows it.
pub(super) struct Stored {
    pub(super) archive: Arc<dyn Archive>,
    pub(super) log: EventLog,
    pub(super) pages: Pages,
}

impl Stored {
    async fn figures(&self) -> Option<Figures> {
        match self.archive.measure().await {
            Ok(figures) => Some(figures),
            Err(error) => {
                tracing::warn!(%error, "the store's figures are missing");
                None
            }
        }
    }
}

pub(super) struct Admin {
    pub(super) link: link::Handle,
    pub(super) hub: Arc<Hub>,
    /// `None`: the daemon cannot start, and has opened nothing.
    pub(super) stored: Option<Stored>,
    pub(super) about: Arc<About>,
    pub(super) stop: Stop,
    pub(super) diagnose: Arc<dyn Diagnose>,
    pub(super) admission: Arc<Admission>,
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_version(
        &self,
        _request: Request<v1::GetVersionRequest>,
    ) -> Result<Response<v1::GetVersionResponse>, Status> {
        Ok(Response::new(v1::GetVersionResponse {
            version: self.about.version.clone(),
            protocol_min: PROTOCOL_MIN,
            protocol_max: PROTOCOL,
            capabilities: CAPABILITIES.iter().map(ToString::to_string).collect(),
            daemon_run_id: self.about.run_id.clone(),
            start_time: Some(convert::timestamp(self.about.started)),
            pid: i32::try_from(std::process::id()).unwrap_or_default(),
            instance: self.about.instance.clone(),
        }))
    }

    async fn shutdown(
        &self,
        request: Request<v1::ShutdownRequest>,
    ) -> Result<Response<v1::ShutdownResponse>, Status> {
        let by = Caller::of(&request, &self.hub)?.requester();
        let reason = words(&request.into_inner().reason);
        tracing::info!(%by, reason, "shutdown was asked for");
        let reason = match reason.as_str() {
            "" => format!("{by} asked imd to stop"),
            reason => format!("{by} asked imd to stop: {reason}"),
        };
        self.stop.ask(&reason);
        Ok(Response::new(v1::ShutdownResponse {}))
    }

    async fn list_apps(
        &self,
        _request: Request<v1::ListAppsRequest>,
    ) -> Result<Response<v1::ListAppsResponse>, Status> {
        let apps = within_deadline("ListApps", self.apps()).await?;
        let lags = self.lags();
        Ok(Response::new(v1::ListAppsResponse {
            apps: apps
                .into_iter()
                .map(|(app, app_key, phase)| {
                    let its = lags.iter().filter(|lag| lag.app.as_ref() == Some(&app.instance));
                    let its: Vec<u64> = its.map(|lag| lag.events).collect();
                    convert::app(&app, app_key.as_ref(), phase, &its)
                })
                .collect(),
        }))
    }

    async fn list_status_changes(
        &self,
        request: Request<v1::ListStatusChangesRequest>,
    ) -> Result<Response<v1::ListStatusChangesResponse>, Status> {
        let peer = peer(&request)?;
        let Some(since) = request.into_inner().since else {
            let history = self.hub.status.history();
            return Ok(Response::new(v1::ListStatusChangesResponse {
                changes: history
                    .iter()
                    .map(|change| convert::status_change(change, &self.about.run_id))
                    .collect(),
                runs: Vec::new(),
            }));
        };
        let since = convert::millis(&since).ok_or_else(|| {
            let text = "since is no time that a clock shows";
            to_status(Code::BIZ_ERROR_INVALID_PARAMETER, text)
        })?;
        let notes = match &self.stored {
            Some(stored) => {
                let notes = stored.archive.statuses_since(since);
                stored.pages.read(&peer, "ListStatusChanges", notes).await?
            }
            None => Vec::new(),
        };
        let memory = self.hub.status.history();
        Ok(Response::new(timeline::assemble(
            &self.about,
            notes,
            &memory,
            since,
        )))
    }

    async fn get_metrics(
        &self,
        _request: Request<v1::GetMetricsRequest>,
    ) -> Result<Response<v1::GetMetricsResponse>, Status> {
        let last_heard = within_deadline("GetMetrics", self.link.last_heard()).await?;
        let store = match &self.stored {
            Some(stored) => stored.figures().await,
            None => None,
        };
        let open_metrics = metrics::render(&Readings {
            about: &self.about,
            status: &self.hub.status.newest(),
            counts: self.hub.status.counts(),
            last_heard,
            apps: self.hub.apps.list().len(),
            lags: self.lags(),
            connections: self.admission.open(),
            refused: self.admission.refused(),
            store,
        });
        Ok(Response::new(v1::GetMetricsResponse { open_metrics }))
    }

    async fn diagnose(
        &self,
        request: Request<v1::DiagnoseRequest>,
    ) -> Result<Response<v1::DiagnoseResponse>, Status> {
        let mut findings = own_findings(&self.hub, &self.admission, &self.about.instance);
        let checks = self.diagnose.findings(request.into_inner().probe_broker);
        match tokio::time::timeout(CHECKS, checks).await {
            Ok(found) => findings.extend(found),
            Err(_) => findings.push(unfinished()),
        }
        Ok(Response::new(v1::DiagnoseResponse {
            findings: findings.into_iter().map(convert::finding).collect(),
        }))
    }
}

impl Admin {
    /// How far the subscriptions are behind.
    fn lags(&self) -> Vec<Lag> {
        self.stored
            .as_ref()
            .map(|stored| stored.log.lags())
            .unwrap_or_default()
    }

    async fn apps(&self) -> Result<Vec<(BoundApp, Option<AppKey>, ConnectPhase)>, link::Stopped> {
        let mut apps = Vec::new();
        for app in self.hub.apps.list() {
            let (app_key, phase) = self.link.instance(app.instance.clone()).await?;
            apps.push((app, app_key, phase));
        }
        Ok(apps)
    }
}

fn unfinished() -> Finding {
    Finding {
        check: "checks".into(),
        verdict: Verdict::Skipped,
        text: format!("the daemon's other checks did not end within {CHECKS:?}"),
        mend: "Try again; the daemon's log says what holds it up.".to_owned(),
    }
}
