//! The machine around the daemon: other daemons, systemd's units, lingering.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use imd_client::admin::Verdict;
use tokio::process::Command;

use super::{Instance, check, ok};
use crate::shapes::Check;

const DEADLINE: Duration = Duration::from_secs(5);

/// `running`: the daemon that answered.
pub(super) async fn checks(instance: &Instance, running: Option<i32>) -> Vec<Check> {
    let mut checks = vec![daemons(instance.name(), running, &processes(Path::new("/proc")))];
    let root = Path::new("/");
    if has_systemd(root) {
        checks.push(units(instance).await);
        checks.push(linger(root, &env::var("USER").unwrap_or_default()));
    } else {
        let text = "systemd does not run here: whoever starts imd has to start it again as well";
        checks.push(check("systemd", Verdict::Skipped, text, ""));
    }
    checks
}

/// A process of ours that is an imd.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    instance: String,
}

/// Those that run now. Two of one instance share neither data nor socket, for both are locked: they were started
/// with different places.
fn daemons(instance: &str, running: Option<i32>, processes: &[Process]) -> Check {
    let name = "daemons";
    let same = processes
        .iter()
        .filter(|process| process.instance == instance && Some(process.pid) != running);
    let others: Vec<_> = same.map(|process| process.pid.to_string()).collect();
    if others.is_empty() {
        let count = processes.len();
        return ok(
            name,
            format!("{count} imd of this user run, none twice for one instance"),
        );
    }
    let pids = others.join(" ");
    let text = format!("imd for the instance {instance} runs with other places too: pid {pids}");
    let mend =
        format!("See how it was started: ps -o args= -p {pids}; and end it if it is not wanted: kill {pids}");
    check(name, Verdict::Warning, text, mend)
}

/// The imd processes of this user.
fn processes(proc: &Path) -> Vec<Process> {
    let ours = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(proc).into_iter().flatten().flatten();
    let mut found: Vec<Process> = entries
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.uid() == ours))
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            if name.trim_end() != "imd" {
                return None;
            }
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let instance = instance_of(
                &String::from_utf8_lossy(&line),
                &String::from_utf8_lossy(&environment),
            )?;
            Some(Process { pid, instance })
        })
        .collect();
    found.sort_by_key(|process| process.pid);
    found
}

/// The instance that a command line names, or else the environment; `None` for one that is no daemon.
fn instance_of(line: &str, environment: &str) -> Option<String> {
    let mut words = line.split('\0').skip(1);
    let set = environment
        .split('\0')
        .find_map(|variable| variable.strip_prefix("IMD_INSTANCE="));
    let mut instance = set.filter(|name| !name.is_empty()).unwrap_or("imd").to_owned();
    while let Some(word) = words.next() {
        if word == "--instance" {
            instance = words.next()?.to_owned();
        } else if let Some(name) = word.strip_prefix("--instance=") {
            instance = name.to_owned();
        } else if ["--config", "--data-dir", "--socket"].contains(&word) {
            words.next();
        } else if !word.is_empty() && !word.starts_with("--") || word == "--check-config" {
            return None;
        }
    }
    Some(instance)
}

fn has_systemd(root: &Path) -> bool {
    root.join("run/systemd/system").is_dir()
}

/// Whether both units start by themselves: without the service nothing reconnects after login, without the
/// socket calls fail while the daemon restarts.
async fn units(instance: &Instance) -> Check {
    let units = ["service", "socket"].map(|kind| instance.unit(kind));
    let asked = Command::new("systemctl")
        .args(["--user", "is-enabled"])
        .args(&units)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let said = match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(run)) => String::from_utf8_lossy(&run.stdout).into_owned(),
        Ok(Err(_)) | Err(_) => String::new(),
    };
    enabled(&units, &said)
}

fn enabled(units: &[String], said: &str) -> Check {
    let name = "systemd";
    let states: Vec<&str> = said.lines().map(str::trim).collect();
    if states.is_empty() {
        let text = "systemctl --user does not answer: there is no session of systemd for this user";
        return check(
            name,
            Verdict::Skipped,
            text,
            "Sign in on the machine itself, or: loginctl enable-linger",
        );
    }
    let shown: Vec<String> = units
        .iter()
        .zip(states.iter().copied().chain(std::iter::repeat("not-found")))
        .map(|(unit, state)| format!("{unit} is {state}"))
        .collect();
    let text = shown.join(", ");
    if shown.iter().all(|line| line.ends_with(" is enabled")) {
        return ok(name, text);
    }
    let units = units.join(" ");
    check(
        name,
        Verdict::Warning,
        text,
        format!("systemctl --user enable --now {units}"),
    )
}

/// Whether the user's services run while nobody is signed in.
fn linger(root: &Path, user: &str) -> Check {
    let name = "linger";
    if user.is_empty() {
        return check(name, Verdict::Skipped, "USER is not set", "");
    }
    if root.join("var/lib/systemd/linger").join(user).exists() {
        return ok(name, format!("{user}'s services run without a login"));
    }
    let text = format!(
        "{user}'s services, imd too, end with the last login: messages wait at the server until the next"
    );
    check(
        name,
        Verdict::Warning,
        text,
        "To have them always: loginctl enable-linger",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_names_its_instance() {
        assert_eq!(
            instance_of("imd\0", "A=b\0IMD_INSTANCE=work\0").as_deref(),
            Some("work")
        );
        for (line, instance) in [
            ("imd\0", Some("imd")),
            ("/usr/bin/imd\0--instance\0work\0", Some("work")),
            ("imd\0--instance=work\0--data-dir\0demo\0", Some("work")),
            ("imd\0demo\0--keep\0", None),
            ("imd\0--check-config\0", None),
        ] {
            assert_eq!(instance_of(line, "").as_deref(), instance, "{line:?}");
        }
    }

    #[test]
    fn a_second_daemon_of_the_same_instance_is_found() {
        let process = |pid, instance: &str| Process {
            pid,
            instance: instance.to_owned(),
        };
        let all = [process(7, "imd"), process(8, "work"), process(9, "imd")];
        let found = daemons("imd", Some(7), &all);
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(
            found.text.ends_with("pid 9") && found.mend.contains("kill 9"),
            "{}",
            found.mend
        );
        assert_eq!(daemons("imd", Some(7), &all[..2]).verdict, Verdict::Ok);
        assert_eq!(daemons("imd", None, &all[..1]).verdict, Verdict::Warning);
    }

    #[test]
    fn a_unit_that_is_not_enabled_is_found() {
        let units = ["imd.service", "imd.socket"].map(str::to_owned);
        assert_eq!(enabled(&units, "enabled\nenabled\n").verdict, Verdict::Ok);
        let found = enabled(&units, "enabled\ndisabled\n");
        assert_eq!(found.text, "imd.service is enabled, imd.socket is disabled");
        assert_eq!(found.mend, "systemctl --user enable --now imd.service imd.socket");
        assert_eq!(enabled(&units, "not-found\n").verdict, Verdict::Warning);
        assert_eq!(enabled(&units, "").verdict, Verdict::Skipped);
    }

    #[test]
    fn lingering_is_looked_for_where_systemd_runs() {
        let root = tempfile::tempdir().unwrap();
        assert!(!has_systemd(root.path()));
        fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
        assert!(has_systemd(root.path()));
        assert_eq!(linger(root.path(), "alice").verdict, Verdict::Warning);
        fs::create_dir_all(root.path().join("var/lib/systemd/linger")).unwrap();
        fs::write(root.path().join("var/lib/systemd/linger/alice"), "").unwrap();
        assert_eq!(linger(root.path(), "alice").verdict, Verdict::Ok);
        assert_eq!(linger(root.path(), "").verdict, Verdict::Skipped);
    }
}
