//! What a client's own thread is left with.

use tokio_stream::StreamExt as _;

use super::*;
use crate::channel::KEEP_ALIVE;
use crate::client::Client;
use crate::connect::ConnectOptions;
use crate::driver::Driver;
use crate::events::Start;

#[path = "../../tests/fake/mod.rs"]
mod fake;

use fake::{FakeDaemon, wait};

#[test]
fn a_hundred_daemons_leave_no_task_behind() {
    let mut daemon = FakeDaemon::start();
    let identity = Arc::new(Identity {
        socket: daemon.socket(),
        app_id: "org.example.Test".to_owned(),
        app_version: String::new(),
        instance_id: "one".to_owned(),
        app_key: Some("demo".to_owned()),
        keep_alive: KEEP_ALIVE,
    });
    let starting = Driver::start(Supervisor::bind(Arc::clone(&identity)));
    let (driver, shared) = pollster::block_on(starting).unwrap();
    let client = Client::new(identity, Arc::clone(&driver), shared);
    wait(client.connect("token", ConnectOptions::new())).unwrap();
    let mut events = client.subscribe(Start::Tail);
    wait(events.next()).unwrap().unwrap();
    wait(client.send_text("bob", "first").accepted()).unwrap();
    wait(events.next()).unwrap().unwrap();
    let before = driver.alive_tasks();
    for kill in 1..=100 {
        let sending = client.send_text("bob", kill.to_string());
        let call = client.version();
        daemon.restart();
        wait(sending.accepted()).unwrap();
        wait(events.next()).unwrap().unwrap();
        // It was answered, or it was not: it has ended.
        let _ = wait(call);
        daemon.script.wait_for_calls("Connect", kill + 1);
    }
    wait(async {
        while driver.alive_tasks() > before {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    assert!(driver.alive_tasks() <= before);
}
