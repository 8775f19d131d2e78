//! Our packets that the server has not acknowledged.

use std::collections::BTreeMap;
use std::time::Duration;

use imd_core::time::BootTime;

use crate::link::wire::PacketId;

/// The slowest link that is given the time it needs, in bytes per second.
const SLOWEST: u64 = 8 * 1024;

/// Since when the server owes an acknowledgement.
///
/// A server acknowledges in order, so a packet's wait begins when those before it are done: otherwise a link
/// that only sends would look dead whenever more waits than it carries in the deadline.
#[derive(Default)]
pub(super) struct Unacknowledged {
    next: u64,
    order: BTreeMap<u64, Waiting>,
    places: BTreeMap<PacketId, u64>,
    /// No wait counts from before.
    floor: Option<BootTime>,
}

struct Waiting {
    since: BootTime,
    /// What its size takes on a slow link.
    allowance: Duration,
}

impl Unacknowledged {
    /// A packet of this size was sent.
    pub(super) fn insert(&mut self, packet: PacketId, size: usize, now: BootTime) {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        let place = self.next;
        self.next += 1;
        self.places.insert(packet, place);
        let waiting = Waiting {
            since: now,
            allowance: Duration::from_secs(size / SLOWEST),
        };
        self.order.insert(place, waiting);
    }

    /// It was acknowledged.
    pub(super) fn remove(&mut self, packet: PacketId, now: BootTime) {
        let Some(place) = self.places.remove(&packet) else {
            return;
        };
        let was_first = self.order.keys().next() == Some(&place);
        self.order.remove(&place);
        if was_first && let Some(mut first) = self.order.first_entry() {
            let first = first.get_mut();
            first.since = first.since.max(now);
        }
    }

    /// Nothing could be heard until this point.
    pub(super) fn deaf_until(&mut self, now: BootTime) {
        self.floor = Some(now);
    }

    /// Since when the oldest waits; `None`: none does.
    pub(super) fn oldest(&self) -> Option<BootTime> {
        let (_, first) = self.order.first_key_value()?;
        let since = self.floor.map_or(first.since, |floor| floor.max(first.since));
        Some(since + first.allowance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime::since_boot(Duration::from_secs(seconds))
    }

    #[test]
    fn a_wait_begins_when_those_before_are_done_and_a_hole_is_not_forgiven() {
        let mut waiting = Unacknowledged::default();
        for id in 1..=3 {
            waiting.insert(PacketId(id), 100, at(0));
        }
        assert_eq!(waiting.oldest(), Some(at(0)));
        waiting.remove(PacketId(1), at(10));
        assert_eq!(waiting.oldest(), Some(at(10)));
        waiting.remove(PacketId(3), at(20));
        assert_eq!(waiting.oldest(), Some(at(10)), "the second is missing still");
        waiting.remove(PacketId(2), at(21));
        assert_eq!(waiting.oldest(), None);
    }

    #[test]
    fn a_large_packet_gets_the_time_a_slow_link_needs() {
        let mut waiting = Unacknowledged::default();
        waiting.insert(PacketId(1), 128 * 1024, at(5));
        assert_eq!(waiting.oldest(), Some(at(21)));
    }

    #[test]
    fn what_could_not_be_heard_is_not_held_against_the_server() {
        let mut waiting = Unacknowledged::default();
        waiting.insert(PacketId(1), 10, at(1));
        waiting.deaf_until(at(100));
        assert_eq!(waiting.oldest(), Some(at(100)));
    }
}
