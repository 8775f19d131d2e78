//! One connection for all apps.

use imd_proto::code::Code;
use imd_tests::APP_KEY;
use imd_tests::daemon::Daemon;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::process::Running;
use imd_tests::rpc::connect_request;

#[test]
fn twenty_processes_that_connect_at_once_share_one_connection() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    let token = broker.token("alice");
    let apps: [Running; 20] = std::array::from_fn(|_| daemon.home().start_connect(&token, &[]));
    for app in apps {
        app.finish().expect_code(0);
    }
    assert_eq!(daemon.status().status_name, "CONNECTED");
    assert_eq!(broker.logins(), ["desktop:demo:alice"]);
    assert_eq!(broker.connections(), 1);
}

#[test]
fn a_second_connect_of_one_app_is_34001_and_another_app_joins() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    let request = || connect_request("alice", &broker.token("alice"));
    let rpc = daemon.rpc();
    let app = rpc.bind("org.example.First").unwrap();
    rpc.init(&app, APP_KEY).unwrap();
    let told = rpc.connect(Some(&app), request()).unwrap();
    assert_eq!(
        (told.database_opened, told.end),
        (Some(0), Ok("alice".to_owned()))
    );

    let refused = rpc.connect(Some(&app), request()).unwrap_err();
    assert_eq!(refused.code, Code::RC_CONNECTION_EXIST, "{refused:?}");

    let joiner = rpc.bind("org.example.Second").unwrap();
    rpc.init(&joiner, APP_KEY).unwrap();
    let told = rpc.connect(Some(&joiner), request()).unwrap();
    assert_eq!(
        (told.database_opened, told.end),
        (Some(0), Ok("alice".to_owned()))
    );
    assert_eq!(broker.logins().len(), 1);

    let mut apps: Vec<_> = rpc.apps().unwrap().into_iter().map(|app| app.app_id).collect();
    apps.sort();
    assert_eq!(apps, ["org.example.First", "org.example.Second"]);
}

#[test]
fn connect_before_init_is_33001() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    let rpc = daemon.rpc();
    let app = rpc.bind("org.example.Hasty").unwrap();
    let refused = rpc
        .connect(Some(&app), connect_request("alice", &broker.token("alice")))
        .unwrap_err();
    assert_eq!(refused.code, Code::RC_CLIENT_NOT_INIT, "{refused:?}");
    assert_eq!(broker.connections(), 0);
}

#[test]
fn another_account_is_34001_naming_the_one_that_holds_the_connection() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", &broker.token("alice"));
    let refused = daemon
        .rpc()
        .connect(None, connect_request("bob", &broker.token("bob")))
        .unwrap_err();
    assert_eq!(refused.code, Code::RC_CONNECTION_EXIST, "{refused:?}");
    assert!(refused.text.contains("alice"), "{refused:?}");
    assert_eq!(daemon.status().status_name, "CONNECTED");
    assert_eq!(broker.logins(), ["desktop:demo:alice"]);
}

#[test]
fn closing_every_app_leaves_the_connection_and_a_disconnect_ends_it_for_all() {
    let broker = Mosquitto::start();
    let daemon = Daemon::for_server(&broker.url());
    let token = broker.token("alice");
    let rpc = daemon.rpc();
    let app = rpc.bind("org.example.Chat").unwrap();
    rpc.init(&app, APP_KEY).unwrap();
    rpc.connect(Some(&app), connect_request("alice", &token))
        .unwrap()
        .end
        .unwrap();
    drop((app, rpc));
    assert_eq!(daemon.status().status_name, "CONNECTED");

    let rpc = daemon.rpc();
    let mut watcher = rpc.bind("org.example.Watcher").unwrap();
    daemon.imctl(&["disconnect"]).expect_code(0);
    let status = loop {
        match rpc.next(&mut watcher).unwrap() {
            Some(imd_proto::imd::v1::bind_response::Event::Status(status)) if status.status == 12 => {
                break status;
            }
            Some(_) => {}
            None => panic!("the Bind stream ended without SIGN_OUT"),
        }
    };
    assert!(
        status.reason.contains("imctl") && status.reason.contains("pid "),
        "{status:?}"
    );
}
