//! `imd-client`: connect once, and the daemon does the rest.
//!
//! [`Client::builder`] is Init, [`Client::connect`] asks for the one connection that all of a user's apps
//! share. From the first success on, the daemon keeps it up: through lost networks, restarts of the
//! server, sleep and wake-up. What it is doing shows in the status; an error is told only when the daemon
//! has given up for this app.
//!
//! ```no_run
//! use imd_client::{Client, ConnectOptions};
//!
//! # async fn app(token: String) -> Result<(), imd_client::Error> {
//! let client = Client::builder("my-app-key").app_id("org.example.Chat").build()?;
//! let _listener = client.add_connection_status_listener(|status| println!("{status}"));
//!
//! let connecting = client.connect(token, ConnectOptions::new());
//! connecting.database_opened().await?; // the history can be read, with or without a network
//! let user_id = connecting.await?;
//! println!("connected as {user_id}");
//! # Ok(())
//! # }
//! ```
//!
//! The futures and streams run on any executor; [`Client::blocking`] has the same calls for code that
//! waits on its own thread. The library has one thread of its own for the calls, and one more once the
//! first callback is registered.
//!
//! # Messages
//! [`Client::send_message`] and [`Client::send_text`] give a [`Sending`]: accepted (on disk), sent (the server
//! has it), received (the peer's daemon has it on disk). [`Client::subscribe`] gives the events: messages that
//! come, changes of those sent, gaps. History, conversations, search and groups are calls of their own, and
//! work with the network down.
//!
//! # When the token ends
//! The server decides on a token at the login alone, so one that ends does not end the connection, but the next
//! reconnect. 80 % of the way to a JWT's end the daemon asks one of the apps that can bring another:
//! [`Client::set_token_provider`] says that this one can. [`Client::update_token`] brings one unasked.
//!
//! # When the daemon is gone
//! An app has nothing to do: the library waits for the next daemon (it watches the socket's directory), binds
//! as the same instance, and goes on. The status reads "daemon lost" meanwhile ([`Status::loss`] tells a stop in
//! order from a death), which listeners are told once for each loss; then it is the new daemon's, whose
//! [`Status::daemon_run_id`] is another one.
//!
//! | what | without a daemon, and with the next one |
//! |---|---|
//! | a connect that is pending | waits, and is asked for again under the same id, with the time that is left; 34006 when that is over |
//! | a connect that succeeded | is told to the new daemon, or asked for again if it was not to remember; not if it has ended (kicked, refused, signed out) |
//! | [`Client::subscribe`] | goes on after the last event: none is lost, none comes twice |
//! | [`Client::send_message`] | waits in the conversation's order for 30 seconds at most, then -2; what was not answered is sent again, and is the same message |
//! | status listeners and streams, the token provider | stay |
//! | every other call | fails at once with [`Code::IPC_DISCONNECT`]; [`Error::sent`] tells whether it may have been carried out |
//!
//! A call that a living daemon does not answer within 2 seconds fails with [`Code::IMD_DEADLINE_EXCEEDED`], and
//! no daemon is lost by that: only one that does not answer the keep-alive either is.
//! [`ClientBuilder::build`] fails where no daemon is; with [`ClientBuilder::wait_for_daemon`] it waits, too.

pub mod admin;
mod bind;
mod blocking;
mod builder;
mod call;
mod callbacks;
mod channel;
mod claim;
mod client;
mod clock;
mod connect;
mod conversations;
mod driver;
mod error;
mod events;
mod groups;
mod history;
mod listeners;
mod message;
mod rebind;
mod renewal;
mod sending;
mod socket_watch;
mod status;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;
mod token;
mod uplink;

pub use blocking::{BlockingClient, BlockingEvents, BlockingSending, BlockingStatusChanges};
pub use builder::ClientBuilder;
pub use call::Call;
pub use client::Client;
pub use connect::{ConnectCallback, ConnectOptions, Connecting, DatabaseOpenStatus, UserId};
pub use conversations::{Conversation, ConversationChange, ConversationPage, PageToken};
pub use error::{Error, Sent};
pub use events::{Cursor, Event, EventKind, Events, Gap, GapKind, Start};
pub use groups::Group;
pub use history::{MessagePage, Outbox, PageOptions, SearchOptions};
pub use imd_proto::code::{Code, Kind};
pub use listeners::{ConnectionStatusChanges, StatusListener};
pub use message::{Content, ConversationKey, ConversationType, Direction, Message, SendFailure, SentStatus};
pub use renewal::{TokenExpiring, TokenProvider};
pub use sending::Sending;
pub use status::{ConnectionStatus, DaemonLoss, Network, NextRetry, OfflineSync, Status};
pub use token::Token;

/// The examples of the repository's page, compiled as those of this one are.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/tokens.md")]
mod tokens {}

#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
mod testing_page {}
