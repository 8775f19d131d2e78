//! What GetMetrics answers. Everything is read when it is asked for: nothing here runs by itself, and what is
//! counted on the way of a message is counted a batch at a time.
//!
//! No label names a person, an app or a secret.

mod text;

use std::time::Duration;

use imd_core::io::{ConnectionStatus, Network};
use imd_core::time::BootTime;
use imd_proto::PROTOCOL;
use imd_proto::code::Code;

use self::text::{Kind, Text, Value as _};
use super::server::About;
use crate::clock;
use crate::hub::{Lag, Published, StatusCounts};
use crate::store::{COMMIT_BOUNDS, Figures};

/// What the rooms say of themselves.
pub(super) struct Readings<'a> {
    pub(super) about: &'a About,
    pub(super) status: &'a Published,
    pub(super) counts: StatusCounts,
    /// `None`: no connection is up.
    pub(super) last_heard: Option<BootTime>,
    pub(super) apps: usize,
    pub(super) lags: Vec<Lag>,
    pub(super) connections: usize,
    pub(super) refused: u64,
    /// `None`: the store did not answer in time.
    pub(super) store: Option<Figures>,
}

/// The figures as OpenMetrics text.
pub(super) fn render(readings: &Readings<'_>) -> String {
    let mut text = Text::default();
    process(&mut text, readings.about);
    connection(&mut text, readings);
    apps(&mut text, readings);
    text.gauge(
        "imd_store_up",
        "1 if the store answered in time; else its figures are missing.",
        readings.store.is_some(),
    );
    if let Some(figures) = &readings.store {
        messages(&mut text, figures);
        store(&mut text, figures);
    }
    text.end()
}

fn process(text: &mut Text, about: &About) {
    text.family(Kind::Info, "imd_build", "What this daemon is.");
    let protocol = PROTOCOL.to_string();
    let labels = [("version", about.version.as_str()), ("protocol", &protocol)];
    text.sample("_info", &labels, true);
    text.gauge(
        "process_start_time_seconds",
        "When the daemon was started, since 1970.",
        unix_seconds(about.started.as_millis()),
    );
    text.counter(
        "process_cpu_seconds",
        "Processor time of the daemon.",
        clock::processor_time().as_secs_f64(),
    );
    if let Some(bytes) = resident_memory() {
        text.gauge("process_resident_memory_bytes", "Memory of the daemon.", bytes);
    }
}

fn connection(text: &mut Text, readings: &Readings<'_>) {
    let status = &readings.status.status;
    text.family(
        Kind::StateSet,
        "imd_status",
        "The status of the connection to the server.",
    );
    for one in ConnectionStatus::ALL {
        text.sample("", &[("imd_status", one.name())], one == status.status);
    }
    text.gauge(
        "imd_status_change_time_seconds",
        "When the status changed last, since 1970.",
        unix_seconds(readings.status.changed.as_millis()),
    );
    text.gauge(
        "imd_network_available",
        "1 if the machine has a network.",
        status.network == Network::Available,
    );
    if let Some(heard) = readings.last_heard {
        text.gauge(
            "imd_server_silence_seconds",
            "Time since the server was heard last. Missing while there is no connection.",
            clock::now().boot.since(heard).as_secs_f64(),
        );
    }
    let counts = &readings.counts;
    text.counter("imd_connect_attempts", "Attempts to connect.", counts.attempts);
    text.counter(
        "imd_connections",
        "Times the connection was made; all but the first are reconnects.",
        counts.connected,
    );
    text.family(
        Kind::Counter,
        "imd_connection_ends",
        "Failed attempts and ended connections, by code.",
    );
    for (code, count) in &counts.ends {
        let number = code.to_string();
        let labels = [("code", number.as_str()), ("name", Code(*code).name())];
        text.sample("_total", &labels, *count);
    }
    if counts.other_ends > 0 {
        text.sample(
            "_total",
            &[("code", "other"), ("name", "OTHER")],
            counts.other_ends,
        );
    }
}

fn apps(text: &mut Text, readings: &Readings<'_>) {
    text.gauge("imd_apps_bound", "Apps that are bound.", readings.apps);
    text.gauge("imd_event_streams", "Open event streams.", readings.lags.len());
    let slowest = readings
        .lags
        .iter()
        .map(|lag| lag.events)
        .max()
        .unwrap_or_default();
    text.gauge(
        "imd_event_stream_lag_max",
        "Events that the slowest event stream is behind the log's end.",
        slowest,
    );
    text.gauge(
        "imd_socket_connections",
        "Open connections to the daemon's socket.",
        readings.connections,
    );
    text.counter(
        "imd_socket_connections_refused",
        "Connections to the socket that were closed at once: too many, or of another user.",
        readings.refused,
    );
}

fn messages(text: &mut Text, figures: &Figures) {
    let counted = &figures.counted;
    for (name, help, value) in [
        (
            "imd_messages_received",
            "Messages that were stored.",
            counted.received,
        ),
        (
            "imd_messages_duplicate",
            "Messages that came again and were dropped.",
            counted.duplicate,
        ),
        (
            "imd_messages_accepted",
            "Messages the apps wanted sent, each once.",
            counted.enqueued,
        ),
        (
            "imd_messages_sent",
            "Messages the server took; one that is published again counts again.",
            counted.sent,
        ),
        (
            "imd_messages_failed",
            "Messages that the server refused or that cannot be sent.",
            counted.failed,
        ),
    ] {
        text.counter(name, help, value);
    }
    let Some(account) = &figures.account else { return };
    text.gauge(
        "imd_outbox_messages",
        "Messages that wait to be sent.",
        account.outbox_messages,
    );
    text.gauge("imd_outbox_bytes", "Their content.", account.outbox_bytes);
    text.gauge(
        "imd_event_log_entries",
        "Length of the event log.",
        account.events,
    );
    text.gauge(
        "imd_unreadable_messages",
        "What came in and could not be read, kept aside.",
        account.unreadable,
    );
    text.gauge(
        "imd_database_bytes",
        "The account's database with its log.",
        account.bytes,
    );
}

fn store(text: &mut Text, figures: &Figures) {
    if let Some(free) = figures.free_disk {
        text.gauge("imd_free_disk_bytes", "Room in the data directory.", free);
    }
    text.gauge(
        "imd_store_queue_jobs",
        "Jobs that wait for the store's thread.",
        figures.queue,
    );
    text.family(
        Kind::Histogram,
        "imd_commit_duration_seconds",
        "Commits to the database, fsync included.",
    );
    let mut so_far = 0_u64;
    let bounds = COMMIT_BOUNDS
        .iter()
        .map(|millis| Duration::from_millis(*millis).as_secs_f64().text())
        .chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(figures.counted.commits) {
        so_far += count;
        text.sample("_bucket", &[("le", &bound)], so_far);
    }
    text.sample("_count", &[], so_far);
    text.sample("_sum", &[], figures.counted.commit_time.as_secs_f64());
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit a double for 280,000 years"
)]
fn unix_seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// What the kernel says; `None` where it says nothing.
fn resident_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    kilobytes.checked_mul(1024)
}
