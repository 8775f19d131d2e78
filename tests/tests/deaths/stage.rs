//! alice and bob, their daemons, their apps, and the load between them.

use std::fs;
use std::time::Duration;

use imd_tests::daemon::Daemon;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::wait::{SOON, eventually_or_tell, when};
use tempfile::TempDir;

use super::app::{App, Calls, Language};
use super::daemon::{Death, run_id};

/// bob's apps: the first one sends to alice.
const APPS: [(Language, &str, Option<&str>); 6] = [
    (Language::Rust, "rust-1", Some("alice")),
    (Language::Rust, "rust-2", None),
    (Language::Rust, "rust-3", None),
    (Language::Rust, "rust-4", None),
    (Language::Rust, "rust-5", None),
    (Language::Python, "python", None),
];

/// How long messages may take when much is behind, or the disk stalls: on a shared machine for a minute.
const CATCH_UP: Duration = Duration::from_secs(120);

/// bob's daemon dies; alice's app sends to him all the time. The apps are dropped first.
pub(crate) struct Stage {
    /// bob's.
    pub(crate) apps: Vec<App>,
    alice: App,
    /// bob's.
    pub(crate) daemon: Daemon,
    first_run: String,
    _alices_daemon: Daemon,
    _broker: Mosquitto,
    /// What begins and ends the load.
    directory: TempDir,
}

impl Stage {
    /// Starts everybody, and the load when each app has its place in the log.
    pub(crate) fn start() -> Self {
        let broker = Mosquitto::start();
        let connected = |user: &str| {
            let daemon = Daemon::for_server(&broker.url());
            daemon.connect(user, &broker.token(user));
            daemon
        };
        let (daemon, alices_daemon) = (connected("bob"), connected("alice"));
        let directory = TempDir::new().unwrap();
        let start = |app, daemon: &Daemon| App::start(app, daemon, directory.path());
        let stage = Self {
            apps: APPS.map(|app| start(app, &daemon)).into(),
            alice: start((Language::Rust, "alice", Some("bob")), &alices_daemon),
            first_run: run_id(&daemon),
            daemon,
            _alices_daemon: alices_daemon,
            _broker: broker,
            directory,
        };
        stage.await_bound_after(0);
        fs::write(stage.directory.path().join("go"), "").unwrap();
        stage
    }

    /// Waits until each of bob's apps was told of the daemon after so many deaths: only then is the next death
    /// one more for each of them.
    pub(crate) fn await_bound_after(&self, deaths: usize) {
        let unbound = |app: &&App| app.is_bound_after(deaths).is_err();
        eventually_or_tell(
            SOON,
            "the binding of every app",
            || {
                self.assert_all_run();
                self.apps.iter().try_for_each(|app| app.is_bound_after(deaths))
            },
            || self.apps.iter().filter(unbound).map(App::portrait).collect(),
        );
    }

    /// Checks that every app's process can go on.
    #[track_caller]
    fn assert_all_run(&self) {
        self.everyone().for_each(App::assert_runs);
    }

    fn everyone(&self) -> impl Iterator<Item = &App> {
        self.apps.iter().chain([&self.alice])
    }

    /// Waits until one of bob's apps has read so many messages more.
    pub(crate) fn await_growth(&self, app: usize, lines: usize) {
        let app = &self.apps[app];
        let before = app.events.length();
        eventually_or_tell(
            CATCH_UP,
            &format!("{lines} events more of {}", app.name),
            || {
                self.assert_all_run();
                let length = app.events.length();
                when(length >= before + lines, (before, length))
            },
            || format!("; {}{}", self.daemon.status().reason, app.portrait()),
        );
    }

    /// Ends the load, and checks what every app wrote: each message of the other side once and in order, exactly
    /// these deaths, and for every call one of these outcomes in time.
    #[track_caller]
    pub(crate) fn end(self, deaths: &[Death], outcomes: &[&str]) -> Outcome {
        fs::write(self.directory.path().join("stop"), "").unwrap();
        self.everyone().for_each(App::await_end_of_calls);
        let from_alice = self.alice.sent();
        let from_bob: Vec<_> = self.apps.iter().flat_map(App::sent).collect();
        assert!(
            !from_alice.is_empty() && !from_bob.is_empty(),
            "there was no load"
        );
        self.alice.events.assert_receives(&from_bob, CATCH_UP);
        let mut apps = Vec::new();
        for app in &self.apps {
            app.events.assert_receives(&from_alice, CATCH_UP);
            apps.push(Lived {
                name: app.name.clone(),
                rebinds: app.assert_told(&self.first_run, deaths),
                calls: app.assert_calls(outcomes, !deaths.is_empty()),
            });
        }
        Outcome {
            from_alice: from_alice.len(),
            from_bob: from_bob.len(),
            apps,
        }
    }
}

/// What all of it came to, for the person who reads the run's output.
pub(crate) struct Outcome {
    pub(crate) from_alice: usize,
    pub(crate) from_bob: usize,
    pub(crate) apps: Vec<Lived>,
}

/// What an app has lived through.
pub(crate) struct Lived {
    pub(crate) name: String,
    /// From the moment when the new daemon listened until the app's listener was told.
    pub(crate) rebinds: Vec<Duration>,
    pub(crate) calls: Calls,
}
