//! The daemon's command line.

mod pages;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Parser, Subcommand};
use imd_core::account::AppKey;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::manual;
use crate::paths::{DEFAULT_INSTANCE, Overrides};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Success,
    Failure,
    /// The command line or IMD_LOG; clap says the same.
    Usage,
    /// The config file: EX_CONFIG of sysexits.h, which the systemd unit does not restart after.
    Config,
    /// A second SIGINT or SIGTERM has cut the orderly end short: 128 and the signal's number, as a shell says.
    Interrupted,
    Terminated,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
            Exit::Config => 78,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        })
    }
}

/// Holds one instant-messaging connection for all of your apps.
///
/// Without a command it runs the daemon in the foreground, until SIGTERM or Ctrl-C. Apps and imctl reach it
/// over its socket.
#[derive(Debug, Parser)]
#[command(name = "imd", version, after_help = AFTER_HELP)]
pub struct Cli {
    /// Which instance: its config, data and socket have this name
    #[arg(long, env = "IMD_INSTANCE", value_name = "NAME", default_value = DEFAULT_INSTANCE, value_parser = instance)]
    pub instance: String,

    /// The config file [default: $XDG_CONFIG_HOME/imd/NAME.toml]
    #[arg(long, env = "IMD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where data and remembered session lie [default: $XDG_DATA_HOME/imd/NAME and $XDG_STATE_HOME/imd/NAME]
    #[arg(long, env = "IMD_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// The socket [default: $XDG_RUNTIME_DIR/imd/NAME.sock]
    #[arg(long, env = "IMD_SOCKET", value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Read the config file and those of the apps, say what they mean, and end
    #[arg(long)]
    pub check_config: bool,

    /// Be killed when PID, which started imd, ends: for tests, whose daemons must not outlive them
    #[arg(long, value_name = "PID", global = true)]
    pub die_with_parent: Option<u32>,

    #[command(subcommand)]
    pub command: Option<Command>,
}

const AFTER_HELP: &str = "\
Environment: IMD_LOG is a tracing filter (info; imd=debug; warn,imd::link=trace). Flags beat the environment.
Exit: 0 ended in order, 1 could not run, 2 usage, 78 an error in the config file, 130 or 143 ended at once by a
second SIGINT or SIGTERM.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show everything at work: a small broker, daemons for two users, five apps on one connection
    Demo {
        /// Leave all running at the end, and print the lines to try by hand
        #[arg(long)]
        keep: bool,

        /// Draw the daemon's death, as the apps saw it, into this file (SVG)
        #[arg(long, value_name = "FILE")]
        draw: Option<PathBuf>,
    },
    /// Run the small MQTT broker of the demo alone. It is for tests: it keeps nothing on disk
    ///
    /// Its first line on standard output is JSON: `url`, `app_key` and `secret`. It takes JSON Web Tokens
    /// signed with that secret by HS256, whose claims are `sub` (the user id), `exp` and `app` (the App Key):
    /// `imctl token` makes one.
    Broker {
        /// Where it listens: 127.0.0.1 and a port; 0 is any that is free
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0", value_parser = loopback)]
        listen: SocketAddrV4,

        /// The App Key its tokens are for
        #[arg(long, value_name = "K", default_value = "testing", value_parser = app_key)]
        app_key: AppKey,

        /// Take commands on standard input, one JSON object a line, answer each with one, and end with it
        #[arg(long)]
        control: bool,
    },
    /// Write imd's own man pages and completions into a directory (imctl generate asks for it)
    #[command(hide = true)]
    Generate {
        /// The directory
        directory: PathBuf,
    },
    /// Look at what can be seen without a running daemon, and print each finding as a JSON object on a line
    /// (imctl doctor asks for it)
    #[command(hide = true)]
    Examine {
        /// Print the ids of users and groups in the files alone, each as a JSON string on a line
        #[arg(long)]
        ids: bool,
    },
}

impl Cli {
    /// What takes the place of the usual places.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            config: self.config.clone(),
            data_dir: self.data_dir.clone(),
            socket: self.socket.clone(),
        }
    }
}

/// Writes imd's man pages and completions.
///
/// # Errors
/// A file cannot be written.
pub fn generate(directory: &Path) -> io::Result<()> {
    manual::write(directory, Cli::command(), &pages::PAGES)
}

fn instance(text: &str) -> Result<String, imd_proto::endpoint::EndpointError> {
    imd_proto::endpoint::check_instance(text).map(|()| text.to_owned())
}

fn loopback(text: &str) -> Result<SocketAddrV4, String> {
    let address: SocketAddrV4 = text
        .parse()
        .map_err(|_| "write an IPv4 address and a port: 127.0.0.1:0".to_owned())?;
    if *address.ip() == Ipv4Addr::LOCALHOST {
        Ok(address)
    } else {
        Err("the broker is for tests, and listens on 127.0.0.1 alone".to_owned())
    }
}

fn app_key(text: &str) -> Result<AppKey, String> {
    AppKey::parse(text).map_err(|invalid| invalid.text)
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    #[error("IMD_LOG={0:?} is not a tracing filter: {1}. Write a level (info) or TARGET=LEVEL (imd=debug)")]
    BadFilter(OsString, String),
    #[error("the log cannot be started: {0}")]
    Start(String),
}

/// Starts the log on standard error, with what IMD_LOG says; `info` if it says nothing. Colours only on a
/// terminal, and not with NO_COLOR.
///
/// # Errors
/// A filter that cannot be read.
pub fn start_log(filter: Option<OsString>) -> Result<(), LogError> {
    let filter = match filter {
        Some(text) if !text.is_empty() => log_filter(text)?,
        Some(_) | None => Targets::new().with_default(LevelFilter::INFO),
    };
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && !no_color)
        // Else a log that cannot be written, as on a full disk, would be told on standard error: a panic.
        .log_internal_errors(false);
    tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init()
        .map_err(|error| LogError::Start(error.to_string()))
}

fn log_filter(text: OsString) -> Result<Targets, LogError> {
    let Some(directives) = text.to_str() else {
        return Err(LogError::BadFilter(text, "it is not UTF-8".to_owned()));
    };
    // tracing takes any other bare word for a target, and so would log nothing for a level with a typo.
    let words = || directives.split(',').map(str::trim);
    let typo = words().find(|word| !word.contains('=') && word.parse::<LevelFilter>().is_err());
    if let Some(word) = typo {
        let why = format!("{word:?} is not a level");
        return Err(LogError::BadFilter(text, why));
    }
    if let Some(word) = words().find(|word| word.contains('[')) {
        let why = format!("{word:?} names a span, and imd has none");
        return Err(LogError::BadFilter(text, why));
    }
    directives
        .parse::<Targets>()
        .map_err(|error| LogError::BadFilter(text.clone(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_filter_is_taken_or_named() {
        for good in [
            "info",
            "WARN",
            "off",
            "imd=debug",
            "warn,imd::link=trace",
            "info,h2=off",
        ] {
            assert!(log_filter(good.into()).is_ok(), "{good}");
        }
        for bad in ["verbose", "imd=loud", "imd=debug=x", "imd", "[span]=info"] {
            let refused = log_filter(bad.into()).unwrap_err().to_string();
            assert!(refused.contains(&format!("IMD_LOG=\"{bad}\"")), "{refused}");
        }
    }

    #[test]
    fn a_bad_instance_name_is_a_matter_of_usage() {
        let refused = Cli::try_parse_from(["imd", "--instance", "a/b"]).unwrap_err();
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().contains("a/b"), "{refused}");
    }

    #[test]
    fn the_demo_has_its_flag() {
        let cli = Cli::try_parse_from(["imd", "demo", "--keep"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Demo { keep: true, .. })));
    }

    #[test]
    fn the_small_broker_listens_on_the_loopback_alone() {
        let listen = |address| Cli::try_parse_from(["imd", "broker", "--listen", address]);
        assert!(listen("127.0.0.1:0").is_ok());
        for elsewhere in ["0.0.0.0:1883", "192.0.2.1:1883", "127.0.0.1", "[::]:1883", ""] {
            let refused = listen(elsewhere).unwrap_err();
            assert_eq!(refused.exit_code(), 2, "{elsewhere}: {refused}");
        }
        let refused = Cli::try_parse_from(["imd", "broker", "--app-key", "a/b"]).unwrap_err();
        assert!(refused.to_string().contains("a/b"), "{refused}");
    }
}
