//! A new token for the connection: brought by hand, or when the daemon asks for it.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::imd::v1::session_service_client::SessionServiceClient;
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::call::{DEADLINE, Link};
use crate::error::Error;
use crate::status::system_time;
use crate::supervisor::Shared;
use crate::token::Token;

const NAME: &str = "WatchTokenExpiring";

/// TOKEN_EXPIRING: it is this app's turn to bring a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenExpiring {
    /// When the present token ends, by its own word. It may be past.
    pub expires: Option<SystemTime>,
}

/// Keeps a token provider. Dropping it takes the provider away: the daemon then asks another app.
#[must_use = "dropping it takes the provider away"]
pub struct TokenProvider(Tasks);

impl TokenProvider {
    pub(crate) fn new(tasks: [AbortHandle; 2]) -> Self {
        Self(Tasks(tasks))
    }

    pub(crate) fn tasks(&self) -> Tasks {
        self.0.clone()
    }
}

impl Drop for TokenProvider {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A provider's tasks, for the one that takes its place.
#[derive(Clone)]
pub(crate) struct Tasks([AbortHandle; 2]);

impl Tasks {
    pub(crate) fn end(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// The token that was brought last since the app's last connect: a connect that is issued again goes on with it.
#[derive(Default)]
pub(crate) struct Renewed(Mutex<Option<Token>>);

impl Renewed {
    pub(crate) fn set(&self, token: Option<Token>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }

    pub(crate) fn get(&self) -> Option<Token> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The daemon's question, on its way to the provider.
pub(crate) struct Question {
    expiring: TokenExpiring,
    answer: oneshot::Sender<Token>,
}

/// Gives the daemon a token. When it ends, by its own word.
pub(crate) async fn update(shared: &Shared, link: &Link, token: Token) -> Result<Option<SystemTime>, Error> {
    let request = v1::UpdateTokenRequest {
        token: token.reveal().to_owned(),
        app_key: String::new(),
    };
    let v1::UpdateTokenResponse { expire_time } = link
        .unary("UpdateToken", DEADLINE, request, |channel, request| async {
            SessionServiceClient::new(channel).update_token(request).await
        })
        .await?;
    shared.renewed.set(Some(token));
    Ok(expire_time.as_ref().and_then(system_time))
}

/// Lets each daemon know that there is a provider, passes its questions on, and what it brings back.
pub(crate) async fn offer(shared: Arc<Shared>, questions: mpsc::Sender<Question>) {
    let mut link = shared.uplink.next(None).await;
    loop {
        let ended = watch(&shared, &link, &questions).await;
        link = match ended {
            Err(error) if error.code() == Code::IMD_VERSION_SKEW => {
                tracing::debug!("the daemon is older and asks nobody for a token");
                shared.uplink.next(Some(link.number)).await
            }
            Ok(()) | Err(_) => shared.uplink.retry(&link).await,
        };
    }
}

async fn watch(shared: &Shared, link: &Link, questions: &mpsc::Sender<Question>) -> Result<(), Error> {
    let _permit = link.turn(NAME).await?;
    let mut session = SessionServiceClient::new(link.channel());
    let request = link.request(v1::WatchTokenExpiringRequest {});
    let stream = link.within(NAME, DEADLINE, session.watch_token_expiring(request));
    let mut stream = stream.await?.into_inner();
    while let Some(asked) = link.while_up(NAME, stream.message()).await? {
        let (answer, answered) = oneshot::channel();
        let expiring = TokenExpiring {
            expires: asked.expire_time.as_ref().and_then(system_time),
        };
        if questions.send(Question { expiring, answer }).await.is_err() {
            return Ok(());
        }
        // Without an answer the daemon asks the next app.
        let Ok(token) = answered.await else { continue };
        // The daemon that asked may be gone. A new token is as good for the next one.
        let link = shared.uplink.next(None).await;
        if let Err(error) = update(shared, &link, token).await {
            tracing::warn!(%error, "the daemon does not take the new token");
        }
    }
    Ok(())
}

/// Has the provider answer, one question after the other.
pub(crate) async fn provide<F, Fut, T, E>(mut questions: mpsc::Receiver<Question>, mut provider: F)
where
    F: FnMut(TokenExpiring) -> Fut,
    Fut: Future<Output = Result<T, E>>,
    T: Into<Token>,
    E: fmt::Display,
{
    while let Some(Question { expiring, answer }) = questions.recv().await {
        match provider(expiring).await {
            Ok(token) => {
                // The provider may have been taken away meanwhile.
                let _: Result<(), Token> = answer.send(token.into());
            }
            Err(error) => tracing::warn!(%error, "the token provider brings no token"),
        }
    }
}
