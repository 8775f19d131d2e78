//! P7 and P8: a large history. The page of the 50 newest messages, and the time to onDatabaseOpened, with a
//! million messages stored and with a thousand.

use std::path::Path;
use std::time::Duration;

use imd::store::rows::{Arrival, ConversationKey as Key, ConversationKind, Incoming};
use imd::store::{AccountKey, Store, StorePaths};
use imd_benches::broker::Broker;
use imd_benches::monotonic::timed;
use imd_benches::publisher::content;
use imd_benches::report::{Finding, Goal, Report};
use imd_benches::statistics::Samples;
use imd_benches::{CONTENT, Scale, stage};
use imd_client::{BlockingClient, ConnectOptions, ConversationKey, PageOptions};
use imd_tests::APP_KEY;
use imd_tests::daemon::Daemon;

/// Half of all messages are in the conversation that is read, the rest is of so many others.
const OTHERS: usize = 99;

const PAGE: u32 = 50;
const LITTLE: usize = 1_000;

pub(crate) fn measure(scale: Scale) {
    let broker = Broker::start();
    let much = scale.pick(20_000, 1_000_000);
    let mut large = Filled::new(&broker, much);
    let mut small = Filled::new(&broker, LITTLE);
    pages(scale, &large, &small);
    openings(scale, &broker, &mut large, &mut small);
}

fn pages(scale: Scale, large: &Filled, small: &Filled) {
    let mut report = Report::begin("P7", scale);
    let (rounds, pages) = (scale.pick(3, 11), scale.pick(100, 500));
    let mut times = [const { Vec::new() }; 2];
    let mut ratios = Vec::new();
    for _ in 0..rounds {
        let [of_large, of_small] =
            [large, small].map(|filled| Samples::micros((0..pages).map(|_| filled.page())));
        ratios.push(of_large.quantile(0.99) / of_small.quantile(0.99));
        for (times, of) in times.iter_mut().zip([of_large, of_small]) {
            times.push(of.quantile(0.99) / 1000.0);
        }
    }
    let [of_large, of_small] = times.map(Samples::new);
    let what = format!(
        "page of the 50 newest, p99, with {} messages stored",
        large.messages
    );
    report.add(Finding::median(what, &of_large, "ms", Goal::AtMost(5.0)));
    let what = format!("the same to {LITTLE} messages stored");
    report.add(Finding::median(
        what,
        &Samples::new(ratios),
        "×",
        Goal::AtMost(1.5),
    ));
    report.add(Finding::median(
        format!("p99 with {LITTLE} messages"),
        &of_small,
        "ms",
        Goal::None,
    ));
    report.end();
}

fn openings(scale: Scale, broker: &Broker, large: &mut Filled, small: &mut Filled) {
    let mut report = Report::begin("P8", scale);
    let mut times = [const { Vec::new() }; 2];
    for _ in 0..scale.pick(3, 21) {
        times[0].push(large.opening(broker));
        times[1].push(small.opening(broker));
    }
    let [of_large, of_small] =
        times.map(|times| Samples::new(times.iter().map(|time| time.as_secs_f64() * 1000.0)));
    let what = format!(
        "connect to onDatabaseOpened, {} messages stored, warm",
        large.messages
    );
    report.add(Finding::median(what, &of_large, "ms", Goal::AtMost(50.0)));
    report.add(Finding::median(
        format!("the same with {LITTLE}"),
        &of_small,
        "ms",
        Goal::None,
    ));
    report.end();
}

/// A daemon whose account has so many messages.
pub(crate) struct Filled {
    daemon: Daemon,
    app: Option<BlockingClient>,
    pub(crate) messages: usize,
}

impl Filled {
    pub(crate) fn new(broker: &Broker, messages: usize) -> Self {
        let mut daemon = stage::daemon(&broker.url());
        let app = stage::app(&daemon, "Fill");
        stage::connect(&app, broker, "bob");
        app.disconnect().unwrap();
        drop(app);
        daemon.terminate();
        fill(&daemon.home().data_directory(), messages);
        daemon.start();
        let app = Some(stage::app(&daemon, "History"));
        Self {
            daemon,
            app,
            messages,
        }
    }

    /// How long a page of the newest messages takes.
    pub(crate) fn page(&self) -> Duration {
        let key = ConversationKey::private("alice");
        let options = PageOptions::newest().limit(PAGE);
        let app = self.app.as_ref().unwrap();
        let (page, time) = timed(|| app.list_messages(&key, options).unwrap());
        assert_eq!(page.messages.len(), usize::try_from(PAGE).unwrap());
        time
    }

    /// How long an app waits for the database of a daemon that does not know yet which one it will be.
    pub(crate) fn opening(&mut self, broker: &Broker) -> Duration {
        self.app = None;
        self.daemon.terminate();
        std::fs::remove_dir_all(self.daemon.home().state_directory()).unwrap();
        self.daemon.start();
        let app = stage::client(&self.daemon, "History");
        let options = ConnectOptions::new().user_id("bob");
        let ((), time) = timed(|| {
            let connecting = app.connect(broker.token("bob").to_owned(), options);
            assert!(
                pollster::block_on(connecting.database_opened())
                    .unwrap()
                    .is_open()
            );
        });
        app.blocking().disconnect().unwrap();
        self.app = Some(app.blocking());
        time
    }
}

/// Stores messages as if they had come in, and brings the search index up to date.
fn fill(data_dir: &Path, messages: usize) {
    let directory = tempfile::tempdir().unwrap();
    let paths = StorePaths {
        data_dir: data_dir.to_owned(),
        session_file: directory.path().join("session.json"),
    };
    let (store, _) = Store::start(paths, false, Duration::from_hours(24)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let account = AccountKey {
            app_key: APP_KEY.to_owned(),
            user_id: "bob".to_owned(),
        };
        store.open_account(account).await.unwrap();
        let numbers: Vec<usize> = (0..messages).collect();
        for batch in numbers.chunks(1000) {
            store
                .receive(batch.iter().map(|number| arrival(*number)).collect())
                .await
                .unwrap();
        }
        // The first search brings the index up to date, which may take longer than it waits.
        while store.search("nothing".to_owned(), None, None, 1).await.is_err() {}
        store.stop().await;
    });
}

fn arrival(number: usize) -> Arrival {
    let sender = if number.is_multiple_of(2) {
        "alice".to_owned()
    } else {
        format!("peer-{}", number / 2 % OTHERS)
    };
    Arrival::Message(Incoming {
        conversation: Key {
            kind: ConversationKind::Private,
            target: sender.clone(),
        },
        sender,
        sent_by_me: false,
        uid: format!("fill-{number:08}"),
        origin: "bench".to_owned(),
        seq: 0,
        object_name: "RC:TxtMsg".to_owned(),
        content: content(CONTENT),
        flags: 3,
        sent_time: imd::clock::now().unix.as_millis(),
        wants_receipt: false,
    })
}
