//! An authority of the test's own, and the certificates it signs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use imd::clock;
use jiff::{Timestamp, ToSpan as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;

/// Who signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate for `localhost` and 127.0.0.1, with its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    /// # Panics
    /// When no key can be made.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "no two are alike")]
    pub fn new() -> Self {
        let mut params = params(&[], -1, 365);
        let name = format!("authority {}", uuid::Uuid::new_v4());
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority can be made");
        let directory = tempfile::tempdir().expect("a directory can be made");
        let authority = Self { issuer, directory };
        std::fs::write(authority.file(), pem("CERTIFICATE", authority.issuer.der()))
            .expect("the authority's file can be written");
        authority
    }

    /// What trusts it.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate that is good from so many days from now to so many.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn sign(&self, from: i64, to: i64) -> Identity {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params(&["localhost", "127.0.0.1", "broker.invalid"], from, to)
            .signed_by(&key, &self.issuer)
            .expect("a certificate can be signed");
        Identity {
            certificate: certificate.der().clone(),
            key: PrivatePkcs8KeyDer::from(key.serialize_der()),
        }
    }
}

impl Identity {
    /// Writes both into a directory, as `server.pem` and `server.key`.
    ///
    /// # Panics
    /// When that fails.
    pub fn write(&self, directory: &Path) {
        let write = |name: &str, text: String| {
            std::fs::write(directory.join(name), text).expect("a certificate can be written");
        };
        write("server.pem", pem("CERTIFICATE", &self.certificate));
        write("server.key", pem("PRIVATE KEY", self.key.secret_pkcs8_der()));
    }

    /// A server that shows it.
    ///
    /// # Panics
    /// When the library does not take it.
    #[must_use]
    pub fn server(&self) -> ServerConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the usual versions")
            .with_no_client_auth()
            .with_single_cert(
                vec![self.certificate.clone()],
                PrivateKeyDer::Pkcs8(self.key.clone_key()),
            )
            .expect("a certificate that fits its key")
    }
}

fn params(names: &[&str], from: i64, to: i64) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names that a certificate can have");
    let now = Timestamp::from_millisecond(clock::now().unix.as_millis()).expect("a time of our days");
    let day = |days: i64| {
        let date = now
            .checked_add((days * 24).hours())
            .expect("a day not far away")
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        rcgen::date_time_ymd(
            date.year().into(),
            date.month().unsigned_abs(),
            date.day().unsigned_abs(),
        )
    };
    params.not_before = day(from);
    params.not_after = day(to);
    params
}

fn pem(kind: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {kind}-----\n");
    for (at, letter) in encoded.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(letter);
    }
    text.push_str(&format!("\n-----END {kind}-----\n"));
    text
}
