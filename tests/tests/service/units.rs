//! The unit files, as systemd reads them.

use std::fs;
use std::path::Path;
use std::process::Command;

use imd_tests::home::binary;
use imd_tests::process::{Finished, run};
use imd_tests::sources::root;

/// What the package puts beside each other.
const UNITS: [&str; 4] = ["imd.service", "imd.socket", "imd@.service", "imd@.socket"];

/// systemd's own scale is 10 to 0; the issue asks for 2.5.
const THRESHOLD: &str = "--threshold=25";

/// The units and the drop-in for each service, around the program that was built.
fn installed() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let program = binary("imd").display().to_string();
    for unit in UNITS {
        let text = read(unit).replace("/usr/bin/imd", &program);
        fs::write(place.path().join(unit), text).unwrap();
    }
    for service in ["imd.service", "imd@.service"] {
        let directory = place.path().join(format!("{service}.d"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("sandbox.conf"), read("imd.service.d/sandbox.conf")).unwrap();
    }
    place
}

fn read(unit: &str) -> String {
    fs::read_to_string(root().join("systemd").join(unit)).unwrap()
}

fn analyze(place: &Path, arguments: &[&str], units: &[&str]) -> Finished {
    let mut command = Command::new("systemd-analyze");
    command
        .args(arguments)
        .args(units.iter().map(|unit| place.join(unit)))
        .env("XDG_RUNTIME_DIR", place)
        .env("LC_ALL", "C");
    run(&mut command, b"")
}

#[test]
fn systemd_finds_nothing_to_say() {
    let place = installed();
    let found = analyze(place.path(), &["verify", "--user", "--man=no"], &UNITS);
    let all = format!("{}{}", found.stdout, found.stderr);
    assert!(found.code == Some(0) && all.is_empty(), "{all}");
}

#[test]
fn an_unknown_setting_would_be_found() {
    let place = installed();
    let path = place.path().join("imd.service");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("[Service]", "[Service]\nRestartSecs=1")).unwrap();
    let found = analyze(place.path(), &["verify", "--user", "--man=no"], &UNITS);
    assert!(found.stderr.contains("RestartSecs"), "{found:?}");
}

#[test]
fn the_exposure_with_the_drop_in_is_low() {
    let place = installed();
    let arguments = ["security", "--offline=yes", "--user", "--no-pager", THRESHOLD];
    for service in ["imd.service", "imd@.service"] {
        analyze(place.path(), &arguments, &[service]).expect_code(0);
    }
    fs::remove_dir_all(place.path().join("imd.service.d")).unwrap();
    let without = analyze(place.path(), &arguments, &["imd.service"]);
    assert_ne!(without.code, Some(0), "the drop-in was not counted: {without:?}");
}

#[test]
fn a_further_instance_is_guarded_as_the_first_is() {
    for kind in ["service", "socket"] {
        let first = read(&format!("imd.{kind}"));
        let template = read(&format!("imd@.{kind}"))
            .replace("imd@%i.socket", "imd.socket")
            .replace("/usr/bin/imd --instance %i", "/usr/bin/imd")
            .replace("%t/imd/%i.sock", "%t/imd/imd.sock")
            .replace(" (%i)", "")
            .replace("imd@.service.d", "imd.service.d");
        assert_eq!(template, first);
    }
}
