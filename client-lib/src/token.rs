//! The secret an app connects with.

use zeroize::Zeroizing;

/// A token. It has no `Debug` and no `Display`, and its memory is wiped when it is dropped; the copy that
/// travels to the daemon is the transport's and is not.
#[derive(Clone)]
pub struct Token(Zeroizing<String>);

impl Token {
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Token {
    fn from(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl From<&str> for Token {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}
