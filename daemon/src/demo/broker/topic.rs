//! Topic names and topic filters, as MQTT 5 section 4.7 has them.

/// The longest name or filter, in bytes: what a two-byte length can say.
const MAX: usize = 65_535;

/// Whether a message may be published under this name.
pub(super) fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX && !name.contains(['+', '#', '\0'])
}

/// Whether this may be subscribed to: `+` and `#` fill a whole level, `#` only the last one.
pub(super) fn is_valid_filter(filter: &str) -> bool {
    if filter.is_empty() || filter.len() > MAX || filter.contains('\0') {
        return false;
    }
    let mut levels = filter.split('/').peekable();
    while let Some(level) = levels.next() {
        let is_last = levels.peek().is_none();
        let fills_level = level.len() == 1;
        if (level.contains('+') && !fills_level) || (level.contains('#') && !(fills_level && is_last)) {
            return false;
        }
    }
    true
}

/// Whether a message of this name goes to a subscriber of this filter.
pub(super) fn matches(filter: &str, name: &str) -> bool {
    // A wildcard at the first level leaves out the server's own topics.
    if name.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = name.split('/');
    for wanted in filter.split('/') {
        if wanted == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if wanted == "+" || wanted == level => {}
            Some(_) | None => return false,
        }
    }
    levels.next().is_none()
}

/// Whether every name a filter matches is matched by the pattern too, level by level: a filter may be
/// narrower than what somebody may read, never wider.
pub(super) fn covers(pattern: &str, filter: &str) -> bool {
    let mut levels = filter.split('/');
    for allowed in pattern.split('/') {
        match levels.next() {
            Some("#") | None => return false,
            Some(_) if allowed == "+" => {}
            Some(level) if level == allowed && level != "+" => {}
            Some(_) => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_a_whole_level_or_the_filter_is_refused() {
        for good in ["a", "/", "a/b", "+", "#", "a/+/b", "a/#", "+/+/#", "$SYS/x", " "] {
            assert!(is_valid_filter(good), "{good:?}");
        }
        for bad in ["", "a+", "+a/b", "#/a", "a/#/b", "a#", "a\0b"] {
            assert!(!is_valid_filter(bad), "{bad:?}");
        }
        assert!(is_valid_name("a/b"));
        for bad in ["", "a/+", "#", "a\0"] {
            assert!(!is_valid_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_filter_matches_the_names_the_standard_lists() {
        for (filter, name) in [
            ("sport/tennis/player1/#", "sport/tennis/player1"),
            ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"),
            ("sport/#", "sport"),
            ("#", "a/b/c"),
            ("sport/tennis/+", "sport/tennis/player1"),
            ("sport/+", "sport/"),
            ("+/+", "/finance"),
            ("/+", "/finance"),
            ("$SYS/#", "$SYS/x"),
        ] {
            assert!(matches(filter, name), "{filter} {name}");
        }
        for (filter, name) in [
            ("sport/tennis/+", "sport/tennis/player1/ranking"),
            ("sport/+", "sport"),
            ("+", "/finance"),
            ("#", "$SYS/x"),
            ("+/x", "$SYS/x"),
            ("a", "b"),
            ("a/b", "a"),
        ] {
            assert!(!matches(filter, name), "{filter} {name}");
        }
    }

    #[test]
    fn a_pattern_covers_only_filters_that_are_not_wider() {
        assert!(covers("im/K/u/me/+", "im/K/u/me/+"));
        assert!(covers("im/K/u/me/+", "im/K/u/me/bob"));
        for wider in [
            "im/K/u/me/#",
            "im/K/u/+/+",
            "#",
            "im/K/u/me",
            "im/K/u/me/a/b",
            "im/K/u/bob/+",
        ] {
            assert!(!covers("im/K/u/me/+", wider), "{wider}");
        }
        assert!(!covers("im/K/s/me", "im/K/s/+"));
    }
}
