//! How an instance is named in the commands that a person is told to run.

use std::env;

use crate::args::Daemon;

const DEFAULT: &str = "imd";

/// The instance that is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instance(String);

impl Instance {
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let set = env::var("IMD_INSTANCE").ok().filter(|name| !name.is_empty());
        let name = daemon.instance.clone().or(set);
        Self(name.unwrap_or_else(|| DEFAULT.to_owned()))
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// The daemon, as a command.
    pub(crate) fn imd(&self) -> String {
        match self.0.as_str() {
            DEFAULT => DEFAULT.to_owned(),
            name => format!("imd --instance {name}"),
        }
    }

    /// This program, as a command.
    pub(crate) fn imctl(&self) -> String {
        match self.0.as_str() {
            DEFAULT => "imctl".to_owned(),
            name => format!("imctl --instance {name}"),
        }
    }

    /// The unit of this kind: `service`, `socket`.
    pub(crate) fn unit(&self, kind: &str) -> String {
        match self.0.as_str() {
            DEFAULT => format!("imd.{kind}"),
            name => format!("imd@{name}.{kind}"),
        }
    }

    /// How to start it.
    pub(crate) fn start(&self) -> String {
        format!(
            "Start it: systemctl --user start {} {}, or in a terminal: {}",
            self.unit("socket"),
            self.unit("service"),
            self.imd()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_instance_is_named_in_every_command() {
        assert_eq!(
            Instance("imd".to_owned()).start(),
            "Start it: systemctl --user start imd.socket imd.service, or in a terminal: imd"
        );
        assert_eq!(
            Instance("work".to_owned()).start(),
            "Start it: systemctl --user start imd@work.socket imd@work.service, or in a terminal: imd --instance work"
        );
    }
}
