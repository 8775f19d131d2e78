//! The library that apps link, against the daemon's own services.

use std::pin::pin;
use std::task::{Context, Waker};

use imd_client::{Client, Code, ConnectOptions, DaemonLoss, Sent};
use imd_core::account::UserId;
use imd_core::io::{Callback, Opened, Request};
use tokio_stream::StreamExt as _;

use crate::support::*;

/// Builds a client while the link takes its Init.
async fn client(daemon: &mut Daemon) -> Client {
    let building = Client::builder("demo")
        .app_id("org.example.Chat")
        .socket(daemon.socket())
        .build_async();
    let (client, asked) = tokio::join!(building, daemon.answer(Ok(())));
    assert!(matches!(asked, Request::Init { .. }));
    client.unwrap()
}

#[tokio::test]
async fn a_connect_goes_all_the_way_and_the_last_drop_unbinds() {
    let mut daemon = Daemon::start();
    let client = client(&mut daemon).await;
    let connecting = client.connect("secret", ConnectOptions::new());
    let asked = daemon.connect_asked().await.take();
    asked
        .call_back(Callback::DatabaseOpened(Ok(Opened::default())))
        .await;
    assert!(soon(connecting.database_opened()).await.unwrap().is_open());
    let user_id = UserId::parse("alice").unwrap();
    asked.call_back(Callback::Success(user_id)).await;
    assert_eq!(soon(connecting).await.unwrap().as_str(), "alice");
    drop(client);
    daemon.unbound().await;
}

#[tokio::test]
async fn a_refused_connect_keeps_its_code() {
    let mut daemon = Daemon::start();
    let client = client(&mut daemon).await;
    let connecting = client.connect("secret", ConnectOptions::new());
    daemon.connect_asked().await.refuse(Code::RC_CONNECTION_EXIST);
    let error = soon(connecting).await.unwrap_err();
    assert_eq!(
        (error.code(), error.sent()),
        (Code::RC_CONNECTION_EXIST, Sent::Yes)
    );
}

#[tokio::test]
async fn an_orderly_stop_answers_its_caller_is_told_from_a_death_and_ends_no_connect() {
    let mut daemon = Daemon::start();
    let client = client(&mut daemon).await;
    let connecting = client.connect("secret", ConnectOptions::new());
    let _asked = daemon.connect_asked().await.take();
    soon(client.shutdown("an upgrade")).await.unwrap();
    daemon.served().await.unwrap();
    let mut changes = client.connection_status_changes();
    while changes.next().await.unwrap().loss.is_none() {}
    let loss = client.connection_status().loss.clone();
    assert!(
        matches!(&loss, Some(DaemonLoss::Stopped { reason }) if reason.ends_with("asked imd to stop: an upgrade")),
        "{loss:?}"
    );
    let mut connecting = pin!(connecting);
    let mut context = Context::from_waker(Waker::noop());
    assert!(connecting.as_mut().poll(&mut context).is_pending());
    let error = soon(client.disconnect()).await.unwrap_err();
    assert_eq!((error.code(), error.sent()), (Code::IPC_DISCONNECT, Sent::No));
}

#[tokio::test]
async fn tools_ask_without_an_app_key() {
    let mut daemon = Daemon::start();
    let client = Client::observer()
        .socket(daemon.socket())
        .build_async()
        .await
        .unwrap();
    assert_eq!(soon(client.version()).await.unwrap().version, "0.0.0-test");
    let findings = soon(client.diagnose(false)).await.unwrap();
    assert!(findings.iter().any(|finding| finding.check == "server"));
    soon(client.status_changes()).await.unwrap();
    let (ended, asked) = tokio::join!(client.disconnect(), daemon.answer(Ok(())));
    ended.unwrap();
    assert!(matches!(asked, Request::Disconnect { .. }));
}
