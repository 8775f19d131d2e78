//! A nav: an HTTPS server that says which servers there are, as it is told to.

use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Identity;

/// What the nav does with a request.
#[derive(Clone, Debug)]
pub enum Does {
    /// Answers 200 with this body.
    Says(String),
    /// Answers 200 with this body, so much later.
    SaysLater(Duration, String),
    /// Answers with this status and header lines, and no body.
    Status(&'static str),
    /// Never answers.
    Hangs,
    /// Closes without a word.
    Closes,
}

/// It listens on a port of 127.0.0.1 until the test ends.
#[derive(Debug)]
pub struct Nav {
    address: SocketAddr,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    does: Does,
    /// The heads of all requests.
    requests: Vec<String>,
}

impl Nav {
    /// Starts one that shows this certificate.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn start(identity: &Identity, does: Does) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket need not block");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Mutex::new(Shared {
            does,
            requests: Vec::new(),
        }));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let (config, book) = (Arc::new(identity.server()), Arc::clone(&shared));
        thread::spawn(move || {
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener of this runtime");
                while let Ok((near, _)) = listener.accept().await {
                    let (config, book) = (Arc::clone(&config), Arc::clone(&book));
                    // A connection that fails is closed: that is all its end needs to know.
                    tokio::spawn(async move { answer(near, config, &book).await });
                }
            });
        });
        Self { address, shared }
    }

    /// As a configuration names it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("https://{}/servers", self.address)
    }

    /// What it does from now on.
    pub fn does(&self, does: Does) {
        lock(&self.shared).does = does;
    }

    /// The heads of the requests that have come.
    #[must_use]
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared).requests.clone()
    }
}

/// An answer that names these servers.
#[must_use]
pub fn naming(urls: &[&str]) -> Does {
    Does::Says(body(urls))
}

/// The JSON that names these servers.
#[must_use]
pub fn body(urls: &[&str]) -> String {
    let mut servers = String::new();
    for url in urls {
        let comma = if servers.is_empty() { "" } else { "," };
        let _ = write!(servers, r#"{comma}{{"url":"{url}","weight":1}}"#);
    }
    format!(r#"{{"version":1,"servers":[{servers}],"ttl":7200}}"#)
}

async fn answer(near: TcpStream, config: Arc<ServerConfig>, book: &Mutex<Shared>) -> io::Result<()> {
    let mut tls = TlsAcceptor::from(config).accept(near).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await?);
    }
    let does = {
        let mut shared = lock(book);
        shared.requests.push(String::from_utf8_lossy(&head).into_owned());
        shared.does.clone()
    };
    let body = match does {
        Does::Says(body) => body,
        Does::SaysLater(delay, body) => {
            tokio::time::sleep(delay).await;
            body
        }
        Does::Status(status) => {
            let text = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            tls.write_all(text.as_bytes()).await?;
            return tls.shutdown().await;
        }
        Does::Hangs => {
            // Until the other side gives up.
            tls.read_u8().await?;
            return Ok(());
        }
        Does::Closes => return Ok(()),
    };
    let length = body.len();
    let text = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    tls.write_all(text.as_bytes()).await?;
    tls.shutdown().await
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
