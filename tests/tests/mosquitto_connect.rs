//! The daemon against a real Mosquitto 2.0.11: logins, verdicts, and a broker or a network that goes away.

use std::time::Duration;

use imd_proto::code::Code;
use imd_tests::daemon::{Daemon, config};
use imd_tests::gate::Gate;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::proxy::Proxy;
use imd_tests::rpc::connect_request;
use imd_tests::token;
use imd_tests::wait::{SOON, eventually, never, timed, when};

/// Long enough for several rounds of the reconnect table.
const OUTAGE: Duration = Duration::from_secs(3);

#[test]
fn the_first_connect_logs_in_and_the_database_opens_before() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    let request = connect_request("alice", &broker.token("alice"));
    let told = daemon.rpc().connect(None, request).unwrap();
    assert_eq!(
        (told.database_opened, told.end),
        (Some(0), Ok("alice".to_owned()))
    );
    let status = daemon.await_status("CONNECTED");
    assert_eq!(
        (status.status, status.app_key.as_str(), status.user_id.as_str()),
        (0, "demo", "alice")
    );
    assert_eq!(broker.logins(), ["desktop:demo:alice"]);
}

#[test]
fn imctl_connects_with_the_user_id_from_the_token() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.home().connect(&broker.token("bob"), &[]).expect_code(0);
    assert_eq!(daemon.await_status("CONNECTED").user_id, "bob");
    assert_eq!(broker.logins(), ["desktop:demo:bob"]);
}

#[test]
fn a_wrong_password_is_31004_at_once() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    let refused = daemon.home().connect("not-the-token", &["--user-id", "alice"]);
    assert!(
        refused
            .expect_code(1)
            .stderr
            .contains("RC_CONN_TOKEN_INCORRECT (31004)"),
        "{refused:?}"
    );
    assert_eq!(daemon.status().status_name, "TOKEN_INCORRECT");
    let tries = broker.connections();
    never(OUTAGE, "a further attempt", || {
        (broker.connections() > tries).then(|| broker.log())
    });
}

#[test]
fn an_expired_token_is_31020() {
    let mut broker = Mosquitto::start();
    broker.change_token("alice", "another one by now");
    let daemon = Daemon::for_server(&broker.url());
    let expired = token::until("alice", -3600);
    let refused = daemon.home().connect(&expired, &[]);
    assert!(
        refused
            .expect_code(1)
            .stderr
            .contains("RC_CONN_TOKEN_EXPIRE (31020)"),
        "{refused:?}"
    );
}

#[test]
fn a_wrong_app_key_is_31002() {
    // An opaque token, for a JWT names its App Key and is refused before the server is asked.
    let broker = Mosquitto::with_users(&[("alice", "opaque".to_owned())]);
    let daemon = Daemon::for_server(&broker.url());
    let refused = daemon
        .home()
        .connect("opaque", &["--app-key", "other", "--user-id", "alice"]);
    assert!(
        refused
            .expect_code(1)
            .stderr
            .contains("RC_CONN_ID_REJECT (31002)"),
        "{refused:?}"
    );
    assert_eq!(daemon.status().status_name, "UNCONNECTED");
}

#[test]
fn a_jwt_of_another_app_key_is_refused_without_asking_the_server() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    let refused = daemon
        .home()
        .connect(&broker.token("alice"), &["--app-key", "other"]);
    assert!(
        refused
            .expect_code(1)
            .stderr
            .contains("RC_CONN_TOKEN_INCORRECT (31004)"),
        "{refused:?}"
    );
    for name in ["other", "demo"] {
        assert!(refused.stderr.contains(name), "both are named: {refused:?}");
    }
    assert_eq!(broker.connections(), 0);
}

#[test]
fn a_stopped_broker_is_waited_for_and_nobody_is_told_an_error() {
    let mut broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &broker.token("alice"));
    broker.stop();
    let status = daemon.await_status("SUSPEND");
    assert!(
        !status.reason.is_empty() && status.next_retry_time.is_some(),
        "{status:?}"
    );
    broker.restart();
    daemon.await_status("CONNECTED");
    assert_eq!(
        daemon.rpc().apps().unwrap(),
        Vec::new(),
        "the app has gone, the connection has come back"
    );
}

#[test]
fn a_killed_broker_is_waited_for() {
    let mut broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &broker.token("alice"));
    // Not three times: three bare ends soon after a login are what a takeover looks like.
    for _ in 0..2 {
        broker.kill9();
        daemon.await_status_that("that is not CONNECTED", |status| status.status != 0);
        broker.restart();
        daemon.await_status("CONNECTED");
    }
}

#[test]
fn a_connect_while_the_broker_is_down_succeeds_when_it_is_up() {
    let mut broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    broker.stop();
    let connect = daemon.home().start_connect(&broker.token("alice"), &[]);
    daemon.await_status("SUSPEND");
    broker.restart();
    connect.finish().expect_code(0);
    assert_eq!(daemon.status().status_name, "CONNECTED");
}

#[test]
fn the_time_limit_ends_a_first_connect_with_34006() {
    let mut broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    broker.stop();
    let (refused, took) = timed(|| {
        daemon
            .home()
            .connect(&broker.token("alice"), &["--time-limit", "2"])
    });
    assert!(
        refused
            .expect_code(4)
            .stderr
            .contains("RC_CONNECT_TIMEOUT (34006)"),
        "{refused:?}"
    );
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_secs(6),
        "{took:?}"
    );
    assert_eq!(daemon.status().status_name, "TIMEOUT");
    broker.restart();
    daemon.connect("alice", &broker.token("alice"));
}

/// This version of Mosquitto closes the older connection without a word, so both daemons would take over
/// from each other for ever.
#[test]
fn two_daemons_with_one_login_stop_fighting() {
    let broker = Mosquitto::start();
    let daemons = [
        Daemon::for_server(&broker.url()),
        Daemon::for_server(&broker.url()),
    ];
    for daemon in &daemons {
        daemon.home().connect(&broker.token("alice"), &[]).expect_code(0);
    }
    let guarded = eventually(SOON, "one of them to step back", || {
        let statuses = daemons.each_ref().map(Daemon::status);
        let guarded = statuses
            .iter()
            .position(|status| status.reason.contains("signed in elsewhere?"));
        guarded.ok_or(Box::new(statuses))
    });
    let [first, second] = &daemons;
    let other = if guarded == 0 { second } else { first };
    other.await_status("CONNECTED");
    let logins = broker.logins().len();
    never(OUTAGE, "a further login", || {
        (broker.logins().len() > logins).then(|| broker.logins())
    });
    assert_eq!(other.status().status_name, "CONNECTED");
}

#[test]
fn a_half_open_link_is_noticed_within_one_and_a_half_keep_alives() {
    const KEEP_ALIVE: Duration = Duration::from_secs(5);
    // A busy machine is no fault of the link.
    const SLACK: Duration = Duration::from_secs(1);
    let broker = Mosquitto::start();
    let network = Proxy::start(broker.address());
    let daemon = Daemon::configured(&config(&network.url(), "keep_alive = 5"));
    daemon.connect("alice", &broker.token("alice"));
    never(KEEP_ALIVE * 2, "a healthy idle link's end", || {
        let status = daemon.status();
        (status.status != 0).then_some(status)
    });
    network.freeze();
    let (_, took) = timed(|| daemon.await_status_that("that is not CONNECTED", |status| status.status != 0));
    assert!(took <= KEEP_ALIVE * 3 / 2 + SLACK, "{took:?}");
    network.thaw();
    daemon.await_status("CONNECTED");
}

#[test]
fn a_cut_network_comes_back_each_time() {
    let broker = Mosquitto::start();
    let network = Proxy::start(broker.address());
    let daemon = Daemon::for_server(&network.url());
    daemon.connect("alice", &broker.token("alice"));
    for _ in 0..3 {
        let taken = network.accepted();
        network.cut();
        eventually(SOON, "the next dial", || {
            when(network.accepted() > taken, network.accepted())
        });
        daemon.await_status("CONNECTED");
    }
    network.refuse();
    network.close();
    daemon.await_status("SUSPEND");
    network.accept();
    daemon.await_status("CONNECTED");
}

#[test]
fn a_server_without_mqtt_5_is_spoken_to_in_3_1_1() {
    let broker = Mosquitto::start();
    let gate = Gate::start(broker.address());
    let daemon = Daemon::for_server(&gate.url());
    daemon.connect("alice", &broker.token("alice"));
    assert_eq!(gate.refused(), 1);
    // Mosquitto's p2 is MQTT 3.1.1.
    assert!(
        broker.log().contains("as desktop:demo:alice (p2, c0,"),
        "{}",
        broker.log()
    );
}

#[test]
fn a_wrong_password_in_3_1_1_is_31004_too() {
    let broker = Mosquitto::start();
    let gate = Gate::start(broker.address());
    let daemon = Daemon::for_server(&gate.url());
    let refused = daemon.home().connect("not-the-token", &["--user-id", "alice"]);
    assert!(
        refused
            .expect_code(1)
            .stderr
            .contains("RC_CONN_TOKEN_INCORRECT (31004)"),
        "{refused:?}"
    );
}

#[test]
fn disconnect_keeps_the_session_and_logout_ends_it() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    let (alice, bob) = (broker.token("alice"), broker.token("bob"));
    daemon.connect("alice", &alice);
    daemon.imctl(&["disconnect"]).expect_code(0);
    assert_eq!(daemon.status().status_name, "SIGN_OUT");
    // Nobody subscribes: 0x10. Somebody does, though away: 0.
    broker
        .publish("bob", &bob, "im/demo/u/alice/bob", "kept")
        .expect_code(0);
    assert!(
        broker.log().contains("Sending PUBACK to ") && !broker.log().contains("rc16"),
        "{}",
        broker.log()
    );
    daemon.connect("alice", &alice);
    daemon.imctl(&["logout"]).expect_code(0);
    broker
        .publish("bob", &bob, "im/demo/u/alice/bob", "for nobody")
        .expect_code(0);
    eventually(SOON, "a PUBACK that says: no subscriber", || {
        when(broker.log().contains("rc16"), broker.log())
    });
}

#[test]
fn a_refused_broker_names_its_code_as_a_loop() {
    let mut broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &broker.token("alice"));
    broker.stop();
    let status = daemon.await_status_that("with the code of a refused connection", |status| {
        status.last_code == Code::CONNECTION_REFUSED.0
    });
    assert_eq!(status.last_code_name, "CONNECTION_REFUSED");
}
