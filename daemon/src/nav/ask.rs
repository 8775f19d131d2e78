//! The request: who asks is in the query, and the token is not in it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use imd_core::account::{AppKey, UserId};
use imd_core::io::{Fault, FaultKind};
use imd_core::server::{Server, Transport};
use url::form_urlencoded::Serializer;

use super::answer::LONGEST;
use crate::transport::Transports;

/// The kernel gives up on bytes that are not acknowledged for so long.
const DEAD_AFTER: Duration = Duration::from_secs(10);

/// What is kept for the head of an answer.
const HEAD: usize = 16 * 1024;

/// Why there is no answer, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum NavError {
    #[error("{0}")]
    Unreachable(String),
    #[error("it does not speak HTTP: {0}")]
    Http(hyper::Error),
    #[error("its name makes no request: {0}")]
    Request(http::Error),
    #[error("it does not answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error(
        "it answers {0}, and imd follows no redirects; write the address it leads to into the configuration"
    )]
    Redirected(StatusCode),
    #[error("it answers {0}; check the path in its URL, and its log")]
    Refused(StatusCode),
    #[error("its answer breaks off: {0}")]
    BreaksOff(String),
    #[error("its answer has more than {} KiB", LONGEST / 1024)]
    TooLarge,
    #[error("its answer is not JSON")]
    NotJson,
    #[error("its answer is JSON, but not as docs/nav.md has it, at line {line}, column {column}")]
    Unfit { line: usize, column: usize },
    #[error("its answer is of version {0}, and this imd reads 1")]
    Version(u64),
    #[error("its answer names no server")]
    NoServers,
    #[error("its answer names {0} servers, and 32 are the most")]
    TooMany(usize),
    #[error("server {number} of its answer cannot be used: {why}")]
    Server { number: usize, why: String },
}

impl NavError {
    /// As what it goes to the core.
    #[must_use]
    pub fn fault(&self, nav: &Server) -> Fault {
        let kind = match self {
            Self::Unreachable(_) | Self::Http(_) | Self::Request(_) => FaultKind::NavUnreachable,
            Self::Silent(_) => FaultKind::NavSilent,
            Self::Redirected(_) | Self::Refused(_) => FaultKind::NavRefused,
            Self::BreaksOff(_)
            | Self::TooLarge
            | Self::NotJson
            | Self::Unfit { .. }
            | Self::Version(_)
            | Self::NoServers
            | Self::TooMany(_)
            | Self::Server { .. } => FaultKind::NavMalformed,
        };
        let text = if kind == FaultKind::NavUnreachable {
            // It has the nav's address in it, mostly.
            format!("the nav cannot be asked: {self}")
        } else {
            format!("the nav {nav}: {self}")
        };
        Fault { kind, text }
    }
}

/// Asks the nav for a user's servers.
///
/// # Errors
/// There is no answer, or none of success.
pub(super) async fn ask(
    transports: &Transports,
    nav: &Server,
    app_key: &AppKey,
    user_id: Option<&UserId>,
) -> Result<Bytes, NavError> {
    let reached = transports
        .dial(Some(app_key), nav, DEAD_AFTER)
        .await
        .map_err(|unreached| NavError::Unreachable(Fault::from(unreached).text))?;
    let request = request(nav, app_key, user_id).map_err(NavError::Request)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD)
        .handshake(TokioIo::new(reached.stream))
        .await
        .map_err(NavError::Http)?;
    let exchange = Box::pin(async move {
        let response = sender.send_request(request).await.map_err(NavError::Http)?;
        let status = response.status();
        if status.is_redirection() {
            return Err(NavError::Redirected(status));
        }
        if status != StatusCode::OK {
            return Err(NavError::Refused(status));
        }
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| {
            if error.is::<LengthLimitError>() {
                NavError::TooLarge
            } else {
                NavError::BreaksOff(error.to_string())
            }
        })
    });
    match select(exchange, Box::pin(connection)).await {
        Either::Left((answered, _)) => answered,
        // It has closed; what it said before may still be there.
        Either::Right((_, exchange)) => exchange.await,
    }
}

fn request(nav: &Server, app_key: &AppKey, user_id: Option<&UserId>) -> http::Result<Request<Empty<Bytes>>> {
    let mut query = Serializer::new(String::new());
    query.append_pair("app_key", app_key.as_str());
    if let Some(user_id) = user_id {
        query.append_pair("user_id", user_id.as_str());
    }
    let host = if nav.host.contains(':') {
        format!("[{}]", nav.host)
    } else {
        nav.host.to_string()
    };
    let host = if nav.port == Transport::Nav.default_port() {
        host
    } else {
        format!("{host}:{}", nav.port)
    };
    Request::get(format!("{}?{}", nav.path, query.finish()))
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, concat!("imd/", env!("CARGO_PKG_VERSION")))
        .body(Empty::new())
}
