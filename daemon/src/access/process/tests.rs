use std::fs;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::access::AllowList;

const UID: u32 = 1000;

/// A process's directory in /proc, as the test wants it.
struct Proc {
    directory: tempfile::TempDir,
}

impl Proc {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("program");
        fs::write(&program, "").unwrap();
        std::os::unix::fs::symlink(&program, directory.path().join("exe")).unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        let process = Self { directory };
        process.write("cgroup", "0::/\n");
        process
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn read(&self) -> Result<Identity, Unidentified> {
        Identity::read(self.directory.path(), UID)
    }
}

fn list(entries: &[&str]) -> AllowList {
    AllowList {
        entries: entries.iter().map(|entry| Entry::parse(entry).unwrap()).collect(),
        file: "imd.toml".into(),
    }
}

#[test]
fn a_process_is_allowed_by_its_file_its_unit_or_its_flatpak_app() {
    let process = Proc::new();
    process.write("root/.flatpak-info", "[Application]\nname=org.example.Chat\n");
    process.write(
        "cgroup",
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/chat.service\n",
    );
    let app = process.read().unwrap();
    let exe = format!("exe:{}", process.path("program").display());
    for entry in [&*exe, "flatpak:org.example.Chat", "unit:chat.service"] {
        assert!(list(&["exe:/nowhere", entry]).allows(&app), "{entry}");
    }
    let other = process.path("other");
    fs::write(&other, "").unwrap();
    let other = format!("exe:{}", other.display());
    assert!(!list(&[&other, "flatpak:org.example.Mail", "unit:mail.service"]).allows(&app));
    assert_eq!(app.to_string(), "flatpak:org.example.Chat, unit:chat.service");
}

#[test]
fn a_file_that_was_replaced_is_another_one() {
    let process = Proc::new();
    let app = process.read().unwrap();
    let program = process.path("program");
    let listed = format!("exe:{}", program.display());
    assert!(list(&[&listed]).allows(&app));
    fs::write(process.path("newer"), "").unwrap();
    fs::rename(process.path("newer"), &program).unwrap();
    assert!(!list(&[&listed]).allows(&app));
}

#[test]
fn what_cannot_be_read_is_no_identity() {
    let process = Proc::new();
    fs::remove_file(process.path("cgroup")).unwrap();
    assert!(matches!(process.read(), Err(Unidentified::Cgroup(_))));
    process.write("cgroup", &"x".repeat(70_000));
    assert!(matches!(process.read(), Err(Unidentified::Cgroup(_))));
    process.write("cgroup", "0::/\n");

    let info = process.path("root/.flatpak-info");
    std::os::unix::fs::symlink(process.path("cgroup"), &info).unwrap();
    assert!(matches!(process.read(), Err(Unidentified::Flatpak(_))), "a link");
    fs::remove_file(&info).unwrap();
    fs::create_dir(&info).unwrap();
    assert!(
        matches!(process.read(), Err(Unidentified::Flatpak(_))),
        "a directory"
    );
    fs::remove_dir(&info).unwrap();
    assert!(Command::new("mkfifo").arg(&info).status().unwrap().success());
    assert!(
        matches!(process.read(), Err(Unidentified::Flatpak(_))),
        "a pipe, without waiting"
    );
    fs::remove_file(&info).unwrap();
    fs::write(&info, [0xFF, 0xFE]).unwrap();
    assert!(matches!(process.read(), Err(Unidentified::Flatpak(_))), "no text");
    fs::remove_file(&info).unwrap();

    assert!(process.read().is_ok());
    fs::remove_file(process.path("program")).unwrap();
    assert!(matches!(process.read(), Err(Unidentified::Exe(_))));
}

#[test]
fn the_flatpak_app_is_the_one_name_in_its_group() {
    let app = |info: &str| flatpak_app(info);
    assert_eq!(
        app(
            "[Application]\nname=org.example.Chat\nruntime=runtime/org.gnome.Platform\n\n[Instance]\nname=x.y\n"
        ),
        Some("org.example.Chat".to_owned())
    );
    assert_eq!(
        app("[Instance]\na=b\n[Application]\nname = a.b\n"),
        Some("a.b".to_owned())
    );
    for none in [
        "",
        "name=org.example.Chat\n",
        "[Runtime]\nname=org.example.Chat\n",
        "[Application]\nruntime=x\n[Instance]\nname=org.example.Chat\n",
        "[Application]\nname=\n",
        "[Application]\nname=../../x\n",
        "[Application]\nname=a.b\nname=c.d\n",
        "[Application",
    ] {
        assert_eq!(app(none), None, "{none:?}");
    }
}

#[test]
fn the_unit_is_the_first_below_the_users_manager_that_is_no_slice() {
    let unit = |path: &str| user_service(&format!("0::{path}\n"), UID);
    let user = "/user.slice/user-1000.slice/user@1000.service";
    let some = |path: &str, name: &str| assert_eq!(unit(path), Some(name.to_owned()), "{path}");
    some(&format!("{user}/app.slice/chat.service"), "chat.service");
    some(&format!("{user}/chat.service"), "chat.service");
    some(
        &format!("{user}/app.slice/app-x.slice/chat@1.service/payload"),
        "chat@1.service",
    );
    some(&format!("{user}/app.slice/_cgroup.service"), "cgroup.service");
    for none in [
        "/",
        "",
        "/user.slice/user-1000.slice/session-2.scope",
        "/system.slice/chat.service",
        "/user.slice/user-1001.slice/user@1001.service/app.slice/chat.service",
        // The manager itself, and a scope with a service's name inside.
        user,
        &format!("{user}/app.slice/run-1.scope/chat.service"),
        // Groups that a service of its own makes.
        "/system.slice/evil.service/user@1000.service/app.slice/chat.service",
        "/user.slice/user-1000.slice/session-2.scope/user@1000.service/chat.service",
        &format!("{user}/app.slice/chat.service (deleted)"),
    ] {
        assert_eq!(unit(none), None, "{none}");
    }
    let v1 = "12:pids:/user.slice/user-1000.slice/user@1000.service/chat.service\n";
    assert_eq!(user_service(v1, UID), None);
}

#[test]
fn the_process_at_the_other_end_of_a_socket_is_known_until_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
    let client = UnixStream::connect(directory.path().join("s")).unwrap();
    let (server, _) = listener.accept().unwrap();
    let own = i32::try_from(std::process::id()).unwrap();
    let this = PeerProcess::of(&server, own).unwrap().identify().unwrap();
    assert_eq!(this.exe, std::env::current_exe().unwrap());
    drop(client);

    // Another process's pidfd says that it is gone, though the number leads to one that lives.
    let mut child = Command::new("sleep")
        .arg("60")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    let pidfd = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap();
    let peer = PeerProcess { pid: own, pidfd };
    assert!(peer.identify().is_ok());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(matches!(peer.identify(), Err(Unidentified::Gone)));
}

#[test]
fn a_socket_without_a_peer_gives_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
    let file = File::open("/dev/null").unwrap();
    assert!(matches!(PeerProcess::of(&file, 1), Err(Unidentified::NoPidfd(_))));
    drop(listener);
}

proptest! {
    #[test]
    fn noise_is_neither_an_app_nor_a_unit_of_the_list(
        info in "(\\[Application\\]\n)?(name *= ?)?[ -~\n\u{0}=\\[\\]]{0,60}",
        cgroup in "(0::/)?(user.slice/)?(user@1000.service/)?[ -~\n/]{0,60}"
    ) {
        let process = Proc::new();
        process.write("root/.flatpak-info", &info);
        process.write("cgroup", &cgroup);
        let app = process.read().unwrap();
        let allowed = list(&["exe:/nowhere", "flatpak:org.example.Chat", "unit:chat.service"]);
        prop_assert!(!allowed.allows(&app), "{:?}", app);
        for entry in app.entries() {
            // Whatever is told is an entry that can be written.
            prop_assert!(Entry::parse(&entry.to_string()).is_ok(), "{}", entry);
        }
    }
}
