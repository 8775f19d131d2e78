//! A token near its end: the stream on which an app is asked for another one, and the call that brings it.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use imd_core::io::{InstanceId, TokenUpdate};
use imd_core::jwt::Claims;
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::status::to_status;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::arguments::UpdateTokenArguments;
use super::binding::Caller;
use super::budget::Held;
use super::convert;
use super::session::{answered, within_deadline};
use crate::hub::{Asked, BoundApp, Hub};
use crate::link;

type Answer = Result<v1::WatchTokenExpiringResponse, Status>;

/// How many questions wait in a stream: the newest stands for those behind it.
const QUESTIONS: usize = 1;

pub(super) async fn update(
    caller: &Caller,
    arguments: UpdateTokenArguments,
    link: &link::Handle,
) -> Result<Response<v1::UpdateTokenResponse>, Status> {
    let UpdateTokenArguments { token, app_key } = arguments;
    let instance = match caller {
        Caller::Bound(app) => Some(app.instance.clone()),
        Caller::Unbound(_) if app_key.is_none() => {
            let text = "a call of UpdateToken without a binding has no Init before it: give it the app_key";
            return Err(to_status(Code::RC_CLIENT_NOT_INIT, text));
        }
        Caller::Unbound(_) => None,
    };
    let expires = Claims::read(&token).and_then(|claims| claims.expires());
    let by = caller.requester();
    tracing::info!(%by, "a new token was brought");
    let update = TokenUpdate {
        instance,
        app_key,
        token,
        by,
    };
    answered("UpdateToken", link.update_token(update)).await?;
    Ok(Response::new(v1::UpdateTokenResponse {
        expire_time: expires.map(convert::timestamp),
    }))
}

/// Opens the stream: from here on the app may be asked.
pub(super) async fn watch(
    app: BoundApp,
    held: Held,
    hub: &Arc<Hub>,
    link: &link::Handle,
    goodbye: impl Future<Output = Arc<str>> + Send + 'static,
) -> Result<Response<ReceiverStream<Answer>>, Status> {
    let instance = app.instance.clone();
    // The line before the word that there is one: no question finds nobody.
    let provider = Provider {
        asked: hub.token_providers.open(instance.clone()),
        instance: instance.clone(),
        hub: Arc::clone(hub),
        link: link.clone(),
        _held: held,
    };
    within_deadline("WatchTokenExpiring", link.token_provider(instance, Some(app.app))).await?;
    let (answers, stream) = mpsc::channel(QUESTIONS);
    tokio::spawn(provider.follow(answers, goodbye));
    Ok(Response::new(ReceiverStream::new(stream)))
}

/// An app that can be asked. When it is dropped it cannot any longer, unless it has opened another stream.
struct Provider {
    asked: Asked,
    instance: InstanceId,
    hub: Arc<Hub>,
    link: link::Handle,
    /// Of what one process may open.
    _held: Held,
}

impl Provider {
    async fn follow(mut self, answers: mpsc::Sender<Answer>, goodbye: impl Future<Output = Arc<str>>) {
        let mut goodbye = pin!(goodbye);
        while let Ok(turn) = answers.reserve().await {
            tokio::select! {
                biased;
                () = answers.closed() => return,
                _ = goodbye.as_mut() => {
                    turn.send(Err(convert::stopping(link::Stopped)));
                    return;
                }
                changed = self.asked.changed() => {
                    if changed.is_err() {
                        let text = "the same app waits to be asked for a token on another, newer stream";
                        turn.send(Err(to_status(Code::IMD_NOT_BOUND, text)));
                        return;
                    }
                    let expires = *self.asked.borrow_and_update();
                    turn.send(Ok(v1::WatchTokenExpiringResponse {
                        expire_time: expires.map(convert::timestamp),
                    }));
                }
            }
        }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        if !self.hub.token_providers.close(&self.instance, &self.asked) {
            return;
        }
        let (link, instance) = (self.link.clone(), self.instance.clone());
        // The link's queue may be full, and a drop cannot wait. Without a runtime the daemon has ended.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // A link that is gone asks nobody any more.
                let _: Result<(), link::Stopped> = link.token_provider(instance, None).await;
            });
        }
    }
}
