//! Messages, conversations and groups on the command line.

use std::io::{BufRead as _, BufReader};

use imd_proto::imd::v1;
use imd_proto::imd::v1::event::Content;

use super::fake::FakeDaemon;
use super::fake::archive::{group, private, text, time};
use super::{assert_ended, imctl, piped, run, run_with_input, stderr, stdout};

/// Three messages, of all kinds.
fn talk(daemon: &FakeDaemon) {
    let archive = &daemon.script.archive;
    archive.store(text("one", private("bob"), "bob", "开会"));
    archive.store(text("two", private("bob"), "alice", "not \\u001b[2J\\nnow"));
    archive.settle("two", 20, 22_406);
    archive.store(v1::Message {
        object_name: "app:Poll".to_owned(),
        content: vec![0xff, 0].into(),
        ..text("three", group("team"), "carol", "")
    });
}

fn objects(said: &str) -> Vec<serde_json::Value> {
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn send_prints_the_uid_of_what_is_on_disk() {
    let daemon = FakeDaemon::start();
    let output = run(&daemon, "send --to bob hello");
    assert_ended(&output, 0);
    let uid = daemon.script.archive.sends.lock().unwrap()[0].clone();
    assert_eq!(stdout(&output), format!("{uid}\n"));

    let output = run_with_input(&daemon, "--json send --group team -", "two\nlines\n");
    assert_ended(&output, 0);
    let object = &objects(&stdout(&output))[0];
    assert_eq!(object["text"], "two\nlines", "without the line break at the end");
    assert_eq!(object["conversation_type_name"], "GROUP");
    assert_eq!(object["sent_status"], 10);
    assert_eq!(object["sent_status_name"], "SENDING");
}

#[test]
fn send_waits_until_the_message_is_sent_or_has_failed_or_the_time_is_over() {
    let daemon = FakeDaemon::start();
    for (status, code, exit) in [(30, 0, 0), (20, 22_406, 1)] {
        let mut send = piped(&mut imctl(
            &daemon,
            "send --to bob --wait sent --timeout 20 hello",
        ));
        let mut lines = BufReader::new(send.stdout.take().unwrap()).lines();
        let uid = lines.next().unwrap().unwrap();
        daemon.script.archive.settle(&uid, status, code);
        if exit == 0 {
            assert_eq!(lines.next().unwrap().unwrap(), "SENT (30)");
        }
        let output = send.wait_with_output().unwrap();
        assert_ended(&output, exit);
        if exit == 1 {
            assert!(stderr(&output).starts_with("NOT_IN_GROUP (22406): as the test says\n"));
        }
    }
    let output = run(&daemon, "send --to bob --wait received --timeout 0 hello");
    assert_ended(&output, 4);
    assert!(stderr(&output).contains("stays in the outbox"), "{output:?}");
}

#[test]
fn a_message_that_is_refused_ends_with_1_and_one_that_is_empty_is_none() {
    let daemon = FakeDaemon::start();
    daemon.script.archive.open("");
    let output = run(&daemon, "send --to bob hello");
    assert_ended(&output, 1);
    assert!(stderr(&output).starts_with("RC_DB_NOT_INIT (34301): no account is open\n"));
    assert_ended(&run_with_input(&daemon, "send --to bob -", "\n"), 1);
    assert!(daemon.script.archive.sends.lock().unwrap().len() == 1);
}

#[test]
fn history_is_oldest_first_and_steers_no_terminal() {
    let daemon = FakeDaemon::start();
    talk(&daemon);
    let output = run(&daemon, "history --with bob");
    assert_ended(&output, 0);
    assert_eq!(
        stdout(&output),
        concat!(
            "2023-11-14 22:13:20.000  bob: 开会\n",
            "2023-11-14 22:13:20.000  alice to bob: not \\u{1b}[2J\\nnow  FAILED (20)  ",
            "NOT_IN_GROUP (22406): as the test says\n"
        )
    );
    assert_eq!(
        stdout(&run(&daemon, "history --group team")),
        "2023-11-14 22:13:20.000  carol in team: <app:Poll, 2 bytes>\n"
    );
    assert_eq!(
        stdout(&run(&daemon, "history --with bob --limit 1"))
            .lines()
            .count(),
        1
    );
}

#[test]
fn a_message_is_one_object_with_numbers_and_names() {
    let daemon = FakeDaemon::start();
    talk(&daemon);
    assert_eq!(
        stdout(&run(&daemon, "--json history --with bob")).lines().last(),
        Some(concat!(
            r#"{"message_id":2,"uid":"two","conversation_type":1,"conversation_type_name":"PRIVATE","#,
            r#""target_id":"bob","sender_user_id":"alice","direction":"SEND","object_name":"RC:TxtMsg","#,
            r#""text":"not \u001b[2J\nnow","content":"{\"content\":\"not \\u001b[2J\\nnow\"}","#,
            r#""content_base64":null,"counted":true,"sent_time":"2023-11-14T22:13:20.000Z","#,
            r#""received_time":"2023-11-14T22:13:21.000Z","sent_status":20,"sent_status_name":"FAILED","#,
            r#""code":22406,"code_name":"NOT_IN_GROUP","code_text":"as the test says","#,
            r#""no_receiver":false,"read":false}"#
        ))
    );
    let poll = &objects(&stdout(&run(&daemon, "--json history --group team")))[0];
    assert_eq!(poll["content_base64"], "/wA=");
    assert!(poll["content"].is_null() && poll["text"].is_null() && poll["sent_status"].is_null());
}

#[test]
fn a_history_longer_than_a_page_is_read_by_pages() {
    let daemon = FakeDaemon::start();
    for at in 0..450 {
        let uid = at.to_string();
        daemon
            .script
            .archive
            .store(text(&uid, private("bob"), "bob", &uid));
    }
    let said = stdout(&run(&daemon, "--json history --with bob --limit 420"));
    let texts: Vec<_> = objects(&said)
        .iter()
        .map(|object| object["text"].clone())
        .collect();
    let wanted: Vec<_> = (30..450)
        .map(|at| serde_json::Value::from(at.to_string()))
        .collect();
    assert!(texts == wanted);
    let said = stdout(&run(&daemon, "--json search 1 --limit 250"));
    assert_eq!(
        said.lines().count(),
        (0..450).filter(|at| at.to_string().contains('1')).count()
    );
    assert_eq!(objects(&said)[0]["text"], "441", "newest first");
}

#[test]
fn search_and_outbox_say_where_a_message_belongs() {
    let daemon = FakeDaemon::start();
    talk(&daemon);
    assert_eq!(
        stdout(&run(&daemon, "search 开")),
        "2023-11-14 22:13:20.000  bob: 开会\n"
    );
    let output = run(&daemon, "outbox");
    assert!(stdout(&output).contains("alice to bob"), "{output:?}");
    assert_eq!(stderr(&output), "waiting to be sent: 0 (0 bytes)\n");
    assert_eq!(stderr(&run(&daemon, "--json outbox")), "");
}

#[test]
fn conversations_are_a_table_or_objects() {
    let daemon = FakeDaemon::start();
    let mut last = text("one", private("bob"), "bob", "hello");
    last.message_id = 7;
    *daemon.script.archive.conversations.lock().unwrap() = vec![
        v1::Conversation {
            key: Some(private("bob")),
            unread_count: 2,
            last_message: Some(last),
            pinned: true,
            draft: "so".to_owned(),
            update_time: time(3),
            ..v1::Conversation::default()
        },
        v1::Conversation {
            key: Some(group("team")),
            muted: true,
            ..v1::Conversation::default()
        },
    ];
    assert_eq!(
        stdout(&run(&daemon, "conversations")),
        concat!(
            "TYPE     WITH  UNREAD  MARKS         SINCE                    LAST MESSAGE\n",
            "PRIVATE  bob   2       pinned,draft  2023-11-14 22:13:23.000  bob: hello\n",
            "GROUP    team  0       muted         -                        -\n"
        )
    );
    let said = stdout(&run(&daemon, "--json conversations"));
    assert_eq!(
        said.lines().last(),
        Some(concat!(
            r#"{"conversation_type":3,"conversation_type_name":"GROUP","target_id":"team","unread_count":0,"#,
            r#""pinned":false,"muted":true,"draft":null,"update_time":null,"last_message":null}"#
        ))
    );
    assert_eq!(objects(&said)[0]["last_message"]["message_id"], 7);
    assert_eq!(
        stdout(&run(&daemon, "--json conversations --limit 1"))
            .lines()
            .count(),
        1
    );
}

#[test]
fn groups_are_joined_listed_and_quit() {
    let daemon = FakeDaemon::start();
    assert_ended(&run(&daemon, "join team"), 0);
    daemon.script.archive.groups.lock().unwrap()[0].code = 22_406;
    assert_eq!(
        stdout(&run(&daemon, "groups")),
        concat!(
            "GROUP  SINCE                    REFUSED\n",
            "team   2023-11-14 22:13:20.000  NOT_IN_GROUP (22406)\n"
        )
    );
    assert_eq!(
        stdout(&run(&daemon, "--json groups")),
        concat!(
            r#"{"group_id":"team","join_time":"2023-11-14T22:13:20.000Z","code":22406,"#,
            r#""code_name":"NOT_IN_GROUP"}"#,
            "\n"
        )
    );
    assert_ended(&run(&daemon, "quit team"), 0);
    assert_eq!(stdout(&run(&daemon, "--json groups")), "");
}

#[test]
fn watch_shows_messages_and_gaps_as_they_come() {
    let mut daemon = FakeDaemon::start();
    let mut watch = piped(&mut imctl(&daemon, "--json watch"));
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().starts_with(r#"{"status":2,"#));
    daemon.script.wait_for_subscribed(1);
    daemon.script.archive.log(Content::Gap(v1::Gap {
        kind: v1::GapKind::GroupSequence.into(),
        conversation: Some(group("team")),
        sender_user_id: "bob".to_owned(),
        missing: 3,
        text: "3 are missing".to_owned(),
    }));
    assert_eq!(
        next(),
        concat!(
            r#"{"event":"gap","epoch":"first","offset":1,"time":"2023-11-14T22:13:22.000Z","gap_kind":1,"#,
            r#""gap_kind_name":"GROUP_SEQUENCE","conversation":{"conversation_type":3,"#,
            r#""conversation_type_name":"GROUP","target_id":"team"},"sender_user_id":"bob","missing":3,"#,
            r#""text":"3 are missing"}"#
        )
    );
    daemon
        .script
        .archive
        .store(text("one", private("bob"), "bob", "hello"));
    let message = &objects(&next())[0];
    assert_eq!(message["event"], "message");
    assert_eq!(message["message"]["text"], "hello");
    daemon.kill();
    assert!(next().contains("DAEMON_LOST"));
    daemon
        .script
        .archive
        .store(text("meanwhile", private("bob"), "bob", "while nobody was told"));
    daemon.restart();
    assert!(next().contains("UNCONNECTED"), "the next daemon's status");
    assert!(next().contains("while nobody was told"), "and its events");
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn watch_has_a_line_for_every_event() {
    let mut daemon = FakeDaemon::start();
    let mut watch = piped(&mut imctl(&daemon, "watch"));
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    next();
    daemon.script.wait_for_subscribed(1);
    talk(&daemon);
    let archive = &daemon.script.archive;
    archive.log(Content::OfflineSyncCompleted(v1::OfflineSyncCompleted {
        complete: true,
    }));
    archive.log(Content::Unreadable(v1::Unreadable {
        topic: "im/demo/u/alice/bob".to_owned(),
        reason: "no envelope".to_owned(),
        bytes: 7,
    }));
    for wanted in [
        "22:13:22.000  bob: 开会",
        "22:13:22.000  alice to bob: not \\u{1b}[2J\\nnow  SENT (30)",
        "22:13:22.000  alice to bob: not \\u{1b}[2J\\nnow  FAILED (20)  NOT_IN_GROUP (22406): as the test says",
        "22:13:22.000  carol in team: <app:Poll, 2 bytes>",
        "22:13:22.000  OFFLINE_SYNC_COMPLETED",
        "22:13:22.000  UNREADABLE  im/demo/u/alice/bob: no envelope (7 bytes)",
    ] {
        assert_eq!(next(), wanted);
    }
    daemon.script.archive.open("another");
    assert!(
        next().contains("STARTED  the events before this one"),
        "another account"
    );
    daemon.kill();
    assert!(next().contains("DAEMON_LOST"));
    daemon
        .script
        .archive
        .store(text("meanwhile", private("bob"), "bob", "while nobody was told"));
    daemon.restart();
    assert!(next().contains("UNCONNECTED"), "the next daemon's status");
    assert!(next().contains("while nobody was told"), "and its events");
    watch.kill().unwrap();
    watch.wait().unwrap();
}
