//! The same calls for code that waits on its own thread.

mod messages;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_stream::StreamExt as _;

use crate::admin::{App, Finding, StatusChange, Timeline, Version};
use crate::client::Client;
use crate::connect::{ConnectOptions, UserId};
use crate::error::Error;
use crate::listeners::ConnectionStatusChanges;
use crate::renewal::{TokenExpiring, TokenProvider};
use crate::status::Status;
use crate::token::Token;

pub use messages::{BlockingEvents, BlockingSending};

/// A [`Client`] whose calls wait. Made by [`Client::blocking`].
///
/// It may be used on any thread, a callback's too. On a thread that drives async tasks it holds them up.
#[derive(Clone)]
pub struct BlockingClient {
    client: Client,
}

impl BlockingClient {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client whose calls give futures.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// See [`Client::connect`].
    ///
    /// # Errors
    /// The error with which the daemon refused the connect or gave up.
    pub fn connect(&self, token: impl Into<Token>, options: ConnectOptions) -> Result<UserId, Error> {
        pollster::block_on(self.client.connect(token, options))
    }

    /// See [`Client::update_token`].
    ///
    /// # Errors
    /// 90014 without a connection, 31004 for a token of another user or App Key; as
    /// [`disconnect`](Self::disconnect).
    pub fn update_token(&self, token: impl Into<Token>) -> Result<Option<SystemTime>, Error> {
        pollster::block_on(self.client.update_token(token))
    }

    /// See [`Client::set_token_provider`]. The provider may wait; the callbacks wait with it.
    pub fn set_token_provider<T, E>(
        &self,
        mut provider: impl FnMut(TokenExpiring) -> Result<T, E> + Send + 'static,
    ) -> TokenProvider
    where
        T: Into<Token> + Send + 'static,
        E: fmt::Display + Send + 'static,
    {
        self.client
            .set_token_provider(move |expiring| std::future::ready(provider(expiring)))
    }

    /// See [`Client::disconnect`].
    ///
    /// # Errors
    /// -2 without a daemon, 90001 with a silent one.
    pub fn disconnect(&self) -> Result<(), Error> {
        pollster::block_on(self.client.disconnect())
    }

    /// See [`Client::logout`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn logout(&self) -> Result<(), Error> {
        pollster::block_on(self.client.logout())
    }

    /// See [`Client::connection_status`].
    #[must_use]
    pub fn connection_status(&self) -> Arc<Status> {
        self.client.connection_status()
    }

    /// See [`Client::fetch_connection_status`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn fetch_connection_status(&self) -> Result<Status, Error> {
        pollster::block_on(self.client.fetch_connection_status())
    }

    /// See [`Client::connection_status_changes`].
    #[must_use]
    pub fn connection_status_changes(&self) -> BlockingStatusChanges {
        BlockingStatusChanges(self.client.connection_status_changes())
    }

    /// See [`Client::version`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn version(&self) -> Result<Version, Error> {
        pollster::block_on(self.client.version())
    }

    /// See [`Client::apps`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn apps(&self) -> Result<Vec<App>, Error> {
        pollster::block_on(self.client.apps())
    }

    /// See [`Client::status_changes`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn status_changes(&self) -> Result<Vec<StatusChange>, Error> {
        pollster::block_on(self.client.status_changes())
    }

    /// See [`Client::timeline`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn timeline(&self, since: SystemTime) -> Result<Timeline, Error> {
        pollster::block_on(self.client.timeline(since))
    }

    /// See [`Client::metrics`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn metrics(&self) -> Result<String, Error> {
        pollster::block_on(self.client.metrics())
    }

    /// See [`Client::diagnose`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn diagnose(&self, probe_broker: bool) -> Result<Vec<Finding>, Error> {
        pollster::block_on(self.client.diagnose(probe_broker))
    }

    /// See [`Client::shutdown`].
    ///
    /// # Errors
    /// As [`disconnect`](Self::disconnect).
    pub fn shutdown(&self, reason: impl Into<String>) -> Result<(), Error> {
        pollster::block_on(self.client.shutdown(reason))
    }
}

/// The status as it is, then every change; `next` waits for it.
pub struct BlockingStatusChanges(ConnectionStatusChanges);

impl Iterator for BlockingStatusChanges {
    type Item = Arc<Status>;

    fn next(&mut self) -> Option<Self::Item> {
        pollster::block_on(self.0.next())
    }
}
