//! The borders between the rooms of the house (ARCHITECTURE.md): imports go one way.

use std::collections::BTreeSet;

use imd_tests::imports::Imports;
use imd_tests::sources::{Source, root, with_endings};

/// What the files of a room must not name.
struct Border {
    room: &'static str,
    /// Parts of the room for which it does not hold.
    except: &'static [&'static str],
    /// A path that begins with one of these...
    begins: &'static [&'static str],
    /// ...unless it begins with one of these...
    unless: &'static [&'static str],
    /// ...or one that ends with one of these.
    ends: &'static [&'static str],
    why: &'static str,
    /// A line the border must stop, wherever in the room it stands.
    smuggled: &'static str,
}

const BORDERS: &[Border] = &[
    Border {
        room: "client-lib/",
        except: &[],
        begins: &["imd", "imd_core", "imd_tests"],
        // The contract's own package, once imported.
        unless: &["imd::v1"],
        ends: &[],
        why: "the library never sees the daemon: it knows the contract alone",
        smuggled: "use imd::hub::Hub;",
    },
    Border {
        room: "proto/",
        except: &[],
        begins: &["imd_core", "imd_client", "imd_tests", "tokio"],
        unless: &[],
        ends: &[],
        why: "the contract has no behaviour and knows nobody",
        smuggled: "use imd_core::io::Action;",
    },
    Border {
        room: "daemon/core/src/",
        except: &[],
        begins: &["imd", "imd_client", "imd_proto", "imd_tests", "prost", "tonic"],
        unless: &["imd_proto::code"],
        ends: &[],
        why: "of ours the core knows the code table alone",
        smuggled: "use imd_proto::{code::Code, imd::v1::Hello};",
    },
    Border {
        room: "daemon/core/src/",
        except: &[],
        begins: &[
            "tokio",
            "rand",
            "fastrand",
            "getrandom",
            "uuid",
            "rustix",
            "std::net",
            "std::fs",
            "std::env",
            "std::thread",
            "std::process",
            "std::time::Instant",
            "std::time::SystemTime",
        ],
        // An address is only text with a form.
        unless: &[
            "std::net::IpAddr",
            "std::net::Ipv4Addr",
            "std::net::Ipv6Addr",
            "std::net::SocketAddr",
        ],
        ends: &[],
        why: "the core has no I/O, no clock and no chance: it is told everything",
        smuggled: "fn f() { std::time::Instant::now(); }",
    },
    Border {
        room: "daemon/src/store/",
        except: &[],
        begins: &[
            "imd::rpc",
            "imd::link",
            "imd::hub",
            "imd_core",
            "imd_client",
            "imd_proto::im",
            "imd_proto::imd",
            "tonic",
            "prost",
        ],
        unless: &[],
        ends: &[],
        why: "the store knows neither core nor rpc nor link",
        smuggled: "use crate::link::Link;",
    },
    Border {
        room: "daemon/src/",
        except: &["daemon/src/bin/imctl/", "daemon/src/demo/"],
        begins: &["imd_client", "imd_tests"],
        unless: &[],
        ends: &[],
        why: "the daemon does not use its own client: imctl and the demo's apps do",
        smuggled: "use imd_client::Client;",
    },
    Border {
        room: "daemon/src/bin/imctl/",
        except: &[],
        begins: &["imd", "imd_core", "imd_proto", "imd_tests"],
        unless: &[],
        ends: &[],
        why: "imctl is an app like any other: of ours it knows imd-client alone",
        smuggled: "use imd_proto::code::Code;",
    },
    Border {
        room: "daemon/src/",
        except: &["daemon/src/rpc/"],
        begins: &["imd_proto::imd", "imd::rpc::convert"],
        unless: &[],
        ends: &[],
        why: "the types of the socket's wire stay in rpc",
        smuggled: "fn f(_: imd_proto::imd::v1::Hello) {}",
    },
    Border {
        room: "daemon/src/",
        except: &["daemon/src/rpc/", "daemon/src/link/", "daemon/src/demo/broker/"],
        begins: &["imd_proto::im", "prost", "prost_types"],
        unless: &[],
        ends: &[],
        why: "the types of the server's wire stay in link and in the demo's broker",
        smuggled: "use prost::Message as _;",
    },
    Border {
        room: "daemon/",
        except: &["daemon/src/link/wire", "daemon/src/demo/broker/wire"],
        begins: &["mqtt_protocol_core"],
        unless: &[],
        ends: &[],
        why: "the MQTT codec stands behind one module on each side, so that another can replace it",
        smuggled: "use mqtt_protocol_core::mqtt;",
    },
    Border {
        room: "daemon/src/transport/",
        except: &[],
        begins: &[
            "imd::rpc",
            "imd::link",
            "imd::hub",
            "imd::store",
            "imd::config",
            "imd::lifecycle",
            "tonic",
            "prost",
        ],
        unless: &[],
        ends: &[],
        why: "the way to a server ends where MQTT begins, and is told what the person wrote",
        smuggled: "use crate::link::Driver;",
    },
    Border {
        room: "daemon/",
        except: &["daemon/src/transport/"],
        begins: &[
            "rustls",
            "rustls_native_certs",
            "webpki",
            "tokio_rustls",
            "tokio_tungstenite",
            "httparse",
        ],
        unless: &[],
        ends: &[],
        why: "TLS, WebSockets and proxies are the way's own affair",
        smuggled: "use rustls::ClientConfig;",
    },
    Border {
        room: "daemon/",
        except: &["daemon/src/clock.rs", "daemon/src/bin/imctl/clock.rs"],
        begins: &["rustix::time::clock_gettime"],
        unless: &[],
        ends: &["Instant::now", "SystemTime::now", "clock_gettime"],
        why: "one place of each program reads a clock",
        smuggled: "use std::time::Instant as Clock; fn f() { std::time::Instant::now(); }",
    },
    Border {
        room: "client-lib/src/",
        except: &["client-lib/src/clock.rs"],
        begins: &["rustix::time"],
        unless: &[],
        ends: &["Instant::now", "SystemTime::now", "clock_gettime"],
        why: "one place of the library reads a clock",
        smuggled: "fn f() { let _ = Instant::now(); }",
    },
    Border {
        room: "client-lib/src/rebind",
        except: &[],
        begins: &[
            "tokio",
            "tonic",
            "rustix",
            "interprocess",
            "imd_client::clock::now",
            "imd_client::clock::Alarm",
            "std::fs",
            "std::net",
            "std::os",
            "std::thread",
        ],
        unless: &[],
        ends: &[],
        why: "the rebind machine has no I/O, no clock and no task: it is told everything",
        smuggled: "use tokio::time::sleep;",
    },
];

impl Border {
    fn holds_for(&self, path: &str) -> bool {
        path.starts_with(self.room) && !self.except.iter().any(|part| path.starts_with(part))
    }

    fn stops(&self, path: &[String]) -> bool {
        let begins = |with: &&str| {
            path.iter()
                .map(String::as_str)
                .take(parts(with))
                .eq(with.split("::"))
        };
        let ends = |with: &&str| {
            let skip = path.len().saturating_sub(parts(with));
            path.iter().map(String::as_str).skip(skip).eq(with.split("::"))
        };
        (self.begins.iter().any(begins) && !self.unless.iter().any(begins)) || self.ends.iter().any(ends)
    }
}

fn parts(path: &str) -> usize {
    path.split("::").count()
}

/// `crate`, `self` and `super` in full, as another crate would name the thing.
fn absolute(file: &str, path: &[String]) -> Vec<String> {
    let mut module = module_of(file);
    let mut rest = path;
    match path.first().map(String::as_str) {
        Some("crate") => {
            module.truncate(1);
            rest = path.get(1..).unwrap_or_default();
        }
        Some("self") => rest = path.get(1..).unwrap_or_default(),
        Some("super") => {
            while let Some((first, further)) = rest.split_first()
                && first == "super"
            {
                module.pop();
                rest = further;
            }
        }
        Some(_) | None => return path.to_vec(),
    }
    module.extend_from_slice(rest);
    module
}

/// The module a file is, from its crate's name on.
fn module_of(file: &str) -> Vec<String> {
    let crates = [
        ("daemon/core/src/", "imd_core"),
        ("daemon/src/bin/imctl/", "imctl"),
        ("daemon/src/", "imd"),
        ("client-lib/src/", "imd_client"),
        ("proto/src/", "imd_proto"),
    ];
    let Some((inside, name)) = crates
        .iter()
        .find_map(|(directory, name)| Some((file.strip_prefix(directory)?, name)))
    else {
        return vec!["elsewhere".to_owned()];
    };
    let mut module = vec![(*name).to_owned()];
    module.extend(inside.trim_end_matches(".rs").split('/').map(str::to_owned));
    if module
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        module.pop();
    }
    module
}

/// The files that are for tests alone: those declared so, and the tests of a crate.
fn test_files(sources: &[Source]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for Source { path, text } in sources {
        let directory = match path.rsplit_once('/') {
            Some((directory, "mod.rs" | "lib.rs" | "main.rs")) => directory.to_owned(),
            _ => path.trim_end_matches(".rs").to_owned(),
        };
        for module in Imports::of(text).test_modules {
            found.insert(format!("{directory}/{module}.rs"));
            found.insert(format!("{directory}/{module}/"));
        }
    }
    found
}

fn violations(sources: &[Source]) -> Vec<String> {
    let tests = test_files(sources);
    let is_test = |path: &str| {
        path.contains("/tests/")
            || tests.contains(path)
            || tests
                .iter()
                .any(|test| test.ends_with('/') && path.starts_with(test.as_str()))
    };
    let mut found = Vec::new();
    for Source { path, text } in sources.iter().filter(|source| !is_test(&source.path)) {
        let borders: Vec<_> = BORDERS.iter().filter(|border| border.holds_for(path)).collect();
        if borders.is_empty() {
            continue;
        }
        for named in Imports::of(text).named {
            let full = absolute(path, &named.path);
            for border in borders.iter().filter(|border| border.stops(&full)) {
                found.push(format!(
                    "{path}:{}: {}: {}",
                    named.line,
                    full.join("::"),
                    border.why
                ));
            }
        }
    }
    found
}

#[test]
fn imports_go_one_way() {
    let found = violations(&with_endings(&[".rs"]));
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_smuggled_import_is_found_at_every_border() {
    for border in BORDERS {
        let path = format!("{}smuggler.rs", border.room);
        let source = |text: &str| Source {
            path: path.clone(),
            text: text.to_owned(),
        };
        let found = violations(&[source(border.smuggled)]);
        assert!(
            found.iter().any(|found| found.contains(border.why)),
            "{path}: {found:?}"
        );
        let hidden = format!("#[cfg(test)]\nmod tests {{ {} }}", border.smuggled);
        assert_eq!(
            violations(&[source(&hidden)]),
            Vec::<String>::new(),
            "in test code"
        );
    }
}

#[test]
fn relative_paths_are_followed() {
    let name = |file: &str, path: &str| {
        absolute(file, &path.split("::").map(str::to_owned).collect::<Vec<_>>()).join("::")
    };
    assert_eq!(
        name("daemon/src/store/account.rs", "super::super::link"),
        "imd::link"
    );
    assert_eq!(
        name("daemon/src/store/mod.rs", "super::link::Link"),
        "imd::link::Link"
    );
    assert_eq!(name("daemon/src/store/mod.rs", "crate::link"), "imd::link");
    assert_eq!(name("daemon/src/lib.rs", "self::link"), "imd::link");
    assert_eq!(name("daemon/src/main.rs", "imd::link"), "imd::link");
}

#[test]
fn the_manifests_keep_the_borders_too() {
    let dependencies = |path: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        let manifest: toml::Table = text.parse().unwrap();
        match manifest.get("dependencies") {
            Some(toml::Value::Table(dependencies)) => dependencies.keys().cloned().collect(),
            other => panic!("{path}: {other:?}"),
        }
    };
    let ours = |path: &str| -> Vec<String> {
        dependencies(path)
            .into_iter()
            .filter(|name| name == "imd" || name.starts_with("imd-"))
            .collect()
    };
    assert_eq!(ours("client-lib/Cargo.toml"), ["imd-proto"]);
    assert_eq!(ours("daemon/core/Cargo.toml"), ["imd-proto"]);
    assert_eq!(ours("daemon/Cargo.toml"), ["imd-client", "imd-core", "imd-proto"]);
    assert_eq!(ours("proto/Cargo.toml"), Vec::<String>::new());
    let core = dependencies("daemon/core/Cargo.toml");
    for banned in [
        "tokio", "tonic", "prost", "rustix", "rusqlite", "rand", "uuid", "tracing",
    ] {
        assert!(
            !core.contains(banned),
            "daemon/core/Cargo.toml depends on {banned}"
        );
    }
}
