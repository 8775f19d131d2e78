//! The program's own text in memory. The kernel maps it in pieces of 64 KiB around whatever runs, and a start
//! runs through nearly all of them once: command line, configuration, locks, migrations, the first connect. What
//! goes on afterwards needs a few. So some time after the start all of it is given back, and what is needed
//! comes back by itself, from the page cache. Of 15.2 MB that a connected daemon showed, 9.7 MB were this.

use std::io;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

/// Until a start, and the first connect, are through.
const SETTLED: Duration = Duration::from_secs(30);

/// Once the start is over, gives back the text that has run in it.
pub(super) async fn give_back_when_settled() {
    tokio::time::sleep(SETTLED).await;
    match give_back() {
        Ok(bytes) => tracing::debug!(bytes, "the text that the start needed has been given back"),
        Err(error) => tracing::debug!(%error, "the text that the start needed stays in memory"),
    }
}

/// Returns how many bytes of text there are, in memory or not.
fn give_back() -> io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut bytes = 0;
    for text in maps.lines().filter_map(Text::of) {
        text.give_back()?;
        bytes += text.length;
    }
    Ok(bytes)
}

/// A file's text, as `/proc/PID/maps` describes it.
#[derive(Debug, PartialEq, Eq)]
struct Text {
    start: usize,
    length: usize,
}

impl Text {
    /// Only what is executable, private and never writable, and comes from a file. What has been relocated can be
    /// read only as well, but it is not executable, and it is not what the file says any more.
    fn of(line: &str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions, _offset, _device, inode) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        let _path = fields.next().filter(|path| path.starts_with('/'))?;
        if permissions != "r-xp" || inode == "0" {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let length = usize::from_str_radix(end, 16).ok()?.checked_sub(start)?;
        Some(Self { start, length })
    }

    fn give_back(&self) -> io::Result<()> {
        let start = std::ptr::with_exposed_provenance_mut(self.start);
        #[expect(
            unsafe_code,
            reason = "there is no safe way to unmap pages. A private mapping of a file that was never writable holds \
                      what the file holds, and the kernel lets nobody write a file that is being executed: the next \
                      access finds the same bytes"
        )]
        // SAFETY: see the reason.
        unsafe {
            madvise(start, self.length, Advice::LinuxDontNeed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_writable_and_comes_from_a_file_is_text() {
        let text = "55be8c9eb000-55be8d4fd000 r-xp 00395000 fe:00 5377927      /usr/bin/imd";
        assert_eq!(
            Text::of(text),
            Some(Text {
                start: 0x55be_8c9e_b000,
                length: 0xb1_2000
            })
        );
        for other in [
            "55be8d4fd000-55be8d550000 r--p 00ea6000 fe:00 5377927      /usr/bin/imd",
            "55be8d550000-55be8d557000 rw-p 00ef9000 fe:00 5377927      /usr/bin/imd",
            "55be8d550000-55be8d557000 rwxp 00ef9000 fe:00 5377927      /usr/bin/imd",
            "7f0c76603000-7f0c76759000 r-xs 00026000 fe:00 326279       /dev/shm/x",
            "7ffd199f8000-7ffd199fa000 r-xp 00000000 00:00 0            [vdso]",
            "7f0c70000000-7f0c70069000 r-xp 00000000 00:00 0 ",
            "",
            "nonsense",
        ] {
            assert_eq!(Text::of(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_given_back_leaves_memory_and_goes_on_running() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("RssFile:")).unwrap();
            line.split_ascii_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        // All of it has run, as far as memory goes.
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        for text in maps.lines().filter_map(Text::of) {
            let start = std::ptr::with_exposed_provenance_mut(text.start);
            #[expect(unsafe_code, reason = "reading pages in changes nothing")]
            // SAFETY: the mapping is there, and is only read.
            unsafe {
                madvise(start, text.length, Advice::LinuxPopulateRead).unwrap();
            }
        }
        let before = resident();
        let bytes = give_back().unwrap();
        let after = resident();
        assert!(bytes > 1024 * 1024, "{bytes}");
        assert!(after < before / 2, "{before} kB before, {after} kB after");
        assert_eq!(
            std::thread::spawn(|| format!("{:?}", [1.5, 2.0])).join().unwrap(),
            "[1.5, 2.0]"
        );
    }
}
