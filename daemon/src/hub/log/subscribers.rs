//! Who follows the log, and how far each has come: for people who look into the daemon.

use std::collections::BTreeMap;

use imd_core::io::InstanceId;

use super::Cursor;
use crate::store::rows::Tip;

/// How far one subscriber is behind the log's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Whose it is; `None` for a call without a binding.
    pub app: Option<InstanceId>,
    /// Events that have not been handed to its stream. 0 as well while it waits for an account.
    pub events: u64,
}

#[derive(Default)]
pub(super) struct Subscribers {
    next: u64,
    places: BTreeMap<u64, Place>,
}

struct Place {
    app: Option<InstanceId>,
    /// `None`: it has not begun.
    cursor: Option<Cursor>,
}

impl Subscribers {
    pub(super) fn enter(&mut self, app: Option<InstanceId>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.places.insert(number, Place { app, cursor: None });
        number
    }

    /// Everything up to this has been handed to the subscriber.
    pub(super) fn moved(&mut self, number: u64, cursor: &Cursor) {
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        match &mut place.cursor {
            Some(known) if known.epoch == cursor.epoch => known.offset = cursor.offset,
            other => *other = Some(cursor.clone()),
        }
    }

    /// Whether it was the last one.
    pub(super) fn leave(&mut self, number: u64) -> bool {
        self.places.remove(&number);
        self.places.is_empty()
    }

    pub(super) fn lags(&self, tip: &Tip) -> Vec<Lag> {
        let behind = |cursor: &Cursor| {
            let is_there = cursor.epoch == tip.epoch;
            if is_there {
                tip.newest.saturating_sub(cursor.offset)
            } else {
                0
            }
        };
        self.places
            .values()
            .map(|place| Lag {
                app: place.app.clone(),
                events: place.cursor.as_ref().map_or(0, behind),
            })
            .collect()
    }
}
