//! What happens on a link, from CONNACK to its end.

use imd_proto::code::Code;

use super::Core;
use super::callers::Waiter;
use super::link::{LOGIN_LIMIT, Link, Next, Pulse, Purpose, Session, Sync};
use super::target::Want;
use super::verdict::{Packet, terminal};
use crate::account::UserId;
use crate::io::{Accepted, Action, Epoch, Event, HangUp, LinkEvent, LoginPolicy, Refusal};
use crate::time::Now;

impl Core {
    pub(super) fn handle_link(&mut self, now: Now, epoch: Epoch, event: LinkEvent) {
        if self.link.live().is_none_or(|(live, _)| live != epoch) {
            return;
        }
        if let Link::Erasing { .. } = self.link {
            self.handle_erasing(&event);
            return;
        }
        match event {
            LinkEvent::Reached { server } => self.reached(server),
            LinkEvent::Accepted(accepted) => self.accepted(now, accepted),
            LinkEvent::Refused(words) => self.server_said(now, &words, Packet::ConnAck),
            LinkEvent::ServerDisconnect(words) => self.server_said(now, &words, Packet::Disconnect),
            LinkEvent::LoggedIn => self.logged_in(),
            LinkEvent::LoginRefused { what } => {
                let text =
                    format!("the server refuses {what}: is the App Key right, and does the server allow it?");
                self.end(&Refusal {
                    code: Code::RC_CONN_ID_REJECT,
                    text,
                });
            }
            LinkEvent::GroupRefused { group } => self.notify(Event::GroupRefused { group }),
            LinkEvent::MarkerFound { installation } => {
                let first_login = self.link.session().is_none_or(|session| session.first_login);
                let shared = self.config.login == LoginPolicy::One;
                if shared && installation != self.config.installation && !first_login {
                    self.notify(Event::OtherInstallation { installation });
                }
            }
            LinkEvent::MarkerReturned => {
                if let Link::LoggingIn { session, .. } = &mut self.link {
                    session.sync = Sync::Complete;
                } else {
                    self.offline_sync(true);
                }
            }
            LinkEvent::Received { messages } => {
                if let Some(session) = self.link.session() {
                    // The answer to a PINGREQ, or to a message of ours, says nothing about those that wait.
                    if let Sync::Running { quiet_since } = &mut session.sync
                        && messages
                    {
                        *quiet_since = now.boot;
                    }
                    session.pulse.received(now.boot);
                }
            }
            LinkEvent::Unacknowledged { since } => {
                if let Some(session) = self.link.session() {
                    session.pulse.unacknowledged(since);
                }
            }
            LinkEvent::Failed(fault) => self.link_failed(now, fault),
        }
    }

    fn accepted(&mut self, now: Now, accepted: Accepted) {
        let Link::Dialing { epoch, purpose, .. } = self.link else {
            return;
        };
        if let Want::On(target) = &mut self.want {
            target.spoken = true;
        }
        if let Some(code) = accepted.im_code.filter(|code| code.is_terminal()) {
            let said = accepted
                .reason_string
                .map_or_else(String::new, |said| format!(", saying {said:?}"));
            let text = format!(
                "the server took the login and then refused it with im-code {}{said}",
                code.0
            );
            self.hang_up(HangUp::KeepSession);
            self.carry_out(now, terminal(code), text);
            return;
        }
        match purpose {
            Purpose::Discover => self.discovered(now, accepted.user_id.as_deref()),
            Purpose::Login => self.greeted(now, epoch, &accepted),
        }
    }

    /// The CONNACK of a discovery: it names the user, and the same attempt goes on under that name.
    fn discovered(&mut self, now: Now, user_id: Option<&str>) {
        self.hang_up(HangUp::KeepSession);
        let user_id = match user_id.map(UserId::parse) {
            Some(Ok(user_id)) => user_id,
            Some(Err(invalid)) => {
                let text = format!("the server names a user that cannot be one: {}", invalid.text);
                self.token_refused(now, Code::RC_CONN_TOKEN_INCORRECT, text, true);
                return;
            }
            None => {
                let text = "nobody says whose token it is: not the token, and not the server (no im-user-id in \
                            its CONNACK). Name the user (userId)";
                self.token_refused(now, Code::RC_CONN_TOKEN_INCORRECT, text.to_owned(), true);
                return;
            }
        };
        let expects = |expected: &UserId| *expected == user_id;
        let welcome = |waiter: &Waiter| waiter.user_id.as_ref().is_none_or(expects);
        if !self.callers.waiters().any(|(_, waiter)| welcome(waiter)) {
            let text = format!("the token is that of the user {user_id}, and everybody waits for another");
            self.end(&Refusal {
                code: Code::RC_CONNECTION_EXIST,
                text,
            });
            return;
        }
        self.user_is(&user_id);
        self.open_or_dial(now, Next::SameAttempt);
    }

    /// The user is known from here on. Callers that expect another one have come to the wrong account.
    pub(super) fn user_is(&mut self, user_id: &UserId) {
        let Want::On(target) = &mut self.want else { return };
        target.user_id = Some(user_id.clone());
        let refusal = Refusal {
            code: Code::RC_CONNECTION_EXIST,
            text: format!(
                "the connection is held by {user_id} of App Key {}",
                target.app_key
            ),
        };
        self.persist();
        self.settle(&Err(refusal), |waiter| {
            waiter
                .user_id
                .as_ref()
                .is_some_and(|expected| expected != user_id)
        });
    }

    fn greeted(&mut self, now: Now, epoch: Epoch, accepted: &Accepted) {
        let Want::On(target) = &mut self.want else { return };
        if let (Some(named), Some(known)) = (&accepted.user_id, &target.user_id)
            && named != known.as_str()
        {
            let text = format!("the token is that of the user {named:?}, this account is that of {known}");
            self.hang_up(HangUp::KeepSession);
            self.token_refused(now, Code::RC_CONN_TOKEN_INCORRECT, text, true);
            return;
        }
        target.tokens.accept();
        self.renewal.note = None;
        target.lenient_tries = 0;
        let first_login = target.account() != self.last_login;
        let ours = self.config.keep_alive;
        let keep_alive = accepted
            .keep_alive
            .filter(|theirs| !theirs.is_zero())
            .map_or(ours, |theirs| ours.min(theirs));
        let session = Session {
            epoch,
            since: now.boot,
            pulse: Pulse::new(now.boot, keep_alive),
            sync: Sync::Running {
                quiet_since: now.boot,
            },
            first_login,
        };
        self.link = Link::LoggingIn {
            session,
            deadline: now.boot + LOGIN_LIMIT,
        };
        // The last token a CONNACK accepted is the one remembered.
        self.persist();
        if !accepted.session_present && !first_login {
            self.notify(Event::SessionLost);
        }
        self.push(Action::Login { epoch });
    }

    fn logged_in(&mut self) {
        let link = std::mem::replace(&mut self.link, Link::Idle);
        let Link::LoggingIn { mut session, .. } = link else {
            self.link = link;
            return;
        };
        let returned = session.sync == Sync::Complete;
        if returned {
            session.sync = Sync::Running {
                quiet_since: session.since,
            };
        }
        self.link = Link::Online { session };
        let Want::On(target) = &mut self.want else { return };
        target.verified = true;
        self.last_login = target.account();
        target.attempt = 0;
        target.reached = true;
        target.last_code = None;
        self.reason = match &self.server {
            Some(server) => format!("connected to {server}"),
            None => "connected".to_owned(),
        };
        self.persist();
        self.publish();
        self.tell_success();
        if returned {
            self.offline_sync(true);
        }
    }

    pub(super) fn tell_success(&mut self) {
        let Want::On(target) = &self.want else { return };
        let Some(user_id) = target.user_id.clone() else {
            return;
        };
        self.settle(&Ok(user_id), |_| true);
    }

    /// The end of the messages that waited at the server; told once per login.
    pub(super) fn offline_sync(&mut self, complete: bool) {
        let Link::Online { session } = &mut self.link else {
            return;
        };
        if !matches!(session.sync, Sync::Running { .. }) {
            return;
        }
        session.sync = if complete {
            Sync::Complete
        } else {
            Sync::Incomplete
        };
        let read = if complete {
            "the messages that waited there have been read"
        } else {
            "not all messages that waited there may have been read"
        };
        self.reason = match &self.server {
            Some(server) => format!("connected to {server}; {read}"),
            None => format!("connected; {read}"),
        };
        self.notify(Event::OfflineSyncCompleted { complete });
    }

    pub(super) fn ping(&mut self, now: Now) {
        let Link::Online { session } = &mut self.link else {
            return;
        };
        session.pulse.pinged(now.boot);
        let epoch = session.epoch;
        self.push(Action::Ping { epoch });
    }
}
