use super::*;
use crate::link::fake_vault::{FakeVault, private};
use crate::link::scripted::soon;
use crate::store::rows::Incoming;

fn delivery(packet: Option<u16>, uid: &str, size: usize) -> Delivery {
    Delivery {
        packet: packet.map(PacketId),
        arrival: Some(Arrival::Message(Incoming {
            conversation: private("bob"),
            sender: "bob".to_owned(),
            sent_by_me: false,
            uid: uid.to_owned(),
            origin: String::new(),
            seq: 0,
            object_name: "o".to_owned(),
            content: Vec::new(),
            flags: 3,
            sent_time: 0,
            wants_receipt: false,
        })),
        size,
    }
}

fn left_group(packet: u16) -> Delivery {
    Delivery {
        packet: Some(PacketId(packet)),
        arrival: None,
        size: 1,
    }
}

fn tickets(epoch: u64, packets: &[u16]) -> Vec<Ticket> {
    packets
        .iter()
        .map(|&packet| Ticket {
            epoch: Epoch(epoch),
            packet: PacketId(packet),
        })
        .collect()
}

#[tokio::test]
async fn what_comes_while_the_store_is_busy_goes_with_the_next_commit() {
    let vault = Arc::new(FakeVault::new());
    let mut inbox = Inbox::default();
    let epoch = Epoch(1);
    inbox.push(epoch, delivery(Some(1), "a", 1));
    inbox.push(epoch, delivery(None, "b", 1));
    inbox.hand_over(&vault);
    for (packet, uid) in [(2, "c"), (3, "d")] {
        inbox.push(epoch, delivery(Some(packet), uid, 1));
        inbox.hand_over(&vault);
    }
    assert_eq!(soon("a", inbox.next()).await, Outcome::Stored(tickets(1, &[1])));
    inbox.hand_over(&vault);
    assert_eq!(
        soon("c", inbox.next()).await,
        Outcome::Stored(tickets(1, &[2, 3]))
    );
    let commits = vault.contents().commits.clone();
    assert_eq!(commits, [["a", "b"], ["c", "d"]]);
}

#[tokio::test]
async fn a_note_keeps_its_place_between_the_messages() {
    let vault = Arc::new(FakeVault::new());
    let mut inbox = Inbox::default();
    inbox.push(Epoch(1), delivery(Some(1), "before", 1));
    inbox.note(Note::OfflineSyncCompleted { complete: true });
    inbox.push(Epoch(1), delivery(Some(2), "after", 1));
    let mut order = Vec::new();
    for _ in 0..3 {
        inbox.hand_over(&vault);
        soon("a step", inbox.next()).await;
        let contents = vault.contents();
        order.push((contents.commits.len(), contents.notes.len()));
    }
    assert_eq!(order, [(1, 0), (1, 1), (2, 1)]);
}

#[tokio::test]
async fn a_message_of_a_group_that_was_left_is_acknowledged_in_its_place() {
    let vault = Arc::new(FakeVault::new());
    let mut inbox = Inbox::default();
    inbox.push(Epoch(1), left_group(1));
    assert_eq!(inbox.hand_over(&vault), tickets(1, &[1]));
    inbox.push(Epoch(1), delivery(Some(2), "a", 1));
    inbox.push(Epoch(1), left_group(3));
    assert_eq!(inbox.hand_over(&vault), []);
    assert_eq!(
        soon("a", inbox.next()).await,
        Outcome::Stored(tickets(1, &[2, 3]))
    );
}

#[tokio::test]
async fn a_commit_that_fails_gives_no_ticket_back() {
    let vault = Arc::new(FakeVault::new());
    vault.contents().failing.insert("receive");
    let mut inbox = Inbox::default();
    inbox.push(Epoch(1), delivery(Some(1), "a", 1));
    inbox.hand_over(&vault);
    assert!(matches!(
        soon("the failure", inbox.next()).await,
        Outcome::Failed(_)
    ));
    assert!(inbox.hand_over(&vault).is_empty());
}

#[tokio::test]
async fn the_end_of_a_connection_drops_what_comes_again_and_keeps_the_rest() {
    let vault = Arc::new(FakeVault::new());
    let mut inbox = Inbox::default();
    inbox.push(Epoch(1), delivery(Some(1), "first", 1));
    inbox.hand_over(&vault);
    inbox.push(Epoch(1), delivery(Some(2), "again", 1));
    inbox.push(Epoch(1), delivery(None, "once", 1));
    inbox.note(Note::Gap(Gap::SessionLost));
    inbox.link_ended();
    for _ in 0..3 {
        inbox.hand_over(&vault);
        soon("a step", inbox.next()).await;
    }
    assert_eq!(vault.received(), ["first", "once"]);
    assert_eq!(vault.contents().notes.len(), 1);
}

#[tokio::test]
async fn it_is_full_by_number_and_by_size_and_takes_more_when_they_are_stored() {
    let vault = Arc::new(FakeVault::new());
    let mut inbox = Inbox::default();
    for packet in 1..=1024 {
        inbox.push(Epoch(1), delivery(Some(packet), &format!("m{packet}"), 1));
    }
    assert!(!inbox.is_full(), "a server of MQTT 5 may send as many");
    inbox.push(Epoch(1), delivery(None, "more", 1));
    assert!(inbox.is_full());
    inbox.hand_over(&vault);
    assert!(inbox.is_full(), "handed over is not stored");
    soon("the commit", inbox.next()).await;
    assert!(!inbox.is_full());

    for _ in 0..9 {
        inbox.push(Epoch(1), delivery(None, "large", 1024 * 1024));
    }
    assert!(inbox.is_full());
}

#[tokio::test(start_paused = true)]
async fn a_note_is_tried_until_the_store_takes_it() {
    let vault = Arc::new(FakeVault::new());
    vault.contents().failing.insert("note_gap");
    let mut inbox = Inbox::default();
    inbox.note(Note::Gap(Gap::SessionLost));
    inbox.hand_over(&vault);
    let late = tokio::time::timeout(std::time::Duration::from_secs(200), inbox.next()).await;
    assert!(late.is_err());
    vault.contents().failing.clear();
    inbox.next().await;
    assert_eq!(vault.contents().notes, ["SessionLost"]);
}
