//! `timeline`: what the connection has been through.

use imd_client::Client;

use crate::clock;
use crate::output::{Failure, Output};
use crate::shapes::{Change, or_dash};
use crate::status::mood;

/// Lists the status changes of this run of the daemon, oldest first.
pub(crate) async fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    for change in client.status_changes().await? {
        output.print(&Change::from(&change), |output| {
            let time = or_dash(change.time, clock::date_and_time);
            let name = format!("{} ({})", change.name, change.connection.number());
            let name = output.paint(mood(change.connection), &name);
            let code = change
                .last_code
                .map(|code| format!("  {code}"))
                .unwrap_or_default();
            format!("{time}  {name}{code}  {}", change.reason)
                .trim_end()
                .to_owned()
        })?;
    }
    Ok(())
}
