//! When nothing may be sent, and when nothing may be read, byte by byte.

use std::sync::atomic::{AtomicUsize, Ordering};

use imd_proto::im::wire::v1::Envelope;
use prost::Message as _;

use super::messages::envelope;
use super::*;

#[tokio::test]
async fn nothing_is_sent_before_the_login_is_through() {
    let vault = FakeVault::new();
    vault.enqueue_texts("bob", ["m".to_owned()]);
    let rig = Rig::with(vault, Duration::from_secs(30), Some(remembered())).await;
    let mut peer = rig.script.accept().await;
    peer.send(&bytes_of::connack(true, 0, &[])).await;
    let Sent::Subscribe { id: subscribe, .. } = peer.next().await else {
        panic!("no SUBSCRIBE");
    };
    let Sent::Publish {
        id: marker, topic, ..
    } = peer.next().await
    else {
        panic!("no marker");
    };
    assert_eq!(topic, "im/K/c/alice/desktop");
    peer.send(&bytes_of::suback(subscribe, &[1, 1, 1])).await;
    let early = timeout(Duration::from_millis(100), peer.next()).await;
    assert!(early.is_err(), "{early:?}");
    peer.send(&bytes_of::puback(marker)).await;
    let sent = peer.next().await;
    assert!(
        matches!(&sent, Sent::Publish { topic, .. } if topic == "im/K/u/bob/alice"),
        "{sent:?}"
    );
}

#[tokio::test]
async fn an_mqtt_3_server_is_held_back_without_being_taken_for_dead() {
    let keep_alive = Duration::from_millis(800);
    let rig = Rig::with(FakeVault::new(), keep_alive, Some(remembered())).await;
    let mut first = rig.script.accept().await;
    first.send(&bytes_of::connack_311(false, 1)).await;
    let peer = rig.script.log_in().await;
    rig.status(ConnectionStatus::Connected).await;
    rig.vault.held.send_replace(true);
    // System messages, which want no receipts. Far more than is taken at once, and more than the socket holds: the server is stopped by its own
    // writing.
    let count: u16 = 20_000;
    let written = Arc::new(AtomicUsize::new(0));
    let (mut reader, mut writer) = peer.split();
    let server = {
        let written = Arc::clone(&written);
        let writer = &mut writer;
        async move {
            for id in 1..=count {
                let uid = format!("m{id:0>60}");
                let mut message = Envelope::decode(&envelope(&uid)[..]).unwrap();
                message.content = vec![b'x'; 1000].into();
                writer
                    .send(&bytes_of::publish_311(
                        "im/K/s/alice",
                        id,
                        false,
                        &message.encode_to_vec(),
                    ))
                    .await;
                written.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let watch = async {
        // Two keep-alives and more go by, with no answer to be heard.
        for _ in 0..3 {
            assert_eq!(reader.next().await, Sent::Ping);
        }
        assert!(written.load(Ordering::Relaxed) < usize::from(count));
        rig.vault.held.send_replace(false);
        let mut acknowledged = 0;
        while acknowledged < count {
            // Pings come between.
            if let Sent::Puback { id } = reader.next().await {
                acknowledged += 1;
                assert_eq!(id, acknowledged);
            }
        }
    };
    tokio::join!(server, watch);
    assert_eq!(rig.vault.received().len(), usize::from(count));
}
