//! Who waits for what the core answers.

use std::collections::BTreeMap;

use imd_core::io::{CallId, Callback, ConnectKey, Refusal};
use tokio::sync::{mpsc, oneshot};

/// The calls that wait for their answer, and the connects that wait for their callbacks. The core bounds
/// both: it answers each call, and ends each connect it took.
#[derive(Default)]
pub(super) struct Calls {
    last: u64,
    waiting: BTreeMap<CallId, Waiting>,
    callbacks: BTreeMap<ConnectKey, mpsc::Sender<Callback>>,
}

struct Waiting {
    answer: oneshot::Sender<Result<(), Refusal>>,
    /// Where a connect's callbacks go, once it is taken.
    connect: Option<(ConnectKey, mpsc::Sender<Callback>)>,
}

impl Calls {
    pub(super) fn ask(&mut self, answer: oneshot::Sender<Result<(), Refusal>>) -> CallId {
        self.wait(Waiting {
            answer,
            connect: None,
        })
    }

    pub(super) fn connect(
        &mut self,
        key: ConnectKey,
        answer: oneshot::Sender<Result<(), Refusal>>,
        callbacks: mpsc::Sender<Callback>,
    ) -> CallId {
        self.wait(Waiting {
            answer,
            connect: Some((key, callbacks)),
        })
    }

    fn wait(&mut self, waiting: Waiting) -> CallId {
        self.last += 1;
        let call = CallId(self.last);
        self.waiting.insert(call, waiting);
        call
    }

    /// A connect that is taken gets its callbacks from then on: the newest of those with the same key. One
    /// that is refused leaves an earlier one's unharmed.
    pub(super) fn answer(&mut self, call: CallId, result: Result<(), Refusal>) {
        let Some(Waiting { answer, connect }) = self.waiting.remove(&call) else {
            tracing::error!(call = call.0, "an answer to a call that does not wait");
            return;
        };
        if result.is_ok()
            && let Some((key, callbacks)) = connect
        {
            self.callbacks.insert(key, callbacks);
        }
        // Who asked may have gone.
        let _: Result<(), _> = answer.send(result);
    }

    pub(super) fn call_back(&mut self, connect: &ConnectKey, callback: Callback) {
        let sender = match &callback {
            Callback::DatabaseOpened(_) => self.callbacks.get(connect).cloned(),
            Callback::Success(_) | Callback::Error(_) => self.callbacks.remove(connect),
        };
        // The app may have gone; the connect goes on without it.
        if let Some(sender) = sender
            && sender.try_send(callback).is_err()
        {
            tracing::debug!(instance = %connect.instance.0, "nobody waits for a callback");
        }
    }
}
