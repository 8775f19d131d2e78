//! No room for what comes, and for what is sent: the data directory is a small tmpfs.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use imd_proto::code::Code;
use imd_tests::daemon::Daemon;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::process::run;
use imd_tests::wait::{SOON, eventually, when};

use super::stage::Side;

/// A tmpfs where a daemon has its data, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn under(daemon: &mut Daemon) -> Option<Self> {
        daemon.terminate();
        let path = daemon.home().path("data");
        fs::create_dir_all(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4m,mode=0700", "imd-tests"]);
        let mounted = run(mount.arg(&path), b"");
        if mounted.code != Some(0) {
            daemon.start();
            return None;
        }
        let disk = Self(path);
        daemon.start();
        Some(disk)
    }

    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The daemon may still run there.
        let _ = run(Command::new("umount").arg("-l").arg(&self.0), b"");
    }
}

#[test]
fn with_a_full_disk_nothing_is_acknowledged_and_all_goes_on_when_there_is_room() {
    let broker = Mosquitto::start();
    let mut alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::new(Daemon::for_server(&broker.url()));
    let Some(disk) = SmallDisk::under(&mut bob.daemon) else {
        eprintln!("skipped: no tmpfs can be mounted here (it needs root)");
        return;
    };
    bob.daemon.connect("bob", &broker.token("bob"));
    bob.start_reader();
    disk.fill();

    // To be sent: refused at once, until there is room. Some pages may be left in the files themselves.
    let app = bob.client();
    let mut taken = Vec::new();
    let refused = (0..200).find_map(|number| {
        let sending = app.send_text("alice", format!("{number} {}", "x".repeat(20_000)));
        sending.accepted().map(|message| taken.push(message.uid)).err()
    });
    let refused = refused.expect("a full disk takes no end of messages");
    assert_eq!(refused.code(), Code(33000), "{refused:?}");

    // To be received: not acknowledged, so no receipt, and the person is told.
    let large = imd_client::Content::text("y".repeat(100_000)).uid("large");
    let peer = imd_client::ConversationKey::private("bob");
    alice.client().send_message(&peer, large).sent().unwrap();
    eventually(SOON, "the warning", || {
        let log = bob.daemon.log();
        when(
            log.lines()
                .any(|line| line.contains("WARN") && line.contains("full")),
            (),
        )
    });
    assert_eq!(bob.journal.received().len(), 0);
    let told = bob.daemon.await_status_that("with the full disk", |status| {
        status.storage_full.contains("make room")
    });
    assert_eq!(told.status_name, "CONNECTED");
    let doctor = bob.daemon.imctl(&["doctor"]);
    doctor.expect_code(1);
    assert!(doctor.stdout.contains("are not stored"), "{doctor:?}");

    disk.free();
    eventually(SOON * 4, "the message, when there is room", || {
        when(bob.journal.received() == ["large"], bob.journal.told())
    });
    bob.daemon
        .await_status_that("with nothing of the disk", |status| {
            status.storage_full.is_empty()
        });
    let sent = app.send_text("alice", "there is room").received().unwrap();
    taken.push(sent.uid);
    alice.start_sender("bob", 20);
    let accepted = alice.await_sent(SOON);
    eventually(SOON, "all that came after", || {
        when(bob.journal.received()[1..] == accepted, bob.journal.lines().len())
    });
    for uid in taken {
        eventually(SOON, "a receipt", || {
            let message = app.get_message(&uid).unwrap();
            when(
                message.sent_status == Some(imd_client::SentStatus::Received),
                message.sent_status,
            )
        });
    }
}
