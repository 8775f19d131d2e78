//! One client, and one daemon after the other: what the app is told, and what goes on by itself.

#![cfg(test)]

mod binding;
mod connects;
mod events;
mod sends;
mod stalls;
mod strangers;

#[path = "../fake/mod.rs"]
mod fake;

use std::sync::Arc;
use std::time::Duration;

use fake::{FakeDaemon, wait};
use imd_client::{Client, ConnectionStatusChanges, DaemonLoss, Status};
use tokio_stream::StreamExt as _;

fn client(daemon: &FakeDaemon) -> Client {
    Client::builder("demo").socket(daemon.socket()).build().unwrap()
}

/// The next change of the status.
#[track_caller]
fn next(changes: &mut ConnectionStatusChanges) -> Arc<Status> {
    wait(changes.next()).expect("the status is told as long as there is a client")
}

/// Follows the changes to the next loss.
#[track_caller]
fn next_loss(changes: &mut ConnectionStatusChanges) -> DaemonLoss {
    loop {
        if let Some(loss) = &next(changes).loss {
            return loss.clone();
        }
    }
}

/// Follows the changes to the next status of a daemon.
#[track_caller]
fn next_daemon(changes: &mut ConnectionStatusChanges) -> Arc<Status> {
    loop {
        let status = next(changes);
        if !status.is_daemon_lost() {
            return status;
        }
    }
}

/// Looks at the status until it is as wanted. It is for what is told to those alone who look.
#[track_caller]
fn look(client: &Client, is: impl Fn(&Status) -> bool) -> Arc<Status> {
    let found = wait(async {
        loop {
            let status = client.connection_status();
            if is(&status) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(is(&found));
    found
}
