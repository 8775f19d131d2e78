//! Each way encryption can fail, and what is said of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use imd_core::io::FaultKind;
use rustls::ServerConfig;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::authority::{A_YEAR, Authority, Days, acceptor};
use super::*;

const NAME: &str = "im.example";

struct Given {
    dir: TempDir,
    authority: Authority,
}

impl Given {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            authority: Authority::new("ours"),
        }
    }

    fn trusting(&self) -> TlsFiles {
        self.authority.trusted(self.dir.path())
    }
}

/// What comes of a handshake with a server of this configuration, and of the first byte behind it.
async fn meet(client: &TlsClient, protocols: &[&str], config: ServerConfig) -> Result<Validity, TlsError> {
    let (ours, theirs) = duplex(64 * 1024);
    let server = async {
        let mut stream = acceptor(config).accept(theirs).await?;
        stream.write_all(b"x").await?;
        stream.flush().await?;
        // Whoever has gone has heard enough.
        let _: std::io::Result<usize> = stream.read(&mut [0]).await;
        std::io::Result::Ok(())
    };
    let client = async {
        let (mut stream, validity) = client.handshake(NAME, protocols, ours).await?;
        let mut byte = [0];
        match stream.read_exact(&mut byte).await {
            Ok(_) => Ok(validity),
            Err(error) => Err(TlsError::of_connection(&error).expect("a fault of TLS")),
        }
    };
    let (_, met) = tokio::join!(server, client);
    met
}

/// What comes of a handshake with what answers in this way.
async fn talk(files: TlsFiles, answer: &'static [u8], hangs_up: bool) -> TlsError {
    let (ours, mut theirs) = duplex(64 * 1024);
    let server = async {
        let mut hello = [0; 5];
        theirs.read_exact(&mut hello).await.unwrap();
        theirs.write_all(answer).await.unwrap();
        if hangs_up {
            drop(theirs);
            return None::<DuplexStream>;
        }
        Some(theirs)
    };
    let client = TlsClient::new(files);
    let (_kept, met) = tokio::join!(server, client.handshake(NAME, &[], ours));
    met.err().unwrap()
}

#[tokio::test]
async fn a_server_whose_certificate_is_in_order_is_trusted() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let server = given.authority.server(&["other.example", NAME], A_YEAR);
    assert_eq!(meet(&client, &[], server).await, Ok(Validity::Long));
}

#[tokio::test]
async fn an_end_within_two_weeks_is_told_beforehand() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let server = given.authority.server(&[NAME], Days(-300, 5));
    let Validity::Until(end) = meet(&client, &[], server).await.unwrap() else {
        panic!("it ends in five days");
    };
    let days = (end - clock::now().unix.as_millis() / 1000).div_euclid(24 * 60 * 60);
    assert!((3..=5).contains(&days), "{days}");
    let server = given.authority.server(&[NAME], Days(-300, 16));
    assert_eq!(meet(&client, &[], server).await, Ok(Validity::Long));
}

#[tokio::test]
async fn an_expired_certificate_is_told_with_its_day() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let server = given.authority.server(&[NAME], Days(-30, -3));
    let error = meet(&client, &[], server).await.unwrap_err();
    assert!(matches!(error, TlsError::Expired { .. }), "{error:?}");
    assert!(error.to_string().contains("expired on 20"), "{error}");
    assert_eq!(error.kind(), FaultKind::Certificate);

    let server = given.authority.server(&[NAME], Days(3, 30));
    let error = meet(&client, &[], server).await.unwrap_err();
    assert!(matches!(error, TlsError::NotYetValid { .. }), "{error:?}");
    assert!(error.mend().contains("clock"), "{}", error.mend());
}

#[tokio::test]
async fn a_certificate_for_another_name_is_told_with_both_names() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let server = given.authority.server(&["other.example", "192.0.2.7"], A_YEAR);
    let error = meet(&client, &[], server).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server's certificate is for other.example, 192.0.2.7, not for im.example"
    );
    assert_eq!(error.kind(), FaultKind::Certificate);
}

#[tokio::test]
async fn a_certificate_of_a_stranger_is_told_with_who_is_trusted() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let stranger = Authority::new("theirs").server(&[NAME], A_YEAR);
    let error = meet(&client, &[], stranger).await.unwrap_err();
    assert!(matches!(error, TlsError::UnknownAuthority { .. }), "{error:?}");
    assert!(error.to_string().contains("ca.pem"), "{error}");
    assert!(error.mend().contains("ca_file"), "{}", error.mend());
}

#[tokio::test]
async fn an_authority_s_own_certificate_is_no_server_s_and_a_self_signed_one_is_trusted_by_its_file() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let itself = given.authority.as_a_server();
    let error = meet(&client, &[], itself).await.unwrap_err();
    assert_eq!(error, TlsError::AuthorityItself);

    let dir = tempfile::tempdir().unwrap();
    let (server, files) = authority::self_signed(NAME, dir.path());
    assert_eq!(
        meet(&TlsClient::new(files), &[], server).await,
        Ok(Validity::Long)
    );
}

#[tokio::test]
async fn an_authority_that_was_made_anew_under_its_old_name_is_told_as_such() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let anew = Authority::new("ours").server(&[NAME], A_YEAR);
    let error = meet(&client, &[], anew).await.unwrap_err();
    assert!(matches!(error, TlsError::OtherKey { .. }), "{error:?}");
    assert!(error.mend().contains("ca_file"), "{}", error.mend());
}

#[tokio::test]
async fn a_new_authority_in_the_file_is_trusted_without_a_restart() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let next = Authority::new("next");
    assert!(meet(&client, &[], next.server(&[NAME], A_YEAR)).await.is_err());
    next.trusted(given.dir.path());
    assert!(meet(&client, &[], next.server(&[NAME], A_YEAR)).await.is_ok());
    let before = given.authority.server(&[NAME], A_YEAR);
    assert!(meet(&client, &[], before).await.is_err());
}

#[tokio::test]
async fn what_was_made_from_the_files_is_kept_while_they_are_the_same() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let first = client.made().await.unwrap();
    let second = client.made().await.unwrap();
    assert!(Arc::ptr_eq(&first.config, &second.config));
}

#[tokio::test]
async fn a_server_that_asks_is_shown_our_certificate() {
    let given = Given::new();
    let client = given.authority.client(given.dir.path(), A_YEAR);
    let with = TlsClient::new(TlsFiles {
        client: Some(client),
        ..given.trusting()
    });
    let server = given.authority.server_that_asks(&[NAME]);
    assert_eq!(meet(&with, &[], server).await, Ok(Validity::Long));

    let without = TlsClient::new(given.trusting());
    let server = given.authority.server_that_asks(&[NAME]);
    let error = meet(&without, &[], server).await.unwrap_err();
    assert_eq!(error, TlsError::WantsCertificate);
    assert!(error.mend().contains("client_cert"), "{}", error.mend());

    let foreign = Authority::new("theirs").client(given.dir.path(), A_YEAR);
    let with = TlsClient::new(TlsFiles {
        client: Some(foreign),
        ..given.trusting()
    });
    let server = given.authority.server_that_asks(&[NAME]);
    let error = meet(&with, &[], server).await.unwrap_err();
    assert!(matches!(error, TlsError::RefusesCertificate(_)), "{error:?}");
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let given = Given::new();
    let ours = given.authority.client(given.dir.path(), A_YEAR);
    let meeting = |files: TlsFiles| async {
        let server = given.authority.server(&[NAME], A_YEAR);
        let error = meet(&TlsClient::new(files), &[], server).await.unwrap_err();
        assert!(matches!(error, TlsError::File(_)), "{error:?}");
        assert_eq!(error.kind(), FaultKind::Tls);
        error.to_string()
    };
    let with = |client: ClientFiles| TlsFiles {
        client: Some(client),
        ..given.trusting()
    };

    fs::set_permissions(&ours.key, Permissions::from_mode(0o640)).unwrap();
    assert!(meeting(with(ours.clone())).await.contains("mode 0640"));
    fs::set_permissions(&ours.key, Permissions::from_mode(0o600)).unwrap();
    let swapped = ClientFiles {
        certificate: ours.key.clone(),
        key: ours.key.clone(),
    };
    assert!(meeting(with(swapped)).await.contains("no certificate in it"));
    let swapped = ClientFiles {
        key: ours.certificate.clone(),
        ..ours.clone()
    };
    assert!(meeting(with(swapped)).await.contains("no private key in it"));
    let other = tempfile::tempdir().unwrap();
    let unlike = ClientFiles {
        key: given.authority.client(other.path(), A_YEAR).key,
        ..ours
    };
    assert!(meeting(with(unlike)).await.contains("does not fit its key"));

    let missing = TlsFiles {
        ca_file: Some(given.dir.path().join("missing.pem")),
        ..TlsFiles::default()
    };
    assert!(meeting(missing).await.contains("missing.pem cannot be read"));
    let empty = given.dir.path().join("empty.pem");
    fs::write(&empty, "-----BEGIN NOTHING-----\n").unwrap();
    let text = meeting(TlsFiles {
        ca_file: Some(empty),
        ..TlsFiles::default()
    });
    assert!(text.await.contains("empty.pem"));
}

#[tokio::test]
async fn alpn_is_offered_where_it_is_set_and_a_refusal_is_told() {
    let given = Given::new();
    let client = TlsClient::new(given.trusting());
    let picky = || {
        let mut server = given.authority.server(&[NAME], A_YEAR);
        server.alpn_protocols = vec![b"mqtt".to_vec()];
        server
    };
    assert!(meet(&client, &["mqtt"], picky()).await.is_ok());
    assert!(meet(&client, &[], picky()).await.is_ok());
    let error = meet(&client, &["other"], picky()).await.unwrap_err();
    assert_eq!(error, TlsError::RefusesProtocol);
}

#[tokio::test]
async fn a_server_of_tls_1_0_is_told_as_such() {
    let given = Given::new();
    let alert = b"\x15\x03\x01\x00\x02\x02\x46";
    assert_eq!(talk(given.trusting(), alert, true).await, TlsError::TooOld);
    // ServerHello of TLS 1.0 with TLS_RSA_WITH_AES_128_CBC_SHA.
    let hello = b"\x16\x03\x01\x00\x2a\x02\x00\x00\x26\x03\x01\
                  0123456789abcdef0123456789abcdef\x00\x00\x2f\x00";
    assert_eq!(talk(given.trusting(), hello, false).await, TlsError::TooOld);
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_told_as_such() {
    let given = Given::new();
    // A broker takes the ClientHello for a bad CONNECT, and closes.
    let closed = talk(given.trusting(), b"", true).await;
    assert_eq!(closed, TlsError::Closed);
    assert!(closed.mend().contains("mqtt://"), "{}", closed.mend());
    let http = talk(given.trusting(), b"HTTP/1.1 400 Bad Request\r\n\r\n", true).await;
    assert_eq!(http, TlsError::NotTls);
    // CONNACK of MQTT 3.1.1: unacceptable protocol version.
    let mqtt = talk(given.trusting(), b"\x20\x02\x00\x01\x00", true).await;
    assert_eq!(mqtt, TlsError::NotTls);
}

#[tokio::test]
async fn the_system_s_authorities_are_read_when_they_are_needed_first() {
    let given = Given::new();
    let client = TlsClient::new(TlsFiles::default());
    assert!(client.made.lock().unwrap().is_none(), "nothing is read yet");
    let server = given.authority.server(&[NAME], A_YEAR);
    let error = meet(&client, &[], server).await.unwrap_err();
    let unknown = TlsError::UnknownAuthority {
        trusted: "those of the system".to_owned(),
    };
    // Some machines have none.
    assert!(error == unknown || error == TlsError::NoAuthorities, "{error:?}");
    assert!(
        client.made.lock().unwrap().is_none(),
        "after a refusal they are read again"
    );
}

#[test]
fn each_fault_has_a_text_of_its_own() {
    let all = [
        TlsError::NoAuthorities,
        TlsError::NoName("x".to_owned()),
        TlsError::Expired { not_after: 0 },
        TlsError::NotYetValid { not_before: 0 },
        TlsError::WrongName {
            expected: "x".to_owned(),
            presented: vec![],
        },
        TlsError::UnknownAuthority {
            trusted: "x".to_owned(),
        },
        TlsError::OtherKey {
            trusted: "x".to_owned(),
        },
        TlsError::AuthorityItself,
        TlsError::BadCertificate("x".to_owned()),
        TlsError::TooOld,
        TlsError::NotTls,
        TlsError::Closed,
        TlsError::Silent,
        TlsError::WantsCertificate,
        TlsError::RefusesCertificate("x".to_owned()),
        TlsError::RefusesProtocol,
        TlsError::Alert("x".to_owned()),
        TlsError::Library("x".to_owned()),
        TlsError::Broken("x".to_owned()),
    ];
    let mut texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), all.len());
    assert!(all.iter().all(|error| !error.mend().is_empty()));
}
