//! `imd demo` and its small broker, which the tests use too.

pub mod broker;
mod stage;
mod story;
mod talk;
mod timeline;

pub use story::{Failed, run};
