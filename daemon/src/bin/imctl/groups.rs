//! `groups`, `join` and `quit`.

use imd_client::{Client, Group};

use crate::clock;
use crate::output::{Failure, Output, plain};
use crate::shapes::{self, or_dash};
use crate::table::{columns, dash};

/// Lists the groups whose messages are wanted.
pub(crate) async fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let groups = client.groups().await?;
    if output.is_json() {
        for group in &groups {
            output.print(&shapes::Group::from(group), |_| String::new())?;
        }
        return Ok(());
    }
    output.raw(table(&groups).as_bytes())
}

fn table(groups: &[Group]) -> String {
    let head = ["GROUP", "SINCE", "REFUSED"].map(str::to_owned);
    let rows: Vec<[String; 3]> = std::iter::once(head)
        .chain(groups.iter().map(|group| {
            [
                plain(&group.group_id),
                or_dash(group.joined, clock::date_and_time),
                dash(&group.code.map(|code| code.to_string()).unwrap_or_default()),
            ]
        }))
        .collect();
    columns(&rows)
}

/// Joins a group.
pub(crate) async fn join(client: &Client, group: String) -> Result<(), Failure> {
    Ok(client.join_group(group).await?)
}

/// Quits a group.
pub(crate) async fn quit(client: &Client, group: String) -> Result<(), Failure> {
    Ok(client.quit_group(group).await?)
}
