//! bob's apps in the talk: each reads one stream of events, and has no line for a daemon that dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use imd_client::{Direction, EventKind, Events, Start, StatusListener};
use imd_core::time::BootTime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use super::stage::App;
use super::story::Failed;
use crate::clock;

/// How long any step of the talk may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// More statuses than the talk can bring.
const STATUSES: usize = 256;

/// When a status was told, and whether it said that the daemon is lost.
struct Told {
    at: BootTime,
    is_lost: bool,
}

/// A message as the app got it.
pub(super) struct Read {
    pub(super) at: BootTime,
    pub(super) text: String,
}

/// An app that reads.
pub(super) struct Reader {
    pub(super) app: App,
    told: mpsc::Receiver<Told>,
    losses: usize,
    count: Arc<AtomicUsize>,
    reading: JoinHandle<Result<Vec<Read>, Failed>>,
    _listener: StatusListener,
}

impl Reader {
    /// Begins to read, so many messages; returns when the daemon has begun to tell.
    pub(super) async fn start(app: App, enough: usize) -> Result<Self, Failed> {
        let (tell, told) = mpsc::channel(STATUSES);
        let listener = app.client.add_connection_status_listener(move |status| {
            let told = Told {
                at: clock::now().boot,
                is_lost: status.is_daemon_lost(),
            };
            // The channel holds more than the talk brings, and its reader may have gone.
            let _: Result<(), _> = tell.try_send(told);
        });
        let mut events = app.client.subscribe(Start::Tail);
        let who = app.who.clone();
        match within(&who, "the start of the events", events.next()).await? {
            Some(Ok(event)) if matches!(event.kind, EventKind::Started { .. }) => {}
            Some(Ok(event)) => {
                return Err(Failed::new(format!(
                    "{who}: the events begin with {:?}",
                    event.kind
                )));
            }
            Some(Err(error)) => return Err(Failed::new(format!("{who}: {error}"))),
            None => return Err(Failed::new(format!("{who}: there are no events"))),
        }
        let count = Arc::new(AtomicUsize::new(0));
        let reading = tokio::spawn(read(who, events, enough, Arc::clone(&count)));
        Ok(Self {
            app,
            told,
            losses: 0,
            count,
            reading,
            _listener: listener,
        })
    }

    /// How many messages it has read so far.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How often it was told that the daemon is lost, so far.
    pub(super) fn losses(&mut self) -> usize {
        while let Ok(told) = self.told.try_recv() {
            self.losses += usize::from(told.is_lost);
        }
        self.losses
    }

    /// When it was told that the daemon is lost.
    pub(super) async fn lost(&mut self) -> Result<BootTime, Failed> {
        self.next("the loss of the daemon", |told| told.is_lost).await
    }

    /// When it was told that there is a daemon again.
    pub(super) async fn rebound(&mut self) -> Result<BootTime, Failed> {
        self.next("its daemon again", |told| !told.is_lost).await
    }

    async fn next(&mut self, what: &str, wanted: impl Fn(&Told) -> bool) -> Result<BootTime, Failed> {
        let (told, losses) = (&mut self.told, &mut self.losses);
        let search = async {
            loop {
                let told = told.recv().await?;
                *losses += usize::from(told.is_lost);
                if wanted(&told) {
                    return Some(told.at);
                }
            }
        };
        let found = within(&self.app.who, what, search).await?;
        found.ok_or_else(|| Failed::new(format!("{} is told nothing any more", self.app.who)))
    }

    /// All that it has read.
    pub(super) async fn finish(&mut self) -> Result<Vec<Read>, Failed> {
        let read = within(&self.app.who, "the last message", &mut self.reading).await?;
        read.map_err(|error| Failed::new(format!("{}: {error}", self.app.who)))?
    }
}

/// What comes in time, or which step did not happen.
pub(super) async fn within<T>(who: &str, what: &str, step: impl Future<Output = T>) -> Result<T, Failed> {
    timeout(PATIENCE, step)
        .await
        .map_err(|_| Failed::new(format!("{who} did not see {what} within {PATIENCE:?}")))
}

/// Reads so many messages: one stream, whatever becomes of the daemon.
async fn read(
    who: String,
    mut events: Events,
    enough: usize,
    count: Arc<AtomicUsize>,
) -> Result<Vec<Read>, Failed> {
    let mut all = Vec::new();
    while all.len() < enough {
        let event = events
            .next()
            .await
            .ok_or_else(|| Failed::new(format!("{who}: the events have ended")))?
            .map_err(|error| Failed::new(format!("{who}: {error}")))?;
        if let EventKind::Message(message) = &event.kind
            && message.direction == Direction::Receive
        {
            all.push(Read {
                at: clock::now().boot,
                text: message.text().unwrap_or_default(),
            });
            count.store(all.len(), Ordering::Relaxed);
        }
    }
    Ok(all)
}
