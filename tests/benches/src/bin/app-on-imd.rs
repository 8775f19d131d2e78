//! An app on imd, for the benches: `app-on-imd SOCKET NAME` follows the events. It says `ready`, and how many
//! messages it has seen whenever a line asks for it.

use std::error::Error;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use imd_client::{Client, EventKind, Start};
use imd_tests::APP_KEY;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, name] = arguments.as_slice() else {
        return Err("usage: app-on-imd SOCKET NAME".into());
    };
    let builder = Client::builder(APP_KEY).app_id(format!("org.example.{name}"));
    let client = builder.socket(socket).build()?;
    let _listener = client.add_connection_status_listener(|_status| ());
    let seen = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&seen);
    std::thread::spawn(move || {
        for _ in io::stdin().lines() {
            if say(&told.load(Ordering::Relaxed).to_string()).is_err() {
                break;
            }
        }
    });
    for event in client.blocking().subscribe(Start::Tail) {
        let kind = event?.kind;
        if matches!(kind, EventKind::Started { .. }) {
            say("ready")?;
        }
        if matches!(kind, EventKind::Message(_)) {
            seen.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(())
}

fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
