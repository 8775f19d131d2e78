//! What a reader of the repository can rely on.

use std::collections::HashSet;
use std::fs;

use imd_proto::code::TABLE;
use imd_tests::sources::{root, with_endings};

const LONGEST: usize = 600;
const BEGIN: &str = "<!-- codes:begin -->";
const END: &str = "<!-- codes:end -->";

#[test]
fn no_file_is_longer_than_a_person_reads_at_once() {
    let long: Vec<_> = with_endings(&[".rs", ".proto", ".md", ".toml", "/run"])
        .into_iter()
        .map(|source| (source.text.lines().count(), source.path))
        .filter(|(lines, _)| *lines > LONGEST)
        .collect();
    assert!(long.is_empty(), "split by topic: {long:?}");
}

#[test]
fn nothing_is_left_to_be_done_later() {
    // Put together here, so that this file has none of them.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"]].map(|parts| parts.concat());
    let mut found = Vec::new();
    for source in with_endings(&[".rs", ".proto", ".md", ".toml", ".conf", "acl", "run"]) {
        for (number, line) in source.text.lines().enumerate() {
            let words = line.split(|c: char| !c.is_alphanumeric());
            if words
                .into_iter()
                .any(|word| marks.iter().any(|mark| mark == word))
            {
                found.push(format!("{}:{}: {line}", source.path, number + 1));
            }
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn no_test_is_switched_off() {
    let ignore = ["#[ign", "ore"].concat();
    let off: Vec<_> = with_endings(&[".rs"])
        .into_iter()
        .filter(|source| source.text.contains(&ignore))
        .map(|source| source.path)
        .collect();
    assert!(off.is_empty(), "{off:?}");
}

#[test]
fn each_link_of_a_page_leads_somewhere() {
    let mut dead = Vec::new();
    let mut seen = 0;
    for page in with_endings(&[".md"]) {
        let path = root().join(&page.path);
        for link in links(&page.text) {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                _ => path.with_file_name("").join(file),
            };
            let leads = target.exists()
                && (anchor.is_empty()
                    || anchors(&fs::read_to_string(&target).unwrap_or_default()).contains(anchor));
            if !leads {
                dead.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert!(seen >= 20, "{seen} links were found");
    assert!(dead.is_empty(), "\n{}", dead.join("\n"));
}

/// The lines of a page that are not in a block of code.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .scan(false, |in_code, line| {
            let fence = line.starts_with("```");
            *in_code ^= fence;
            Some((!*in_code && !fence).then_some(line))
        })
        .flatten()
}

/// Where the links and pictures of a page lead to.
fn links(page: &str) -> impl Iterator<Item = &str> {
    prose(page).flat_map(|line| {
        line.split("](")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(')')?.0))
    })
}

/// What can stand behind the `#` of a link to a page: its headings, written as GitHub does.
fn anchors(page: &str) -> HashSet<String> {
    prose(page)
        .filter(|line| line.starts_with('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

#[test]
fn the_readme_has_the_table_of_codes() {
    let path = root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("README.md has the marker codes:begin");
    let (_, after) = rest.split_once(END).expect("README.md has the marker codes:end");
    let wanted = format!("{before}{BEGIN}\n{}\n{END}{after}", codes());
    if std::env::var_os("IMD_UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, wanted).unwrap();
        return;
    }
    assert!(
        readme == wanted,
        "README.md differs from the code table (proto/src/code.rs). Write it again with:\n    \
         IMD_UPDATE=1 cargo test -p imd-tests --test tidy"
    );
}

/// The README's section, from the code table.
fn codes() -> String {
    let mut lines = vec![
        "## Codes".to_owned(),
        String::new(),
        "*loop* heals by itself and shows in the status alone; *terminal* ends the connection until an app connects again;"
            .to_owned(),
        "*call* ends the one call it answers. A number that is not in the table passes through unharmed.".to_owned(),
        String::new(),
        "| code | name | kind | what it means | what the app should do |".to_owned(),
        "|---:|---|---|---|---|".to_owned(),
    ];
    lines.extend(TABLE.iter().map(|row| {
        let (meaning, action) = (cell(row.meaning), cell(row.action));
        format!(
            "| {} | `{}` | {} | {meaning} | {action} |",
            row.code.0,
            row.name,
            row.kind.word()
        )
    }));
    lines.join("\n")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}
