//! TLS: whom we trust, who we are, and what a handshake that fails means.

#[cfg(test)]
pub(super) mod authority;
mod settings;
#[cfg(test)]
mod tests;
mod words;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::settings::Stamps;
pub use self::settings::{ClientFiles, TlsFiles};
pub use self::words::TlsError;
pub(crate) use self::words::shown as shown_time;
use super::files::FileError;
use crate::clock;

/// A certificate with less life than this is worth a warning.
pub const EXPIRES_SOON: Duration = Duration::from_hours(14 * 24);

/// A way to encrypted servers that one list of files describes. What is read is kept, with the sessions that
/// the servers let us resume, until a file changes.
#[derive(Default)]
pub(crate) struct TlsClient {
    files: TlsFiles,
    made: Mutex<Option<Made>>,
}

/// What was made from the files.
#[derive(Clone)]
struct Made {
    config: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
    stamps: Stamps,
}

/// How long the server's certificate, and those it hangs on, are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// For [`EXPIRES_SOON`] at least.
    Long,
    /// One of them ends then, in seconds since 1970.
    Until(i64),
}

impl TlsClient {
    pub(super) fn new(files: TlsFiles) -> Self {
        Self {
            files,
            made: Mutex::new(None),
        }
    }

    pub(super) fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Encrypts a connection to `host`, whose certificate must bear that name. `protocols` are offered by ALPN;
    /// none: the extension is left out.
    ///
    /// # Errors
    /// A file cannot be used, the server's certificate is not trusted, or the server does not do TLS as it should.
    pub(crate) async fn handshake<S>(
        &self,
        host: &str,
        protocols: &[&str],
        stream: S,
    ) -> Result<(TlsStream<S>, Validity), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| TlsError::NoName(host.to_owned()))?;
        let made = self.made().await?;
        let protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let connector = TlsConnector::from(Arc::clone(&made.config));
        let connected = connector.with_alpn(protocols).connect(name.clone(), stream).await;
        match connected {
            Ok(stream) => {
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let validity = validity(&made.verifier, chain, &name);
                Ok((stream, validity))
            }
            Err(error) => {
                let error = TlsError::of_handshake(&error, &self.files);
                if error.is_about_trust() {
                    // The system's authorities may have changed since they were read.
                    *self.made.lock().unwrap_or_else(PoisonError::into_inner) = None;
                }
                Err(error)
            }
        }
    }

    /// What the files say, read again if they have changed. Before the first use nothing is read.
    async fn made(&self) -> Result<Made, TlsError> {
        let stamps = Stamps::of(&self.files);
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(made) = made.filter(|made| made.stamps == stamps) {
            return Ok(made);
        }
        let files = self.files.clone();
        let (config, verifier) = tokio::task::spawn_blocking(move || settings::make(&files))
            .await
            .map_err(|error| TlsError::Library(error.to_string()))??;
        let made = Made {
            config: Arc::new(config),
            verifier,
            stamps,
        };
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(made.clone());
        Ok(made)
    }
}

/// The chain is judged as if it were [`EXPIRES_SOON`] later.
fn validity(
    verifier: &WebPkiServerVerifier,
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
) -> Validity {
    let Some((leaf, others)) = chain.split_first() else {
        return Validity::Long;
    };
    let now = u64::try_from(clock::now().unix.as_millis()).unwrap_or_default();
    let later = UnixTime::since_unix_epoch(Duration::from_millis(now).saturating_add(EXPIRES_SOON));
    match verifier.verify_server_cert(leaf, others, name, &[], later) {
        Err(rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
            Validity::Until(i64::try_from(not_after.as_secs()).unwrap_or(i64::MAX))
        }
        Ok(_) | Err(_) => Validity::Long,
    }
}

impl From<FileError> for TlsError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}
