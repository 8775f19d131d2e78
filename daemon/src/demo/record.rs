//! What was seen of the talk, with its times: counted, and drawn.

use std::collections::BTreeSet;
use std::fmt;

use imd_core::time::BootTime;

use super::audience::Read;

/// The moment of the talk: bob's daemon dies, and comes back.
pub(super) struct Recording {
    /// When alice's messages were accepted.
    pub(super) sent: Vec<BootTime>,
    pub(super) killed: BootTime,
    /// When the next daemon listened.
    pub(super) listened: BootTime,
    /// When the broker saw the connection of bob's daemon end, and come.
    pub(super) link_down: BootTime,
    pub(super) link_up: BootTime,
    pub(super) apps: Vec<Heard>,
}

/// What one of bob's apps saw.
pub(super) struct Heard {
    pub(super) name: String,
    /// When it was told -2.
    pub(super) lost: BootTime,
    pub(super) rebound: BootTime,
    pub(super) read: Vec<Read>,
}

/// What came of the talk: over all apps, each of which is to get every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) sent: usize,
    /// By the app that got the fewest.
    pub(super) received: usize,
    pub(super) lost: usize,
    pub(super) twice: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sent,
            received,
            lost,
            twice,
        } = self;
        write!(f, "sent {sent} received {received} lost {lost} twice {twice}")
    }
}

impl Recording {
    /// Counts what the apps got against what was sent.
    pub(super) fn count(&self, sent: &[String]) -> Count {
        let mut count = Count {
            sent: sent.len(),
            received: sent.len(),
            lost: 0,
            twice: 0,
        };
        for app in &self.apps {
            let got: BTreeSet<&str> = app.read.iter().map(|read| read.text.as_str()).collect();
            count.received = count.received.min(app.read.len());
            count.lost += sent.iter().filter(|text| !got.contains(text.as_str())).count();
            count.twice += app.read.len().saturating_sub(got.len());
        }
        count
    }

    /// Whether every app got every message once, in the order they were sent.
    pub(super) fn is_whole(&self, sent: &[String]) -> bool {
        let in_order = |app: &Heard| app.read.iter().map(|read| &read.text).eq(sent);
        self.apps.iter().all(in_order)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(texts: &[&[&str]]) -> Recording {
        let at = BootTime::since_boot(std::time::Duration::ZERO);
        let heard = |texts: &&[&str]| Heard {
            name: "bob/Chat".to_owned(),
            lost: at,
            rebound: at,
            read: texts
                .iter()
                .map(|text| Read {
                    at,
                    text: (*text).to_owned(),
                })
                .collect(),
        };
        Recording {
            sent: Vec::new(),
            killed: at,
            listened: at,
            link_down: at,
            link_up: at,
            apps: texts.iter().map(heard).collect(),
        }
    }

    #[test]
    fn what_one_app_misses_and_another_gets_twice_is_counted() {
        let sent = ["a", "b"].map(str::to_owned);
        let good = recording(&[&["a", "b"], &["a", "b"]]);
        assert_eq!(good.count(&sent).to_string(), "sent 2 received 2 lost 0 twice 0");
        assert!(good.is_whole(&sent));
        let bad = recording(&[&["a", "b", "b"], &["a"]]);
        assert_eq!(bad.count(&sent).to_string(), "sent 2 received 1 lost 1 twice 1");
        assert!(!bad.is_whole(&sent));
        assert!(!recording(&[&["b", "a"]]).is_whole(&sent), "the order counts");
    }
}
