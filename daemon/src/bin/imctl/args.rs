//! What can be written on the command line. Completions come from the same definitions.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, RangedU64ValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// Looks at the imd daemon, connects it, and finds out what is wrong.
#[derive(Debug, Parser)]
#[command(name = "imctl", version, after_help = AFTER_HELP, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) daemon: Daemon,

    /// Print one JSON object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "Exit status: 0 done, 1 refused or failed, 2 wrong usage, 3 no daemon, 4 timeout.";

/// Which daemon is meant.
#[derive(Debug, Args)]
pub(crate) struct Daemon {
    /// The daemon's socket [env: IMD_SOCKET]
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,

    /// The daemon's instance [env: IMD_INSTANCE] [default: imd]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) instance: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the status of the connection
    Status,
    /// Print the status, then each change of it, each message and each gap, until Ctrl-C; a daemon that dies is
    /// waited for
    Watch(Watch),
    /// Wait for the connection; a daemon that dies is waited for
    Wait(Wait),
    /// Connect, and print the callbacks as they come; the connection stays
    Connect(Connect),
    /// Give the connection a new token for its next login; the link that is up stays
    UpdateToken {
        /// The file with the token, `-` for standard input
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
    },
    /// End the connection for every app; messages queue up at the server
    Disconnect,
    /// End the connection for every app, end the session at the server and erase the token
    Logout,
    /// Send a text, and print its uid once it is in the outbox, on disk
    Send(Send),
    /// Show the newest messages of a conversation, oldest first
    History(History),
    /// List the conversations: pinned ones first, then by the last message
    Conversations {
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit())]
        limit: u32,
    },
    /// Search in all messages, newest first
    Search {
        /// Words, beginnings of words, or Chinese, Japanese and Korean characters in a row
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        text: String,

        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit())]
        limit: u32,
    },
    /// List what waits to be sent or to be received by the peer, and what has failed
    Outbox,
    /// List the groups whose messages are wanted
    Groups,
    /// Join a group
    Join {
        /// The group's id
        group: String,
    },
    /// Quit a group; its messages stay
    Quit {
        /// The group's id
        group: String,
    },
    /// List the apps that are bound
    Apps,
    /// Draw what the connection was in the last day, and list every change of the status with its reason
    Timeline {
        /// So many hours back
        #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = RangedU64ValueParser::<u32>::new().range(1..=744))]
        hours: u32,
    },
    /// Print the daemon's figures as OpenMetrics text
    Metrics {
        /// In the older text form of Prometheus, which node_exporter's textfile collector reads
        #[arg(long)]
        prometheus: bool,
    },
    /// Make a token (a JWT signed with HS256) for a broker that shares the secret
    Token(Token),
    /// Look for what is wrong, and say what to do about it
    Doctor(Doctor),
    /// Write a file for a bug report: what imd is and how it is, no token, no message
    Bugreport {
        /// The file, - for standard output [default: imd-bugreport-DATE.txt]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write man pages and completions of imctl and imd into a directory
    #[command(hide = true)]
    Generate {
        /// The directory
        directory: PathBuf,
    },
    /// Print a completion script
    Completions {
        /// The shell it is for
        shell: Shell,
    },
}

/// How many rows a command may be asked for.
fn limit() -> RangedU64ValueParser<u32> {
    RangedU64ValueParser::new().range(1..=10_000)
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    #[command(flatten)]
    pub(crate) to: To,

    /// The text, - for standard input
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub(crate) text: String,

    /// Wait until the server has it, or the peer's daemon
    #[arg(long, value_name = "STATE")]
    pub(crate) wait: Option<Until>,

    /// Wait no longer than so many seconds: exit status 4, and the message stays in the outbox
    #[arg(long, value_name = "SECONDS", requires = "wait")]
    pub(crate) timeout: Option<u32>,
}

/// What `send` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Until {
    Sent,
    Received,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct To {
    /// To this user
    #[arg(long, value_name = "USER")]
    pub(crate) to: Option<String>,

    /// To this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct History {
    #[command(flatten)]
    pub(crate) with: With,

    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = limit())]
    pub(crate) limit: u32,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct With {
    /// With this user
    #[arg(long, value_name = "USER")]
    pub(crate) with: Option<String>,

    /// Of this group
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Option<String>,

    /// What the server side has to say
    #[arg(long)]
    pub(crate) system: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Until the status is CONNECTED
    #[arg(long, required = true, action = ArgAction::SetTrue)]
    pub(crate) connected: bool,

    /// Give up after so many seconds, with exit status 4; a daemon that is not there yet is waited for, too
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) timeout: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Connect {
    /// The App Key
    #[arg(long, value_name = "KEY")]
    pub(crate) app_key: String,

    /// The file with the token, - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: PathBuf,

    /// The user the token belongs to, where the token does not say so
    #[arg(long, value_name = "USER")]
    pub(crate) user_id: Option<String>,

    /// Give up after so many seconds; 0 or less: never
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    pub(crate) time_limit: i32,
}

impl Connect {
    /// The limit, if there is one.
    pub(crate) fn limit(&self) -> Option<Duration> {
        let seconds = u64::try_from(self.time_limit)
            .ok()
            .filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Token {
    /// The App Key: the claim `app`
    #[arg(long, value_name = "KEY", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) app_key: String,

    /// The user: the claim `sub`
    #[arg(long, value_name = "USER", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) user: String,

    /// The file with the secret, - for standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: PathBuf,

    /// Good for so many seconds; a negative number makes a token that has expired
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 86_400,
        allow_negative_numbers = true
    )]
    pub(crate) ttl: i64,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Keep one screen up to date instead: status, next attempt, apps, outbox, last events
    #[arg(long)]
    pub(crate) screen: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Try at the broker what it must refuse; needs a connection
    #[arg(long)]
    pub(crate) broker: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definitions_are_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn flags_for_all_commands_stand_before_or_after_the_command() {
        for line in [
            "imctl --json --instance work status",
            "imctl status --json --instance work",
        ] {
            let arguments = parse(line).unwrap();
            assert!(arguments.json);
            assert_eq!(arguments.daemon.instance.as_deref(), Some("work"));
        }
    }

    #[test]
    fn wait_says_what_for() {
        assert!(parse("imctl wait").is_err());
        assert!(parse("imctl wait --timeout -1 --connected").is_err());
        let arguments = parse("imctl wait --connected --timeout 5").unwrap();
        assert!(matches!(
            arguments.command,
            Command::Wait(Wait {
                connected: true,
                timeout: Some(5)
            })
        ));
    }

    #[test]
    fn a_time_limit_of_zero_or_less_is_none() {
        for (limit, wanted) in [("0", None), ("-3", None), ("7", Some(Duration::from_secs(7)))] {
            let line = format!("imctl connect --app-key k --token-file - --time-limit {limit}");
            let Command::Connect(connect) = parse(&line).unwrap().command else {
                panic!("it is connect");
            };
            assert_eq!(connect.limit(), wanted);
        }
    }

    #[test]
    fn a_message_has_one_receiver_and_a_timeout_only_where_it_is_waited_for() {
        for line in [
            "imctl send hello",
            "imctl send --to bob --group team hello",
            "imctl send --to bob",
            "imctl send --to bob --timeout 5 hello",
            "imctl history",
            "imctl history --with bob --limit 0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        for line in [
            "imctl send --to bob -",
            "imctl send --group team --wait received --timeout 5 hello",
            "imctl history --system --limit 200",
        ] {
            assert!(parse(line).is_ok(), "{line}");
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        let mut command = Arguments::command();
        command.build();
        for sub in command.get_subcommands() {
            for argument in sub.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(
                    !matches!(id, "token" | "secret" | "password"),
                    "{}",
                    sub.get_name()
                );
            }
        }
    }
}
