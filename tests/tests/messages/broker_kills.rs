//! A Mosquitto killed under load.
//!
//! Mosquitto saves its database every 10 s. What it acknowledged after the last save and had not passed on is
//! gone with it: so is what it remembered of who had subscribed. The daemon publishes a private message
//! again when an hour has passed without a receipt. The tests do not wait for it: while alice's daemon is down
//! they move the times of the last tries back in her database. A group message is not published again: what
//! was lost is a hole in its sender's numbers, and a gap tells it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use imd_client::{BlockingClient, BlockingSending, Code, Content, ConversationKey};
use imd_tests::journal::Journal;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::progress::Progress;
use imd_tests::wait::{SOON, eventually, when};
use imd_tests::{count, random};

use super::stage::Side;

/// Two hours: more than the first wait. It is also the only one: what the server forgot does not count as a try.
const LONG_AGO_MS: i64 = 2 * 3600 * 1000;

/// What private messages are called: `m-00000017`.
const PRIVATE: &str = "m-";

/// One who sends to the group, counting.
struct GroupSender {
    app: BlockingClient,
    /// What the uids begin with, before the number.
    prefix: &'static str,
    accepted: usize,
}

impl GroupSender {
    fn new(app: BlockingClient, prefix: &'static str) -> Self {
        app.join_group("team").unwrap();
        Self {
            app,
            prefix,
            accepted: 0,
        }
    }

    fn start(&self) -> BlockingSending {
        let content = Content::text("to all").uid(format!("{}{:08}", self.prefix, self.accepted));
        self.app.send_message(&ConversationKey::group("team"), content)
    }

    fn send_until(&mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match self.start().accepted() {
                Ok(_) => self.accepted += 1,
                // On a busy machine a commit may take longer than the call: the same uid goes out again.
                Err(error) => assert_eq!(error.code(), Code::IMD_DEADLINE_EXCEEDED, "{error}"),
            }
        }
    }

    /// Sends one when all is well, and waits until it has come: a hole shows with the message behind it.
    fn send_last(&mut self, reader: &Journal) {
        let uid = self.start().sent().unwrap().uid;
        self.accepted += 1;
        eventually(SOON * 3, "the last message to the group", || {
            let received = reader.received();
            when(received.contains(&uid), received.last().cloned())
        });
    }

    /// Every hole in the numbers that came is told by a gap just as large, in front of the message behind it.
    /// Says how many messages came, and how many were lost and told.
    fn assert_holes_are_told(&self, reader: &Journal) -> (usize, usize) {
        let (mut next, mut told) = (0, 0);
        let (mut came, mut lost) = (0, 0);
        for line in reader.lines() {
            let mut words = line.split(' ').skip(2);
            match (words.next(), words.next(), words.next()) {
                (Some("gap"), Some("GROUP_SEQUENCE"), Some(missing)) => {
                    told += missing.parse::<usize>().unwrap();
                }
                (Some("message"), Some(uid), _) => {
                    let Some(number) = uid.strip_prefix(self.prefix) else {
                        continue;
                    };
                    let number: usize = number.parse().unwrap();
                    assert_eq!(
                        number,
                        next + told,
                        "{uid} came; {next} was next, and the gap told is {told}"
                    );
                    came += 1;
                    lost += told;
                    (next, told) = (number + 1, 0);
                }
                _ => {}
            }
        }
        assert_eq!((next, told), (self.accepted, 0), "the end of {}", self.prefix);
        assert_eq!(came + lost, self.accepted);
        (came, lost)
    }
}

#[test]
fn private_messages_come_once_and_lost_group_messages_are_told_though_mosquitto_is_killed_under_load() {
    let mut broker = Mosquitto::start();
    let mut alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    let alices = alice.skimmer("reader");
    let mut of_alice = GroupSender::new(alice.client(), "a-");
    let mut of_bob = GroupSender::new(bob.client(), "b-");
    // The first number of a sender says nothing of those before it: it comes before any harm.
    of_alice.send_last(&bob.journal);
    of_bob.send_last(&alices.journal);

    alice.start_sender("bob", usize::MAX);
    let kills = count(2, 100);
    let progress = Progress::of(kills, "kills of Mosquitto");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        // A failure in here stops the senders as well.
        let stopper = Stopper(&stop);
        scope.spawn(|| of_alice.send_until(&stop));
        scope.spawn(|| of_bob.send_until(&stop));
        for kill in 0..kills {
            bob.await_growth(50 + random(200));
            broker.kill9();
            alice.await_refused();
            bob.await_refused();
            broker.restart();
            for (side, user) in [(&alice, "alice"), (&bob, "bob")] {
                side.daemon.connect(user, &broker.token(user));
            }
            progress.at(kill, || {
                format!("bob's journal has {} lines", bob.journal.length())
            });
        }
        bob.await_growth(50);
        drop(stopper);
    });
    let accepted = alice.stop_sender();
    for (app, who) in [(&of_alice.app, "alice"), (&of_bob.app, "bob")] {
        eventually(SOON * 6, &format!("all of {who}'s to be sent"), || {
            let outbox = app.list_outbox(1, None).unwrap();
            when(outbox.waiting_messages == 0, outbox.waiting_messages)
        });
    }
    of_alice.send_last(&bob.journal);
    of_bob.send_last(&alices.journal);
    let of_groups = [(&of_alice, &bob.journal), (&of_bob, &alices.journal)].map(|(sender, reader)| {
        let (came, lost) = sender.assert_holes_are_told(reader);
        format!(
            "group {}{}: {came} came, {lost} lost and told",
            sender.prefix, sender.accepted
        )
    });

    alice.daemon.kill9();
    let waiting = alice.pass_time(LONG_AGO_MS);
    alice.daemon.start();
    let private = || {
        let mut uids = bob.journal.received();
        uids.retain(|uid| uid.starts_with(PRIVATE));
        uids.sort_unstable();
        uids
    };
    eventually(Duration::from_secs(120), "every private message", || {
        let mut distinct = private();
        distinct.dedup();
        let missing = accepted.len() - distinct.len().min(accepted.len());
        when(missing == 0, missing)
    });
    assert_eq!(private(), accepted, "one came twice, or from nowhere");
    progress.done(&format!(
        "private {}, {waiting} sent again, lost 0, twice 0; {}",
        accepted.len(),
        of_groups.join("; ")
    ));
}

/// Stops the senders when dropped.
struct Stopper<'a>(&'a AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_group_message_that_mosquitto_lost_shows_as_a_gap() {
    let mut broker = Mosquitto::start();
    let alice = Side::connected(&broker.url(), "alice", &broker.token("alice"));
    let mut bob = Side::connected(&broker.url(), "bob", &broker.token("bob"));
    bob.start_reader();
    let (alices, bobs) = (alice.client(), bob.client());
    alices.join_group("team").unwrap();
    bobs.join_group("team").unwrap();
    let send = |text: &str| {
        let content = Content::text(text);
        let sending = alices.send_message(&ConversationKey::group("team"), content);
        sending.sent().unwrap().uid
    };
    let first = send("before");
    eventually(SOON, "the first", || {
        when(bob.journal.received() == [first.clone()], bob.journal.lines())
    });
    // Bob is away, so that Mosquitto alone has what it then forgets.
    bob.daemon.terminate();
    send("lost");
    send("lost as well");
    broker.kill9();
    alice.await_refused();
    broker.restart();
    alice.daemon.connect("alice", &broker.token("alice"));
    bob.daemon.start();
    bob.daemon.await_status("CONNECTED");
    let after = send("after");
    eventually(SOON, "the message after the loss", || {
        when(
            bob.journal.received() == [first.clone(), after.clone()],
            bob.journal.lines(),
        )
    });
    eventually(SOON, "the gap of two", || {
        let told = bob.journal.told();
        when(told.iter().any(|told| told == "gap GROUP_SEQUENCE 2"), told)
    });
}
