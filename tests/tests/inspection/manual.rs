use std::collections::BTreeSet;
use std::fs;

use imd_tests::home::Home;

#[test]
fn man_pages_and_completions_of_both_programs_are_written() {
    let home = Home::new();
    let directory = home.path("man");
    home.run_imctl(&["generate", directory.to_str().unwrap()])
        .expect_code(0);
    let names: BTreeSet<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in [
        "imd.1",
        "imctl.1",
        "imctl-status.1",
        "imctl-doctor.1",
        "imctl-bugreport.1",
        "imctl.bash",
        "_imctl",
        "imctl.fish",
        "imd.bash",
        "_imd",
        "imd.fish",
    ] {
        assert!(names.contains(name), "{name} of {names:?}");
    }
    assert!(!names.contains("imctl-generate.1"), "what is hidden has no page");
    for name in names.iter().filter(|name| name.ends_with(".1")) {
        let page = fs::read_to_string(directory.join(name)).unwrap();
        let mut wanted = vec![
            "NAME",
            "SYNOPSIS",
            "OPTIONS",
            "\"EXIT STATUS\"",
            "ENVIRONMENT",
            "FILES",
            "EXAMPLES",
            "\"SEE ALSO\"",
        ];
        if name.starts_with("imctl-") {
            wanted.push("DESCRIPTION");
        }
        for section in wanted {
            assert!(
                page.contains(&format!("\n.SH {section}")),
                "{name} has no {section}:\n{page}"
            );
        }
    }
}
