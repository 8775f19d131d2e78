//! A network of its own, in namespaces of the kernel: a machine with a cable, a router, and a server's machine.
//! Neither the host's network nor another test's is touched, and no privilege is needed where the kernel lets a
//! user make a namespace.
//!
//! ```text
//!    here                    router                    server
//!    eth0 10.9.0.2/24 ────── 10.9.0.1    10.9.1.1 ──── 10.9.1.2/24
//! ```

mod relay;

use std::fs;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

pub use self::relay::Relay;
use crate::process::{Process, run};
use crate::wait::{SOON, eventually, when};

/// The address of the machine where the daemon is.
pub const HERE: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);

/// The router's address on this machine's side.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// The address of the server's machine.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 1, 2);

/// The three machines; gone when dropped.
#[derive(Debug)]
pub struct Lab {
    here: Machine,
    router: Machine,
    server: Machine,
}

/// A namespace, held by a process that does nothing.
#[derive(Debug)]
struct Machine {
    namespace: Namespace,
    _holder: Process,
}

/// A way into a namespace.
#[derive(Clone, Debug)]
pub struct Namespace {
    pid: u32,
    /// It belongs to a user namespace of its own.
    of_user: bool,
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Lab {
    /// Three machines, joined by cables, with routes.
    ///
    /// # Panics
    /// When the kernel gives no namespace: these tests then can't be run here, and that is no success.
    #[must_use]
    pub fn new() -> Self {
        let lab = Self::without_cables();
        let (here, router, server) = (lab.here(), lab.router(), lab.server());
        for (end, far, name) in [(here, "c0", "eth0"), (server, "s0", "eth0")] {
            let pid = end.pid.to_string();
            let cable = [
                "link", "add", far, "type", "veth", "peer", "name", name, "netns", &pid,
            ];
            router.ip(&cable);
        }
        for (machine, device, address) in [
            (router, "c0", format!("{ROUTER}/24")),
            (router, "s0", "10.9.1.1/24".to_owned()),
            (here, "eth0", format!("{HERE}/24")),
            (server, "eth0", format!("{SERVER}/24")),
        ] {
            machine.ip(&["address", "add", &address, "dev", device]);
            machine.ip(&["link", "set", device, "up"]);
        }
        router.shell("echo 1 > /proc/sys/net/ipv4/ip_forward");
        here.ip(&["route", "add", "default", "via", "10.9.0.1"]);
        server.ip(&["route", "add", "default", "via", "10.9.1.1"]);
        lab
    }

    /// The machines, each with nothing but its loopback.
    #[must_use]
    pub fn without_cables() -> Self {
        let router = Machine::first();
        let here = router.beside();
        let server = router.beside();
        Self { here, router, server }
    }

    /// Where the daemon runs.
    #[must_use]
    pub fn here(&self) -> &Namespace {
        &self.here.namespace
    }

    #[must_use]
    pub fn router(&self) -> &Namespace {
        &self.router.namespace
    }

    #[must_use]
    pub fn server(&self) -> &Namespace {
        &self.server.namespace
    }
}

impl Machine {
    /// A namespace of the host's. Root needs no user namespace; anybody else gets one, and is root in it.
    fn first() -> Self {
        let ways: [&[&str]; 2] = [&["--net"], &["--user", "--map-root-user", "--net"]];
        let ways = if geteuid().is_root() {
            &ways[..]
        } else {
            &ways[1..]
        };
        let mut said = String::new();
        for way in ways {
            let tried = run(Command::new("unshare").args(*way).arg("true"), b"");
            if tried.code == Some(0) {
                let mut command = Command::new("unshare");
                command.args(*way);
                return Self::hold(command, way.contains(&"--user"));
            }
            said.push_str(&tried.stderr);
        }
        panic!(
            "the kernel gives this user no network namespace, so the tests of the network can't be run here. As \
             root they can, or with user namespaces allowed (kernel.apparmor_restrict_unprivileged_userns = 0 on \
             Ubuntu).\n{said}"
        );
    }

    /// Another namespace that belongs to the same user namespace, so that cables can lead from one to the other.
    fn beside(&self) -> Self {
        let command = self.namespace.inside(Command::new("unshare").arg("--net"));
        Self::hold(command, self.namespace.of_user)
    }

    fn hold(mut command: Command, of_user: bool) -> Self {
        command.args(["sleep", "infinity"]).stdin(Stdio::null());
        let holder = Process::start(&mut command);
        let namespace = Namespace {
            pid: holder.pid(),
            of_user,
        };
        let name = format!("/proc/{}/comm", namespace.pid);
        eventually(SOON, "the namespace", || {
            let name = fs::read_to_string(&name).unwrap_or_default();
            when(name.trim() == "sleep", name)
        });
        namespace.ip(&["link", "set", "lo", "up"]);
        Self {
            namespace,
            _holder: holder,
        }
    }
}

impl Namespace {
    /// The same command, to be run in this namespace. It keeps its process id.
    #[must_use]
    pub fn inside(&self, command: &Command) -> Command {
        let mut entering = Command::new("nsenter");
        entering.args(["--target", &self.pid.to_string(), "--net"]);
        if self.of_user {
            entering.args(["--user", "--preserve-credentials"]);
        }
        entering
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args());
        // What the command is to see of the environment is all set by itself.
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entering.env(name, value),
                None => entering.env_remove(name),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            entering.current_dir(directory);
        }
        entering
    }

    /// `ip` with these arguments.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn ip(&self, arguments: &[&str]) {
        run(&mut self.inside(Command::new("ip").args(arguments)), b"").expect_code(0);
    }

    /// A line for the shell.
    ///
    /// # Panics
    /// When it fails.
    #[track_caller]
    pub fn shell(&self, line: &str) {
        run(&mut self.inside(Command::new("sh").args(["-c", line])), b"").expect_code(0);
    }
}
