//! The stages on top of each other, against listeners that do what a test says.

use std::time::Duration;

use imd_core::io::FaultKind;
use imd_core::server::Transport;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

use super::tls::authority::{A_YEAR, Authority, Days, acceptor};
use super::*;

const DEAD_AFTER: Duration = Duration::from_secs(30);

fn server(transport: Transport, host: &str, port: u16, path: &str) -> Server {
    Server {
        transport,
        host: host.into(),
        port,
        path: path.into(),
    }
}

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

fn direct(files: TlsFiles) -> Transports {
    Transports::new(files, [], None, Environment::default())
}

fn through(proxy: &str) -> Transports {
    let proxy = Proxy::parse(proxy).unwrap();
    Transports::new(TlsFiles::default(), [], Some(proxy), Environment::default())
}

async fn fault(transports: &Transports, server: &Server) -> Fault {
    transports
        .dial(None, server, DEAD_AFTER)
        .await
        .unwrap_err()
        .into()
}

/// Sends what comes back, until the other side closes.
async fn echo<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let mut buffer = vec![0; 8 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..read]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Says something, and hears it come back.
async fn is_echoed(mut stream: Stream, size: usize) {
    let said: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let say = async {
        writer.write_all(&said).await.unwrap();
        writer.flush().await.unwrap();
    };
    let mut heard = vec![0; size];
    let (_, read) = tokio::join!(say, reader.read_exact(&mut heard));
    read.unwrap();
    assert_eq!(heard, said);
}

struct Certified {
    _dir: TempDir,
    authority: Authority,
    files: TlsFiles,
}

fn certified() -> Certified {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let files = authority.trusted(dir.path());
    Certified {
        _dir: dir,
        authority,
        files,
    }
}

#[tokio::test]
async fn a_port_without_a_listener_is_refused_and_named() {
    let (listener, port) = listener().await;
    drop(listener);
    let server = server(Transport::Tcp, "127.0.0.1", port, "");
    let fault = fault(&direct(TlsFiles::default()), &server).await;
    assert_eq!(fault.kind, FaultKind::ConnectionRefused);
    let named = format!("nothing listens at mqtt://127.0.0.1:{port}");
    assert!(fault.text.contains(&named), "{}", fault.text);
}

#[tokio::test]
async fn a_name_without_an_address_is_told_as_such() {
    let server = server(Transport::Tls, "nowhere.invalid", 8883, "");
    let fault = fault(&direct(TlsFiles::default()), &server).await;
    assert_eq!(fault.kind, FaultKind::NameNotResolved);
    assert!(fault.text.contains("nowhere.invalid"), "{}", fault.text);
}

#[tokio::test]
async fn bytes_go_both_ways_through_tls() {
    let given = certified();
    let (listener, port) = listener().await;
    let acceptor = acceptor(given.authority.server(&["127.0.0.1"], A_YEAR));
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        echo(acceptor.accept(tcp).await.unwrap()).await;
    });
    let server = server(Transport::Tls, "127.0.0.1", port, "");
    let reached = direct(given.files).dial(None, &server, DEAD_AFTER).await.unwrap();
    assert_eq!(reached.validity, Some(Validity::Long));
    is_echoed(reached.stream, 300_000).await;
}

#[tokio::test]
async fn an_app_s_own_authority_is_trusted_for_that_app_alone() {
    let given = certified();
    let (listener, port) = listener().await;
    let acceptor = acceptor(given.authority.server(&["127.0.0.1"], A_YEAR));
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move { acceptor.accept(tcp).await.map(echo) });
        }
    });
    let app = imd_core::account::AppKey::parse("chat").unwrap();
    let other = certified();
    let transports = Transports::new(
        other.files,
        [(app.clone(), given.files)],
        None,
        Environment::default(),
    );
    let server = server(Transport::Tls, "127.0.0.1", port, "");
    assert!(transports.dial(Some(&app), &server, DEAD_AFTER).await.is_ok());
    let fault = fault(&transports, &server).await;
    assert_eq!(fault.kind, FaultKind::Certificate);
}

#[tokio::test]
async fn a_certificate_that_has_expired_is_told_with_the_server_and_the_mend() {
    let given = certified();
    let (listener, port) = listener().await;
    let acceptor = acceptor(given.authority.server(&["127.0.0.1"], Days(-30, -2)));
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        acceptor.accept(tcp).await.map(echo)
    });
    let server = server(Transport::Tls, "127.0.0.1", port, "");
    let fault = fault(&direct(given.files), &server).await;
    assert_eq!(fault.kind, FaultKind::Certificate);
    let begins = format!("mqtts://127.0.0.1:{port}: the server's certificate expired on ");
    assert!(fault.text.starts_with(&begins), "{}", fault.text);
    assert!(
        fault.text.contains("the server needs a new one"),
        "{}",
        fault.text
    );
}

/// A WebSocket that takes the subprotocol, and sends back each message in two halves with a ping between.
#[expect(clippy::result_large_err, reason = "the library's callback")]
async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S) {
    use futures_util::{SinkExt as _, StreamExt as _};
    use tokio_tungstenite::tungstenite::Message;

    let check = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        assert_eq!(request.uri().path(), "/mqtt");
        let asked = request.headers().get("sec-websocket-protocol").unwrap();
        assert_eq!(asked, "mqtt");
        response
            .headers_mut()
            .insert("sec-websocket-protocol", asked.clone());
        Ok(response)
    };
    let mut socket = accept_hdr_async(stream, check).await.unwrap();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Binary(bytes) => {
                let half = bytes.len() / 2;
                for message in [
                    Message::Binary(bytes.slice(..half)),
                    Message::Ping("are you there?".into()),
                    Message::Binary(bytes.slice(half..)),
                ] {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
            }
            Message::Pong(payload) => assert_eq!(payload, "are you there?"),
            Message::Close(_) | Message::Text(_) | Message::Ping(_) | Message::Frame(_) => {}
        }
    }
}

#[tokio::test]
async fn bytes_go_both_ways_through_a_websocket() {
    let (listener, port) = listener().await;
    let peer = tokio::spawn(async move { websocket(listener.accept().await.unwrap().0).await });
    let server = server(Transport::WebSocket, "127.0.0.1", port, "/mqtt");
    let transports = direct(TlsFiles::default());
    let reached = transports.dial(None, &server, DEAD_AFTER).await.unwrap();
    assert_eq!(reached.validity, None);
    is_echoed(reached.stream, 300_000).await;
    peer.await.unwrap();
}

#[tokio::test]
async fn bytes_go_both_ways_through_an_encrypted_websocket_and_its_end_is_the_end() {
    let given = certified();
    let (listener, port) = listener().await;
    let mut config = given.authority.server(&["127.0.0.1"], A_YEAR);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = acceptor(config);
    let peer = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        websocket(stream).await;
    });
    let server = server(Transport::WebSocketTls, "127.0.0.1", port, "/mqtt");
    let reached = direct(given.files).dial(None, &server, DEAD_AFTER).await.unwrap();
    let mut stream = reached.stream;
    stream.write_all(b"ab").await.unwrap();
    stream.flush().await.unwrap();
    let mut heard = [0; 2];
    stream.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"ab");
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut heard).await.unwrap(), 0);
    peer.await.unwrap();
}

/// Sends a server's answer to whatever comes first.
async fn answering(answer: &'static [u8]) -> u16 {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(tcp.read(&mut request).await.unwrap() > 0);
        tcp.write_all(answer).await.unwrap();
        tcp.shutdown().await.unwrap();
        // What has not been read would be answered with a reset.
        echo(tcp).await;
    });
    port
}

#[tokio::test]
async fn each_refusal_of_a_websocket_has_its_own_text() {
    for (answer, said, mend) in [
        (&b"HTTP/1.1 404 Not Found\r\n\r\n"[..], "404 Not Found", "path"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "is no WebSocket", "port"),
        (b"", "closed when", "port"),
    ] {
        let port = answering(answer).await;
        let server = server(Transport::WebSocket, "127.0.0.1", port, "/x");
        let fault = fault(&direct(TlsFiles::default()), &server).await;
        assert_eq!(fault.kind, FaultKind::Unreachable);
        assert!(
            fault.text.contains(said) && fault.text.contains(mend),
            "{}",
            fault.text
        );
    }
}

#[tokio::test]
async fn a_websocket_that_does_not_take_mqtt_is_told_as_such() {
    let (listener, port) = listener().await;
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        tokio_tungstenite::accept_async(tcp).await.unwrap();
    });
    let server = server(Transport::WebSocket, "127.0.0.1", port, "/mqtt");
    let fault = fault(&direct(TlsFiles::default()), &server).await;
    assert!(fault.text.contains("none that speaks MQTT"), "{}", fault.text);
}

#[tokio::test]
async fn the_proxy_gets_the_server_s_name_and_tls_goes_through_it() {
    let given = certified();
    let (listener, port) = listener().await;
    let acceptor = acceptor(given.authority.server(&["im.invalid"], A_YEAR));
    tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut asked = [0; 3];
        tcp.read_exact(&mut asked).await.unwrap();
        tcp.write_all(&[5, 0]).await.unwrap();
        let mut request = [0; 4 + 1 + "im.invalid".len() + 2];
        tcp.read_exact(&mut request).await.unwrap();
        assert_eq!(&request[5..15], b"im.invalid");
        tcp.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
        echo(acceptor.accept(tcp).await.unwrap()).await;
    });
    let proxy = Proxy::parse(&format!("socks5://127.0.0.1:{port}")).unwrap();
    let transports = Transports::new(given.files, [], Some(proxy.clone()), Environment::default());
    let server = server(Transport::Tls, "im.invalid", 8883, "");
    let reached = transports.dial(None, &server, DEAD_AFTER).await.unwrap();
    assert_eq!(reached.proxy, Some(proxy));
    is_echoed(reached.stream, 10).await;
}

#[tokio::test]
async fn each_fault_of_a_proxy_is_the_proxy_s_and_shows_no_password() {
    let (closed, nothing) = listener().await;
    drop(closed);
    let wants = answering(b"HTTP/1.1 407 Who are you?\r\n\r\n").await;
    let forbids = answering(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
    let rubbish = answering(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    for (port, said) in [
        (nothing, "the proxy: nothing listens there"),
        (wants, "does not take this user name and password"),
        (forbids, "does not let us reach the server (403 Forbidden)"),
        (rubbish, "does not speak HTTP"),
    ] {
        let transports = through(&format!("http://alice:s3cret@127.0.0.1:{port}"));
        let server = server(Transport::Tcp, "im.example", 1883, "");
        let fault = fault(&transports, &server).await;
        assert_eq!(fault.kind, FaultKind::Proxy, "{}", fault.text);
        assert!(fault.text.contains(said), "{}", fault.text);
        assert!(
            !fault.text.contains("s3cret") && !fault.text.contains("alice"),
            "{}",
            fault.text
        );
    }
}

#[tokio::test]
async fn a_proxy_that_hangs_is_given_up() {
    let (listener, port) = listener().await;
    let hanging = tokio::spawn(async move {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut asked = [0; 3];
        tcp.read_exact(&mut asked).await.unwrap();
        tokio::time::pause();
        tcp
    });
    let server = server(Transport::Tcp, "im.example", 1883, "");
    let fault = fault(&through(&format!("socks5://127.0.0.1:{port}")), &server).await;
    assert_eq!(fault.kind, FaultKind::Proxy);
    assert!(fault.text.contains("the proxy does not answer"), "{}", fault.text);
    drop::<TcpStream>(hanging.await.unwrap());
}

#[test]
fn what_speaks_something_else_where_mqtt_should_be_is_told() {
    let speaks = |first: &[u8]| other_protocol(first).unwrap_or("MQTT");
    assert!(speaks(b"\x15\x03\x03\x00\x02\x02\x46").contains("mqtts://"));
    assert!(speaks(b"HTTP/1.1 400 Bad Request").contains("ws://"));
    // CONNACK, and the beginnings of nothing yet.
    for mqtt in [&b"\x20\x02\x00\x00"[..], b"", b"\x15", b"HTTP", b"\x40\x02"] {
        assert_eq!(speaks(mqtt), "MQTT");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_passed_over_for_its_fellow() {
    let (hanging, hanging_port) = listener().await;
    let (listener, port) = listener().await;
    let given = certified();
    let acceptor = acceptor(given.authority.server(&["127.0.0.1"], A_YEAR));
    tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        echo(acceptor.accept(tcp).await.unwrap()).await;
    });
    let app = imd_core::account::AppKey::parse("chat").unwrap();
    let transports = direct(given.files);
    let servers = [hanging_port, port].map(|port| server(Transport::Tls, "127.0.0.1", port, ""));
    let reached = transports
        .dial_one_of(&app, servers.to_vec(), DEAD_AFTER)
        .await
        .unwrap();
    assert_eq!(reached.server, servers[1]);
    is_echoed(reached.stream, 10).await;
    // The one that hung was hung up on, so that there is one connection and no more.
    let (mut tcp, _) = hanging.accept().await.unwrap();
    let mut hello = Vec::new();
    tcp.read_to_end(&mut hello).await.unwrap();
}

#[tokio::test]
async fn when_no_server_is_reached_the_text_names_each_and_the_kind_is_the_first_one_s() {
    let (closed, first) = listener().await;
    drop(closed);
    let app = imd_core::account::AppKey::parse("chat").unwrap();
    let servers = vec![
        server(Transport::Tcp, "127.0.0.1", first, ""),
        server(Transport::Tcp, "nowhere.invalid", 1883, ""),
    ];
    let transports = direct(TlsFiles::default());
    let fault = transports
        .dial_one_of(&app, servers, DEAD_AFTER)
        .await
        .unwrap_err();
    assert_eq!(fault.kind, FaultKind::ConnectionRefused);
    assert!(
        fault.text.contains("127.0.0.1") && fault.text.contains("nowhere.invalid"),
        "{}",
        fault.text
    );
}

#[test]
fn the_end_of_a_connection_is_told_in_its_own_words() {
    let server = server(Transport::Tls, "im.example", 8883, "");
    let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
    let fault = broken(&server, &io::Error::new(io::ErrorKind::InvalidData, alert));
    assert_eq!(fault.kind, FaultKind::Tls);
    assert!(fault.text.contains("CertificateExpired"), "{}", fault.text);
    let fault = broken(&server, &io::ErrorKind::UnexpectedEof.into());
    assert_eq!(
        fault.kind,
        FaultKind::BareEof,
        "TLS that ends without a farewell is an end like any other"
    );
    let fault = broken(&server, &io::ErrorKind::ConnectionReset.into());
    assert_eq!(fault.kind, FaultKind::Io);
}
