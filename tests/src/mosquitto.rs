//! A real Mosquitto: the system's own program, with the configuration that the README points to, on a port
//! and in directories of its own. The system's Mosquitto service is neither used nor disturbed.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tempfile::TempDir;

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
        Self::with_login(users, Login::PasswordFile, None)
    }

    /// As [`Mosquitto::start`], on a machine of a lab, for whoever reaches that under `host`.
    #[must_use]
    pub fn start_in(namespace: &Namespace, host: Ipv4Addr) -> Self {
        let users = ["alice", "bob", "system"].map(|name| (name, token::of(name)));
        Self::with_login(&users, Login::PasswordFile, Some((namespace, host)))
    }

    /// Starts a broker that knows alice, bob and `system`, and lets each in under the client id
    /// `desktop:demo:USER` alone.
    ///
    /// # Panics
    /// When Mosquitto is not installed, or can't be started.
    #[must_use]
    pub fn with_bound_client_ids() -> Self {
        let users = ["alice", "bob", "system"].map(|name| (name, token::of(name)));
        let broker = Self::with_login(&users, Login::Plugin, None);
        for User { name, token } in &broker.users {
            let create = ["createClient", name, "-c", &client_id(name), "-p", token];
            run(broker.control().args(create), b"").expect_code(0);
        }
        broker
    }

    fn with_login(users: &[(&str, String)], login: Login, place: Option<(&Namespace, Ipv4Addr)>) -> Self {
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
            process: None,
            users,
            login,
        };
        broker.write("acl", ACCESS_RULES);
        match login {
            Login::PasswordFile => broker.write_passwords(),
            Login::Plugin => broker.write_plugin_file(),
        }
        // Another test may take a port between the look and the start.
        for _ in 0..20 {
            broker.port = free_port();
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
mod tests {
    use super::*;
    use crate::process::Running;

    const NOT_AUTHORIZED: i32 = 135;

    #[test]
    fn a_good_token_is_taken_and_a_wrong_one_refused() {
        let broker = Mosquitto::start();
        let alice = broker.token("alice");
        broker
            .publish("alice", &alice, "im/demo/u/bob/alice", "hello")
            .expect_code(0);
        broker
            .publish("alice", "wrong", "im/demo/u/bob/alice", "hello")
            .expect_code(NOT_AUTHORIZED);
        broker
            .publish("nobody", &alice, "im/demo/u/bob/nobody", "hello")
            .expect_code(NOT_AUTHORIZED);
    }

    #[test]
    fn a_changed_token_replaces_the_old_one_at_once() {
        let mut broker = Mosquitto::start();
        let old = broker.token("alice");
        broker.change_token("alice", "opaque");
        broker
            .publish("alice", &old, "im/demo/u/bob/alice", "hello")
            .expect_code(NOT_AUTHORIZED);
        broker
            .publish("alice", "opaque", "im/demo/u/bob/alice", "hello")
            .expect_code(0);
    }

    #[test]
    fn the_rules_let_through_what_imd_does() {
        let broker = Mosquitto::start();
        for (from, to, topic, filter) in [
            ("alice", "bob", "im/demo/u/bob/alice", "im/demo/u/bob/+"),
            ("alice", "bob", "im/demo/g/team/alice", "im/demo/g/team/+"),
            ("system", "bob", "im/demo/s/bob", "im/demo/s/bob"),
            ("bob", "bob", "im/demo/c/bob/desktop", "im/demo/c/bob/+"),
        ] {
            let before = broker.subscriptions();
            let reader = Running::start(&mut broker.subscribe(to, &broker.token(to), filter, 20), b"");
            eventually(SOON, "the subscription", || {
                when(broker.subscriptions() > before, broker.log())
            });
            broker
                .publish(from, &broker.token(from), topic, "word")
                .expect_code(0);
            assert_eq!(
                reader.finish().expect_code(0).stdout,
                "word\n",
                "{from} to {topic}"
            );
        }
    }

    #[test]
    fn the_rules_refuse_what_imd_must_not_do() {
        let broker = Mosquitto::start();
        for (from, topic) in [
            ("alice", "im/demo/u/bob/mallory"),
            ("alice", "im/demo/s/bob"),
            ("alice", "im/demo/c/bob/desktop"),
            ("alice", "im/demo/g/team/bob"),
            ("alice", "im/demo/g/others/alice"),
            ("alice", "im/other/u/bob/alice"),
        ] {
            let refused = broker.publish(from, &broker.token(from), topic, "word");
            assert!(
                refused.stderr.contains("Not authorized"),
                "{from} to {topic}: {refused:?}"
            );
        }
        let filters = [
            "im/demo/u/alice/+",
            "im/demo/#",
            "im/demo/s/alice",
            "im/demo/c/alice/+",
        ];
        let bob = broker.token("bob");
        let readers =
            filters.map(|filter| Running::start(&mut broker.subscribe("bob", &bob, filter, 20), b""));
        eventually(SOON, "the subscriptions", || {
            when(broker.subscriptions() == readers.len(), broker.log())
        });
        for (from, topic) in [
            ("bob", "im/demo/u/alice/bob"),
            ("system", "im/demo/s/alice"),
            ("alice", "im/demo/c/alice/desktop"),
        ] {
            broker
                .publish(from, &broker.token(from), topic, "private")
                .expect_code(0);
        }
        let log = broker.log();
        assert!(!log.contains("Sending PUBLISH to"), "{log}");
    }

    #[test]
    fn where_client_ids_are_bound_a_foreign_one_is_refused_and_the_rules_hold() {
        let broker = Mosquitto::with_bound_client_ids();
        let (alice, bob) = (broker.token("alice"), broker.token("bob"));
        for foreign in ["desktop:demo:bob", "phone:demo:alice", "anything"] {
            let mut command = broker.client("mosquitto_pub", "alice", &alice);
            let finished = run(
                command.args(["-i", foreign, "-t", "im/demo/u/bob/alice", "-m", "word"]),
                b"",
            );
            finished.expect_code(NOT_AUTHORIZED);
        }
        for (filter, heard) in [("im/demo/u/bob/+", "word\n"), ("im/demo/u/system/+", "")] {
            let before = broker.subscriptions();
            let reader = Running::start(&mut broker.subscribe("bob", &bob, filter, 1), b"");
            eventually(SOON, "the subscription", || {
                when(broker.subscriptions() > before, broker.log())
            });
            for to in ["bob", "system"] {
                let inbox = format!("im/demo/u/{to}/alice");
                broker.publish("alice", &alice, &inbox, "word").expect_code(0);
            }
            let refused = broker.publish("alice", &alice, "im/demo/u/bob/mallory", "word");
            assert!(refused.stderr.contains("Not authorized"), "{refused:?}");
            assert_eq!(reader.finish().stdout, heard, "{filter}");
        }
    }

    #[test]
    fn it_comes_back_on_its_port_with_what_it_had() {
        let mut broker = Mosquitto::start();
        let (address, bob) = (broker.address(), broker.token("bob"));
        let session = ["-c", "-i", "desktop:demo:bob", "-x", "3600"];
        run(
            broker.subscribe("bob", &bob, "im/demo/u/bob/+", 1).args(session),
            b"",
        )
        .expect_code(27);
        let alice = broker.token("alice");
        broker
            .publish("alice", &alice, "im/demo/u/bob/alice", "kept")
            .expect_code(0);
        broker.stop();
        broker.restart();
        assert_eq!(broker.address(), address);
        let read = run(
            broker.subscribe("bob", &bob, "im/demo/u/bob/+", 20).args(session),
            b"",
        );
        assert_eq!(read.expect_code(0).stdout, "kept\n");
        assert_eq!(
            broker
                .logins()
                .iter()
                .filter(|client| *client == "desktop:demo:bob")
                .count(),
            2
        );
        broker.kill9();
        broker.restart();
        broker
            .publish("alice", &alice, "im/demo/u/bob/alice", "again")
            .expect_code(0);
    }
}
