//! HTTP CONNECT (RFC 9110), with Basic.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{ProxyError, SignIn};

/// The longest head of an answer that is read.
const LONGEST_HEAD: usize = 16 * 1024;

const MOST_HEADERS: usize = 64;

/// How much of the proxy's own words is shown, in characters.
const LONGEST_REASON: usize = 80;

pub(super) async fn tunnel<S>(
    sign_in: Option<&SignIn>,
    host: &str,
    port: u16,
    stream: &mut S,
) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = request(sign_in, host, port);
    let sent = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await
    };
    sent.await.map_err(ProxyError::of_io)?;
    let (status, reason) = answer(stream).await?;
    let said = if reason.is_empty() {
        status.to_string()
    } else {
        format!("{status} {reason}")
    };
    match (status, sign_in) {
        (200..=299, _) => Ok(()),
        (407, None) => Err(ProxyError::WantsPassword),
        (407, Some(_)) => Err(ProxyError::WrongPassword),
        (500 | 502..=504, _) => Err(ProxyError::ServerUnreachable(said)),
        (400..=599, _) => Err(ProxyError::Forbidden(said)),
        (_, _) => Err(rubbish(format!("it answers {said}"))),
    }
}

fn request(sign_in: Option<&SignIn>, host: &str, port: u16) -> Zeroizing<String> {
    let place = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut request = Zeroizing::new(String::with_capacity(2048));
    request.push_str(&format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n"));
    if let Some(SignIn { user, password }) = sign_in {
        let plain = Zeroizing::new([user.as_str(), ":", password.as_str()].concat());
        let encoded = Zeroizing::new(STANDARD.encode(plain.as_bytes()));
        request.push_str("Proxy-Authorization: Basic ");
        request.push_str(&encoded);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// The status and its words. Nothing behind the head is read: it is ours to speak first.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(u16, String), ProxyError> {
    let mut head = Vec::with_capacity(512);
    loop {
        let read = stream.read_buf(&mut head).await.map_err(ProxyError::of_io)?;
        if read == 0 {
            return Err(match head.first() {
                None => ProxyError::Closed,
                Some(_) => rubbish("it closed in the middle of its answer".to_owned()),
            });
        }
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        match response.parse(&head) {
            Ok(httparse::Status::Partial) if head.len() < LONGEST_HEAD => {}
            Ok(httparse::Status::Partial) => return Err(rubbish("its answer has no end".to_owned())),
            Ok(httparse::Status::Complete(length)) => {
                let status = response.code.unwrap_or_default();
                let reason = response.reason.unwrap_or_default();
                if (200..300).contains(&status) && head.len() > length {
                    return Err(rubbish("it speaks before we do".to_owned()));
                }
                let shown = reason
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(LONGEST_REASON)
                    .collect();
                return Ok((status, shown));
            }
            Err(error) => return Err(rubbish(error.to_string())),
        }
    }
}

fn rubbish(what: String) -> ProxyError {
    ProxyError::Rubbish { spoken: "HTTP", what }
}
