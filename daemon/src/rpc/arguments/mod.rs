//! Arguments as they come over the socket, parsed once.

mod message;

use std::sync::Arc;
use std::time::Duration;

use imd_core::account::{AppKey, Invalid, Token, UserId};
use imd_core::io::{ConnectId, InstanceId};
use imd_proto::code::Code;
use imd_proto::imd::v1;
use imd_proto::{PROTOCOL, PROTOCOL_MIN};
use uuid::Uuid;

pub(super) use message::{
    change, conversation, cursor, cursor_name, deleted, group, limit, message_id, outgoing, outgoings,
    page_token, part, query, uid,
};

/// The longest app id, in bytes.
const APP_ID: usize = 255;

/// The longest instance id and connect id, in bytes.
const ID: usize = 64;

/// How many capabilities a library may name.
const CAPABILITIES: usize = 64;

/// How much of a text meant for people is kept, in characters.
const WORDS: usize = 200;

/// An app's hello.
#[derive(Debug)]
pub(super) struct AppHello {
    pub(super) app_id: Arc<str>,
    pub(super) instance: InstanceId,
    pub(super) app_version: Arc<str>,
    /// The newest protocol both speak.
    pub(super) protocol: u32,
    /// What its library can do beyond that: words this daemon may know or not.
    pub(super) capabilities: Vec<String>,
}

impl TryFrom<v1::BindRequest> for AppHello {
    type Error = Invalid;

    fn try_from(request: v1::BindRequest) -> Result<Self, Invalid> {
        Ok(Self {
            protocol: protocol(request.protocol_min, request.protocol_max)?,
            app_id: app_id(&request.app_id)?,
            instance: InstanceId(id("instance_id", &request.instance_id)?),
            app_version: words(&request.app_version).into(),
            capabilities: capabilities(request.capabilities)?,
        })
    }
}

/// A connect's arguments, but for those that its caller brings.
pub(super) struct ConnectArguments {
    pub(super) token: Token,
    pub(super) user_id: Option<UserId>,
    pub(super) connect: ConnectId,
    pub(super) app_key: Option<AppKey>,
    pub(super) time_limit: Option<Duration>,
    pub(super) database_opened_seen: bool,
    pub(super) resumes: bool,
}

impl TryFrom<v1::ConnectRequest> for ConnectArguments {
    type Error = Invalid;

    fn try_from(request: v1::ConnectRequest) -> Result<Self, Invalid> {
        // First of all, so that its memory is wiped whatever is wrong with the others.
        let token = Token::parse(request.token)?;
        let connect = match request.connect_id.as_str() {
            "" => Uuid::new_v4().to_string().into(),
            given => id("connect_id", given)?,
        };
        Ok(Self {
            token,
            user_id: given(&request.user_id, UserId::parse)?,
            connect: ConnectId(connect),
            app_key: given(&request.app_key, AppKey::parse)?,
            time_limit: u64::try_from(request.time_limit_seconds)
                .ok()
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            database_opened_seen: request.database_opened_seen,
            resumes: request.resumes,
        })
    }
}

/// UpdateToken's arguments.
pub(super) struct UpdateTokenArguments {
    pub(super) token: Token,
    pub(super) app_key: Option<AppKey>,
}

impl TryFrom<v1::UpdateTokenRequest> for UpdateTokenArguments {
    type Error = Invalid;

    fn try_from(request: v1::UpdateTokenRequest) -> Result<Self, Invalid> {
        Ok(Self {
            token: Token::parse(request.token)?,
            app_key: given(&request.app_key, AppKey::parse)?,
        })
    }
}

/// A text for people from somebody else's hand: one line, and no longer than a line should be.
pub(super) fn words(text: &str) -> String {
    text.trim()
        .chars()
        .take(WORDS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn given<T>(text: &str, parse: fn(&str) -> Result<T, Invalid>) -> Result<Option<T>, Invalid> {
    if text.is_empty() {
        return Ok(None);
    }
    parse(text).map(Some)
}

fn protocol(oldest: u32, newest: u32) -> Result<u32, Invalid> {
    let common = newest.min(PROTOCOL);
    if oldest > newest {
        return Err(invalid(
            Code::BIZ_ERROR_INVALID_PARAMETER,
            format!("protocol_min {oldest} is above protocol_max {newest}"),
        ));
    }
    if common < oldest.max(PROTOCOL_MIN) {
        let mend = if newest < PROTOCOL_MIN {
            "the app's library is the older one: upgrade the app"
        } else {
            "the daemon is the older one: upgrade imd and start it again"
        };
        return Err(invalid(
            Code::IMD_VERSION_SKEW,
            format!(
                "the app's library speaks protocol {oldest} to {newest}, this daemon {PROTOCOL_MIN} to {PROTOCOL} \
                 (imd {}); {mend}",
                env!("CARGO_PKG_VERSION")
            ),
        ));
    }
    Ok(common)
}

/// A later library may name what this daemon has never heard of: that is no fault.
fn capabilities(named: Vec<String>) -> Result<Vec<String>, Invalid> {
    if named.len() > CAPABILITIES {
        return Err(invalid(
            Code::BIZ_ERROR_INVALID_PARAMETER,
            format!(
                "there are {} capabilities, and {CAPABILITIES} are the most",
                named.len()
            ),
        ));
    }
    for name in &named {
        id("capability", name)?;
    }
    Ok(named)
}

fn app_id(text: &str) -> Result<Arc<str>, Invalid> {
    let legal = text.len() <= APP_ID
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(is_word));
    if !legal {
        let wanted = "1 to 255 bytes in reverse DNS form, such as org.example.Chat: \
                      parts of A-Z a-z 0-9 - _ with dots between them";
        return Err(malformed("app_id", text, wanted));
    }
    Ok(text.into())
}

fn id(name: &str, text: &str) -> Result<Arc<str>, Invalid> {
    if text.is_empty() || text.len() > ID || !text.bytes().all(is_word) {
        return Err(malformed(
            name,
            text,
            "1 to 64 bytes of A-Z a-z 0-9 - _ (a UUID is one)",
        ));
    }
    Ok(text.into())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn malformed(name: &str, text: &str, wanted: &str) -> Invalid {
    let shown: String = text.chars().take(80).collect();
    let cut = if shown.len() < text.len() { "…" } else { "" };
    invalid(
        Code::BIZ_ERROR_INVALID_PARAMETER,
        format!("the {name} {shown:?}{cut} is not {wanted}"),
    )
}

fn invalid(code: Code, text: String) -> Invalid {
    Invalid { code, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_protocol_both_speak_is_taken() {
        assert_eq!(protocol(PROTOCOL_MIN, PROTOCOL + 5).unwrap(), PROTOCOL);
        assert_eq!(protocol(0, PROTOCOL).unwrap(), PROTOCOL);
    }

    #[test]
    fn without_a_common_protocol_both_ranges_and_the_older_side_are_named() {
        for (oldest, newest, mend) in [
            (PROTOCOL + 1, PROTOCOL + 3, "upgrade imd"),
            (0, PROTOCOL_MIN - 1, "upgrade the app"),
        ] {
            let refused = protocol(oldest, newest).unwrap_err();
            assert_eq!(refused.code, Code::IMD_VERSION_SKEW);
            let theirs = format!("protocol {oldest} to {newest}");
            let ours = format!("daemon {PROTOCOL_MIN} to {PROTOCOL}");
            assert!(
                refused.text.contains(&theirs) && refused.text.contains(&ours) && refused.text.contains(mend),
                "{}",
                refused.text
            );
        }
        assert_eq!(
            protocol(2, 1).unwrap_err().code,
            Code::BIZ_ERROR_INVALID_PARAMETER
        );
    }

    #[test]
    fn capabilities_nobody_here_knows_are_taken_and_those_that_are_no_words_are_not() {
        let named = |names: &[&str]| capabilities(names.iter().map(ToString::to_string).collect());
        assert_eq!(named(&["later-thing"]).unwrap(), ["later-thing"]);
        for bad in [vec![""], vec!["a b"], vec!["x"; 65]] {
            let refused = named(&bad).unwrap_err();
            assert_eq!(refused.code, Code::BIZ_ERROR_INVALID_PARAMETER, "{bad:?}");
        }
    }

    #[test]
    fn an_app_id_is_parts_of_words_between_dots() {
        for good in ["org.example.Chat", "chat", "org.my-app.a_b", &"a".repeat(255)] {
            assert!(app_id(good).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            ".",
            "org..Chat",
            ".org",
            "org.",
            "a b",
            "a/b",
            "a\0",
            "ö.b",
            &"a".repeat(256),
        ] {
            assert_eq!(
                app_id(bad).unwrap_err().code,
                Code::BIZ_ERROR_INVALID_PARAMETER,
                "{bad:?}"
            );
        }
    }

    #[test]
    fn words_are_one_line_of_bounded_length() {
        assert_eq!(words(" 1.0\n\u{1b}[2J "), "1.0  [2J");
        assert_eq!(words(&"x".repeat(5000)).len(), WORDS);
    }
}
