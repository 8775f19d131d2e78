//! Inputs and actions in words, for the trace of a case that failed. Tokens stay out of it.

use imd_core::io::{Action, Callback, Identity, Input, LinkEvent, Request};

use crate::transition::Secret;

pub(crate) fn input(input: &Input) -> String {
    match input {
        Input::Start { remembered } => match remembered {
            None => "Start with nothing".to_owned(),
            Some(remembered) => format!("Start with {}", state(remembered)),
        },
        Input::Call { call, request } => format!("{call:?} {}", request_words(request)),
        Input::TokenProvider { instance, .. } => format!("TokenProvider {}", instance.0),
        Input::NoTokenProvider { instance } => format!("NoTokenProvider {}", instance.0),
        Input::Unbound { instance } => format!("Unbound {}", instance.0),
        Input::AccountOpened { account, result } => {
            format!(
                "AccountOpened {account} {}",
                if result.is_ok() { "well" } else { "badly" }
            )
        }
        Input::Link { epoch, event } => format!("{epoch:?} {}", event_words(event)),
        Input::Network(network) => format!("Network {network:?}"),
        Input::NetworkChanged => "NetworkChanged".to_owned(),
        Input::Sleeping => "Sleeping".to_owned(),
        Input::Resumed => "Resumed".to_owned(),
        Input::StorageFull(why) => format!("StorageFull {why:?}"),
        Input::Timeout => "Timeout".to_owned(),
        Input::Stop => "Stop".to_owned(),
    }
}

fn request_words(request: &Request) -> String {
    match request {
        Request::Init { instance, app_key } => format!("Init {} {app_key}", instance.0),
        Request::Connect(request) => format!(
            "Connect {}/{} with {:?}, user {:?}, limit {:?}, one-call {:?}, seen {}, resumes {}",
            request.key.instance.0,
            request.key.connect.0,
            Secret::of(&request.token),
            request.user_id,
            request.time_limit,
            request.app_key,
            request.database_opened_seen,
            request.resumes,
        ),
        Request::UpdateToken(update) => format!(
            "UpdateToken of {:?}/{:?} to {:?}",
            update.instance.as_ref().map(|instance| &instance.0),
            update.app_key,
            Secret::of(&update.token),
        ),
        Request::Disconnect { by } => format!("Disconnect by {by}"),
        Request::Logout { by } => format!("Logout by {by}"),
    }
}

fn event_words(event: &LinkEvent) -> String {
    match event {
        LinkEvent::Reached { .. }
        | LinkEvent::Accepted(_)
        | LinkEvent::Refused(_)
        | LinkEvent::LoggedIn
        | LinkEvent::LoginRefused { .. }
        | LinkEvent::GroupRefused { .. }
        | LinkEvent::MarkerFound { .. }
        | LinkEvent::MarkerReturned
        | LinkEvent::Received { .. }
        | LinkEvent::Unacknowledged { .. }
        | LinkEvent::ServerDisconnect(_) => format!("{event:?}"),
        LinkEvent::Failed(fault) => format!("Failed {:?}", fault.kind),
    }
}

fn state(remembered: &imd_core::io::Remembered) -> String {
    format!(
        "{} {:?} token {:?} updated {:?} wanted {} verified {} last {:?}",
        remembered.app_key,
        remembered.user_id,
        remembered.token.as_ref().map(Secret::of),
        remembered.updated_token.as_ref().map(Secret::of),
        remembered.wanted,
        remembered.verified,
        remembered.last_code,
    )
}

pub(crate) fn action(action: &Action) -> String {
    match action {
        Action::Answer { call, result } => format!("Answer {call:?} {result:?}"),
        Action::Callback { connect, callback } => {
            let what = match callback {
                Callback::DatabaseOpened(result) => format!("DatabaseOpened ok={}", result.is_ok()),
                Callback::Success(user) => format!("Success {user}"),
                Callback::Error(refusal) => format!("Error {} {}", refusal.code, refusal.text),
            };
            format!("Callback {}/{} {what}", connect.instance.0, connect.connect.0)
        }
        Action::Persist(remembered) => format!("Persist {}", state(remembered)),
        Action::OpenAccount(account) => format!("OpenAccount {account}"),
        Action::Dial(dial) => {
            let who = match &dial.identity {
                Identity::Known(account) => account.to_string(),
                Identity::Discover => "whoever the token names".to_owned(),
            };
            format!(
                "Dial {:?} {:?} {:?} as {who}, client id {}, with {:?}, clean {}",
                dial.epoch,
                [std::slice::from_ref(&dial.server), dial.others.as_slice()].concat(),
                dial.protocol,
                dial.client_id,
                Secret::of(&dial.token),
                dial.clean,
            )
        }
        Action::Login { epoch } => format!("Login {epoch:?}"),
        Action::Ping { epoch } => format!("Ping {epoch:?}"),
        Action::HangUp { epoch, how } => format!("HangUp {epoch:?} {how:?}"),
        Action::Publish(status) => format!(
            "Publish {} {} ({}), next {:?}, attempt {}",
            status.generation,
            status.status.name(),
            status.reason,
            status.next_retry.map(imd_core::time::BootTime::as_duration),
            status.attempt,
        ),
        Action::Notify(event) => format!("Notify {event:?}"),
        Action::AskForToken { instance, expires } => {
            format!(
                "AskForToken {}, which ends at {}",
                instance.0,
                expires.as_millis()
            )
        }
        Action::ForgetServers { app_key, user_id } => format!("ForgetServers {app_key} {user_id:?}"),
        Action::Stopped => "Stopped".to_owned(),
    }
}
