//! On a database in memory that the migrations have made.

mod change;
mod conversations;
mod fixture;
mod history;
mod log;
mod outbox;
mod plans;
mod search;
