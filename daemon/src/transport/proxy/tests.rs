//! Each way a proxy can be in the way.

use std::future::pending;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

/// What a scripted proxy awaits, and what it answers.
type Step = (&'static [u8], &'static [u8]);

/// Asks a proxy that follows the script, and then reads on until we hang up.
async fn ask(url: &str, host: &str, script: &[Step]) -> Result<(), ProxyError> {
    let proxy = Proxy::parse(url).unwrap();
    let (mut ours, mut theirs) = duplex(64 * 1024);
    let play = async {
        for (awaited, answer) in script {
            let mut read = vec![0; awaited.len()];
            theirs.read_exact(&mut read).await.unwrap();
            assert_eq!(
                String::from_utf8_lossy(&read),
                String::from_utf8_lossy(awaited),
                "what we say"
            );
            theirs.write_all(answer).await.unwrap();
        }
        shut(theirs).await;
        pending::<()>().await;
    };
    tokio::select! {
        result = tunnel(&proxy, host, 8883, &mut ours) => result,
        () = play => unreachable!("it waits for ever"),
    }
}

async fn shut(mut stream: DuplexStream) {
    stream.shutdown().await.unwrap();
}

const NO_PASSWORD: Step = (b"\x05\x01\x00", b"\x05\x00");
const WITH_PASSWORD: Step = (b"\x05\x02\x00\x02", b"\x05\x02");
const NAMED: &[u8] = b"\x05\x01\x00\x03\x09a.example\x22\xb3";
const GRANTED: &[u8] = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38";

#[tokio::test]
async fn socks5_hands_the_name_to_the_proxy() {
    ask("socks5://p", "a.example", &[NO_PASSWORD, (NAMED, GRANTED)])
        .await
        .unwrap();
}

#[tokio::test]
async fn socks5_hands_over_addresses_as_such() {
    let v4 = b"\x05\x01\x00\x01\x0a\x01\x02\x03\x22\xb3";
    ask(
        "socks5h://p",
        "10.1.2.3",
        &[NO_PASSWORD, (v4, b"\x05\x00\x00\x03\x01x\x00\x01")],
    )
    .await
    .unwrap();
    let v6 = b"\x05\x01\x00\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\x22\xb3";
    let bound = b"\x05\x00\x00\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x00\x01";
    ask("socks5://p", "2001:db8::1", &[NO_PASSWORD, (v6, bound)])
        .await
        .unwrap();
}

#[tokio::test]
async fn socks5_signs_in_where_the_proxy_wants_it() {
    let signed_in = (&b"\x01\x05alice\x06s3cret"[..], &b"\x01\x00"[..]);
    ask(
        "socks5://alice:s3cret@p",
        "a.example",
        &[WITH_PASSWORD, signed_in, (NAMED, GRANTED)],
    )
    .await
    .unwrap();
    let unasked = (&b"\x05\x02\x00\x02"[..], &b"\x05\x00"[..]);
    ask(
        "socks5://alice:s3cret@p",
        "a.example",
        &[unasked, (NAMED, GRANTED)],
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn each_refusal_of_a_socks5_proxy_is_told_apart() {
    let refused = ask("socks5://p", "a.example", &[(b"\x05\x01\x00", b"\x05\xff")]).await;
    assert!(matches!(refused, Err(ProxyError::WantsPassword)), "{refused:?}");

    let alice = "socks5://alice:s3cret@p";
    let wrong = (&b"\x01\x05alice\x06s3cret"[..], &b"\x01\x01"[..]);
    let refused = ask(alice, "a.example", &[WITH_PASSWORD, wrong]).await;
    assert!(matches!(refused, Err(ProxyError::WrongPassword)), "{refused:?}");

    let refused = ask(alice, "a.example", &[(b"\x05\x02\x00\x02", b"\x05\xff")]).await;
    assert!(matches!(refused, Err(ProxyError::NoMethod)), "{refused:?}");

    let refused = ask(
        "socks5://p",
        "a.example",
        &[NO_PASSWORD, (NAMED, b"\x05\x02\x00\x01")],
    )
    .await;
    assert!(matches!(refused, Err(ProxyError::Forbidden(_))), "{refused:?}");

    for reply in [
        &b"\x05\x01\x00\x01"[..],
        b"\x05\x03\x00\x01",
        b"\x05\x04\x00\x01",
        b"\x05\x05\x00\x01",
    ] {
        let refused = ask("socks5://p", "a.example", &[NO_PASSWORD, (NAMED, reply)]).await;
        let Err(error @ ProxyError::ServerUnreachable(_)) = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(error.kind(), FaultKind::Unreachable, "the proxy itself is well");
    }
}

#[tokio::test]
async fn rubbish_is_told_as_such_and_what_speaks_http_is_named() {
    for (script, said) in [
        (
            vec![(&b"\x05\x01\x00"[..], &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..])],
            "HTTP",
        ),
        (vec![(b"\x05\x01\x00", b"\x04\x5a")], "[04, 5a]"),
        (vec![(b"\x05\x01\x00", b"\x05\x07")], "0x07"),
        (vec![NO_PASSWORD, (NAMED, b"\x04\x00\x00\x01")], "[04, 00]"),
        (vec![NO_PASSWORD, (NAMED, b"\x05\x00\x00\x09")], "0x09"),
        (vec![NO_PASSWORD, (NAMED, b"\x05\x63\x00\x01")], "0x63"),
    ] {
        let refused = ask("socks5://p", "a.example", &script).await.unwrap_err();
        assert!(matches!(refused, ProxyError::Rubbish { .. }), "{refused:?}");
        assert!(refused.to_string().contains(said), "{refused}");
    }
    let closed = ask("socks5://p", "a.example", &[NO_PASSWORD, (NAMED, b"\x05\x00")]).await;
    assert!(matches!(closed, Err(ProxyError::Closed)), "{closed:?}");
}

const CONNECT: &[u8] = b"CONNECT a.example:8883 HTTP/1.1\r\nHost: a.example:8883\r\n\r\n";
const SIGNED: &[u8] = b"CONNECT a.example:8883 HTTP/1.1\r\nHost: a.example:8883\r\nProxy-Authorization: Basic YWxpY2U6czNjcmV0\r\n\r\n";

#[tokio::test]
async fn connect_names_the_server_and_signs_in_with_basic() {
    let granted = b"HTTP/1.1 200 Connection established\r\nVia: p\r\n\r\n";
    ask("http://p", "a.example", &[(CONNECT, granted)]).await.unwrap();
    ask("http://alice:s3cret@p", "a.example", &[(SIGNED, granted)])
        .await
        .unwrap();
    let v6 = b"CONNECT [::2]:8883 HTTP/1.1\r\nHost: [::2]:8883\r\n\r\n";
    ask("http://p", "::2", &[(v6, b"HTTP/1.0 200 OK\r\n\r\n")])
        .await
        .unwrap();
}

#[tokio::test]
async fn each_refusal_of_an_http_proxy_is_told_apart() {
    let ask_for = |answer: &'static [u8]| async move {
        ask("http://p", "a.example", &[(CONNECT, answer)])
            .await
            .unwrap_err()
    };
    let error = ask_for(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
    assert!(matches!(error, ProxyError::WantsPassword), "{error:?}");
    let error = ask(
        "http://alice:s3cret@p",
        "a.example",
        &[(SIGNED, b"HTTP/1.1 407 No\r\n\r\n")],
    )
    .await
    .unwrap_err();
    assert!(matches!(error, ProxyError::WrongPassword), "{error:?}");
    let error = ask_for(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!").await;
    assert!(
        matches!(&error, ProxyError::Forbidden(said) if said == "403 Forbidden"),
        "{error:?}"
    );
    let error = ask_for(b"HTTP/1.1 504 Gateway Timeout\r\n\r\n").await;
    assert_eq!(error.kind(), FaultKind::Unreachable, "{error:?}");
    let error = ask_for(b"HTTP/1.1 302 Found\r\n\r\n").await;
    assert!(matches!(error, ProxyError::Rubbish { .. }), "{error:?}");
    let error = ask_for(b"\x05\xff").await;
    assert!(matches!(error, ProxyError::Rubbish { .. }), "{error:?}");
    let error = ask_for(b"").await;
    assert!(matches!(error, ProxyError::Closed), "{error:?}");
    let error = ask_for(b"HTTP/1.1 200 OK\r\n\r\nhello").await;
    assert!(error.to_string().contains("before we do"), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let endless: &'static [u8] = Box::leak(
        [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'x'; 32 * 1024]]
            .concat()
            .into(),
    );
    let error = ask("http://p", "a.example", &[(CONNECT, endless)])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no end"), "{error}");
}

#[test]
fn each_fault_has_a_text_and_a_mend_of_its_own() {
    let file = FileError::Open {
        path: "/p".into(),
        mode: 0o644,
    };
    let all = [
        ProxyError::Environment {
            variable: "ALL_PROXY",
            why: ProxyUrlError::NoUrl,
        },
        ProxyError::PasswordFile(file),
        ProxyError::Unreachable(TcpError::Refused("refused".to_owned())),
        ProxyError::WantsPassword,
        ProxyError::WrongPassword,
        ProxyError::NoMethod,
        ProxyError::Forbidden("403".to_owned()),
        ProxyError::ServerUnreachable("504".to_owned()),
        ProxyError::Rubbish {
            spoken: "SOCKS5",
            what: "x".to_owned(),
        },
        ProxyError::Closed,
        ProxyError::Silent,
        ProxyError::Broken(std::io::ErrorKind::ConnectionReset.into()),
    ];
    let mut texts: Vec<_> = all.iter().map(ToString::to_string).collect();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), all.len());
    assert!(all.iter().all(|error| !error.mend().is_empty()));
}
