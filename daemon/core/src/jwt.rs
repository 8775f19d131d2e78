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
    /// When it was made.
    iat: Option<f64>,
    /// Before which it is not good.
    nbf: Option<f64>,
}

/// Two machines' clocks may differ by so much.
const TOLERANCE_SECONDS: f64 = 300.0;

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
        self.exp.is_some_and(|exp| exp + TOLERANCE_SECONDS < seconds(now))
    }

    /// By how many seconds `iat` or `nbf` is in the future, if by more than five minutes: then this machine's
    /// clock is behind.
    #[must_use]
    pub fn ahead_of(&self, now: UnixTime) -> Option<u64> {
        let latest = [self.iat, self.nbf]
            .into_iter()
            .flatten()
            .fold(f64::MIN, f64::max);
        let ahead = latest - seconds(now);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is positive, and a cast from a larger one gives the largest"
        )]
        (ahead > TOLERANCE_SECONDS).then_some(ahead as u64)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 fit in 53 bits"
)]
fn seconds(time: UnixTime) -> f64 {
    time.as_millis() as f64 / 1000.0
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
    fn a_token_from_the_future_tells_that_the_clock_is_behind() {
        let now = UnixTime::from_millis(1_000_000);
        for (payload, ahead) in [
            (r#"{"iat":1000}"#, None),
            (r#"{"iat":1300}"#, None),
            (r#"{"iat":1400}"#, Some(400)),
            (r#"{"iat":900,"nbf":5000}"#, Some(4000)),
            (r#"{"exp":9000}"#, None),
        ] {
            assert_eq!(
                Claims::read(&jwt(payload)).unwrap().ahead_of(now),
                ahead,
                "{payload}"
            );
        }
    }

    #[test]
    fn anything_else_is_opaque() {
        for text in ["opaque", "a.b", "a.b.c", "..", "e30.e30.x.y", "e30.W10.x"] {
            let token = Token::parse(text.to_owned()).unwrap();
            assert_eq!(Claims::read(&token), None, "{text}");
        }
    }
}
