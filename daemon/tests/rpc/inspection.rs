//! What people who look into the daemon are shown: metrics, the changes of earlier runs, lag.

use imd::clock;
use imd::store::{AccountFigures, Counted, Figures, StatusNote};
use imd_core::ConnectPhase;
use imd_core::io::{ConnectionStatus, Status};
use imd_proto::code::Code;
use imd_proto::imd::v1;

use crate::open_metrics;
use crate::support::*;

async fn metrics(daemon: &mut Daemon) -> String {
    let mut admin = daemon.admin().await;
    let heard = Some(clock::now().boot);
    let (answer, ()) = tokio::join!(
        admin.get_metrics(v1::GetMetricsRequest {}),
        daemon.last_heard_asked(heard)
    );
    answer.unwrap().into_inner().open_metrics
}

#[tokio::test]
async fn the_metrics_are_open_metrics_and_tell_what_was_counted() {
    let mut daemon = Daemon::start();
    daemon.archive.measured(Figures {
        counted: Counted {
            received: 302,
            sent: 7,
            commits: [3, 0, 0, 1, 2, 0, 0, 1],
            ..Counted::default()
        },
        queue: 2,
        free_disk: Some(1 << 30),
        account: Some(AccountFigures {
            outbox_messages: 5,
            ..AccountFigures::default()
        }),
    });
    daemon.hub.status.publish(Status {
        last_code: Some(Code::RC_DISCONN_KICK),
        ..status(ConnectionStatus::KickedOfflineByOtherClient, 1)
    });
    let (_, _bound) = daemon.bind("a").await;
    let text = metrics(&mut daemon).await;
    let families = open_metrics::parse(&text);
    let value = |family: &str| families[family].samples[0].2;
    assert_eq!(value("imd_messages_received"), 302.0);
    assert_eq!(value("imd_messages_sent"), 7.0);
    assert_eq!(value("imd_outbox_messages"), 5.0);
    assert_eq!(value("imd_store_queue_jobs"), 2.0);
    assert_eq!(value("imd_apps_bound"), 1.0);
    assert_eq!(value("imd_build"), 1.0);
    let is = families["imd_status"]
        .samples
        .iter()
        .find(|(_, _, value)| *value == 1.0);
    assert_eq!(is.unwrap().1[0].1, "KICKED_OFFLINE_BY_OTHER_CLIENT");
    assert_eq!(families["imd_status"].samples.len(), ConnectionStatus::ALL.len());
    assert!(
        text.contains("imd_connection_ends_total{code=\"31010\",name=\"RC_DISCONN_KICK\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("imd_commit_duration_seconds_bucket{le=\"+Inf\"} 7\n"),
        "{text}"
    );
    for private in ["org.example.Chat", "alice"] {
        assert!(!text.contains(private), "{private} is nobody's business");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_costs_its_own_figures_alone() {
    let mut daemon = Daemon::start();
    let families = open_metrics::parse(&metrics(&mut daemon).await);
    assert_eq!(families["imd_store_up"].samples[0].2, 0.0);
    assert!(!families.contains_key("imd_outbox_messages"));
    assert!(families.contains_key("imd_server_silence_seconds"));
}

fn changed(time: i64, run: &str, generation: u64) -> StatusNote {
    StatusNote::Changed {
        time,
        run: run.to_owned(),
        generation,
        status: 13,
        reason: "why".to_owned(),
        code: 30_011,
    }
}

#[tokio::test]
async fn the_changes_of_earlier_runs_come_before_those_of_this_one_and_none_comes_twice() {
    let daemon = Daemon::start();
    let started = |time, run: &str| StatusNote::Started {
        time,
        run: run.to_owned(),
        version: "0.0.1".to_owned(),
        pid: 7,
    };
    let stopped = StatusNote::Stopped {
        time: 30,
        run: "earlier".to_owned(),
    };
    // The journal has the first change of this run already.
    daemon.archive.note(vec![
        started(10, "earlier"),
        changed(20, "earlier", 1),
        stopped,
        started(40, "killed"),
        changed(50, "killed", 1),
        started(60, "run"),
        changed(70, "run", 1),
    ]);
    daemon.hub.status.publish(status(ConnectionStatus::Connecting, 1));
    daemon.hub.status.publish(status(ConnectionStatus::Connected, 2));
    let mut admin = daemon.admin().await;
    let since = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
    let request = v1::ListStatusChangesRequest { since };
    let answer = admin.list_status_changes(request).await.unwrap().into_inner();
    let changes: Vec<_> = answer
        .changes
        .iter()
        .map(|change| (change.daemon_run_id.as_str(), change.status_name.as_str()))
        .collect();
    assert_eq!(
        changes,
        [
            ("earlier", "SUSPEND"),
            ("killed", "SUSPEND"),
            ("run", "CONNECTING"),
            ("run", "CONNECTED")
        ]
    );
    assert_eq!(answer.changes[0].last_code_name, "RC_SOCKET_DISCONNECTED");
    let runs: Vec<_> = answer
        .runs
        .iter()
        .map(|run| {
            (
                run.daemon_run_id.as_str(),
                run.start_time.is_some(),
                run.end_time.is_some(),
            )
        })
        .collect();
    assert_eq!(
        runs,
        [
            ("earlier", true, true),
            ("killed", true, false),
            ("run", true, false)
        ]
    );
}

#[tokio::test]
async fn a_time_that_no_clock_shows_is_refused() {
    let daemon = Daemon::start();
    let mut admin = daemon.admin().await;
    let since = Some(prost_types::Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    });
    let answer = admin
        .list_status_changes(v1::ListStatusChangesRequest { since })
        .await;
    assert_eq!(code(answer), Code::BIZ_ERROR_INVALID_PARAMETER);
}

#[tokio::test]
async fn an_app_with_a_subscription_is_listed_with_its_lag() {
    let mut daemon = Daemon::start();
    daemon.archive.open("epoch");
    let (binding, _bound) = daemon.bind("a").await;
    let (_, _other) = daemon.bind("b").await;
    let mut events = daemon.events().await;
    let request = v1::SubscribeRequest {
        start: Some(v1::subscribe_request::Start::Tail(true)),
    };
    let mut stream = events
        .subscribe(bound(&binding, request))
        .await
        .unwrap()
        .into_inner();
    next(&mut stream).await;
    let mut admin = daemon.admin().await;
    let (answer, ()) = tokio::join!(admin.list_apps(v1::ListAppsRequest {}), async {
        daemon.instance_asked(None, ConnectPhase::None).await;
        daemon.instance_asked(None, ConnectPhase::None).await;
    });
    let apps = answer.unwrap().into_inner().apps;
    assert_eq!((apps[0].subscriptions, apps[0].lag), (1, Some(0)));
    assert_eq!((apps[1].subscriptions, apps[1].lag), (0, None));
}
