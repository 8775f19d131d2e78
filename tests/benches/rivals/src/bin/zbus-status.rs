//! A status over D-Bus: `zbus-status serve ADDRESS`, and `zbus-status call ADDRESS`, which makes as many calls
//! as each line of its input says and answers with their times in nanoseconds.

use std::error::Error;

use imd_rivals::{asked, monotonic, say};
use zbus::{connection, interface, proxy};

const NAME: &str = "org.example.Status";
const PATH: &str = "/org/example/Status";

/// The fields of imd's status.
type Fields = (i32, u64, String, u32, String, String, String, i32);

struct Status;

#[interface(name = "org.example.Status")]
impl Status {
    fn get_status(&self) -> Fields {
        let server = "mqtt://127.0.0.1:1883";
        let reason = format!("connected to {server}; the messages that waited there have been read");
        (
            0,
            4,
            reason,
            0,
            "demo".to_owned(),
            "bob".to_owned(),
            server.to_owned(),
            0,
        )
    }
}

#[proxy(
    interface = "org.example.Status",
    default_service = "org.example.Status",
    default_path = "/org/example/Status"
)]
trait Status {
    fn get_status(&self) -> zbus::Result<Fields>;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["serve", address] => {
            let builder = connection::Builder::address(*address).name(NAME);
            let _connection = builder.serve_at(PATH, Status).build().await?;
            say("ready")?;
            std::future::pending().await
        }
        ["call", address] => {
            let connection = connection::Builder::address(*address).build().await?;
            let proxy = StatusProxy::new(&connection).await?;
            while let Some(line) = asked()? {
                let mut times = Vec::new();
                for _ in 0..line.parse()? {
                    let start = monotonic();
                    proxy.get_status().await?;
                    times.push((monotonic() - start).to_string());
                }
                say(&times.join(" "))?;
            }
            Ok(())
        }
        _ => Err("usage: zbus-status serve|call ADDRESS".into()),
    }
}
