//! imd: one instant-messaging connection for all of a user's apps.
//!
//! | room | what is in it |
//! |---|---|
//! | [`cli`] | the daemon's command line, its log and its exit codes |
//! | [`access`] | which apps may use it, and which app a process is |
//! | [`config`], [`paths`], [`locks`] | what the person wrote, where things are, who may run |
//! | [`clock`] | the one place that reads a clock |
//! | [`network`] | what the machine's network looks like, and when that changes |
//! | [`link`] | the one task that drives the core and the server connection |
//! | [`transport`] | the way to a server: addresses, proxies, TLS, WebSockets |
//! | [`system_bus`] | what logind and NetworkManager tell: sleep, captive portals |
//! | [`store`] | the account's database and the remembered session, on their own thread |
//! | [`hub`] | what the world sees: the status with its generation, the bound apps |
//! | [`rpc`] | the socket and the gRPC services: thin |
//! | [`lifecycle`] | start, signals, systemd, the orderly stop |
//! | `manual` | man pages and completions from a command line's definition |
//! | [`demo`] | `imd demo` and its small broker |

pub mod access;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod hub;
pub mod lifecycle;
pub mod link;
pub mod locks;
mod manual;
pub mod nav;
pub mod network;
pub mod paths;
pub mod rpc;
pub mod store;
pub mod system_bus;
pub mod transport;
