//! A cable that delays and loses packets: what a kernel's netem does, where the kernel has none.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::Ipv4Addr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::Lab;

/// Where the daemon's machine is at this cable.
const NEAR: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 1);

/// Where the server's machine is at this cable.
const FAR: Ipv4Addr = Ipv4Addr::new(10, 9, 2, 2);

/// The cable, from the daemon's machine straight to the server's; gone when dropped.
#[derive(Debug)]
pub struct Relay {
    child: Child,
    settings: ChildStdin,
}

impl Relay {
    /// Lays the cable: perfect at first.
    ///
    /// # Panics
    /// When Python is missing, or the kernel has no tun devices.
    #[must_use]
    pub fn lay(lab: &Lab) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", include_str!("relay.py")]);
        command.args([lab.here(), lab.server()].map(|end| end.pid.to_string()));
        // From inside the user namespace that both belong to.
        let mut child = lab
            .here()
            .inside(&command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("nsenter can be started");
        let settings = child.stdin.take().expect("stdin is piped");
        let mut said = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut said)
            .expect("a pipe can be read");
        assert_eq!(said, "ready\n", "the cable can't be laid");
        for (end, ours, theirs) in [(lab.here(), NEAR, FAR), (lab.server(), FAR, NEAR)] {
            let (ours, theirs) = (ours.to_string(), theirs.to_string());
            end.ip(&["address", "add", &ours, "peer", &theirs, "dev", "lossy0"]);
            end.ip(&["link", "set", "lossy0", "up"]);
        }
        Self { child, settings }
    }

    /// The server's address at the far end.
    #[must_use]
    pub const fn server(&self) -> Ipv4Addr {
        FAR
    }

    /// From here on this share of the packets is lost, and each of the others takes so long, in each direction.
    ///
    /// # Panics
    /// When the relay has ended.
    pub fn set(&mut self, loss: f64, delay: Duration) {
        writeln!(self.settings, "{loss} {}", delay.as_secs_f64()).expect("the relay runs");
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
