//! Who connects where: App Key, user id, token. Parsed once, at the edge; legal ever after.

use std::fmt;
use std::sync::Arc;

use imd_proto::code::Code;
use zeroize::Zeroizing;

/// Why a piece of text is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Invalid {
    /// The code the call fails with.
    pub code: Code,
    /// What is wrong, without the value of a secret.
    pub text: String,
}

impl Invalid {
    fn new(code: Code, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

/// The tenant: the first topic level after `im/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppKey(Arc<str>);

impl AppKey {
    /// 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    ///
    /// # Errors
    /// [`Code::INVALID_APP_KEY`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.is_empty() || text.len() > 64 || !text.bytes().all(is_word) {
            return Err(Invalid::new(
                Code::INVALID_APP_KEY,
                format!(
                    "the App Key {} is not 1 to 64 characters of A-Z a-z 0-9 _ -",
                    shown(text)
                ),
            ));
        }
        Ok(Self(text.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The MQTT user name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

impl UserId {
    /// 1 to 64 bytes, no `/ + #`, no control characters, not `.` or `..`.
    ///
    /// # Errors
    /// [`Code::INVALID_PARAMETER_USER_ID`].
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = if text.is_empty() {
            "is empty"
        } else if text.len() > 64 {
            "is longer than 64 bytes"
        } else if text == "." || text == ".." {
            "is . or .."
        } else if text.contains(['/', '+', '#']) {
            "has one of / + # in it"
        } else if text.chars().any(char::is_control) {
            "has a control character in it"
        } else {
            return Ok(Self(text.into()));
        };
        Err(Invalid::new(
            Code::INVALID_PARAMETER_USER_ID,
            format!("the user id {} {wrong}", shown(text)),
        ))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The MQTT password. It has no Debug and no Display, and its memory is wiped.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Arc<Zeroizing<String>>);

impl Token {
    /// The longest token, in bytes.
    pub const MAX: usize = 8 * 1024;

    /// 1 byte to 8 KiB without control characters.
    ///
    /// # Errors
    /// [`Code::INVALID_PARAMETER_TOKEN`]; the text never shows the token.
    pub fn parse(text: String) -> Result<Self, Invalid> {
        let text = Zeroizing::new(text);
        let wrong = if text.is_empty() {
            "the token is empty".to_owned()
        } else if text.len() > Self::MAX {
            format!(
                "the token has {} bytes; at most {} are allowed",
                text.len(),
                Self::MAX
            )
        } else if text.chars().any(char::is_control) {
            "the token has a control character in it (a line break?)".to_owned()
        } else {
            return Ok(Self(Arc::new(text)));
        };
        Err(Invalid::new(Code::INVALID_PARAMETER_TOKEN, wrong))
    }

    /// The secret itself, for the one who sends or stores it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// One account: its database, its topics, its session.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Account {
    pub app_key: AppKey,
    pub user_id: UserId,
}

/// The random id of one installation: made once per data directory, kept for its life.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallationId(Arc<str>);

impl InstallationId {
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The device class, `desktop` unless configured: one login per class. The same alphabet as [`AppKey`].
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceClass(Arc<str>);

impl DeviceClass {
    /// # Errors
    /// Another character, or a length other than 1 to 64.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        AppKey::parse(text).map(|key| Self(key.0)).map_err(|_| {
            Invalid::new(
                Code::RC_CONN_ID_REJECT,
                format!(
                    "the device class {} is not 1 to 64 characters of A-Z a-z 0-9 _ -",
                    shown(text)
                ),
            )
        })
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for DeviceClass {
    fn default() -> Self {
        Self("desktop".into())
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

/// Somebody's text, quoted and escaped, cut where it gets long.
fn shown(text: &str) -> String {
    let mut cut: String = text.chars().take(80).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

macro_rules! plain_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    )*};
}

plain_text!(AppKey, UserId, InstallationId, DeviceClass);

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of App Key {}", self.user_id, self.app_key)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_that_would_leave_its_topic_level_is_refused_and_named() {
        for bad in ["", ".", "..", "a/b", "+", "#", "a\0b", "a\nb", &"x".repeat(65)] {
            let refused = UserId::parse(bad).unwrap_err();
            assert_eq!(refused.code, Code::INVALID_PARAMETER_USER_ID, "{bad:?}");
        }
        for good in ["alice", "...", "王芳", "a b", &"x".repeat(64)] {
            assert!(UserId::parse(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_token_is_refused_by_length_without_being_shown() {
        assert!(Token::parse(String::new()).is_err());
        assert!(Token::parse("x".repeat(8 * 1024)).is_ok());
        let refused = Token::parse("s3cret".repeat(200_000)).err().unwrap();
        assert_eq!(refused.code, Code::INVALID_PARAMETER_TOKEN);
        assert!(!refused.text.contains("s3cret"));
    }

    #[test]
    fn an_app_key_keeps_to_its_alphabet() {
        for bad in ["", "a/b", "a+b", "ключ", "a.b", &"x".repeat(65)] {
            assert_eq!(
                AppKey::parse(bad).unwrap_err().code,
                Code::INVALID_APP_KEY,
                "{bad:?}"
            );
        }
        assert!(AppKey::parse("My_app-1").is_ok());
    }
}
