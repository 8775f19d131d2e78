//! A server's words, as the core and people get them.

use std::time::Duration;

use imd_core::io::{Accepted, ServerWords};
use imd_proto::code::Code;

use super::wire::{self, Farewell, Words};

/// The longest text of a server's that is kept, in characters.
const LONGEST_TEXT: usize = 512;

/// How many of a server's further user properties are kept, and how many characters of each.
const MOST_PROPERTIES: usize = 8;
const LONGEST_PROPERTY: usize = 128;

/// What a successful CONNACK says.
pub(super) fn accepted(accepted: &wire::Accepted) -> Accepted {
    Accepted {
        session_present: accepted.session_present,
        // Not cleaned: the core takes it only if it is a legal user id.
        user_id: accepted
            .words
            .user_property("im-user-id")
            .map(|user_id| user_id.chars().take(LONGEST_TEXT).collect()),
        keep_alive: accepted.keep_alive,
        im_code: im_code(&accepted.words),
        reason_string: accepted.words.reason_string.as_deref().map(shown),
    }
}

/// What a refusing CONNACK or a DISCONNECT says.
pub(super) fn farewell(farewell: &Farewell) -> ServerWords {
    let Farewell { raw, reason, words } = farewell;
    let im_code = im_code(words);
    let retry_after = words
        .user_property("im-retry-after")
        .and_then(|seconds| seconds.trim().parse().ok())
        .map(Duration::from_secs);
    let is_understood = |name: &str| match name {
        "im-code" => im_code.is_some(),
        "im-retry-after" => retry_after.is_some(),
        _ => false,
    };
    ServerWords {
        reason: *reason,
        raw: *raw,
        reason_string: words.reason_string.as_deref().map(shown),
        server_reference: words.server_reference.as_deref().map(shown),
        user_properties: words
            .user_properties
            .iter()
            .filter(|(name, _)| !is_understood(name))
            .take(MOST_PROPERTIES)
            .map(|(name, value)| (cut(name, LONGEST_PROPERTY), cut(value, LONGEST_PROPERTY)))
            .collect(),
        im_code,
        retry_after,
    }
}

fn im_code(words: &Words) -> Option<Code> {
    let number = words.user_property("im-code")?.trim().parse().ok()?;
    Some(Code(number))
}

/// A reason code with what the server says about it.
pub(super) fn refusal(reason: u8, words: &Words) -> String {
    let name = match reason {
        0x80 => " (unspecified error)",
        0x83 => " (implementation specific error)",
        0x87 => " (not authorized)",
        0x8F => " (topic filter invalid)",
        0x90 => " (topic name invalid)",
        0x97 => " (quota exceeded)",
        0x9A => " (retain not supported)",
        0xA2 => " (wildcard subscriptions not supported)",
        _ => "",
    };
    match &words.reason_string {
        Some(text) => format!("{reason:#04x}{name}, {}", shown(text)),
        None => format!("{reason:#04x}{name}"),
    }
}

/// A server's text, fit to be shown: no control characters, cut where it gets long.
pub(super) fn shown(text: &str) -> String {
    cut(text, LONGEST_TEXT)
}

fn cut(text: &str, longest: usize) -> String {
    text.chars().filter(|c| !c.is_control()).take(longest).collect()
}
