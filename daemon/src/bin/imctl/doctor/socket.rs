//! The socket's name: whose it is, and who can get at it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use imd_client::admin::Verdict;

use super::{Instance, check, failed, ok};
use crate::shapes::Check;

/// The socket and its directory: there, ours, and closed to everybody else.
pub(super) fn checks(path: &Path, instance: &Instance) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(directory) = path.parent() {
        let metadata = fs::metadata(directory);
        checks.push(private("socket.directory", directory, metadata, instance));
    }
    let name = "socket.file";
    checks.push(match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => failed(
            name,
            format!("{} is no socket", path.display()),
            "Move it away, and start the daemon.",
        ),
        metadata => private(name, path, metadata, instance),
    });
    checks
}

fn private(name: &str, path: &Path, metadata: io::Result<Metadata>, instance: &Instance) -> Check {
    let shown = path.display();
    let metadata = match metadata {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = format!("{shown} is not there: no daemon has made it");
            let mend = format!("Start the daemon: {}", instance.imd());
            return check(name, Verdict::Skipped, text, mend);
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::args::Daemon;

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
        let instance = Instance::of(&Daemon {
            socket: None,
            instance: None,
        });
        checks(path, &instance)
            .into_iter()
            .map(|check| check.verdict)
            .collect()
    }
}
