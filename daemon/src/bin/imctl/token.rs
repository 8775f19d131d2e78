//! `token`: a JWT signed with HS256, for a broker that shares the secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use imd_client::Code;
use serde::Serialize;
use sha2::Sha256;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

use crate::args::Token;
use crate::clock;
use crate::output::{Failure, Output};
use crate::secret;
use crate::shapes::MintedToken;

#[derive(Serialize)]
struct Header {
    alg: &'static str,
    typ: &'static str,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    app: &'a str,
    iat: i64,
    exp: i64,
}

/// Makes a token and prints it.
pub(crate) fn mint(token: &Token, output: &mut Output) -> Result<(), Failure> {
    check_app_key(&token.app_key)?;
    check_user(&token.user)?;
    let secret = secret::read(&token.secret_file, Code::BIZ_ERROR_INVALID_PARAMETER)?;
    let now = clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let iat = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let claims = Claims {
        sub: &token.user,
        app: &token.app_key,
        iat,
        exp: iat.saturating_add(token.ttl),
    };
    let signed = sign(&claims, secret.as_bytes())?;
    let minted = MintedToken {
        token: &signed,
        app_key: &token.app_key,
        user_id: &token.user,
        issue_time: clock::rfc3339(unix(claims.iat)),
        expire_time: clock::rfc3339(unix(claims.exp)),
    };
    output.print(&minted, |_| (*signed).clone())
}

/// A daemon would refuse it, and a broker may let in whoever has such a token.
fn check_app_key(app_key: &str) -> Result<(), Failure> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if matches!(app_key.len(), 1..=64) && app_key.bytes().all(is_allowed) {
        return Ok(());
    }
    let text = "the App Key is not 1 to 64 characters of A-Z a-z 0-9 _ -";
    Err(Failure::own(Code::INVALID_APP_KEY, text))
}

fn check_user(user: &str) -> Result<(), Failure> {
    let is_allowed = |letter: char| !letter.is_control() && !matches!(letter, '/' | '+' | '#');
    let is_name = matches!(user.len(), 1..=64) && !matches!(user, "." | "..");
    if is_name && user.chars().all(is_allowed) {
        return Ok(());
    }
    let text = "the user id is not 1 to 64 bytes without / + # and control characters, or is . or ..";
    Err(Failure::own(Code::INVALID_PARAMETER_USER_ID, text))
}

fn unix(seconds: i64) -> SystemTime {
    let seconds = u64::try_from(seconds).unwrap_or_default();
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}

fn sign(claims: &Claims<'_>, secret: &[u8]) -> Result<Zeroizing<String>, Failure> {
    let header = Header {
        alg: "HS256",
        typ: "JWT",
    };
    let header = serde_json::to_vec(&header).map_err(std::io::Error::from)?;
    let payload = serde_json::to_vec(claims).map_err(std::io::Error::from)?;
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(payload, &mut token);
    let mut mac = Hmac::<Sha256>::new_from_slice(secret)
        .map_err(|error| Failure::own(Code::BIZ_ERROR_INVALID_PARAMETER, error.to_string()))?;
    mac.update(token.as_bytes());
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(mac.finalize().into_bytes(), &mut token);
    Ok(Zeroizing::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_what_another_implementation_makes_of_the_same_claims() {
        let claims = Claims {
            sub: "alice",
            app: "demo",
            iat: 1_700_000_000,
            exp: 1_700_086_400,
        };
        let token = sign(&claims, b"secret").ok().unwrap();
        assert_eq!(*token, EXPECTED);
    }

    #[test]
    fn a_token_is_made_for_an_app_key_and_a_user_that_a_daemon_takes() {
        for app_key in ["demo", "A_z-9", &"k".repeat(64)] {
            assert!(check_app_key(app_key).is_ok(), "{app_key}");
        }
        for app_key in ["", "a/b", "a b", "café", &"k".repeat(65)] {
            assert!(check_app_key(app_key).is_err(), "{app_key}");
        }
        for user in ["alice", "王芳", "a.b", &"u".repeat(64)] {
            assert!(check_user(user).is_ok(), "{user}");
        }
        for user in ["", ".", "..", "a/b", "+", "#", "a\0", &"王".repeat(22)] {
            assert!(check_user(user).is_err(), "{user}");
        }
    }

    const EXPECTED: &str = concat!(
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.",
        "eyJzdWIiOiJhbGljZSIsImFwcCI6ImRlbW8iLCJpYXQiOjE3MDAwMDAwMDAsImV4cCI6MTcwMDA4NjQwMH0.",
        "MvTTsa8ToUBcgbef-pMFoUViukjvFzOHPC1t2SpmQq8",
    );
}
