//! `bugreport`: one text file that a person reads, and then sends.

mod mask;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use imd_client::{Client, Error};
use serde::Serialize;
use tokio::process::Command;

use self::mask::Mask;
use crate::args::Daemon;
use crate::doctor::{self, Instance, run_imd};
use crate::output::{Failure, Output, say};
use crate::{apps, clock, observer, shapes};

const JOURNAL_DEADLINE: Duration = Duration::from_secs(10);

/// How many lines of the journal are taken.
const JOURNAL_LINES: &str = "300";

/// So far back the status changes go.
const TIMELINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// So many pages of conversations are looked through for the ids of users.
const PAGES: usize = 50;
const PAGE: u32 = 200;

const PREFACE: &str = "\
imd bug report

What is in it: versions, the system, the configuration, the doctor's findings, the status and its changes of a
week, the bound apps, figures, and lines of the journal.
What is not: tokens, passwords, messages. User and group ids that imd knows are replaced by the beginning of
their SHA-256, so the same id reads the same everywhere; who knows an id can recognise it.
Names of servers, App Keys, apps and paths are as they are. Read it before you send it.
";

/// Writes the report. It goes to a file of its own, which no other user can read.
pub(crate) async fn write(
    daemon: &Daemon,
    file: Option<PathBuf>,
    output: &mut Output,
) -> Result<(), Failure> {
    let text = report(daemon).await;
    let path =
        file.unwrap_or_else(|| format!("imd-bugreport-{}.txt", clock::file_name_part(clock::now())).into());
    if path == Path::new("-") {
        return output.raw(text.as_bytes());
    }
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    if let Err(error) = written {
        let text = format!("{} cannot be written: {error}", path.display());
        return Err(Failure::Io(text));
    }
    say(&format!(
        "The report is in {}. Read it before you send it.",
        path.display()
    ));
    Ok(())
}

async fn report(daemon: &Daemon) -> String {
    let mut report = Report(PREFACE.to_owned());
    let client = observer(daemon).await;
    let client = client.map_err(|failure| format!("no daemon: {failure:?}"));
    report.section("Versions", &versions(daemon, client.as_ref().ok()).await);
    report.section("System", &system());
    report.section("Configuration", &configuration(daemon).await);
    report.section("Doctor", &doctor::findings(daemon).await.join("\n"));
    match &client {
        Ok(client) => of_daemon(&mut report, client).await,
        Err(why) => report.section("Daemon", why),
    }
    report.section("Journal", &journal(daemon).await);
    let mut people = match client {
        Ok(client) => people(&client).await,
        Err(_) => BTreeSet::new(),
    };
    match people_on_disk(daemon).await {
        Some(found) => people.extend(found),
        None => report.section(
            "Masked",
            "The program imd does not say which ids stand in its files: those of people may stand here as they are.",
        ),
    }
    Mask::new(people).apply(&report.0)
}

struct Report(String);

impl Report {
    fn section(&mut self, title: &str, text: &str) {
        let _ = writeln!(self.0, "\n== {title}\n\n{}", text.trim_end());
    }

    fn answer(&mut self, title: &str, answer: Result<String, Error>) {
        let text = answer.unwrap_or_else(|error| format!("{}: {}", error.code(), error.text()));
        self.section(title, &text);
    }
}

async fn of_daemon(report: &mut Report, client: &Client) {
    let status = client.fetch_connection_status().await;
    report.answer(
        "Status",
        status.map(|status| json(&shapes::Status::from(&status))),
    );
    let timeline = client.timeline(clock::now() - TIMELINE).await;
    report.answer(
        "Status changes",
        timeline.map(|timeline| {
            let changes = timeline.changes.iter();
            let lines: Vec<_> = changes
                .map(|change| json(&shapes::Change::from(change)))
                .collect();
            lines.join("\n")
        }),
    );
    report.answer("Apps", client.apps().await.map(|list| apps::table(&list)));
    report.answer("Metrics", client.metrics().await);
}

fn json(object: &impl Serialize) -> String {
    serde_json::to_string(object).unwrap_or_default()
}

/// The ids that imd knows: they stand in reasons and in the journal.
async fn people(client: &Client) -> BTreeSet<String> {
    let mut people = BTreeSet::new();
    if let Ok(status) = client.fetch_connection_status().await {
        people.insert(status.user_id);
    }
    let mut next = None;
    for _ in 0..PAGES {
        let Ok(page) = client.conversations(PAGE, next.take()).await else {
            break;
        };
        people.extend(page.conversations.into_iter().map(|found| found.key.target_id));
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    // It names no one.
    people.remove("system");
    if let Ok(groups) = client.groups().await {
        people.extend(groups.into_iter().map(|group| group.group_id));
    }
    people
}

/// The ids in the daemon's files, whether it answers or not; `None` where its program cannot read them.
async fn people_on_disk(daemon: &Daemon) -> Option<BTreeSet<String>> {
    let run = run_imd(daemon, &["examine", "--ids"]).await.ok()?;
    let ids = said(&run.stdout);
    let ids = ids.lines().filter_map(|line| serde_json::from_str(line).ok());
    run.status.success().then(|| ids.collect())
}

async fn versions(daemon: &Daemon, client: Option<&Client>) -> String {
    let mut text = format!("imctl {}\n", env!("CARGO_PKG_VERSION"));
    let program = run_imd(daemon, &["--version"]).await;
    let program = program.map_or_else(|_| "not found".to_owned(), |run| said(&run.stdout));
    let _ = writeln!(text, "program: {}", program.trim_end());
    let version = match client {
        Some(client) => client.version().await.ok(),
        None => None,
    };
    match version {
        Some(version) => {
            let _ = writeln!(
                text,
                "daemon: imd {}, protocols {} to {}, instance {}, pid {}, run {}",
                version.version,
                version.protocol.0,
                version.protocol.1,
                version.instance,
                version.pid,
                version.run_id
            );
        }
        None => text.push_str("daemon: does not answer\n"),
    }
    text
}

fn system() -> String {
    let mut text = format!("time: {}\n", clock::rfc3339(clock::now()));
    for (name, path) in [
        ("kernel", "/proc/sys/kernel/osrelease"),
        ("kernel build", "/proc/sys/kernel/version"),
        ("distribution", "/etc/os-release"),
    ] {
        let found = fs::read_to_string(path).unwrap_or_default();
        let line = match name {
            "distribution" => found
                .lines()
                .find_map(|line| line.strip_prefix("PRETTY_NAME="))
                .unwrap_or_default()
                .trim_matches('"'),
            _ => found.trim_end(),
        };
        let _ = writeln!(text, "{name}: {line}");
    }
    let _ = writeln!(text, "architecture: {}", std::env::consts::ARCH);
    let _ = writeln!(text, "up for: {} s", clock::since_boot().as_secs());
    text
}

/// What it means, and what is written.
async fn configuration(daemon: &Daemon) -> String {
    let Ok(run) = run_imd(daemon, &["--check-config"]).await else {
        return "the program imd is not to be found".to_owned();
    };
    let mut text = said(&run.stdout) + &said(&run.stderr);
    let file = text
        .lines()
        .find_map(|line| line.strip_prefix("config file "))
        .map(|path| path.trim().trim_end_matches(" (there is none)").to_owned());
    if let Some(file) = file
        && let Ok(written) = fs::read_to_string(&file)
    {
        let _ = write!(text, "\n{file}:\n{written}");
    }
    text
}

async fn journal(daemon: &Daemon) -> String {
    let unit = Instance::of(daemon).unit("service");
    let asked = Command::new("journalctl")
        .args([
            "--user",
            "--no-pager",
            "--output",
            "short-iso",
            "-n",
            JOURNAL_LINES,
            "-u",
        ])
        .arg(&unit)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    match tokio::time::timeout(JOURNAL_DEADLINE, asked).await {
        Ok(Ok(run)) if run.status.success() => said(&run.stdout),
        Ok(Ok(run)) => format!("journalctl ended with {}: {}", run.status, said(&run.stderr)),
        Ok(Err(_)) => "there is no journalctl".to_owned(),
        Err(_) => "journalctl does not end".to_owned(),
    }
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
