//! A TCP proxy that breaks when told to: the network between daemon and broker.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use crate::wait::{SOON, eventually, when};

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// The proxy. It listens on a port of 127.0.0.1 and keeps that port until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    settings: watch::Sender<Settings>,
    counts: Arc<Counts>,
}

#[derive(Clone, Copy, Debug)]
struct Settings {
    listening: bool,
    frozen: bool,
    delay: Duration,
    /// Each growth resets the connections there are.
    cuts: u64,
    /// Each growth closes the connections there are.
    closes: u64,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    listening: AtomicUsize,
}

impl Proxy {
    /// Starts to forward to `target`.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let (settings, watched) = watch::channel(Settings {
            listening: true,
            frozen: false,
            delay: Duration::ZERO,
            cuts: 0,
            closes: 0,
        });
        let counts = Arc::new(Counts::default());
        let (tell, told) = std::sync::mpsc::sync_channel(1);
        let shared = Arc::clone(&counts);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be built");
            runtime.block_on(serve(target, watched, shared, tell));
        });
        let address = told.recv().expect("the proxy thread lives").expect("a free port");
        let proxy = Self {
            address,
            settings,
            counts,
        };
        proxy.await_listening(1);
        proxy
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its address as a server of imd's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// Resets all connections, on both sides, and returns when they are gone.
    pub fn cut(&self) {
        self.settings.send_modify(|settings| settings.cuts += 1);
        self.await_none_open();
    }

    /// Closes all connections in order, on both sides, and returns when they are gone.
    pub fn close(&self) {
        self.settings.send_modify(|settings| settings.closes += 1);
        self.await_none_open();
    }

    /// From here on the connections are half-open: they stay, further ones are taken, and nothing gets
    /// through, not even an end.
    pub fn freeze(&self) {
        self.settings.send_modify(|settings| settings.frozen = true);
    }

    /// Forwards again, beginning with what was held back.
    pub fn thaw(&self) {
        self.settings.send_modify(|settings| settings.frozen = false);
    }

    /// Refuses further connections. Those there are stay.
    pub fn refuse(&self) {
        self.settings.send_modify(|settings| settings.listening = false);
        self.await_listening(0);
    }

    /// Takes connections again, on the same port.
    pub fn accept(&self) {
        self.settings.send_modify(|settings| settings.listening = true);
        self.await_listening(1);
    }

    /// Holds each piece back for so long.
    pub fn delay(&self, delay: Duration) {
        self.settings.send_modify(|settings| settings.delay = delay);
    }

    /// How many connections were ever taken.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// How many connections there are.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    fn await_none_open(&self) {
        eventually(SOON, "the end of the proxy's connections", || {
            when(self.open() == 0, self.open())
        });
    }

    fn await_listening(&self, wanted: usize) {
        eventually(SOON, "the proxy's port to open or close", || {
            let listening = self.counts.listening.load(Ordering::SeqCst);
            when(listening == wanted, listening)
        });
    }
}

/// Ends when the [`Proxy`] is dropped: the channel of its settings closes.
async fn serve(
    target: SocketAddr,
    mut settings: watch::Receiver<Settings>,
    counts: Arc<Counts>,
    tell: std::sync::mpsc::SyncSender<io::Result<SocketAddr>>,
) {
    let mut held = match hold((Ipv4Addr::LOCALHOST, 0).into()) {
        Ok(held) => held,
        Err(error) => {
            let _ = tell.send(Err(error));
            return;
        }
    };
    let address = held.local_addr();
    let port = address.as_ref().ok().copied();
    if tell.send(address).is_err() {
        return;
    }
    let Some(port) = port else { return };
    loop {
        let listener = held.listen(BACKLOG).expect("a held port can be opened");
        counts.listening.store(1, Ordering::SeqCst);
        if !accept(&listener, target, &mut settings, &counts).await {
            return;
        }
        drop(listener);
        // A port that is bound but not listening refuses, and nobody else can take it.
        held = hold(port).expect("the port was ours a moment ago");
        counts.listening.store(0, Ordering::SeqCst);
        if settings.wait_for(|settings| settings.listening).await.is_err() {
            return;
        }
    }
}

fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Takes connections until told to refuse; `false` when the proxy has been dropped.
async fn accept(
    listener: &TcpListener,
    target: SocketAddr,
    settings: &mut watch::Receiver<Settings>,
    counts: &Arc<Counts>,
) -> bool {
    loop {
        let stream = tokio::select! {
            biased;
            refused = settings.wait_for(|settings| !settings.listening) => return refused.is_ok(),
            taken = listener.accept() => match taken {
                Ok((stream, _)) => stream,
                Err(_) => continue,
            },
        };
        counts.accepted.fetch_add(1, Ordering::SeqCst);
        counts.open.fetch_add(1, Ordering::SeqCst);
        let (settings, counts) = (settings.clone(), Arc::clone(counts));
        tokio::spawn(async move {
            connection(stream, target, settings).await;
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// One connection. Both ends are gone when it returns.
async fn connection(near: TcpStream, target: SocketAddr, mut settings: watch::Receiver<Settings>) {
    let start = *settings.borrow_and_update();
    let dial = async {
        thawed(&mut settings.clone()).await;
        TcpStream::connect(target).await
    };
    let far = tokio::select! {
        dialled = dial => dialled,
        () = ended(start, settings.clone()) => Err(io::ErrorKind::ConnectionAborted.into()),
    };
    let Ok(mut far) = far else {
        let _ = near.set_zero_linger();
        return;
    };
    let mut near = near;
    let _ = near.set_nodelay(true);
    let _ = far.set_nodelay(true);
    let forward = async {
        let ((near_in, near_out), (far_in, far_out)) = (near.split(), far.split());
        tokio::try_join!(
            pump(near_in, far_out, settings.clone()),
            pump(far_in, near_out, settings.clone())
        )
        .map(|_| ())
    };
    let outcome = tokio::select! {
        outcome = forward => outcome,
        () = ended(start, settings.clone()) => {
            if settings.borrow().cuts == start.cuts { Ok(()) } else { Err(Reset) }
        }
    };
    if let Err(Reset) = outcome {
        let _ = near.set_zero_linger();
        let _ = far.set_zero_linger();
    }
}

/// A connection that ends in a reset, not in order.
#[derive(Debug)]
struct Reset;

/// Moves bytes one way until their sender closes.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut settings: watch::Receiver<Settings>,
) -> Result<(), Reset> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        thawed(&mut settings).await;
        let length = tokio::select! {
            biased;
            _ = settings.wait_for(|settings| settings.frozen) => continue,
            read = from.read(&mut buffer) => read.map_err(|_| Reset)?,
        };
        let delay = settings.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        thawed(&mut settings).await;
        match buffer.get(..length) {
            Some(piece) if length > 0 => to.write_all(piece).await.map_err(|_| Reset)?,
            _ => return to.shutdown().await.map_err(|_| Reset),
        }
    }
}

/// Waits until the proxy forwards. A dropped proxy forwards no more: its connections end.
async fn thawed(settings: &mut watch::Receiver<Settings>) {
    if settings.wait_for(|settings| !settings.frozen).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits until a cut, a close or the proxy's end asks a connection that began under `start` to go.
async fn ended(start: Settings, mut settings: watch::Receiver<Settings>) {
    let _ = settings
        .wait_for(|settings| settings.cuts != start.cuts || settings.closes != start.closes)
        .await;
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net;

    use super::*;

    /// A proxy in front of a server that returns what it gets.
    fn echo() -> Proxy {
        let server = net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = server.local_addr().unwrap();
        thread::spawn(move || {
            while let Ok((stream, _)) = server.accept() {
                thread::spawn(move || {
                    let (mut from, mut to) = (&stream, &stream);
                    let _ = io::copy(&mut from, &mut to);
                });
            }
        });
        Proxy::start(address)
    }

    fn dial(proxy: &Proxy) -> net::TcpStream {
        let stream = net::TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    fn says(mut stream: &net::TcpStream, word: &[u8; 4]) {
        stream.write_all(word).unwrap();
        hears(stream, word);
    }

    fn hears(mut stream: &net::TcpStream, word: &[u8; 4]) {
        let mut heard = [0; 4];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(&heard, word);
    }

    #[test]
    fn it_forwards_and_counts() {
        let proxy = echo();
        let (first, second) = (dial(&proxy), dial(&proxy));
        says(&first, b"ping");
        says(&second, b"pong");
        assert_eq!((proxy.accepted(), proxy.open()), (2, 2));
        drop(first);
        eventually(SOON, "one connection left", || {
            when(proxy.open() == 1, proxy.open())
        });
        assert_eq!(proxy.accepted(), 2);
    }

    #[test]
    fn a_cut_is_a_reset_and_the_next_connection_works() {
        let proxy = echo();
        let mut stream = dial(&proxy);
        says(&stream, b"ping");
        proxy.cut();
        assert_eq!(
            stream.read(&mut [0; 4]).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        says(&dial(&proxy), b"pong");
    }

    #[test]
    fn a_close_is_an_end_without_a_fault() {
        let proxy = echo();
        let mut stream = dial(&proxy);
        says(&stream, b"ping");
        proxy.close();
        assert_eq!(stream.read(&mut [0; 4]).unwrap(), 0);
    }

    #[test]
    fn a_frozen_proxy_is_silent_and_takes_connections_and_thaws_without_loss() {
        let proxy = echo();
        let old = dial(&proxy);
        says(&old, b"ping");
        proxy.freeze();
        let new = dial(&proxy);
        for mut stream in [&old, &new] {
            stream.write_all(b"held").unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            assert_eq!(
                stream.read(&mut [0; 4]).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            stream.set_read_timeout(Some(SOON)).unwrap();
        }
        proxy.thaw();
        hears(&old, b"held");
        hears(&new, b"held");
    }

    #[test]
    fn a_refusing_proxy_refuses_keeps_what_it_has_and_comes_back_on_its_port() {
        let proxy = echo();
        let stream = dial(&proxy);
        says(&stream, b"ping");
        proxy.refuse();
        let refused = net::TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        says(&stream, b"pong");
        proxy.accept();
        says(&dial(&proxy), b"ping");
    }

    #[test]
    fn a_delay_holds_each_piece_back() {
        let proxy = echo();
        let stream = dial(&proxy);
        proxy.delay(Duration::from_millis(40));
        let ((), took) = crate::wait::timed(|| says(&stream, b"ping"));
        assert!(took >= Duration::from_millis(80), "{took:?}");
    }

    #[test]
    fn without_its_target_a_connection_is_reset() {
        let nobody = (Ipv4Addr::LOCALHOST, crate::port::free_port()).into();
        let proxy = Proxy::start(nobody);
        let mut stream = dial(&proxy);
        assert_eq!(
            stream.read(&mut [0; 4]).unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    }
}
