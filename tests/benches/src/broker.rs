//! A real Mosquitto with the repository's own configuration. Unlike the tests' it logs little: a line for each
//! packet would be measured too.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use imd_tests::port::free_port;
use imd_tests::process::{Process, run};
use imd_tests::sources::root;
use imd_tests::token;
use imd_tests::wait::{SOON, eventually};
use tempfile::TempDir;

/// Who may log in.
const USERS: [&str; 4] = ["alice", "bob", "carol", "system"];

/// A broker, ended when dropped.
pub struct Broker {
    directory: TempDir,
    port: u16,
    tls_port: u16,
    tokens: Vec<(&'static str, String)>,
    process: Process,
}

impl Broker {
    /// Starts a broker that knows alice, bob, carol and the server side, on a port for plain connections and one
    /// for TLS.
    ///
    /// # Panics
    /// When Mosquitto or openssl is not installed, or it does not start.
    #[must_use]
    pub fn start() -> Self {
        let builder = tempfile::Builder::new().prefix("imd-bench-").tempdir();
        let directory = builder.expect("a directory can be made");
        let path = |name: &str| directory.path().join(name);
        let tokens: Vec<_> = USERS.iter().map(|user| (*user, token::of(user))).collect();
        let mut passwords = String::new();
        for (user, token) in &tokens {
            let _ = writeln!(passwords, "{user}:{token}");
        }
        fs::write(path("passwords"), passwords).expect("the broker's directory can be written");
        run(program("mosquitto_passwd").arg("-U").arg(path("passwords")), b"").expect_code(0);
        fs::copy(root().join("tests/mosquitto/acl"), path("acl")).expect("the access rules can be copied");
        certificates(directory.path());

        let (port, tls_port) = (free_port(), free_port());
        let file = root().join("tests/mosquitto/mosquitto.conf");
        let mut text = fs::read_to_string(file).expect("the repository has its mosquitto.conf");
        text = text.replace("listener 1883 127.0.0.1", &format!("listener {port} 127.0.0.1"));
        let _ = write!(
            text,
            "log_dest stderr\nlog_type information\nlog_type notice\nlog_type warning\nlog_type error\nuser root\n\
             listener {tls_port} 127.0.0.1\ncertfile server.pem\nkeyfile key.pem\n"
        );
        fs::write(path("mosquitto.conf"), text).expect("the broker's directory can be written");
        let log = fs::File::create(path("log")).expect("a log can be written");
        let mut process = Process::start(
            program("mosquitto")
                .args(["-c", "mosquitto.conf"])
                .current_dir(directory.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log),
        );
        eventually(SOON, "Mosquitto to run", || {
            let log = fs::read_to_string(path("log")).unwrap_or_default();
            assert!(process.ended().is_none(), "Mosquitto ended:\n{log}");
            if log.contains(" running") {
                Ok(())
            } else {
                Err(log)
            }
        });
        Self {
            directory,
            port,
            tls_port,
            tokens,
            process,
        }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The port for plain connections, as an argument.
    #[must_use]
    pub fn port(&self) -> String {
        self.port.to_string()
    }

    /// The port for TLS, as an argument.
    #[must_use]
    pub fn tls_port(&self) -> String {
        self.tls_port.to_string()
    }

    /// The certificate to trust.
    #[must_use]
    pub fn ca_file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Its address as a server of imd's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The token of a user.
    ///
    /// # Panics
    /// When there is no such user.
    #[must_use]
    pub fn token(&self, user: &str) -> &str {
        let known = self.tokens.iter().find(|(name, _)| *name == user);
        &known.unwrap_or_else(|| panic!("the broker knows no {user}")).1
    }

    /// How many network connections clients have with it, by the kernel's table.
    ///
    /// # Panics
    /// When the kernel does not tell.
    #[must_use]
    pub fn connections(&self) -> usize {
        let table = fs::read_to_string("/proc/net/tcp").expect("the kernel tells its connections");
        let ports = [self.port, self.tls_port].map(|port| format!(":{port:04X}"));
        table
            .lines()
            .filter_map(|line| {
                let mut words = line.split_whitespace().skip(1);
                let (local, _, state) = (words.next()?, words.next()?, words.next()?);
                // 01: established.
                (state == "01" && ports.iter().any(|port| local.ends_with(port))).then_some(())
            })
            .count()
    }
}

/// Makes an authority and a certificate of it for this machine: a client does not take an authority's own.
fn certificates(directory: &Path) {
    let openssl = |arguments: &str| {
        let words = arguments.split(' ');
        run(Command::new("openssl").current_dir(directory).args(words), b"").expect_code(0);
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(&format!(
        "req -x509 {key} -subj /CN=authority -keyout ca-key.pem -out ca.pem"
    ));
    openssl(&format!(
        "req -x509 {key} -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
         -addext basicConstraints=critical,CA:FALSE -CA ca.pem -CAkey ca-key.pem -keyout key.pem -out server.pem"
    ));
}

/// Debian puts the broker where a user's PATH does not look.
fn program(name: &str) -> Command {
    let found = ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(|directory| format!("{directory}/{name}"));
    let found = found.iter().find(|path| fs::exists(path).unwrap_or(false));
    Command::new(found.map_or(name, String::as_str))
}
