//! Tokens of the demo: JSON Web Tokens signed with HMAC-SHA-256 (HS256), made and checked.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use imd_core::time::UnixTime;
use serde::{Deserialize, Serialize};
use serde_json::Number;
use sha2::Sha256;

/// What the broker reads of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The user id.
    pub(super) sub: String,
    /// When the token ends, in seconds since 1970, whole or not.
    pub(super) exp: Option<Number>,
    /// The App Key it is for; absent: any that has this secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: String,
}

/// Makes a token for a user: it ends `ttl_from_now` seconds after `now`; a negative number makes one that
/// has ended already.
#[must_use]
pub fn token(secret: &[u8], app_key: &str, user: &str, ttl_from_now: i64, now: UnixTime) -> String {
    let header = Header {
        alg: "HS256".to_owned(),
        typ: "JWT".to_owned(),
    };
    let claims = Claims {
        sub: user.to_owned(),
        exp: Some(
            now.as_millis()
                .div_euclid(1000)
                .saturating_add(ttl_from_now)
                .into(),
        ),
        app: Some(app_key.to_owned()),
    };
    let signed = format!("{}.{}", part(&header), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(keyed(secret, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// The claims of a token this secret has signed; `None` for anything else. Its end is not looked at.
pub(super) fn verify(secret: &[u8], token: &str) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    // A token may not choose its own way of being checked.
    if read::<Header>(header)?.alg != "HS256" {
        return None;
    }
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    keyed(secret, signed).verify_slice(&signature).ok()?;
    read(claims)
}

impl Claims {
    /// Whether the token has ended. The broker gives no grace: it is the one who decides.
    pub(super) fn has_expired(&self, now: UnixTime) -> bool {
        // Milliseconds since 1970 fit in the 53 bits of the fraction.
        let now = now.as_millis() as f64 / 1000.0;
        self.exp
            .as_ref()
            .and_then(Number::as_f64)
            .is_some_and(|exp| exp <= now)
    }
}

fn part(value: &impl Serialize) -> String {
    // Strings and numbers always have a JSON form.
    URL_SAFE_NO_PAD.encode(serde_json::to_vec(value).unwrap_or_default())
}

fn read<T: for<'a> Deserialize<'a>>(part: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

fn keyed(secret: &[u8], signed: &str) -> Hmac<Sha256> {
    // HMAC takes a key of any length, so the fallback is never used.
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret).unwrap_or_else(|_| Hmac::<Sha256>::new(&Default::default()));
    mac.update(signed.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use imd_core::account::Token;
    use imd_core::jwt;

    use super::*;

    const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);

    #[test]
    fn a_token_is_read_back_by_its_secret_alone() {
        let minted = token(b"secret", "demo", "alice", 60, NOW);
        let claims = verify(b"secret", &minted).unwrap();
        assert_eq!(claims.sub, "alice");
        assert_eq!(claims.app.as_deref(), Some("demo"));
        assert_eq!(claims.exp, Some(Number::from(1_700_000_060)));
        assert_eq!(verify(b"another", &minted), None);
        assert_eq!(verify(b"secret", &minted[..minted.len() - 2]), None);
        for garbage in ["", ".", "..", "a.b.c", "opaque"] {
            assert_eq!(verify(b"secret", garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn a_token_cannot_choose_to_be_unsigned() {
        let minted = token(b"secret", "demo", "alice", 60, NOW);
        let claims = minted.split('.').nth(1).unwrap();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
        assert_eq!(verify(b"secret", &format!("{header}.{claims}.")), None);
    }

    #[test]
    fn the_daemon_reads_the_same_claims() {
        let minted = Token::parse(token(b"secret", "demo", "alice", -3600, NOW)).unwrap();
        let claims = jwt::Claims::read(&minted).unwrap();
        assert_eq!(claims.sub.as_deref(), Some("alice"));
        assert_eq!(claims.app.as_deref(), Some("demo"));
        assert!(claims.has_expired(NOW));
    }

    #[test]
    fn a_token_ends_at_the_second_it_names() {
        let claims = verify(b"s", &token(b"s", "demo", "alice", 10, NOW)).unwrap();
        assert!(!claims.has_expired(UnixTime::from_millis(1_700_000_009_999)));
        assert!(claims.has_expired(UnixTime::from_millis(1_700_000_010_000)));
    }

    #[test]
    fn the_signature_is_the_one_of_the_standard() {
        // The example of jwt.io, signed elsewhere.
        let known = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.\
            eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
            SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c";
        assert_eq!(verify(b"your-256-bit-secret", known).unwrap().sub, "1234567890");
    }
}
