//! A server without MQTT 5, made of one that has it: a gate that refuses MQTT 5 as a 3.1.1 broker does and
//! lets everything else through.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// CONNACK of MQTT 3.1.1 with return code 1: unacceptable protocol version.
const REFUSAL: [u8; 4] = [0x20, 0x02, 0x00, 0x01];

/// The protocol level of MQTT 5 in a CONNECT.
const MQTT_5: u8 = 5;

/// The gate.
#[derive(Debug)]
pub struct Gate {
    address: SocketAddr,
    refused: Arc<AtomicUsize>,
}

impl Gate {
    /// Starts in front of `target`.
    ///
    /// # Panics
    /// When no port is to be had.
    #[must_use]
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        thread::spawn(move || {
            while let Ok((near, _)) = listener.accept() {
                let count = Arc::clone(&count);
                // A connection that fails is closed: that is all its ends need to know.
                thread::spawn(move || pass(near, target, &count));
            }
        });
        Self { address, refused }
    }

    /// Its address as a server of imd's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address)
    }

    /// How many CONNECTs of MQTT 5 it refused.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

fn pass(mut near: TcpStream, target: SocketAddr, refused: &AtomicUsize) -> io::Result<()> {
    let head = connect_head(&mut near)?;
    if head.last() == Some(&MQTT_5) {
        refused.fetch_add(1, Ordering::SeqCst);
        near.write_all(&REFUSAL)?;
        return near.shutdown(Shutdown::Write);
    }
    let mut far = TcpStream::connect(target)?;
    far.write_all(&head)?;
    let (mut from, mut to) = (far.try_clone()?, near.try_clone()?);
    let back = thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    let _ = io::copy(&mut near, &mut far);
    let _ = far.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}

/// The first bytes of a CONNECT: type, remaining length, `MQTT`, and the protocol level as the last one.
fn connect_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    const NAME_AND_LEVEL: usize = 7;
    let mut head = Vec::new();
    let mut byte = [0x80];
    stream.read_exact(&mut byte)?;
    head.extend(byte);
    loop {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut rest = [0; NAME_AND_LEVEL];
    stream.read_exact(&mut rest)?;
    head.extend(rest);
    Ok(head)
}
