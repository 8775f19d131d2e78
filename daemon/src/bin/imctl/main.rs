//! `imctl`: the command line. An app like any other: of our crates it uses the library alone.

mod account;
mod apps;
mod args;
mod bugreport;
mod clock;
mod conversations;
mod doctor;
mod generate;
mod groups;
#[path = "../../manual.rs"]
mod manual;
mod messages;
mod metrics;
mod output;
mod progress;
mod screen;
mod secret;
mod send;
mod shapes;
mod status;
mod table;
mod terminal;
mod timeline;
mod token;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};
use imd_client::{Client, ClientBuilder};

use crate::args::{Arguments, Command, Daemon};
use crate::output::{Failure, Output};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.json);
    let outcome = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(run(arguments, &mut output)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(),
    }
}

async fn run(arguments: Arguments, output: &mut Output) -> Result<(), Failure> {
    let Arguments { daemon, command, .. } = arguments;
    match command {
        Command::Status => status::show(&observer(&daemon).await?, output).await,
        Command::Watch(args::Watch { screen: true }) => {
            let instance = doctor::Instance::of(&daemon);
            screen::show(&observer(&daemon).await?, &instance, output).await
        }
        Command::Watch(args::Watch { screen: false }) => {
            watch::watch(&observer(&daemon).await?, output).await
        }
        Command::Wait(wait) => {
            let client = for_daemon(Client::observer(), &daemon).wait_for_daemon(wait.timeout.is_some());
            status::wait(&client.build_async().await?, &wait, output).await
        }
        Command::Connect(connect) => account::connect(&daemon, connect, output).await,
        Command::UpdateToken { token_file } => account::update_token(&daemon, &token_file, output).await,
        Command::Disconnect => account::disconnect(&observer(&daemon).await?, output).await,
        Command::Logout => account::logout(&observer(&daemon).await?, output).await,
        Command::Send(send) => send::send(&observer(&daemon).await?, send, output).await,
        Command::History(history) => messages::history(&observer(&daemon).await?, history, output).await,
        Command::Conversations { limit } => {
            conversations::list(&observer(&daemon).await?, limit, output).await
        }
        Command::Search { text, limit } => {
            messages::search(&observer(&daemon).await?, &text, limit, output).await
        }
        Command::Outbox => messages::outbox(&observer(&daemon).await?, output).await,
        Command::Groups => groups::list(&observer(&daemon).await?, output).await,
        Command::Join { group } => groups::join(&observer(&daemon).await?, group).await,
        Command::Quit { group } => groups::quit(&observer(&daemon).await?, group).await,
        Command::Apps => apps::list(&observer(&daemon).await?, output).await,
        Command::Timeline { hours } => timeline::show(&observer(&daemon).await?, hours, output).await,
        Command::Metrics { prometheus } => metrics::show(&observer(&daemon).await?, prometheus, output).await,
        Command::Bugreport { output: file } => bugreport::write(&daemon, file, output).await,
        Command::Generate { directory } => generate::generate(&directory).await,
        Command::Doctor(doctor) => doctor::examine(&daemon, &doctor, output).await,
        Command::Token(token) => token::mint(&token, output),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "imctl", &mut script);
            output.raw(&script)
        }
    }
}

/// A binding that only looks on.
async fn observer(daemon: &Daemon) -> Result<Client, Failure> {
    Ok(for_daemon(Client::observer(), daemon).build_async().await?)
}

/// A builder for the daemon that the arguments name.
fn for_daemon(builder: ClientBuilder, daemon: &Daemon) -> ClientBuilder {
    let mut builder = builder.app_id("imd.imctl").app_version(env!("CARGO_PKG_VERSION"));
    if let Some(instance) = &daemon.instance {
        builder = builder.instance(instance);
    }
    if let Some(socket) = &daemon.socket {
        builder = builder.socket(socket);
    }
    builder
}
