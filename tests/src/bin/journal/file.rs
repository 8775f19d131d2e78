//! The journal's file.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use crate::Outcome;

/// Lines that outlive the process; if `synced`, the machine too.
pub(crate) struct Journal {
    file: File,
    synced: bool,
}

/// More than the last two lines of any journal: a long one is not read whole at each start.
const TAIL: u64 = 64 * 1024;

impl Journal {
    /// A line that a kill has torn did not happen.
    pub(crate) fn open(path: &Path, synced: bool) -> Outcome<Self> {
        let file = File::options().create(true).append(true).read(true).open(path)?;
        let journal = Self { file, synced };
        let (begin, tail) = journal.tail()?;
        let whole = tail
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        journal.file.set_len(begin + u64::try_from(whole)?)?;
        Ok(journal)
    }

    /// The end of the file, and where that begins.
    fn tail(&self) -> Outcome<(u64, Vec<u8>)> {
        let begin = self.file.metadata()?.len().saturating_sub(TAIL);
        let mut file = &self.file;
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((begin, bytes))
    }

    pub(crate) fn last(&self) -> Outcome<Option<String>> {
        let (_, tail) = self.tail()?;
        Ok(String::from_utf8_lossy(&tail).lines().last().map(str::to_owned))
    }

    pub(crate) fn append(&self, line: &str) -> Outcome<()> {
        let mut file = &self.file;
        file.write_all(format!("{line}\n").as_bytes())?;
        if self.synced {
            file.sync_data()?;
        }
        Ok(())
    }
}
