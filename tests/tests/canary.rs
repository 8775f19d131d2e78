//! A token is a secret: it stands in the session file and nowhere else.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails its test"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use imd_proto::imd::v1::ConnectRequest;
use imd_tests::daemon::{Daemon, config};
use imd_tests::home::Home;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::process::{Finished, Running};
use imd_tests::proxy::Proxy;
use imd_tests::rpc::connect_request;

/// Looked for as bytes, so no encoding hides it but one that changes letters.
const CANARY: &str = "canary-7b1f6c0e-not-to-be-seen";

/// With every log line there is.
fn daemon_for(url: &str) -> Daemon {
    Daemon::with(&config(url, ""), &[("IMD_LOG", "trace")])
}

#[test]
fn the_token_is_in_the_session_file_and_nowhere_else() {
    let broker = Mosquitto::with_users(&[("alice", CANARY.to_owned())]);
    let network = Proxy::start(broker.address());
    let mut daemon = daemon_for(&network.url());

    // While the login hangs, the token is on its way through every process there is.
    network.freeze();
    let connect = daemon.home().start_connect(CANARY, &["--user-id", "alice"]);
    daemon.await_status("CONNECTING");
    look_at_processes(daemon.pid());
    network.thaw();
    look_at(&connect.finish());
    daemon.await_status("CONNECTED");
    look_at_processes(daemon.pid());

    for command in [&["status"][..], &["apps"], &["timeline"], &["doctor"]] {
        look_at(&daemon.imctl(command));
        look_at(&daemon.imctl(&[&["--json"], command].concat()));
    }
    assert_eq!(
        files_with_canary(daemon.home()),
        [daemon.home().state_directory().join("session.json")]
    );
    let mode = fs::metadata(daemon.home().state_directory().join("session.json"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    daemon.kill9();
    daemon.start();
    daemon.await_status("CONNECTED");
    assert!(daemon.log().contains("TRACE"), "the log has every line there is");

    daemon.imctl(&["logout"]).expect_code(0);
    assert_eq!(
        files_with_canary(daemon.home()),
        Vec::<PathBuf>::new(),
        "logout erases it"
    );
}

#[test]
fn a_refused_token_is_not_shown_either() {
    let broker = Mosquitto::start();
    let daemon = daemon_for(&broker.url());
    let refused = daemon.home().connect(CANARY, &["--user-id", "alice"]);
    refused.expect_code(1);
    look_at(&refused);
    look_at(
        &daemon
            .home()
            .connect(&format!("{CANARY}\n{CANARY}"), &["--user-id", "alice"]),
    );
    let long = CANARY.repeat(1000);
    look_at(&daemon.home().connect(&long, &["--user-id", "alice"]));
    let refused = daemon
        .rpc()
        .connect(None, connect_request("a/b", CANARY))
        .unwrap_err();
    assert!(!refused.text.contains(CANARY));
    assert_eq!(files_with_canary(daemon.home()), Vec::<PathBuf>::new());
}

#[test]
fn a_secret_for_imctl_token_is_not_shown() {
    let home = Home::new();
    let made = Running::start(
        &mut home.imctl(&[
            "token",
            "--app-key",
            "demo",
            "--user",
            "alice",
            "--secret-file",
            "-",
        ]),
        CANARY.as_bytes(),
    )
    .finish();
    made.expect_code(0);
    look_at(&made);
}

#[test]
fn debug_output_hides_the_token() {
    let request = connect_request("alice", CANARY);
    assert!(!format!("{request:?}").contains(CANARY));
    assert!(!format!("{:#?}", tonic::Request::new(request)).contains(CANARY));
    assert!(format!("{:?}", ConnectRequest::default()).contains("ConnectRequest"));
}

#[track_caller]
fn look_at(finished: &Finished) {
    assert!(!finished.stdout.contains(CANARY), "on stdout: {finished:?}");
    assert!(!finished.stderr.contains(CANARY), "on stderr: {finished:?}");
}

/// The arguments of every process, and the environment of the daemon.
#[track_caller]
fn look_at_processes(daemon: u32) {
    let environment = fs::read(format!("/proc/{daemon}/environ")).unwrap();
    assert!(!has_canary(&environment), "in the daemon's environment");
    for entry in fs::read_dir("/proc").unwrap() {
        // A process that ends meanwhile has no arguments.
        let arguments = fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
        assert!(!has_canary(&arguments), "{}", String::from_utf8_lossy(&arguments));
    }
}

fn files_with_canary(home: &Home) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![home.root().to_owned()];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                left.push(entry.path());
            } else if kind.is_file() && has_canary(&read(&entry.path())) {
                found.push(entry.path());
            }
        }
    }
    found
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn has_canary(bytes: &[u8]) -> bool {
    bytes
        .windows(CANARY.len())
        .any(|window| window == CANARY.as_bytes())
}
