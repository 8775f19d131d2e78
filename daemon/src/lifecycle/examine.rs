//! What can be seen of the daemon's places while it does not run, for `imctl doctor`. Nothing is changed, and
//! no lock is taken: a daemon may start meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use super::doctor::{self, finding};
use super::{rows, start};
use crate::config::Settings;
use crate::paths::{PathError, Paths, check_directory};
use crate::rpc::{Finding, Verdict};
use crate::store::{self, AccountKey, SessionLook};

/// Looks at everything there is, and at the servers from here.
pub async fn examine(paths: &Paths, settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![directory(&paths.data_dir), holder(&paths.data_dir)];
    let look = store::look_at_session(&paths.session_file);
    let (session, found) = session(&paths.session_file, look);
    findings.push(found);
    let remembered = session.and_then(rows::remembered);
    let key = remembered.as_ref().and_then(|remembered| {
        Some(AccountKey {
            app_key: remembered.app_key.as_str().to_owned(),
            user_id: remembered.user_id.as_ref()?.as_str().to_owned(),
        })
    });
    let check = store::look_at_account(&paths.data_dir, key.as_ref());
    findings.extend(doctor::store_findings(&check, None));
    findings.push(doctor::token(remembered.as_ref()));
    findings.push(doctor::clock(remembered.as_ref(), &paths.session_file));
    let transports = Arc::new(settings.transports(start::variable));
    let directory = settings.directory(Arc::clone(&transports), paths.session_file.parent());
    let (places, nav) = doctor::places(&transports, &directory, settings, remembered.as_ref());
    findings.extend(nav);
    for place in places {
        findings.extend(doctor::reach(&place).await);
    }
    findings
}

/// Whether the data directory is its owner's alone.
pub(super) fn directory(path: &Path) -> Finding {
    let name = "data.directory";
    let mode = fs::metadata(path).map_or(0, |found| found.mode() & 0o777);
    if mode & 0o077 != 0 {
        return finding(
            name,
            Verdict::Failed,
            format!("{} has mode {mode:04o}: others can look into it", path.display()),
            format!("chmod 0700 {}", path.display()),
        );
    }
    match check_directory("data directory", path) {
        Ok(()) => finding(name, Verdict::Ok, format!("{} is ours alone", path.display()), ""),
        Err(PathError::Directory { source, .. }) if source.kind() == io::ErrorKind::NotFound => finding(
            name,
            Verdict::Skipped,
            format!("{} is not there: no daemon has run with it", path.display()),
            "",
        ),
        Err(error) => finding(
            name,
            Verdict::Failed,
            error.to_string(),
            format!(
                "ls -ld {0}; then chown it to yourself, chmod 0700 {0}.",
                path.display()
            ),
        ),
    }
}

/// Who holds the data directory, by the pid in its lock file: the lock itself is left alone.
fn holder(data_dir: &Path) -> Finding {
    let name = "data.holder";
    let lock = data_dir.join("lock");
    let written = fs::read_to_string(&lock).unwrap_or_default();
    let pid: Option<u32> = written.trim().parse().ok();
    match pid.filter(|pid| has_open(*pid, &lock)) {
        None => finding(name, Verdict::Ok, "no daemon holds the data directory", ""),
        Some(pid) => finding(
            name,
            Verdict::Warning,
            format!(
                "imd with pid {pid} holds {}, but is not to be reached",
                data_dir.display()
            ),
            format!(
                "It listens at another socket, or hangs. To end it: kill {pid}, and if that does nothing: kill -9 {pid}."
            ),
        ),
    }
}

/// Whether a process has this file open. Its pid may be another process's by now.
fn has_open(pid: u32, path: &Path) -> bool {
    let inode = |found: fs::Metadata| (found.dev(), found.ino());
    let Ok(wanted) = fs::metadata(path).map(inode) else {
        return false;
    };
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    descriptors.into_iter().flatten().flatten().any(|descriptor| {
        fs::metadata(descriptor.path())
            .map(inode)
            .is_ok_and(|found| found == wanted)
    })
}

/// The ids of users and groups in the daemon's files, so that a report can be made without them.
#[must_use]
pub fn known_ids(paths: &Paths) -> BTreeSet<String> {
    let mut ids = store::ids_on_disk(&paths.data_dir);
    if let Ok(SessionLook::Session(session)) = store::look_at_session(&paths.session_file)
        && let Some(user_id) = rows::remembered(session).and_then(|remembered| remembered.user_id)
    {
        ids.insert(user_id.as_str().to_owned());
    }
    // It names no one.
    ids.remove("system");
    ids
}

/// Whether the file with the token in it is its owner's alone; none where it is not there.
pub(super) fn session_mode(path: &Path) -> Option<Finding> {
    let name = "session.file";
    let shown = path.display();
    let mode = fs::metadata(path).ok()?.mode() & 0o777;
    Some(if mode & 0o077 == 0 {
        finding(name, Verdict::Ok, format!("{shown} has mode {mode:04o}"), "")
    } else {
        finding(
            name,
            Verdict::Failed,
            format!("{shown}, with the token in it, has mode {mode:04o}: others can get at it"),
            format!("chmod 0600 {shown}; if others use this machine, get a new token."),
        )
    })
}

fn session(path: &Path, look: io::Result<SessionLook>) -> (Option<store::Session>, Finding) {
    let name = "session.file";
    let shown = path.display();
    match look {
        Ok(SessionLook::None) => (
            None,
            finding(
                name,
                Verdict::Skipped,
                format!("{shown} is not there: nobody has signed in"),
                "",
            ),
        ),
        Ok(SessionLook::Damaged(why)) => (
            None,
            finding(
                name,
                Verdict::Failed,
                format!("{shown} is damaged: {why}"),
                "Start the daemon: it keeps the file aside; then an app has to connect again.",
            ),
        ),
        Ok(SessionLook::Session(session)) => (
            Some(session),
            session_mode(path).unwrap_or_else(|| finding(name, Verdict::Ok, format!("{shown} is there"), "")),
        ),
        Err(error) => (
            None,
            finding(
                name,
                Verdict::Failed,
                format!("{shown} cannot be read: {error}"),
                format!("ls -l {shown}; then chown it to yourself, chmod 0600 {shown}."),
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_the_lock_file_open_holds_the_directory_and_a_pid_alone_says_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        assert_eq!(holder(directory.path()).verdict, Verdict::Ok);
        let _open = fs::File::open(&path).unwrap();
        let found = holder(directory.path());
        assert_eq!(found.verdict, Verdict::Warning);
        assert!(
            found.text.contains(&std::process::id().to_string()),
            "{}",
            found.text
        );
    }
}
