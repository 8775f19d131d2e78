use proptest::prelude::*;

use super::super::search::{index_some, last_waiting, search};
use super::fixture::{Fixture, group, private};

/// A database with these texts in one conversation, indexed; their ids count from 1.
fn texts(texts: &[&str]) -> Fixture {
    let mut fixture = Fixture::new();
    for (time, text) in (1..).zip(texts) {
        fixture.receive(&private("bob"), text, time);
    }
    fixture.write(|transaction| index_some(transaction, 1000));
    fixture
}

fn found(fixture: &Fixture, query: &str) -> Vec<i64> {
    let page = search(&fixture.connection, query, None, None, 200).unwrap();
    page.messages.iter().map(|message| message.message_id).collect()
}

#[track_caller]
fn assert_found(text: &str, queries: &[&str]) {
    let fixture = texts(&[text]);
    for query in queries {
        assert_eq!(found(&fixture, query), [1], "{query:?} in {text:?}");
    }
}

#[track_caller]
fn assert_not_found(text: &str, queries: &[&str]) {
    let fixture = texts(&[text]);
    for query in queries {
        assert_eq!(found(&fixture, query), [0; 0], "{query:?} in {text:?}");
    }
}

#[test]
fn chinese_is_found_by_any_characters_in_a_row() {
    assert_found(
        "明天开会吗",
        &["开会", "明天开会吗", "天开", "会", "吗", "明", "明天 会吗"],
    );
    assert_not_found("明天开会吗", &["会开", "明开", "明天会吗", "今天", "开会了"]);
}

#[test]
fn japanese_and_korean_are_found_like_chinese() {
    assert_found("明日の会議はスタジオで", &["会議", "スタジオ", "の会", "で"]);
    assert_found("내일 회의합니다", &["회의", "합니다", "내일"]);
    assert_found("ﾃｽﾄ 々〆", &["ﾃｽ", "々〆"]);
}

#[test]
fn a_rare_character_is_found_too() {
    for text in [
        "𠮷野家",
        "㐂寿",
        "𬽦𬽧",
        "\u{30000}\u{30001}",
        "\u{9ffc}好",
        "〇一",
    ] {
        let first = text.chars().next().unwrap().to_string();
        assert_found(text, &[text, &first]);
    }
}

#[test]
fn characters_at_both_sides_of_a_break_are_not_in_a_row() {
    assert_not_found("他说开会。会议", &["开会会", "会会议", "开会议"]);
    assert_found("他说开会。会议", &["说开会", "会议", "开会 会议"]);
}

#[test]
fn english_is_found_by_whole_words_and_the_last_one_by_its_beginning() {
    assert_found(
        "The Meeting moved to Friday",
        &["meeting", "FRIDAY", "friday meet", "fri", "the moved to"],
    );
    assert_not_found(
        "The Meeting moved to Friday",
        &["meet friday", "eeting", "monday", "meeting monday"],
    );
}

#[test]
fn letters_are_found_without_their_marks_and_case() {
    assert_found("Café Müller, NAÏVE", &["cafe", "CAFÉ", "muller", "naive"]);
    assert_found("Tiếng Việt", &["tieng viet", "TIẾNG"]);
    assert_found("Привет, Мир", &["привет", "мир"]);
}

#[test]
fn mixed_text_is_found_by_each_of_its_parts() {
    let text = "用iPhone15打给王芳 at 9:30";
    assert_found(
        text,
        &[
            "iphone15",
            "iph",
            "王芳",
            "用",
            "iphone15 王芳",
            "打给 9:30",
            "9:30",
            "王芳 at",
        ],
    );
    assert_not_found(text, &["phone15", "用打", "王芳 iphone16"]);
}

#[test]
fn words_that_are_written_with_signs_are_found_as_written() {
    assert_found(
        "mail bob@example.org, it's v1.2-rc",
        &["bob@example.org", "it's", "v1.2", "v1.2-rc"],
    );
    assert_not_found("example bob org", &["bob@example.org"]);
}

#[test]
fn a_sign_beside_a_word_does_not_hide_it() {
    assert_found(
        "hello world",
        &[
            "hello !",
            "! hello",
            "\"hello\"",
            "(world)",
            "hello * world",
            "-hello",
        ],
    );
}

#[test]
fn operators_of_the_search_language_are_words() {
    let fixture = texts(&["hello world", "hello OR world", "tokens : hello", "NEAR hello"]);
    assert_eq!(found(&fixture, "hello OR"), [2]);
    assert_eq!(found(&fixture, "hello NOT world"), [0; 0]);
    assert_eq!(found(&fixture, "NEAR"), [4]);
    assert_eq!(found(&fixture, "tokens:hello"), [3]);
    assert_eq!(found(&fixture, "conversation:1"), [0; 0]);
    assert_eq!(found(&fixture, "^hello"), [4, 3, 2, 1]);
    assert_eq!(found(&fixture, "{tokens}"), [3]);
}

#[test]
fn only_the_text_of_a_text_message_is_found() {
    let mut fixture = Fixture::new();
    let key = private("bob");
    fixture.insert(&key, "RC:ImgMsg", br#"{"content":"secret"}"#, 1, true);
    fixture.insert(
        &key,
        "RC:TxtMsg",
        br#"{"content":"plain","extra":"secret"}"#,
        2,
        true,
    );
    fixture.insert(&key, "RC:TxtMsg", b"secret", 3, true);
    fixture.insert(&key, "RC:TxtMsg", br#"{"content":5}"#, 4, true);
    fixture.insert(
        &key,
        "RC:TxtMsg",
        br#"{"content":"\u4f1a\u8bae \"quoted\""}"#,
        5,
        true,
    );
    fixture.write(|transaction| index_some(transaction, 100));
    assert_eq!(found(&fixture, "secret"), [0; 0]);
    assert_eq!(found(&fixture, "content"), [0; 0]);
    assert_eq!(found(&fixture, "plain"), [2]);
    assert_eq!(found(&fixture, "会议 quoted"), [5]);
}

#[test]
fn the_newest_are_found_first_page_by_page() {
    let fixture = texts(&["开会"; 5]);
    let page = |before, limit| {
        let page = search(&fixture.connection, "开会", None, before, limit).unwrap();
        let ids: Vec<_> = page.messages.iter().map(|message| message.message_id).collect();
        (ids, page.has_more)
    };
    assert_eq!(page(None, 2), (vec![5, 4], true));
    assert_eq!(page(Some(4), 2), (vec![3, 2], true));
    assert_eq!(page(Some(2), 2), (vec![1], false));
    assert_eq!(page(Some(1), 2), (vec![], false));
    assert_eq!(page(None, 5), (vec![5, 4, 3, 2, 1], false));
}

#[test]
fn a_search_can_be_kept_to_one_conversation() {
    let mut fixture = Fixture::new();
    let of_bob = fixture.receive(&private("bob"), "hello 1 2", 1);
    let of_team = fixture.receive(&group("team"), "hello 1 2", 2);
    fixture.write(|transaction| index_some(transaction, 100));
    let within = |query, key| {
        let page = search(&fixture.connection, query, Some(&key), None, 50).unwrap();
        page.messages
            .iter()
            .map(|message| message.message_id)
            .collect::<Vec<_>>()
    };
    assert_eq!(within("hello", private("bob")), [of_bob]);
    assert_eq!(within("hello", group("team")), [of_team]);
    assert_eq!(within("hello", private("team")), [0; 0]);
    assert_eq!(within("!", private("bob")), [0; 0]);
    assert_eq!(within("\u{10fffd}", private("bob")), [0; 0]);
    assert_eq!(found(&fixture, "hello"), [of_team, of_bob]);
    assert_eq!(
        found(&fixture, "2"),
        [of_team, of_bob],
        "a conversation's number is not its text"
    );
}

#[test]
fn the_index_is_filled_in_steps_the_oldest_message_first() {
    let mut fixture = Fixture::new();
    for time in 1..=5 {
        fixture.receive(&private("bob"), "hello", time);
    }
    assert_eq!(last_waiting(&fixture.connection).unwrap(), Some(5));
    assert_eq!(fixture.write(|transaction| index_some(transaction, 2)), Some(3));
    assert_eq!(found(&fixture, "hello"), [2, 1]);
    assert_eq!(fixture.write(|transaction| index_some(transaction, 100)), None);
    assert_eq!(found(&fixture, "hello"), [5, 4, 3, 2, 1]);
    assert_eq!(fixture.write(|transaction| index_some(transaction, 100)), None);
}

#[test]
fn a_message_that_is_gone_or_queued_twice_does_not_stop_the_index() {
    let mut fixture = texts(&["hello"]);
    fixture
        .connection
        .execute_batch("INSERT INTO search_queue (message_id) VALUES (1), (77), (78)")
        .unwrap();
    assert_eq!(fixture.write(|transaction| index_some(transaction, 2)), Some(78));
    assert_eq!(fixture.write(|transaction| index_some(transaction, 2)), None);
    assert_eq!(found(&fixture, "hello"), [1]);
}

#[test]
fn a_text_as_long_as_a_message_may_be_is_found_by_its_end() {
    let text = format!("{}终点", "会议".repeat(20_000));
    let fixture = texts(&[&text]);
    assert_eq!(found(&fixture, "议终点"), [1]);
}

proptest! {
    #[test]
    fn any_text_is_a_query(query in "\\PC{0,60}|[\"'*^:(){}+\\-, a会\0]{0,60}|(NEAR|AND|OR|NOT|\\(|\\)|\"| ){0,30}|.{0,300}") {
        let fixture = texts(&["明天开会吗 hello"]);
        search(&fixture.connection, &query, None, None, 50).unwrap();
        search(&fixture.connection, &query, Some(&private("bob")), None, 50).unwrap();
    }

    #[test]
    fn a_text_is_found_by_any_stretch_of_its_characters(text in "[一-十会議ーぁ-ゖァ-ヺ가-힣]{1,12}", start in 0..12_usize, length in 1..12_usize) {
        let characters: Vec<char> = text.chars().collect();
        let start = start % characters.len();
        let stretch: String = characters[start..].iter().take(length).collect();
        let fixture = texts(&[&format!("see {text}, ok")]);
        prop_assert_eq!(found(&fixture, &stretch), [1]);
    }
}
