//! `generate`: man pages and completions into a directory, for whoever packages imd.

use std::path::Path;

use clap::CommandFactory as _;
use tokio::process::Command;

use crate::args::Arguments;
use crate::doctor::imd_program;
use crate::manual::{self, Pages, Section};
use crate::output::Failure;

const PAGES: Pages = Pages {
    sections: &[
        Section {
            title: "EXIT STATUS",
            items: &[
                ("0", "Done."),
                (
                    "1",
                    "Refused or failed; the code and what to do stand on standard error.",
                ),
                ("2", "Wrong usage."),
                ("3", "No daemon, or it went away (IPC_DISCONNECT, -2)."),
                ("4", "Not within the time."),
            ],
        },
        Section {
            title: "ENVIRONMENT",
            items: &[
                (
                    "IMD_SOCKET, IMD_INSTANCE",
                    "As the flags of these names; a flag beats them.",
                ),
                ("NO_COLOR", "No colours. They are used on a terminal only."),
                ("XDG_RUNTIME_DIR", "Where the socket is."),
            ],
        },
        Section {
            title: "FILES",
            items: &[(
                "$XDG_RUNTIME_DIR/imd/NAME.sock",
                "The daemon's socket; NAME is the instance, imd unless given.",
            )],
        },
    ],
    examples: &[
        ("status", "imctl status", "The state of the connection, and why."),
        (
            "watch",
            "imctl watch --screen",
            "The same, the apps and the outbox on one screen.",
        ),
        (
            "wait",
            "imctl wait --connected --timeout 30",
            "For scripts: goes on when the connection is there.",
        ),
        (
            "connect",
            "imctl connect --app-key demo --token-file token",
            "Connects; the token never stands in the arguments.",
        ),
        (
            "update-token",
            "imctl update-token --token-file token",
            "For the next login; nothing is dropped.",
        ),
        (
            "disconnect",
            "imctl disconnect",
            "Signs out for every app; messages queue up at the server.",
        ),
        ("logout", "imctl logout", "And erases the token."),
        (
            "send",
            "imctl send --to bob --wait received hello",
            "Waits until bob's daemon has it on disk.",
        ),
        (
            "history",
            "imctl history --with bob --limit 10",
            "The last ten messages with bob.",
        ),
        (
            "conversations",
            "imctl conversations",
            "Who wrote last, and what is unread.",
        ),
        (
            "search",
            "imctl search 'meeting'",
            "Searches all messages, without a network too.",
        ),
        ("outbox", "imctl outbox", "What waits to be sent."),
        ("groups", "imctl groups", "The groups whose messages are wanted."),
        ("join", "imctl join team", "Joins the group team."),
        ("quit", "imctl quit team", "Quits it; its messages stay."),
        (
            "apps",
            "imctl apps",
            "Who is bound, and how far behind the events.",
        ),
        (
            "timeline",
            "imctl timeline --hours 48",
            "What the connection went through in two days.",
        ),
        (
            "metrics",
            "imctl metrics --prometheus > imd.prom",
            "For a collector that reads text files.",
        ),
        (
            "token",
            "imctl token --app-key demo --user bob --secret-file secret",
            "A token for a broker that shares the secret.",
        ),
        (
            "doctor",
            "imctl doctor --broker",
            "Looks for what is wrong, and tries the broker's rules.",
        ),
        (
            "bugreport",
            "imctl bugreport --output report.txt",
            "For a bug report: no token and no message is in it.",
        ),
        (
            "completions",
            "imctl completions zsh",
            "A completion script on standard output.",
        ),
    ],
    see_also: &["imd(1)", "imctl(1)"],
};

/// Writes imctl's own files, and lets imd write its.
pub(crate) async fn generate(directory: &Path) -> Result<(), Failure> {
    manual::write(directory, Arguments::command(), &PAGES)?;
    let failed = Failure::Io;
    let Some(program) = imd_program() else {
        let text = "imd is neither beside imctl nor on the PATH: its own pages are not written";
        return Err(failed(text.to_owned()));
    };
    let status = Command::new(&program)
        .arg("generate")
        .arg(directory)
        .status()
        .await?;
    if status.success() {
        Ok(())
    } else {
        Err(failed(format!(
            "{} generate ended with {status}",
            program.display()
        )))
    }
}
