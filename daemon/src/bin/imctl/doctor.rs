//! `doctor`: first what can be seen from outside, then what the daemon finds in itself.

use std::env;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use imd_client::admin::Verdict;
use imd_client::{Client, Error};
use tokio::process::Command;

use crate::args::{Daemon, Doctor};
use crate::output::{Exit, Failure, Mood, Output};
use crate::shapes::{Check, verdict};
use crate::{for_daemon, progress};

/// How long `imd --check-config` may take.
const CONFIG_DEADLINE: Duration = Duration::from_secs(10);

/// Looks at everything, and prints each finding as it comes.
pub(crate) async fn examine(daemon: &Daemon, doctor: &Doctor, output: &mut Output) -> Result<(), Failure> {
    let mut worst = None;
    let mut tell = |check: Check, output: &mut Output| {
        if matches!(check.verdict, Verdict::Failed | Verdict::Insecure) {
            worst.get_or_insert(Exit::Failed);
        }
        print(&check, output)
    };

    let builder = for_daemon(Client::observer(), daemon);
    match builder.socket_path() {
        Ok(path) => {
            tell(ok("socket.path", path.display().to_string()), output)?;
            for check in socket(&path) {
                tell(check, output)?;
            }
        }
        Err(error) => tell(failed("socket.path", error.text(), error.action()), output)?,
    }
    tell(config(daemon).await, output)?;

    let client = match builder.build_async().await {
        Ok(client) => client,
        Err(error) => return unreachable(&error, output),
    };
    let version = client.version().await?;
    tell(versions(&version.version), output)?;
    for finding in progress::during(&client, client.diagnose(doctor.broker)).await? {
        tell(finding.into(), output)?;
    }
    worst.map_or(Ok(()), |exit| Err(Failure::Told(exit)))
}

fn unreachable(error: &Error, output: &mut Output) -> Result<(), Failure> {
    print(&failed("daemon", error.text(), error.action()), output)?;
    Err(Failure::Told(Exit::of(error.code())))
}

fn print(check: &Check, output: &mut Output) -> Result<(), Failure> {
    output.print(check, |output| {
        let mood = if check.verdict == Verdict::Ok {
            Mood::Good
        } else if check.verdict == Verdict::Skipped {
            Mood::Plain
        } else if check.verdict == Verdict::Warning {
            Mood::Waiting
        } else {
            Mood::Bad
        };
        let word = output.paint(mood, &format!("{:<8}", verdict(check.verdict)));
        let mut line = format!("{word}  {:<18}  {}", check.check, check.text);
        if !check.mend.is_empty() {
            line.push_str(&format!("\n{:30}{}", "", check.mend));
        }
        line.trim_end().to_owned()
    })
}

fn check(name: &str, verdict: Verdict, text: impl Into<String>, mend: impl Into<String>) -> Check {
    Check {
        check: name.to_owned(),
        verdict,
        text: text.into(),
        mend: mend.into(),
    }
}

fn ok(name: &str, text: impl Into<String>) -> Check {
    check(name, Verdict::Ok, text, "")
}

fn failed(name: &str, text: impl Into<String>, mend: impl Into<String>) -> Check {
    check(name, Verdict::Failed, text, mend)
}

/// The socket and its directory: there, ours, and closed to everybody else.
fn socket(path: &Path) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(directory) = path.parent() {
        checks.push(private("socket.directory", directory, fs::metadata(directory)));
    }
    let name = "socket.file";
    checks.push(match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => failed(
            name,
            format!("{} is no socket", path.display()),
            "Move it away, and start the daemon.",
        ),
        metadata => private(name, path, metadata),
    });
    checks
}

fn private(name: &str, path: &Path, metadata: io::Result<Metadata>) -> Check {
    let shown = path.display();
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{shown} is not there: no daemon has made it");
            return check(name, Verdict::Skipped, text, "Start the daemon: imd");
        }
        Err(error) => return failed(name, format!("{shown}: {error}"), "Correct its permissions."),
    };
    let ours = rustix::process::geteuid().as_raw();
    let mode = metadata.mode() & 0o777;
    if metadata.uid() != ours {
        let text = format!("{shown} belongs to user id {}, not to {ours}", metadata.uid());
        return failed(name, text, "Find out who made it, and remove it.");
    }
    if mode & 0o077 != 0 {
        let text = format!("{shown} has mode {mode:04o}: others can get at it");
        return failed(
            name,
            text,
            "Stop the daemon, remove it, and start the daemon again.",
        );
    }
    ok(name, format!("{shown} has mode {mode:04o}"))
}

/// Lets the daemon's own program read the configuration: imctl knows nothing of it.
async fn config(daemon: &Daemon) -> Check {
    let name = "config";
    let Some(program) = imd() else {
        let text = "the program imd is neither beside imctl nor on the PATH";
        return check(name, Verdict::Skipped, text, "");
    };
    let mut command = Command::new(&program);
    command
        .arg("--check-config")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(instance) = &daemon.instance {
        command.args(["--instance", instance]);
    }
    let shown = program.display();
    let run = match tokio::time::timeout(CONFIG_DEADLINE, command.output()).await {
        Ok(Ok(run)) => run,
        Ok(Err(error)) => {
            return failed(name, format!("{shown} cannot be run: {error}"), "");
        }
        Err(_elapsed) => {
            let text = format!("{shown} --check-config does not end");
            return failed(name, text, "");
        }
    };
    let said = if run.stderr.is_empty() {
        &run.stdout
    } else {
        &run.stderr
    };
    let said = String::from_utf8_lossy(said);
    let mut lines = said.lines().map(one_spaced);
    if run.status.success() {
        ok(name, lines.next().unwrap_or_else(|| "it can be read".to_owned()))
    } else {
        let all = lines.collect::<Vec<_>>().join("; ");
        failed(name, all, "Correct the file; `imd --check-config` tries it.")
    }
}

fn one_spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The daemon's program: beside this one, else on the PATH.
fn imd() -> Option<PathBuf> {
    let beside = env::current_exe().ok()?.with_file_name("imd");
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside)
        .chain(env::split_paths(&path).map(|directory| directory.join("imd")))
        .find(|program| program.is_file())
}

fn versions(daemon: &str) -> Check {
    let name = "daemon.version";
    let ours = env!("CARGO_PKG_VERSION");
    if daemon == ours {
        return ok(name, format!("imd {daemon}"));
    }
    let text = format!("the daemon is imd {daemon}, this is imctl {ours}");
    check(
        name,
        Verdict::Warning,
        text,
        "Start the daemon again after an update.",
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_socket_that_others_can_reach_is_found() {
        let directory = private_directory();
        let path = directory.path().join("imd.sock");
        assert_eq!(verdicts(&path), [Verdict::Ok, Verdict::Skipped]);
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        for (mode, verdict) in [(0o600, Verdict::Ok), (0o660, Verdict::Failed)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(verdicts(&path), [Verdict::Ok, verdict], "{mode:o}");
        }
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(verdicts(&path).first(), Some(&Verdict::Failed));
    }

    #[test]
    fn a_file_in_the_place_of_the_socket_is_found() {
        let directory = private_directory();
        let path = directory.path().join("imd.sock");
        fs::write(&path, "").unwrap();
        assert_eq!(verdicts(&path), [Verdict::Ok, Verdict::Failed]);
    }

    fn private_directory() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o700)).unwrap();
        directory
    }

    fn verdicts(path: &Path) -> Vec<Verdict> {
        socket(path).into_iter().map(|check| check.verdict).collect()
    }
}
