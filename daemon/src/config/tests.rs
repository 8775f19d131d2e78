use std::fs;

use super::*;
use crate::transport::ClientFiles;

/// A config file and two directories of app files, the second of which wins.
struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    fn new(config: &str) -> Self {
        let files = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(files.config(), config).unwrap();
        files
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("imd.toml")
    }

    fn app(&self, directory: &str, name: &str, text: &str) -> &Self {
        let directory = self.dir.path().join(directory);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), text).unwrap();
        self
    }

    fn load(&self) -> Result<Settings, ConfigErrors> {
        Settings::load(&Sources {
            config: ConfigPath::Usual(self.config()),
            app_directories: vec![self.dir.path().join("share"), self.dir.path().join("home")],
        })
    }

    /// The one fault there is.
    #[track_caller]
    fn fault(&self) -> ConfigError {
        let ConfigErrors(mut errors) = self.load().unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        errors.remove(0)
    }
}

#[track_caller]
fn refused(config: &str, line: usize, words: &[&str]) {
    let files = Files::new(config);
    let fault = files.fault();
    assert_eq!(fault.line, Some(line), "{fault}");
    assert_eq!(fault.file, files.config());
    for word in words {
        assert!(fault.text.contains(word), "{fault}");
    }
}

fn app(key: &str) -> AppKey {
    AppKey::parse(key).unwrap()
}

fn core(settings: &Settings) -> Config {
    settings.core_config(InstallationId::new("i"), 7)
}

#[test]
fn without_any_file_there_are_defaults_and_no_server_and_the_text_names_the_file_to_write() {
    let files = Files::new("");
    fs::remove_file(files.config()).unwrap();
    let settings = files.load().unwrap();
    assert!(settings.remember);
    let config = core(&settings);
    assert_eq!(config.keep_alive, Duration::from_secs(30));
    assert_eq!(config.session_expiry, Duration::from_hours(168));
    assert_eq!(config.device_class.as_str(), "desktop");
    assert_eq!(config.login, LoginPolicy::One);
    assert!(config.servers.of(&app("any")).is_empty());
    let missing = config.servers.missing;
    assert!(missing.contains(&*files.config().to_string_lossy()), "{missing}");
    assert!(
        missing.contains("urls = [\"mqtt://localhost:1883\"]"),
        "{missing}"
    );
    assert!(settings.to_string().contains("there is none"));
}

#[test]
fn a_named_config_file_has_to_be_there() {
    let files = Files::new("");
    let named = ConfigPath::Named(files.dir.path().join("other.toml"));
    let refused = Settings::load(&Sources {
        config: named,
        app_directories: vec![],
    });
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("other.toml: there is no such file"), "{text}");
}

#[test]
fn every_setting_reaches_the_core() {
    let files = Files::new(
        "[server]\nurls = [\"mqtt://localhost\", \"mqtt://[::1]:99\"]\n[link]\nkeep_alive = 5\n\
         session_expiry = 60\ndevice_class = \"laptop\"\nlogin = \"many\"\nremember = false\n",
    );
    let settings = files.load().unwrap();
    assert!(!settings.remember);
    let config = core(&settings);
    let servers: Vec<_> = config
        .servers
        .of(&app("any"))
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(servers, ["mqtt://localhost:1883", "mqtt://[::1]:99"]);
    assert_eq!(config.keep_alive.as_secs(), 5);
    assert_eq!(config.session_expiry.as_secs(), 60);
    assert_eq!(config.device_class.as_str(), "laptop");
    assert_eq!(config.login, LoginPolicy::Many);
    assert_eq!(config.seed, 7);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    refused("[server]\nurl = \"mqtt://localhost\"\n", 2, &["`url`", "urls"]);
    refused("\n\n[sever]\n", 3, &["`sever`"]);
    refused("[link]\n\nkeepalive = 3\n", 3, &["`keepalive`", "keep_alive"]);
    refused("[proxy]\nuser = \"x\"\n", 2, &["`user`"]);
    refused("[apps]\ndeny = []\n", 2, &["`deny`"]);
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_its_line() {
    refused("[link]\nkeep_alive = \"30 s\"\n", 2, &["i64"]);
    refused("[link]\nlogin = \"all\"\n", 2, &["`all`", "`one`"]);
    refused("[server]\nurls = \"mqtt://localhost\"\n", 2, &["sequence"]);
    refused("[server\n", 1, &[]);
    refused("[link]\nkeep_alive = 4\n", 2, &["between 5 and 3600"]);
    refused("[link]\nkeep_alive = 3601\n", 2, &["between 5 and 3600"]);
    refused("[link]\nsession_expiry = 0\n", 2, &["between 60 and 31536000"]);
    refused("[link]\ndevice_class = \"a/b\"\n", 2, &["device class", "a/b"]);
    refused("[server]\nurls = []\n", 2, &["empty"]);
}

#[test]
fn a_bad_url_is_named_with_its_own_line() {
    let urls = "[server]\nurls = [\n  \"mqtt://localhost\",\n  \"mqtt://im example\",\n]\n";
    refused(urls, 4, &["mqtt://im example"]);
    refused("[server]\nurls = [\"tcp://x\"]\n", 2, &["tcp://x", "mqtt://"]);
}

#[test]
fn an_unencrypted_foreign_server_needs_plaintext() {
    let foreign = "[server]\nurls = [\"mqtt://im.example\"]\n";
    refused(foreign, 2, &["mqtt://im.example", "plaintext = true"]);
    let settings = Files::new(&format!("{foreign}plaintext = true\n"))
        .load()
        .unwrap();
    assert_eq!(core(&settings).servers.default.len(), 1);
}

#[test]
fn a_nav_stands_in_for_urls_in_every_file() {
    let files = Files::new("[server]\nnav = \"https://im.example/nav\"\n");
    files.app(
        "home",
        "chat.toml",
        "app_key = \"chat\"\nnav = \"https://[::1]:8443/\"\n",
    );
    let settings = files.load().unwrap();
    let shown = |key: &str| format!("{:?}", core(&settings).servers.of(&app(key)));
    assert_eq!(shown("any"), "[https://im.example:443/nav]");
    assert_eq!(shown("chat"), "[https://[::1]:8443/]");
}

#[test]
fn a_nav_is_https_alone_with_nothing_else_to_say_and_no_urls_beside_it() {
    let nav = |url: &str| format!("[server]\nnav = \"{url}\"\n");
    refused(&nav("http://im.example"), 2, &["https://"]);
    refused(&nav("http://localhost"), 2, &["https://"]);
    refused(&nav("im.example"), 2, &["not a URL"]);
    refused(&nav("https://im.example:0/"), 2, &["port 0"]);
    for more in [
        "https://im.example/?key=1",
        "https://im.example/#a",
        "https://me:pw@im.example/",
    ] {
        refused(&nav(more), 2, &["user information, a query or a fragment"]);
    }
    let both = format!("{}urls = [\"mqtts://im.example\"]\n", nav("https://im.example"));
    refused(&both, 2, &["both urls and nav"]);
}

#[test]
fn how_a_server_is_trusted_and_who_we_are_there_is_read() {
    let files = Files::new(
        "[server]\nurls = [\"mqtts://im.example\", \"wss://im.example/mqtt\"]\nca_file = \"/etc/ca.pem\"\n\
         client_cert = \"/me.pem\"\nclient_key = \"/me.key\"\nalpn = \"mqtt\"\n",
    );
    files.app(
        "home",
        "chat.toml",
        "app_key = \"chat\"\nurls = [\"mqtts://chat.example\"]\nca_file = \"/chat.pem\"\n",
    );
    let settings = files.load().unwrap();
    let default = settings.default_servers.as_ref().unwrap();
    assert_eq!(
        default.tls,
        TlsFiles {
            ca_file: Some("/etc/ca.pem".into()),
            client: Some(ClientFiles {
                certificate: "/me.pem".into(),
                key: "/me.key".into(),
            }),
            alpn: Some("mqtt".to_owned()),
        }
    );
    let own = settings.app_servers.get(&app("chat")).unwrap();
    let trusted = TlsFiles {
        ca_file: Some("/chat.pem".into()),
        ..TlsFiles::default()
    };
    assert_eq!(
        own.tls, trusted,
        "a server of an app's own is not shown who we are elsewhere"
    );
    let shown = settings.to_string();
    for part in [
        "trusted by /etc/ca.pem alone",
        "shown /me.pem",
        "\"mqtt\" by ALPN",
        "trusted by /chat.pem alone",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
}

#[test]
fn a_fault_in_what_tls_needs_has_its_line() {
    refused("[server]\nca_file = \"ca.pem\"\n", 2, &["ca_file", "absolute"]);
    refused(
        "[server]\nclient_cert = \"/me.pem\"\n",
        2,
        &["without client_key"],
    );
    refused(
        "[server]\nclient_key = \"/me.key\"\n",
        2,
        &["without client_cert"],
    );
    refused(
        "[server]\nclient_cert = \"/me.pem\"\nclient_key = \"me.key\"\n",
        3,
        &["client_key", "absolute"],
    );
    refused("[server]\nalpn = \"\"\n", 2, &["alpn"]);
}

#[test]
fn a_proxy_is_read_and_its_password_never_shown() {
    let settings = |config: &str| Files::new(config).load().unwrap();
    let direct = settings("[proxy]\n");
    assert_eq!(direct.proxy, None);
    assert!(
        direct
            .to_string()
            .contains("proxy           what the environment says")
    );
    let written = settings("[proxy]\nurl = \"socks5h://alice:s3cret@p.example\"\n");
    let shown = format!("{written} {written:?}");
    assert!(
        shown.contains("proxy           socks5://p.example:1080"),
        "{shown}"
    );
    assert!(!shown.contains("s3cret") && !shown.contains("alice"), "{shown}");
    let filed = settings("[proxy]\nurl = \"http://alice@p.example:3128\"\npassword_file = \"/secret\"\n");
    assert_eq!(filed.proxy.unwrap().names(), (true, true));
}

#[test]
fn a_fault_in_the_proxy_has_its_line_and_shows_no_password() {
    for (rest, line, word) in [
        ("url = \"ftp://u:s3cret@x\"\n", 2, "socks5://"),
        ("url = \"socks5://u:s3cret@x/path\"\n", 2, "path"),
        ("password_file = \"/secret\"\n", 2, "without url"),
        (
            "url = \"socks5://x\"\npassword_file = \"/secret\"\n",
            3,
            "names no user",
        ),
        (
            "url = \"socks5://u:s3cret@x\"\npassword_file = \"/secret\"\n",
            3,
            "both",
        ),
        (
            "url = \"socks5://u@x\"\npassword_file = \"secret\"\n",
            3,
            "absolute",
        ),
    ] {
        let fault = Files::new(&format!("[proxy]\n{rest}")).fault();
        assert_eq!(fault.line, Some(line), "{fault}");
        assert!(fault.text.contains(word), "{fault}");
        assert!(!fault.text.contains("s3cret"), "{fault}");
    }
}

#[test]
fn the_allowed_apps_are_read_and_each_fault_has_its_line() {
    let allow = |config: &str| Files::new(config).load().unwrap().allow;
    assert_eq!(allow("[apps]\n"), None);
    let list = allow("[apps]\nallow = [\n  \"exe:/usr/bin/chat\",\n  \"unit:chat.service\",\n]\n").unwrap();
    let entries: Vec<_> = list.entries.iter().map(ToString::to_string).collect();
    assert_eq!(entries, ["exe:/usr/bin/chat", "unit:chat.service"]);
    assert!(list.file.ends_with("imd.toml"));

    refused("[apps]\nallow = [\"chat\"]\n", 2, &["\"chat\"", "exe:"]);
    refused("[apps]\nallow = []\n", 2, &["empty", "leave the key out"]);
    refused(
        "[apps]\nallow = [\n  \"exe:/usr/bin/chat\",\n  \"exe:/usr/bin/*\",\n]\n",
        4,
        &["exe:/usr/bin/*", "no pattern"],
    );
    refused("[apps]\nallow = \"exe:/usr/bin/chat\"\n", 2, &["sequence"]);
    refused("[apps]\nallow = [7]\n", 2, &["string"]);
}

#[test]
fn all_faults_are_told_at_once() {
    let files = Files::new("[server]\nurls = [\"x\", \"y\"]\n[link]\nkeep_alive = 0\n");
    files.app("share", "a.toml", "app_key = \"a/b\"\nurls = []\n");
    let ConfigErrors(errors) = files.load().unwrap_err();
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert_eq!(ConfigErrors(errors).to_string().lines().count(), 4);
}

#[test]
fn the_later_directory_wins_for_an_app_key() {
    let files = Files::new("[server]\nurls = [\"mqtt://localhost:1\"]\n");
    files
        .app(
            "share",
            "chat.toml",
            "app_key = \"chat\"\nurls = [\"mqtt://localhost:2\"]\n",
        )
        .app(
            "share",
            "mail.toml",
            "app_key = \"mail\"\nurls = [\"mqtt://localhost:3\"]\n",
        )
        .app(
            "home",
            "mine.toml",
            "app_key = \"chat\"\nurls = [\"mqtt://localhost:4\"]\n",
        )
        .app("home", "notes.txt", "not read");
    let settings = files.load().unwrap();
    let config = core(&settings);
    let port = |key: &str| config.servers.of(&app(key)).first().map(|server| server.port);
    assert_eq!(port("chat"), Some(4));
    assert_eq!(port("mail"), Some(3));
    assert_eq!(port("other"), Some(1));
    let shown = settings.to_string();
    assert!(
        shown.contains("App Key chat: mqtt://localhost:4 (from "),
        "{shown}"
    );
    assert!(shown.contains("mine.toml"), "{shown}");
}

#[test]
fn a_fault_in_an_app_s_file_names_that_file_and_line() {
    for (text, line, word) in [
        ("app_key = \"chat\"\nurl = []\n", 2, "`url`"),
        ("app_key = \"chat\"\n", 1, "neither urls nor nav"),
        ("urls = [\"mqtt://localhost\"]\n", 1, "app_key"),
        (
            "app_key = \"chat\"\nurls = [\"mqtt://im.example\"]\n",
            2,
            "plaintext = true",
        ),
        (
            "app_key = \"chat\"\nurls = [\"mqtts://im.example\"]\nca_file = \"ca.pem\"\n",
            3,
            "absolute",
        ),
        ("app_key = \"chat\"\nnav = \"http://im.example\"\n", 2, "https://"),
    ] {
        let files = Files::new("");
        files.app("home", "chat.toml", text);
        let fault = files.fault();
        assert!(fault.file.ends_with("home/chat.toml"), "{fault}");
        assert_eq!(fault.line, Some(line), "{fault}");
        assert!(fault.text.contains(word), "{fault}");
    }
}

#[test]
fn a_config_file_that_is_no_text_or_no_file_or_too_long_is_an_error_that_names_it() {
    let files = Files::new("");
    fs::write(files.config(), b"[server]\n\xff\xfe").unwrap();
    assert_eq!(files.fault().line, Some(2));
    fs::write(files.config(), "#".repeat(1024 * 1024 + 1)).unwrap();
    assert!(files.fault().text.contains("1 MiB"));
    fs::remove_file(files.config()).unwrap();
    fs::create_dir(files.config()).unwrap();
    assert!(files.fault().to_string().contains("imd.toml: cannot be read"));
}
