//! `imd demo` and its small broker, which the tests use too.

pub mod broker;
mod serve;
mod stage;
mod story;
mod talk;
mod timeline;

pub use serve::serve;
pub use story::{Failed, run};
