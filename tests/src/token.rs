//! Tokens as an app's server makes them: JWTs signed with HS256.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use imd::clock;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::APP_KEY;

/// The secret all tokens of the tests are signed with.
pub const SECRET: &str = "the tests' own secret";

/// A token of this user, good for an hour.
#[must_use]
pub fn of(user: &str) -> String {
    until(user, 3600)
}

/// A token of this user that ends in so many seconds, or ended so many ago.
#[must_use]
pub fn until(user: &str, seconds: i64) -> String {
    let now = clock::now().unix.as_millis() / 1000;
    jwt(
        &json!({ "sub": user, "app": APP_KEY, "exp": now + seconds, "jti": uuid::Uuid::new_v4().to_string() }),
    )
}

/// A token with these claims.
///
/// # Panics
/// Never: HMAC takes a key of any length.
#[must_use]
pub fn jwt(claims: &Value) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let signed = format!(
        "{}.{}",
        part(header.to_string().as_bytes()),
        part(claims.to_string().as_bytes())
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes any key");
    mac.update(signed.as_bytes());
    format!("{signed}.{}", part(&mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_as_rfc_7515_says() {
        let mac = |key: &[u8], text: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
            mac.update(text.as_bytes());
            URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
        };
        // Appendix A.1 of the RFC.
        let key = URL_SAFE_NO_PAD
            .decode("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
            .unwrap();
        let text = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.\
                    eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
        assert_eq!(mac(&key, text), "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");

        let token = of("alice");
        let (signed, signature) = token.rsplit_once('.').unwrap();
        assert_eq!(mac(SECRET.as_bytes(), signed), signature);
    }

    #[test]
    fn two_tokens_of_one_user_differ() {
        assert_ne!(of("alice"), of("alice"));
    }
}
