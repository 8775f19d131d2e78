//! The form of OpenMetrics 1.0: families with HELP, TYPE and UNIT, their samples, and `# EOF`.

use std::fmt::Write as _;

/// What kind of family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
    StateSet,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
            Self::StateSet => "stateset",
        }
    }
}

/// Families are written one after the other, and a family's samples behind its head.
#[derive(Default)]
pub(super) struct Text {
    text: String,
    family: &'static str,
}

impl Text {
    /// Begins a family. A name that ends in `_seconds` or `_bytes` has that unit, as the form wants it.
    pub(super) fn family(&mut self, kind: Kind, name: &'static str, help: &str) {
        self.family = name;
        let _ = writeln!(self.text, "# TYPE {name} {}", kind.name());
        for unit in ["seconds", "bytes"] {
            if name.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_')) {
                let _ = writeln!(self.text, "# UNIT {name} {unit}");
            }
        }
        let _ = writeln!(self.text, "# HELP {name} {}", escaped(help));
    }

    /// A sample of the family that was begun last.
    pub(super) fn sample(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Value) {
        let _ = write!(self.text, "{}{suffix}", self.family);
        for (index, (label, text)) in labels.iter().enumerate() {
            let open = if index == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{open}{label}=\"{}\"", escaped(text));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {}", value.text());
    }

    /// A family with one sample.
    pub(super) fn counter(&mut self, name: &'static str, help: &str, value: impl Value) {
        self.family(Kind::Counter, name, help);
        self.sample("_total", &[], value);
    }

    /// A family with one sample.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: impl Value) {
        self.family(Kind::Gauge, name, help);
        self.sample("", &[], value);
    }

    pub(super) fn end(mut self) -> String {
        self.text.push_str("# EOF\n");
        self.text
    }
}

/// A number as the form writes it.
pub(super) trait Value {
    fn text(self) -> String;
}

impl Value for u64 {
    fn text(self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    fn text(self) -> String {
        self.to_string()
    }
}

impl Value for bool {
    fn text(self) -> String {
        u64::from(self).to_string()
    }
}

/// With a point always, so that `le` of a histogram reads the same everywhere.
impl Value for f64 {
    fn text(self) -> String {
        format!("{self:?}")
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_head_then_its_samples() {
        let mut text = Text::default();
        text.gauge("imd_free_disk_bytes", "Room.", 7_u64);
        text.family(Kind::Counter, "imd_ends", "By code.");
        text.sample("_total", &[("code", "-1"), ("name", "a\"b\\c\nd")], 2_u64);
        assert_eq!(
            text.end(),
            concat!(
                "# TYPE imd_free_disk_bytes gauge\n",
                "# UNIT imd_free_disk_bytes bytes\n",
                "# HELP imd_free_disk_bytes Room.\n",
                "imd_free_disk_bytes 7\n",
                "# TYPE imd_ends counter\n",
                "# HELP imd_ends By code.\n",
                "imd_ends_total{code=\"-1\",name=\"a\\\"b\\\\c\\nd\"} 2\n",
                "# EOF\n"
            )
        );
    }

    #[test]
    fn numbers_are_written_as_the_form_has_them() {
        assert_eq!(true.text(), "1");
        assert_eq!(1.0.text(), "1.0");
        assert_eq!(0.005.text(), "0.005");
    }
}
