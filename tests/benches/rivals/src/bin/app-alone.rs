//! An app that does for itself what imd would do for it: MQTT over TLS, and its own SQLite, committed before the
//! acknowledgement. `app-alone HOST PORT USER CLIENT_ID TOPIC CA_FILE DATABASE`, the password as the first line
//! of its input. It says `ready`, and how many messages it has stored whenever a line asks for it.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use imd_rivals::{asked, say};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};
use rumqttc::{TlsConfiguration, Transport};
use rusqlite::Connection;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [host, port, user, client_id, topic, ca_file, database] = words.as_slice() else {
        return Err("usage: app-alone HOST PORT USER CLIENT_ID TOPIC CA_FILE DATABASE".into());
    };
    let mut options = MqttOptions::new(*client_id, *host, port.parse()?);
    options.set_credentials(*user, asked()?.ok_or("no password")?);
    options.set_keep_alive(Duration::from_secs(30));
    options.set_manual_acks(true);
    options.set_transport(Transport::Tls(TlsConfiguration::Rustls(Arc::new(tls(ca_file)?))));

    let connection = Connection::open(database)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute_batch(
        "CREATE TABLE messages (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL)",
    )?;

    let stored = Arc::new(AtomicUsize::new(0));
    let told = Arc::clone(&stored);
    std::thread::spawn(move || {
        while let Ok(Some(_)) = asked() {
            if say(&told.load(Ordering::Relaxed).to_string()).is_err() {
                break;
            }
        }
    });

    let (client, mut events) = AsyncClient::new(options, 256);
    client.subscribe(*topic, QoS::AtLeastOnce).await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::SubAck(_)) => say("ready")?,
            Event::Incoming(Packet::Publish(publish)) => {
                let topic = String::from_utf8_lossy(&publish.topic);
                connection
                    .prepare_cached("INSERT INTO messages (topic, payload) VALUES (?1, ?2)")?
                    .execute((&topic, &publish.payload[..]))?;
                client.ack(&publish).await?;
                stored.fetch_add(1, Ordering::Relaxed);
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}

fn tls(ca_file: &str) -> Result<rustls::ClientConfig, Box<dyn Error>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
