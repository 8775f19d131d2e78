//! The drawing: a place for each status and each change, and the words beside them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use imd_core::io::ConnectionStatus;

use crate::chart::{Cause, Edge, Edges};
use crate::checks::is_end;

const STYLE: &str = "\
text{font:14px system-ui,sans-serif;fill:#1f2328}\
.name{font:600 13px ui-monospace,monospace;text-anchor:middle}\
.small{font-size:12px;fill:#59636e}\
.title{font-weight:600}\
.end{text-anchor:end}.middle{text-anchor:middle}\
.box{fill:#f6f8fa;stroke:#d1d9e0}\
.on{fill:#dafbe1;stroke:#1a7f37}.wait{fill:#fff8c5;stroke:#9a6700}.off{fill:#fff;stroke:#59636e}\
.edge{fill:none;stroke:#59636e;stroke-width:1.5;marker-end:url(#tip)}";

/// The four statuses of a connection that somebody wants, with their middles.
const WANTED: [(ConnectionStatus, i32, i32); 4] = [
    (ConnectionStatus::Connecting, 240, 130),
    (ConnectionStatus::Connected, 520, 130),
    (ConnectionStatus::Suspend, 380, 268),
    (ConnectionStatus::NetworkUnavailable, 380, 396),
];

/// The ends, from top to bottom.
const ENDS: [ConnectionStatus; 7] = [
    ConnectionStatus::SignOut,
    ConnectionStatus::KickedOfflineByOtherClient,
    ConnectionStatus::TokenIncorrect,
    ConnectionStatus::ConnUserBlocked,
    ConnectionStatus::Unconnected,
    ConnectionStatus::Timeout,
    ConnectionStatus::ProxyUnavailable,
];

const FIRST_END: i32 = 98;
const ROW: i32 = 56;

/// The way of a change between two wanted statuses, and where its words stand.
struct Way {
    from: ConnectionStatus,
    to: ConnectionStatus,
    path: &'static str,
    words: (i32, i32, &'static str),
}

const WAYS: [Way; 10] = [
    Way {
        from: ConnectionStatus::Connecting,
        to: ConnectionStatus::Connected,
        path: "M310 122H448",
        words: (380, 114, "middle"),
    },
    Way {
        from: ConnectionStatus::Connected,
        to: ConnectionStatus::Connecting,
        path: "M450 139H312",
        words: (380, 156, "middle"),
    },
    Way {
        from: ConnectionStatus::Connecting,
        to: ConnectionStatus::Suspend,
        path: "M240 152L328 244",
        words: (272, 206, "end"),
    },
    Way {
        from: ConnectionStatus::Suspend,
        to: ConnectionStatus::Connecting,
        path: "M358 246L270 154",
        words: (326, 196, ""),
    },
    Way {
        from: ConnectionStatus::Connected,
        to: ConnectionStatus::Suspend,
        path: "M500 152L412 244",
        words: (476, 206, ""),
    },
    Way {
        from: ConnectionStatus::Suspend,
        to: ConnectionStatus::NetworkUnavailable,
        path: "M372 290V372",
        words: (364, 340, "end"),
    },
    Way {
        from: ConnectionStatus::NetworkUnavailable,
        to: ConnectionStatus::Suspend,
        path: "M388 374V292",
        words: (396, 340, ""),
    },
    Way {
        from: ConnectionStatus::Connected,
        to: ConnectionStatus::NetworkUnavailable,
        path: "M590 136C650 160 640 396 477 396",
        words: (602, 310, "end"),
    },
    Way {
        from: ConnectionStatus::Connecting,
        to: ConnectionStatus::NetworkUnavailable,
        path: "M170 140C90 160 100 388 283 388",
        words: (148, 300, ""),
    },
    Way {
        from: ConnectionStatus::NetworkUnavailable,
        to: ConnectionStatus::Connecting,
        path: "M285 404C30 404 30 120 168 120",
        words: (276, 424, "end"),
    },
];

/// An SVG with its own background, so that it reads on a light and on a dark page.
pub(crate) fn draw(edges: &Edges) -> String {
    let mut drawing = Drawing {
        svg: String::new(),
        left: edges.clone(),
    };
    drawing.frame();
    drawing.start();
    drawing.wanted();
    drawing.ends();
    drawing.connects();
    assert!(
        drawing.left.is_empty(),
        "the drawing has no place for these: {:?}",
        drawing.left
    );
    drawing.svg.push_str("</svg>\n");
    drawing.svg
}

struct Drawing {
    svg: String,
    /// What has not been drawn yet.
    left: Edges,
}

impl Drawing {
    fn frame(&mut self) {
        self.line(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 1256 560\" role=\"img\" \
             aria-label=\"The connection's status and its changes\">",
        );
        self.line("<title>The connection's status and its changes</title>");
        self.line("<desc>Made from what the core does, by its model test; a change of the core fails that test.</desc>");
        self.line(&format!("<style>{STYLE}</style>"));
        self.line(
            "<defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             orient=\"auto-start-reverse\"><path d=\"M0 0L8 4L0 8z\" fill=\"#59636e\"/></marker></defs>",
        );
        self.line("<rect width=\"1256\" height=\"560\" rx=\"12\" fill=\"#fff\"/>");
        self.line("<rect class=\"box\" x=\"20\" y=\"52\" width=\"640\" height=\"400\" rx=\"10\"/>");
        self.line("<rect class=\"box\" x=\"950\" y=\"52\" width=\"286\" height=\"432\" rx=\"10\"/>");
        self.text(
            206,
            76,
            "title",
            "an app wants the connection: the daemon keeps it up",
        );
        self.text(966, 76, "title", "nobody wants it: it stays off");
    }

    /// What a daemon that starts goes on with.
    fn start(&mut self) {
        let first: Vec<Edge> = self.take(|edge| edge.from.is_none());
        let goes_on = first
            .iter()
            .any(|edge| edge.to == ConnectionStatus::Connecting.number());
        let stays = ENDS
            .iter()
            .filter(|end| first.iter().any(|edge| edge.to == end.number()))
            .count();
        assert!(
            goes_on && stays + 1 == first.len(),
            "a daemon starts otherwise: {first:?}"
        );
        self.line("<circle cx=\"760\" cy=\"26\" r=\"8\" fill=\"#1f2328\"/>");
        self.text(776, 20, "small", "the daemon starts");
        self.edge("M752 26H190V106");
        self.text(
            640,
            20,
            "small end",
            "the last run was connected, or on its way there again",
        );
        self.edge("M768 26H1093V50");
        self.text(1085, 44, "small end", "anything else");
    }

    fn wanted(&mut self) {
        for way in WAYS {
            let (from, to) = (way.from.number(), way.to.number());
            let Some(causes) = self.left.remove(&Edge { from: Some(from), to }) else {
                continue;
            };
            self.edge(way.path);
            let (x, y, side) = way.words;
            for (row, words) in inside(way.from, way.to, &causes).iter().enumerate() {
                let down = 15 * i32::try_from(row).unwrap_or_default();
                self.text(x, y + down, &format!("small {side}"), words);
            }
        }
        for (status, x, y) in WANTED {
            let class = if status == ConnectionStatus::Connected {
                "on"
            } else {
                "wait"
            };
            let width = if status == ConnectionStatus::NetworkUnavailable {
                190
            } else {
                140
            };
            self.node(status, class, (x, y), width);
        }
    }

    fn ends(&mut self) {
        let mut y = FIRST_END;
        for end in ENDS {
            let mut causes = BTreeSet::new();
            let mut from = Vec::new();
            for (status, _, _) in WANTED {
                let edge = Edge {
                    from: Some(status.number()),
                    to: end.number(),
                };
                if let Some(more) = self.left.remove(&edge) {
                    causes.extend(more);
                    from.push(status.name());
                }
            }
            if !from.is_empty() {
                self.edge(&format!("M660 {0}H964", y + 18));
                self.text(674, y + 12, "", &ending(end, &causes));
                let others: Vec<_> = WANTED
                    .iter()
                    .map(|(status, _, _)| status.name())
                    .filter(|name| !from.contains(name))
                    .collect();
                let from = match others[..] {
                    [] => "from any of them".to_owned(),
                    [other] => format!("from any but {other}"),
                    _ => format!("from {}", from.join(", ")),
                };
                self.text(674, y + 32, "small", &from);
            }
            self.node(end, "off", (1093, y + 18), 254);
            y += ROW;
        }
    }

    /// Every end is left in the same way.
    fn connects(&mut self) {
        let edges = self.take(|edge| {
            edge.from
                .is_some_and(|from| ENDS.iter().any(|end| end.number() == from))
        });
        let leads = |end: ConnectionStatus, to: ConnectionStatus| {
            edges.contains(&Edge {
                from: Some(end.number()),
                to: to.number(),
            })
        };
        let (connecting, offline) = (ConnectionStatus::Connecting, ConnectionStatus::NetworkUnavailable);
        assert!(
            ENDS.iter().all(|end| leads(*end, connecting))
                && ENDS.iter().any(|end| leads(*end, offline))
                && edges
                    .iter()
                    .all(|edge| [connecting.number(), offline.number()].contains(&edge.to)),
            "an end is left otherwise: {edges:?}"
        );
        self.edge("M1093 484V520H340V454");
        self.text(
            712,
            512,
            "middle",
            "an app connects: CONNECTING, or NETWORK_UNAVAILABLE while there is no network",
        );
        self.text(
            712,
            542,
            "small middle",
            "-2 DAEMON_LOST is no state of the connection: the library says it while there is no daemon to ask",
        );
    }

    fn take(&mut self, wanted: impl Fn(&Edge) -> bool) -> Vec<Edge> {
        let taken: Vec<Edge> = self.left.keys().copied().filter(wanted).collect();
        self.left.retain(|edge, _| !taken.contains(edge));
        taken
    }

    fn node(&mut self, status: ConnectionStatus, class: &str, (x, y): (i32, i32), width: i32) {
        assert_eq!(is_end(status), class == "off");
        self.line(&format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"44\" rx=\"8\"/>",
            x - width / 2,
            y - 22
        ));
        self.text(x, y - 2, "name", status.name());
        self.text(x, y + 14, "small middle", &status.number().to_string());
    }

    fn edge(&mut self, path: &str) {
        self.line(&format!("<path class=\"edge\" d=\"{path}\"/>"));
    }

    fn text(&mut self, x: i32, y: i32, class: &str, text: &str) {
        self.line(&format!(
            "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{text}</text>"
        ));
    }

    fn line(&mut self, line: &str) {
        // Writing to a String cannot fail.
        let _ = writeln!(self.svg, "{line}");
    }
}

/// The words beside a change between two wanted statuses, a line each.
fn inside(from: ConnectionStatus, to: ConnectionStatus, causes: &BTreeSet<Cause>) -> Vec<&'static str> {
    let was_up = from == ConnectionStatus::Connected;
    let no_network = to == ConnectionStatus::NetworkUnavailable;
    let words = |cause: &Cause| match cause {
        Cause::LoggedIn => "logged in",
        Cause::NextAttempt => "the next try is due",
        Cause::Fault | Cause::Verdict if was_up && no_network => "the link breaks, no network",
        Cause::Fault | Cause::Verdict if was_up => "the link breaks",
        Cause::Fault | Cause::Verdict | Cause::Database if no_network => "no network",
        Cause::Fault | Cause::Verdict => "the attempt fails",
        Cause::Moved => "sent to another server",
        Cause::NoNetwork => "no network",
        Cause::Sleep => "the machine goes to sleep",
        Cause::Network if to == ConnectionStatus::Suspend => "back, but told to wait",
        Cause::Network => "the network is back",
        Cause::TimeLimit | Cause::Connect | Cause::SignOut | Cause::Database | Cause::Start => {
            panic!("{from:?} to {to:?} by {cause:?} has no words")
        }
    };
    let mut all: Vec<_> = causes.iter().map(words).collect();
    all.dedup();
    all
}

/// Why the connection ends so.
fn ending(end: ConnectionStatus, causes: &BTreeSet<Cause>) -> String {
    let words = |cause: &Cause| match (cause, end) {
        (Cause::SignOut, ConnectionStatus::SignOut) => "disconnect, logout",
        (Cause::Verdict, ConnectionStatus::KickedOfflineByOtherClient) => "a login elsewhere takes over",
        (Cause::Verdict, ConnectionStatus::TokenIncorrect) => "the token is refused",
        (Cause::Verdict, ConnectionStatus::ConnUserBlocked) => "the user or the app is blocked",
        (Cause::Verdict, ConnectionStatus::Unconnected) => "refused for good",
        (Cause::Database, ConnectionStatus::Unconnected) => "no database",
        (Cause::TimeLimit, ConnectionStatus::Timeout) => "the last time limit is over",
        (Cause::Fault, ConnectionStatus::ProxyUnavailable) => "no proxy, at the first connect",
        (cause, end) => panic!("{end:?} by {cause:?} has no words"),
    };
    causes.iter().map(words).collect::<Vec<_>>().join("; ")
}
