use imd_core::account::{AppKey, UserId};

use super::*;
use crate::link::bytes_of::{self, Sent};
use crate::link::scripted::{Peer, Script, soon};

fn account() -> Account {
    Account {
        app_key: AppKey::parse("K").unwrap(),
        user_id: UserId::parse("alice").unwrap(),
    }
}

fn place(server: Server) -> Place {
    Place {
        transports: Arc::default(),
        app_key: None,
        server,
    }
}

fn token() -> Token {
    Token::parse("t".to_owned()).ok().unwrap()
}

/// A broker that lets through what `allows` says of a topic; a subscription is always granted, and served
/// where it is allowed.
async fn broker(script: Script, allows: fn(&str) -> bool) {
    loop {
        let mut peer = script.accept().await;
        peer.send(&bytes_of::connack(false, 0, &[])).await;
        serve(&mut peer, allows).await;
    }
}

async fn serve(peer: &mut Peer, allows: fn(&str) -> bool) {
    let mut subscribed = false;
    while let Some(sent) = peer.next_or_end().await {
        if let Sent::Subscribe { id, filters } = sent {
            subscribed = allows(&filters[0]);
            peer.send(&bytes_of::suback(id, &[1])).await;
        } else if let Sent::Publish {
            id,
            topic,
            retain,
            payload,
            ..
        } = sent
        {
            assert!(!retain, "nothing may stay at the broker");
            let allowed = topic.ends_with("/alice") && topic.starts_with("im/K/u/");
            if subscribed {
                peer.send(&bytes_of::publish(&topic, 1, false, &payload)).await;
            }
            let reason = if allowed || allows(&topic) { 0 } else { 0x87 };
            peer.send(&bytes_of::puback_refusing(id, reason, &[])).await;
        }
    }
}

async fn outcomes(allows: fn(&str) -> bool) -> Vec<Outcome> {
    let (script, server) = Script::listen().await;
    let broker = tokio::spawn(broker(script, allows));
    let attempts = soon(
        "the attempts",
        forbidden_topics(&place(server), &account(), &token()),
    )
    .await;
    broker.abort();
    attempts
        .unwrap()
        .into_iter()
        .map(|attempt| attempt.outcome)
        .collect()
}

#[tokio::test]
async fn a_broker_without_rules_is_found_out() {
    let outcomes = outcomes(|_| true).await;
    assert_eq!(outcomes.len(), 6);
    assert!(
        outcomes.iter().all(|outcome| *outcome == Outcome::LetThrough),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_broker_that_grants_but_does_not_serve_holds() {
    let outcomes = outcomes(|_| false).await;
    assert_eq!(outcomes.len(), 6);
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Outcome::Held(_))),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_foreign_client_id_belongs_to_a_user_that_does_not_exist() {
    let (script, server) = Script::listen().await;
    let broker = async {
        let mut peer = script.accept().await;
        let name = String::from_utf8_lossy(&peer.connect).into_owned();
        assert!(name.contains("desktop:K:doctor-"), "{name}");
        peer.send(&bytes_of::connack(false, 0x85, &[])).await;
    };
    let (place, account, token) = (place(server), account(), token());
    let (answer, ()) = soon("the answer", async {
        tokio::join!(foreign_client_id(&place, &account, &token), broker)
    })
    .await;
    let Ok(Answer::Refused(words)) = answer else {
        panic!("{answer:?}");
    };
    assert_eq!(words.reason, 0x85);
}

#[tokio::test]
async fn a_server_that_closes_on_mqtt_5_is_asked_in_3_1_1() {
    let (script, server) = Script::listen().await;
    let broker = tokio::spawn(async move {
        let mut closed = 0;
        loop {
            let mut peer = script.accept().await;
            if peer.version == 5 {
                closed += 1;
                assert!(closed <= SILENT_CLOSES, "it was told twice that 5 is not known");
                continue;
            }
            peer.send(&bytes_of::connack_311(false, 0)).await;
            // It closes on whatever it does not allow.
            while let Some(sent) = peer.next_or_end().await {
                if matches!(sent, Sent::Publish { .. } | Sent::Subscribe { .. }) {
                    break;
                }
            }
        }
    });
    let attempts = soon(
        "the attempts",
        forbidden_topics(&place(server), &account(), &token()),
    )
    .await
    .unwrap();
    assert_eq!(attempts.len(), 6);
    assert!(
        attempts
            .iter()
            .all(|attempt| matches!(attempt.outcome, Outcome::Held(_))),
        "{attempts:?}"
    );
    assert!(!broker.is_finished(), "the broker has met what it did not expect");
    broker.abort();
}

#[tokio::test]
async fn a_server_that_closes_on_both_versions_is_no_answer() {
    let (script, server) = Script::listen().await;
    let broker = tokio::spawn(async move {
        loop {
            drop(script.accept().await);
        }
    });
    let answer = soon(
        "the answer",
        foreign_client_id(&place(server), &account(), &token()),
    )
    .await;
    broker.abort();
    assert_eq!(answer.unwrap_err().kind, FaultKind::BareEof);
}

#[tokio::test]
async fn a_server_is_reached_or_the_fault_names_it() {
    let (script, server) = Script::listen().await;
    assert!(reach(&place(server.clone())).await.is_ok());
    drop(script);
    let fault: Fault = reach(&place(server.clone())).await.unwrap_err().into();
    assert_eq!(fault.kind, FaultKind::ConnectionRefused);
    assert!(fault.text.contains(&server.to_string()), "{}", fault.text);
}
