//! Looking into a real daemon: what the doctor finds when a fault is made for real, the report, the timeline.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails its test"
)]

mod bugreport;
mod doctor;
mod manual;
mod terminal;
mod timeline;
