use imd_core::account::{AppKey, UserId};

use super::cache::load;
use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn read(body: &str) -> Result<answer::Answer, NavError> {
    answer::read(body.as_bytes(), Plaintext::LoopbackOnly)
}

fn server(host: &str) -> Server {
    Server {
        transport: Transport::Tls,
        host: host.into(),
        port: 8883,
        path: "".into(),
    }
}

fn key(nav: &str, user: Option<&str>) -> Key {
    let nav = Server {
        transport: Transport::Nav,
        ..server(nav)
    };
    let user_id = user.map(|user| UserId::parse(user).unwrap());
    Key::new(&nav, &AppKey::parse("demo").unwrap(), user_id.as_ref())
}

fn entry(fetched: i64, hosts: &[&str]) -> Entry {
    Entry {
        servers: hosts.iter().copied().map(server).collect(),
        fetched: UnixTime::from_millis(fetched),
        ttl: HOUR,
    }
}

#[test]
fn an_answer_is_read_and_what_is_unknown_in_it_is_passed_over() {
    let body = r#"{"version":1,"ttl":600,"more":[{}],"servers":[
        {"url":"mqtts://one.example","weight":10,"region":"eu"},{"url":"wss://two.example/mqtt"}]}"#;
    let answer = read(body).unwrap();
    let shown: Vec<_> = answer
        .servers
        .iter()
        .map(|(server, weight)| (server.to_string(), *weight))
        .collect();
    let expected = [
        ("mqtts://one.example:8883".to_owned(), 10),
        ("wss://two.example:443/mqtt".to_owned(), 1),
    ];
    assert_eq!(shown, expected);
    assert_eq!(answer.ttl, Duration::from_secs(600));
}

#[test]
fn the_time_to_live_is_two_hours_and_never_below_a_minute_or_above_a_day() {
    let ttl = |text: &str| {
        let body = format!(r#"{{"version":1,{text}"servers":[{{"url":"mqtts://one.example"}}]}}"#);
        read(&body).unwrap().ttl.as_secs()
    };
    assert_eq!(ttl(""), 7_200);
    assert_eq!(ttl("\"ttl\":0,"), 60);
    assert_eq!(ttl("\"ttl\":18446744073709551615,"), 86_400);
}

#[test]
fn every_bad_answer_has_its_own_text() {
    let one = r#"{"url":"mqtts://one.example"}"#;
    let many = vec![one; 33].join(",");
    let long = format!("mqtts://{}", "a".repeat(1_100));
    for (body, text) in [
        ("<html>".to_owned(), "not JSON"),
        ("[]".to_owned(), "not as docs/nav.md"),
        (format!(r#"{{"servers":[{one}]}}"#), "not as docs/nav.md"),
        (r#"{"version":2}"#.to_owned(), "version 2"),
        (r#"{"version":1}"#.to_owned(), "not as docs/nav.md"),
        (r#"{"version":1,"servers":[]}"#.to_owned(), "names no server"),
        (format!(r#"{{"version":1,"servers":[{many}]}}"#), "33 servers"),
        (
            r#"{"version":1,"servers":[{"url":"mqtts://one.example","weight":-1}]}"#.to_owned(),
            "not as docs/nav.md",
        ),
        (
            format!(r#"{{"version":1,"servers":[{one},{{"url":"ftp://two"}}]}}"#),
            "server 2 of its answer",
        ),
        (
            format!(r#"{{"version":1,"servers":[{{"url":"{long}"}}]}}"#),
            "more than 1024 bytes",
        ),
        (
            r#"{"version":1,"servers":[{"url":"mqtt://one.example"}]}"#.to_owned(),
            "plaintext = true",
        ),
        (
            r#"{"version":1,"servers":[{"url":"https://one.example"}]}"#.to_owned(),
            "none of mqtt://",
        ),
    ] {
        let error = read(&body).unwrap_err().to_string();
        assert!(error.contains(text), "{body}: {error}");
    }
}

#[test]
fn weights_say_how_often_a_server_comes_first_and_none_is_left_out_or_named_twice() {
    let servers = vec![
        (server("rare"), 1),
        (server("often"), 3),
        (server("last"), 0),
        (server("often"), 0),
    ];
    let mut first = std::collections::BTreeMap::new();
    for drawn in 0..400 {
        let order = answer::by_weight(servers.clone(), || drawn);
        assert_eq!(order.len(), 3, "{order:?}");
        assert_eq!(order.last(), Some(&server("last")));
        *first.entry(order.first().unwrap().host.to_string()).or_insert(0) += 1;
    }
    assert_eq!((first["often"], first["rare"]), (300, 100));
}

#[test]
fn an_entry_is_fresh_for_its_time_and_not_when_the_clock_was_set_back() {
    let entry = entry(1_000, &["one"]);
    let fresh = |at: i64| entry.is_fresh(UnixTime::from_millis(at));
    assert!(fresh(1_000) && fresh(3_600_999));
    assert!(!fresh(999) && !fresh(3_601_000));
}

#[test]
fn another_nav_or_user_has_an_entry_of_its_own() {
    let mut cache = Cache::default();
    cache.put(key("nav", Some("alice")), entry(0, &["one"]));
    assert!(cache.get(&key("nav", Some("alice"))).is_some());
    assert!(cache.get(&key("nav", Some("bob"))).is_none());
    assert!(cache.get(&key("other", Some("alice"))).is_none());
}

#[test]
fn what_was_said_before_the_user_had_a_name_is_of_whoever_logs_in_there() {
    let (alice, named) = (UserId::parse("alice").unwrap(), key("nav", Some("alice")));
    let app_key = named.app_key.clone();
    let mut cache = Cache::default();
    cache.put(key("nav", None), entry(0, &["one"]));
    assert!(!cache.adopt(&app_key, &alice, &server("elsewhere")));
    assert!(cache.get(&named).is_none());
    assert!(cache.adopt(&app_key, &alice, &server("one")));
    assert!(cache.get(&named).is_some());
    assert!(cache.get(&key("nav", None)).is_none());
}

#[test]
fn what_the_nav_said_of_a_user_stays_that_user_s() {
    let (carol, named) = (UserId::parse("carol").unwrap(), key("nav", Some("carol")));
    let mut cache = Cache::default();
    cache.put(named.clone(), entry(0, &["one", "two"]));
    cache.put(key("nav", None), entry(5, &["one"]));
    assert!(!cache.adopt(&named.app_key, &carol, &server("one")));
    assert_eq!(cache.get(&named), Some(&entry(0, &["one", "two"])));
}

#[test]
fn the_server_that_was_reached_is_last_until_its_login_is_through_and_then_first() {
    let mut cache = Cache::default();
    let key = key("nav", Some("alice"));
    cache.put(key.clone(), entry(0, &["one", "two", "three"]));
    cache.put_last(&key, &server("one"));
    let shown = |cache: &Cache| {
        let servers = &cache.get(&key).unwrap().servers;
        servers
            .iter()
            .map(|server| server.host.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(shown(&cache), ["two", "three", "one"]);
    cache.prefer(&key.app_key, key.user_id.as_ref().unwrap(), &server("one"));
    assert_eq!(shown(&cache), ["one", "two", "three"]);
}

#[test]
fn answers_survive_a_restart_and_a_damaged_file_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nav.json");
    let mut cache = Cache::default();
    for number in 0..40 {
        cache.put(
            key("nav", Some(&format!("user{number}"))),
            entry(number, &["one"]),
        );
    }
    cache.put(key("nav", None), entry(0, &["one"]));
    std::fs::write(&path, cache.to_json().unwrap()).unwrap();
    let loaded = load(&path, Plaintext::LoopbackOnly);
    let last = key("nav", Some("user39"));
    assert_eq!(loaded.get(&last), cache.get(&last));
    assert!(
        loaded.get(&key("nav", Some("user0"))).is_none(),
        "the oldest make room"
    );
    assert!(loaded.get(&key("nav", None)).is_none());
    for damage in ["", "{", r#"{"version":9,"entries":[]}"#, "\u{0}\u{1}"] {
        std::fs::write(&path, damage).unwrap();
        assert!(
            load(&path, Plaintext::LoopbackOnly).get(&last).is_none(),
            "{damage:?}"
        );
    }
}
