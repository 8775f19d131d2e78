//! `connect`, `update-token`, `disconnect` and `logout`.

use std::path::Path;
use std::time::Duration;

use imd_client::{Client, Code, ConnectOptions, Error};

use crate::args::{Connect, Daemon};
use crate::clock;
use crate::output::{Failure, Mood, Output};
use crate::shapes::{Callback, TokenUpdated};
use crate::{for_daemon, progress, secret, status};

/// Connects, and prints the callbacks with their times. The connection stays: the end of imctl only
/// unbinds it.
pub(crate) async fn connect(daemon: &Daemon, connect: Connect, output: &mut Output) -> Result<(), Failure> {
    let token = secret::read(&connect.token_file, Code::INVALID_PARAMETER_TOKEN)?;
    let limit = connect.limit();
    let client = for_daemon(Client::builder(connect.app_key), daemon)
        .build_async()
        .await?;
    let mut options = ConnectOptions::new();
    options.user_id = connect.user_id;
    options.time_limit = limit;

    let begun = clock::since_boot();
    let connecting = client.connect(token.as_str(), options);
    drop(token);
    let opened = progress::during(&client, connecting.database_opened()).await;
    // An error here is the connect's own, which follows.
    if let Ok(opened) = opened {
        let name = if opened.is_open() {
            "OK"
        } else {
            opened.code.name()
        };
        let event = Callback {
            code: opened.code.0,
            code_name: name,
            text: Some(opened.text.as_str()).filter(|text| !text.is_empty()),
            ..callback("onDatabaseOpened", begun)
        };
        let words = if opened.is_open() {
            "the history can be read"
        } else {
            name
        };
        let mood = if opened.is_open() { Mood::Good } else { Mood::Bad };
        let words = [words, opened.text.as_str()].join(if opened.text.is_empty() { "" } else { ": " });
        tell(&event, mood, &words, output)?;
    }
    match progress::during(&client, connecting).await {
        Ok(user_id) => {
            let event = Callback {
                user_id: Some(user_id.as_str()),
                ..callback("onSuccess", begun)
            };
            tell(&event, Mood::Good, user_id.as_str(), output)
        }
        Err(error) => {
            tell(
                &failed(&error, begun),
                Mood::Bad,
                &error.code().to_string(),
                output,
            )?;
            Err(error.into())
        }
    }
}

fn callback(event: &'static str, begun: Duration) -> Callback<'static> {
    let elapsed = clock::since_boot().saturating_sub(begun);
    Callback {
        time: clock::rfc3339(clock::now()),
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        event,
        code: 0,
        code_name: "OK",
        user_id: None,
        text: None,
        action: None,
    }
}

fn failed(error: &Error, begun: Duration) -> Callback<'_> {
    Callback {
        code: error.code().0,
        code_name: error.code().name(),
        text: Some(error.text()),
        action: Some(error.action()),
        ..callback("onError", begun)
    }
}

fn tell(event: &Callback<'_>, mood: Mood, words: &str, output: &mut Output) -> Result<(), Failure> {
    output.print(event, |output| {
        let time = clock::time_of_day(clock::now());
        let name = output.paint(mood, event.event);
        let pad = " ".repeat("onDatabaseOpened".len().saturating_sub(event.event.len()));
        let line = format!("{time}  +{} ms  {name}{pad}  {words}", event.elapsed_ms);
        line.trim_end().to_owned()
    })
}

/// Gives the connection that is there a new token.
pub(crate) async fn update_token(daemon: &Daemon, file: &Path, output: &mut Output) -> Result<(), Failure> {
    let token = secret::read(file, Code::INVALID_PARAMETER_TOKEN)?;
    let observer = for_daemon(Client::observer(), daemon).build_async().await?;
    let app_key = observer.connection_status().app_key.clone();
    if app_key.is_empty() {
        let text = "the daemon knows of no connection: use imctl connect";
        return Err(Failure::own(Code::IMD_NO_CONNECTION, text.to_owned()));
    }
    let client = for_daemon(Client::builder(app_key), daemon).build_async().await?;
    let updating = client.update_token(token.as_str());
    drop(token);
    let expires = updating.await?;
    let event = TokenUpdated {
        expires: expires.map(clock::rfc3339),
    };
    output.print(&event, |_| match expires {
        Some(end) => format!(
            "the next login uses the new token, which ends at {}",
            clock::date_and_time(end)
        ),
        None => "the next login uses the new token".to_owned(),
    })
}

/// Ends the connection for every app.
pub(crate) async fn disconnect(client: &Client, output: &mut Output) -> Result<(), Failure> {
    client.disconnect().await?;
    status::print(&client.connection_status(), output)
}

/// Ends the connection and the session, and erases the token.
pub(crate) async fn logout(client: &Client, output: &mut Output) -> Result<(), Failure> {
    client.logout().await?;
    status::print(&client.connection_status(), output)
}
