//! What stands before a broker: TLS, a WebSocket, both; and the proxies on the way to it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};

/// Who may go through a proxy.
pub const PROXY_USER: &str = "proxy-user";

/// What is spoken in front of the broker.
#[derive(Clone)]
enum Spoken {
    WebSocket,
    WebSocketTls(Arc<ServerConfig>),
    /// With the password it wants.
    Socks5(Option<String>),
    Http(Option<String>),
}

/// A front, which listens on a port of 127.0.0.1 and passes everything on to one broker, whatever name it is
/// asked for.
#[derive(Debug)]
pub struct Front {
    address: SocketAddr,
    /// What a proxy was asked for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Front {
    /// A WebSocket at `/mqtt`.
    #[must_use]
    pub fn websocket(target: SocketAddr) -> Self {
        Self::start(target, Spoken::WebSocket)
    }

    /// An encrypted WebSocket at `/mqtt`.
    #[must_use]
    pub fn encrypted_websocket(target: SocketAddr, config: ServerConfig) -> Self {
        Self::start(target, Spoken::WebSocketTls(Arc::new(config)))
    }

    /// A SOCKS5 proxy; with a password it wants [`PROXY_USER`] and that.
    #[must_use]
    pub fn socks5(target: SocketAddr, password: Option<&str>) -> Self {
        Self::start(target, Spoken::Socks5(password.map(str::to_owned)))
    }

    /// An HTTP proxy; with a password it wants [`PROXY_USER`] and that.
    #[must_use]
    pub fn http(target: SocketAddr, password: Option<&str>) -> Self {
        Self::start(target, Spoken::Http(password.map(str::to_owned)))
    }

    fn start(target: SocketAddr, spoken: Spoken) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket need not block");
        let address = listener.local_addr().expect("a listener has an address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let book = Arc::clone(&asked);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
                while let Ok((near, _)) = listener.accept().await {
                    let (spoken, book) = (spoken.clone(), Arc::clone(&book));
                    // A connection that fails is closed: that is all its ends need to know.
                    tokio::spawn(async move { pass(near, target, spoken, &book).await });
                }
            });
        });
        Self { address, asked }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The servers a proxy was asked for, as `host:port`.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pass(
    mut near: TcpStream,
    target: SocketAddr,
    spoken: Spoken,
    book: &Mutex<Vec<String>>,
) -> io::Result<()> {
    match spoken {
        Spoken::WebSocket => websocket(near, target).await,
        Spoken::WebSocketTls(config) => {
            websocket(TlsAcceptor::from(config).accept(near).await?, target).await
        }
        Spoken::Socks5(password) => {
            let name = socks5(&mut near, password.as_deref()).await?;
            tunnel(near, target, name, book).await
        }
        Spoken::Http(password) => {
            let name = http(&mut near, password.as_deref()).await?;
            tunnel(near, target, name, book).await
        }
    }
}

async fn tunnel(
    mut near: TcpStream,
    target: SocketAddr,
    name: String,
    book: &Mutex<Vec<String>>,
) -> io::Result<()> {
    book.lock().unwrap_or_else(PoisonError::into_inner).push(name);
    let mut far = TcpStream::connect(target).await?;
    copy_bidirectional(&mut near, &mut far).await.map(|_| ())
}

#[expect(clippy::result_large_err, reason = "the library's callback")]
async fn websocket<S: AsyncRead + AsyncWrite + Unpin>(near: S, target: SocketAddr) -> io::Result<()> {
    let choose = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
        if request.uri().path() != "/mqtt" {
            let mut refusal = ErrorResponse::new(None);
            *refusal.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
            return Err(refusal);
        }
        if let Some(protocol) = request.headers().get("sec-websocket-protocol") {
            response
                .headers_mut()
                .insert("sec-websocket-protocol", protocol.clone());
        }
        Ok(response)
    };
    let mut socket = tokio_tungstenite::accept_hdr_async(near, choose)
        .await
        .map_err(io::Error::other)?;
    let mut far = TcpStream::connect(target).await?;
    let mut buffer = vec![0; 4096];
    loop {
        tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Binary(bytes))) => far.write_all(&bytes).await?,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Text(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Ok(()),
            },
            read = far.read(&mut buffer) => {
                let read = read?;
                if read == 0 {
                    return socket.close(None).await.map_err(io::Error::other);
                }
                let bytes = Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default());
                socket.send(Message::Binary(bytes)).await.map_err(io::Error::other)?;
            }
        }
    }
}

async fn array<const N: usize>(near: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    near.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn text(near: &mut TcpStream) -> io::Result<String> {
    let [length] = array(near).await?;
    let mut bytes = vec![0; usize::from(length)];
    near.read_exact(&mut bytes).await?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// The server that is asked for.
async fn socks5(near: &mut TcpStream, password: Option<&str>) -> io::Result<String> {
    let [_, methods] = array(near).await?;
    let mut offered = vec![0; usize::from(methods)];
    near.read_exact(&mut offered).await?;
    if let Some(password) = password {
        if !offered.contains(&2) {
            near.write_all(&[5, 0xFF]).await?;
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        near.write_all(&[5, 2]).await?;
        let [_] = array(near).await?;
        let (user, given) = (text(near).await?, text(near).await?);
        let right = user == PROXY_USER && given == password;
        near.write_all(&[1, u8::from(!right)]).await?;
        if !right {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    } else {
        near.write_all(&[5, 0]).await?;
    }
    let [_, _, _, kind] = array(near).await?;
    let host = match kind {
        1 => Ipv4Addr::from(array::<4>(near).await?).to_string(),
        3 => text(near).await?,
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    let port = u16::from_be_bytes(array(near).await?);
    near.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok(format!("{host}:{port}"))
}

/// The server that is asked for.
async fn http(near: &mut TcpStream, password: Option<&str>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let [byte] = array(near).await?;
        head.push(char::from(byte));
    }
    let wanted = password.map(|password| {
        let plain = format!("{PROXY_USER}:{password}");
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(plain))
    });
    if wanted.is_some_and(|wanted| !head.contains(&wanted)) {
        near.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            .await?;
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
        .await?;
    let name = head.split(' ').nth(1).unwrap_or_default();
    Ok(name.to_owned())
}
