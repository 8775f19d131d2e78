//! The moment of the daemon's death as a drawing: time from left to right, a lane for each who was there.
//!
//! The death and the return stand at the same two places in every drawing; the scale is what fits the time
//! between them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use imd_core::time::{BootTime, UnixTime};

use super::record::{Count, Heard, Recording};

const WIDTH: i32 = 1120;
/// Where the lanes begin and end.
const LEFT: f64 = 172.0;
const RIGHT: f64 = 940.0;
/// Where the daemon dies, and where the next one listens.
const DEATH: f64 = 372.0;
const RETURN: f64 = 632.0;

const FIRST_LANE: i32 = 112;
const LANE: i32 = 38;
/// How high a bar or a tick is.
const HEIGHT: i32 = 22;

const STYLE: &str = "\
text{font:14px system-ui,sans-serif;fill:#1f2328}\
.title{font-size:20px;font-weight:600}.small{font-size:12px;fill:#59636e}\
.count{font:600 20px ui-monospace,monospace}\
.end{text-anchor:end}.middle{text-anchor:middle}\
.pill{font-size:12px;font-weight:600;fill:#fff}\
.lane{fill:#f6f8fa}.alive{fill:#2da44e}.dead{fill:#ffebe9;stroke:#cf222e;stroke-dasharray:4 3}\
.gap{fill:#ffebe9}.loss{fill:#cf222e}.bound{fill:#1a7f37}\
.red,.red.small{fill:#cf222e}.green,.green.small{fill:#1a7f37}\
.written{stroke:#8c959f}.read{stroke:#0969da}\
.death{stroke:#cf222e;stroke-width:1.5}.return{stroke:#1a7f37;stroke-width:1.5}";

/// An SVG with its own background, so that it reads on a light and on a dark page.
pub(super) fn drawing(recording: &Recording, count: &Count, drawn: UnixTime) -> String {
    let mut sheet = Sheet {
        svg: String::new(),
        scale: Scale::of(recording),
        y: FIRST_LANE,
    };
    sheet.head(recording, drawn);
    sheet.writer(&recording.sent);
    let (down, up) = (recording.killed, recording.listened);
    sheet.bar(
        "imd bob",
        "the daemon",
        (down, up),
        ["runs", "dead", "runs again"],
    );
    let (down, up) = (recording.link_down, recording.link_up);
    sheet.bar(
        "its link",
        "to the broker",
        (down, up),
        ["up", "down", "up again"],
    );
    for app in &recording.apps {
        sheet.app(app, recording.listened, count.sent);
    }
    sheet.foot(recording, count);
    sheet.svg
}

struct Scale {
    killed: BootTime,
    pixels_per_millisecond: f64,
}

impl Scale {
    fn of(recording: &Recording) -> Self {
        // Two points of one millisecond apart at least: a drawing of nothing has a scale, too.
        let dead = milliseconds(recording.killed, recording.listened).max(1.0);
        Self {
            killed: recording.killed,
            pixels_per_millisecond: (RETURN - DEATH) / dead,
        }
    }

    fn x(&self, point: BootTime) -> f64 {
        DEATH + milliseconds(self.killed, point) * self.pixels_per_millisecond
    }
}

/// From one point to another, which may be before it.
fn milliseconds(from: BootTime, to: BootTime) -> f64 {
    (to.since(from).as_secs_f64() - from.since(to).as_secs_f64()) * 1000.0
}

struct Sheet {
    svg: String,
    scale: Scale,
    /// The top of the next lane.
    y: i32,
}

impl Sheet {
    fn head(&mut self, recording: &Recording, drawn: UnixTime) {
        let lanes = i32::try_from(recording.apps.len()).unwrap_or_default() + 3;
        let height = FIRST_LANE + lanes * LANE + 92;
        let version = env!("CARGO_PKG_VERSION");
        let day = jiff::Timestamp::from_millisecond(drawn.as_millis())
            .map(|time| time.strftime("%Y-%m-%d").to_string())
            .unwrap_or_default();
        self.line(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             aria-label=\"kill -9 of the daemon while five apps read: nothing is lost\">"
        ));
        self.line("<title>kill -9 of the daemon while five apps read: nothing is lost</title>");
        self.line(&format!(
            "<desc>A run of `imd demo --draw` of imd {version} on {day}. Every tick, mark and number is of that run.</desc>"
        ));
        self.line(&format!("<style>{STYLE}</style>"));
        self.line(&format!(
            "<rect width=\"{WIDTH}\" height=\"{height}\" rx=\"12\" fill=\"#fff\"/>"
        ));
        self.text(24.0, 38, "title", "kill -9 of the daemon while five apps read");
        let dead = milliseconds(recording.killed, recording.listened);
        self.text(
            24.0,
            60,
            "small",
            "Each app is told -2 (IPC_DISCONNECT) once, is bound again by the library, and reads on. The apps do nothing.",
        );
        self.text(DEATH, 94, "red middle", "kill -9");
        self.text(
            RETURN,
            94,
            "green middle",
            &format!("the next one listens, {dead:.0} ms later"),
        );
        let bottom = FIRST_LANE + lanes * LANE - 8;
        self.line(&format!(
            "<path class=\"death\" d=\"M{DEATH} 100V{bottom}\"/><path class=\"return\" d=\"M{RETURN} 100V{bottom}\"/>"
        ));
    }

    fn writer(&mut self, sent: &[BootTime]) {
        self.lane("alice's app", "writes");
        self.ticks("written", sent.iter().copied());
        self.y += LANE;
    }

    /// Good, then bad between these two points, then good again.
    fn bar(&mut self, name: &str, what: &str, (down, up): (BootTime, BootTime), words: [&str; 3]) {
        self.lane(name, what);
        let (down, up) = (self.within(down), self.within(up));
        let parts = [("alive", LEFT, down), ("dead", down, up), ("alive", up, RIGHT)];
        for ((class, from, to), words) in parts.into_iter().zip(words) {
            self.rect(class, from, to);
            let text = if class == "dead" {
                "red small middle"
            } else {
                "pill middle"
            };
            self.text(f64::midpoint(from, to), self.y + 15, text, words);
        }
        self.y += LANE;
    }

    fn app(&mut self, app: &Heard, listened: BootTime, sent: usize) {
        self.lane(&app.name, "reads");
        let (lost, rebound) = (self.within(app.lost), self.within(app.rebound));
        let back = self.within(listened);
        self.rect("gap", lost, rebound);
        self.ticks("read", app.read.iter().map(|read| read.at));
        self.rect("loss", lost, lost + 30.0);
        self.text(lost + 15.0, self.y + 15, "pill middle", "-2");
        self.rect("bound", back, rebound);
        let after = milliseconds(listened, app.rebound);
        self.text(
            back - 8.0,
            self.y + 15,
            "green small end",
            &format!("bound +{after:.1} ms"),
        );
        let line = format!("{} of {sent} read", app.read.len());
        self.text(RIGHT + 14.0, self.y + 16, "", &line);
        self.y += LANE;
    }

    fn foot(&mut self, recording: &Recording, count: &Count) {
        let y = self.y + 12;
        let first = DEATH - LEFT;
        let last = RIGHT - DEATH;
        for (x, pixels) in [(LEFT, -first), (DEATH, 0.0), (RIGHT, last)] {
            let at = pixels / self.scale.pixels_per_millisecond;
            let sign = if at > 0.0 { "+" } else { "" };
            self.text(x, y, "small middle", &format!("{sign}{at:.0} ms"));
        }
        let apps = recording.apps.len();
        self.text(24.0, y + 44, "count", &count.to_string());
        self.text(
            RIGHT + 156.0,
            y + 44,
            "small end",
            &format!("each of {apps} apps got every message; +ms: since the next daemon listened"),
        );
        self.line("</svg>");
    }

    fn lane(&mut self, name: &str, what: &str) {
        self.rect("lane", LEFT, RIGHT);
        self.text(24.0, self.y + 16, "", name);
        self.text(LEFT - 12.0, self.y + 16, "small end", what);
    }

    /// The points in the window; those of one place are one tick.
    fn ticks(&mut self, class: &str, points: impl Iterator<Item = BootTime>) {
        let halves: BTreeSet<i64> = points
            .map(|point| self.scale.x(point))
            .filter(|x| (LEFT..=RIGHT).contains(x))
            // Half pixels of a sheet this wide.
            .map(|x| (x * 2.0).round() as i64)
            .collect();
        let mut path = String::new();
        for half in halves {
            // Writing to a String cannot fail.
            let _ = write!(path, "M{} {}v{HEIGHT}", half as f64 / 2.0, self.y);
        }
        self.line(&format!("<path class=\"{class}\" d=\"{path}\"/>"));
    }

    fn within(&self, point: BootTime) -> f64 {
        self.scale.x(point).clamp(LEFT, RIGHT)
    }

    fn rect(&mut self, class: &str, from: f64, to: f64) {
        let width = (to - from).max(0.0);
        self.line(&format!(
            "<rect class=\"{class}\" x=\"{from:.1}\" y=\"{}\" width=\"{width:.1}\" height=\"{HEIGHT}\" rx=\"3\"/>",
            self.y
        ));
    }

    fn text(&mut self, x: f64, y: i32, class: &str, text: &str) {
        self.line(&format!(
            "<text x=\"{x:.1}\" y=\"{y}\" class=\"{class}\">{text}</text>"
        ));
    }

    fn line(&mut self, line: &str) {
        self.svg.push_str(line);
        self.svg.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::demo::audience::Read;

    fn at(milliseconds: u64) -> BootTime {
        BootTime::since_boot(Duration::from_millis(milliseconds))
    }

    fn recording() -> Recording {
        let heard = |name: &str| Heard {
            name: name.to_owned(),
            lost: at(1002),
            rebound: at(1304),
            read: [900, 1310, 99_000]
                .map(|time| Read {
                    at: at(time),
                    text: "message".to_owned(),
                })
                .into(),
        };
        Recording {
            sent: vec![at(890), at(1100)],
            killed: at(1000),
            listened: at(1300),
            link_down: at(1001),
            link_up: at(1320),
            apps: vec![heard("bob/Chat"), heard("bob/Mail")],
        }
    }

    const COUNT: Count = Count {
        sent: 3,
        received: 3,
        lost: 0,
        twice: 0,
    };

    #[test]
    fn the_same_run_is_the_same_drawing() {
        let day = UnixTime::from_millis(1_800_000_000_000);
        let drawn = drawing(&recording(), &COUNT, day);
        assert_eq!(drawn, drawing(&recording(), &COUNT, day));
        for words in [
            "2027-01-15",
            "bound +4.0 ms",
            "300 ms later",
            "3 of 3 read",
            "lost 0 twice 0",
        ] {
            assert!(drawn.contains(words), "{words} in {drawn}");
        }
        assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
    }

    #[test]
    fn what_is_outside_of_the_window_has_no_tick_but_is_counted() {
        let drawn = drawing(&recording(), &COUNT, UnixTime::from_millis(0));
        let read = drawn
            .lines()
            .find(|line| line.contains("class=\"read\""))
            .unwrap();
        assert_eq!(read.matches('M').count(), 2, "{read}");
    }

    #[test]
    fn a_run_with_no_time_in_it_is_drawn_all_the_same() {
        let mut still = recording();
        still.listened = still.killed;
        assert!(!drawing(&still, &COUNT, UnixTime::from_millis(0)).contains("NaN"));
    }
}
