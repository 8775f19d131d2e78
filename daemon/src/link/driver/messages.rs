//! Messages between the session and the store, and the groups they come from.

use std::sync::Arc;

use imd_core::account::{Account, UserId};
use imd_core::io::{Event, FaultKind, Input, LinkEvent, Refusal};
use imd_proto::code::Code;
use tokio::sync::oneshot;

use super::Driver;
use crate::clock;
use crate::link::connection::Connection;
use crate::link::inbox::{Note, Outcome};
use crate::link::outbox::Outbox;
use crate::link::session::{Session, Told};
use crate::link::vault::{BoxFuture, Vault};
use crate::store::rows::{Gap, Group};

/// How many changes of groups may wait.
const MOST_CHANGES: usize = 256;

/// A group that is being remembered or forgotten.
pub(super) struct GroupChange {
    group: String,
    join: bool,
    answer: oneshot::Sender<Result<(), Refusal>>,
    done: BoxFuture<Result<(), String>>,
}

impl GroupChange {
    pub(super) fn done(&mut self) -> &mut BoxFuture<Result<(), String>> {
        &mut self.done
    }
}

impl<V: Vault> Driver<V> {
    /// The database is being closed: nothing of it is known any more.
    pub(super) fn account_closed(&mut self) {
        self.inbox = Default::default();
        self.outbox = None;
        self.groups.clear();
        for change in self.group_changes.drain(..) {
            // Who asked may have gone.
            let _: Result<(), _> = change.answer.send(Err(no_account()));
        }
    }

    pub(super) fn account_opened(&mut self, account: Account, groups: Vec<Group>) {
        self.groups = groups
            .into_iter()
            .map(|group| (group.group_id, group.code))
            .collect();
        let origin = self.device.installation.as_str().to_owned();
        self.outbox = Some(Outbox::new(Arc::clone(&self.vault), account, origin));
    }

    /// Moves messages as far as they go without waiting.
    pub(super) fn move_messages(&mut self) {
        let now = clock::now();
        let live = match &self.connection {
            Connection::Up(up) => Some(up.epoch),
            Connection::None | Connection::Dialing { .. } | Connection::Closing { .. } => None,
        };
        if self.live != live {
            self.link_changed();
            self.live = live;
        }
        for ticket in self.inbox.hand_over(&self.vault) {
            if let Some(session) = self.connection.session(ticket.epoch) {
                session.acknowledge(ticket.packet);
            }
        }
        let mut session = match &mut self.connection {
            Connection::Up(up) => Some(&mut up.session),
            Connection::None | Connection::Dialing { .. } | Connection::Closing { .. } => None,
        };
        if let Some(session) = &mut session {
            session.set_deaf(self.inbox.is_full(), now.boot);
        }
        if let Some(outbox) = &mut self.outbox {
            outbox.pump(session, now);
        }
        self.tell_session();
    }

    fn link_changed(&mut self) {
        self.inbox.link_ended();
        if let Some(outbox) = &mut self.outbox {
            outbox.link_ended();
        }
    }

    /// The store has what it was given, or has not.
    pub(super) fn stored(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Stored(tickets) => {
                for ticket in tickets {
                    if let Some(session) = self.connection.session(ticket.epoch) {
                        session.acknowledge(ticket.packet);
                    }
                }
            }
            Outcome::Failed(reason) => {
                tracing::warn!(
                    reason,
                    "messages are not stored and not acknowledged: the server keeps them"
                );
                if let Connection::Up(up) = &mut self.connection {
                    up.session.not_stored(&reason);
                }
            }
        }
        self.tell_session();
    }

    /// Gives everybody what the session has to tell, and closes the connection if that was its end.
    pub(super) fn tell_session(&mut self) {
        let Connection::Up(up) = &mut self.connection else {
            return;
        };
        let epoch = up.epoch;
        let now = clock::now();
        while let Some(told) = up.session.poll_told() {
            match told {
                Told::Link(event) => {
                    if let Some(outbox) = &mut self.outbox
                        && up.session.account() == Some(outbox.account())
                    {
                        tell_outbox(outbox, &mut up.session, &event);
                    }
                    if event == LinkEvent::LoggedIn
                        && let Some(Account { app_key, user_id }) = up.session.account()
                    {
                        self.directory.logged_in(app_key, user_id, up.session.server());
                    }
                    let event = self.surroundings.explained(event);
                    self.core.handle(now, Input::Link { epoch, event });
                }
                Told::Delivered(delivery) => self.inbox.push(epoch, delivery),
                Told::Acknowledged {
                    packet,
                    reason,
                    words,
                } => {
                    if let Some(outbox) = &mut self.outbox {
                        outbox.acknowledged(packet, reason, &words);
                    }
                }
                Told::GroupGranted { group } => {
                    if let Some(code) = self.groups.get_mut(&group)
                        && *code != 0
                    {
                        *code = 0;
                        self.inbox.note(Note::GroupCode { group, code: 0 });
                    }
                }
            }
        }
        if up.session.is_over() {
            self.connection.close();
        }
    }

    pub(super) fn notify(&mut self, event: Event) {
        let note = match event {
            Event::OfflineSyncCompleted { complete } => {
                tracing::info!(complete, "the messages that waited at the server have been read");
                Note::OfflineSyncCompleted { complete }
            }
            Event::OtherInstallation { installation } => {
                tracing::warn!(%installation, "another installation was connected last: messages may have gone there");
                Note::Gap(Gap::OtherInstallation {
                    installation: installation.as_str().to_owned(),
                })
            }
            Event::SessionLost => {
                tracing::warn!("the server had no session of this account: messages may have been lost");
                Note::Gap(Gap::SessionLost)
            }
            Event::GroupRefused { group } => {
                let refused = Code::NOT_IN_GROUP.0;
                match self.groups.get_mut(&group) {
                    Some(code) if *code != refused => *code = refused,
                    // It is known, or the group was left meanwhile.
                    Some(_) | None => return,
                }
                Note::GroupCode { group, code: refused }
            }
        };
        if self.outbox.is_some() {
            self.inbox.note(note);
        }
    }

    /// Remembers or forgets a group.
    pub(super) fn change_group(
        &mut self,
        group: String,
        join: bool,
        answer: oneshot::Sender<Result<(), Refusal>>,
    ) {
        let refusal = if self.outbox.is_none() {
            Some(no_account())
        } else if self.group_changes.len() >= MOST_CHANGES {
            Some(Refusal {
                code: Code::IMD_TOO_MANY,
                text: format!("{MOST_CHANGES} changes of groups wait already"),
            })
        } else {
            // A group's name is a topic level, as a user's is.
            UserId::parse(&group).err().map(|invalid| Refusal {
                code: Code::BIZ_ERROR_INVALID_PARAMETER,
                text: format!("the group id cannot be one: {}", invalid.text),
            })
        };
        if let Some(refusal) = refusal {
            // Who asked may have gone.
            let _: Result<(), _> = answer.send(Err(refusal));
            return;
        }
        let done = if join {
            self.vault.join_group(group.clone())
        } else {
            self.vault.quit_group(group.clone())
        };
        self.group_changes.push_back(GroupChange {
            group,
            join,
            answer,
            done,
        });
    }

    /// The store has answered the first change.
    pub(super) fn group_changed(&mut self, result: Result<(), String>) {
        let Some(change) = self.group_changes.pop_front() else {
            return;
        };
        let GroupChange {
            group, join, answer, ..
        } = change;
        let result = result.map_err(|reason| Refusal {
            code: Code::PROTOCOL_MESSAGE_SAVED_ERROR,
            text: format!("the group {group} is not remembered: {reason}"),
        });
        if result.is_ok() {
            let now = clock::now().boot;
            let session = match &mut self.connection {
                Connection::Up(up) => Some(&mut up.session),
                Connection::None | Connection::Dialing { .. } | Connection::Closing { .. } => None,
            };
            if join {
                self.groups.entry(group.clone()).or_default();
            } else {
                self.groups.remove(&group);
            }
            match session {
                Some(session) if join => session.join_group(now, &group),
                Some(session) => session.quit_group(now, &group),
                None => {}
            }
        }
        // Who asked may have gone.
        let _: Result<(), _> = answer.send(result);
        self.tell_session();
    }
}

/// What of a link's events concerns the outbox.
fn tell_outbox<V: Vault>(outbox: &mut Outbox<V>, session: &mut Session, event: &LinkEvent) {
    match event {
        LinkEvent::Accepted(_) => outbox.accepted(session),
        LinkEvent::LoggedIn => outbox.logged_in(session),
        LinkEvent::ServerDisconnect(words) => outbox.closed_by_server(Some(words.reason)),
        LinkEvent::Failed(fault) if fault.kind == FaultKind::BareEof => outbox.closed_by_server(None),
        LinkEvent::Reached { .. }
        | LinkEvent::Failed(_)
        | LinkEvent::Refused(_)
        | LinkEvent::LoginRefused { .. }
        | LinkEvent::GroupRefused { .. }
        | LinkEvent::MarkerFound { .. }
        | LinkEvent::MarkerReturned
        | LinkEvent::Received { .. }
        | LinkEvent::Unacknowledged { .. } => {}
    }
}

fn no_account() -> Refusal {
    Refusal {
        code: Code::RC_CLIENT_NOT_INIT,
        text: "no account is open: connect first".to_owned(),
    }
}
