//! Version skew: an app's library and a daemon of other versions, from the contract as it was frozen.
//!
//! `proto/contract/imd-X.Y-protocol-N.txtpb` is the contract as version X.Y first spoke protocol N. It is
//! never written again. `proto/contract/always.txt` is the part that never changes at all.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of a test fail by panicking, as the test itself does"
)]

mod frozen;
mod older_app;
mod older_daemon;
mod proxy;
mod wire;
