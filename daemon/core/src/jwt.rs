//! What a token says of itself, where it is a JWT. Nothing is verified here: that is the server's part.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use crate::account::Token;
use crate::time::UnixTime;

/// The claims imd reads. One of another type than it should have says nothing, and the others still count.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Claims {
    /// The user id.
    #[serde(default, deserialize_with = "if_fit")]
    pub sub: Option<String>,
    /// The App Key.
    #[serde(default, deserialize_with = "if_fit")]
    pub app: Option<String>,
    /// When the token ends, in seconds since 1970.
    #[serde(default, deserialize_with = "if_fit")]
    exp: Option<f64>,
    /// When it was made.
    #[serde(default, deserialize_with = "if_fit")]
    iat: Option<f64>,
    /// Before which it is not good.
    #[serde(default, deserialize_with = "if_fit")]
    nbf: Option<f64>,
}

fn if_fit<'de, D: Deserializer<'de>, T: DeserializeOwned>(claim: D) -> Result<Option<T>, D::Error> {
    let claim = serde_json::Value::deserialize(claim)?;
    Ok(serde_json::from_value(claim).ok())
}

/// Two machines' clocks may differ by so much.
const TOLERANCE_SECONDS: f64 = 300.0;

/// The share of its life after which a token is to be renewed.
const RENEWAL_SHARE: f64 = 0.8;

/// The end of the year 9999, in seconds since 1970: what a token says of later times is not meant.
const LAST_SECOND: f64 = 253_402_300_799.0;

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
        // Else an empty list would do as well.
        let payload: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&payload).ok()?;
        serde_json::from_value(payload.into()).ok()
    }

    /// Whether `exp` is past by more than five minutes, which two machines' clocks may differ by.
    #[must_use]
    pub fn has_expired(&self, now: UnixTime) -> bool {
        self.exp.is_some_and(|exp| exp + TOLERANCE_SECONDS < seconds(now))
    }

    /// When the token ends by its own word; `None`: it does not say. It is in the years 1970 to 9999.
    #[must_use]
    pub fn expires(&self) -> Option<UnixTime> {
        self.exp.map(unix_time)
    }

    /// When 80 % of the token's life are over; `None`: it does not say when it ends. Where it does not say
    /// either when it was made, or says that it ended before, its life begins when it was `seen` first.
    #[must_use]
    pub fn renewal_due(&self, seen: UnixTime) -> Option<UnixTime> {
        let exp = self.exp?;
        let made = self
            .iat
            .filter(|iat| *iat < exp)
            .unwrap_or_else(|| seconds(seen).min(exp));
        Some(unix_time(made + (exp - made) * RENEWAL_SHARE))
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

#[expect(
    clippy::cast_possible_truncation,
    reason = "it lies between 1970 and the year 9999"
)]
fn unix_time(seconds: f64) -> UnixTime {
    UnixTime::from_millis((seconds.clamp(0.0, LAST_SECOND) * 1000.0) as i64)
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
    fn a_token_is_to_be_renewed_at_80_percent_of_its_life() {
        let seen = UnixTime::from_millis(500_000);
        for (payload, due) in [
            (r#"{"iat":1000,"exp":2000}"#, Some(1_800_000)),
            (r#"{"exp":1500}"#, Some(1_300_000)),
            (r#"{"iat":1000}"#, None),
            (r#"{"sub":"alice"}"#, None),
        ] {
            let due = due.map(UnixTime::from_millis);
            assert_eq!(
                Claims::read(&jwt(payload)).unwrap().renewal_due(seen),
                due,
                "{payload}"
            );
        }
    }

    #[test]
    fn absurd_times_are_bounded() {
        let seen = UnixTime::from_millis(500_000);
        for (payload, due, expires) in [
            (r#"{"iat":2000,"exp":1000}"#, 900_000, 1_000_000),
            (r#"{"exp":100}"#, 100_000, 100_000),
            (r#"{"exp":-5}"#, 0, 0),
            (
                r#"{"iat":-1e308,"exp":1e308}"#,
                253_402_300_799_000,
                253_402_300_799_000,
            ),
        ] {
            let claims = Claims::read(&jwt(payload)).unwrap();
            assert_eq!(
                claims.renewal_due(seen),
                Some(UnixTime::from_millis(due)),
                "{payload}"
            );
            assert_eq!(
                claims.expires(),
                Some(UnixTime::from_millis(expires)),
                "{payload}"
            );
        }
        for payload in [r#"{"exp":1e999}"#, r#"{"exp":NaN}"#] {
            assert_eq!(Claims::read(&jwt(payload)), None, "{payload}");
        }
    }

    #[test]
    fn a_claim_of_another_type_says_nothing_and_the_others_count() {
        let claims = Claims::read(&jwt(
            r#"{"sub":"alice","app":7,"exp":"1000","iat":null,"nbf":{}}"#,
        ))
        .unwrap();
        let only_sub = Claims {
            sub: Some("alice".to_owned()),
            ..Claims::default()
        };
        assert_eq!(claims, only_sub);
    }

    #[test]
    fn anything_else_is_opaque() {
        for text in ["opaque", "a.b", "a.b.c", "..", "e30.e30.x.y", "e30.W10.x"] {
            let token = Token::parse(text.to_owned()).unwrap();
            assert_eq!(Claims::read(&token), None, "{text}");
        }
    }
}
