//! Another user's process on the daemon's path. To be another user takes root; who is not root is told so.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use imd_client::Code;

use super::fake::FakeDaemon;
use super::{client, look, next, next_daemon};

const NOBODY: u32 = 65_534;
const SOCKET: &str = "IMD_TEST_STRANGERS_SOCKET";

/// The stranger: this test program again, as another user. It listens until its input ends.
#[test]
fn a_stranger_listens() {
    let Some(path) = std::env::var_os(SOCKET) else {
        return;
    };
    let _listener = UnixListener::bind(path).unwrap();
    println!("it listens");
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

#[test]
fn another_users_process_on_the_path_is_refused_and_the_daemon_bound_when_it_is_back() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: nobody here can be another user");
        return;
    }
    let mut daemon = FakeDaemon::start();
    let client = client(&daemon);
    let mut changes = client.connection_status_changes();
    next(&mut changes);
    daemon.kill();
    let path = daemon.socket();
    std::fs::remove_file(&path).unwrap();
    for directory in path.ancestors().skip(1).take(2) {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut stranger = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "strangers::a_stranger_listens", "--nocapture"])
        .env(SOCKET, &path)
        .uid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let refused = look(&client, |status| status.last_code == Some(Code::IMD_REFUSED_PEER));
    assert!(refused.is_daemon_lost());
    assert!(refused.reason.contains("65534"), "{refused}");
    drop(stranger.stdin.take());
    assert!(stranger.wait().unwrap().success());
    daemon.restart();
    next_daemon(&mut changes);
    assert!(client.blocking().version().is_ok());
    assert!(daemon.script.connects.lock().unwrap().is_empty());
}
