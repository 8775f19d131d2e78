//! SOCKS5 (RFC 1928) with user name and password (RFC 1929).

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::{ProxyError, SignIn};

const VERSION: u8 = 5;
const NO_SIGN_IN: u8 = 0;
const PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xFF;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

pub(super) async fn tunnel<S>(
    sign_in: Option<&SignIn>,
    host: &str,
    port: u16,
    stream: &mut S,
) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let methods: &[u8] = match sign_in {
        None => &[VERSION, 1, NO_SIGN_IN],
        Some(_) => &[VERSION, 2, NO_SIGN_IN, PASSWORD],
    };
    send(stream, methods).await?;
    let [version, method] = receive(stream).await?;
    if version != VERSION {
        return Err(not_socks(&[version, method]));
    }
    match (method, sign_in) {
        (NO_SIGN_IN, _) => {}
        (PASSWORD, Some(sign_in)) => authenticate(sign_in, stream).await?,
        (NO_METHOD, None) => return Err(ProxyError::WantsPassword),
        (NO_METHOD, Some(_)) => return Err(ProxyError::NoMethod),
        (other, _) => {
            return Err(rubbish(format!(
                "it chose the method {other:#04x}, which was not offered"
            )));
        }
    }
    request(host, port, stream).await
}

async fn authenticate<S>(sign_in: &SignIn, stream: &mut S) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = Zeroizing::new(Vec::with_capacity(3 + 2 * 255));
    message.push(PASSWORD_VERSION);
    for text in [&*sign_in.user, &**sign_in.password] {
        message.push(length(text)?);
        message.extend_from_slice(text.as_bytes());
    }
    send(stream, &message).await?;
    let [version, status] = receive(stream).await?;
    if version != PASSWORD_VERSION {
        return Err(not_socks(&[version, status]));
    }
    if status != 0 {
        return Err(ProxyError::WrongPassword);
    }
    Ok(())
}

async fn request<S>(host: &str, port: u16, stream: &mut S) -> Result<(), ProxyError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut message = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(address)) => {
            message.push(IPV4);
            message.extend_from_slice(&address.octets());
        }
        Ok(IpAddr::V6(address)) => {
            message.push(IPV6);
            message.extend_from_slice(&address.octets());
        }
        Err(_) => {
            message.push(NAME);
            message.push(length(host)?);
            message.extend_from_slice(host.as_bytes());
        }
    }
    message.extend_from_slice(&port.to_be_bytes());
    send(stream, &message).await?;

    let [version, reply, _, kind] = receive(stream).await?;
    if version != VERSION {
        return Err(not_socks(&[version, reply]));
    }
    match reply {
        0 => {}
        1 => return Err(ProxyError::ServerUnreachable("general failure".to_owned())),
        2 => return Err(ProxyError::Forbidden("its rules do not allow it".to_owned())),
        3 => return Err(ProxyError::ServerUnreachable("network unreachable".to_owned())),
        4 => return Err(ProxyError::ServerUnreachable("host unreachable".to_owned())),
        5 => return Err(ProxyError::ServerUnreachable("connection refused".to_owned())),
        6 => {
            return Err(ProxyError::ServerUnreachable(
                "its packets die on the way".to_owned(),
            ));
        }
        7 => return Err(rubbish("it does not know CONNECT".to_owned())),
        8 => {
            return Err(ProxyError::ServerUnreachable(
                "the proxy does not know this kind of address".to_owned(),
            ));
        }
        other => return Err(rubbish(format!("it answers with {other:#04x}"))),
    }
    // The address it speaks from, which nobody needs.
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [length] = receive(stream).await?;
            usize::from(length)
        }
        other => return Err(rubbish(format!("its answer has an address of kind {other:#04x}"))),
    };
    let mut rest = vec![0; length.saturating_add(2)];
    stream.read_exact(&mut rest).await.map_err(ProxyError::of_io)?;
    Ok(())
}

fn length(text: &str) -> Result<u8, ProxyError> {
    u8::try_from(text.len()).map_err(|_| rubbish("a text is longer than SOCKS5 can say".to_owned()))
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> Result<(), ProxyError> {
    stream.write_all(bytes).await.map_err(ProxyError::of_io)?;
    stream.flush().await.map_err(ProxyError::of_io)
}

async fn receive<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> Result<[u8; N], ProxyError> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(ProxyError::of_io)?;
    Ok(bytes)
}

fn not_socks(begin: &[u8]) -> ProxyError {
    rubbish(if begin == b"HT" {
        "it answers in HTTP".to_owned()
    } else {
        format!("its answer begins with {begin:02x?}")
    })
}

fn rubbish(what: String) -> ProxyError {
    ProxyError::Rubbish {
        spoken: "SOCKS5",
        what,
    }
}
