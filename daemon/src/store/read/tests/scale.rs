//! Reading does not become slower as the history grows: counted in steps of SQLite's machine, which are the
//! same on every computer, and with `IMD_TEST_LONG` also in time, over a million messages.

use std::time::Duration;

use rusqlite::{Connection, StatementStatus, params};
use rustix::time::{ClockId, clock_gettime};

use super::super::change::delete_messages;
use super::super::conversations::{self, conversations as list, unread_count};
use super::super::history::{self, history};
use super::super::log::log_page;
use super::super::search::{index_some, search};
use super::fixture::{Fixture, private};
use crate::clock;
use crate::store::rows::ConversationKey;

const CONVERSATIONS: i64 = 1000;

/// A row of numbers that is the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// A word of three letters or more; low numbers come often, as words do.
    fn word(&mut self, words: u64) -> String {
        let end = 1 + self.below(words);
        let mut number = self.below(end);
        let mut word = String::new();
        for _ in 0..2 {
            for letters in ["bdfgklmnprst", "aeiou"] {
                let letters: Vec<char> = letters.chars().collect();
                let count = letters.len() as u64;
                word.push(letters[(number % count) as usize]);
                number /= count;
            }
        }
        word
    }

    fn character(&mut self) -> char {
        let end = 1 + self.below(3000);
        let place = self.below(end) as u32;
        char::from_u32(0x4e00 + place * 5).unwrap()
    }

    /// About twelve Chinese characters, or seven English words.
    fn text(&mut self) -> String {
        if self.below(2) == 0 {
            let length = 4 + self.below(16);
            let mut text: String = (0..length).map(|_| self.character()).collect();
            if self.below(1000) == 0 {
                text.push_str("季度预算");
            }
            text
        } else {
            let length = 3 + self.below(8);
            let words: Vec<String> = (0..length).map(|_| self.word(3600)).collect();
            words.join(" ")
        }
    }
}

fn key(conversation: i64) -> ConversationKey {
    private(&format!("user-{conversation}"))
}

/// Half of the messages are in conversation 0, the others in all in turn.
fn fill(fixture: &mut Fixture, count: i64) {
    let mut numbers = Numbers(7);
    for batch in 0..(count + 9999) / 10_000 {
        fixture.write(|transaction| {
            for time in batch * 10_000..((batch + 1) * 10_000).min(count) {
                let conversation = if time % 2 == 0 {
                    0
                } else {
                    time / 2 % CONVERSATIONS
                };
                let content = serde_json::json!({ "content": numbers.text() }).to_string();
                let key = key(conversation);
                super::fixture::insert(
                    transaction,
                    &key,
                    "RC:TxtMsg",
                    content.as_bytes(),
                    time,
                    time % 50 == 0,
                )?;
            }
            Ok(())
        });
    }
    fixture
        .connection
        .execute(
            "INSERT INTO events (time, kind, message_id, detail) SELECT 1, 1, message_id, '0' FROM messages",
            [],
        )
        .unwrap();
}

/// The steps that reading a page takes.
fn steps(connection: &Connection, query: &str, params: impl rusqlite::Params) -> i32 {
    let mut statement = connection.prepare(query).unwrap();
    let mut rows = statement.query(params).unwrap();
    let mut count = 0;
    while rows.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 51);
    drop(rows);
    statement.get_status(StatementStatus::VmStep)
}

#[test]
fn a_page_takes_the_same_steps_in_a_short_history_and_in_a_long_one() {
    let steps = |messages| {
        let mut fixture = Fixture::new();
        fill(&mut fixture, messages);
        let page = |query| steps(&fixture.connection, query, params![1, "user-0", i64::MAX, 0, 51]);
        let list = steps(&fixture.connection, conversations::LIST, params![2, 0, 0, 51]);
        [page(history::OLDER), page(history::NEWER), list]
    };
    let (short, long) = (steps(2000), steps(8000));
    assert_eq!(short, long);
    assert!(short.iter().all(|steps| *steps < 51 * 60), "{short:?}");
}

/// What the thread has computed: that other programs want the machine too does not show in it.
fn computed() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

/// Runs a read often, and says how long it took, how long it computed, and how much it gave. Returns the
/// median and the 99th percentile of the computing.
fn measure(what: &str, times: usize, mut read: impl FnMut(usize) -> usize) -> (Duration, Duration) {
    let mut count = 0;
    let (mut computing, mut waiting): (Vec<Duration>, Vec<Duration>) = (0..times)
        .map(|turn| {
            let (began, begin) = (clock::now().boot, computed());
            count = read(turn);
            (computed() - begin, clock::now().boot.since(began))
        })
        .unzip();
    let [(median, p99), (wall_median, wall_p99)] = [&mut computing, &mut waiting].map(|taken| {
        taken.sort_unstable();
        (taken[times / 2], taken[(times * 99 / 100).min(times - 1)])
    });
    println!(
        "{what:<58} computed p50 {median:>10.3?} p99 {p99:>10.3?}, \
         took p50 {wall_median:>10.3?} p99 {wall_p99:>10.3?}  {count}"
    );
    (median, p99)
}

fn on_disk(path: &std::path::Path, messages: i64) -> Fixture {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
        .unwrap();
    connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
    let mut fixture = Fixture::on(connection);
    fill(&mut fixture, messages);
    fixture
}

#[test]
fn with_a_million_messages_a_page_is_as_quick_as_with_a_thousand() {
    let (million, thousand) = if std::env::var_os("IMD_TEST_LONG").is_some_and(|value| value == "1") {
        (1_000_000, 1000)
    } else {
        (5000, 1000)
    };
    let dir = tempfile::tempdir().unwrap();
    let mut fixture = on_disk(&dir.path().join("large.db"), million);
    let small = on_disk(&dir.path().join("small.db"), thousand);

    let begin = computed();
    measure("index 1,000 messages", million as usize / 1000, |_| {
        fixture.write(|transaction| index_some(transaction, 1000));
        1000
    });
    println!("index all of {million}: {:?}", computed() - begin);
    let bytes = |table: &str| -> i64 {
        let query = format!("SELECT sum(pgsize) FROM dbstat WHERE name LIKE '{table}' AND aggregate = TRUE");
        fixture
            .connection
            .query_row(&query, [], |row| row.get(0))
            .unwrap()
    };
    println!(
        "messages {} MB, index {} MB",
        bytes("messages%") >> 20,
        bytes("search%") >> 20
    );

    let newest = |fixture: &Fixture| {
        let page = history(&fixture.connection, &key(0), None, None, 50).unwrap();
        page.messages.len()
    };
    let (of_few, _) = measure("newest 50 of 1,000 messages", 2000, |_| newest(&small));
    let (of_many, p99) = measure("newest 50 of all messages", 2000, |_| newest(&fixture));
    assert!(p99 < Duration::from_millis(5), "{p99:?}");
    assert!(
        of_many < of_few * 3 / 2,
        "{of_many:?}, with a short history {of_few:?}"
    );
    measure("newest 50 of each conversation in turn", 1000, |turn| {
        let page = history(&fixture.connection, &key(turn as i64), None, None, 50).unwrap();
        page.messages.len()
    });
    measure("50 from anywhere in the long conversation", 1000, |turn| {
        let before = million / 1000 * turn as i64 + 200;
        let page = history(&fixture.connection, &key(0), Some(before), None, 50).unwrap();
        page.messages.len()
    });
    measure("conversation list, 50", 1000, |_| {
        list(&fixture.connection, None, 50).unwrap().conversations.len()
    });
    measure("unread total", 1000, |_| {
        unread_count(&fixture.connection, true).unwrap() as usize
    });
    measure("log, 500 entries", 200, |turn| {
        let page = log_page(&fixture.connection, turn as u64 * 1000, 500, 1_000_000).unwrap();
        page.entries.len()
    });

    let mut numbers = Numbers(99);
    let pair: String = [numbers.character(), numbers.character()].into_iter().collect();
    for (what, query, within) in [
        ("Chinese, one common character", "一".to_owned(), None),
        ("Chinese, a common pair", "一丅".to_owned(), None),
        ("Chinese, a rare word", "季度预算".to_owned(), None),
        ("Chinese, any pair", pair, None),
        ("English, a common word", "baba".to_owned(), None),
        ("English, a common beginning", "ba".to_owned(), None),
        ("English, one letter", "b".to_owned(), None),
        ("English, two words", "baba dab".to_owned(), None),
        ("English, a word that is not there", "zzz".to_owned(), None),
        (
            "a common word in a short conversation",
            "baba".to_owned(),
            Some(key(500)),
        ),
        (
            "a common character in a short conversation",
            "一".to_owned(),
            Some(key(500)),
        ),
        (
            "a rare word in a short conversation",
            "季度预算".to_owned(),
            Some(key(500)),
        ),
        (
            "a common word in the long conversation",
            "baba".to_owned(),
            Some(key(0)),
        ),
        (
            "one letter in a short conversation",
            "b".to_owned(),
            Some(key(500)),
        ),
    ] {
        measure(&format!("search, {what}: {query}"), 20, |_| {
            let page = search(&fixture.connection, &query, within.as_ref(), None, 50).unwrap();
            page.messages.len()
        });
    }

    measure("delete 500 messages", 5, |turn| {
        let first = turn as i64 * 500 + 1;
        let ids: Vec<i64> = (first..first + 500).collect();
        fixture.write(|transaction| delete_messages(transaction, &ids))
    });
}
