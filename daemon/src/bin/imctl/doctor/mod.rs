//! `doctor`: first what can be seen from outside, then what the daemon finds in itself; without a daemon what
//! its program finds in its files.

mod answer;
mod instance;
mod program;
mod socket;
mod system;

use imd_client::admin::{Verdict, Version};
use imd_client::{Client, Error};

use self::answer::Answer;
use crate::args::{Daemon, Doctor};
use crate::output::{Exit, Failure, Mood, Output};
use crate::shapes::{Check, verdict};
use crate::{for_daemon, progress};

pub(crate) use self::instance::Instance;
pub(crate) use self::program::{imd_program, run_imd};

/// Looks at everything, and prints each finding as it comes.
pub(crate) async fn examine(daemon: &Daemon, doctor: &Doctor, output: &mut Output) -> Result<(), Failure> {
    let mut worst = None;
    let end = look(daemon, doctor.broker, async |check: Check| {
        if matches!(check.verdict, Verdict::Failed | Verdict::Insecure) {
            worst.get_or_insert(Exit::Failed);
        }
        print(&check, output)
    })
    .await?;
    end.or(worst).map_or(Ok(()), |exit| Err(Failure::Told(exit)))
}

/// Everything that is found, for a report.
pub(crate) async fn findings(daemon: &Daemon) -> Vec<String> {
    let mut found = Vec::new();
    let looked = look(daemon, false, async |check: Check| {
        found.push(line(&check, verdict(check.verdict)));
        Ok(())
    })
    .await;
    if let Err(failure) = looked {
        found.push(format!("the doctor did not end: {failure:?}"));
    }
    found
}

/// Gives each finding away as it comes. Returns how a daemon that cannot be used is told by the exit status.
async fn look(
    daemon: &Daemon,
    broker: bool,
    mut tell: impl AsyncFnMut(Check) -> Result<(), Failure>,
) -> Result<Option<Exit>, Failure> {
    let builder = for_daemon(Client::observer(), daemon);
    let instance = Instance::of(daemon);
    let path = match builder.socket_path() {
        Ok(path) => {
            tell(ok("socket.path", path.display().to_string())).await?;
            for check in socket::checks(&path, &instance) {
                tell(check).await?;
            }
            Some(path)
        }
        Err(error) => {
            tell(failed("socket.path", error.text(), error.action())).await?;
            None
        }
    };
    tell(program::config(daemon, &instance).await).await?;
    let answer = match &path {
        Some(path) => answer::of(path).await,
        None => Answer::Nobody,
    };
    let asked = async {
        let client = builder.build_async().await?;
        let version = client.version().await?;
        Ok::<_, Error>((client, version))
    };
    // Whoever does not listen is not asked.
    let asked = if matches!(answer, Answer::Listens(_)) {
        Some(asked.await)
    } else {
        None
    };
    let running = match &asked {
        Some(Ok((_, version))) => Some(version.pid),
        // One that hangs is the one that listens.
        Some(Err(_)) | None => match answer {
            Answer::Listens(pid) => pid,
            Answer::Nobody | Answer::Stale | Answer::Full | Answer::Refused(_) => None,
        },
    };
    for check in system::checks(&instance, running).await {
        tell(check).await?;
    }
    let (client, version) = match asked {
        Some(Ok(found)) => found,
        Some(Err(error)) => {
            tell(answer.silent(&error)).await?;
            let exit = Exit::of(error.code());
            return without_daemon(daemon, exit, tell).await;
        }
        None => {
            tell(answer.nobody(path.as_deref(), &instance)).await?;
            return without_daemon(daemon, Exit::NoDaemon, tell).await;
        }
    };
    tell(versions(&version, &instance)).await?;
    for finding in progress::during(&client, client.diagnose(broker)).await? {
        tell(finding.into()).await?;
    }
    Ok(None)
}

/// The daemon's program looks at the daemon's files.
async fn without_daemon(
    daemon: &Daemon,
    exit: Exit,
    mut tell: impl AsyncFnMut(Check) -> Result<(), Failure>,
) -> Result<Option<Exit>, Failure> {
    for check in program::examine(daemon).await {
        tell(check).await?;
    }
    Ok(Some(exit))
}

fn print(check: &Check, output: &mut Output) -> Result<(), Failure> {
    output.print(check, |output| {
        let mood = if check.verdict == Verdict::Ok {
            Mood::Good
        } else if check.verdict == Verdict::Skipped {
            Mood::Plain
        } else if check.verdict == Verdict::Warning {
            Mood::Waiting
        } else {
            Mood::Bad
        };
        let word = output.paint(mood, &format!("{:<8}", verdict(check.verdict)));
        line(check, &word)
    })
}

fn line(check: &Check, verdict: &str) -> String {
    let mut line = format!("{verdict:<8}  {:<18}  {}", check.check, check.text);
    if !check.mend.is_empty() {
        line.push_str(&format!("\n{:30}{}", "", check.mend));
    }
    line.trim_end().to_owned()
}

fn check(name: &str, verdict: Verdict, text: impl Into<String>, mend: impl Into<String>) -> Check {
    Check {
        check: name.to_owned(),
        verdict,
        text: text.into(),
        mend: mend.into(),
    }
}

fn ok(name: &str, text: impl Into<String>) -> Check {
    check(name, Verdict::Ok, text, "")
}

fn failed(name: &str, text: impl Into<String>, mend: impl Into<String>) -> Check {
    check(name, Verdict::Failed, text, mend)
}

/// Whether the daemon is of this imctl's version, and of the program that is installed.
fn versions(daemon: &Version, instance: &Instance) -> Check {
    let name = "daemon.version";
    let ours = env!("CARGO_PKG_VERSION");
    let restart = format!(
        "Start the daemon again after an update: systemctl --user restart {}; the apps bind again by themselves.",
        instance.unit("service")
    );
    if daemon.version != ours {
        let text = format!("the daemon is imd {}, this is imctl {ours}", daemon.version);
        return check(name, Verdict::Warning, text, restart);
    }
    if answer::runs_a_replaced_program(daemon.pid) {
        let text = format!(
            "imd {ours} with pid {} runs a program that has been replaced since",
            daemon.pid
        );
        return check(name, Verdict::Warning, text, restart);
    }
    ok(name, format!("imd {ours}, pid {}", daemon.pid))
}
