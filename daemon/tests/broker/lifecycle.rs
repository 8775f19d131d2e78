//! Stop, kill and restart; large loads; rubbish on the socket.

use std::time::Duration;

use imd::demo::broker::{Broker, BrokerConfig, End, Event, Protocol, Sessions};
use proptest::prelude::*;
use tokio::net::TcpStream;

use crate::broker;
use crate::client::{Client, DEADLINE, Options};

#[tokio::test]
async fn a_stopped_broker_says_so_and_comes_back_on_its_port_with_its_sessions() {
    let broker = broker();
    let mut five = Client::connect(&broker, &Options::new("five")).await;
    let mut three = Client::connect(&broker, &Options::v3("three")).await;
    five.subscribe("t").await;
    let (said, silent, ()) = tokio::join!(five.end(), three.end(), broker.stop());
    assert_eq!((said, silent), (Some(0x8B), None));
    assert!(TcpStream::connect(broker.address()).await.is_err());
    assert!(broker.connections().is_empty());
    broker.publish("t", b"while it was down", false);

    let address = broker.address();
    broker.restart(Sessions::Keep).await.unwrap();
    assert_eq!(broker.address(), address);
    let (mut five, connack) = Client::open(&broker, &Options::new("five")).await;
    assert!(connack.session_present);
    assert_eq!(five.take().await.payload, "while it was down");
    drop(five);

    broker.restart(Sessions::Lose).await.unwrap();
    let (_five, connack) = Client::open(&broker, &Options::new("five")).await;
    assert!(!connack.session_present);
}

#[tokio::test]
async fn a_killed_broker_breaks_every_connection_off() {
    let broker = broker();
    let mut client = Client::connect(&broker, &Options::new("c")).await;
    let mut waiting = Client::dial(broker.address(), Protocol::V5).await;
    // Accepted, and waiting for its CONNECT.
    let accepted = async {
        while broker.total_network_connections() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, accepted).await.unwrap();
    broker.kill().await;
    assert_eq!(client.raw_end().await, Err(std::io::ErrorKind::ConnectionReset));
    assert_eq!(waiting.raw_end().await, Err(std::io::ErrorKind::ConnectionReset));
    broker
        .wait_for(
            |event| matches!(event, Event::Disconnected { how: End::Killed, .. }),
            DEADLINE,
        )
        .await
        .unwrap();
    for _ in 0..20 {
        broker.restart(Sessions::Keep).await.unwrap();
        let (_client, connack) = Client::open(&broker, &Options::new("c")).await;
        assert!(connack.session_present);
        broker.kill().await;
    }
}

#[tokio::test]
async fn another_broker_takes_the_memory_over() {
    let first = broker();
    let mut client = Client::connect(&first, &Options::new("c")).await;
    client.subscribe("t").await;
    first.publish("t", b"kept", true);
    let mut config = BrokerConfig::default();
    config.memory = first.memory();
    drop(first);
    let second = Broker::start(config).unwrap();
    client.end().await;
    let (mut client, connack) = Client::open(&second, &Options::new("c")).await;
    assert!(connack.session_present);
    assert_eq!(client.take().await.payload, "kept");
}

#[tokio::test]
async fn ten_thousand_messages_arrive_in_order_through_many_cuts() {
    const COUNT: usize = 10_000;
    let broker = broker();
    let mut reader = Client::connect(&broker, &Options::new("reader")).await;
    reader.subscribe("t").await;
    for index in 0..COUNT {
        broker.publish("t", index.to_string().as_bytes(), false);
    }
    let mut next = 0;
    let mut repeated = 0;
    while next < COUNT {
        for _ in 0..701 {
            let message = reader.message().await;
            let number: usize = message.payload.parse().unwrap();
            assert!(number <= next, "{number} came before {next}");
            if number == next {
                next += 1;
            } else {
                assert!(message.dup);
                repeated += 1;
            }
            // Two of three are acknowledged before the cut.
            if !number.is_multiple_of(3) || message.dup {
                reader.acknowledge(message.packet_id.unwrap()).await;
            }
            if next == COUNT {
                break;
            }
        }
        reader = Client::connect(&broker, &Options::new("reader")).await;
    }
    assert!(repeated > 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_up_nobody_and_little_memory() {
    let broker = broker();
    let mut slow = Client::connect(&broker, &Options::new("slow")).await;
    slow.subscribe("t").await;
    let payload = "x".repeat(100_000);
    let mut sender = Client::connect(&broker, &Options::new("sender")).await;
    for _ in 0..200 {
        assert_eq!(sender.publish("t", &payload).await, 0);
    }
    // 20 MB: what neither the sockets nor the output may hold waits in the queue.
    assert!(broker.session("slow").unwrap().queued > 50);
    for _ in 0..200 {
        assert_eq!(slow.take().await.payload.len(), payload.len());
    }
}

#[tokio::test]
async fn many_clients_are_served_at_once() {
    let broker = broker();
    let mut opening = Vec::new();
    for index in 0..200 {
        let address = broker.address();
        opening.push(tokio::spawn(async move {
            let mut client = Client::dial(address, Protocol::V5).await;
            client.send(Options::new(&format!("c{index}")).packet()).await;
            client.packet().await;
            client
        }));
    }
    let mut open = Vec::new();
    for client in opening {
        open.push(client.await.unwrap());
    }
    assert_eq!(broker.connections().len(), 200);
    drop(open);
    broker.stop().await;
    assert!(broker.connections().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn rubbish_ends_its_own_connection_at_most(
        after_connect in any::<bool>(),
        mut rubbish in proptest::collection::vec(any::<u8>(), 0..200),
        kind in 0_u8..16,
    ) {
        // Random bytes rarely make a packet, so half of them get a fitting header.
        if kind % 2 == 0 && rubbish.len() >= 2 && rubbish.len() < 128 {
            rubbish[0] = (kind << 4) | (rubbish[0] & 0x0F);
            rubbish[1] = u8::try_from(rubbish.len() - 2).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let broker = broker();
            let mut good = Client::connect(&broker, &Options::new("good")).await;
            let mut bad = if after_connect {
                Client::connect(&broker, &Options::new("bad")).await
            } else {
                Client::dial(broker.address(), Protocol::V5).await
            };
            bad.send_raw(&rubbish).await;
            drop(bad);
            assert!(good.is_quiet().await);
            broker.kill().await;
            assert!(broker.connections().is_empty());
        });
    }
}
