//! `metrics`: the daemon's figures.

use std::collections::BTreeMap;

use imd_client::Client;
use serde::Serialize;

use crate::output::{Failure, Output};

/// Prints them as the daemon has them, or in Prometheus' older text form; with `--json` one object for each
/// sample.
pub(crate) async fn show(client: &Client, is_older: bool, output: &mut Output) -> Result<(), Failure> {
    let text = client.metrics().await?;
    if !output.is_json() {
        let text = if is_older { older(&text) } else { text };
        return output.raw(text.as_bytes());
    }
    for sample in text.lines().filter_map(sample) {
        output.print(&sample, |_| String::new())?;
    }
    Ok(())
}

/// In the form before OpenMetrics, which node_exporter's textfile collector reads: it knows neither info nor
/// stateset, and a counter's family has the name of its samples.
fn older(text: &str) -> String {
    let mut older = String::with_capacity(text.len());
    let mut family = String::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|head| head.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "stateset" => ("", "gauge"),
                _ => ("", kind),
            };
            family = format!("{name}{suffix}");
            older.push_str(&format!("# TYPE {family} {kind}\n"));
        } else if let Some((_, help)) = line.strip_prefix("# HELP ").and_then(|head| head.split_once(' ')) {
            older.push_str(&format!("# HELP {family} {help}\n"));
        } else if !line.starts_with('#') {
            older.push_str(line);
            older.push('\n');
        }
    }
    older
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
    fn the_older_form_has_the_older_types() {
        let text = concat!(
            "# TYPE a info\n# HELP a x y\na_info{v=\"1\"} 1\n",
            "# TYPE b_seconds counter\n# UNIT b_seconds seconds\n# HELP b_seconds z\nb_seconds_total 2\n",
            "# TYPE c stateset\n# HELP c z\nc{c=\"ON\"} 1\n# EOF\n"
        );
        assert_eq!(
            older(text),
            concat!(
                "# TYPE a_info gauge\n# HELP a_info x y\na_info{v=\"1\"} 1\n",
                "# TYPE b_seconds_total counter\n# HELP b_seconds_total z\nb_seconds_total 2\n",
                "# TYPE c gauge\n# HELP c z\nc{c=\"ON\"} 1\n"
            )
        );
    }

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
