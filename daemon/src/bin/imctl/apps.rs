//! `apps`: who is bound.

use imd_client::Client;
use imd_client::admin::App;

use crate::clock;
use crate::output::{Failure, Output};
use crate::shapes::{BoundApp, or_dash, phase};

/// Lists the apps, without this imctl itself.
pub(crate) async fn list(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let mut apps = client.apps().await?;
    apps.retain(|app| app.instance_id != client.instance_id());
    if output.is_json() {
        for app in &apps {
            output.print(&BoundApp::from(app), |_| String::new())?;
        }
        return Ok(());
    }
    output.raw(table(&apps).as_bytes())
}

fn table(apps: &[App]) -> String {
    let head = ["APP", "VERSION", "PID", "APP KEY", "CONNECT", "SINCE"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head)
        .chain(apps.iter().map(|app| {
            [
                app.app_id.clone(),
                dash(&app.app_version),
                app.pid.to_string(),
                dash(&app.app_key),
                phase(app.phase).to_owned(),
                or_dash(app.bound, clock::date_and_time),
            ]
        }))
        .collect();
    columns(&rows)
}

fn dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// Rows under each other; the last column may be of any width.
fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["APP", "PID"], ["org.example.Chat", "7"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "APP               PID\norg.example.Chat  7\n");
    }
}
