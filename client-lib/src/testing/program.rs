//! Which `imd` a test runs.

use std::env;
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::Error;

/// Where to look, in this order.
struct Places {
    /// `IMD_BIN`: the file itself.
    named: Option<OsString>,
    /// The test's own program: `target/PROFILE/deps/NAME`, or `target/PROFILE/examples/NAME`.
    test: Option<PathBuf>,
    /// `PATH`.
    path: Option<OsString>,
}

/// The program `imd`.
pub(super) fn imd() -> Result<PathBuf, Error> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    find(&Places {
        named: set("IMD_BIN"),
        test: env::current_exe().ok(),
        path: set("PATH"),
    })
}

fn find(places: &Places) -> Result<PathBuf, Error> {
    if let Some(named) = &places.named {
        let named = PathBuf::from(named);
        // A name that leads nowhere is a mistake, not a reason to run another program.
        return if is_program(&named) {
            Ok(named)
        } else {
            let looked = format!("IMD_BIN names {}, which is no program", named.display());
            Err(Error::NoProgram { looked })
        };
    }
    let beside = places.test.as_deref().into_iter().flat_map(|test| {
        let directories = test.ancestors().skip(1).take(2);
        directories.map(|directory| directory.join("imd"))
    });
    let on_path = places.path.as_deref().into_iter().flat_map(|path| {
        env::split_paths(path)
            .map(|directory| directory.join("imd"))
            .collect::<Vec<_>>()
    });
    beside
        .chain(on_path)
        .find(|candidate| is_program(candidate))
        .ok_or_else(|| Error::NoProgram {
            looked: match &places.test {
                Some(test) => format!(
                    "IMD_BIN is not set, and it is neither in a directory above {} nor on PATH",
                    test.display()
                ),
                None => "IMD_BIN is not set, and it is not on PATH".to_owned(),
            },
        })
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn program(path: &Path) -> PathBuf {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_owned()
    }

    #[test]
    fn the_named_one_is_before_the_one_beside_the_test_and_that_before_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        let mut places = Places {
            named: None,
            test: Some(at("target/debug/deps/test-1234")),
            path: Some(env::join_paths([at("none"), at("bin")]).unwrap()),
        };
        let missing = find(&places).unwrap_err().to_string();
        assert!(missing.contains("set IMD_BIN to its path"), "{missing}");
        fs::create_dir_all(at("bin/imd")).unwrap();
        assert!(find(&places).is_err(), "a directory is no program");
        fs::remove_dir(at("bin/imd")).unwrap();
        let installed = program(&at("bin/imd"));
        assert_eq!(find(&places).unwrap(), installed);
        let built = program(&at("target/debug/imd"));
        assert_eq!(find(&places).unwrap(), built);
        let named = program(&at("elsewhere/imd-1.0"));
        places.named = Some(named.clone().into());
        assert_eq!(find(&places).unwrap(), named);
    }

    #[test]
    fn a_name_that_leads_nowhere_is_an_error_that_names_it() {
        let places = Places {
            named: Some("/nowhere/imd".into()),
            test: None,
            path: env::var_os("PATH"),
        };
        let refused = find(&places).unwrap_err().to_string();
        assert!(refused.contains("IMD_BIN names /nowhere/imd"), "{refused}");
    }
}
