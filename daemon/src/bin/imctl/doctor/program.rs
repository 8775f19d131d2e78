//! What the daemon's own program says: imctl knows nothing of its files.

use std::env;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use imd_client::admin::Verdict;
use serde::Deserialize;
use tokio::process::Command;

use super::{Instance, check, failed, ok};
use crate::args::Daemon;
use crate::shapes::Check;

/// How long the program may take. It may have to try servers that do not answer.
const DEADLINE: Duration = Duration::from_secs(60);

/// Lets the daemon's own program read the configuration.
pub(super) async fn config(daemon: &Daemon, instance: &Instance) -> Check {
    let name = "config.file";
    let run = match run_imd(daemon, &["--check-config"]).await {
        Ok(run) => run,
        Err(NotRun::NoProgram) => return check(name, Verdict::Skipped, NO_PROGRAM, ""),
        Err(NotRun::Failed(why)) => return failed(name, why, REINSTALL),
    };
    let said = if run.stderr.is_empty() {
        &run.stdout
    } else {
        &run.stderr
    };
    let said = String::from_utf8_lossy(said);
    let mut lines = said.lines().map(one_spaced);
    if run.status.success() {
        ok(name, lines.next().unwrap_or_else(|| "it can be read".to_owned()))
    } else {
        let all = lines.collect::<Vec<_>>().join("; ");
        failed(
            name,
            all,
            format!("Correct the file; `{} --check-config` tries it.", instance.imd()),
        )
    }
}

/// What `imd examine` prints.
#[derive(Deserialize)]
struct Line {
    check: String,
    verdict: String,
    text: String,
    mend: String,
}

impl From<Line> for Check {
    fn from(line: Line) -> Self {
        let verdict = match line.verdict.as_str() {
            "OK" => Verdict::Ok,
            "WARNING" => Verdict::Warning,
            "FAILED" => Verdict::Failed,
            "INSECURE" => Verdict::Insecure,
            _ => Verdict::Skipped,
        };
        check(&line.check, verdict, line.text, line.mend)
    }
}

/// Lets the daemon's program look at the daemon's files.
pub(super) async fn examine(daemon: &Daemon) -> Vec<Check> {
    match run_imd(daemon, &["examine"]).await {
        Ok(run) => String::from_utf8_lossy(&run.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok())
            .map(Check::from)
            .collect(),
        Err(NotRun::NoProgram) => vec![check("files", Verdict::Skipped, NO_PROGRAM, REINSTALL)],
        Err(NotRun::Failed(why)) => vec![failed("files", why, REINSTALL)],
    }
}

const NO_PROGRAM: &str = "the program imd is neither beside imctl nor on the PATH";
const REINSTALL: &str = "Install imd again: its program and imctl belong together.";

/// Why the daemon's program said nothing.
pub(crate) enum NotRun {
    NoProgram,
    Failed(String),
}

/// Runs the daemon's program to its end.
pub(crate) async fn run_imd(daemon: &Daemon, arguments: &[&str]) -> Result<Output, NotRun> {
    let program = imd_program().ok_or(NotRun::NoProgram)?;
    let mut command = Command::new(&program);
    if let Some(instance) = &daemon.instance {
        command.args(["--instance", instance]);
    }
    command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let shown = program.display();
    match tokio::time::timeout(DEADLINE, command.output()).await {
        Ok(run) => run.map_err(|error| NotRun::Failed(format!("{shown} cannot be run: {error}"))),
        Err(_elapsed) => {
            let arguments = arguments.join(" ");
            Err(NotRun::Failed(format!("{shown} {arguments} does not end")))
        }
    }
}

fn one_spaced(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The daemon's program: beside this one, else on the PATH.
pub(crate) fn imd_program() -> Option<PathBuf> {
    let beside = env::current_exe().ok()?.with_file_name("imd");
    let path = env::var_os("PATH").unwrap_or_default();
    std::iter::once(beside)
        .chain(env::split_paths(&path).map(|directory| directory.join("imd")))
        .find(|program| program.is_file())
}
