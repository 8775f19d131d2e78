use std::sync::{Arc, Mutex};

use imd_core::ConnectPhase;
use imd_core::io::ConnectionStatus;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::bind_response::Event;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1 as reflection, v1alpha as reflection_alpha};

use crate::support::*;

const SERVICES: [&str; 9] = [
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
    "imd.v1.AdminService",
    "imd.v1.ConversationService",
    "imd.v1.EventService",
    "imd.v1.GroupService",
    "imd.v1.MessageService",
    "imd.v1.SessionService",
];

#[tokio::test]
async fn the_daemon_says_what_it_is() {
    let daemon = Daemon::start();
    let mut admin = daemon.admin().await;
    let version = admin
        .get_version(v1::GetVersionRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(version.version, "0.0.0-test");
    assert_eq!((version.protocol_min, version.protocol_max), (1, 1));
    assert_eq!(version.pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!(version.instance, "imd");
    assert!(version.start_time.unwrap().seconds > 0);
}

#[tokio::test]
async fn shutdown_says_goodbye_to_all_and_ends_every_stream() {
    let mut daemon = Daemon::start();
    let (binding, mut events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    let mut statuses = session
        .watch_status(v1::WatchStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    next(&mut statuses).await;
    let (answer, _asked) = tokio::join!(session.connect(bound(&binding, connect("secret"))), async {
        daemon.connect_asked().await.take()
    });
    let mut calls = answer.unwrap().into_inner();
    let mut health = HealthClient::new(daemon.channel().await);
    let mut healths = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    next(&mut healths).await;

    let mut admin = daemon.admin().await;
    let request = v1::ShutdownRequest {
        reason: "an upgrade".to_owned(),
    };
    admin.shutdown(request).await.unwrap();
    let Event::Goodbye(goodbye) = told(&mut events).await else {
        panic!("not a goodbye");
    };
    let by = format!("(pid {}) asked imd to stop: an upgrade", std::process::id());
    assert!(goodbye.reason.ends_with(&by), "{}", goodbye.reason);
    assert!(soon(events.message()).await.unwrap().is_none());
    assert_eq!(end(&mut statuses).await, Code::IMD_STOPPING);
    assert_eq!(end(&mut calls).await, Code::IMD_STOPPING);
    assert!(soon(healths.message()).await.unwrap().is_none());
    daemon.served().await.unwrap();
}

#[tokio::test]
async fn the_bound_apps_are_listed_with_their_connects() {
    let mut daemon = Daemon::start();
    let (binding, _first) = daemon.bind("a").await;
    let (_, _second) = daemon.bind("b").await;
    let mut admin = daemon.admin().await;
    let (answer, (first, second)) = tokio::join!(admin.list_apps(v1::ListAppsRequest {}), async {
        let first = daemon.instance_asked(Some("key"), ConnectPhase::Succeeded).await;
        let second = daemon.instance_asked(None, ConnectPhase::None).await;
        (first, second)
    });
    let apps = answer.unwrap().into_inner().apps;
    assert_eq!(apps.len(), 2);
    assert_eq!((&*first.0, &*second.0), ("a", "b"));
    assert_eq!(apps[0].app_id, "org.example.Chat");
    assert_eq!(apps[0].app_version, "1.2.3");
    assert_eq!(apps[0].app_key, "key");
    assert_eq!(apps[0].connect_phase(), v1::ConnectPhase::Succeeded);
    assert_eq!(apps[1].app_key, "");
    assert_eq!(apps[1].connect_phase(), v1::ConnectPhase::None);
    assert!(
        !format!("{apps:?}").contains(&binding),
        "a binding's id is its app's secret"
    );
}

#[tokio::test]
async fn the_status_changes_are_listed_oldest_first() {
    let daemon = Daemon::start();
    daemon.hub.status.publish(status(ConnectionStatus::Connecting, 1));
    daemon.hub.status.publish(status(ConnectionStatus::Connected, 2));
    let mut admin = daemon.admin().await;
    let changes = admin
        .list_status_changes(v1::ListStatusChangesRequest::default())
        .await
        .unwrap()
        .into_inner()
        .changes;
    let names: Vec<_> = changes.iter().map(|change| change.status_name.as_str()).collect();
    assert_eq!(names, ["CONNECTING", "CONNECTED"]);
}

#[tokio::test]
async fn diagnose_tells_the_socket_s_findings_and_the_other_rooms() {
    let daemon = Daemon::start();
    let (_, _events) = daemon.bind("a").await;
    let mut admin = daemon.admin().await;
    let request = v1::DiagnoseRequest { probe_broker: false };
    let findings = admin.diagnose(request).await.unwrap().into_inner().findings;
    let checks: Vec<_> = findings.iter().map(|found| found.check.as_str()).collect();
    assert_eq!(checks, ["apps", "status", "server"]);
    assert!(
        findings[0].text.starts_with("1 of at most 256 apps"),
        "{}",
        findings[0].text
    );
    assert_eq!(findings[1].verdict(), v1::Verdict::Ok);
    assert_eq!(findings[2].verdict(), v1::Verdict::Failed);
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_panic_ends_its_own_call_and_is_logged_as_a_fault_of_imd() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    imd::rpc::log_panics();

    let daemon = Daemon::start();
    let mut admin = daemon.admin().await;
    let request = v1::DiagnoseRequest { probe_broker: true };
    assert_eq!(code(admin.diagnose(request).await), Code::IMD_INTERNAL);
    assert!(
        admin.get_version(v1::GetVersionRequest {}).await.is_ok(),
        "the same connection goes on"
    );
    daemon.assert_serves().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = log.lines().find(|line| line.contains("panic")).unwrap();
    assert!(
        line.contains("ERROR") && line.contains("the check broke down"),
        "{line}"
    );
}

#[tokio::test]
async fn health_is_serving_for_the_daemon_and_each_service() {
    let daemon = Daemon::start();
    let mut health = HealthClient::new(daemon.channel().await);
    let own = SERVICES.into_iter().filter(|service| service.starts_with("imd."));
    for service in own.chain([""]) {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(
            answer.status(),
            tonic_health::pb::health_check_response::ServingStatus::Serving
        );
    }
}

#[tokio::test]
async fn reflection_lists_the_services_in_both_of_its_versions() {
    let daemon = Daemon::start();

    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(daemon.channel().await);
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            reflection::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let Some(reflection::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        next(&mut answers).await.message_response
    else {
        panic!("not a list");
    };
    assert_services(list.service.into_iter().map(|service| service.name));

    let mut client =
        reflection_alpha::server_reflection_client::ServerReflectionClient::new(daemon.channel().await);
    let request = reflection_alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            reflection_alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let Some(reflection_alpha::server_reflection_response::MessageResponse::ListServicesResponse(list)) =
        next(&mut answers).await.message_response
    else {
        panic!("not a list");
    };
    assert_services(list.service.into_iter().map(|service| service.name));
}

#[tokio::test]
async fn reflection_knows_the_form_of_an_error_s_details() {
    let daemon = Daemon::start();
    let mut client =
        reflection::server_reflection_client::ServerReflectionClient::new(daemon.channel().await);
    let symbol = "google.rpc.ErrorInfo".to_owned();
    let request = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            reflection::server_reflection_request::MessageRequest::FileContainingSymbol(symbol),
        ),
    };
    let answers = client.server_reflection_info(tokio_stream::once(request)).await;
    let answer = next(&mut answers.unwrap().into_inner()).await;
    assert!(matches!(
        answer.message_response,
        Some(reflection::server_reflection_response::MessageResponse::FileDescriptorResponse(_))
    ));
}

#[track_caller]
fn assert_services(listed: impl Iterator<Item = String>) {
    let mut listed: Vec<_> = listed.collect();
    listed.sort_unstable();
    for service in SERVICES {
        // Each version of the reflection service lists itself, and need not list the other.
        let other = service.starts_with("grpc.reflection");
        assert!(
            other || listed.iter().any(|name| name == service),
            "{service} of {listed:?}"
        );
    }
}
