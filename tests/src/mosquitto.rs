//! A real Mosquitto: the system's own program, with the configuration that the README points to, on a port
//! and in directories of its own. The system's Mosquitto service is neither used nor disturbed.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::certificates::Identity;
use crate::lab::Namespace;
use crate::port::free_port;
use crate::process::{Finished, Process, run};
use crate::token;
use crate::wait::{SOON, eventually, when};

const CONFIGURATION: &str = include_str!("../mosquitto/mosquitto.conf");
const ACCESS_RULES: &str = include_str!("../mosquitto/acl");
const LISTENER: &str = "listener 1883 127.0.0.1";

/// What stands in the configuration instead of the password file where client ids are bound to users.
const CLIENT_IDS: &str = include_str!("../mosquitto/client-ids.conf");
const PASSWORD_FILE: &str = "password_file passwords\n";

/// A broker, ended when dropped.
#[derive(Debug)]
pub struct Mosquitto {
    directory: TempDir,
    /// Where it runs, if not in the host's network.
    namespace: Option<Namespace>,
    host: Ipv4Addr,
    port: u16,
    /// Where it encrypts, if it does.
    tls_port: Option<u16>,
    process: Option<Process>,
    users: Vec<User>,
    login: Login,
}

/// What a login is checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    PasswordFile,
    /// The dynamic security plugin, which knows each user's client id as well.
    Plugin,
}

/// Someone who may log in.
#[derive(Clone)]
struct User {
    name: String,
    token: String,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name)
    }
}

impl Mosquitto {
    /// Starts a broker that knows alice, bob and the server side, `system`, each with a token of its own.
    #[must_use]
    pub fn start() -> Self {
        Self::with_users(&["alice", "bob", "system"].map(|name| (name, token::of(name))))
    }

    /// Starts a broker that knows these users by these tokens.
    ///
    /// # Panics
    /// When Mosquitto is not installed, or can't be started.
    #[must_use]
    pub fn with_users(users: &[(&str, String)]) -> Self {
        Self::with_login(users, Login::PasswordFile, None, None)
    }

    /// As [`Mosquitto::start`], on a machine of a lab, for whoever reaches that under `host`.
    #[must_use]
    pub fn start_in(namespace: &Namespace, host: Ipv4Addr) -> Self {
        let users = ["alice", "bob", "system"].map(|name| (name, token::of(name)));
        Self::with_login(&users, Login::PasswordFile, None, Some((namespace, host)))
    }

    /// As [`Mosquitto::start`], with a second port that encrypts and shows this.
    #[must_use]
    pub fn encrypted(identity: &Identity) -> Self {
        let users = ["alice", "bob", "system"].map(|name| (name, token::of(name)));
        Self::with_login(&users, Login::PasswordFile, Some(identity), None)
    }

    /// Shows this from its next start on.
    pub fn show(&self, identity: &Identity) {
        identity.write(self.directory.path());
    }

    /// Where it encrypts.
    ///
    /// # Panics
    /// When it does not.
    #[must_use]
    pub fn tls_address(&self) -> SocketAddr {
        let port = self.tls_port.expect("a Mosquitto that encrypts");
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// Where it encrypts, as a server of imd's configuration.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("mqtts://{}", self.tls_address())
    }

    /// Starts a broker that knows alice, bob and `system`, and lets each in under the client id
    /// `desktop:demo:USER` alone.
    ///
    /// # Panics
    /// When Mosquitto is not installed, or can't be started.
    #[must_use]
    pub fn with_bound_client_ids() -> Self {
        let users = ["alice", "bob", "system"].map(|name| (name, token::of(name)));
        let broker = Self::with_login(&users, Login::Plugin, None, None);
        for User { name, token } in &broker.users {
            let create = ["createClient", name, "-c", &client_id(name), "-p", token];
            run(broker.control().args(create), b"").expect_code(0);
        }
        broker
    }

    fn with_login(
        users: &[(&str, String)],
        login: Login,
        identity: Option<&Identity>,
        place: Option<(&Namespace, Ipv4Addr)>,
    ) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("imd-mosquitto-")
            .tempdir()
            .expect("a directory can be made");
        let users = users
            .iter()
            .map(|(name, token)| User {
                name: (*name).to_owned(),
                token: token.clone(),
            })
            .collect();
        let mut broker = Self {
            directory,
            namespace: place.map(|(namespace, _)| namespace.clone()),
            host: place.map_or(Ipv4Addr::LOCALHOST, |(_, host)| host),
            port: 0,
            tls_port: None,
            process: None,
            users,
            login,
        };
        broker.write("acl", ACCESS_RULES);
        match login {
            Login::PasswordFile => broker.write_passwords(),
            Login::Plugin => broker.write_plugin_file(),
        }
        if let Some(identity) = identity {
            broker.show(identity);
        }
        // Another test may take a port between the look and the start.
        for _ in 0..20 {
            broker.port = free_port();
            broker.tls_port = identity.map(|_| free_port());
            broker.write_configuration();
            if broker.try_start() {
                return broker;
            }
        }
        panic!("Mosquitto does not start:\n{}", broker.log());
    }

    /// Starts it again, on the same port, with what its last run saved.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "Mosquitto runs");
        assert!(
            self.try_start(),
            "Mosquitto does not start again:\n{}",
            self.log()
        );
    }

    /// Stops it in order: it saves what it has and closes its connections.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate();
        }
    }

    /// SIGKILL.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        (self.host, self.port).into()
    }

    /// Its address as a server of imd's configuration.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }

    /// The token of a user.
    ///
    /// # Panics
    /// When the broker was not started with that user.
    #[must_use]
    pub fn token(&self, user: &str) -> String {
        let known = self.users.iter().find(|known| known.name == user);
        known
            .unwrap_or_else(|| panic!("{user} is not among {:?}", self.users))
            .token
            .clone()
    }

    /// Gives a user another token; the old one is refused from here on.
    pub fn change_token(&mut self, user: &str, token: &str) {
        self.users.retain(|known| known.name != user);
        self.users.push(User {
            name: user.to_owned(),
            token: token.to_owned(),
        });
        self.write_passwords();
        if let Some(process) = &self.process {
            let before = self.log().matches("Reloading config").count();
            process.signal(Signal::HUP);
            eventually(SOON, "Mosquitto to read its passwords again", || {
                when(
                    self.log().matches("Reloading config").count() > before,
                    self.log(),
                )
            });
        }
    }

    /// Everything it has said, in all its runs.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.path("log")).unwrap_or_default()).into_owned()
    }

    /// How many network connections it was offered, in all its runs.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.log().matches(": New connection from ").count()
    }

    /// The client ids that logged in, in order, in all its runs.
    #[must_use]
    pub fn logins(&self) -> Vec<String> {
        self.log()
            .lines()
            .filter_map(|line| {
                let (_, client) = line
                    .split_once(": New client connected from ")?
                    .1
                    .split_once(" as ")?;
                Some(client.rsplit_once(" (p")?.0.to_owned())
            })
            .collect()
    }

    /// How many subscriptions it has answered, in all its runs.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.log().matches(": Sending SUBACK to ").count()
    }

    /// `mosquitto_pub` as this user, over MQTT 5 with QoS 1.
    #[must_use]
    pub fn publish(&self, user: &str, token: &str, topic: &str, payload: &str) -> Finished {
        let mut command = self.client("mosquitto_pub", user, token);
        run(command.args(["-q", "1", "-t", topic, "-m", payload]), b"")
    }

    /// `mosquitto_pub` as this user, over MQTT 5 with QoS 1: each line is a message.
    #[must_use]
    pub fn publish_lines(&self, user: &str, token: &str, topic: &str, lines: &str) -> Finished {
        let mut command = self.client("mosquitto_pub", user, token);
        run(command.args(["-q", "1", "-t", topic, "-l"]), lines.as_bytes())
    }

    /// `mosquitto_sub` as this user, over MQTT 5 with QoS 1, until the first message or so many seconds
    /// without one (then it exits with 27).
    #[must_use]
    pub fn subscribe(&self, user: &str, token: &str, topic: &str, seconds: u32) -> Command {
        let mut command = self.client("mosquitto_sub", user, token);
        command.args(["-q", "1", "-t", topic, "-C", "1", "-W", &seconds.to_string()]);
        command
    }

    fn client(&self, program: &str, user: &str, token: &str) -> Command {
        let mut command = Command::new(program);
        command
            .args(["-V", "5", "-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-u", user, "-P", token])
            .env("HOME", self.directory.path())
            .env_remove("XDG_CONFIG_HOME");
        if self.login == Login::Plugin {
            command.args(["-i", &client_id(user)]);
        }
        command
    }

    fn try_start(&mut self) -> bool {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .expect("a log can be written");
        let runs = self.log().matches(RUNNING).count();
        let mut command = program("mosquitto");
        command
            .args(["-c", "mosquitto.conf"])
            .current_dir(self.directory.path());
        if let Some(namespace) = &self.namespace {
            command = namespace.inside(&command);
        }
        let mut process = Process::start(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log));
        let running = eventually(SOON, "Mosquitto to run", || {
            if self.log().matches(RUNNING).count() > runs {
                Ok(true)
            } else if process.ended().is_some() {
                Ok(false)
            } else {
                Err(self.log())
            }
        });
        self.process = running.then_some(process);
        running
    }

    /// The repository's file, with this broker's port, all that can be logged, and no change of user.
    fn write_configuration(&self) {
        assert!(
            CONFIGURATION.contains(LISTENER),
            "mosquitto.conf has no line {LISTENER:?}"
        );
        let mut text = CONFIGURATION.replace(LISTENER, &format!("listener {} {}", self.port, self.host));
        if self.login == Login::Plugin {
            assert!(
                text.contains(PASSWORD_FILE),
                "mosquitto.conf has no line {PASSWORD_FILE:?}"
            );
            let plugin = CLIENT_IDS.replace("x86_64", std::env::consts::ARCH);
            text = text.replace(PASSWORD_FILE, &plugin);
        }
        if let Some(port) = self.tls_port {
            let _ = write!(
                text,
                "\nlistener {port} 127.0.0.1\ncertfile server.pem\nkeyfile server.key\n"
            );
        }
        text.push_str("log_dest stderr\nlog_type all\n");
        // As root Mosquitto would turn into another user, who can't read its directory.
        text.push_str("user root\n");
        self.write("mosquitto.conf", &text);
    }

    /// As the README says: plain lines first, then hashed in place, so that no token stands in an argv.
    fn write_passwords(&self) {
        let mut lines = String::new();
        for User { name, token } in &self.users {
            let _ = writeln!(lines, "{name}:{token}");
        }
        self.write("passwords", &lines);
        run(
            program("mosquitto_passwd").arg("-U").arg(self.path("passwords")),
            b"",
        )
        .expect_code(0);
    }

    /// As the README beside the configuration says.
    fn write_plugin_file(&self) {
        let path = self.path("dynamic-security.json");
        let mut init = program("mosquitto_ctrl");
        init.args(["dynsec", "init"]).arg(&path);
        run(init.args([ADMINISTRATOR, ADMINISTRATOR]), b"").expect_code(0);
        let made = fs::read_to_string(&path).expect("the plugin's file was made");
        let mut file: serde_json::Value = serde_json::from_str(&made).expect("the plugin's file is JSON");
        // What the access rules refuse, the plugin's own default would let everybody read.
        let read = file.pointer_mut("/defaultACLAccess/publishClientReceive");
        *read.expect("the plugin's file has its defaults") = false.into();
        self.write("dynamic-security.json", &file.to_string());
    }

    /// `mosquitto_ctrl dynsec`, without its last arguments.
    fn control(&self) -> Command {
        let mut command = program("mosquitto_ctrl");
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-u", ADMINISTRATOR, "-P", ADMINISTRATOR, "dynsec"])
            .env("HOME", self.directory.path())
            .env_remove("XDG_CONFIG_HOME");
        command
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("the broker's directory can be written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("-- the end of Mosquitto's log");
            tail.iter().rev().for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Who may change the plugin's users, and the password.
const ADMINISTRATOR: &str = "administrator";

/// The client id imd uses for this user.
fn client_id(user: &str) -> String {
    format!("desktop:{}:{user}", crate::APP_KEY)
}

/// What Mosquitto says when it takes connections.
const RUNNING: &str = " running";

/// A program of Mosquitto's packages. Debian puts the broker where a user's PATH does not look.
fn program(name: &str) -> Command {
    let elsewhere =
        ["/usr/sbin", "/usr/local/sbin", "/usr/bin"].map(|directory| format!("{directory}/{name}"));
    let found = elsewhere.iter().find(|path| fs::exists(path).unwrap_or(false));
    Command::new(found.map_or(name, String::as_str))
}

#[cfg(test)]
mod tests;
