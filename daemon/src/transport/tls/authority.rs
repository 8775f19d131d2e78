//! Certificates for the tests, and servers that have them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{Timestamp, ToSpan as _};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::transport::{ClientFiles, TlsFiles};

/// Who signs.
pub(in crate::transport) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// From when to when a certificate is good, in days from now.
#[derive(Clone, Copy)]
pub(in crate::transport) struct Days(pub(in crate::transport) i64, pub(in crate::transport) i64);

pub(in crate::transport) const A_YEAR: Days = Days(-1, 365);

impl Authority {
    pub(in crate::transport) fn new(name: &str) -> Self {
        let mut params = params(&[], A_YEAR);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// What trusts this authority alone.
    pub(in crate::transport) fn trusted(&self, dir: &Path) -> TlsFiles {
        let path = dir.join("ca.pem");
        fs::write(&path, pem("CERTIFICATE", self.issuer.der())).unwrap();
        TlsFiles {
            ca_file: Some(path),
            ..TlsFiles::default()
        }
    }

    fn sign(&self, names: &[&str], days: Days) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let mut params = params(names, days);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        (certificate.der().clone(), key.into())
    }

    /// A server with a certificate for these names.
    pub(in crate::transport) fn server(&self, names: &[&str], days: Days) -> ServerConfig {
        let (certificate, key) = self.sign(names, days);
        showing(certificate, key)
    }

    /// A server that shows the authority's own certificate.
    pub(in crate::transport) fn as_a_server(&self) -> ServerConfig {
        let key = PrivatePkcs8KeyDer::from(self.issuer.key().serialize_der());
        showing(self.issuer.der().clone(), key.into())
    }

    /// A server that wants to see one of this authority's certificates.
    pub(in crate::transport) fn server_that_asks(&self, names: &[&str]) -> ServerConfig {
        let (certificate, key) = self.sign(names, A_YEAR);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate], key)
            .unwrap()
    }

    /// A certificate of a client with its key, in files.
    pub(in crate::transport) fn client(&self, dir: &Path, days: Days) -> ClientFiles {
        let (certificate, key) = self.sign(&["client.example"], days);
        let write = |name: &str, text: String| -> PathBuf {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            path
        };
        ClientFiles {
            certificate: write("client.pem", pem("CERTIFICATE", &certificate)),
            key: write("client.key", pem("PRIVATE KEY", key.secret_der())),
        }
    }
}

fn showing(certificate: CertificateDer<'static>, key: PrivateKeyDer<'static>) -> ServerConfig {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

/// A server whose certificate nobody else has signed, and what trusts it.
pub(in crate::transport) fn self_signed(name: &str, dir: &Path) -> (ServerConfig, TlsFiles) {
    let key = KeyPair::generate().unwrap();
    let mut params = params(&[name], A_YEAR);
    params.is_ca = IsCa::ExplicitNoCa;
    let certificate = params.self_signed(&key).unwrap();
    let path = dir.join("self-signed.pem");
    fs::write(&path, pem("CERTIFICATE", certificate.der())).unwrap();
    let files = TlsFiles {
        ca_file: Some(path),
        ..TlsFiles::default()
    };
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    (showing(certificate.der().clone(), key.into()), files)
}

pub(in crate::transport) fn acceptor(config: ServerConfig) -> TlsAcceptor {
    TlsAcceptor::from(Arc::new(config))
}

fn params(names: &[&str], Days(from, to): Days) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    let day = |days: i64| {
        let date = Timestamp::now()
            .checked_add((days * 24).hours())
            .unwrap()
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
    let lines: Vec<_> = encoded
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n",
        lines.join("\n")
    )
}
