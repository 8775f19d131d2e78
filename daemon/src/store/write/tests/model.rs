//! Any order of what can happen, against a small model of what must be the case.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::*;
use crate::store::rows::{Published, Stored};

#[derive(Clone, Debug)]
enum Step {
    /// A private message from one of two peers, by number.
    Receive(Vec<(bool, u8)>),
    Enqueue {
        to_group: bool,
        number: u8,
    },
    /// The server's answer to the first that is due.
    Answer {
        taken: bool,
    },
    Receipt(u8),
    Retry(u8),
    Kill,
}

#[derive(Default)]
struct Model {
    /// All rows, in order.
    stored: Vec<String>,
    /// (uid, group, number in the conversation)
    waiting: Vec<(String, bool, u64)>,
    failed: Vec<(String, bool, u64)>,
    sent: Vec<String>,
    received: Vec<String>,
    seq: [u64; 2],
    log: Vec<String>,
}

impl Model {
    fn has(&self, row: &str) -> bool {
        self.stored.iter().any(|stored| stored == row)
    }

    fn receipt(&mut self, uid: &str) -> Stored {
        let is_private = |entry: &(String, bool, u64)| entry.0 == uid && !entry.1;
        let known = self.waiting.iter().any(is_private)
            || self.failed.iter().any(is_private)
            || self.sent.iter().any(|sent| sent == uid);
        if !known {
            return Stored::Duplicate;
        }
        self.waiting.retain(|entry| entry.0 != uid);
        self.failed.retain(|entry| entry.0 != uid);
        self.sent.retain(|sent| sent != uid);
        self.received.push(uid.to_owned());
        self.log.push(format!("{uid} 40"));
        Stored::Fresh
    }
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => proptest::collection::vec((any::<bool>(), 0..8_u8), 1..6).prop_map(Step::Receive),
        4 => (any::<bool>(), 0..8_u8).prop_map(|(to_group, number)| Step::Enqueue { to_group, number }),
        4 => any::<bool>().prop_map(|taken| Step::Answer { taken }),
        2 => (0..8_u8).prop_map(Step::Receipt),
        2 => (0..8_u8).prop_map(Step::Retry),
        1 => Just(Step::Kill),
    ]
}

fn name(bob: bool) -> &'static str {
    if bob { "bob" } else { "carol" }
}

fn out(number: u8) -> String {
    format!("out-{number}")
}

async fn take(place: &mut Place, model: &mut Model, step: Step) {
    match step {
        Step::Receive(messages) => {
            let came = messages
                .iter()
                .map(|(bob, number)| from(name(*bob), &format!("in-{number}")));
            let stored = place.store.receive(arrivals(came)).await.unwrap();
            for ((bob, number), stored) in messages.into_iter().zip(stored) {
                let row = format!("{} in-{number}", name(bob));
                let is_fresh = !model.has(&row);
                assert_eq!(stored == Stored::Fresh, is_fresh, "{row}");
                if is_fresh {
                    model.stored.push(row);
                    model.log.push(format!("+in-{number} 0"));
                }
            }
        }
        Step::Enqueue { to_group, number } => {
            let conversation = if to_group { group("g") } else { private("bob") };
            let uid = out(number);
            let sent = place.store.enqueue(to(conversation, &uid)).await;
            let row = format!("{ME} {uid}");
            assert_eq!(sent.unwrap().1, model.has(&row));
            if !model.has(&row) {
                let seq = &mut model.seq[usize::from(to_group)];
                *seq += 1;
                model.waiting.push((uid.clone(), to_group, *seq));
                model.stored.push(row);
                model.log.push(format!("+{uid} 10"));
            }
        }
        Step::Answer { taken } => {
            let Some(first) = place.store.due(0, 1).await.unwrap().pop() else {
                assert!(model.waiting.is_empty());
                return;
            };
            let answer = if taken {
                Published::Taken { no_receiver: false }
            } else {
                Published::Refused {
                    code: 22406,
                    text: "no".to_owned(),
                }
            };
            place
                .store
                .published(vec![(first.position, answer)])
                .await
                .unwrap();
            let entry = model.waiting.remove(0);
            model
                .log
                .push(format!("{} {}", entry.0, if taken { 30 } else { 20 }));
            if !taken {
                model.failed.push(entry);
            } else if !entry.1 {
                model.sent.push(entry.0);
            }
        }
        Step::Receipt(number) => {
            let arrival = Arrival::Receipt {
                peer: "bob".to_owned(),
                uids: vec![out(number)],
            };
            let stored = place.store.receive(vec![arrival]).await.unwrap();
            assert_eq!(stored, [model.receipt(&out(number))]);
        }
        Step::Retry(number) => {
            let uid = out(number);
            let retried = place.store.retry(uid.clone()).await.unwrap();
            assert_eq!(retried.is_some(), model.has(&format!("{ME} {uid}")));
            if let Some(at) = model.failed.iter().position(|entry| entry.0 == uid) {
                let entry = model.failed.remove(at);
                model.waiting.push(entry);
                model.log.push(format!("{uid} 10"));
            }
        }
        Step::Kill => *place = place.after_a_kill().await,
    }
}

async fn check(place: &Place, model: &Model) {
    let messages = place.messages().await;
    let stored: Vec<_> = messages
        .iter()
        .map(|m| format!("{} {}", m.sender, m.uid))
        .collect();
    assert_eq!(stored, model.stored, "each once, in order");
    let due = place.store.due(0, 100).await.unwrap();
    let due: Vec<_> = due
        .into_iter()
        .map(|due| (due.uid, due.conversation.kind == ConversationKind::Group, due.seq))
        .collect();
    assert_eq!(due, model.waiting, "the outbox in order");
    for message in messages.iter().filter(|message| message.sent_by_me) {
        let is_in = |entries: &[(String, bool, u64)]| entries.iter().any(|entry| entry.0 == message.uid);
        let status = if is_in(&model.waiting) {
            10
        } else if is_in(&model.failed) {
            20
        } else if model.received.contains(&message.uid) {
            40
        } else {
            30
        };
        assert_eq!(message.sent_status, status, "{}", message.uid);
    }
    let unread = messages.iter().filter(|message| message.unread).count();
    let counted = place
        .number("SELECT coalesce(sum(unread), 0) FROM conversations")
        .await;
    assert_eq!(i64::try_from(unread).unwrap(), counted);
    let waiting = place.number("SELECT messages FROM outbox_size").await;
    assert_eq!(usize::try_from(waiting).unwrap(), model.waiting.len());
    let wrong_last = "SELECT count(*) FROM conversations c WHERE last_message <> (
        SELECT max(message_id) FROM messages m WHERE m.conversation_id = c.conversation_id)";
    assert_eq!(place.number(wrong_last).await, 0);
    let tip = place.store.tip().borrow().newest;
    assert_eq!(usize::try_from(tip).unwrap(), model.log.len());
}

proptest! {
    #![proptest_config(Config { cases: 40, failure_persistence: None, ..Config::default() })]

    #[test]
    fn exactly_once_and_in_order_whatever_happens(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut place = Place::new().await;
            let mut model = Model::default();
            for step in steps {
                take(&mut place, &mut model, step).await;
            }
            check(&place, &model).await;
            check(&place.after_a_kill().await, &model).await;
        });
    }
}
