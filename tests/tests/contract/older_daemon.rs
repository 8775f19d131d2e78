//! The library as it is, with daemons of other versions.

use imd_client::{
    BlockingClient, Client, Code, ConnectOptions, ConversationKey, EventKind, PageOptions, Start,
};
use imd_tests::APP_KEY;
use imd_tests::daemon::Daemon;
use imd_tests::scripted::Scripted;

use crate::frozen::{frozen, oldest};
use crate::proxy::{Proxy, Version};

fn app(proxy: &Proxy) -> BlockingClient {
    Client::builder(APP_KEY)
        .app_id("org.example.Newer")
        .socket(proxy.socket())
        .build()
        .unwrap()
        .blocking()
}

/// Everything an app does in a day.
fn does_everything(app: &BlockingClient) {
    let user = app
        .connect("opaque", ConnectOptions::new().user_id("alice"))
        .unwrap();
    assert_eq!(user.as_str(), "alice");
    assert!(app.fetch_connection_status().unwrap().is_connected());
    let events = app.subscribe(Start::Tail);
    let started = events.into_iter();
    let sending = app.send_text("bob", "hello");
    let accepted = sending.accepted().unwrap();
    sending.sent().unwrap();
    let mut log = started.map(|event| event.unwrap().kind);
    assert!(log.any(|kind| matches!(kind, EventKind::MessageState(message) if message.uid == accepted.uid)));
    let bob = ConversationKey::private("bob");
    let page = app.list_messages(&bob, PageOptions::newest()).unwrap();
    assert_eq!(page.messages.len(), 1);
    assert_eq!(app.conversations(10, None).unwrap().conversations.len(), 1);
    app.version().unwrap();
    app.apps().unwrap();
}

#[test]
fn the_library_does_everything_with_a_daemon_of_every_contract_still_spoken() {
    for contract in frozen().into_values() {
        let broker = Scripted::start();
        let daemon = Daemon::for_server(&broker.url());
        let version = Version::Older {
            contract,
            without: &[],
        };
        let proxy = Proxy::before(&daemon.home().socket(), version);
        does_everything(&app(&proxy));
    }
}

#[test]
fn a_method_the_older_daemon_does_not_have_is_version_skew_and_the_rest_goes_on() {
    let broker = Scripted::start();
    let daemon = Daemon::for_server(&broker.url());
    let version = Version::Older {
        contract: oldest(),
        without: &[
            "/imd.v1.MessageService/ListOutbox",
            "/imd.v1.AdminService/Diagnose",
        ],
    };
    let proxy = Proxy::before(&daemon.home().socket(), version);
    let app = app(&proxy);
    let refused = app.list_outbox(10, None).unwrap_err();
    assert_eq!(refused.code(), Code::IMD_VERSION_SKEW);
    assert!(refused.text().contains("Upgrade imd"), "{refused}");
    assert_eq!(app.diagnose(false).unwrap_err().code(), Code::IMD_VERSION_SKEW);
    does_everything(&app);
}

#[test]
fn the_library_does_everything_with_a_daemon_that_says_more_than_it_knows() {
    let broker = Scripted::start();
    let daemon = Daemon::for_server(&broker.url());
    let proxy = Proxy::before(&daemon.home().socket(), Version::Later { contract: oldest() });
    does_everything(&app(&proxy));
    assert!(proxy.changed() > 10, "{}", proxy.changed());
}
