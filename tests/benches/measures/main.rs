//! The measures of imd's table: `./tests/bench` builds what they need and runs them.
//!
//! `measures [--quick] [NAME…]` runs all, or the named ones, in this process, one after the other.
#![expect(
    clippy::unwrap_used,
    reason = "a bench that can't do its part has no figure to give"
)]
#![expect(clippy::print_stderr, reason = "a wrong name is told")]

mod p11_half_open;
mod p12_herd;
mod p1_status;
mod p2_receive;
mod p3_send;
mod p4_event;
mod p5_apps;
mod p6_rebind;
mod p7_history;
mod p9_idle;
mod series;

use std::process::ExitCode;

use imd_benches::Scale;

/// A measure, and its name on the command line.
type Measure = (&'static str, fn(Scale));

const MEASURES: &[Measure] = &[
    ("P1", p1_status::measure),
    ("P2", p2_receive::measure),
    ("P3", p3_send::measure),
    ("P4", p4_event::measure),
    ("P5", p5_apps::measure),
    ("P6", p6_rebind::measure),
    ("P7+P8", p7_history::measure),
    ("P9", p9_idle::measure),
    ("P11", p11_half_open::measure),
    ("P12", p12_herd::measure),
    ("S-apps", series::apps),
    ("S-stored", series::stored),
    ("S-size", series::size),
    ("S-rtt", series::round_trip),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let ["serve-bare", socket] = words.as_slice() {
        p1_status::serve_bare(socket);
        return ExitCode::SUCCESS;
    }
    // Cargo says --bench to every bench.
    let names: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| !word.starts_with("--"))
        .collect();
    let scale = if words.contains(&"--quick") {
        Scale::Quick
    } else {
        Scale::Full
    };
    if let Some(unknown) = names
        .iter()
        .find(|name| !MEASURES.iter().any(|(known, _)| known == *name))
    {
        let known: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
        eprintln!("no measure is called {unknown}; there are {}", known.join(", "));
        return ExitCode::from(2);
    }
    for (name, measure) in MEASURES {
        if names.is_empty() || names.contains(name) {
            measure(scale);
        }
    }
    ExitCode::SUCCESS
}
