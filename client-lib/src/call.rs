//! A call to the daemon: it ends, whatever the daemon does.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use imd_proto::BINDING_METADATA;
use imd_proto::code::Code;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::channel::LinkState;
use crate::clock::BootTime;
use crate::driver::Driver;
use crate::error::{Error, Sent};
use crate::status::DaemonLoss;

/// A unary call, and a stream's first answer.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);

/// Diagnose makes connections of its own.
pub(crate) const DIAGNOSE_DEADLINE: Duration = Duration::from_secs(30);

/// A search first brings its index up to date.
pub(crate) const SEARCH_DEADLINE: Duration = Duration::from_secs(30);

/// A page of 200 messages of 128 KiB each, and what is around them.
pub(crate) const MAX_ANSWER: usize = 32 * 1024 * 1024;

/// The most calls of one client at a time; beyond them the daemon would queue calls in silence.
const MAX_CALLS: usize = 64;

/// Counts the links of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkNumber(pub(crate) u64);

/// One link to the daemon, bound: what a call needs.
pub(crate) struct Link {
    pub(crate) number: LinkNumber,
    /// Of the daemon at its other end.
    pub(crate) run_id: String,
    /// When it was bound, if there was no daemon before it: that one may still be opening the account.
    pub(crate) after_outage: Option<BootTime>,
    channel: Channel,
    binding: AsciiMetadataValue,
    state: watch::Receiver<LinkState>,
    calls: Arc<Semaphore>,
}

impl Link {
    pub(crate) fn new(
        (number, run_id): (LinkNumber, String),
        after_outage: Option<BootTime>,
        channel: Channel,
        binding: AsciiMetadataValue,
        state: watch::Receiver<LinkState>,
    ) -> Self {
        Self {
            number,
            run_id,
            after_outage,
            channel,
            binding,
            state,
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
        }
    }

    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Why no further call can be made; `None` while there is a daemon.
    pub(crate) fn lost(&self) -> Option<DaemonLoss> {
        match &*self.state.borrow() {
            LinkState::Up => None,
            LinkState::Leaving(loss) | LinkState::Down(loss) => Some(loss.clone()),
        }
    }

    /// Waits until no further call can be made.
    pub(crate) async fn ended(&self) {
        let mut state = self.state.clone();
        // A guard that is gone has nothing to tell any longer.
        let _ = state.wait_for(|state| *state != LinkState::Up).await;
    }

    /// Makes a call that has one answer.
    pub(crate) async fn unary<Req, Res, F, Fut>(
        &self,
        name: &'static str,
        deadline: Duration,
        message: Req,
        call: F,
    ) -> Result<Res, Error>
    where
        F: FnOnce(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        let _permit = self.permit(name)?;
        self.exchange(name, deadline, message, call).await
    }

    /// As [`unary`](Self::unary), for one who counts his calls himself.
    pub(crate) async fn exchange<Req, Res, F, Fut>(
        &self,
        name: &'static str,
        deadline: Duration,
        message: Req,
        call: F,
    ) -> Result<Res, Error>
    where
        F: FnOnce(Channel, Request<Req>) -> Fut,
        Fut: Future<Output = Result<Response<Res>, Status>>,
    {
        self.check(name)?;
        self.within(name, deadline, call(self.channel(), self.request(message)))
            .await
            .map(Response::into_inner)
    }

    /// Refused while the daemon is gone.
    fn check(&self, name: &str) -> Result<(), Error> {
        self.lost()
            .map_or(Ok(()), |loss| Err(gone(name, &loss, Sent::No)))
    }

    /// Leave to make a call: refused while the daemon is gone, and beyond [`MAX_CALLS`].
    pub(crate) fn permit(&self, name: &str) -> Result<OwnedSemaphorePermit, Error> {
        self.check(name)?;
        Arc::clone(&self.calls).try_acquire_owned().map_err(|_full| {
            let text = format!("{name}: {MAX_CALLS} calls of this client are waiting already");
            Error::new(Code::IMD_TOO_MANY, text, Sent::No)
        })
    }

    /// As [`permit`](Self::permit), for what goes on by itself: it waits for its turn.
    pub(crate) async fn turn(&self, name: &str) -> Result<OwnedSemaphorePermit, Error> {
        self.check(name)?;
        let turn = Arc::clone(&self.calls).acquire_owned();
        let turn = tokio::select! {
            biased;
            turn = turn => turn.ok(),
            () = self.ended() => None,
        };
        turn.ok_or_else(|| {
            let loss = self.lost().unwrap_or(DaemonLoss::Died);
            gone(name, &loss, Sent::No)
        })
    }

    /// The message, for this binding.
    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert(BINDING_METADATA, self.binding.clone());
        request
    }

    /// Waits for `answer` as long as the deadline and the link allow.
    pub(crate) async fn within<T>(
        &self,
        name: &str,
        deadline: Duration,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        let mut state = self.state.clone();
        bounded(name, Some(deadline), &mut state, answer).await
    }

    /// Waits for `answer` as long as the link allows.
    pub(crate) async fn while_up<T>(
        &self,
        name: &str,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Error> {
        let mut state = self.state.clone();
        bounded(name, None, &mut state, answer).await
    }
}

/// The answer, the end of the link or the deadline: whichever is first, and in this order when together,
/// so that an answer that has come is never thrown away.
pub(crate) async fn bounded<T>(
    name: &str,
    deadline: Option<Duration>,
    state: &mut watch::Receiver<LinkState>,
    answer: impl Future<Output = Result<T, Status>>,
) -> Result<T, Error> {
    let expiry = async {
        match deadline {
            Some(deadline) => {
                tokio::time::sleep(deadline).await;
                deadline
            }
            None => std::future::pending().await,
        }
    };
    let mut watched = state.clone();
    tokio::select! {
        biased;
        answer = answer => answer.map_err(|status| judge(name, &state.borrow(), &status)),
        loss = down(&mut watched) => Err(gone(name, &loss, Sent::Unknown)),
        deadline = expiry => Err(Error::silent(name, deadline, Sent::Unknown)),
    }
}

/// A status the transport made after the link went down is the link's end, whatever it calls itself. And so is
/// a binding that the daemon does not know: it ends it before its goodbye has been read here.
fn judge(name: &str, state: &LinkState, status: &Status) -> Error {
    let error = Error::from_status(name, status);
    if error.code() == Code::IMD_NOT_BOUND {
        return gone(name, &"the daemon has ended the binding", Sent::No);
    }
    if error.sent() == Sent::Yes {
        return error;
    }
    match state {
        LinkState::Up => error,
        LinkState::Leaving(loss) | LinkState::Down(loss) => gone(name, loss, Sent::Unknown),
    }
}

async fn down(state: &mut watch::Receiver<LinkState>) -> DaemonLoss {
    match state
        .wait_for(|state| matches!(state, LinkState::Down(_)))
        .await
        .as_deref()
    {
        Ok(LinkState::Down(loss) | LinkState::Leaving(loss)) => loss.clone(),
        Ok(LinkState::Up) | Err(_) => DaemonLoss::Died,
    }
}

pub(crate) fn gone(name: &str, reason: &dyn fmt::Display, sent: Sent) -> Error {
    let text = match sent {
        Sent::No => format!("{name} was not sent: {reason}"),
        Sent::Unknown => format!("{name} may have been carried out: {reason}"),
        Sent::Yes => format!("{name}: {reason}"),
    };
    Error::new(Code::IPC_DISCONNECT, text, sent)
}

/// The answer to a call that has been sent already.
///
/// It can be awaited on any executor; dropping it stops waiting and cancels nothing.
#[must_use = "the call is made without it, but whether it succeeded is told only here"]
pub struct Call<T> {
    name: &'static str,
    answer: oneshot::Receiver<Result<T, Error>>,
    /// The last Client's end would end the call.
    _driver: Arc<Driver>,
}

impl<T: Send + 'static> Call<T> {
    pub(crate) fn start(
        driver: &Arc<Driver>,
        name: &'static str,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Self {
        let (tell, answer) = oneshot::channel();
        driver.spawn(async move {
            // Nobody may be waiting any longer.
            let _ = tell.send(call.await);
        });
        Self {
            name,
            answer,
            _driver: Arc::clone(driver),
        }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let name = self.name;
        Pin::new(&mut self.answer)
            .poll(cx)
            .map(|answer| answer.unwrap_or_else(|_closed| Err(Error::client_dropped(name))))
    }
}
