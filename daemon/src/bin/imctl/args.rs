//! What can be written on the command line. Completions come from the same definitions.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};
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
    /// Print the status, then a line for each change, until Ctrl-C
    Watch,
    /// Wait for the connection
    Wait(Wait),
    /// Connect, and print the callbacks as they come; the connection stays
    Connect(Connect),
    /// End the connection for every app; messages queue up at the server
    Disconnect,
    /// End the connection for every app, end the session at the server and erase the token
    Logout,
    /// List the apps that are bound
    Apps,
    /// List the status changes of this run of the daemon, oldest first
    Timeline,
    /// Make a token (a JWT signed with HS256) for a broker that shares the secret
    Token(Token),
    /// Look for what is wrong, and say what to do about it
    Doctor(Doctor),
    /// Print a completion script
    Completions {
        /// The shell it is for
        shell: Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Until the status is CONNECTED
    #[arg(long, required = true, action = ArgAction::SetTrue)]
    pub(crate) connected: bool,

    /// Give up after so many seconds, with exit status 4
    #[arg(long, value_name = "SECONDS")]
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
