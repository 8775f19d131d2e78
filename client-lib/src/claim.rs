//! What this app holds of the one connection: the connect that is pending, or the one that has succeeded.
//!
//! While the app is bound the daemon knows, and decides. Between two daemons the library knows alone: it
//! refuses a second connect, and takes the first one up again with the next daemon, unless it has ended.

use imd_proto::code::Code;
use tokio::sync::watch;

use crate::call::LinkNumber;
use crate::error::{Error, Sent};
use crate::status::{ConnectionStatus, Status};

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) app_key: String,
    pub(crate) user_id: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Free,
    Pending {
        connect: String,
        known: Option<LinkNumber>,
    },
    /// It succeeded, and no end of it has been seen since.
    Held {
        connect: String,
        account: Account,
        known: Option<LinkNumber>,
    },
}

/// The claim of one client. `known`: the link whose daemon has taken the connect.
#[derive(Default)]
pub(crate) struct Claim(watch::Sender<State>);

/// Who answers a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// It is the app's one connect.
    Own,
    /// There is one already: the daemon of this link has the word.
    AskDaemon(LinkNumber),
}

/// What becomes of a connect that had succeeded, with another daemon or after a while without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resumption {
    /// The connection is there, or wanted: the daemon has to know that this app is one of those who hold it.
    Join,
    /// The daemon knows of no connection and of no end: it was not to remember. The connect is made again.
    Again,
    /// The connection has ended, or it is another's. It is never fought for.
    Ended,
}

impl Claim {
    /// Makes room for a connect. `up`: the link of the moment.
    ///
    /// # Errors
    /// 34001 where another one is pending or has succeeded, and no daemon is there that knows better.
    pub(crate) fn enter(&self, connect: &str, up: Option<LinkNumber>) -> Result<Entry, Error> {
        let mut entry = Ok(Entry::Own);
        self.0.send_if_modified(|state| {
            let (words, known) = match state {
                State::Free => {
                    *state = State::Pending {
                        connect: connect.to_owned(),
                        known: None,
                    };
                    return true;
                }
                State::Pending { known, .. } => ("has called connect already, and it is pending", *known),
                State::Held { known, .. } => ("is connected, or being reconnected, already", *known),
            };
            entry = match (known, up) {
                (Some(known), Some(up)) if known == up => Ok(Entry::AskDaemon(up)),
                (Some(_) | None, _) => {
                    let text = format!("this app {words}");
                    Err(Error::new(Code::RC_CONNECTION_EXIST, text, Sent::No))
                }
            };
            false
        });
        entry
    }

    /// The daemon of this link has taken the connect. If it was not the app's one, the library was wrong
    /// about the one before, which the daemon knows to have ended.
    pub(crate) fn taken(&self, connect: &str, link: LinkNumber) {
        self.0.send_modify(|state| match state {
            State::Pending { connect: own, known }
            | State::Held {
                connect: own, known, ..
            } if own == connect => {
                *known = Some(link);
            }
            State::Free | State::Pending { .. } | State::Held { .. } => {
                *state = State::Pending {
                    connect: connect.to_owned(),
                    known: Some(link),
                };
            }
        });
    }

    /// The pending connect has succeeded.
    pub(crate) fn held(&self, connect: &str, account: Account) {
        self.0.send_if_modified(|state| match state {
            State::Pending { connect: own, known } if own == connect => {
                *state = State::Held {
                    connect: connect.to_owned(),
                    account,
                    known: *known,
                };
                true
            }
            State::Free | State::Pending { .. } | State::Held { .. } => false,
        });
    }

    /// The connect has ended.
    pub(crate) fn released(&self, connect: &str) {
        self.0.send_if_modified(|state| {
            let is_own = state.connect() == Some(connect);
            if is_own {
                *state = State::Free;
            }
            is_own
        });
    }

    /// The app has signed out, or may have. A pending connect is told by the daemon.
    pub(crate) fn signed_out(&self) {
        self.0.send_if_modified(|state| {
            let is_held = matches!(state, State::Held { .. });
            if is_held {
                *state = State::Free;
            }
            is_held
        });
    }

    /// A status that the daemon of this link has published: it may be the end.
    pub(crate) fn saw(&self, link: LinkNumber, status: &Status) {
        self.0.send_if_modified(|state| match state {
            State::Held { account, known, .. } if *known == Some(link) && !is_alive(status, account) => {
                *state = State::Free;
                true
            }
            State::Free | State::Pending { .. } | State::Held { .. } => false,
        });
    }

    /// Whether the connect is the app's one.
    pub(crate) fn is_of(&self, connect: &str) -> bool {
        self.0.borrow().connect() == Some(connect)
    }

    /// Waits until the connect is not the app's one any longer.
    pub(crate) async fn lost(&self, connect: &str) {
        let mut state = self.0.subscribe();
        // The claim is here, so it cannot end otherwise.
        let _ = state.wait_for(|state| state.connect() != Some(connect)).await;
    }
}

impl State {
    fn connect(&self) -> Option<&str> {
        match self {
            Self::Free => None,
            Self::Pending { connect, .. } | Self::Held { connect, .. } => Some(connect),
        }
    }
}

/// What to do about a connect that had succeeded, by the new daemon's status.
pub(crate) fn resumption(status: &Status, account: &Account) -> Resumption {
    if is_alive(status, account) {
        return Resumption::Join;
    }
    // A daemon that remembers an end names the account, a code, or both.
    let knows_nothing = status.app_key.is_empty() && status.last_code.is_none();
    if status.connection == ConnectionStatus::Unconnected && knows_nothing {
        Resumption::Again
    } else {
        Resumption::Ended
    }
}

/// Whether the account's connection is up, or wanted.
fn is_alive(status: &Status, account: &Account) -> bool {
    let is_active = match status.connection {
        ConnectionStatus::Connected
        | ConnectionStatus::Connecting
        | ConnectionStatus::Suspend
        | ConnectionStatus::NetworkUnavailable => true,
        ConnectionStatus::Unconnected
        | ConnectionStatus::KickedOfflineByOtherClient
        | ConnectionStatus::TokenIncorrect
        | ConnectionStatus::ConnUserBlocked
        | ConnectionStatus::SignOut
        | ConnectionStatus::Timeout
        | ConnectionStatus::ProxyUnavailable
        | ConnectionStatus::DaemonLost
        | ConnectionStatus::Unlisted(_) => false,
    };
    is_active && status.app_key == account.app_key && status.user_id == account.user_id
}

#[cfg(test)]
mod tests {
    use imd_proto::imd::v1;

    use super::*;

    const ONE: LinkNumber = LinkNumber(1);
    const TWO: LinkNumber = LinkNumber(2);

    fn account() -> Account {
        Account {
            app_key: "demo".to_owned(),
            user_id: "alice".to_owned(),
        }
    }

    fn status(number: i32, last_code: i32, app_key: &str, user_id: &str) -> Status {
        let wire = v1::ConnectionStatus {
            status: number,
            last_code,
            app_key: app_key.to_owned(),
            user_id: user_id.to_owned(),
            ..Default::default()
        };
        Status::from_wire(wire, "run")
    }

    #[test]
    fn what_ended_while_nobody_looked_is_never_fought_for() {
        for (number, last_code) in [
            (2, 31_002),
            (3, 31_010),
            (4, 31_004),
            (4, 31_020),
            (6, 31_009),
            (12, 0),
            (14, 34_006),
            (17, 31_028),
            // Signed out, and restarted since: the account is remembered, and no code.
            (2, 0),
            // A later daemon's.
            (77, 0),
        ] {
            let status = status(number, last_code, "demo", "alice");
            assert_eq!(
                resumption(&status, &account()),
                Resumption::Ended,
                "{number}, {last_code}"
            );
        }
        for number in [3, 4, 6, 12, 14, 17] {
            assert_eq!(
                resumption(&status(number, 0, "", ""), &account()),
                Resumption::Ended
            );
        }
    }

    #[test]
    fn a_daemon_that_remembered_is_joined_and_one_that_was_not_to_is_asked_again() {
        for number in [-1, 0, 1, 13] {
            let theirs = status(number, 0, "demo", "alice");
            assert_eq!(resumption(&theirs, &account()), Resumption::Join, "{number}");
            for (app_key, user_id) in [("demo", "bob"), ("other", "alice"), ("", "")] {
                let others = status(number, 0, app_key, user_id);
                assert_eq!(resumption(&others, &account()), Resumption::Ended);
            }
        }
        assert_eq!(resumption(&status(2, 0, "", ""), &account()), Resumption::Again);
    }

    #[test]
    fn a_second_connect_is_refused_here_while_no_daemon_knows_better() {
        let claim = Claim::default();
        assert_eq!(claim.enter("a", Some(ONE)).unwrap(), Entry::Own);
        let refused = claim.enter("b", Some(ONE)).unwrap_err();
        assert_eq!(refused.code(), Code::RC_CONNECTION_EXIST);
        claim.taken("a", ONE);
        assert_eq!(claim.enter("b", Some(ONE)).unwrap(), Entry::AskDaemon(ONE));
        claim.held("a", account());
        assert_eq!(claim.enter("b", Some(ONE)).unwrap(), Entry::AskDaemon(ONE));
        for up in [None, Some(TWO)] {
            assert_eq!(
                claim.enter("b", up).unwrap_err().code(),
                Code::RC_CONNECTION_EXIST
            );
        }
        claim.taken("a", TWO);
        assert_eq!(claim.enter("b", Some(TWO)).unwrap(), Entry::AskDaemon(TWO));
        claim.released("b");
        assert!(claim.is_of("a"), "another's end is not its own");
        claim.released("a");
        assert_eq!(claim.enter("b", None).unwrap(), Entry::Own);
    }

    #[test]
    fn an_end_is_seen_in_the_status_of_the_daemon_that_knows_the_connect_alone() {
        let claim = Claim::default();
        claim.enter("a", Some(ONE)).unwrap();
        claim.taken("a", ONE);
        let kicked = status(3, 31_010, "demo", "alice");
        claim.saw(ONE, &kicked);
        assert!(claim.is_of("a"), "a pending connect is told by its own stream");
        claim.held("a", account());
        claim.saw(TWO, &kicked);
        claim.saw(ONE, &status(13, 31_003, "demo", "alice"));
        assert!(claim.is_of("a"));
        claim.saw(ONE, &kicked);
        assert!(!claim.is_of("a"));
    }

    #[test]
    fn signing_out_lets_go_of_what_is_held() {
        let claim = Claim::default();
        claim.enter("a", None).unwrap();
        claim.signed_out();
        assert!(claim.is_of("a"));
        claim.held("a", account());
        claim.signed_out();
        assert!(!claim.is_of("a"));
    }

    #[test]
    fn a_connect_the_daemon_takes_is_the_apps_one_whatever_was_thought() {
        let claim = Claim::default();
        claim.enter("a", Some(ONE)).unwrap();
        claim.taken("a", ONE);
        claim.held("a", account());
        claim.taken("b", ONE);
        assert!(claim.is_of("b"));
        claim.released("a");
        assert!(claim.is_of("b"));
    }
}
