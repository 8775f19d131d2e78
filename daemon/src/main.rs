//! The daemon's process: command line in, exit code out.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use imd::cli::{self, Cli, Command, Exit};
use imd::config::{Settings, Sources};
use imd::lifecycle::{self, End, Plan, Signal, StartError};
use imd::locks::HandedOver;
use imd::paths::{self, PathError, Paths};
use imd_core::account::AppKey;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return misused(&error.to_string()),
        Err(help) => help.exit(),
    };
    let log = std::env::var_os("IMD_LOG");
    // The demo tells its own story, and the broker has a language of its own.
    let quiet = log.is_none() && cli.command.is_some();
    if let Err(error) = cli::start_log(if quiet { Some("warn".into()) } else { log }) {
        return misused(&format!("imd: {error}\n"));
    }
    if let Some(parent) = cli.die_with_parent
        && let Err(error) = lifecycle::die_with_parent(parent)
    {
        return end(Exit::Failure, &error);
    }
    if cli.check_config {
        return check_config(&cli);
    }
    match cli.command {
        Some(Command::Demo { keep, ref draw }) => in_runtime(demo(keep, draw.as_deref())),
        Some(Command::Broker {
            listen,
            ref app_key,
            control,
        }) => in_runtime(broker(listen.port(), app_key, control)),
        Some(Command::Examine { ids: false }) => in_runtime(examine(&cli)),
        Some(Command::Examine { ids: true }) => print_ids(&cli),
        Some(Command::Generate { ref directory }) => match cli::generate(directory) {
            Ok(()) => Exit::Success.into(),
            Err(error) => end(Exit::Failure, &error),
        },
        None => match HandedOver::take() {
            Ok(handed_over) => in_runtime(run(handed_over, || plan(&cli))),
            Err(error) => end(Exit::Config, &error),
        },
    }
}

fn in_runtime(work: impl Future<Output = ExitCode>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(Exit::Failure, &error),
    };
    let exit = runtime.block_on(work);
    // A name look-up that hangs must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    exit
}

async fn run(handed_over: Option<HandedOver>, plan: impl Fn() -> Result<Plan, StartError>) -> ExitCode {
    match lifecycle::run(handed_over, plan).await {
        Ok(End::InOrder) => Exit::Success.into(),
        Ok(End::CutShort(Signal::Terminate)) => Exit::Terminated.into(),
        Ok(End::CutShort(Signal::Interrupt)) => Exit::Interrupted.into(),
        Err(StartError::Usage(text)) => usage(&text),
        Err(error @ StartError::Config(_)) => end(Exit::Config, &error),
        Err(error) => end(Exit::Failure, &error),
    }
}

/// Prints what can be seen while no daemon runs: one JSON object a line.
async fn examine(cli: &Cli) -> ExitCode {
    let settings = match sources(cli).map(|sources| Settings::load(&sources)) {
        Ok(Ok(settings)) => settings,
        Ok(Err(errors)) => return end(Exit::Config, &errors),
        Err(error) => return end(Exit::Failure, &error),
    };
    let paths = match Paths::resolve(&cli.instance, &cli.overrides()) {
        Ok(paths) => paths,
        Err(error) => return end(Exit::Failure, &error),
    };
    for finding in lifecycle::examine(&paths, &settings).await {
        let line = serde_json::json!({
            "check": finding.check,
            "verdict": finding.verdict.name(),
            "text": finding.text,
            "mend": finding.mend,
        });
        // An error means that nobody reads on.
        let _: std::io::Result<()> = writeln!(std::io::stdout(), "{line}");
    }
    Exit::Success.into()
}

/// Prints the ids that a report must not have in it: one JSON string a line.
fn print_ids(cli: &Cli) -> ExitCode {
    let paths = match Paths::resolve(&cli.instance, &cli.overrides()) {
        Ok(paths) => paths,
        Err(error) => return end(Exit::Failure, &error),
    };
    for id in lifecycle::known_ids(&paths) {
        // An error means that nobody reads on.
        let _: std::io::Result<()> = writeln!(std::io::stdout(), "{}", serde_json::Value::from(id));
    }
    Exit::Success.into()
}

fn plan(cli: &Cli) -> Result<Plan, StartError> {
    let settings = Settings::load(&sources(cli)?)?;
    let paths = Paths::resolve(&cli.instance, &cli.overrides())?;
    Ok(Plan { paths, settings })
}

/// The command line or IMD_LOG cannot be read. Under socket activation an app is told so.
fn misused(text: &str) -> ExitCode {
    match HandedOver::take() {
        Ok(None) | Err(_) => usage(text),
        Ok(Some(socket)) => match cli::start_log(None) {
            Ok(()) => in_runtime(run(Some(socket), || Err(StartError::Usage(text.to_owned())))),
            Err(error) => end(Exit::Failure, &error),
        },
    }
}

fn usage(text: &str) -> ExitCode {
    // An error means that nobody reads on.
    let _: std::io::Result<()> = std::io::stderr().write_all(text.as_bytes());
    Exit::Usage.into()
}

async fn demo(keep: bool, draw: Option<&Path>) -> ExitCode {
    match imd::demo::run(keep, draw).await {
        Ok(()) => Exit::Success.into(),
        Err(error) => end(Exit::Failure, &error),
    }
}

async fn broker(port: u16, app_key: &AppKey, control: bool) -> ExitCode {
    match imd::demo::serve(port, app_key, control).await {
        Ok(()) => Exit::Success.into(),
        Err(error) => end(Exit::Failure, &error),
    }
}

fn check_config(cli: &Cli) -> ExitCode {
    let settings = match sources(cli).map(|sources| Settings::load(&sources)) {
        Ok(Ok(settings)) => settings,
        Ok(Err(errors)) => return end(Exit::Config, &errors),
        Err(error) => return end(Exit::Failure, &error),
    };
    // An error means that nobody reads on: no reason to end otherwise.
    let _: std::io::Result<()> = writeln!(std::io::stdout(), "{settings}");
    Exit::Success.into()
}

fn sources(cli: &Cli) -> Result<Sources, PathError> {
    Ok(Sources {
        config: paths::config_path(&cli.instance, &cli.overrides())?,
        app_directories: paths::app_directories()?,
    })
}

fn end(exit: Exit, error: &dyn std::fmt::Display) -> ExitCode {
    // An error means that nobody reads on.
    let _: std::io::Result<()> = writeln!(std::io::stderr(), "imd: {error}");
    exit.into()
}
