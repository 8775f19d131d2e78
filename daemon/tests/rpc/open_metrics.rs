//! The grammar of OpenMetrics 1.0, as far as imd uses it, and strictly: families one after the other, their head
//! before their samples, suffixes and labels as their type wants them.

use std::collections::{BTreeMap, BTreeSet};

/// The name with its suffix, the labels, and the value.
pub(crate) type Sample = (String, Vec<(String, String)>, f64);

/// A family as it was read.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) samples: Vec<Sample>,
    unit: String,
    has_help: bool,
}

/// Reads a text, and panics with the line that is wrong.
pub(crate) fn parse(text: &str) -> BTreeMap<String, Family> {
    let lines = text
        .strip_suffix("# EOF\n")
        .expect("it ends with # EOF and a line break");
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    let mut seen = BTreeSet::new();
    for line in lines.lines() {
        if let Some(head) = line.strip_prefix("# ") {
            let mut words = head.splitn(3, ' ');
            let (word, name, rest) = (
                words.next().unwrap(),
                words.next().unwrap(),
                words.next().unwrap(),
            );
            if word == "TYPE" {
                assert!(is_name(name), "{line}");
                assert!(!families.contains_key(name), "a family begins twice: {line}");
                current = name.to_owned();
            }
            assert_eq!(name, current, "a head in another family: {line}");
            let family = families.entry(current.clone()).or_default();
            assert!(family.samples.is_empty(), "a head after samples: {line}");
            match word {
                "TYPE" => family.kind = rest.to_owned(),
                "UNIT" => family.unit = rest.to_owned(),
                "HELP" => family.has_help = !rest.is_empty(),
                _ => panic!("no head of OpenMetrics: {line}"),
            }
            continue;
        }
        let (name, labels, value) = sample(line);
        assert!(seen.insert((name.clone(), labels.clone())), "twice: {line}");
        let family = families
            .get_mut(&current)
            .unwrap_or_else(|| panic!("a sample without a family: {line}"));
        let suffix = name
            .strip_prefix(&current)
            .unwrap_or_else(|| panic!("a sample of another family: {line}"));
        assert!(
            suffixes(&family.kind).contains(&suffix),
            "{} has no {suffix}: {line}",
            family.kind
        );
        family.samples.push((name, labels, value));
    }
    for (name, family) in &families {
        check(name, family);
    }
    families
}

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" | "stateset" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_count", "_sum"],
        other => panic!("no type that imd uses: {other}"),
    }
}

fn check(name: &str, family: &Family) {
    assert!(family.has_help, "{name} has no HELP");
    let ends_in_unit = ["seconds", "bytes"]
        .iter()
        .find(|unit| name.ends_with(&format!("_{unit}")));
    assert_eq!(
        family.unit,
        ends_in_unit.map_or("", |unit| unit),
        "the unit of {name}"
    );
    match family.kind.as_str() {
        "stateset" => {
            let values: Vec<f64> = family.samples.iter().map(|(_, _, value)| *value).collect();
            assert!(
                values.iter().all(|value| *value == 0.0 || *value == 1.0),
                "{name}: {values:?}"
            );
            for (_, labels, _) in &family.samples {
                assert_eq!(labels.len(), 1);
                assert_eq!(labels[0].0, name, "a stateset's label has its name");
            }
        }
        "counter" => assert!(family.samples.iter().all(|(_, _, value)| *value >= 0.0), "{name}"),
        "histogram" => histogram(name, family),
        _ => {}
    }
}

fn histogram(name: &str, family: &Family) {
    let mut last = (f64::NEG_INFINITY, 0.0);
    for (_, labels, value) in family
        .samples
        .iter()
        .filter(|(sample, ..)| sample.ends_with("_bucket"))
    {
        assert_eq!(labels[0].0, "le");
        let bound: f64 = labels[0].1.replace("+Inf", "inf").parse().unwrap();
        assert!(bound > last.0 && *value >= last.1, "{name}: buckets go up");
        last = (bound, *value);
    }
    assert_eq!(last.0, f64::INFINITY, "{name} has a bucket for all");
    let count = family
        .samples
        .iter()
        .find(|(sample, ..)| sample.ends_with("_count"))
        .unwrap();
    assert_eq!(count.2, last.1, "{name}: the last bucket is the count");
}

fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap();
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    let Some((name, rest)) = series.split_once('{') else {
        assert!(is_name(series), "{line}");
        return (series.to_owned(), Vec::new(), value);
    };
    assert!(is_name(name), "{line}");
    let inner = rest
        .strip_suffix('}')
        .unwrap_or_else(|| panic!("labels that do not end: {line}"));
    let labels = inner.split(',').map(|pair| {
        let (label, text) = pair
            .split_once("=\"")
            .unwrap_or_else(|| panic!("no label: {line}"));
        assert!(is_name(label), "{line}");
        (label.to_owned(), text.strip_suffix('"').unwrap().to_owned())
    });
    (name.to_owned(), labels.collect(), value)
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|letter: char| letter.is_ascii_digit())
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[test]
#[should_panic(expected = "a sample of another family")]
fn a_sample_in_the_wrong_place_is_found() {
    parse("# TYPE a gauge\n# HELP a x\nb 1\n# EOF\n");
}

#[test]
#[should_panic(expected = "gauge has no _total")]
fn a_suffix_that_the_type_has_not_is_found() {
    parse("# TYPE a gauge\n# HELP a x\na_total 1\n# EOF\n");
}
