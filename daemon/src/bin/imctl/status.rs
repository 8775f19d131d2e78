//! `status` and `wait`.

use std::time::Duration;

use imd_client::{Client, Code, ConnectionStatus, Status};
use tokio_stream::StreamExt as _;

use crate::args::Wait;
use crate::clock;
use crate::output::{Exit, Failure, Mood, Output};
use crate::progress;
use crate::shapes;

/// Shows the status as it is.
pub(crate) async fn show(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let status = client.fetch_connection_status().await?;
    print(&status, output)
}

/// Prints a status with all that is known.
pub(crate) fn print(status: &Status, output: &mut Output) -> Result<(), Failure> {
    output.print(&shapes::Status::from(status), |output| {
        let mut lines = vec![painted(status, output)];
        let mut line = |name: &str, value: &str| {
            if !value.is_empty() {
                lines.push(format!("  {name:<10}{value}"));
            }
        };
        line("reason", &status.reason);
        line("user", &status.user_id);
        line("App Key", &status.app_key);
        line("server", &status.server);
        line("network", &shapes::network(status.network).to_lowercase());
        line(
            "since",
            &status.changed.map(clock::date_and_time).unwrap_or_default(),
        );
        line("attempt", &attempt(status));
        line(
            "last code",
            &status.last_code.map(|code| code.to_string()).unwrap_or_default(),
        );
        line("disk full", status.storage_full.as_deref().unwrap_or_default());
        lines.join("\n")
    })
}

/// A change, on one line.
pub(crate) fn line(status: &Status, output: &Output) -> String {
    let time = clock::time_of_day(status.changed.unwrap_or_else(clock::now));
    let mut line = format!("{time}  {}", painted(status, output));
    for part in [
        attempt(status),
        status.last_code.map(|code| code.to_string()).unwrap_or_default(),
        status.reason.clone(),
        status.storage_full.clone().unwrap_or_default(),
    ] {
        if !part.is_empty() {
            line.push_str("  ");
            line.push_str(&part);
        }
    }
    line
}

fn attempt(status: &Status) -> String {
    match (status.attempt, status.next_retry) {
        (0, None) => String::new(),
        (attempt, None) => format!("attempt {attempt}"),
        (attempt, Some(next)) => {
            let seconds = next.after.as_secs_f64();
            let digits = if seconds < 1.0 { 2 } else { 1 };
            format!("attempt {attempt}, next in {seconds:.digits$} s")
        }
    }
}

fn painted(status: &Status, output: &Output) -> String {
    let word = format!("{} ({})", status.name, status.number());
    output.paint(mood(status.connection), &word)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the library's enums may grow")]
pub(crate) fn mood(status: ConnectionStatus) -> Mood {
    match status {
        ConnectionStatus::Connected => Mood::Good,
        ConnectionStatus::Connecting | ConnectionStatus::Suspend | ConnectionStatus::NetworkUnavailable => {
            Mood::Waiting
        }
        ConnectionStatus::Unconnected | ConnectionStatus::SignOut => Mood::Plain,
        _ => Mood::Bad,
    }
}

/// Waits for CONNECTED. A daemon that is lost is waited for; with a time limit one that is not there yet, too.
pub(crate) async fn wait(client: &Client, wait: &Wait, output: &mut Output) -> Result<(), Failure> {
    let connected = async {
        match wait.timeout {
            None => until_connected(client).await,
            Some(seconds) => within(client, seconds).await,
        }
    };
    let status = progress::during(client, connected).await?;
    print(&status, output)
}

async fn until_connected(client: &Client) -> Result<Status, Failure> {
    let mut changes = client.connection_status_changes();
    while let Some(status) = changes.next().await {
        if status.is_connected() {
            return Ok((*status).clone());
        }
    }
    Err(Failure::Told(Exit::NoDaemon))
}

async fn within(client: &Client, seconds: u32) -> Result<Status, Failure> {
    let limit = Duration::from_secs(seconds.into());
    tokio::time::timeout(limit, until_connected(client))
        .await
        .unwrap_or_else(|_elapsed| {
            let status = client.connection_status();
            let text = format!("not connected within {seconds} s: the status is {status}");
            Err(Failure::own(Code::RC_CONNECT_TIMEOUT, text))
        })
}
