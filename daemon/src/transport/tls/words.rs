//! What a TLS fault means, and what to do about it.

use std::io;

use imd_core::io::FaultKind;
use jiff::Timestamp;
use rustls::{AlertDescription, CertificateError, PeerIncompatible};

use super::TlsFiles;
use crate::transport::files::FileError;

/// Why there is no TLS. Times are in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    #[error(transparent)]
    File(FileError),
    #[error("the system has no certificate authorities to trust")]
    NoAuthorities,
    #[error("{0:?} is no name that a certificate can bear")]
    NoName(String),
    #[error("the server's certificate expired {}", shown(*.not_after))]
    Expired { not_after: i64 },
    #[error("the server's certificate is not valid before {}", shown(*.not_before))]
    NotYetValid { not_before: i64 },
    #[error("the server's certificate is for {}, not for {expected}", names(.presented))]
    WrongName {
        expected: String,
        presented: Vec<String>,
    },
    #[error("the server's certificate comes from an authority that is not trusted ({trusted} are)")]
    UnknownAuthority { trusted: String },
    #[error(
        "the server's certificate comes from an authority that has a trusted one's name and another key ({trusted} are trusted)"
    )]
    OtherKey { trusted: String },
    #[error("the server's certificate is that of an authority, which no server may show")]
    AuthorityItself,
    #[error("the server's certificate cannot be accepted: {0}")]
    BadCertificate(String),
    /// It speaks TLS 1.1 at most.
    #[error("the server does not speak TLS 1.2 or 1.3")]
    TooOld,
    #[error("what answers is not TLS")]
    NotTls,
    #[error("the server closed when TLS was to begin")]
    Closed,
    #[error("the server wants a client certificate")]
    WantsCertificate,
    #[error("the server does not accept our client certificate ({0})")]
    RefusesCertificate(String),
    #[error("the server accepts nothing of what ALPN offers")]
    RefusesProtocol,
    #[error("the server ended TLS with the alert {0}")]
    Alert(String),
    #[error("TLS failed: {0}")]
    Library(String),
    #[error("the server does not answer when TLS is to begin")]
    Silent,
    #[error("the connection broke while TLS began: {0}")]
    Broken(String),
}

impl TlsError {
    pub(super) fn of_handshake(error: &io::Error, files: &TlsFiles) -> Self {
        match tls_fault(error) {
            Some(fault) => Self::of_fault(fault, files),
            None if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            ) =>
            {
                Self::Closed
            }
            None => Self::Broken(error.to_string()),
        }
    }

    /// What ended an encrypted connection that was up; `None`: nothing that TLS knows of.
    pub(in crate::transport) fn of_connection(error: &io::Error) -> Option<Self> {
        tls_fault(error).map(|fault| Self::of_fault(fault, &TlsFiles::default()))
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's enum is open: what has no text of its own is shown in the library's words"
    )]
    fn of_fault(fault: &rustls::Error, files: &TlsFiles) -> Self {
        match fault {
            rustls::Error::InvalidCertificate(certificate) => Self::of_certificate(certificate, files),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::PeerIncompatible(
                PeerIncompatible::ServerDoesNotSupportTls12Or13
                | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
            ) => Self::TooOld,
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            other => Self::Library(other.to_string()),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's enum is open: what has no text of its own is shown in the library's words"
    )]
    fn of_certificate(error: &CertificateError, files: &TlsFiles) -> Self {
        let seconds = |time: &rustls::pki_types::UnixTime| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let trusted = || match &files.ca_file {
            Some(path) => format!("those in {}", path.display()),
            None => "those of the system".to_owned(),
        };
        match error {
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired {
                not_after: seconds(not_after),
            },
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYetValid {
                not_before: seconds(not_before),
            },
            CertificateError::NotValidForNameContext { expected, presented } => Self::WrongName {
                expected: expected.to_str().into_owned(),
                presented: presented.clone(),
            },
            CertificateError::UnknownIssuer => Self::UnknownAuthority { trusted: trusted() },
            CertificateError::Other(other)
                if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity)) =>
            {
                Self::AuthorityItself
            }
            CertificateError::BadSignature => Self::OtherKey { trusted: trusted() },
            other => Self::BadCertificate(other.to_string()),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's enum is open: what has no text of its own is shown by its name"
    )]
    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::ProtocolVersion => Self::TooOld,
            AlertDescription::NoApplicationProtocol => Self::RefusesProtocol,
            AlertDescription::CertificateRequired => Self::WantsCertificate,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => Self::RefusesCertificate(format!("{alert:?}")),
            other => Self::Alert(format!("{other:?}")),
        }
    }

    pub(super) fn is_about_trust(&self) -> bool {
        self.kind() == FaultKind::Certificate
    }

    /// As what it goes to the core.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Expired { .. }
            | Self::NotYetValid { .. }
            | Self::WrongName { .. }
            | Self::UnknownAuthority { .. }
            | Self::OtherKey { .. }
            | Self::AuthorityItself
            | Self::BadCertificate(_) => FaultKind::Certificate,
            Self::File(_)
            | Self::NoAuthorities
            | Self::NoName(_)
            | Self::TooOld
            | Self::NotTls
            | Self::Closed
            | Self::Silent
            | Self::WantsCertificate
            | Self::RefusesCertificate(_)
            | Self::RefusesProtocol
            | Self::Alert(_)
            | Self::Library(_)
            | Self::Broken(_) => FaultKind::Tls,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn mend(&self) -> String {
        match self {
            Self::File(error) => return error.mend(),
            Self::NoAuthorities => {
                "install ca-certificates, or name the server's authority with ca_file under [server]"
            }
            Self::NoName(_) => "write the server's name as it stands in its certificate",
            Self::Expired { .. } => "the server needs a new one; or is this machine's clock right?",
            Self::NotYetValid { .. } => {
                "is this machine's clock right? If it is, the server's certificate is not"
            }
            Self::WrongName { presented, .. } if presented.is_empty() => {
                "the server needs a certificate that names it as a subject alternative name"
            }
            Self::WrongName { .. } => "write the server as its certificate names it, or give it another one",
            Self::UnknownAuthority { .. } => {
                "if the server is your own, name the authority's PEM file with ca_file under [server]"
            }
            Self::OtherKey { .. } => "if the authority has been made anew, put the new one into ca_file",
            Self::AuthorityItself => {
                "let it sign one for the server; or make a self-signed one with basicConstraints=critical,CA:FALSE"
            }
            Self::BadCertificate(_) => "the server needs another certificate",
            Self::TooOld => "update the server: older versions of TLS are broken",
            Self::NotTls => "is the port right? If the server does not encrypt, it is mqtt:// or ws://",
            Self::Closed | Self::Silent => {
                "is the port right? A server that does not encrypt does like this: it is mqtt:// or ws://"
            }
            Self::WantsCertificate => "set client_cert and client_key under [server]",
            Self::RefusesCertificate(_) => {
                "client_cert must come from an authority the server trusts, and be valid"
            }
            Self::RefusesProtocol => "set alpn under [server] to what the server wants, or leave it out",
            Self::Alert(_) | Self::Library(_) => "the server's log may say more",
            Self::Broken(_) => "look at the way to the server",
        }
        .to_owned()
    }
}

fn tls_fault(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() {
        return "no name at all".to_owned();
    }
    let shown: Vec<_> = presented.iter().map(|name| shown_name(name)).collect();
    shown.join(", ")
}

/// The library writes a name with its kind around it: `DnsName("im.example")`.
fn shown_name(presented: &str) -> String {
    let inner = presented
        .split_once('(')
        .map_or(presented, |(_, rest)| rest.strip_suffix(')').unwrap_or(rest));
    inner
        .chars()
        .filter(|c| !c.is_control() && *c != '"')
        .take(253)
        .collect()
}

/// A time as people read it, in UTC.
pub(crate) fn shown(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| format!("at {seconds} s since 1970"),
        |time| time.strftime("on %Y-%m-%d at %H:%M UTC").to_string(),
    )
}
