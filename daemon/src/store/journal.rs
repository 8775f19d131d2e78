//! What the connection has been through, in a file that outlives the daemon: one JSON object a line.
//!
//! It is for people to look at, so it is not worth an fsync: a power cut may take the last lines. It never
//! grows beyond two files of [`MOST`] bytes.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::{StoreError, files};

/// A file with more bytes becomes the older one: room for at least 1,000 changes with long reasons.
const MOST: u64 = 1024 * 1024;

/// A longer reason is cut.
const REASON: usize = 512;

/// One line of the journal. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum StatusNote {
    /// A run of the daemon has begun.
    Started {
        time: i64,
        run: String,
        version: String,
        pid: u32,
    },
    /// The status has changed.
    Changed {
        time: i64,
        run: String,
        generation: u64,
        status: i32,
        reason: String,
        /// 0: none.
        code: i32,
    },
    /// A run has ended in order.
    Stopped { time: i64, run: String },
}

impl StatusNote {
    /// When it happened.
    #[must_use]
    pub const fn time(&self) -> i64 {
        match self {
            Self::Started { time, .. } | Self::Changed { time, .. } | Self::Stopped { time, .. } => *time,
        }
    }
}

pub(super) struct Journal {
    path: PathBuf,
    /// Whether the last write failed: told once, not at every change.
    has_failed: bool,
}

impl Journal {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            has_failed: false,
        }
    }

    /// Adds these; a failure is told to the log, and changes nothing else.
    pub(super) fn note(&mut self, notes: &[StatusNote]) {
        let written = self.append(notes);
        if let Err(error) = &written
            && !self.has_failed
        {
            tracing::warn!(path = %self.path.display(), %error, "the status changes cannot be kept on disk");
        }
        self.has_failed = written.is_err();
    }

    fn append(&self, notes: &[StatusNote]) -> io::Result<()> {
        let mut file = self.open()?;
        if file.metadata()?.len() > MOST {
            std::fs::rename(&self.path, self.older())?;
            file = self.open()?;
        }
        let mut lines = if ends_midway(&mut file)? {
            vec![b'\n']
        } else {
            Vec::new()
        };
        for note in notes {
            serde_json::to_writer(&mut lines, &bounded(note.clone()))?;
            lines.push(b'\n');
        }
        file.write_all(&lines)
    }

    fn open(&self) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(unwaiting())
            .open(&self.path)?;
        let file = regular(file)?;
        if file.metadata()?.mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        Ok(file)
    }

    fn older(&self) -> PathBuf {
        files::with_suffix(&self.path, ".1")
    }

    /// What has been noted since then, and before that the start of the run and the last note, so that it is
    /// known what was so at that time. A line that cannot be read is passed over.
    ///
    /// # Errors
    /// One of the files is there and cannot be read.
    pub(super) fn since(&self, time: i64) -> Result<Vec<StatusNote>, StoreError> {
        let mut notes = Vec::new();
        for path in [self.older(), self.path.clone()] {
            let read = read(&path);
            notes.extend(read.map_err(|source| StoreError::File {
                what: "status journal",
                path,
                action: "read",
                source,
            })?);
        }
        let first = happened(&notes).partition_point(|happened| *happened < time);
        let later = notes.split_off(first);
        let start = notes
            .iter()
            .rposition(|note| matches!(note, StatusNote::Started { .. }));
        let last = notes.len().checked_sub(1);
        let before = [start.filter(|start| Some(*start) != last), last];
        let mut wanted: Vec<StatusNote> = before
            .into_iter()
            .flatten()
            .filter_map(|index| notes.get(index).cloned())
            .collect();
        wanted.extend(later);
        Ok(wanted)
    }
}

/// When each was noted, in the order of the file: one that claims a later time than the next was noted by a clock
/// that ran ahead.
fn happened(notes: &[StatusNote]) -> Vec<i64> {
    let mut times: Vec<i64> = notes.iter().map(StatusNote::time).collect();
    let mut next = i64::MAX;
    for time in times.iter_mut().rev() {
        *time = next.min(*time);
        next = *time;
    }
    times
}

/// Whether a write was cut short, so that the last line has no end.
fn ends_midway(file: &mut File) -> io::Result<bool> {
    let length = file.metadata()?.len();
    let Some(last) = length.checked_sub(1) else {
        return Ok(false);
    };
    let mut byte = [0];
    file.seek(SeekFrom::Start(last))?;
    file.read_exact(&mut byte)?;
    Ok(byte != *b"\n")
}

fn bounded(note: StatusNote) -> StatusNote {
    match note {
        StatusNote::Changed {
            time,
            run,
            generation,
            status,
            mut reason,
            code,
        } => {
            reason.truncate(reason.floor_char_boundary(REASON));
            StatusNote::Changed {
                time,
                run,
                generation,
                status,
                reason,
                code,
            }
        }
        other @ (StatusNote::Started { .. } | StatusNote::Stopped { .. }) => other,
    }
}

/// Neither a link nor a pipe in the file's place may make the store's thread wait, or write elsewhere.
fn unwaiting() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed()
}

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::other("it is no regular file"))
}

fn read(path: &Path) -> io::Result<Vec<StatusNote>> {
    let mut bytes = Vec::new();
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(unwaiting())
        .open(path)
        .and_then(regular);
    match opened {
        // One that is longer was not written by us.
        Ok(file) => file.take(2 * MOST).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    Ok(bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(time: i64, reason: &str) -> StatusNote {
        StatusNote::Changed {
            time,
            run: "a".to_owned(),
            generation: 1,
            status: 13,
            reason: reason.to_owned(),
            code: 30_011,
        }
    }

    fn started(time: i64) -> StatusNote {
        StatusNote::Started {
            time,
            run: "a".to_owned(),
            version: "0.1.0".to_owned(),
            pid: 7,
        }
    }

    fn journal() -> (tempfile::TempDir, Journal) {
        let directory = tempfile::tempdir().unwrap();
        let journal = Journal::new(directory.path().join("status.jsonl"));
        (directory, journal)
    }

    #[test]
    fn what_was_noted_is_read_by_the_next_run() {
        let (directory, mut journal) = journal();
        assert!(journal.since(0).unwrap().is_empty());
        let notes = [started(10), changed(20, "开会")];
        journal.note(&notes);
        let next = Journal::new(directory.path().join("status.jsonl"));
        assert_eq!(next.since(0).unwrap(), notes);
        let mode = std::fs::metadata(&next.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_was_so_at_the_time_asked_for_is_told_too() {
        let (_directory, mut journal) = journal();
        let notes = [started(10), changed(20, "a"), changed(30, "b"), changed(40, "c")];
        journal.note(&notes);
        assert_eq!(
            journal.since(35).unwrap(),
            [started(10), changed(30, "b"), changed(40, "c")]
        );
        assert_eq!(journal.since(99).unwrap(), [started(10), changed(40, "c")]);
        assert_eq!(journal.since(15).unwrap(), notes);
    }

    #[test]
    fn notes_of_a_clock_that_ran_ahead_do_not_pass_for_newer_than_those_after_them() {
        let (_directory, mut journal) = journal();
        journal.note(&[
            started(10),
            changed(5_000, "ahead"),
            changed(20, "a"),
            changed(30, "b"),
        ]);
        assert_eq!(
            journal.since(25).unwrap(),
            [started(10), changed(20, "a"), changed(30, "b")]
        );
        assert_eq!(journal.since(4_000).unwrap(), [started(10), changed(30, "b")]);
    }

    #[test]
    fn a_file_that_others_could_read_is_closed_to_them() {
        let (_directory, mut journal) = journal();
        journal.note(&[started(10)]);
        std::fs::set_permissions(&journal.path, Permissions::from_mode(0o644)).unwrap();
        journal.note(&[changed(20, "a")]);
        let mode = std::fs::metadata(&journal.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_line_that_was_cut_short_harms_no_other() {
        let (_directory, mut journal) = journal();
        journal.note(&[started(10)]);
        let mut file = journal.open().unwrap();
        file.write_all(b"{\"what\":\"changed\",\"ti").unwrap();
        journal.note(&[changed(20, "a")]);
        assert_eq!(journal.since(0).unwrap(), [started(10), changed(20, "a")]);
    }

    #[test]
    fn the_files_are_bounded_and_the_newest_notes_stay() {
        let (_directory, mut journal) = journal();
        let reason = "x".repeat(2 * REASON);
        for time in 0..10_000 {
            journal.note(&[changed(time, &reason)]);
        }
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert!(size(&journal.path) + size(&journal.older()) < 2 * MOST + 4096);
        let kept = journal.since(0).unwrap();
        assert!(kept.len() > 1000, "{}", kept.len());
        assert_eq!(kept.last().unwrap().time(), 9_999);
    }
}
