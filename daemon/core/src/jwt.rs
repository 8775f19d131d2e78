//! What a token says of itself, where it is a JWT. Nothing is verified here: that is the server's part.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::account::Token;
use crate::time::UnixTime;

/// The claims imd reads.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Claims {
    /// The user id.
    pub sub: Option<String>,
    /// The App Key.
    pub app: Option<String>,
    /// When the token ends, in seconds since 1970.
    exp: Option<f64>,
}

impl Claims {
    /// The claims of a token; `None` where it is opaque.
    #[must_use]
    pub fn read(token: &Token) -> Option<Self> {
        let mut parts = token.reveal().split('.');
        let (header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let header = URL_SAFE_NO_PAD.decode(header).ok()?;
        serde_json::from_slice::<serde::de::IgnoredAny>(&header).ok()?;
        let payload = URL_SAFE_NO_PAD.decode(payload).ok()?;
        serde_json::from_slice(&payload).ok()
    }

    /// Whether `exp` is past by more than five minutes, which two machines' clocks may differ by.
    #[must_use]
    pub fn has_expired(&self, now: UnixTime) -> bool {
        const TOLERANCE_SECONDS: f64 = 300.0;
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds since 1970 fit in 53 bits"
        )]
        let now = now.as_millis() as f64 / 1000.0;
        self.exp.is_some_and(|exp| exp + TOLERANCE_SECONDS < now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(payload: &str) -> Token {
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        Token::parse(format!("{}.{}.c2ln", part(r#"{"alg":"HS256"}"#), part(payload))).unwrap()
    }

    #[test]
    fn a_jwt_tells_its_user_and_app_and_end() {
        let claims = Claims::read(&jwt(r#"{"sub":"alice","app":"demo","exp":1000,"iat":1}"#)).unwrap();
        assert_eq!(claims.sub.as_deref(), Some("alice"));
        assert_eq!(claims.app.as_deref(), Some("demo"));
        assert!(!claims.has_expired(UnixTime::from_millis(1_300_000)));
        assert!(claims.has_expired(UnixTime::from_millis(1_300_001)));
    }

    #[test]
    fn anything_else_is_opaque() {
        for text in ["opaque", "a.b", "a.b.c", "..", "e30.e30.x.y", "e30.W10.x"] {
            let token = Token::parse(text.to_owned()).unwrap();
            assert_eq!(Claims::read(&token), None, "{text}");
        }
    }
}
