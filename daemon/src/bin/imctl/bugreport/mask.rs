//! Secrets and people taken out of a text that is to be sent to somebody.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};

/// Takes the place of a secret.
const MASKED: &str = "[masked]";

/// Words in the name of a setting that make its value a secret.
const SECRET_NAMES: [&str; 5] = ["token", "secret", "password", "passwd", "credential"];

/// What is taken out.
#[derive(Default)]
pub(super) struct Mask {
    /// Users and groups, the longest first: one may be part of another.
    people: Vec<String>,
}

impl Mask {
    pub(super) fn new(people: BTreeSet<String>) -> Self {
        let mut people: Vec<String> = people.into_iter().filter(|id| !id.is_empty()).collect();
        people.sort_by_key(|id| std::cmp::Reverse(id.len()));
        Self { people }
    }

    /// The text without secrets, and with a hash in the place of each user.
    pub(super) fn apply(&self, text: &str) -> String {
        let mut masked = String::with_capacity(text.len());
        for line in text.split_inclusive('\n') {
            masked.push_str(&without_tokens(&without_user_info(&without_value(line))));
        }
        for id in &self.people {
            masked = replace_word(&masked, id, &alias(id));
        }
        masked
    }
}

/// The same for the same id, here and in every report.
fn alias(id: &str) -> String {
    let hash = Sha256::digest(id.as_bytes());
    let hex: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("user-{hex}")
}

/// A setting whose name says that it is a secret.
fn without_value(line: &str) -> String {
    let Some((name, _)) = line.split_once('=') else {
        return line.to_owned();
    };
    let is_secret = SECRET_NAMES
        .iter()
        .any(|secret| name.to_ascii_lowercase().contains(secret));
    // A line of a log has many words before its first sign of equality. A comment may be a setting of before.
    let words = name.trim_start().trim_start_matches('#').split_whitespace();
    if is_secret && words.count() == 1 {
        let end = if line.ends_with('\n') { "\n" } else { "" };
        format!("{name}= {MASKED}{end}")
    } else {
        line.to_owned()
    }
}

/// `scheme://user:password@host` without user and password.
fn without_user_info(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("://") {
        text.push_str(before);
        text.push_str("://");
        let end = after
            .find(|letter: char| {
                letter.is_whitespace() || matches!(letter, '/' | '"' | '\'' | '?' | '#' | ',')
            })
            .unwrap_or(after.len());
        let (authority, after) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((_, host)) => text.push_str(&format!("{MASKED}@{host}")),
            None => text.push_str(authority),
        }
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Anything in the form of a JWT.
fn without_tokens(line: &str) -> String {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("eyJ") {
        let (before, from) = rest.split_at(start);
        text.push_str(before);
        let end = from.find(|letter| !is_part(letter)).unwrap_or(from.len());
        let (word, after) = from.split_at(end);
        text.push_str(if word.matches('.').count() >= 2 {
            MASKED
        } else {
            word
        });
        rest = after;
    }
    text.push_str(rest);
    text
}

/// Replaces a word that stands alone.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(word) {
        let (before, from) = rest.split_at(at);
        let after = from.split_at(word.len()).1;
        let stands_alone = !before.chars().next_back().is_some_and(char::is_alphanumeric)
            && !after.chars().next().is_some_and(char::is_alphanumeric);
        replaced.push_str(before);
        replaced.push_str(if stands_alone { by } else { word });
        rest = after;
    }
    replaced.push_str(rest);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        Mask::new(["alice", "al", "王芳"].map(str::to_owned).into()).apply(text)
    }

    #[test]
    fn secrets_are_taken_out() {
        for (text, left) in [
            (
                "url = \"socks5://bob:hunter2@proxy:1080\"\n",
                "url = \"socks5://[masked]@proxy:1080\"\n",
            ),
            (
                "urls = [\"mqtts://a:1\", \"mqtts://u:p@b:2\"]",
                "urls = [\"mqtts://a:1\", \"mqtts://[masked]@b:2\"]",
            ),
            ("proxy_password = \"hunter2\"\n", "proxy_password = [masked]\n"),
            ("# secret = 7\n", "# secret = [masked]\n"),
            ("  Token=abc", "  Token= [masked]"),
            ("it was eyJhbGciOiJI.eyJzdWIi.c2ln!", "it was [masked]!"),
            ("keep_alive = 30\n", "keep_alive = 30\n"),
            (
                "a token was refused: code=31004",
                "a token was refused: code=31004",
            ),
        ] {
            assert_eq!(masked(text), left);
        }
    }

    #[test]
    fn a_user_is_the_same_hash_everywhere_and_only_as_a_word() {
        let text = masked("\"alice\" (desktop:demo:alice) writes to 王芳; alices calls al, all is well");
        let alice = alias("alice");
        assert_eq!(
            text,
            format!(
                "\"{alice}\" (desktop:demo:{alice}) writes to {}; alices calls {}, all is well",
                alias("王芳"),
                alias("al")
            )
        );
        assert_eq!(alice.len(), "user-".len() + 8);
    }
}
