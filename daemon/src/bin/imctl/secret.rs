//! Secrets are read from a file or from standard input, never from the command line, which all can see.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use imd_client::Code;
use zeroize::Zeroizing;

use crate::output::Failure;

/// Far more than any token or secret has.
const MOST: u64 = 1024 * 1024;

/// Reads a secret, without the line break at its end. `-` is standard input.
pub(crate) fn read(path: &Path, code: Code) -> Result<Zeroizing<String>, Failure> {
    let text = if path == Path::new("-") {
        bounded(io::stdin().lock())
    } else {
        File::open(path).and_then(bounded)
    };
    let shown = if path == Path::new("-") {
        "standard input".into()
    } else {
        path.to_string_lossy()
    };
    let mut text = text.map_err(|error| Failure::own(code, format!("{shown} cannot be read: {error}")))?;
    let kept = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(kept);
    if text.is_empty() {
        return Err(Failure::own(code, format!("{shown} is empty")));
    }
    Ok(text)
}

fn bounded(source: impl Read) -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new(Vec::new());
    source.take(MOST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST {
        return Err(io::Error::other(format!("it is larger than {MOST} bytes")));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::other("it is not UTF-8 text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn refused(content: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, content).unwrap();
        match read(&path, Code::INVALID_PARAMETER_TOKEN) {
            Err(Failure::Own { text, .. }) => text,
            other => panic!("it is refused: {}", other.is_ok()),
        }
    }

    #[test]
    fn the_line_break_at_the_end_is_no_part_of_a_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, " a token\r\n").unwrap();
        let token = read(&path, Code::INVALID_PARAMETER_TOKEN).ok().unwrap();
        assert_eq!(*token, " a token");
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_without_being_shown() {
        assert!(refused(b"\n").contains("is empty"));
        assert!(refused(b"canary\xff").contains("not UTF-8"));
        assert!(!refused(b"canary\xff").contains("canary"));
        assert!(refused(&[b'x'; 1024 * 1024 + 1]).contains("larger than"));
    }
}
