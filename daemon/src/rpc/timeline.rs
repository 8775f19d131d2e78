//! The status changes since a time: those of earlier runs from the store's journal, those of this run from
//! memory, where they stand before the journal has them.

use std::collections::BTreeMap;
use std::sync::Arc;

use imd_core::io::ConnectionStatus;
use imd_core::time::UnixTime;
use imd_proto::code::Code;
use imd_proto::imd::v1;

use super::convert;
use super::server::About;
use crate::hub::Published;
use crate::store::StatusNote;

/// Puts both together. `notes`: the journal's, oldest first; `memory`: this run's newest.
pub(super) fn assemble(
    about: &About,
    notes: Vec<StatusNote>,
    memory: &[Arc<Published>],
    since: i64,
) -> v1::ListStatusChangesResponse {
    let in_memory = memory.first().map_or(u64::MAX, |oldest| oldest.status.generation);
    let mut response = v1::ListStatusChangesResponse::default();
    let mut known = BTreeMap::new();
    for note in notes {
        let (StatusNote::Started { run, .. }
        | StatusNote::Changed { run, .. }
        | StatusNote::Stopped { run, .. }) = &note;
        let place = (*run != about.run_id).then(|| {
            *known.entry(run.clone()).or_insert_with(|| {
                response.runs.push(v1::DaemonRun {
                    daemon_run_id: run.clone(),
                    ..v1::DaemonRun::default()
                });
                response.runs.len() - 1
            })
        });
        let known_run = place.and_then(|place| response.runs.get_mut(place));
        match note {
            StatusNote::Started {
                time,
                run: _,
                version,
                pid,
            } => {
                if let Some(known) = known_run {
                    known.start_time = Some(timestamp(time));
                    known.version = version;
                    known.pid = i32::try_from(pid).unwrap_or_default();
                }
            }
            StatusNote::Stopped { time, run: _ } => {
                if let Some(known) = known_run {
                    known.end_time = Some(timestamp(time));
                }
            }
            StatusNote::Changed {
                time,
                run,
                generation,
                status,
                reason,
                code,
            } => {
                if run == about.run_id && generation >= in_memory {
                    continue;
                }
                response.changes.push(v1::StatusChange {
                    time: Some(timestamp(time)),
                    status,
                    status_name: status_name(status),
                    generation,
                    reason,
                    last_code: code,
                    last_code_name: if code == 0 {
                        String::new()
                    } else {
                        Code(code).name().to_owned()
                    },
                    daemon_run_id: run,
                });
            }
        }
    }
    let first = memory.partition_point(|one| one.changed.as_millis() < since);
    // What was so at that time, too.
    for change in memory.iter().skip(first.saturating_sub(1)) {
        response
            .changes
            .push(convert::status_change(change, &about.run_id));
    }
    response.runs.push(v1::DaemonRun {
        daemon_run_id: about.run_id.clone(),
        start_time: Some(convert::timestamp(about.started)),
        end_time: None,
        version: about.version.clone(),
        pid: i32::try_from(std::process::id()).unwrap_or_default(),
    });
    response
}

fn timestamp(millis: i64) -> prost_types::Timestamp {
    convert::timestamp(UnixTime::from_millis(millis))
}

/// A status that a newer daemon has written down has no name here.
fn status_name(number: i32) -> String {
    ConnectionStatus::ALL
        .into_iter()
        .find(|status| status.number() == number)
        .map_or_else(|| "UNLISTED".to_owned(), |status| status.name().to_owned())
}
