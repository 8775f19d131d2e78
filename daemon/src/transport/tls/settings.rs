//! From files to what rustls wants.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::TlsError;
use crate::transport::files::{self, FileError, Stamp};

/// One server is spoken to, or a few by redirects.
const RESUMABLE_SESSIONS: usize = 8;

/// Which files say whom to trust and who we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities to trust, as PEM. They stand in place of the system's.
    pub ca_file: Option<PathBuf>,
    /// Who we are, for servers that ask.
    pub client: Option<ClientFiles>,
    /// What `mqtts://` offers by ALPN.
    pub alpn: Option<String>,
}

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFiles {
    /// The certificate and those it hangs on, as PEM.
    pub certificate: PathBuf,
    /// Its key, as PEM; the owner's alone.
    pub key: PathBuf,
}

/// Which state of the files was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamps([Option<Stamp>; 3]);

impl Stamps {
    pub(super) fn of(files: &TlsFiles) -> Self {
        let stamp = |path: Option<&PathBuf>| path.and_then(|path| files::stamp(path));
        let client = files.client.as_ref();
        Self([
            stamp(files.ca_file.as_ref()),
            stamp(client.map(|client| &client.certificate)),
            stamp(client.map(|client| &client.key)),
        ])
    }
}

/// Reads the files, and the system's authorities where no file names others. Blocks.
pub(super) fn make(files: &TlsFiles) -> Result<(ClientConfig, Arc<WebPkiServerVerifier>), TlsError> {
    let roots = Arc::new(match &files.ca_file {
        Some(path) => named_roots(path)?,
        None => system_roots()?,
    });
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
        .build()
        .map_err(|error| TlsError::Library(error.to_string()))?;
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::Library(error.to_string()))?
        .with_webpki_verifier(Arc::clone(&verifier));
    let mut config = match &files.client {
        None => builder.with_no_client_auth(),
        Some(client) => {
            let (chain, key) = identity(client, &provider)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                FileError::unfit(&client.certificate, format!("does not fit its key: {error}"))
            })?
        }
    };
    config.resumption = Resumption::in_memory_sessions(RESUMABLE_SESSIONS);
    Ok((config, verifier))
}

fn named_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| {
            FileError::unfit(path, format!("has a certificate that cannot be used: {error}"))
        })?;
    }
    Ok(roots)
}

/// What stands in the system's list but cannot be read is left out: that is the system's own affair.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "one of the system's certificates cannot be read");
    }
    let mut roots = RootCertStore::empty();
    let (added, ignored) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, ignored, "the system's authorities are read");
    if added == 0 {
        return Err(TlsError::NoAuthorities);
    }
    Ok(roots)
}

fn identity(
    client: &ClientFiles,
    provider: &CryptoProvider,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(&client.certificate)?;
    let text = files::read_secret(&client.key)?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| {
        FileError::unfit(
            &client.key,
            "has no private key in it, as PEM without a passphrase",
        )
    })?;
    provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|_| FileError::unfit(&client.key, "has a key of a kind that imd does not know"))?;
    Ok((chain, key))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let text = files::read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| FileError::unfit(path, format!("is not as PEM should be: {error}")))?;
    if certificates.is_empty() {
        return Err(FileError::unfit(path, "has no certificate in it"));
    }
    Ok(certificates)
}
