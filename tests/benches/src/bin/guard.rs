//! The guard of the hot paths: how many instructions imd takes for a message, counted by callgrind, so that a
//! busy machine changes nothing. `guard` compares with `tests/benches/guard.json`; `guard --record` writes it.
//!
//! imd runs under valgrind between a broker and apps that go on only when it has done its part. Each path is
//! walked twice, for few messages and for many: the difference is what the messages take. The build is the one of
//! the tests, so that no other has to be made: a count is to be compared with itself alone.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a guard that can't do its part must not let anything pass"
)]
#![expect(clippy::print_stdout, reason = "the counts are the output")]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use imd_benches::lockstep::{Line, Lockstep};
use imd_benches::publisher::{content, envelope};
use imd_client::{
    BlockingClient, Client, ConnectOptions, Content, ConversationKey, EventKind, SearchOptions, Start,
};
use imd_tests::APP_KEY;
use imd_tests::daemon::config;
use imd_tests::home::Home;
use imd_tests::process::{Process, run};
use imd_tests::rpc::Rpc;
use imd_tests::sources::root;
use imd_tests::wait::eventually;
use serde_json::{Value, json};

/// How much more than the recorded count is let pass.
const MARGIN: f64 = 1.05;

/// How many messages go at once.
const BATCH: usize = 32;

/// How many batches in the short walk, and in the long one.
const BATCHES: [usize; 2] = [4, 24];

/// How many subscribers a fan-out has.
const SUBSCRIBERS: usize = 8;

/// So many walks along a path at most: one over the bound is walked again.
const ROUNDS: usize = 5;

const PATIENCE: Duration = Duration::from_secs(120);

/// A hot path: its name, and how a daemon is led along it.
type HotPath = (&'static str, fn(&mut Walk, usize));

const PATHS: [HotPath; 3] = [
    ("receive-store-ack", receive),
    ("send-store-publish", send),
    ("event fan-out", fan_out),
];

fn main() -> ExitCode {
    let record = std::env::args().any(|argument| argument == "--record");
    let path = root().join("tests/benches/guard.json");
    let compiler = run(Command::new("rustc").arg("--version"), b"")
        .stdout
        .trim()
        .to_owned();
    if record {
        let count = |(name, path): &HotPath| {
            let mut counts = Counts::default();
            (0..ROUNDS).for_each(|_| counts.walk(*path));
            (*name, counts.of_a_message())
        };
        let counted: BTreeMap<&str, f64> = PATHS.iter().map(count).collect();
        let text = json!({ "compiler": compiler, "instructions_per_message": counted });
        let text = serde_json::to_string_pretty(&text).expect("numbers are JSON");
        fs::write(&path, text + "\n").expect("the bounds can be written");
    }
    let text = fs::read_to_string(&path).expect("the bounds are recorded: guard --record");
    let recorded: Value = serde_json::from_str(&text).expect("the bounds are JSON");
    if recorded["compiler"] != json!(compiler) {
        println!(
            "counted with another compiler ({compiler}) than recorded ({}): not compared",
            recorded["compiler"]
        );
        return ExitCode::SUCCESS;
    }
    let mut is_good = true;
    for (name, path) in PATHS {
        let bound = recorded["instructions_per_message"][name]
            .as_f64()
            .expect("each path is recorded");
        let mut counts = Counts::default();
        let mut ratio = f64::INFINITY;
        for _ in 0..ROUNDS {
            counts.walk(path);
            ratio = counts.of_a_message() / bound;
            if ratio <= MARGIN {
                break;
            }
        }
        let verdict = if ratio <= MARGIN { "ok" } else { "TOO MANY" };
        let count = counts.of_a_message();
        println!("{name:20} {count:>12.0} instructions a message, {ratio:.3} of what is recorded: {verdict}");
        is_good &= ratio <= MARGIN;
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The least that the short walk and the long one along a path have taken. What chance does (how the bytes come in
/// pieces, in how many steps the search index is filled) only ever adds, so the least of some walks is the path
/// itself.
#[derive(Default)]
struct Counts([Option<u64>; 2]);

impl Counts {
    fn walk(&mut self, path: fn(&mut Walk, usize)) {
        for (least, batches) in self.0.iter_mut().zip(BATCHES) {
            let mut walk = Walk::begin();
            path(&mut walk, batches);
            let count = walk.end();
            *least = Some(least.map_or(count, |least| least.min(count)));
        }
    }

    /// What a message takes.
    fn of_a_message(&self) -> f64 {
        let [few, many] = self.0.map(|count| count.expect("it has been walked"));
        (many - few) as f64 / ((BATCHES[1] - BATCHES[0]) * BATCH) as f64
    }
}

/// A daemon under callgrind, connected as bob.
struct Walk {
    home: Home,
    process: Process,
    line: Line,
    app: BlockingClient,
    sent: usize,
}

impl Walk {
    fn begin() -> Self {
        let home = Home::new();
        let broker = Lockstep::start();
        home.write_config(&config(
            &format!("mqtt://{}", broker.address()),
            "keep_alive = 3600",
        ));
        let imd = home.imd();
        let mut command = Command::new("valgrind");
        command.env_clear();
        for (name, value) in imd.get_envs() {
            command.envs(value.map(|value| (name, value)));
        }
        command
            .env("IMD_LOG", "info")
            .args(["--tool=callgrind", "--quiet"]);
        command.arg(format!("--callgrind-out-file={}", counts(&home).display()));
        command
            .arg(imd.get_program())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = Process::start(&mut command);
        eventually(PATIENCE, "the daemon to answer", || {
            Rpc::dial(&home.socket()).and_then(|rpc| rpc.version())
        });
        let builder = Client::builder(APP_KEY)
            .app_id("org.example.Guard")
            .socket(home.socket());
        let app = eventually(PATIENCE, "a binding", || builder.clone().build()).blocking();
        let connecting = app
            .client()
            .connect("opaque".to_owned(), ConnectOptions::new().user_id("bob"));
        let line = broker.login();
        pollster::block_on(connecting).expect("the broker takes everybody");
        Self {
            home,
            process,
            line,
            app,
            sent: 0,
        }
    }

    /// A batch for bob, acknowledged when it is stored.
    fn receive_batch(&mut self) {
        let batch: Vec<_> = (0..BATCH)
            .map(|_| {
                (
                    "im/demo/u/bob/alice".to_owned(),
                    envelope(content(imd_benches::CONTENT)),
                )
            })
            .collect();
        self.line.publish(&batch);
        self.line.await_acknowledgements(BATCH);
    }

    /// Stops the daemon in order: how many instructions all of it took.
    fn end(mut self) -> u64 {
        // What waits to be indexed is indexed by this: else chance would say how much of it has been, by idle moments.
        let found = eventually(PATIENCE, "a search", || {
            self.app.search_messages("nothing", SearchOptions::new())
        });
        assert!(found.messages.is_empty());
        drop(self.app);
        drop(self.line);
        self.process.signal(rustix::process::Signal::TERM);
        self.process.wait(PATIENCE);
        let text = fs::read_to_string(counts(&self.home)).expect("callgrind leaves its counts");
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        let totals = totals.and_then(|totals| totals.trim().parse().ok());
        totals.expect("callgrind's counts have their total")
    }
}

fn counts(home: &Home) -> PathBuf {
    home.path("callgrind")
}

fn receive(walk: &mut Walk, batches: usize) {
    for _ in 0..batches {
        walk.receive_batch();
    }
}

fn send(walk: &mut Walk, batches: usize) {
    let key = ConversationKey::private("alice");
    for _ in 0..batches {
        let sendings: Vec<_> = (0..BATCH)
            .map(|_| {
                walk.sent += 1;
                let content = Content::new("RC:TxtMsg", content(imd_benches::CONTENT));
                walk.app
                    .send_message(&key, content.uid(format!("guard-{:06}", walk.sent)))
            })
            .collect();
        walk.line.take_messages(BATCH);
        for sending in sendings {
            sending
                .sent()
                .unwrap_or_else(|error| panic!("a message was not sent: {error}"));
        }
    }
}

fn fan_out(walk: &mut Walk, batches: usize) {
    let mut subscribers: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| {
            let mut events = walk.app.subscribe(Start::Tail);
            let started = events
                .next()
                .expect("a subscription begins")
                .expect("the log can be followed");
            assert!(matches!(started.kind, EventKind::Started { .. }));
            events
        })
        .collect();
    for _ in 0..batches {
        walk.receive_batch();
        for events in &mut subscribers {
            let mut left = BATCH;
            while left > 0 {
                let event = events
                    .next()
                    .expect("the log goes on")
                    .expect("the log can be followed");
                if matches!(event.kind, EventKind::Message(_)) {
                    left -= 1;
                } else {
                    // The login's end may come after the subscription's begin.
                    let is_login = matches!(event.kind, EventKind::OfflineSyncCompleted { .. });
                    assert!(is_login, "{event:?} in a fan-out");
                }
            }
        }
    }
}
