//! The network side of the link: dialing, up, closing, in turn and never two at once.

use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use imd_core::io::{Dial, Epoch, Fault, HangUp, Identity};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split};
use tokio::time::timeout;

use super::session::Session;
use super::vault::BoxFuture;
use crate::nav::Directory;
use crate::transport::{Reached, Stream};

/// When a link counts as dead, in hundredths of the keep-alive.
const DEAD_AFTER_PERCENT: u32 = 145;

/// How long a farewell may take.
const FAREWELL: Duration = Duration::from_secs(1);

/// How much is read at once.
const READ: usize = 16 * 1024;

/// While this much waits to be sent, nothing more is read: what the server sends is answered, and it is the
/// server that does not take the answers.
const WRITE_BOUND: usize = 256 * 1024;

/// Where the one network connection is.
pub(super) enum Connection {
    None,
    Dialing {
        dial: Box<Dial>,
        attempt: BoxFuture<Result<Reached, Fault>>,
    },
    Up(Box<Up>),
    /// What waits is being sent; then the socket closes, and only then the next server is dialed.
    Closing {
        farewell: BoxFuture<()>,
        next: Option<Box<Dial>>,
    },
}

/// A network connection with its MQTT session.
pub(super) struct Up {
    pub(super) epoch: Epoch,
    pub(super) session: Session,
    /// The address of ours that it goes out from.
    pub(super) source: Option<IpAddr>,
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    pub(super) input: BytesMut,
    unflushed: bool,
    /// Writing has failed. The server's last words may still be there to be read, so the link ends only
    /// when reading does.
    write_error: Option<io::Error>,
}

/// What happened on the network.
pub(super) enum Happening {
    Dialed(Result<Reached, Fault>),
    /// So many bytes have come; none: the server has closed.
    Read(usize),
    /// Something was sent.
    Sent,
    Broken(io::Error),
    Closed,
}

impl Connection {
    /// Begins to reach a server; after the farewell, if one is being said.
    pub(super) fn dial(&mut self, dial: Box<Dial>, directory: &Arc<Directory>) {
        match self {
            Self::Closing { next, .. } => *next = Some(dial),
            Self::None | Self::Dialing { .. } | Self::Up(_) => *self = Self::dialing(dial, directory),
        }
    }

    fn dialing(dial: Box<Dial>, directory: &Arc<Directory>) -> Self {
        let app_key = dial.app_key.clone();
        let servers = std::iter::once(&dial.server)
            .chain(&dial.others)
            .cloned()
            .collect();
        let dead_after = dial.keep_alive.saturating_mul(DEAD_AFTER_PERCENT) / 100;
        let user_id = match &dial.identity {
            Identity::Known(account) => Some(account.user_id.clone()),
            Identity::Discover => None,
        };
        let directory = Arc::clone(directory);
        let attempt = Box::pin(async move {
            directory
                .dial(&app_key, user_id.as_ref(), servers, dead_after)
                .await
        });
        Self::Dialing { dial, attempt }
    }

    /// The session of this epoch, if its connection is up.
    pub(super) fn session(&mut self, epoch: Epoch) -> Option<&mut Session> {
        match self {
            Self::Up(up) if up.epoch == epoch => Some(&mut up.session),
            Self::None | Self::Dialing { .. } | Self::Up(_) | Self::Closing { .. } => None,
        }
    }

    /// Ends what belongs to this epoch.
    pub(super) fn hang_up(&mut self, epoch: Epoch, how: HangUp) {
        match self {
            Self::Dialing { dial, .. } if dial.epoch == epoch => *self = Self::None,
            Self::Up(up) if up.epoch == epoch => {
                up.session.hang_up(how);
                self.close();
            }
            Self::Closing { next, .. } if next.as_ref().is_some_and(|dial| dial.epoch == epoch) => {
                *next = None;
            }
            Self::None | Self::Dialing { .. } | Self::Up(_) | Self::Closing { .. } => {}
        }
    }

    /// Sends what the session has left to say, and closes.
    pub(super) fn close(&mut self) {
        let Self::Up(up) = std::mem::replace(self, Self::None) else {
            return;
        };
        let Up {
            mut session,
            reader,
            writer,
            ..
        } = *up;
        let output = session.output().split();
        if !output.is_empty() {
            *self = Self::Closing {
                farewell: Box::pin(farewell(reader, writer, output)),
                next: None,
            };
        }
    }

    /// The socket of the last connection is closed.
    pub(super) fn closed(&mut self, directory: &Arc<Directory>) {
        if let Self::Closing { next, .. } = std::mem::replace(self, Self::None)
            && let Some(dial) = next
        {
            *self = Self::dialing(dial, directory);
        }
    }

    /// Waits for the next happening. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Happening {
        match self {
            Self::None => pending().await,
            Self::Dialing { attempt, .. } => Happening::Dialed(attempt.await),
            Self::Up(up) => up.next().await,
            Self::Closing { farewell, .. } => {
                farewell.await;
                Happening::Closed
            }
        }
    }
}

impl Up {
    pub(super) fn new(epoch: Epoch, session: Session, reached: Reached) -> Self {
        let (reader, writer) = split(reached.stream);
        Self {
            epoch,
            session,
            source: reached.source,
            reader,
            writer,
            input: BytesMut::new(),
            unflushed: false,
            write_error: None,
        }
    }

    async fn next(&mut self) -> Happening {
        let Self {
            session,
            reader,
            writer,
            input,
            unflushed,
            write_error,
            ..
        } = self;
        let is_deaf = session.is_deaf();
        let output = session.output();
        let waiting = output.len();
        let can_read = (waiting < WRITE_BOUND && !is_deaf) || write_error.is_some();
        let has_to_send = (waiting > 0 || *unflushed) && write_error.is_none();
        input.reserve(READ);
        let send = async {
            if waiting == 0 {
                writer.flush().await?;
                *unflushed = false;
                return Ok(());
            }
            if writer.write_buf(output).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            *unflushed = true;
            io::Result::Ok(())
        };
        tokio::select! {
            read = reader.read_buf(input), if can_read => match (read, write_error.take()) {
                (Ok(0) | Err(_), Some(error)) | (Err(error), None) => Happening::Broken(error),
                (Ok(count), earlier) => {
                    *write_error = earlier;
                    Happening::Read(count)
                }
            },
            sent = send, if has_to_send => {
                *write_error = sent.err();
                Happening::Sent
            }
            // Reading pauses, and there is nothing to write.
            else => pending().await,
        }
    }
}

/// Sends the last bytes and waits until the server has closed too, so that the next connection cannot be
/// there before this one's end is known.
async fn farewell(mut reader: ReadHalf<Stream>, mut writer: WriteHalf<Stream>, output: BytesMut) {
    let said = async {
        writer.write_all(&output).await?;
        writer.shutdown().await?;
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await?;
        io::Result::Ok(())
    };
    match timeout(FAREWELL, said).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "the farewell did not get through"),
        Err(_) => tracing::debug!("the server did not close after the farewell"),
    }
}
