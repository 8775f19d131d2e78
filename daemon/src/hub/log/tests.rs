use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::store::rows::{Latest, LogContent};

/// A log in memory. It can be told to hold its pages back.
struct FakeLog {
    tip: watch::Sender<Tip>,
    rows: Mutex<Rows>,
    /// Pages answered, and being read.
    pages: AtomicUsize,
    reading: AtomicUsize,
    most_reading: AtomicUsize,
    /// How many entries come with the tip.
    told_with_the_tip: AtomicUsize,
    held: AtomicBool,
    release: Notify,
}

struct Rows {
    epoch: String,
    entries: Vec<LogEntry>,
    oldest: u64,
    cursors: BTreeMap<(String, String, String), u64>,
}

fn entry(offset: u64) -> LogEntry {
    LogEntry {
        offset,
        time: 0,
        content: LogContent::Deleted {
            message_id: i64::try_from(offset).unwrap(),
        },
    }
}

impl FakeLog {
    fn new(epoch: &str, length: u64) -> Arc<Self> {
        let log = Self {
            tip: watch::Sender::default(),
            rows: Mutex::new(Rows {
                epoch: String::new(),
                entries: Vec::new(),
                oldest: 1,
                cursors: BTreeMap::new(),
            }),
            pages: AtomicUsize::new(0),
            reading: AtomicUsize::new(0),
            most_reading: AtomicUsize::new(0),
            told_with_the_tip: AtomicUsize::new(0),
            held: AtomicBool::new(false),
            release: Notify::new(),
        };
        if !epoch.is_empty() {
            log.open(epoch, length);
        }
        Arc::new(log)
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap()
    }

    /// Another database is open; the tip does not tell it yet.
    fn switch(&self, epoch: &str, length: u64) {
        let mut rows = self.rows();
        rows.epoch = epoch.to_owned();
        rows.entries = (1..=length).map(entry).collect();
        rows.oldest = 1;
    }

    fn tell(&self) {
        let rows = self.rows();
        let newest = rows.entries.last().map_or(0, |last| last.offset);
        let epoch = rows.epoch.clone();
        let few = self.told_with_the_tip.load(Ordering::Relaxed);
        let last = &rows.entries[rows.entries.len().saturating_sub(few)..];
        let latest = Latest {
            after: last.first().map_or(newest, |first| first.offset - 1),
            entries: Arc::new(last.iter().cloned().map(Arc::new).collect()),
        };
        drop(rows);
        self.tip.send_replace(Tip {
            epoch,
            newest,
            latest,
        });
    }

    fn open(&self, epoch: &str, length: u64) {
        self.switch(epoch, length);
        self.tell();
    }

    fn grow(&self, by: u64) {
        let mut rows = self.rows();
        let newest = rows.entries.last().map_or(0, |last| last.offset);
        rows.entries.extend((newest + 1..=newest + by).map(entry));
        drop(rows);
        self.tell();
    }

    /// Retention.
    fn forget_before(&self, oldest: u64) {
        let mut rows = self.rows();
        rows.entries.retain(|entry| entry.offset >= oldest);
        rows.oldest = oldest;
    }

    fn hold(&self) {
        self.held.store(true, Ordering::Relaxed);
    }

    fn go_on(&self) {
        self.held.store(false, Ordering::Relaxed);
        self.release.notify_waiters();
    }

    fn page(&self, epoch: &str, after: u64, max_entries: usize) -> Result<LogPage, LogError> {
        self.pages.fetch_add(1, Ordering::Relaxed);
        let rows = self.rows();
        if rows.epoch != epoch {
            return Err(LogError::OtherEpoch);
        }
        Ok(LogPage {
            entries: rows
                .entries
                .iter()
                .filter(|entry| entry.offset > after)
                .take(max_entries)
                .cloned()
                .collect(),
            oldest: rows.oldest,
            newest: rows.entries.last().map_or(0, |last| last.offset),
        })
    }
}

/// The source, as the log holds it.
struct Shelf(Arc<FakeLog>);

impl LogSource for Shelf {
    fn tip(&self) -> watch::Receiver<Tip> {
        self.0.tip.subscribe()
    }

    fn log_page(
        &self,
        epoch: String,
        after: u64,
        max_entries: usize,
        _max_bytes: usize,
    ) -> BoxFuture<Result<LogPage, LogError>> {
        let log = Arc::clone(&self.0);
        Box::pin(async move {
            let reading = log.reading.fetch_add(1, Ordering::Relaxed) + 1;
            log.most_reading.fetch_max(reading, Ordering::Relaxed);
            let released = log.release.notified();
            if log.held.load(Ordering::Relaxed) {
                released.await;
            }
            log.reading.fetch_sub(1, Ordering::Relaxed);
            log.page(&epoch, after, max_entries)
        })
    }

    fn cursor(
        &self,
        epoch: String,
        app_id: Arc<str>,
        name: Arc<str>,
    ) -> BoxFuture<Result<Option<u64>, LogError>> {
        let rows = self.0.rows();
        let found = if rows.epoch == epoch {
            let key = (epoch, app_id.to_string(), name.to_string());
            Ok(rows.cursors.get(&key).copied())
        } else {
            Err(LogError::OtherEpoch)
        };
        Box::pin(std::future::ready(found))
    }

    fn set_cursor(
        &self,
        epoch: String,
        app_id: Arc<str>,
        name: Arc<str>,
        offset: u64,
    ) -> BoxFuture<Result<(), LogError>> {
        let mut rows = self.0.rows();
        let kept = rows
            .cursors
            .entry((epoch, app_id.to_string(), name.to_string()))
            .or_default();
        *kept = offset.max(*kept);
        Box::pin(std::future::ready(Ok(())))
    }
}

fn log(fake: &Arc<FakeLog>) -> EventLog {
    EventLog::new(Arc::new(Shelf(Arc::clone(fake))))
}

fn at(epoch: &str, offset: u64) -> Cursor {
    Cursor {
        epoch: epoch.to_owned(),
        offset,
    }
}

fn kept() -> Start {
    Start::Kept {
        app_id: "org.example.Chat".into(),
        name: "main".into(),
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future)
        .await
        .expect("nothing came in time")
}

/// Lets every other task go as far as it can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn started(subscription: &mut Subscription) -> (Cursor, bool) {
    match soon(subscription.next()).await.unwrap() {
        News::Started { cursor, recovered } => (cursor, recovered),
        News::Entries { .. } => panic!("no start"),
    }
}

async fn entries(subscription: &mut Subscription) -> Vec<u64> {
    match soon(subscription.next()).await.unwrap() {
        News::Entries { entries, .. } => entries.iter().map(|entry| entry.offset).collect(),
        News::Started { cursor, .. } => panic!("started at {cursor:?}"),
    }
}

async fn up_to(subscription: &mut Subscription, newest: u64) -> Vec<u64> {
    let mut all = Vec::new();
    while all.last() != Some(&newest) {
        all.extend(entries(subscription).await);
    }
    all
}

/// It waits.
async fn assert_silent(subscription: &mut Subscription) {
    let next = tokio::time::timeout(Duration::from_millis(20), subscription.next()).await;
    assert!(next.is_err(), "{:?}", next.unwrap().unwrap());
}

#[tokio::test]
async fn whoever_does_not_read_on_falls_behind_and_is_seen_to() {
    let fake = FakeLog::new("a", 5);
    let log = log(&fake);
    let app = InstanceId("slow".into());
    let mut slow = log.subscribe_for(Some(app.clone()), Start::Tail);
    let behind = || log.lags().into_iter().map(|lag| lag.events).collect::<Vec<_>>();
    assert_eq!(behind(), [0], "it waits to begin");
    started(&mut slow).await;
    fake.grow(3);
    assert_eq!(
        log.lags(),
        [Lag {
            app: Some(app),
            events: 3
        }]
    );
    assert_eq!(up_to(&mut slow, 8).await, [6, 7, 8]);
    assert_eq!(behind(), [0]);
    drop(slow);
    assert!(log.lags().is_empty());
}

#[tokio::test]
async fn at_the_tail_only_what_comes_is_told() {
    let fake = FakeLog::new("a", 5);
    let mut subscription = log(&fake).subscribe(Start::Tail);
    assert_eq!(started(&mut subscription).await, (at("a", 5), true));
    assert_silent(&mut subscription).await;
    fake.grow(2);
    assert_eq!(up_to(&mut subscription, 7).await, [6, 7]);
}

#[tokio::test]
async fn what_comes_with_the_tip_is_told_without_a_read_and_the_rest_is_read() {
    let fake = FakeLog::new("a", 5);
    fake.told_with_the_tip.store(3, Ordering::Relaxed);
    let log = log(&fake);
    let mut subscriptions = [log.subscribe(Start::Tail), log.subscribe(Start::Tail)];
    for subscription in &mut subscriptions {
        started(subscription).await;
    }
    for newest in [6, 8, 11] {
        let grown = newest - fake.tip.borrow().newest;
        fake.grow(grown);
        for subscription in &mut subscriptions {
            assert_eq!(up_to(subscription, newest).await.last(), Some(&newest));
        }
    }
    assert_eq!(fake.pages.load(Ordering::Relaxed), 0);
    fake.grow(4);
    assert_eq!(up_to(&mut subscriptions[0], 15).await, [12, 13, 14, 15]);
    assert!(fake.pages.load(Ordering::Relaxed) > 0);
    assert_eq!(up_to(&mut subscriptions[1], 15).await, [12, 13, 14, 15]);
}

#[tokio::test]
async fn from_a_cursor_everything_after_it_is_told_in_order_and_once() {
    let fake = FakeLog::new("a", 10_000);
    let log = log(&fake);
    for offset in [0, 1, 8_000, 9_000, 9_999, 10_000] {
        let mut subscription = log.subscribe(Start::Cursor(at("a", offset)));
        assert_eq!(started(&mut subscription).await, (at("a", offset), true));
        if offset < 10_000 {
            let told = up_to(&mut subscription, 10_000).await;
            assert_eq!(told, (offset + 1..=10_000).collect::<Vec<_>>());
        }
        assert_silent(&mut subscription).await;
    }
}

#[tokio::test]
async fn what_the_log_cannot_recover_begins_at_its_end_and_says_so() {
    let fake = FakeLog::new("a", 100);
    let log = log(&fake);
    fake.forget_before(50);
    for lost in [at("a", 48), at("b", 60), at("a", 101)] {
        let mut subscription = log.subscribe(Start::Cursor(lost));
        assert_eq!(started(&mut subscription).await, (at("a", 100), false));
    }
    let mut subscription = log.subscribe(Start::Cursor(at("a", 49)));
    assert_eq!(started(&mut subscription).await, (at("a", 49), true));
    assert_eq!(up_to(&mut subscription, 100).await.first(), Some(&50));
}

#[tokio::test]
async fn a_cursor_before_a_log_that_has_been_emptied_is_too_old() {
    let fake = FakeLog::new("a", 9);
    fake.tell();
    fake.rows().entries.clear();
    fake.rows().oldest = 10;
    let mut subscription = log(&fake).subscribe(Start::Cursor(at("a", 3)));
    assert_eq!(started(&mut subscription).await, (at("a", 9), false));
}

#[tokio::test]
async fn a_slow_reader_that_retention_overtakes_is_told_and_goes_on() {
    let fake = FakeLog::new("a", 0);
    let mut subscription = log(&fake).subscribe(Start::Tail);
    assert_eq!(started(&mut subscription).await, (at("a", 0), true));
    fake.grow(6000);
    fake.forget_before(5000);
    assert_eq!(started(&mut subscription).await, (at("a", 6000), false));
    fake.grow(1);
    assert_eq!(entries(&mut subscription).await, [6001]);
}

#[tokio::test]
async fn before_an_account_is_open_a_subscriber_waits_for_it() {
    let fake = FakeLog::new("", 0);
    let mut subscription = log(&fake).subscribe(Start::Cursor(at("a", 3)));
    assert_silent(&mut subscription).await;
    fake.open("a", 4);
    assert_eq!(started(&mut subscription).await, (at("a", 3), true));
    assert_eq!(entries(&mut subscription).await, [4]);
}

#[tokio::test]
async fn another_database_begins_a_log_of_its_own() {
    let fake = FakeLog::new("a", 3);
    let mut subscription = log(&fake).subscribe(Start::Cursor(at("a", 1)));
    assert_eq!(started(&mut subscription).await, (at("a", 1), true));
    fake.open("b", 70);
    // A page that was read before is not thrown away, but it is not told as the other log's either.
    assert_eq!(started(&mut subscription).await, (at("b", 70), false));
    fake.grow(1);
    assert_eq!(entries(&mut subscription).await, [71]);
}

#[tokio::test]
async fn a_database_that_the_tip_does_not_tell_of_yet_is_not_read_for_another() {
    let fake = FakeLog::new("a", 3);
    let mut subscription = log(&fake).subscribe(Start::Tail);
    started(&mut subscription).await;
    fake.grow(1);
    fake.switch("b", 9);
    assert_silent(&mut subscription).await;
    fake.tell();
    assert_eq!(started(&mut subscription).await, (at("b", 9), false));
}

#[tokio::test]
async fn by_name_nothing_after_the_first_subscription_is_missed() {
    let fake = FakeLog::new("a", 5);
    let log = log(&fake);
    let mut first = log.subscribe(kept());
    assert_eq!(
        started(&mut first).await,
        (at("a", 5), false),
        "what came before is not to be had"
    );
    drop(first);
    fake.grow(3);
    let mut second = log.subscribe(kept());
    assert_eq!(started(&mut second).await, (at("a", 5), true));
    assert_eq!(up_to(&mut second, 8).await, [6, 7, 8]);

    let acknowledge = |offset| log.acknowledge("org.example.Chat".into(), "main".into(), at("a", offset));
    acknowledge(7).await.unwrap();
    acknowledge(6).await.unwrap();
    assert!(matches!(
        acknowledge(9).await,
        Err(LogError::Beyond { newest: 8 })
    ));
    let other = log
        .acknowledge("org.example.Chat".into(), "main".into(), at("b", 1))
        .await;
    assert!(matches!(other, Err(LogError::OtherEpoch)));
    let mut third = log.subscribe(kept());
    assert_eq!(started(&mut third).await, (at("a", 7), true));
}

#[tokio::test]
async fn by_name_each_account_has_its_own_cursor() {
    let fake = FakeLog::new("a", 5);
    let mut subscription = log(&fake).subscribe(kept());
    started(&mut subscription).await;
    fake.open("b", 7);
    assert_eq!(started(&mut subscription).await, (at("b", 7), false));
    fake.open("a", 6);
    assert_eq!(started(&mut subscription).await, (at("a", 5), true));
    assert_eq!(entries(&mut subscription).await, [6]);
}

#[tokio::test]
async fn a_hundred_near_the_end_share_one_read() {
    let fake = FakeLog::new("a", 10);
    let log = log(&fake);
    let mut subscriptions: Vec<_> = (0..100).map(|_| log.subscribe(Start::Tail)).collect();
    for subscription in &mut subscriptions {
        started(subscription).await;
    }
    assert_eq!(fake.pages.load(Ordering::Relaxed), 0);
    for round in 1..=10 {
        let waiting: Vec<_> = subscriptions
            .drain(..)
            .map(|mut subscription| {
                tokio::spawn(async move {
                    let told = up_to(&mut subscription, 10 + 5 * round).await;
                    (subscription, told)
                })
            })
            .collect();
        settle().await;
        fake.grow(5);
        for one in waiting {
            let (subscription, told) = soon(one).await.unwrap();
            assert_eq!(told.len(), 5);
            subscriptions.push(subscription);
        }
        assert_eq!(
            fake.pages.load(Ordering::Relaxed),
            usize::try_from(round).unwrap()
        );
    }
    drop(subscriptions);
    assert_eq!(
        log.shared.tail().look(&at("a", 59), 60),
        Look::Fill { after: 59 },
        "nobody is left to keep it for"
    );
}

#[tokio::test]
async fn those_who_are_behind_read_few_at_a_time_and_hold_up_nobody_near_the_end() {
    let fake = FakeLog::new("a", 50_000);
    let log = log(&fake);
    let mut near = log.subscribe(Start::Tail);
    started(&mut near).await;
    fake.hold();
    let behind: Vec<_> = (0..20)
        .map(|_| {
            let mut subscription = log.subscribe(Start::Cursor(at("a", 0)));
            tokio::spawn(async move {
                assert_eq!(started(&mut subscription).await, (at("a", 0), true));
                up_to(&mut subscription, 50_001).await.len()
            })
        })
        .collect();
    settle().await;
    assert_eq!(fake.reading.load(Ordering::Relaxed), BEHIND);
    fake.grow(1);
    fake.go_on();
    assert_eq!(entries(&mut near).await, [50_001]);
    for one in behind {
        assert_eq!(soon(one).await.unwrap(), 50_001);
    }
    // And the one who fills the tail.
    assert!(fake.most_reading.load(Ordering::Relaxed) <= BEHIND + 1);
}

/// Its stream is not polled while what it was told before has not been read: it may be anywhere in its wait.
#[tokio::test]
async fn a_subscriber_that_is_polled_no_more_in_the_middle_of_a_read_holds_up_nobody() {
    // Near the end, and behind.
    for (start, grown) in [(10, 5), (0, 5_000)] {
        let fake = FakeLog::new("a", 10);
        let log = log(&fake);
        let mut stopped: Vec<_> = (0..BEHIND + 3)
            .map(|_| log.subscribe(Start::Cursor(at("a", start))))
            .collect();
        let mut reading = log.subscribe(Start::Cursor(at("a", start)));
        for subscription in stopped.iter_mut().chain([&mut reading]) {
            started(subscription).await;
            if start < 10 {
                up_to(subscription, 10).await;
            }
        }
        fake.hold();
        fake.grow(grown);
        let mut waits: Vec<_> = stopped
            .iter_mut()
            .map(|subscription| Box::pin(subscription.next()))
            .collect();
        for wait in &mut waits {
            assert!(tokio::time::timeout(Duration::ZERO, wait).await.is_err());
        }
        settle().await;
        fake.go_on();
        assert_eq!(up_to(&mut reading, 10 + grown).await.len() as u64, grown);
        for wait in waits {
            assert!(matches!(soon(wait).await.unwrap(), News::Entries { .. }));
        }
    }
}

#[tokio::test]
async fn a_wait_that_is_given_up_misses_nothing() {
    let fake = FakeLog::new("a", 0);
    let mut subscription = log(&fake).subscribe(Start::Tail);
    started(&mut subscription).await;
    fake.hold();
    fake.grow(3);
    assert_silent(&mut subscription).await;
    fake.go_on();
    assert_eq!(up_to(&mut subscription, 3).await, [1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_answer_ends_the_wait_with_a_word() {
    let fake = FakeLog::new("a", 0);
    let mut subscription = log(&fake).subscribe(Start::Tail);
    subscription.next().await.unwrap();
    fake.hold();
    fake.grow(1);
    let late = subscription.next().await;
    assert!(matches!(late, Err(LogError::Store(StoreError::Late(_)))));
    fake.go_on();
    assert_eq!(entries(&mut subscription).await, [1]);
}
