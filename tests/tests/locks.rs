//! Who may run: one daemon for a data directory, one for a socket, whatever died before.

use std::fs;
use std::process::{Command, Stdio};

use imd_tests::count;
use imd_tests::daemon::{Daemon, config};
use imd_tests::home::Home;
use imd_tests::process::{Process, Running};
use imd_tests::rpc::Rpc;
use imd_tests::wait::{SOON, eventually};

/// Nothing listens there, and nothing is asked to connect.
const SERVER: &str = "mqtt://127.0.0.1:9";

#[test]
fn of_two_daemons_started_at_once_exactly_one_serves() {
    let home = Home::new();
    home.write_config(&config(SERVER, ""));
    for round in 0..count(1000, 10_000) {
        // Every round but the first begins with the socket that a killed daemon left.
        let mut pair = [(); 2].map(|()| Process::start(&mut quiet(home.imd())));
        let (loser, winner) = eventually(SOON, "one of the two to give up", || {
            let ends = pair.each_mut().map(Process::ended);
            match ends {
                [Some(loser), None] => Ok((loser, 1)),
                [None, Some(loser)] => Ok((loser, 0)),
                [None, None] | [Some(_), Some(_)] => Err(ends),
            }
        });
        let winner = &mut pair[winner];
        assert!(!loser.success(), "round {round}: the loser says so");
        let pid = eventually(SOON, "the other to answer", || {
            if winner.ended().is_some() {
                panic!("round {round}: both gave up");
            }
            Rpc::dial(&home.socket())
                .and_then(|rpc| rpc.version())
                .map(|version| version.pid)
        });
        assert_eq!(u32::try_from(pid), Ok(winner.pid()), "round {round}");
        winner.kill9();
    }
}

#[test]
fn the_second_daemon_names_the_first_and_harms_nothing() {
    let mut daemon = Daemon::configured(&config(SERVER, ""));
    let refused = Running::start(&mut daemon.home().imd(), b"").finish();
    assert_ne!(refused.code, Some(0));
    let pid = daemon.pid().to_string();
    assert!(
        refused.stderr.contains(&pid),
        "the text names pid {pid}: {refused:?}"
    );
    assert_eq!(daemon.rpc().version().unwrap().pid.to_string(), pid);
}

#[test]
fn a_living_daemon_whose_socket_is_removed_is_reached_again_and_keeps_who_was_connected() {
    let mut daemon = Daemon::configured(&config(SERVER, ""));
    let pid = i32::try_from(daemon.pid()).unwrap();
    let socket = daemon.home().socket();
    let before = daemon.rpc();
    let bound = before.bind("org.example.App").unwrap();
    let directory = socket.parent().unwrap().to_owned();
    let aside = daemon.home().path("removed");
    // At one blow: the daemon would bind the name again between the removal of a file and of its directory.
    let removals: [&dyn Fn(); 2] = [&|| fs::remove_file(&socket).unwrap(), &|| {
        fs::rename(&directory, &aside).unwrap();
        fs::remove_dir_all(&aside).unwrap();
    }];
    for remove in removals {
        remove();
        let found = eventually(SOON, "the socket's name", || {
            Rpc::dial(&socket).and_then(|rpc| rpc.version())
        });
        assert_eq!(found.pid, pid);
        before.init(&bound, "demo").unwrap();
    }
    // The locks are held as before.
    let refused = Running::start(&mut daemon.home().imd(), b"").finish();
    assert!(refused.stderr.contains(&pid.to_string()), "{refused:?}");
    daemon.terminate();
    assert!(!socket.exists());
}

#[test]
fn a_socket_left_by_kill_9_is_taken_over() {
    let mut daemon = Daemon::configured(&config(SERVER, ""));
    daemon.kill9();
    assert!(fs::exists(daemon.home().socket()).unwrap());
    daemon.start();
    assert!(daemon.rpc().version().is_ok());
}

#[test]
fn two_data_directories_on_one_socket_are_refused() {
    let mut daemon = Daemon::configured(&config(SERVER, ""));
    let other = daemon.home().path("other");
    let refused = Running::start(daemon.home().imd().arg("--data-dir").arg(&other), b"").finish();
    assert_ne!(refused.code, Some(0));
    let socket = daemon.home().socket().display().to_string();
    assert!(
        refused.stderr.contains(&socket),
        "the text names {socket}: {refused:?}"
    );
    assert_eq!(
        u32::try_from(daemon.rpc().version().unwrap().pid),
        Ok(daemon.pid())
    );
}

#[test]
fn one_data_directory_on_two_sockets_is_refused() {
    let mut daemon = Daemon::configured(&config(SERVER, ""));
    let other = daemon.home().path("run/other.sock");
    let refused = Running::start(daemon.home().imd().arg("--socket").arg(&other), b"").finish();
    assert_ne!(refused.code, Some(0));
    let data = daemon.home().data_directory().display().to_string();
    assert!(
        refused.stderr.contains(&data),
        "the text names {data}: {refused:?}"
    );
    assert_eq!(
        u32::try_from(daemon.rpc().version().unwrap().pid),
        Ok(daemon.pid())
    );
}

#[test]
fn another_instance_runs_beside_the_first() {
    let daemon = Daemon::configured(&config(SERVER, ""));
    let home = daemon.home();
    fs::copy(
        home.config_directory().join("imd.toml"),
        home.config_directory().join("work.toml"),
    )
    .unwrap();
    let _other = Process::start(quiet(home.imd()).args(["--instance", "work"]));
    let socket = home.socket().with_file_name("work.sock");
    let version = eventually(SOON, "the second instance to answer", || {
        Rpc::dial(&socket).and_then(|rpc| rpc.version())
    });
    assert_eq!(version.instance, "work");
    assert_eq!(daemon.rpc().version().unwrap().instance, "imd");
}

fn quiet(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
