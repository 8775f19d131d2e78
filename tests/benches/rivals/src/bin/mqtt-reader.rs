//! An app with its own MQTT connection that stores nothing: `mqtt-reader HOST PORT USER CLIENT_ID TOPIC`, the
//! password as the first line of its input. It says `ready`, then the time of each message in nanoseconds.

use std::error::Error;
use std::time::Duration;

use imd_rivals::{asked, monotonic, say};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [host, port, user, client_id, topic] = words.as_slice() else {
        return Err("usage: mqtt-reader HOST PORT USER CLIENT_ID TOPIC".into());
    };
    let mut options = MqttOptions::new(*client_id, *host, port.parse()?);
    options.set_credentials(*user, asked()?.ok_or("no password")?);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 256);
    client.subscribe(*topic, QoS::AtLeastOnce).await?;
    loop {
        match events.poll().await? {
            Event::Incoming(Packet::SubAck(_)) => say("ready")?,
            Event::Incoming(Packet::Publish(_)) => {
                let seen = monotonic();
                say(&seen.to_string())?;
            }
            Event::Incoming(_) | Event::Outgoing(_) => {}
        }
    }
}
