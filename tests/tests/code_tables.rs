//! The table of codes in other languages: written from the one in `proto/src/code.rs`, and held against it.

use std::fmt::Write as _;
use std::fs;

use imd_proto::code::TABLE;
use imd_tests::sources::root;

const PYTHON: &str = "client-lib/python/src/imd_client/_code_table.py";

#[test]
fn the_python_package_has_the_table_of_codes() {
    let path = root().join(PYTHON);
    let wanted = python();
    if std::env::var_os("IMD_UPDATE").is_some_and(|value| value == "1") {
        fs::write(&path, wanted).unwrap();
        return;
    }
    assert!(
        fs::read_to_string(&path).is_ok_and(|text| text == wanted),
        "{PYTHON} differs from the code table (proto/src/code.rs). Write it again with:\n    \
         IMD_UPDATE=1 cargo test -p imd-tests --test code_tables"
    );
}

fn python() -> String {
    let mut text = "\"\"\"Written from proto/src/code.rs: `IMD_UPDATE=1 cargo test -p imd-tests --test code_tables`.\"\"\"\n\n\
                    from imd_client._code import CodeRow\n\n\n\
                    class Code(CodeRow):\n    \
                    \"\"\"A code as it travels: any number, of which these are in the table.\"\"\"\n"
        .to_owned();
    for row in TABLE {
        // JSON's strings are Python's.
        let [kind, meaning, action] =
            [row.kind.word(), row.meaning, row.action].map(|text| serde_json::json!(text));
        let (name, number) = (row.name, row.code.0);
        let _ = write!(
            text,
            "\n    {name} = (\n        {number},\n        {kind},\n        {meaning},\n        {action},\n    )\n    {meaning}\n"
        );
    }
    text
}
