//! MQTT in the binary messages of a WebSocket, as a stream of bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures_util::{Sink, StreamExt as _};
use imd_core::io::FaultKind;
use imd_core::server::Server;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// Longer messages of the server end the connection: eight of the longest that imd takes in MQTT.
const LONGEST_MESSAGE: usize = 1024 * 1024;

/// What is kept for reading at once, and for writing.
const BUFFER: usize = 16 * 1024;

/// How many bytes become one message.
const LONGEST_WRITE: usize = 64 * 1024;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    #[error("the server answers the WebSocket's request with {0}")]
    Refused(String),
    #[error("the server has a WebSocket there, but none that speaks MQTT")]
    NotMqtt,
    #[error("what answers is no WebSocket: {0}")]
    NotWebSocket(String),
    #[error("the server closed when the WebSocket was to begin")]
    Closed,
    #[error("the server does not answer the WebSocket's request")]
    Silent,
}

impl WebSocketError {
    /// As what it goes to the core.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        match self {
            Self::Refused(_) | Self::NotMqtt | Self::NotWebSocket(_) | Self::Closed | Self::Silent => {
                FaultKind::Unreachable
            }
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn mend(&self) -> String {
        match self {
            Self::Refused(_) => "check the path in the URL: many brokers have it at /mqtt",
            Self::NotMqtt => "check port and path: the server must take the subprotocol mqtt",
            Self::NotWebSocket(_) | Self::Closed | Self::Silent => {
                "check the port: is it the broker's WebSocket, and wss:// where it encrypts?"
            }
        }
        .to_owned()
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library's enum is open: what has no text of its own is shown in the library's words"
    )]
    fn of(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => Self::Refused(response.status().to_string()),
            tungstenite::Error::Protocol(ProtocolError::SecWebSocketSubProtocolError(_)) => Self::NotMqtt,
            tungstenite::Error::Protocol(ProtocolError::HandshakeIncomplete)
            | tungstenite::Error::ConnectionClosed => Self::Closed,
            tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::Closed,
            other => Self::NotWebSocket(other.to_string()),
        }
    }
}

/// A WebSocket as a stream of bytes: where messages begin and end means nothing to MQTT. Pings are answered
/// below it.
pub(super) struct WebSocketBytes<S> {
    socket: WebSocketStream<S>,
    unread: Bytes,
}

/// Asks for a WebSocket with the subprotocol `mqtt` at the server's path.
pub(super) async fn open<S>(server: &Server, stream: S) -> Result<WebSocketBytes<S>, WebSocketError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = server
        .to_string()
        .into_client_request()
        .map_err(WebSocketError::of)?;
    request
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mqtt"));
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(BUFFER)
        .max_write_buffer_size(LONGEST_MESSAGE)
        .max_message_size(Some(LONGEST_MESSAGE))
        .max_frame_size(Some(LONGEST_MESSAGE));
    let (socket, _) = client_async_with_config(request, stream, Some(config))
        .await
        .map_err(WebSocketError::of)?;
    Ok(WebSocketBytes {
        socket,
        unread: Bytes::new(),
    })
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocketBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.socket.poll_next_unpin(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(Message::Binary(bytes))) => self.unread = bytes,
                Some(Ok(Message::Text(_))) => {
                    let text = "the server sent text over the WebSocket, which MQTT is not";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                Some(Ok(Message::Close(Some(frame)))) if !is_plain(&frame) => {
                    return Poll::Ready(Err(io::Error::other(closed(&frame))));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_))) => {}
                Some(Err(error)) => return Poll::Ready(ended(error)),
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(self.unread.get(..length).unwrap_or_default());
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocketBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Pin::new(&mut self.socket).poll_ready(context)).map_err(broken)?;
        let length = bytes.len().min(LONGEST_WRITE);
        let message = Bytes::copy_from_slice(bytes.get(..length).unwrap_or_default());
        Pin::new(&mut self.socket)
            .start_send(Message::Binary(message))
            .map_err(broken)?;
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(broken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(context).map_err(broken)
    }
}

/// Whether a close says no more than the end of the stream does.
fn is_plain(frame: &CloseFrame) -> bool {
    matches!(
        frame.code,
        CloseCode::Normal | CloseCode::Away | CloseCode::Status
    )
}

fn closed(frame: &CloseFrame) -> String {
    let said: String = frame.reason.chars().filter(|c| !c.is_control()).collect();
    let code = u16::from(frame.code);
    if said.is_empty() {
        format!("the server closed the WebSocket with {code}")
    } else {
        format!("the server closed the WebSocket with {code}, saying {said:?}")
    }
}

/// Without a close before it, the end of the stream is the end all the same.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's enum is open: every other error breaks the connection"
)]
fn ended(error: tungstenite::Error) -> io::Result<()> {
    match error {
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Ok(()),
        // So TLS says it.
        tungstenite::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        other => Err(broken(other)),
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the library's enum is open: every other error is shown in the library's words"
)]
fn broken(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
            io::ErrorKind::BrokenPipe.into()
        }
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
