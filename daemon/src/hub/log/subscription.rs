//! One subscriber: a cursor, and how it began.

use std::sync::Arc;
use std::time::Duration;

use imd_core::io::InstanceId;
use tokio::sync::watch;

use super::{Cursor, LogError, Read, Shared};
use crate::store::StoreError;
use crate::store::rows::{LogEntry, Tip};

/// How long the tip may take to tell what the database says already, until the database is asked again.
const TIP_LAG: Duration = Duration::from_secs(1);

/// Where a subscriber begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this event.
    Cursor(Cursor),
    /// At the cursor kept for this app id and name. Without one: at the log's end, which is kept from then on,
    /// so that nothing after the first subscription is missed.
    Kept { app_id: Arc<str>, name: Arc<str> },
    /// At the log's end.
    Tail,
}

/// What a subscriber is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// First, and again whenever the events that follow do not join those before.
    Started {
        /// The events that follow come after this.
        cursor: Cursor,
        /// False: what came before the cursor is not to be had from the log.
        recovered: bool,
    },
    /// In the log's order, each once.
    Entries {
        epoch: String,
        entries: Vec<Arc<LogEntry>>,
    },
}

/// A subscriber. While no account is open it waits for one.
pub struct Subscription {
    log: Arc<Shared>,
    /// Its number among the log's subscribers.
    number: u64,
    tip: watch::Receiver<Tip>,
    start: Start,
    place: Place,
}

enum Place {
    /// Nothing has been told.
    Outside,
    At {
        cursor: Cursor,
        /// The page by which it was found that the log reaches back to the cursor.
        first: Option<Vec<Arc<LogEntry>>>,
    },
}

impl Subscription {
    pub(super) fn new(log: Arc<Shared>, start: Start, app: Option<InstanceId>) -> Self {
        let number = log.subscribers().enter(app);
        let tip = log.source.tip();
        Self {
            log,
            number,
            tip,
            start,
            place: Place::Outside,
        }
    }

    /// What follows; waits until there is something. To drop the future midway is to miss nothing: the next
    /// call goes on from the same cursor.
    ///
    /// # Errors
    /// What the store says. A later call tries again.
    pub async fn next(&mut self) -> Result<News, LogError> {
        loop {
            let tip = self.tip.borrow_and_update().clone();
            if tip.epoch.is_empty() {
                self.moved().await?;
                continue;
            }
            let Place::At { cursor, first } = &mut self.place else {
                if let Some(news) = self.begin(tip, true).await? {
                    return Ok(news);
                }
                continue;
            };
            if cursor.epoch != tip.epoch {
                if let Some(news) = self.begin(tip, false).await? {
                    return Ok(news);
                }
                continue;
            }
            let read = match first.take() {
                Some(entries) => Read::Entries(entries),
                None if cursor.offset >= tip.newest => {
                    self.moved().await?;
                    continue;
                }
                None => self.log.read(cursor, &tip).await?,
            };
            match read {
                Read::Entries(entries) => {
                    cursor.offset = entries.last().map_or(cursor.offset, |last| last.offset);
                    self.log.subscribers().moved(self.number, cursor);
                    let epoch = tip.epoch;
                    return Ok(News::Entries { epoch, entries });
                }
                Read::TooOld => return Ok(self.at_the_end(tip, false)),
                Read::NotYet => self.lagging().await?,
            }
        }
    }

    /// Finds its place in a log it has not been in. `None`: another log has been opened meanwhile.
    async fn begin(&mut self, tip: Tip, is_first: bool) -> Result<Option<News>, LogError> {
        let wanted = match &self.start {
            Start::Tail => return Ok(Some(self.at_the_end(tip, is_first))),
            Start::Cursor(cursor) => Some(cursor.offset).filter(|_| is_first && cursor.epoch == tip.epoch),
            Start::Kept { app_id, name } => {
                let (app_id, name) = (Arc::clone(app_id), Arc::clone(name));
                match self.kept(&tip, app_id, name).await {
                    Ok(kept) => kept,
                    Err(LogError::OtherEpoch | LogError::Store(StoreError::NoAccount)) => {
                        self.lagging().await?;
                        return Ok(None);
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let Some(offset) = wanted.filter(|offset| *offset <= tip.newest) else {
            return Ok(Some(self.at_the_end(tip, false)));
        };
        let cursor = Cursor {
            epoch: tip.epoch.clone(),
            offset,
        };
        if offset == tip.newest {
            return Ok(Some(self.started(cursor, None, true)));
        }
        match self.log.read(&cursor, &tip).await? {
            Read::Entries(entries) => Ok(Some(self.started(cursor, Some(entries), true))),
            Read::TooOld => Ok(Some(self.at_the_end(tip, false))),
            Read::NotYet => {
                self.lagging().await?;
                Ok(None)
            }
        }
    }

    async fn kept(&self, tip: &Tip, app_id: Arc<str>, name: Arc<str>) -> Result<Option<u64>, LogError> {
        let source = &self.log.source;
        let kept = source
            .cursor(tip.epoch.clone(), Arc::clone(&app_id), Arc::clone(&name))
            .await?;
        if kept.is_none() {
            source
                .set_cursor(tip.epoch.clone(), app_id, name, tip.newest)
                .await?;
        }
        Ok(kept)
    }

    fn at_the_end(&mut self, tip: Tip, recovered: bool) -> News {
        let cursor = Cursor {
            epoch: tip.epoch,
            offset: tip.newest,
        };
        self.started(cursor, None, recovered)
    }

    fn started(&mut self, cursor: Cursor, first: Option<Vec<Arc<LogEntry>>>, recovered: bool) -> News {
        self.log.subscribers().moved(self.number, &cursor);
        self.place = Place::At {
            cursor: cursor.clone(),
            first,
        };
        News::Started { cursor, recovered }
    }

    async fn moved(&mut self) -> Result<(), LogError> {
        self.tip.changed().await.map_err(|_| StoreError::Stopped.into())
    }

    async fn lagging(&mut self) -> Result<(), LogError> {
        tokio::time::timeout(TIP_LAG, self.moved())
            .await
            .unwrap_or(Ok(()))
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.log.leave(self.number);
    }
}
