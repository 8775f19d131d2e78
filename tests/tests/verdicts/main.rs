//! Every row of the table of verdicts, against the scripted broker: what the app is told, what the status
//! says, whether the loop goes on, and what a restarted daemon would find.
//!
//! | file | what is in it |
//! |---|---|
//! | `stage.rs`, `app.rs` | a daemon, its broker and its apps, and what a verdict comes to |
//! | `refusals.rs` | CONNACK: versions, client ids, bans, and the answers that only make it wait |
//! | `tokens.rs` | refused and expired tokens, the further tries of a good one, the better one of another app |
//! | `renewal.rs` | a token near its end: who is asked, and what UpdateToken does |
//! | `im_codes.rs` | the server's own codes, which outrank the table |
//! | `goodbyes.rs` | DISCONNECT, and ends without one |
//! | `redirects.rs` | use another server |
//! | `discovery.rs` | the server names the user |
//! | `version_3.rs` | MQTT 3.1.1 |
//! | `strangers.rs` | servers that do not speak MQTT, or not to the end |
//! | `logins.rs` | SUBSCRIBE and the marker, and that there is one connection |
//! | `callers.rs` | time limits, sign-out, a daemon that dies |
//! | `canary.rs` | that a token shows nowhere, through all of it |
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails its test"
)]

mod app;
mod callers;
mod canary;
mod discovery;
mod goodbyes;
mod im_codes;
mod logins;
mod redirects;
mod refusals;
mod renewal;
mod stage;
mod strangers;
mod tokens;
mod version_3;
