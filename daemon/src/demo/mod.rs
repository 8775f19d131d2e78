//! `imd demo` and its small broker, which the tests use too.

pub mod broker;
