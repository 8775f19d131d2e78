//! Clients that mean no good, while another app goes on working. Each suite prints what that app's GetStatus
//! takes, idle and beside them, measured in turns, and the daemon's memory before and after.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "the helpers of a test fail by panicking, and its figures are for people"
)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imd_client::{Client, Content, ConversationKey};
use imd_proto::code::Code;
use imd_tests::daemon::Daemon;
use imd_tests::home::binary;
use imd_tests::rpc::Rpc;
use imd_tests::scripted::Scripted;
use imd_tests::wait::{SOON, eventually, timed, when};
use imd_tests::{APP_KEY, count};

/// How often it is measured, idle and beside the hostile ones, in turns.
const ROUNDS: usize = 7;

/// What another app's calls may take beside hostile ones, of what they take without: the median of the rounds,
/// since another process may be in the way of any one of them.
const SLOWER: f64 = 2.0;

/// What the machine itself may add to so short a call, when it does something else at that moment.
const HICCUP: Duration = Duration::from_millis(5);

/// What the daemon may grow by, by connections alone.
const MOST_KB: u64 = 48 * 1024;

/// What 100 readers that do not read may cost: 32 MiB on a machine that does nothing else (a page of 64 KiB for each,
/// one or two pages of 2 MiB for each of their two processes, and their connections), and what the allocator keeps
/// of more when the machine is so busy that one round's connections are still there in the next.
const MOST_UNREAD_KB: u64 = 40 * 1024;

/// A hostile process that has done its deed, and holds what it has until it is dropped.
struct Hostile(Child);

impl Hostile {
    fn start(daemon: &Daemon, deed: &str, count: usize) -> Self {
        let child = Command::new(binary("hostile"))
            .arg(daemon.home().socket())
            .args([deed, &count.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn await_deed(&mut self) {
        let mut word = String::new();
        let out = self.0.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut word).unwrap();
        assert_eq!(word, "done\n");
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// So many processes, each with so many connections.
struct Attack {
    deed: &'static str,
    processes: usize,
    connections: usize,
    most_kb: u64,
}

impl Attack {
    fn begin(&self, daemon: &Daemon) -> Vec<Hostile> {
        let mut hostile: Vec<_> = (0..self.processes)
            .map(|_| Hostile::start(daemon, self.deed, self.connections))
            .collect();
        hostile.iter_mut().for_each(Hostile::await_deed);
        hostile
    }
}

/// How long each GetStatus of a round took, the shortest first.
struct Times(Vec<Duration>);

impl Times {
    fn measure(app: &Rpc) -> Self {
        let call = |_| {
            let (status, took) = timed(|| app.status());
            status.unwrap();
            took
        };
        let mut times: Vec<_> = (0..count(300, 3000)).map(call).collect();
        times.sort();
        Self(times)
    }

    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent / 100).min(self.0.len() - 1)]
    }
}

/// The one in the middle.
fn median(rounds: &[Times], percent: usize) -> Duration {
    let mut times: Vec<_> = rounds.iter().map(|round| round.at(percent)).collect();
    times.sort();
    times[times.len() / 2]
}

/// Measures another app in turns with the attack, prints, and holds the bounds.
fn beside(daemon: &mut Daemon, attack: &Attack, meanwhile: impl Fn()) {
    let app = daemon.rpc();
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    // The first calls and connections of all make room that stays.
    drop(attack.begin(daemon));
    Times::measure(&app);
    let before = daemon.process().memory_kb();
    let mut most = before;
    for _ in 0..ROUNDS {
        idle.push(Times::measure(&app));
        let hostile = attack.begin(daemon);
        meanwhile();
        busy.push(Times::measure(&app));
        most = most.max(daemon.process().memory_kb());
        drop(hostile);
    }
    let after = daemon.process().memory_kb();
    eprintln!(
        "{} processes × {} connections, {}: p50 {:?} / p99 {:?} idle, p50 {:?} / p99 {:?} beside it; daemon {before} kB \
         before, {most} kB at most, {after} kB after",
        attack.processes,
        attack.connections,
        attack.deed,
        median(&idle, 50),
        median(&idle, 99),
        median(&busy, 50),
        median(&busy, 99),
    );
    let (quiet, beside) = (median(&idle, 99), median(&busy, 99));
    assert!(
        beside < quiet.mul_f64(SLOWER) + HICCUP,
        "{beside:?} beside it, {quiet:?} idle"
    );
    assert!(most < before + attack.most_kb, "from {before} to {most} kB");
    // Whoever was kept out comes in again.
    eventually(SOON, "a place for a fresh app", || {
        Rpc::dial(&daemon.home().socket()).and_then(|rpc| rpc.status())
    });
}

fn daemon() -> Daemon {
    Daemon::configured("[server]\nurls = [\"mqtt://127.0.0.1:9\"]\n")
}

#[test]
fn two_thousand_connections_opened_and_left_hold_up_nobody() {
    let attack = Attack {
        deed: "leave",
        processes: 10,
        connections: 200,
        most_kb: MOST_KB,
    };
    beside(&mut daemon(), &attack, || {});
}

#[test]
fn random_bytes_hold_up_nobody() {
    let attack = Attack {
        deed: "noise",
        processes: 1,
        connections: 200,
        most_kb: MOST_KB,
    };
    beside(&mut daemon(), &attack, || {});
}

#[test]
fn halves_of_prefaces_frames_and_messages_hold_up_nobody() {
    let attack = Attack {
        deed: "half",
        processes: 2,
        connections: 60,
        most_kb: MOST_KB,
    };
    beside(&mut daemon(), &attack, || {});
}

#[test]
fn a_hundred_readers_that_never_read_hold_up_nobody_and_cost_little() {
    let broker = Scripted::start();
    let mut daemon = Daemon::for_server(&broker.url());
    daemon.connect("alice", "opaque");
    let socket = daemon.home().socket();
    let app = Client::builder(APP_KEY)
        .socket(socket)
        .build()
        .unwrap()
        .blocking();
    let send = |messages: usize| {
        for _ in 0..messages {
            let content = Content::new("app:blob", vec![b'x'; 64 * 1024]);
            app.send_message(&ConversationKey::private("bob"), content)
                .accepted()
                .unwrap();
        }
    };
    // A page is full with 32 of them.
    send(64);
    let attack = Attack {
        deed: "deaf",
        processes: 2,
        connections: 50,
        most_kb: MOST_UNREAD_KB,
    };
    beside(&mut daemon, &attack, || send(8));
}

#[test]
fn halves_of_requests_take_no_other_apps_place_and_have_a_deadline() {
    let mut daemon = daemon();
    let attack = Attack {
        deed: "flood",
        processes: 2,
        connections: 30,
        most_kb: MOST_KB,
    };
    beside(&mut daemon, &attack, || {});

    // Its own process is told so.
    let bytes = [
        imd_tests::raw::PREFACE,
        &imd_tests::raw::settings(),
        &imd_tests::raw::headers(1, "/imd.v1.SessionService/GetStatus"),
    ]
    .concat();
    let mut half = imd_tests::raw::say(&daemon.home().socket(), &bytes).unwrap();
    let mut heard = Vec::new();
    let (_, took) = timed(|| {
        eventually(SOON, "the end of half a request", || {
            let mut some = [0; 1024];
            let read = std::io::Read::read(&mut half, &mut some).unwrap();
            heard.extend_from_slice(&some[..read]);
            // The trailers' text is there as it is, or packed: its stream's end is what counts.
            when(ends_stream(&heard, 1), heard.len())
        });
    });
    assert!(took > Duration::from_secs(4), "{took:?}");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

/// Whether a frame of HEADERS that ends this stream is among the bytes.
fn ends_stream(mut bytes: &[u8], stream: u32) -> bool {
    while let [a, b, c, kind, flags, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((id, rest)) = rest.split_first_chunk::<4>() else {
            return false;
        };
        if *kind == 1 && flags & 1 == 1 && u32::from_be_bytes(*id) == stream {
            return true;
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    false
}

#[test]
fn another_process_does_not_take_over_a_binding_by_its_instance_id() {
    let daemon = daemon();
    let app = daemon.rpc();
    let mut bound = app.bind_instance("org.example.App", "victim").unwrap();
    let mut thief = Hostile::start(&daemon, "seize", 1);
    thief.await_deed();
    let owners: Vec<_> = app.apps().unwrap().into_iter().map(|app| app.pid).collect();
    assert_eq!(owners, [i32::try_from(std::process::id()).unwrap()]);
    app.init(&bound, APP_KEY).unwrap();

    // Its own process may, as after a connection that was cut.
    let again = app.bind_instance("org.example.App", "victim").unwrap();
    app.init(&again, APP_KEY).unwrap();
    let ended = app.next(&mut bound).unwrap_err();
    assert_eq!(ended.code, Code::IMD_NOT_BOUND);
}
