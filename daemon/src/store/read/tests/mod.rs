//! On a database in memory that the migrations have made, and, in `store`, through the store's threads.

mod change;
mod conversations;
mod fixture;
mod history;
mod log;
mod outbox;
mod plans;
mod scale;
mod search;
mod store;
