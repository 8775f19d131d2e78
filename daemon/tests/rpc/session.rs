use imd_core::ConnectPhase;
use imd_core::account::UserId;
use imd_core::io::{Callback, ConnectionStatus, Opened, Refusal, Request};
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::bind_response::Event;
use imd_proto::imd::v1::connect_response::Event as Called;

use crate::support::*;

fn success(user: &str) -> Callback {
    Callback::Success(UserId::parse(user).unwrap())
}

fn opened() -> Callback {
    Callback::DatabaseOpened(Ok(Opened::default()))
}

#[tokio::test]
async fn a_bound_app_is_greeted_with_the_status_and_told_each_change_and_the_goodbye() {
    let daemon = Daemon::start();
    daemon.hub.status.publish(status(ConnectionStatus::Connecting, 1));
    let mut session = daemon.session().await;
    let mut events = session.bind(hello("a")).await.unwrap().into_inner();

    let Event::Hello(hello) = told(&mut events).await else {
        panic!("the first word is no hello");
    };
    assert_eq!(hello.protocol, 1);
    assert_eq!(hello.daemon_version, "0.0.0-test");
    assert_eq!(hello.daemon_run_id, "run");
    assert_eq!(hello.status.unwrap().status_name, "CONNECTING");
    assert_eq!(hello.binding_id.len(), 36);

    daemon.hub.status.publish(status(ConnectionStatus::Connected, 2));
    let Event::Status(change) = told(&mut events).await else {
        panic!("not a status");
    };
    assert_eq!((change.status, change.generation), (0, 2));

    daemon.stop.ask("the test ends");
    let Event::Goodbye(goodbye) = told(&mut events).await else {
        panic!("not a goodbye");
    };
    assert_eq!(goodbye.reason, "the test ends");
    assert!(soon(events.message()).await.unwrap().is_none());
    daemon.served().await.unwrap();
}

#[tokio::test]
async fn an_app_that_does_not_read_finds_the_newest_status() {
    let daemon = Daemon::start();
    let (_, mut events) = daemon.bind("a").await;
    for generation in 1..=10_000 {
        daemon
            .hub
            .status
            .publish(status(ConnectionStatus::Suspend, generation));
        if generation % 100 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut seen = 0;
    let mut newest = 0;
    while newest < 10_000 {
        let Event::Status(change) = told(&mut events).await else {
            panic!("not a status");
        };
        assert!(change.generation > newest);
        newest = change.generation;
        seen += 1;
    }
    assert!(seen < 1000, "{seen} of 10,000 were queued for it");
}

#[tokio::test]
async fn an_app_that_ends_its_stream_is_unbound() {
    let mut daemon = Daemon::start();
    let (binding, events) = daemon.bind("a").await;
    drop(events);
    assert_eq!(&*daemon.unbound().await.0, "a");
    assert!(daemon.hub.apps.list().is_empty());
    let mut session = daemon.session().await;
    let init = v1::InitRequest {
        app_key: "key".to_owned(),
    };
    assert_eq!(
        code(session.init(bound(&binding, init)).await),
        Code::IMD_NOT_BOUND
    );
}

#[tokio::test]
async fn the_newer_binding_of_an_instance_ends_the_older_one_and_stays_bound() {
    let mut daemon = Daemon::start();
    let (older, mut older_events) = daemon.bind("a").await;
    let (newer, newer_events) = daemon.bind("a").await;
    assert_eq!(end(&mut older_events).await, Code::IMD_NOT_BOUND);
    assert!(daemon.hub.apps.get(&older).is_none());
    assert!(daemon.hub.apps.get(&newer).is_some());
    daemon.assert_idle();
    drop(newer_events);
    assert_eq!(&*daemon.unbound().await.0, "a");
}

#[tokio::test]
async fn a_hello_that_cannot_be_read_is_refused() {
    let mut daemon = Daemon::start();
    let mut session = daemon.session().await;
    let skewed = v1::BindRequest {
        protocol_min: 7,
        protocol_max: 9,
        ..hello("a")
    };
    let refused = session.bind(skewed).await.unwrap_err();
    assert_eq!(code::<()>(Err(refused.clone())), Code::IMD_VERSION_SKEW);
    assert!(refused.message().contains("7 to 9") && refused.message().contains("1 to 1"));

    for instance in ["", "a/b", "a b", "a\0", "..", &"x".repeat(65)] {
        assert_eq!(
            code(session.bind(hello(instance)).await),
            Code::BIZ_ERROR_INVALID_PARAMETER,
            "{instance:?}"
        );
    }
    for app_id in ["", "a..b", "a/b", "a\0", &"x".repeat(256)] {
        let request = v1::BindRequest {
            app_id: app_id.to_owned(),
            ..hello("a")
        };
        assert_eq!(
            code(session.bind(request).await),
            Code::BIZ_ERROR_INVALID_PARAMETER,
            "{app_id:?}"
        );
    }
    assert!(daemon.hub.apps.list().is_empty());
    daemon.assert_idle();
}

#[tokio::test]
async fn one_app_too_many_of_one_process_is_refused() {
    let daemon = Daemon::start();
    let mut bound_apps = Vec::new();
    let mut session = daemon.session().await;
    for number in 0..64 {
        bound_apps.push(session.bind(hello(&number.to_string())).await.unwrap());
    }
    assert_eq!(code(session.bind(hello("more")).await), Code::IMD_TOO_MANY);
    bound_apps.pop();
    until(|| daemon.hub.apps.list().len() < 64).await;
    assert!(session.bind(hello("more")).await.is_ok());
}

#[tokio::test]
async fn init_sets_the_app_key_of_a_bound_app_alone() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    let init = |key: &str| v1::InitRequest {
        app_key: key.to_owned(),
    };
    assert_eq!(code(session.init(init("key")).await), Code::IMD_NOT_BOUND);
    assert_eq!(
        code(session.init(bound("another", init("key"))).await),
        Code::IMD_NOT_BOUND
    );
    for bad in ["", "a/b", "a+b", "#", "a\0b", "..", &"x".repeat(65)] {
        assert_eq!(
            code(session.init(bound(&binding, init(bad))).await),
            Code::INVALID_APP_KEY,
            "{bad:?}"
        );
    }
    daemon.assert_idle();

    let (answer, asked) = tokio::join!(session.init(bound(&binding, init("key"))), daemon.answer(Ok(())));
    answer.unwrap();
    let Request::Init { instance, app_key } = asked else {
        panic!("not an init");
    };
    assert_eq!((&*instance.0, app_key.as_str()), ("a", "key"));

    let refusal = Refusal {
        code: Code::RC_CONNECTION_EXIST,
        text: "it is connected".to_owned(),
    };
    let (answer, _) = tokio::join!(
        session.init(bound(&binding, init("other"))),
        daemon.answer(Err(refusal))
    );
    let refused = answer.unwrap_err();
    assert_eq!(refused.message(), "it is connected");
    assert_eq!(code::<()>(Err(refused)), Code::RC_CONNECTION_EXIST);
}

#[tokio::test]
async fn a_bound_app_s_connect_hears_its_callbacks_and_ends_with_the_terminal_one() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    let request = v1::ConnectRequest {
        time_limit_seconds: 9,
        user_id: "alice".to_owned(),
        connect_id: "c-1".to_owned(),
        database_opened_seen: true,
        resumes: true,
        ..connect("secret")
    };
    let (answer, asked) = tokio::join!(session.connect(bound(&binding, request)), async {
        daemon.connect_asked().await.take()
    });
    let request = &asked.request;
    assert_eq!(&*request.key.instance.0, "a");
    assert_eq!(&*request.key.connect.0, "c-1");
    assert_eq!(&*request.app.app_id, "org.example.Chat");
    assert_eq!(request.app.pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!(request.token.reveal(), "secret");
    assert_eq!(request.user_id.as_ref().unwrap().as_str(), "alice");
    assert_eq!(request.time_limit.unwrap().as_secs(), 9);
    assert!(request.app_key.is_none() && request.database_opened_seen && request.resumes);

    let mut calls = answer.unwrap().into_inner();
    asked.call_back(opened()).await;
    assert!(matches!(next(&mut calls).await.event, Some(Called::DatabaseOpened(opened)) if opened.code == 0));
    asked.call_back(success("alice")).await;
    let Some(Called::Success(done)) = next(&mut calls).await.event else {
        panic!("not a success");
    };
    assert_eq!(done.user_id, "alice");
    assert!(soon(calls.message()).await.unwrap().is_none());
    daemon.assert_idle();
}

#[tokio::test]
async fn empty_arguments_of_a_connect_mean_that_it_has_none() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    for limit in [0, -1, i32::MIN] {
        let request = v1::ConnectRequest {
            time_limit_seconds: limit,
            ..connect("secret")
        };
        let (answer, asked) = tokio::join!(session.connect(bound(&binding, request)), async {
            daemon.connect_asked().await.take()
        });
        assert!(asked.request.time_limit.is_none());
        assert!(asked.request.user_id.is_none());
        assert_eq!(asked.request.key.connect.0.len(), 36, "the daemon makes one");
        drop(answer.unwrap());
        soon(asked.callbacks.closed()).await;
    }
}

#[tokio::test]
async fn a_connect_without_a_binding_is_bound_for_as_long_as_it_waits() {
    let mut daemon = Daemon::start();
    let mut session = daemon.session().await;
    let request = v1::ConnectRequest {
        app_key: "key".to_owned(),
        ..connect("secret")
    };
    let (answer, asked) = tokio::join!(session.connect(request), async {
        daemon.connect_asked().await.take()
    });
    let mut calls = answer.unwrap().into_inner();
    assert_eq!(asked.request.app_key.as_ref().unwrap().as_str(), "key");
    let apps = daemon.hub.apps.list();
    assert_eq!(apps.len(), 1);
    assert_eq!(apps[0].instance, asked.request.key.instance);
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(&*asked.request.app.app_id, name.trim());

    asked
        .call_back(Callback::Error(Refusal {
            code: Code::RC_CONN_TOKEN_INCORRECT,
            text: "no".to_owned(),
        }))
        .await;
    let Some(Called::Error(error)) = next(&mut calls).await.event else {
        panic!("not an error");
    };
    assert_eq!(error.code, 31004);
    assert_eq!(daemon.unbound().await, asked.request.key.instance);
    assert!(daemon.hub.apps.list().is_empty());
}

#[tokio::test]
async fn a_refused_connect_without_a_binding_leaves_nothing_bound() {
    let mut daemon = Daemon::start();
    let mut session = daemon.session().await;
    let request = v1::ConnectRequest {
        app_key: "key".to_owned(),
        ..connect("secret")
    };
    let (answer, ()) = tokio::join!(session.connect(request), async {
        daemon.connect_asked().await.refuse(Code::IMD_NO_SERVER);
    });
    assert_eq!(code(answer), Code::IMD_NO_SERVER);
    daemon.unbound().await;
    assert!(daemon.hub.apps.list().is_empty());
}

#[tokio::test]
async fn a_connect_without_init_or_with_a_dead_binding_is_refused() {
    let mut daemon = Daemon::start();
    let mut session = daemon.session().await;
    assert_eq!(
        code(session.connect(connect("secret")).await),
        Code::RC_CLIENT_NOT_INIT
    );
    let dead = bound("0b5e0d3a", connect("secret"));
    assert_eq!(code(session.connect(dead).await), Code::IMD_NOT_BOUND);
    let dead = bound("0b5e0d3a", v1::DisconnectRequest {});
    assert_eq!(code(session.disconnect(dead).await), Code::IMD_NOT_BOUND);
    let dead = bound("0b5e0d3a", v1::LogoutRequest {});
    assert_eq!(code(session.logout(dead).await), Code::IMD_NOT_BOUND);
    daemon.assert_idle();
}

#[tokio::test]
async fn bad_arguments_of_a_connect_are_named_and_harm_nothing() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    let long = "x".repeat(65);
    let mut cases = Vec::new();
    for token in ["".to_owned(), "two\nlines".to_owned(), "s3cret".repeat(20_000)] {
        cases.push((connect(&token), Code::INVALID_PARAMETER_TOKEN));
    }
    for bad in ["a/b", "+", "#", "a\0b", ".", "..", &long] {
        let by_user = v1::ConnectRequest {
            user_id: bad.to_owned(),
            ..connect("secret")
        };
        cases.push((by_user, Code::INVALID_PARAMETER_USER_ID));
        let by_connect = v1::ConnectRequest {
            connect_id: bad.to_owned(),
            ..connect("secret")
        };
        cases.push((by_connect, Code::BIZ_ERROR_INVALID_PARAMETER));
        let by_app = v1::ConnectRequest {
            app_key: bad.to_owned(),
            ..connect("secret")
        };
        cases.push((by_app, Code::INVALID_APP_KEY));
    }
    for (request, expected) in cases {
        for request in [tonic::Request::new(request.clone()), bound(&binding, request)] {
            let shown = format!("{:?}", request.get_ref());
            let is_bound = request.metadata().contains_key(imd_proto::BINDING_METADATA);
            let needs_key = !is_bound && request.get_ref().app_key.is_empty();
            let refused = session.connect(request).await.unwrap_err();
            assert!(!refused.message().contains("s3cret"));
            let expected = if needs_key {
                Code::RC_CLIENT_NOT_INIT
            } else {
                expected
            };
            assert_eq!(code::<()>(Err(refused)), expected, "{shown}");
        }
    }
    assert_eq!(daemon.hub.apps.list().len(), 1);
    daemon.assert_idle();
    daemon.assert_serves().await;
}

#[tokio::test]
async fn a_token_of_a_megabyte_is_too_large_a_request() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    let refused = session
        .connect(bound(&binding, connect(&"s3cret".repeat(175_000))))
        .await;
    let refused = refused.unwrap_err();
    assert!(!refused.message().contains("s3cret"));
    assert_eq!(code::<()>(Err(refused)), Code::IMD_REQUEST_TOO_LARGE);
    // The same connection goes on.
    assert!(session.get_status(v1::GetStatusRequest {}).await.is_ok());
    daemon.assert_idle();
}

#[tokio::test]
async fn a_connect_whose_stream_is_dropped_stops_waiting_and_nothing_else() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    let (answer, asked) = tokio::join!(session.connect(bound(&binding, connect("secret"))), async {
        daemon.connect_asked().await.take()
    });
    drop(answer.unwrap());
    soon(asked.callbacks.closed()).await;
    daemon.assert_idle();
}

#[tokio::test]
async fn a_connect_sent_again_is_called_back_on_the_newer_stream() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    let (answer, asked) = tokio::join!(session.connect(bound(&binding, connect("secret"))), async {
        daemon.connect_asked().await.take()
    });
    let mut older = answer.unwrap().into_inner();
    // The link forgets an older stream's channel when the same connect comes again.
    drop(asked);
    let (ended, _) = tokio::join!(
        end(&mut older),
        daemon.instance_asked(None, ConnectPhase::Pending)
    );
    assert_eq!(ended, Code::RC_CONNECTION_EXIST);
}

#[tokio::test]
async fn without_the_link_a_call_and_a_waiting_connect_are_told_that_the_daemon_stops() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;
    let (answer, asked) = tokio::join!(session.connect(bound(&binding, connect("secret"))), async {
        daemon.connect_asked().await.take()
    });
    let mut calls = answer.unwrap().into_inner();
    daemon.end_link();
    drop(asked);
    assert_eq!(end(&mut calls).await, Code::IMD_STOPPING);
    assert_eq!(
        code(session.disconnect(v1::DisconnectRequest {}).await),
        Code::IMD_STOPPING
    );
    daemon.assert_serves().await;
}

#[tokio::test]
async fn a_link_that_does_not_answer_is_told_from_a_daemon_that_is_gone() {
    let mut daemon = Daemon::start();
    let mut session = daemon.session().await;
    let (answer, _command) = tokio::join!(session.disconnect(v1::DisconnectRequest {}), daemon.command());
    assert_eq!(code(answer), Code::IMD_DEADLINE_EXCEEDED);
}

#[tokio::test]
async fn disconnect_and_logout_name_who_asked() {
    let mut daemon = Daemon::start();
    let (binding, _events) = daemon.bind("a").await;
    let mut session = daemon.session().await;

    let disconnect = bound(&binding, v1::DisconnectRequest {});
    let (answer, asked) = tokio::join!(session.disconnect(disconnect), daemon.answer(Ok(())));
    answer.unwrap();
    let Request::Disconnect { by } = asked else {
        panic!("not a disconnect");
    };
    assert_eq!(
        by.to_string(),
        format!("org.example.Chat (pid {})", std::process::id())
    );

    let (answer, asked) = tokio::join!(session.logout(v1::LogoutRequest {}), daemon.answer(Ok(())));
    answer.unwrap();
    let Request::Logout { by } = asked else {
        panic!("not a logout");
    };
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(
        by.to_string(),
        format!("{} (pid {})", name.trim(), std::process::id())
    );
}

#[tokio::test]
async fn whoever_watches_the_status_gets_it_first_and_then_every_change() {
    let daemon = Daemon::start();
    let mut session = daemon.session().await;
    let mut statuses = session
        .watch_status(v1::WatchStatusRequest {})
        .await
        .unwrap()
        .into_inner();
    let first = next(&mut statuses).await.status.unwrap();
    assert_eq!((first.status, first.generation), (2, 0));
    daemon.hub.status.publish(status(ConnectionStatus::Connecting, 1));
    assert_eq!(next(&mut statuses).await.status.unwrap().generation, 1);
    daemon.stop.ask("the test ends");
    assert_eq!(end(&mut statuses).await, Code::IMD_STOPPING);
}
