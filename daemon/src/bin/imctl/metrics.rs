//! `metrics`: the daemon's figures.

use std::collections::BTreeMap;

use imd_client::Client;
use serde::Serialize;

use crate::output::{Failure, Output};

/// Prints them as the daemon has them; with `--json` one object for each sample.
pub(crate) async fn show(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let text = client.metrics().await?;
    if !output.is_json() {
        return output.raw(text.as_bytes());
    }
    for sample in text.lines().filter_map(sample) {
        output.print(&sample, |_| String::new())?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Serialize)]
struct Sample<'a> {
    name: &'a str,
    labels: BTreeMap<&'a str, String>,
    value: f64,
}

/// A line of the text that is a sample, as imd writes it: no timestamps, no exemplars.
fn sample(line: &str) -> Option<Sample<'_>> {
    if line.starts_with('#') {
        return None;
    }
    let (series, value) = line.rsplit_once(' ')?;
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest),
        None => (series, ""),
    };
    let mut labels = BTreeMap::new();
    while let Some((label, quoted)) = rest.split_once("=\"") {
        let (text, after) = quoted_text(quoted)?;
        labels.insert(label.trim_start_matches(','), text);
        rest = after;
    }
    Some(Sample {
        name,
        labels,
        value: value.parse().ok()?,
    })
}

/// Up to the closing quote, and what follows it.
fn quoted_text(quoted: &str) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut letters = quoted.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((text, quoted.get(at + 1..)?)),
            '\\' => match letters.next()?.1 {
                'n' => text.push('\n'),
                escaped => text.push(escaped),
            },
            other => text.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_taken_apart() {
        assert_eq!(sample("# TYPE imd_status stateset"), None);
        let plain = sample("process_cpu_seconds_total 0.25").unwrap();
        assert_eq!((plain.name, plain.value), ("process_cpu_seconds_total", 0.25));
        let labelled = sample(r#"x_total{code="-1",name="a \"b\",{c} \\ "} 2"#).unwrap();
        assert_eq!(labelled.labels["code"], "-1");
        assert_eq!(labelled.labels["name"], r#"a "b",{c} \ "#);
        assert_eq!(labelled.value, 2.0);
    }
}
