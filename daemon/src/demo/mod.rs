//! `imd demo` and its small broker, which the tests use too.

mod audience;
pub mod broker;
mod draw;
mod record;
mod serve;
mod stage;
mod story;
mod talk;
mod timeline;

pub use serve::serve;
pub use story::{Failed, run};
