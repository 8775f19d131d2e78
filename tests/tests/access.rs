//! Who may use the daemon: the list of apps, and the other users of the machine.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of a test fail by panicking, as the test itself does"
)]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use imd_proto::code::Code;
use imd_tests::APP_KEY;
use imd_tests::daemon::{Daemon, config};
use imd_tests::home::{Home, binary};
use imd_tests::process::{Finished, run};
use imd_tests::rpc::connect_request;
use imd_tests::scripted::Scripted;

/// An app of another name: a copy of imctl, so that it is another file.
fn other_app(home: &Home) -> PathBuf {
    let path = home.path("chat");
    fs::copy(binary("imctl"), &path).unwrap();
    path
}

/// Runs a program as imctl is run.
fn run_app(home: &Home, program: &Path, arguments: &[&str], input: &str) -> Finished {
    let mut command = Command::new(program);
    command.env_clear().args(arguments).current_dir(home.root());
    for (name, value) in home.imctl(&[]).get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    run(&mut command, input.as_bytes())
}

/// A daemon that lets in the copy alone.
fn daemon(broker: &Scripted) -> (Daemon, PathBuf) {
    let mut daemon = Daemon::for_server(&broker.url());
    let chat = other_app(daemon.home());
    daemon.terminate();
    let config = format!(
        "{}[apps]\nallow = [\"unit:chat.service\", \"exe:{}\"]\n",
        config(&broker.url(), ""),
        chat.display()
    );
    daemon.home().write_config(&config);
    daemon.start();
    (daemon, chat)
}

const CONNECT: &[&str] = &[
    "connect",
    "--app-key",
    APP_KEY,
    "--user-id",
    "alice",
    "--token-file",
    "-",
];

#[test]
fn an_app_on_the_list_may_do_everything_and_another_may_look_on() {
    let broker = Scripted::start();
    let (daemon, chat) = daemon(&broker);
    let home = daemon.home();
    let imctl = binary("imctl");
    let file = home.config_directory().join("imd.toml");
    let is_refused = |arguments: &[&str]| {
        let finished = run_app(home, &imctl, arguments, "opaque");
        finished.expect_code(1);
        for word in [
            "RC_CONN_NOT_AUTHRORIZED (31005)",
            &format!("\"exe:{}\"", imctl.display()),
            "[apps] allow",
            &file.display().to_string(),
        ] {
            assert!(
                finished.stderr.contains(word),
                "{arguments:?} without {word:?}: {finished:?}"
            );
        }
    };
    is_refused(CONNECT);
    assert_eq!(daemon.status().status_name, "UNCONNECTED");

    run_app(home, &chat, CONNECT, "opaque").expect_code(0);
    run_app(home, &chat, &["send", "--to", "bob", "hello"], "").expect_code(0);
    let history = run_app(home, &chat, &["history", "--with", "bob"], "");
    assert!(history.expect_code(0).stdout.contains("hello"), "{history:?}");

    for arguments in [
        &["send", "--to", "bob", "hello"][..],
        &["history", "--with", "bob"],
        &["conversations"],
        &["search", "hello"],
        &["outbox"],
        &["join", "friends"],
        &["disconnect"],
        &["logout"],
    ] {
        is_refused(arguments);
    }
    for arguments in [&["status"][..], &["apps"], &["timeline"], &["doctor"]] {
        let finished = run_app(home, &imctl, arguments, "");
        assert!(!finished.stderr.contains("31005"), "{finished:?}");
        assert!(!finished.stdout.is_empty(), "{finished:?}");
    }
    assert_eq!(daemon.status().status_name, "CONNECTED", "nothing of it was done");
}

#[test]
fn a_bound_app_that_is_not_on_the_list_is_told_at_connect() {
    let broker = Scripted::start();
    let (daemon, _) = daemon(&broker);
    let rpc = daemon.rpc();
    let bound = rpc.bind("org.example.Chat").unwrap();
    rpc.init(&bound, APP_KEY).unwrap();
    let refused = rpc
        .connect(Some(&bound), connect_request("alice", "opaque"))
        .unwrap_err();
    assert_eq!(refused.code, Code::RC_CONN_NOT_AUTHRORIZED);
    let own = std::env::current_exe().unwrap();
    assert!(refused.text.contains(&own.display().to_string()), "{refused:?}");
    // What has no binding is refused as well.
    let refused = rpc.connect(None, connect_request("alice", "opaque")).unwrap_err();
    assert_eq!(refused.code, Code::RC_CONN_NOT_AUTHRORIZED);
    assert_eq!(broker.broker().total_network_connections(), 0);
    rpc.version().unwrap();
    rpc.status().unwrap();
}

#[test]
fn a_list_is_checked_and_shown() {
    let home = Home::new();
    home.write_config("[apps]\nallow = [\"exe:/usr/bin/chat\", \"flatpak:org.example.Chat\"]\n");
    let shown = run(home.imd().arg("--check-config"), b"");
    let line = "allowed apps    exe:/usr/bin/chat, flatpak:org.example.Chat";
    assert!(
        shown.expect_code(0).stdout.lines().any(|shown| shown == line),
        "{shown:?}"
    );

    home.write_config("[apps]\nallow = [\n  \"exe:/usr/bin/chat\",\n  \"chat\",\n]\n");
    let refused = run(home.imd().arg("--check-config"), b"");
    assert!(
        refused.expect_code(78).stderr.contains("imd.toml:4:"),
        "{refused:?}"
    );
}

/// As root only: nobody else can be somebody else. The rule by itself is tested where it stands.
#[test]
fn a_process_of_another_user_is_dropped_at_the_door() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: a process of another user cannot be had");
        return;
    }
    let daemon = Daemon::configured(&config("mqtt://127.0.0.1:9", ""));
    let home = daemon.home();
    let knocker = home.path("knocker");
    fs::copy(binary("hostile"), &knocker).unwrap();
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    let socket = home.socket();
    open(home.root(), 0o755);
    open(&knocker, 0o755);
    let knock = |uid: u32| {
        let mut command = Command::new(&knocker);
        command
            .arg(&socket)
            .args(["knock", "1"])
            .current_dir("/")
            .uid(uid)
            .gid(uid);
        run(&mut command, b"").expect_code(0).stdout.clone()
    };
    assert_eq!(knock(0), "answered\n");
    assert_eq!(knock(65_534), "closed\n", "by the directory");
    open(socket.parent().unwrap().parent().unwrap(), 0o755);
    open(socket.parent().unwrap(), 0o755);
    assert_eq!(knock(65_534), "closed\n", "by the socket's mode");
    assert!(!daemon.log().contains("user 65534"));
    open(&socket, 0o666);
    assert_eq!(knock(65_534), "closed\n", "by the daemon");
    assert!(daemon.log().contains("it is user 65534's"), "{}", daemon.log());
    assert_eq!(knock(0), "answered\n");
}
