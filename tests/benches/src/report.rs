//! What a bench has found: lines of the table, and one line of JSON.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use imd_tests::sources::root;
use serde_json::{Value, json};

use crate::Scale;
use crate::statistics::Samples;

/// What is wished of a figure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// It is told beside the others.
    None,
}

impl Goal {
    /// Whether it is reached; `None` where nothing is wished.
    #[must_use]
    pub fn is_met(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(figure <= most),
            Self::AtLeast(least) => Some(figure >= least),
            Self::None => None,
        }
    }
}

/// One figure of a bench.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What was measured, for people.
    pub what: String,
    pub figure: f64,
    /// `×`, `ms`, …
    pub unit: &'static str,
    pub goal: Goal,
    /// Least and most of what the figure is the median of.
    pub spread: Option<(f64, f64)>,
}

impl Finding {
    /// A single figure.
    #[must_use]
    pub fn new(what: impl Into<String>, figure: f64, unit: &'static str, goal: Goal) -> Self {
        Self {
            what: what.into(),
            figure,
            unit,
            goal,
            spread: None,
        }
    }

    /// The median of samples.
    #[must_use]
    pub fn median(what: impl Into<String>, samples: &Samples, unit: &'static str, goal: Goal) -> Self {
        Self {
            spread: Some((samples.least(), samples.most())),
            ..Self::new(what, samples.median(), unit, goal)
        }
    }

    fn row(&self, bench: &str) -> String {
        let unit = self.unit;
        let goal = match self.goal {
            Goal::AtMost(most) => format!("≤ {} {unit}", number(most)),
            Goal::AtLeast(least) => format!("≥ {} {unit}", number(least)),
            Goal::None => String::new(),
        };
        let mut figure = format!("{} {unit}", number(self.figure));
        if let Some((least, most)) = self.spread {
            let _ = write!(figure, " ({}–{})", number(least), number(most));
        }
        let verdict = match self.goal.is_met(self.figure) {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "",
        };
        format!("| {bench} | {} | {goal} | {figure} | {verdict} |", self.what)
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what,
            "figure": self.figure,
            "unit": self.unit,
            "least": self.spread.map(|(least, _)| least),
            "most": self.spread.map(|(_, most)| most),
            "goal": match self.goal {
                Goal::AtMost(most) => json!({ "at_most": most }),
                Goal::AtLeast(least) => json!({ "at_least": least }),
                Goal::None => Value::Null,
            },
            "met": self.goal.is_met(self.figure),
        })
    }
}

/// Three digits are all that a bench is good for.
fn number(figure: f64) -> String {
    let size = figure.abs();
    if size >= 100.0 {
        format!("{figure:.0}")
    } else if size >= 10.0 {
        format!("{figure:.1}")
    } else if size >= 0.1 || size == 0.0 {
        format!("{figure:.2}")
    } else {
        format!("{figure:.4}")
    }
}

/// The findings of one bench.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    scale: Scale,
    /// The machine's load when the bench began.
    load: f64,
    findings: Vec<Finding>,
    /// What the figures do not say.
    notes: Vec<String>,
}

impl Report {
    #[must_use]
    pub fn begin(bench: &'static str, scale: Scale) -> Self {
        Self {
            bench,
            scale,
            load: load(),
            findings: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub fn add(&mut self, finding: Finding) {
        println!("{}", finding.row(self.bench));
        self.findings.push(finding);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        println!("  ({}: {note})", self.bench);
        self.notes.push(note);
    }

    /// Writes the line of JSON to `target/bench/NAME.jsonl`, behind those of earlier runs.
    ///
    /// # Panics
    /// When it can't be written.
    pub fn end(self) {
        let line = json!({
            "bench": self.bench,
            "quick": self.scale == Scale::Quick,
            "unix_seconds": imd::clock::now().unix.as_millis() / 1000,
            "load": self.load,
            "machine": machine(),
            "findings": self.findings.iter().map(Finding::json).collect::<Vec<_>>(),
            "notes": self.notes,
        });
        let path = output(&format!("{}.jsonl", self.bench));
        let file = File::options().create(true).append(true).open(path);
        writeln!(file.expect("target/bench can be written"), "{line}").expect("target/bench can be written");
    }
}

/// A file under `target/bench`.
///
/// # Panics
/// When the directory can't be made.
#[must_use]
pub fn output(name: &str) -> PathBuf {
    let directory = root().join("target/bench");
    fs::create_dir_all(&directory).expect("target/bench can be made");
    directory.join(name)
}

/// The load of the last minute.
///
/// # Panics
/// When the kernel does not tell.
#[must_use]
pub fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").expect("the kernel tells the load");
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.expect("the load is a number")
}

/// The processor, how many of it, and the kernel.
///
/// # Panics
/// When the kernel does not tell.
#[must_use]
pub fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).expect("the kernel tells what it runs on");
    let processors = read("/proc/cpuinfo");
    let name = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let name = name.map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']));
    let count = processors
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    format!(
        "{count} × {name}, Linux {}",
        read("/proc/sys/kernel/osrelease").trim()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_goal_figure_spread_and_verdict() {
        let samples = Samples::new([0.6, 0.5, 0.7]);
        let met = Finding::median("rate", &samples, "×", Goal::AtLeast(0.5));
        assert_eq!(
            met.row("P2"),
            "| P2 | rate | ≥ 0.50 × | 0.60 × (0.50–0.70) | met |"
        );
        let missed = Finding::new("p99", 51.0, "ms", Goal::AtMost(50.0));
        assert_eq!(
            missed.row("P6"),
            "| P6 | p99 | ≤ 50.0 ms | 51.0 ms | **missed** |"
        );
        assert_eq!(
            Finding::new("rate", 1234.5, "/s", Goal::None).row("P2"),
            "| P2 | rate |  | 1234 /s |  |"
        );
    }
}
