//! The stream on which an app is asked for a token, and the call that brings one.

use imd::link::Command;
use imd_core::io::{InstanceId, Request};
use imd_core::time::UnixTime;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use tonic::Streaming;

use super::support::{Daemon, bound, code, end, next, soon};

type Questions = Streaming<v1::WatchTokenExpiringResponse>;

fn update(token: &str, app_key: &str) -> v1::UpdateTokenRequest {
    v1::UpdateTokenRequest {
        token: token.to_owned(),
        app_key: app_key.to_owned(),
    }
}

/// Opens the stream of a bound app; the link is told.
async fn watch(daemon: &mut Daemon, binding: &str) -> Questions {
    let mut session = daemon.session().await;
    let request = bound(binding, v1::WatchTokenExpiringRequest {});
    let (stream, command) = tokio::join!(session.watch_token_expiring(request), daemon.command());
    assert!(matches!(command, Command::TokenProvider { app: Some(_), .. }));
    stream.unwrap().into_inner()
}

#[tokio::test]
async fn an_app_is_asked_on_its_stream_and_the_end_of_that_is_told_to_the_link() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut questions = watch(&mut daemon, &binding).await;
    let instance = InstanceId("a".into());
    daemon
        .hub
        .token_providers
        .ask(&instance, UnixTime::from_millis(1_900_000_000_500));
    let ends = next(&mut questions).await.expire_time.unwrap();
    assert_eq!((ends.seconds, ends.nanos), (1_900_000_000, 500_000_000));
    drop(questions);
    let Command::TokenProvider { instance, app: None } = soon(daemon.command()).await else {
        panic!("the link is told that the app cannot be asked any longer");
    };
    assert_eq!(&*instance.0, "a");
}

#[tokio::test]
async fn an_app_has_one_such_stream_and_the_newer_one_is_asked() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut older = watch(&mut daemon, &binding).await;
    let mut newer = watch(&mut daemon, &binding).await;
    assert_eq!(end(&mut older).await, Code::IMD_NOT_BOUND);
    daemon
        .hub
        .token_providers
        .ask(&InstanceId("a".into()), UnixTime::from_millis(7));
    assert!(next(&mut newer).await.expire_time.is_some());
    daemon.assert_idle();
}

#[tokio::test]
async fn without_a_binding_nobody_is_asked_and_an_update_names_its_app_key() {
    let mut daemon = Daemon::start();
    let mut session = daemon.session().await;
    assert_eq!(
        code(
            session
                .watch_token_expiring(v1::WatchTokenExpiringRequest {})
                .await
        ),
        Code::IMD_NOT_BOUND
    );
    assert_eq!(
        code(session.update_token(update("t", "")).await),
        Code::RC_CLIENT_NOT_INIT
    );
    for token in [String::new(), "x".repeat(8 * 1024 + 1), "a\nb".to_owned()] {
        assert_eq!(
            code(session.update_token(update(&token, "key")).await),
            Code::INVALID_PARAMETER_TOKEN
        );
    }
    assert_eq!(
        code(session.update_token(update("t", "a/b")).await),
        Code::INVALID_APP_KEY
    );
    daemon.assert_idle();

    let (answer, asked) = tokio::join!(session.update_token(update("t", "key")), daemon.answer(Ok(())));
    assert_eq!(answer.unwrap().into_inner().expire_time, None);
    let Request::UpdateToken(asked) = asked else {
        panic!("not an update");
    };
    assert_eq!(asked.token.reveal(), "t");
    assert!(asked.instance.is_none());
    assert_eq!(asked.app_key.unwrap().as_str(), "key");
}
