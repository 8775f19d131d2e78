//! The socket and the gRPC services: thin. Nothing is decided here but who may speak and whether what
//! they say can be read; the link and the hub do the rest.
//!
//! | file | what is in it |
//! |---|---|
//! | `accept` | the socket's connections: whose they are, how many there may be |
//! | `allowed` | whether an app is on the person's list |
//! | `requests` | how many may be under way, how much and how long one may take to come |
//! | `budget` | what there is in all and for one process: requests, streams, bytes |
//! | `paced`, `pages` | answers made no faster than they are read, and read from the store in turns |
//! | `server` | the services put together, and their orderly stop |
//! | `unfit` | what a daemon answers that cannot start |
//! | `session`, `admin` | the calls about the connection and the daemon |
//! | `message`, `conversation`, `group`, `event` | the calls about what is stored |
//! | `archive` | what those want from the store |
//! | `binding`, `arguments` | for whom a call is made, and whether its arguments can be read |
//! | `convert` | all conversions between the wire's types and ours |
//! | `diagnose` | what Diagnose finds |
//! | `metrics`, `timeline` | what GetMetrics answers, and ListStatusChanges of earlier runs |
//! | `panics`, `stop` | a panic becomes a log line and a code; the daemon's end is told to all |

mod accept;
mod admin;
mod allowed;
mod archive;
mod arguments;
mod binding;
mod budget;
mod conversation;
mod convert;
mod diagnose;
mod event;
mod group;
mod message;
mod metrics;
mod paced;
mod pages;
mod panics;
mod requests;
mod server;
mod session;
mod stop;
mod timeline;
mod token;
mod unfit;

pub use accept::{Limits, Listening, Peer};
pub use archive::Archive;
pub use diagnose::{Diagnose, Finding, Verdict};
pub use panics::log_panics;
pub use server::{About, MAX_REQUEST, ServeError, Services, serve};
pub use stop::Stop;
pub use unfit::{Unfit, serve_unfit};
