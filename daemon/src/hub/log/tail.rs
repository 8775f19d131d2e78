//! The newest part of the log in memory, once for all subscribers.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Cursor, PAGE_BYTES, PAGE_ENTRIES};
use crate::store::rows::{Gap, LogContent, LogEntry, Tip};

/// How much is kept; the oldest goes first.
const KEPT_ENTRIES: usize = 4096;
const KEPT_BYTES: usize = 1024 * 1024;

/// Whoever is further behind than so many entries reads from disk.
const NEAR: u64 = 1024;

/// What one entry takes beside its texts, about.
const OVERHEAD: usize = 320;

#[derive(Default)]
pub(super) struct Tail {
    epoch: String,
    /// Every entry after this one, up to `newest`, is here.
    base: u64,
    newest: u64,
    entries: VecDeque<Arc<LogEntry>>,
    bytes: usize,
}

/// What the tail is to a reader who is not at the log's end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// What follows the cursor, as much as one page takes.
    Have(Vec<Arc<LogEntry>>),
    /// The tail has not been read so far: its next page begins after this offset.
    Fill { after: u64 },
    /// The tail does not go back so far.
    Behind,
}

impl Tail {
    /// `newest`: the log's end.
    pub(super) fn look(&self, cursor: &Cursor, newest: u64) -> Look {
        let is_same = self.epoch == cursor.epoch;
        if is_same && (self.base..self.newest).contains(&cursor.offset) {
            return Look::Have(self.page(cursor.offset));
        }
        if newest.saturating_sub(cursor.offset) > NEAR {
            return Look::Behind;
        }
        if !is_same || newest.saturating_sub(self.newest) > NEAR {
            // Nobody near the end has been reading this tail.
            return Look::Fill { after: cursor.offset };
        }
        if cursor.offset < self.base {
            return Look::Behind;
        }
        Look::Fill { after: self.newest }
    }

    fn page(&self, after: u64) -> Vec<Arc<LogEntry>> {
        let start = self.entries.partition_point(|entry| entry.offset <= after);
        let mut bytes = 0_usize;
        self.entries
            .iter()
            .skip(start)
            .take(PAGE_ENTRIES)
            .enumerate()
            .take_while(|(at, entry)| {
                bytes = bytes.saturating_add(size(entry));
                *at == 0 || bytes <= PAGE_BYTES
            })
            .map(|(_, entry)| Arc::clone(entry))
            .collect()
    }

    /// Takes over what came with the tip, if that follows what is here. A tail that nobody near the log's end
    /// has been reading begins again with it, where that is of use to the cursor.
    pub(super) fn join(&mut self, cursor: &Cursor, tip: &Tip) {
        let latest = &tip.latest;
        if latest.entries.is_empty() || (self.epoch == tip.epoch && self.newest >= tip.newest) {
            return;
        }
        let is_left = self.epoch != tip.epoch || tip.newest.saturating_sub(self.newest) > NEAR;
        let (base, is_joined) = if is_left || self.entries.is_empty() {
            (latest.after, cursor.offset >= latest.after)
        } else {
            (self.newest, latest.after <= self.newest)
        };
        if is_joined {
            let fresh = latest.entries.iter().filter(|entry| entry.offset > base);
            self.add(&tip.epoch, base, fresh.cloned());
        }
    }

    /// Adds what follows `after`. If that is not where the tail ends, the tail begins again there.
    pub(super) fn fill(&mut self, epoch: &str, after: u64, entries: Vec<LogEntry>) {
        self.add(epoch, after, entries.into_iter().map(Arc::new));
    }

    fn add(&mut self, epoch: &str, after: u64, entries: impl Iterator<Item = Arc<LogEntry>>) {
        if self.epoch != epoch || self.newest != after {
            *self = Self {
                epoch: epoch.to_owned(),
                base: after,
                newest: after,
                ..Self::default()
            };
        }
        for entry in entries {
            self.newest = entry.offset;
            self.bytes = self.bytes.saturating_add(size(&entry));
            self.entries.push_back(entry);
        }
        while (self.entries.len() > KEPT_ENTRIES || self.bytes > KEPT_BYTES)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.base = oldest.offset;
            self.bytes = self.bytes.saturating_sub(size(&oldest));
        }
    }
}

fn size(entry: &LogEntry) -> usize {
    let texts = match &entry.content {
        LogContent::Message(message) | LogContent::MessageState(message) => [
            message.content.len(),
            message.object_name.len(),
            message.code_text.len(),
        ]
        .iter()
        .sum(),
        LogContent::Gap(Gap::DatabaseDamaged { text }) => text.len(),
        LogContent::Unreadable { topic, reason, .. } => topic.len().saturating_add(reason.len()),
        LogContent::Gap(Gap::GroupSequence { .. } | Gap::OtherInstallation { .. } | Gap::SessionLost)
        | LogContent::OfflineSyncCompleted { .. }
        | LogContent::Deleted { .. } => 0,
    };
    OVERHEAD.saturating_add(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::rows::Latest;

    fn entry(offset: u64, reason: usize) -> LogEntry {
        LogEntry {
            offset,
            time: 0,
            content: LogContent::Unreadable {
                topic: String::new(),
                reason: "x".repeat(reason),
                bytes: 0,
            },
        }
    }

    fn entries(offsets: impl IntoIterator<Item = u64>) -> Vec<LogEntry> {
        offsets.into_iter().map(|offset| entry(offset, 0)).collect()
    }

    fn at(offset: u64) -> Cursor {
        Cursor {
            epoch: "a".to_owned(),
            offset,
        }
    }

    fn have(tail: &Tail, offset: u64, newest: u64) -> Vec<u64> {
        match tail.look(&at(offset), newest) {
            Look::Have(entries) => entries.iter().map(|entry| entry.offset).collect(),
            other @ (Look::Fill { .. } | Look::Behind) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reader_inside_the_tail_has_what_follows_its_cursor() {
        let mut tail = Tail::default();
        tail.fill("a", 10, entries(11..=14));
        assert_eq!(have(&tail, 10, 14), [11, 12, 13, 14]);
        assert_eq!(have(&tail, 13, 14), [14]);
        assert_eq!(tail.look(&at(14), 16), Look::Fill { after: 14 });
        assert_eq!(tail.look(&at(9), 14), Look::Behind);
    }

    #[test]
    fn a_tail_of_another_epoch_or_far_behind_the_end_begins_again_at_the_reader() {
        let mut tail = Tail::default();
        assert_eq!(tail.look(&at(7), 8), Look::Fill { after: 7 });
        tail.fill("b", 0, entries(1..=9));
        assert_eq!(tail.look(&at(7), 8), Look::Fill { after: 7 });
        tail.fill("a", 7, entries(8..=8));
        assert_eq!(have(&tail, 7, 8), [8]);
        assert_eq!(tail.look(&at(5000), 5001), Look::Fill { after: 5000 });
        tail.fill("a", 5000, entries([5001]));
        assert_eq!(tail.look(&at(4999), 5001), Look::Behind);
    }

    #[test]
    fn a_reader_ahead_of_the_tail_has_it_filled_without_a_hole() {
        let mut tail = Tail::default();
        tail.fill("a", 0, entries(1..=3));
        assert_eq!(tail.look(&at(9), 10), Look::Fill { after: 3 });
        tail.fill("a", 3, entries(4..=10));
        assert_eq!(have(&tail, 9, 10), [10]);
        assert_eq!(have(&tail, 0, 10), (1..=10).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_far_from_the_end_reads_from_disk_whatever_the_tail_has() {
        let tail = Tail::default();
        assert_eq!(tail.look(&at(0), NEAR + 1), Look::Behind);
        assert_eq!(tail.look(&at(0), NEAR), Look::Fill { after: 0 });
    }

    fn tip(newest: u64, after: u64) -> Tip {
        Tip {
            epoch: "a".to_owned(),
            newest,
            latest: Latest {
                after,
                entries: Arc::new(entries(after + 1..=newest).into_iter().map(Arc::new).collect()),
            },
        }
    }

    #[test]
    fn what_comes_with_the_tip_goes_on_where_the_tail_ends() {
        let mut tail = Tail::default();
        tail.join(&at(3), &tip(5, 3));
        assert_eq!(have(&tail, 3, 5), [4, 5]);
        tail.join(&at(5), &tip(7, 3));
        assert_eq!(have(&tail, 3, 7), [4, 5, 6, 7]);
        tail.join(&at(5), &tip(6, 3));
        assert_eq!(have(&tail, 3, 7), [4, 5, 6, 7], "an old tip says nothing");
    }

    #[test]
    fn what_comes_with_the_tip_never_leaves_a_hole() {
        let mut tail = Tail::default();
        tail.join(&at(2), &tip(5, 3));
        assert_eq!(tail.look(&at(2), 5), Look::Fill { after: 2 });
        tail.fill("a", 2, entries(3..=5));
        tail.join(&at(9), &tip(9, 7));
        assert_eq!(tail.look(&at(5), 9), Look::Fill { after: 5 });
        assert_eq!(have(&tail, 2, 9), [3, 4, 5]);
        tail.join(&at(5000), &tip(5002, 5000));
        assert_eq!(have(&tail, 5000, 5002), [5001, 5002], "nobody reads the old one");
        let other = Tip {
            epoch: "b".to_owned(),
            ..tip(1, 0)
        };
        let begin = Cursor {
            epoch: "b".to_owned(),
            offset: 0,
        };
        tail.join(&begin, &other);
        assert_eq!(tail.look(&at(5001), 5002), Look::Fill { after: 5001 });
        assert!(matches!(tail.look(&begin, 1), Look::Have(_)));
    }

    #[test]
    fn the_tail_is_bounded_in_entries_and_in_bytes_and_forgets_the_oldest() {
        let mut tail = Tail::default();
        tail.fill("a", 0, entries(1..=5000));
        assert!(tail.entries.len() <= KEPT_ENTRIES && tail.bytes <= KEPT_BYTES);
        let base = tail.base;
        assert_eq!(tail.look(&at(base - 1), 5000), Look::Behind);
        assert_eq!(have(&tail, base, 5000).first(), Some(&(base + 1)));
        for offset in 5001..=5200 {
            tail.fill("a", offset - 1, vec![entry(offset, 100_000)]);
            assert!(tail.bytes <= KEPT_BYTES);
        }
        assert_eq!(tail.entries.len(), 10);
        assert_eq!(
            tail.bytes,
            tail.entries.iter().map(|entry| size(entry)).sum::<usize>()
        );
    }

    #[test]
    fn a_page_is_bounded_but_never_empty() {
        let mut tail = Tail::default();
        tail.fill(
            "a",
            0,
            vec![entry(1, 100_000), entry(2, 60_000), entry(3, 60_000)],
        );
        assert_eq!(have(&tail, 0, 3), [1]);
        assert_eq!(have(&tail, 1, 3), [2]);
        tail.fill("a", 3, entries(4..=1000));
        assert!(have(&tail, 3, 1000).len() <= PAGE_ENTRIES);
    }

    #[test]
    fn offsets_may_have_holes() {
        let mut tail = Tail::default();
        tail.fill("a", 0, entries([3, 7, 20]));
        assert_eq!(have(&tail, 0, 20), [3, 7, 20]);
        assert_eq!(have(&tail, 5, 20), [7, 20]);
        assert_eq!(have(&tail, 19, 20), [20]);
    }
}
