//! P12: a hundred thousand daemons after an outage. Each is the real core with a seed of its own, in one
//! process and one queue of events; the server is gone for a while, and all lose their connection in the same
//! instant. Beside them: the same delays without jitter.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use imd_benches::Scale;
use imd_benches::plot::{Line, Plot, Scaling};
use imd_benches::report::{Finding, Goal, Report};
use imd_core::Core;
use imd_core::account::{AppKey, DeviceClass, InstallationId, Token, UserId};
use imd_core::io::{
    Accepted, Action, Config, Epoch, Fault, FaultKind, Input, LinkEvent, LoginPolicy, Opened, Remembered,
    ServerDirectory,
};
use imd_core::server::{Server, Transport};
use imd_core::time::{BootTime, Now, UnixTime};

/// In seconds.
const OUTAGES: [u64; 4] = [1, 10, 30, 300];

/// The outage that the goal is about.
const GOAL: u64 = 30;

/// Connected for long enough before: the delays begin anew.
const LIFE: Duration = Duration::from_mins(5);

/// How long a server that is there takes to answer a dial, and how long the refusal of one that is not.
const ANSWER: Duration = Duration::from_millis(20);
const REFUSAL: Duration = Duration::from_millis(1);

/// The delays of RongCloud's table, in milliseconds; the last repeats.
const TABLE: [u64; 10] = [50, 250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000];

pub(crate) fn measure(scale: Scale) {
    let mut report = Report::begin("P12", scale);
    let clients = scale.pick(2_000, 100_000);
    let mut lines = Vec::new();
    for outage in OUTAGES {
        let end = Duration::from_secs(outage);
        let arrivals = Herd::lose(clients).reconnect(end);
        assert_eq!(arrivals.len(), clients, "everybody comes back");
        let worst = worst_second(&arrivals) * 100.0;
        let goal = if outage == GOAL {
            Goal::AtMost(10.0)
        } else {
            Goal::None
        };
        report.add(Finding::new(
            format!("outage of {outage} s: back in the worst second"),
            worst,
            "%",
            goal,
        ));
        let waits: Vec<f64> = arrivals
            .iter()
            .map(|at| at.saturating_sub(end).as_secs_f64())
            .collect();
        let part = |part: usize| waits[(clients * part / 100).min(clients - 1)];
        report.note(format!(
            "outage of {outage} s: half are back after {:.1} s, 99 % after {:.1} s, the last after {:.1} s",
            part(50),
            part(99),
            waits.last().unwrap()
        ));
        lines.push(Line {
            name: format!("outage {outage} s"),
            points: curve(&waits),
        });
    }
    let plain = without_jitter(Duration::from_secs(GOAL));
    report.add(Finding::new(
        format!("outage of {GOAL} s, the plain table: back in the worst second"),
        100.0,
        "%",
        Goal::None,
    ));
    let wait = plain.saturating_sub(Duration::from_secs(GOAL)).as_secs_f64();
    lines.push(Line {
        name: format!("outage {GOAL} s, without jitter"),
        points: vec![(0.0, 0.0), (wait, 0.0), (wait, 100.0), (80.0, 100.0)],
    });
    let plot = Plot {
        title: format!("{clients} daemons after an outage"),
        x: ("seconds since the server is back".to_owned(), Scaling::Linear),
        y: ("connected again, %".to_owned(), Scaling::Linear),
        lines,
    };
    plot.draw("P12");
    report.end();
}

/// When all clients of the plain table come back: all at once.
fn without_jitter(outage: Duration) -> Duration {
    let mut at = Duration::ZERO;
    let mut delays = TABLE.iter().chain(std::iter::repeat(&TABLE[9]));
    while at < outage {
        at += Duration::from_millis(*delays.next().unwrap()) + REFUSAL;
    }
    at
}

/// The largest part of them within any one second. The times are in order.
fn worst_second(arrivals: &[Duration]) -> f64 {
    let mut first = 0;
    let mut most = 0;
    for (last, at) in arrivals.iter().enumerate() {
        while *at - arrivals[first] >= Duration::from_secs(1) {
            first += 1;
        }
        most = most.max(last - first + 1);
    }
    most as f64 / arrivals.len() as f64
}

/// The part that is back over time, in a hundred steps.
fn curve(waits: &[f64]) -> Vec<(f64, f64)> {
    let step = (waits.len() / 200).max(1);
    let marks = waits.iter().enumerate().step_by(step);
    let points = marks.map(|(count, wait)| (*wait, count as f64 / waits.len() as f64 * 100.0));
    [(0.0, 0.0)]
        .into_iter()
        .chain(points)
        .chain([(waits[waits.len() - 1], 100.0)])
        .collect()
}

/// What happens to one of them, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Wakes,
    DialEnds(Epoch),
}

/// All of them.
struct Herd {
    cores: Vec<Core>,
    queue: BinaryHeap<Reverse<(BootTime, usize, Happening)>>,
}

/// When the outage begins.
fn loss() -> BootTime {
    BootTime::since_boot(LIFE + LIFE)
}

impl Herd {
    /// They are all connected, and lose the server.
    fn lose(clients: usize) -> Self {
        let mut herd = Self {
            cores: (0..clients).map(online).collect(),
            queue: BinaryHeap::new(),
        };
        let fault = |epoch| Input::Link {
            epoch,
            event: LinkEvent::Failed(Fault {
                kind: FaultKind::Io,
                text: "Connection reset by peer".to_owned(),
            }),
        };
        for client in 0..clients {
            herd.tell(client, loss(), fault(Epoch(1)));
        }
        herd
    }

    /// When each of them reaches the server, which is back after the outage, in order; since the loss.
    fn reconnect(mut self, outage: Duration) -> Vec<Duration> {
        let mut arrivals = Vec::with_capacity(self.cores.len());
        let mut is_back = vec![false; self.cores.len()];
        while let Some(Reverse((at, client, happening))) = self.queue.pop() {
            match happening {
                // Nobody answers it here: left alone it would give up and dial again.
                _ if is_back[client] => {}
                // One that has been told something since has set another wake-up.
                Happening::Wakes => {
                    if self.cores[client]
                        .poll_timeout()
                        .is_some_and(|(due, _)| due <= at)
                    {
                        self.tell(client, at, Input::Timeout);
                    }
                }
                Happening::DialEnds(epoch) if at.since(loss()) < outage => {
                    let event = LinkEvent::Failed(Fault {
                        kind: FaultKind::ConnectionRefused,
                        text: "Connection refused".to_owned(),
                    });
                    self.tell(client, at, Input::Link { epoch, event });
                }
                Happening::DialEnds(_) => {
                    is_back[client] = true;
                    arrivals.push(at.since(loss()));
                }
            }
        }
        arrivals
    }

    fn tell(&mut self, client: usize, at: BootTime, input: Input) {
        let core = &mut self.cores[client];
        core.handle(now(at), input);
        while let Some(action) = core.poll_action() {
            if let Action::Dial(dial) = action {
                self.queue
                    .push(Reverse((at + REFUSAL, client, Happening::DialEnds(dial.epoch))));
            }
        }
        if let Some((due, _)) = core.poll_timeout() {
            self.queue.push(Reverse((due, client, Happening::Wakes)));
        }
    }
}

/// A daemon that has been connected for a while, as one is that finds a remembered session at its start.
fn online(client: usize) -> Core {
    let server = Server {
        transport: Transport::Tcp,
        host: "im.example".into(),
        port: 1883,
        path: "".into(),
    };
    let servers = ServerDirectory {
        default: vec![server],
        plaintext: true,
        ..ServerDirectory::default()
    };
    let mut core = Core::new(Config {
        servers,
        device_class: DeviceClass::default(),
        login: LoginPolicy::One,
        installation: InstallationId::new("bench"),
        keep_alive: Duration::from_hours(1),
        session_expiry: Duration::from_hours(7 * 24),
        seed: u64::try_from(client).unwrap(),
    });
    let remembered = Remembered {
        app_key: AppKey::parse("demo").unwrap(),
        user_id: Some(UserId::parse(&format!("user-{client}")).unwrap()),
        token: Some(Token::parse("opaque".to_owned()).unwrap()),
        updated_token: None,
        wanted: true,
        verified: true,
        last_code: None,
    };
    let account = remembered.account().unwrap();
    let start = BootTime::since_boot(LIFE);
    let epoch = Epoch(1);
    let link = |event| Input::Link { epoch, event };
    let accepted = Accepted {
        session_present: true,
        ..Accepted::default()
    };
    for (after, input) in [
        (
            Duration::ZERO,
            Input::Start {
                remembered: Some(remembered),
            },
        ),
        (
            Duration::ZERO,
            Input::AccountOpened {
                account,
                result: Ok(Opened::default()),
            },
        ),
        (ANSWER, link(LinkEvent::Accepted(accepted))),
        (ANSWER, link(LinkEvent::LoggedIn)),
        (ANSWER, link(LinkEvent::MarkerReturned)),
    ] {
        core.handle(now(start + after), input);
        while core.poll_action().is_some() {}
    }
    core
}

fn now(boot: BootTime) -> Now {
    let millis = i64::try_from(boot.as_duration().as_millis()).unwrap();
    Now {
        boot,
        unix: UnixTime::from_millis(1_900_000_000_000 + millis),
    }
}
