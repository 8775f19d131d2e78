//! Bad input: each has a clear error, and harms nothing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use imd::demo::broker::Then;
use imd_proto::code::Code;
use imd_proto::imd::v1::{ConnectRequest, ConnectionStatus};
use imd_tests::APP_KEY;
use imd_tests::daemon::{Daemon, config};
use imd_tests::home::Home;
use imd_tests::process::{Finished, Running};
use imd_tests::rpc::connect_request;
use imd_tests::scripted::Scripted;
use imd_tests::wait::{SOON, eventually, when};

/// Nothing listens there, and nothing is asked to connect.
const SERVER: &str = "mqtt://127.0.0.1:9";

/// A daemon that must refuse to start, with a text that has all of this in it.
#[track_caller]
fn refuses_config(text: &str, said: &[&str]) {
    let home = Home::new();
    home.write_config(text);
    for arguments in [&["--check-config"][..], &[]] {
        refuses(&Running::start(home.imd().args(arguments), b"").finish(), said);
    }
}

#[track_caller]
fn refuses(finished: &Finished, said: &[&str]) {
    assert!(
        !matches!(finished.code, Some(0) | None),
        "it must refuse: {finished:?}"
    );
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
    for word in said {
        assert!(
            finished.stderr.contains(word),
            "the text has no {word:?}: {finished:?}"
        );
    }
}

#[test]
fn an_unknown_config_key_is_named_with_its_line() {
    refuses_config(&config(SERVER, "keep_alife = 30"), &["keep_alife", "imd.toml:5"]);
    refuses_config("[servers]\n", &["servers", "imd.toml:1"]);
}

#[test]
fn a_bad_url_is_named_with_its_line() {
    for url in [
        "mqtt://",
        "http://127.0.0.1",
        "127.0.0.1:1883",
        "mqtt://127.0.0.1:99999",
        "",
    ] {
        refuses_config(&config(url, ""), &["imd.toml:2"]);
    }
}

#[test]
fn plaintext_to_a_foreign_address_must_be_asked_for() {
    for url in ["mqtt://192.0.2.1:1883", "mqtt://chat.example.org"] {
        refuses_config(&config(url, ""), &["plaintext", "imd.toml:2"]);
    }
    let home = Home::new();
    home.write_config(&format!(
        "{}plaintext = true\n",
        config("mqtt://192.0.2.1:1883", "")
    ));
    Running::start(home.imd().arg("--check-config"), b"")
        .finish()
        .expect_code(0);
}

#[test]
fn a_configuration_that_is_no_toml_is_named_with_its_line() {
    refuses_config("[server\n", &["imd.toml:1"]);
    refuses_config(&config(SERVER, "keep_alive = \"soon\""), &["soon", "imd.toml:5"]);
}

#[test]
fn a_socket_path_of_200_bytes_is_refused_with_its_length() {
    let home = Home::new();
    home.write_config(&config(SERVER, ""));
    let root = home.path("");
    let long = format!("{}{}", root.display(), "s".repeat(200 - root.as_os_str().len()));
    refuses(
        &Running::start(home.imd().args(["--socket", &long]), b"").finish(),
        &["200", "107"],
    );
    refuses(&home.run_imctl(&["--socket", &long, "status"]), &["200", "107"]);
}

#[test]
fn without_a_runtime_directory_nothing_lands_in_tmp() {
    let home = Home::new();
    home.write_config(&config(SERVER, ""));
    refuses(
        &Running::start(home.imd().env_remove("XDG_RUNTIME_DIR"), b"").finish(),
        &["XDG_RUNTIME_DIR"],
    );
}

#[test]
fn a_data_directory_that_is_a_file_is_refused_and_kept() {
    let home = Home::new();
    home.write_config(&config(SERVER, ""));
    let file = home.path("precious");
    fs::write(&file, "precious").unwrap();
    let finished = Running::start(home.imd().arg("--data-dir").arg(&file), b"").finish();
    refuses(&finished, &[&file.display().to_string()]);
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn bad_tokens_are_refused_without_being_shown() {
    let daemon = Daemon::configured(&config(SERVER, ""));
    let megabyte = "t".repeat(1024 * 1024);
    for (token, codes) in [
        ("", &[Code::INVALID_PARAMETER_TOKEN][..]),
        ("two\nlines", &[Code::INVALID_PARAMETER_TOKEN]),
        ("a\0b", &[Code::INVALID_PARAMETER_TOKEN]),
        (
            &megabyte,
            &[Code::INVALID_PARAMETER_TOKEN, Code::IMD_REQUEST_TOO_LARGE],
        ),
    ] {
        let refused = daemon
            .rpc()
            .connect(None, connect_request("alice", token))
            .unwrap_err();
        assert!(codes.contains(&refused.code), "{refused:?}");
        assert!(token.is_empty() || !refused.text.contains(token), "{refused:?}");
        let finished = daemon.home().connect(token, &[]);
        refuses(&finished, &[]);
        assert!(
            codes
                .iter()
                .any(|code| finished.stderr.contains(&code.to_string()))
                || finished.code == Some(2),
            "{finished:?}"
        );
    }
    is_unharmed(&daemon);
}

#[test]
fn bad_user_ids_and_app_keys_are_refused() {
    let daemon = Daemon::configured(&config(SERVER, ""));
    let rpc = daemon.rpc();
    let long = "a".repeat(65);
    for bad in ["a/b", "a+b", "a#b", "a\0b", "..", ".", "line\n", &long] {
        let refused = rpc.connect(None, connect_request(bad, "token")).unwrap_err();
        assert_eq!(
            refused.code,
            Code::INVALID_PARAMETER_USER_ID,
            "{bad:?}: {refused:?}"
        );

        let bound = rpc.bind("org.example.Chat").unwrap();
        let refused = rpc.init(&bound, bad).unwrap_err();
        assert_eq!(refused.code, Code::INVALID_APP_KEY, "{bad:?}: {refused:?}");

        let request = ConnectRequest {
            app_key: bad.to_owned(),
            ..connect_request("alice", "token")
        };
        let refused = rpc.connect(None, request).unwrap_err();
        assert_eq!(refused.code, Code::INVALID_APP_KEY, "{bad:?}: {refused:?}");

        // A NUL cannot stand in an argument.
        if !bad.contains('\0') {
            refuses(&daemon.home().connect("token", &["--user-id", bad]), &["34214"]);
            refuses(&daemon.home().connect("token", &["--app-key", bad]), &["34257"]);
        }
    }
    is_unharmed(&daemon);
}

#[test]
fn random_bytes_on_the_socket_are_thrown_out() {
    let daemon = Daemon::configured(&config(SERVER, ""));
    for seed in 0..32_u64 {
        let mut stream = UnixStream::connect(daemon.home().socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        // The daemon may hang up before all is written.
        let _ = stream.write_all(&noise(seed, 4096));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
    }
    is_unharmed(&daemon);
}

#[test]
fn a_request_over_the_limit_is_refused_and_the_connection_lives() {
    let daemon = Daemon::configured(&config(SERVER, ""));
    let rpc = daemon.rpc();
    let bound = rpc.bind("org.example.Chat").unwrap();
    let refused = rpc.init(&bound, &"k".repeat(8 * 1024 * 1024)).unwrap_err();
    assert_eq!(refused.code, Code::IMD_REQUEST_TOO_LARGE, "{refused:?}");
    rpc.init(&bound, APP_KEY).unwrap();
    is_unharmed(&daemon);
}

#[test]
fn a_server_that_speaks_http_is_told_as_not_mqtt() {
    let status = status_when_connack_is(
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        Then::Close,
    );
    assert_eq!(status.last_code, Code::RC_MSG_DATA_INCOMPLETE.0, "{status:?}");
}

#[test]
fn a_server_that_sends_half_a_connack_and_closes_is_tried_again() {
    let status = status_when_connack_is(&[0x20, 0x03, 0x00], Then::Close);
    assert_ne!(status.last_code, 0, "{status:?}");
}

#[test]
fn a_server_that_announces_256_mb_gets_no_memory_for_it() {
    let status = status_when_connack_is(&[0x20, 0xFF, 0xFF, 0xFF, 0x7F, 0x00], Then::Stay);
    assert_eq!(status.last_code, Code::RC_MSG_DATA_INCOMPLETE.0, "{status:?}");
}

/// The status after an attempt that met these bytes in place of a CONNACK. The daemon must keep trying, keep
/// small, and take the server again when it behaves.
fn status_when_connack_is(bytes: &[u8], then: Then) -> ConnectionStatus {
    let broker = Scripted::start();
    broker.answer_connects_with(bytes, then);
    let mut daemon = Daemon::for_server(&broker.url());
    let connect = daemon.home().start_connect("opaque", &["--user-id", "alice"]);
    let status = daemon.await_status("SUSPEND");
    assert!(!status.reason.is_empty(), "{status:?}");
    eventually(SOON, "a second attempt", || {
        let dials = broker.broker().total_network_connections();
        when(dials >= 2, dials)
    });
    let peak = daemon.process().peak_memory_mb();
    assert!(peak < 100, "{peak} MB");
    broker.broker().script().clear();
    connect.finish().expect_code(0);
    assert_eq!(daemon.status().status_name, "CONNECTED");
    status
}

fn is_unharmed(daemon: &Daemon) {
    assert!(daemon.rpc().version().is_ok());
    daemon.imctl(&["status"]).expect_code(0);
}

/// Bytes without a pattern, the same for the same seed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(1);
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
    .take(length)
    .collect()
}
