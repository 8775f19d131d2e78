//! `apps`: who is bound.

use imd_client::Client;
use imd_client::admin::App;

use crate::clock;
use crate::output::{Failure, Output};
use crate::shapes::{BoundApp, or_dash, phase};
use crate::table::{columns, dash};

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

pub(crate) fn table(apps: &[App]) -> String {
    let head = ["APP", "VERSION", "PID", "APP KEY", "CONNECT", "BEHIND", "SINCE"].map(str::to_owned);
    let rows: Vec<[String; 7]> = std::iter::once(head)
        .chain(apps.iter().map(|app| {
            [
                app.app_id.clone(),
                dash(&app.app_version),
                app.pid.to_string(),
                dash(&app.app_key),
                phase(app.phase).to_owned(),
                app.lag.map_or_else(|| "-".to_owned(), |lag| lag.to_string()),
                or_dash(app.bound, clock::date_and_time),
            ]
        }))
        .collect();
    columns(&rows)
}
