//! The handle an app holds.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use imd_proto::imd::v1;
use imd_proto::imd::v1::session_service_client::SessionServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt as _;

use crate::bind::Identity;
use crate::blocking::BlockingClient;
use crate::builder::ClientBuilder;
use crate::call::{Call, DEADLINE, Link};
use crate::callbacks::Callbacks;
use crate::connect::{ConnectCallback, ConnectOptions, Connecting, Progress, Pursuit, call_back, refresh};
use crate::driver::Driver;
use crate::error::{Error, Sent};
use crate::listeners::{ConnectionStatusChanges, StatusListener};
use crate::message::{Content, ConversationKey};
use crate::renewal::{self, Tasks, TokenExpiring, TokenProvider};
use crate::sending::{Courier, Sending};
use crate::status::Status;
use crate::supervisor::Shared;
use crate::token::Token;
use crate::uplink::Binding;

/// An app's binding to the daemon, and to the next one when that is lost.
///
/// It is cheap to clone, and the clones are one app. The last one dropped unbinds the app, which ends
/// nothing else: the daemon keeps the connection.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Arc<Identity>,
    driver: Arc<Driver>,
    shared: Arc<Shared>,
    callbacks: Callbacks,
    courier: Courier,
    token_provider: Mutex<Option<Tasks>>,
}

impl Client {
    /// An app with this App Key: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    pub fn builder(app_key: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(Some(app_key.into()))
    }

    /// A tool that looks on: it has no App Key, and its connect is refused with 33001.
    pub fn observer() -> ClientBuilder {
        ClientBuilder::new(None)
    }

    pub(crate) fn new(identity: Arc<Identity>, driver: Arc<Driver>, shared: Arc<Shared>) -> Self {
        let inner = Inner {
            identity,
            driver,
            courier: Courier::new(Arc::clone(&shared)),
            shared,
            callbacks: Callbacks::default(),
            token_provider: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The same calls for code that waits on its own thread.
    #[must_use]
    pub fn blocking(&self) -> BlockingClient {
        BlockingClient::new(self.clone())
    }

    /// The random id of this instance of the app.
    #[must_use]
    pub fn instance_id(&self) -> &str {
        &self.inner.identity.instance_id
    }

    /// Asks for the connection. The request is sent at once, whether the answer is awaited or not.
    ///
    /// The future gives the user once the connection is up, from where on the daemon keeps it; or the
    /// error with which the daemon has given up for this app. Faults that heal by themselves are no
    /// errors: they show in the status. Nor is a daemon that is lost, silent, or not there yet: it or the next
    /// one is asked again for the same connect, and the time limit runs meanwhile.
    pub fn connect(&self, token: impl Into<Token>, options: ConnectOptions) -> Connecting {
        let progress = self.start_connect(token.into(), options);
        Connecting::new(Arc::clone(&self.inner.driver), progress)
    }

    /// As [`connect`](Self::connect), with callbacks.
    ///
    /// They do not keep the app bound: when the last `Client` is dropped before the end, `on_error` is
    /// called with -2 IPC_DISCONNECT.
    pub fn connect_with(
        &self,
        token: impl Into<Token>,
        options: ConnectOptions,
        callback: impl ConnectCallback,
    ) {
        let progress = self.start_connect(token.into(), options);
        let task = call_back(progress, Box::new(callback));
        self.inner.callbacks.spawn(&self.inner.driver, task);
    }

    fn start_connect(&self, token: Token, options: ConnectOptions) -> watch::Receiver<Progress> {
        let Inner {
            identity,
            driver,
            shared,
            ..
        } = &*self.inner;
        shared.renewed.set(None);
        let app_key = identity.app_key.as_deref();
        let (pursuit, progress) = Pursuit::new(Arc::clone(shared), app_key, token, options);
        let entry = pursuit.enter();
        driver.spawn(pursuit.run(entry));
        progress
    }

    /// Gives the connection a new token for its next login, and drops nothing: it is on the daemon's disk when this
    /// is answered, and is tried first from then on. If the server refuses it, the one before is used again.
    ///
    /// The answer is when the new token ends; `None` where it does not say. Without a connection it fails with 90014
    /// IMD_NO_CONNECTION, after 31020 RC_CONN_TOKEN_EXPIRE too: connect with the new token then. A token that names
    /// another user or App Key is refused with 31004.
    pub fn update_token(&self, token: impl Into<Token>) -> Call<Option<SystemTime>> {
        let (shared, token) = (Arc::clone(&self.inner.shared), token.into());
        self.call("UpdateToken", |link| async move {
            renewal::update(&shared, &link, token).await
        })
    }

    /// Lets the daemon ask this app for a new token when the present one, a JWT, nears its end. What `provider` gives
    /// goes to [`update_token`](Self::update_token). Of all apps with a provider one is asked at a time; one that
    /// gives an error, or nothing within the lease (30 seconds, or a quarter of the time that is left), is followed
    /// by the next. With the next daemon it goes on by itself, until the guard is dropped.
    ///
    /// ```no_run
    /// # async fn fetch_token() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # fn app(client: &imd_client::Client) {
    /// let provider = client.set_token_provider(|_expiring| async {
    ///     fetch_token().await // from your own server
    /// });
    /// # drop(provider);
    /// # }
    /// ```
    ///
    /// A client has one provider: another one takes its place. It runs on the thread of the library where the
    /// callbacks run, inside a tokio runtime; one that waits there without an `await` holds the callbacks up.
    pub fn set_token_provider<F, Fut, T, E>(&self, provider: F) -> TokenProvider
    where
        F: FnMut(TokenExpiring) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Into<Token> + 'static,
        E: fmt::Display + 'static,
    {
        let Inner {
            driver,
            shared,
            callbacks,
            token_provider,
            ..
        } = &*self.inner;
        let mut present = token_provider.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = present.take() {
            before.end();
        }
        let (ask, questions) = mpsc::channel(1);
        let provider = TokenProvider::new([
            driver.spawn(renewal::offer(Arc::clone(shared), ask)),
            callbacks.spawn(driver, renewal::provide(questions, provider)),
        ]);
        *present = Some(provider.tasks());
        provider
    }

    /// Ends the connection for every app. The server keeps the session, so messages queue up there.
    pub fn disconnect(&self) -> Call<()> {
        self.ending("Disconnect", |link| async move {
            link.unary(
                "Disconnect",
                DEADLINE,
                v1::DisconnectRequest {},
                |channel, request| async { SessionServiceClient::new(channel).disconnect(request).await },
            )
            .await
            .map(|v1::DisconnectResponse {}| ())
        })
    }

    /// Ends the connection for every app, ends the session on the server and erases the token. While there is no
    /// connection the server cannot be told: it keeps the session, and what waits there, until its expiry.
    pub fn logout(&self) -> Call<()> {
        self.ending("Logout", |link| async move {
            link.unary(
                "Logout",
                DEADLINE,
                v1::LogoutRequest {},
                |channel, request| async { SessionServiceClient::new(channel).logout(request).await },
            )
            .await
            .map(|v1::LogoutResponse {}| ())
        })
    }

    fn ending<Fut>(&self, name: &'static str, call: impl FnOnce(Arc<Link>) -> Fut) -> Call<()>
    where
        Fut: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let shared = Arc::clone(&self.inner.shared);
        self.call(name, |link| {
            let call = call(Arc::clone(&link));
            async move {
                let ended = call.await;
                // What may have ended is not taken up again against the app's will.
                if ended.is_ok() || ended.as_ref().is_err_and(|error| error.sent() == Sent::Unknown) {
                    shared.claim.signed_out();
                }
                ended?;
                refresh(&shared, &link).await;
                Ok(())
            }
        })
    }

    /// The status as the daemon last told it; "daemon lost" while there is none.
    #[must_use]
    pub fn connection_status(&self) -> Arc<Status> {
        let Shared { uplink, board, .. } = &*self.inner.shared;
        let status = board.current();
        // The loss may be noticed here before the library's thread has come to tell it.
        match uplink.now() {
            Binding::Bound(link) if !status.is_daemon_lost() => match link.lost() {
                Some(loss) => Arc::new(status.lost(&loss)),
                None => status,
            },
            Binding::Bound(_) | Binding::Lost { .. } => status,
        }
    }

    /// Asks the daemon for the status.
    pub fn fetch_connection_status(&self) -> Call<Status> {
        self.call("GetStatus", |link| async move {
            link.unary(
                "GetStatus",
                DEADLINE,
                v1::GetStatusRequest {},
                |channel, request| async { SessionServiceClient::new(channel).get_status(request).await },
            )
            .await?
            .status
            .map(|status| Status::from_wire(status, &link.run_id))
            .ok_or_else(|| Error::lacks("GetStatus", "status"))
        })
    }

    /// The status as it is, then every change.
    #[must_use]
    pub fn connection_status_changes(&self) -> ConnectionStatusChanges {
        self.inner.shared.board.subscribe()
    }

    /// Calls `listener` with the status as it is, then with every change, until the guard is dropped.
    ///
    /// Listeners run on a thread of the library, one at a time. One that holds a `Client` keeps the app
    /// bound for as long as its guard is there.
    pub fn add_connection_status_listener(
        &self,
        mut listener: impl FnMut(&Status) + Send + 'static,
    ) -> StatusListener {
        let mut changes = self.connection_status_changes();
        let task = async move {
            while let Some(status) = changes.next().await {
                listener(&status);
            }
        };
        StatusListener::new(self.inner.callbacks.spawn(&self.inner.driver, task))
    }

    /// Sends a message. It is handed to the daemon at once, whether the answer is awaited or not; those of one
    /// conversation in the order of the calls.
    ///
    /// What [`Sending::accepted`] has answered is on disk and will be sent once, whatever dies. Without a
    /// connection it waits.
    pub fn send_message(&self, conversation: &ConversationKey, content: Content) -> Sending {
        self.inner.courier.send(&self.inner.driver, conversation, content)
    }

    /// Sends a text to a user.
    pub fn send_text(&self, to_user_id: impl Into<String>, text: impl AsRef<str>) -> Sending {
        self.send_message(&ConversationKey::private(to_user_id), Content::text(text))
    }

    /// Tells those who wait for these messages that there is nothing to wait for any longer.
    pub(crate) fn deleted(&self) -> impl FnOnce(&[i64]) + use<> {
        self.inner.courier.deleted()
    }

    /// Starts a task of its own on the library's thread; the last Client's end ends it.
    pub(crate) fn spawn<Fut>(&self, task: impl FnOnce(Arc<Shared>) -> Fut)
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.inner.driver.spawn(task(Arc::clone(&self.inner.shared)));
    }

    /// Makes a call on the library's thread, now or not at all.
    pub(crate) fn call<T, Fut>(&self, name: &'static str, call: impl FnOnce(Arc<Link>) -> Fut) -> Call<T>
    where
        T: Send + 'static,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let call = self.inner.shared.uplink.link(name).map(call);
        Call::start(&self.inner.driver, name, async move { call?.await })
    }
}
