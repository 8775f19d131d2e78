//! What imd's man page says beside the definition of its command line.

use crate::manual::{Pages, Section};

/// See [`Pages`].
pub(super) const PAGES: Pages = Pages {
    sections: &[
        Section {
            title: "EXIT STATUS",
            items: &[
                ("0", "It ended in order."),
                (
                    "1",
                    "It could not run: another imd holds the data directory, a place cannot be used.",
                ),
                ("2", "Wrong usage, or a filter in IMD_LOG that cannot be read."),
                (
                    "78",
                    "An error in a config file; the service is not started again after it.",
                ),
            ],
        },
        Section {
            title: "ENVIRONMENT",
            items: &[
                (
                    "IMD_INSTANCE, IMD_CONFIG, IMD_DATA_DIR, IMD_SOCKET",
                    "As the flags of these names; a flag beats them.",
                ),
                (
                    "IMD_LOG",
                    "What is logged: a level (info), or a tracing filter (warn,imd::link=trace).",
                ),
                ("NO_COLOR", "No colours in the log."),
                (
                    "XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME, XDG_RUNTIME_DIR",
                    "Where the files below are. Without XDG_RUNTIME_DIR there is no private place for the socket, and imd says so.",
                ),
            ],
        },
        Section {
            title: "FILES",
            items: &[
                (
                    "$XDG_CONFIG_HOME/imd/NAME.toml",
                    "The configuration; NAME is the instance, imd unless given.",
                ),
                (
                    "/usr/share/imd/apps.d, /etc/imd/apps.d, $XDG_CONFIG_HOME/imd/apps.d",
                    "Servers that apps bring along; the later one wins.",
                ),
                (
                    "$XDG_DATA_HOME/imd/NAME/",
                    "The messages: one database for each account.",
                ),
                (
                    "$XDG_STATE_HOME/imd/NAME/session.json",
                    "App Key, user id and token, readable by their owner alone.",
                ),
                (
                    "$XDG_STATE_HOME/imd/NAME/status.jsonl",
                    "The status changes, for imctl timeline.",
                ),
                ("$XDG_RUNTIME_DIR/imd/NAME.sock", "The socket."),
            ],
        },
    ],
    examples: &[
        ("", "imd --check-config", "Says what the configuration means."),
        (
            "",
            "imd --instance work",
            "A second daemon, for a second account.",
        ),
        ("demo", "imd demo", "Shows a broker, daemons and apps at work."),
        (
            "broker",
            "imd broker --listen 127.0.0.1:1883 --app-key demo",
            "A broker for an app's own tests.",
        ),
    ],
    see_also: &["imctl(1)", "systemd.unit(5)"],
};
