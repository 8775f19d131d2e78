//! The daemon and a real Mosquitto, with everything between them that is no plain TCP: TLS, WebSockets, proxies,
//! several servers.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a helper of a test fails its test"
)]

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use imd_tests::certificates::Authority;
use imd_tests::daemon::Daemon;
use imd_tests::front::{Front, PROXY_USER};
use imd_tests::home::Home;
use imd_tests::mosquitto::Mosquitto;
use imd_tests::process::Finished;

const SECRET: &str = "canary-proxy-9c1d-not-to-be-seen";

/// A configuration with this server, trusted by this authority.
fn trusting(url: &str, authority: &Authority) -> String {
    let file = authority.file();
    format!("[server]\nurls = [\"{url}\"]\nca_file = \"{}\"\n", file.display())
}

/// Connects as alice, and is seen as connected by `imctl status`.
#[track_caller]
fn connects(daemon: &Daemon, broker: &Mosquitto) {
    daemon.connect("alice", &broker.token("alice"));
    let status = daemon.imctl(&["status"]);
    assert!(status.expect_code(0).stdout.contains("CONNECTED"), "{status:?}");
    assert_eq!(broker.logins(), ["desktop:demo:alice"], "one login, and no more");
}

/// The doctor's row on this check, as JSON.
#[track_caller]
fn found(daemon: &Daemon, check: &str) -> String {
    let Finished { stdout, .. } = daemon.imctl(&["--json", "doctor"]);
    let row = stdout.lines().find(|line| line.contains(&format!("{check:?}")));
    row.unwrap_or_else(|| panic!("no row {check} in {stdout}"))
        .to_owned()
}

#[test]
fn mqtts_connects_to_a_real_mosquitto_that_the_ca_file_trusts() {
    let authority = Authority::new();
    let broker = Mosquitto::encrypted(&authority.sign(-1, 30));
    let daemon = Daemon::configured(&trusting(&broker.tls_url(), &authority));
    connects(&daemon, &broker);
    let row = found(&daemon, "server.certificate");
    assert!(row.contains("14 days at least"), "{row}");
}

#[test]
fn a_certificate_that_has_expired_shows_and_heals_when_it_is_mended() {
    let authority = Authority::new();
    let mut broker = Mosquitto::encrypted(&authority.sign(-1, 5));
    let daemon = Daemon::configured(&trusting(&broker.tls_url(), &authority));
    connects(&daemon, &broker);
    let row = found(&daemon, "server.certificate");
    assert!(row.contains("expires on 20"), "{row}");

    broker.stop();
    broker.show(&authority.sign(-9, -2));
    broker.restart();
    let expired = daemon.await_status_that("with the certificate's end", |status| {
        status.reason.contains("the server's certificate expired on 20")
    });
    assert_eq!(expired.last_code, 90011, "{expired:?}");
    let row = found(&daemon, "server");
    assert!(row.contains("expired on 20") && row.contains("new one"), "{row}");

    broker.stop();
    broker.show(&authority.sign(-1, 30));
    broker.restart();
    daemon.await_status("CONNECTED");
}

#[test]
fn a_stranger_s_certificate_is_retried_and_trusted_once_the_file_is_mended() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let broker = Mosquitto::encrypted(&theirs.sign(-1, 30));
    let daemon = Daemon::configured(&trusting(&broker.tls_url(), &ours));
    let connect = daemon
        .home()
        .start_connect(&broker.token("alice"), &["--user-id", "alice"]);
    let status = daemon.await_status_that("with the fault", |status| status.last_code == 90011);
    assert!(
        status.reason.contains("authority that is not trusted"),
        "{}",
        status.reason
    );
    fs::copy(theirs.file(), ours.file()).unwrap();
    connect.finish().expect_code(0);
    daemon.await_status("CONNECTED");
}

#[test]
fn a_plain_server_on_a_port_for_tls_and_the_other_way_round_are_told() {
    let authority = Authority::new();
    let broker = Mosquitto::encrypted(&authority.sign(-1, 30));
    let plain = format!("mqtts://{}", broker.address());
    let daemon = Daemon::configured(&trusting(&plain, &authority));
    let row = found(&daemon, "server");
    assert!(row.contains("mqtt:// or ws://"), "{row}");

    let encrypted = broker.tls_url().replace("mqtts://", "mqtt://");
    let daemon = Daemon::for_server(&encrypted);
    let _connect = daemon
        .home()
        .start_connect(&broker.token("alice"), &["--user-id", "alice"]);
    daemon.await_status_that("with the fault", |status| status.reason.contains("mqtts://"));
}

#[test]
fn websockets_connect_with_and_without_encryption() {
    let broker = Mosquitto::start();
    let front = Front::websocket(broker.address());
    let daemon = Daemon::for_server(&format!("ws://{}/mqtt", front.address()));
    connects(&daemon, &broker);
    drop(daemon);

    let broker = Mosquitto::start();
    let authority = Authority::new();
    let front = Front::encrypted_websocket(broker.address(), authority.sign(-1, 30).server());
    let url = format!("wss://{}/mqtt", front.address());
    let daemon = Daemon::configured(&trusting(&url, &authority));
    connects(&daemon, &broker);
    // Larger than one read, and back.
    let text = "long ".repeat(10_000);
    daemon.imctl(&["send", "--to", "bob", &text]).expect_code(0);
}

#[test]
fn a_websocket_at_another_path_is_told_as_such() {
    let broker = Mosquitto::start();
    let front = Front::websocket(broker.address());
    let daemon = Daemon::for_server(&format!("ws://{}/other", front.address()));
    let row = found(&daemon, "server");
    assert!(row.contains("404") && row.contains("path"), "{row}");
}

#[test]
fn a_proxy_leads_to_a_server_whose_name_it_alone_knows() {
    let authority = Authority::new();
    for scheme in ["socks5", "socks5h", "http"] {
        let broker = Mosquitto::encrypted(&authority.sign(-1, 30));
        let front = if scheme == "http" {
            Front::http(broker.tls_address(), None)
        } else {
            Front::socks5(broker.tls_address(), None)
        };
        let server = trusting("mqtts://broker.invalid", &authority);
        let config = format!("{server}[proxy]\nurl = \"{scheme}://{}\"\n", front.address());
        let daemon = Daemon::configured(&config);
        connects(&daemon, &broker);
        assert_eq!(front.asked(), ["broker.invalid:8883"]);
        let row = found(&daemon, "server");
        assert!(row.contains("through the proxy"), "{row}");
    }
}

#[test]
fn the_environment_names_a_proxy_where_the_configuration_has_none() {
    let authority = Authority::new();
    let broker = Mosquitto::encrypted(&authority.sign(-1, 30));
    let front = Front::http(broker.tls_address(), None);
    let proxy = format!("http://{}", front.address());
    let config = trusting("mqtts://broker.invalid", &authority);
    let environment = [("https_proxy", &*proxy), ("ALL_PROXY", "socks5://127.0.0.1:1")];
    let daemon = Daemon::with(&config, &environment);
    connects(&daemon, &broker);
    assert_eq!(front.asked(), ["broker.invalid:8883"]);
    drop(daemon);

    // This machine is reached without it.
    let broker = Mosquitto::start();
    let near = format!("[server]\nurls = [\"{}\"]\n", broker.url());
    let daemon = Daemon::with(&near, &environment);
    connects(&daemon, &broker);
}

/// A file with this password.
fn password_file(home: &Home, password: &str) -> String {
    let path = home.path("proxy-password");
    fs::write(&path, format!("{password}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path.display().to_string()
}

#[test]
fn a_proxy_s_password_comes_from_its_file_and_is_seen_nowhere_else() {
    for scheme in ["socks5", "http"] {
        let broker = Mosquitto::start();
        let front = if scheme == "http" {
            Front::http(broker.address(), Some(SECRET))
        } else {
            Front::socks5(broker.address(), Some(SECRET))
        };
        let keeper = Home::new();
        let file = password_file(&keeper, SECRET);
        let config = format!(
            "[server]\nurls = [\"mqtt://broker.invalid\"]\nplaintext = true\n\
             [proxy]\nurl = \"{scheme}://{PROXY_USER}@{}\"\npassword_file = \"{file}\"\n",
            front.address()
        );
        let daemon = Daemon::with(&config, &[("IMD_LOG", "trace")]);
        connects(&daemon, &broker);
        let said = [&["status"][..], &["doctor"], &["timeline"]]
            .map(|command| daemon.imctl(command))
            .map(|finished| [finished.stdout, finished.stderr].concat());
        let all = [&said.concat(), &daemon.log()].map(String::as_str).concat();
        assert!(all.contains("TRACE"), "the log has every line there is");
        for secret in [SECRET, PROXY_USER, "Basic "] {
            assert!(!all.contains(secret), "{secret} is shown");
        }
        // The config file names the user; the password stands in no file of the daemon's.
        assert!(!any_file_has(daemon.home().root(), SECRET));
    }
}

fn any_file_has(directory: &Path, secret: &str) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            any_file_has(&path, secret)
        } else {
            fs::read(&path)
                .is_ok_and(|bytes| bytes.windows(secret.len()).any(|part| part == secret.as_bytes()))
        }
    })
}

#[test]
fn a_proxy_in_the_way_ends_the_first_connect_with_31028_and_a_later_one_loops() {
    let broker = Mosquitto::start();
    let proxy = |password: &str, address: &dyn std::fmt::Display| {
        format!(
            "[server]\nurls = [\"mqtt://broker.invalid\"]\nplaintext = true\n\
             [proxy]\nurl = \"socks5://{PROXY_USER}:{password}@{address}\"\n"
        )
    };
    let front = Front::socks5(broker.address(), Some(SECRET));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (config, said) in [
        (
            proxy("wrong-password", &front.address()),
            "does not take this user name",
        ),
        (proxy(SECRET, &closed), "nothing listens there"),
    ] {
        let daemon = Daemon::configured(&config);
        let refused = daemon
            .home()
            .connect(&broker.token("alice"), &["--user-id", "alice"]);
        let text = &refused.expect_code(1).stderr;
        assert!(
            text.contains("RC_CONN_PROXY_UNAVAILABLE (31028)") && text.contains(said),
            "{text}"
        );
        assert!(
            !text.contains(SECRET) && !text.contains("wrong-password"),
            "{text}"
        );
        let status = daemon.await_status("PROXY_UNAVAILABLE");
        assert_eq!((status.status, status.last_code), (17, 31028));
    }

    // Once it has been up, the loop goes on.
    let mut daemon = Daemon::configured(&proxy(SECRET, &front.address()));
    connects(&daemon, &broker);
    daemon.terminate();
    daemon
        .home()
        .write_config(&proxy("wrong-password", &front.address()));
    daemon.start();
    let status = daemon.await_status_that("with the proxy's fault", |status| status.last_code == 31028);
    assert_ne!(status.status, 17, "{status:?}");
}

#[test]
fn a_server_that_hangs_is_passed_over_for_the_next_and_nothing_logs_in_twice() {
    let authority = Authority::new();
    let broker = Mosquitto::encrypted(&authority.sign(-1, 30));
    // It takes connections, and says nothing.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let urls = format!(
        "mqtts://{}\", \"{}",
        hanging.local_addr().unwrap(),
        broker.tls_url()
    );
    let daemon = Daemon::configured(&trusting(&urls, &authority));
    connects(&daemon, &broker);
    assert_eq!(daemon.status().server, broker.tls_url());
}
