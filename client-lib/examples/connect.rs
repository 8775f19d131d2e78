//! Connects with the token on standard input, and shows what becomes of it until Ctrl-C, whatever becomes of
//! the daemon:
//! `imctl token … | cargo run -p imd-client --example connect -- APP_KEY`

#![expect(clippy::print_stdout, reason = "it is what an example is for")]

use std::io::Read as _;
use std::sync::mpsc;

use imd_client::{Client, ConnectCallback, ConnectOptions, DatabaseOpenStatus, Error, UserId};

/// Prints the callbacks; the end of the channel is the end of the connect.
struct Shown(mpsc::Sender<()>);

impl ConnectCallback for Shown {
    fn on_database_opened(&mut self, status: DatabaseOpenStatus) {
        println!("onDatabaseOpened: the history can be read: {}", status.is_open());
    }

    fn on_success(self: Box<Self>, user_id: UserId) {
        println!("onSuccess: {user_id}");
        // It fails only when main has ended.
        let _ = self.0.send(());
    }

    fn on_error(self: Box<Self>, error: Error) {
        println!("onError: {error}\nWhat to do: {}", error.action());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app_key = std::env::args().nth(1).ok_or("name the App Key")?;
    let mut token = String::new();
    std::io::stdin().read_to_string(&mut token)?;

    let client = Client::builder(app_key).app_id("org.example.Connect").build()?;
    let _listener = client.add_connection_status_listener(|status| println!("status: {status}"));

    let (tell, told) = mpsc::channel();
    client.connect_with(token.trim_end(), ConnectOptions::new(), Shown(tell));
    if told.recv().is_ok() {
        // The listener shows what follows: the library binds again by itself.
        for _ in client.blocking().connection_status_changes() {}
    }
    Ok(())
}
