//! What must follow from what happens on the link.

use imd_core::Code;
use imd_core::account::UserId;
use imd_core::io::{Accepted, Fault, FaultKind, HangUp, Identity, LinkEvent, Network, Protocol};
use imd_core::server::Server;

use crate::link::{Link, Stage, Sync, Up};
use crate::pace::{MAX_HOPS, Span};
use crate::reference::{ANY, ANY_END, AtOnce, Closing, DatabaseState, Model, Need, Told};
use crate::verdict::{self, Verdict};

impl Model {
    pub(crate) fn close(&mut self, need: Need, how: Vec<HangUp>) {
        if let Some(link) = &self.link {
            self.step.closing = Some(Closing {
                epoch: link.epoch(),
                need,
                how,
                done: false,
            });
        }
    }

    /// The link is lost: when may the next attempt be?
    pub(crate) fn lost(&mut self, noticed: Span, bare_eof: bool) {
        let Some(link) = &self.link else {
            return;
        };
        if link.wipe {
            return;
        }
        match link.stage {
            Stage::Online { since, up, .. } => self.pace.lived(noticed, up.accepted, Some(since), bare_eof),
            Stage::LoggingIn { up } => self.pace.lived(noticed, up.accepted, None, bare_eof),
            Stage::Dialing { .. } => self.pace.failed(noticed),
        }
        if let Some(hold) = self.hold.as_mut() {
            hold.redirected = false;
            hold.referred = None;
        }
    }

    pub(crate) fn link_event(&mut self, event: &LinkEvent) {
        if self.link.as_ref().is_some_and(|link| link.wipe) {
            self.wipe_event(event);
            return;
        }
        let now = self.now.boot;
        match event {
            LinkEvent::Reached { server } => {
                if let Some(link) = self.link.as_mut() {
                    link.dial.server = server.clone();
                }
            }
            LinkEvent::Accepted(accepted) => self.accepted(accepted),
            LinkEvent::Refused(words) => {
                let Some(link) = self.link.as_ref() else { return };
                let spoken = self.hold.as_ref().is_some_and(|hold| hold.spoken);
                let verdict = verdict::of_connack(words, &link.dial, self.now.unix, spoken);
                self.judged(verdict, true);
            }
            LinkEvent::ServerDisconnect(words) => {
                let Some(link) = self.link.as_ref() else { return };
                let verdict = verdict::of_disconnect(words, &link.dial);
                self.judged(verdict, true);
            }
            LinkEvent::Failed(fault) => self.failed(fault),
            LinkEvent::LoginRefused { .. } => {
                self.end(&[Code::RC_CONN_ID_REJECT], ANY_END.to_vec());
            }
            LinkEvent::LoggedIn => self.logged_in(),
            LinkEvent::GroupRefused { .. } => self.step.group_refused = true,
            LinkEvent::MarkerFound { .. } => {}
            LinkEvent::MarkerReturned => {
                let Some(link) = self.link.as_mut() else { return };
                let running = matches!(
                    link.stage,
                    Stage::Online {
                        sync: Sync::Running,
                        ..
                    }
                );
                if let Some(up) = link.up() {
                    up.marker_returned = true;
                }
                if running {
                    self.step.sync = (Need::Must, true);
                } else if !self.link.as_ref().is_some_and(Link::is_online) {
                    self.step.sync = (Need::May, true);
                }
            }
            LinkEvent::Received { messages } => {
                if let Some(up) = self.link.as_mut().and_then(Link::up) {
                    up.receive(now, *messages);
                }
            }
            LinkEvent::Unacknowledged { since } => {
                if let Some(up) = self.link.as_mut().and_then(Link::up) {
                    up.unacknowledged = *since;
                }
            }
        }
    }

    pub(crate) fn wipe_event(&mut self, event: &LinkEvent) {
        match event {
            LinkEvent::Accepted(_) => self.close(Need::Must, ANY.to_vec()),
            LinkEvent::Refused(_) | LinkEvent::ServerDisconnect(_) | LinkEvent::Failed(_) => self.link = None,
            LinkEvent::Reached { .. }
            | LinkEvent::LoggedIn
            | LinkEvent::LoginRefused { .. }
            | LinkEvent::GroupRefused { .. }
            | LinkEvent::MarkerFound { .. }
            | LinkEvent::MarkerReturned
            | LinkEvent::Received { .. }
            | LinkEvent::Unacknowledged { .. } => {}
        }
    }

    pub(crate) fn accepted(&mut self, accepted: &Accepted) {
        let now = self.now.boot;
        let ours = self.config.keep_alive;
        let theirs = accepted.keep_alive.filter(|theirs| !theirs.is_zero());
        let keep_alive = theirs.map_or(ours, |theirs| theirs.min(ours));
        if let Some(hold) = self.hold.as_mut() {
            hold.spoken = true;
        }
        let Some(link) = self.link.as_mut() else { return };
        link.enters(Stage::LoggingIn {
            up: Up::new(now, keep_alive),
        });
        let (token, identity, epoch) = (link.dial.token.clone(), link.dial.identity.clone(), link.epoch());
        if let Some(verdict) = accepted.im_code.and_then(verdict::of_im_code) {
            self.close(Need::Must, ANY_END.to_vec());
            self.judged(verdict, false);
            return;
        }
        let named = accepted.user_id.as_deref().map(UserId::parse);
        match (identity, named) {
            (Identity::Discover, None | Some(Err(_))) => {
                self.close(Need::Must, ANY.to_vec());
                self.token_refused(Code::RC_CONN_TOKEN_INCORRECT, false, true);
            }
            (Identity::Discover, Some(Ok(user))) => {
                self.close(Need::Must, ANY.to_vec());
                self.discovered(&user);
            }
            (Identity::Known(account), Some(named)) if named.as_ref() != Ok(&account.user_id) => {
                self.close(Need::Must, ANY_END.to_vec());
                self.token_refused(Code::RC_CONN_TOKEN_INCORRECT, false, false);
            }
            (Identity::Known(account), Some(_) | None) => {
                self.step.login = Some(epoch);
                self.newest_may_change();
                self.step.remembered = Some(token.clone());
                self.taken.push((account, token.clone()));
                self.token_taken(&token);
                if let Some(hold) = self.hold.as_mut() {
                    hold.refusals.0 = 0;
                }
            }
        }
    }

    pub(crate) fn discovered(&mut self, user: &UserId) {
        self.turn_away(user);
        if self.pending().is_empty() {
            self.end(&[], ANY.to_vec());
            self.ended = None;
            return;
        }
        if let Some(hold) = self.hold.as_mut() {
            hold.user = Some(user.clone());
        }
        if let Some(account) = self.account()
            && self.database_of(&account) == Some(DatabaseState::Open)
        {
            self.expect_opens(true);
        }
    }

    /// The user is known: whoever expects another has come to the wrong account.
    pub(crate) fn turn_away(&mut self, user: &UserId) {
        for key in self.pending() {
            let declared = self.latest(&key).and_then(|latest| latest.user.as_ref());
            if declared.is_some_and(|declared| declared != user) {
                self.tell(&key, vec![Told::Error(Code::RC_CONNECTION_EXIST)]);
            }
        }
    }

    pub(crate) fn logged_in(&mut self) {
        let now = self.now.boot;
        let Some(link) = self.link.as_mut() else { return };
        let Stage::LoggingIn { up } = link.stage else {
            return;
        };
        link.enters(Stage::Online {
            since: now,
            up,
            sync: Sync::Running,
        });
        if up.marker_returned {
            self.step.sync = (Need::Must, true);
        }
        let Some(account) = self.account() else { return };
        self.logged_in.push(account.clone());
        if let Some(hold) = self.hold.as_mut() {
            hold.succeeded = true;
            hold.refusals = (0, 0);
        }
        for key in self.pending() {
            self.tell(&key, vec![Told::Success(account.user_id.clone())]);
        }
    }

    pub(crate) fn failed(&mut self, fault: &Fault) {
        self.closed_on_connect(fault.kind);
        if fault.kind == FaultKind::Proxy {
            let first = self.hold.as_ref().is_some_and(|hold| !hold.succeeded);
            let account = self.account();
            let known = account.is_some_and(|account| self.taken.iter().any(|(taken, _)| *taken == account));
            if first && !known {
                self.link = None;
                self.end(&[Code::RC_CONN_PROXY_UNAVAILABLE], Vec::new());
                return;
            }
            if first {
                self.step.off = Need::May;
                self.step.maybe_end = Some(vec![Code::RC_CONN_PROXY_UNAVAILABLE]);
                for key in self.pending() {
                    let allowed = vec![Told::Nothing, Told::Error(Code::RC_CONN_PROXY_UNAVAILABLE)];
                    self.tell(&key, allowed);
                }
            }
        }
        if fault.kind == FaultKind::ConnectionRefused {
            self.pace.server_was_away();
        }
        self.lost(Span::at(self.now.boot), fault.kind == FaultKind::BareEof);
        self.link = None;
    }

    /// Two closes without a word, and the other version of MQTT is tried, until one is answered.
    fn closed_on_connect(&mut self, kind: FaultKind) {
        let Some(link) = self.link.as_ref() else { return };
        let dialing = matches!(link.stage, Stage::Dialing { .. }) && !link.wipe;
        let named = matches!(link.dial.identity, Identity::Known(_));
        let Some(hold) = self.hold.as_mut() else { return };
        if !dialing || !named || hold.spoken {
            return;
        }
        if kind == FaultKind::BareEof {
            hold.silent_closes += 1;
        } else {
            hold.silent_closes = 0;
        }
        if hold.silent_closes == 2 {
            hold.silent_closes = 0;
            hold.older_protocol = !hold.older_protocol;
        }
    }

    /// The server has spoken. `closed`: and closed the link.
    pub(crate) fn judged(&mut self, verdict: Verdict, closed: bool) {
        if closed && let Some(hold) = self.hold.as_mut() {
            hold.spoken = true;
        }
        match verdict {
            Verdict::Token { code, by_table } => {
                let connack = self
                    .link
                    .as_ref()
                    .is_some_and(|link| closed && matches!(link.stage, Stage::Dialing { .. }));
                self.token_refused(code, by_table, !connack && closed);
                if closed {
                    self.link = None;
                }
            }
            Verdict::End { codes } => {
                if closed {
                    self.link = None;
                }
                self.end(&codes, ANY_END.to_vec());
            }
            Verdict::Loop { hint } => {
                self.lost(Span::at(self.now.boot), false);
                if let Some(hint) = hint {
                    self.pace.hinted(Span::at(self.now.boot), hint);
                }
                self.link = None;
            }
            Verdict::Nameless => {
                self.token_refused(Code::RC_CONN_TOKEN_INCORRECT, false, true);
                if let Some(hold) = self.hold.as_mut() {
                    hold.older_protocol = true;
                }
                self.link = None;
            }
            Verdict::NewerProtocol => {
                if let Some(hold) = self.hold.as_mut() {
                    hold.older_protocol = false;
                }
                self.lost(Span::at(self.now.boot), false);
                self.link = None;
            }
            Verdict::OlderProtocol => {
                let server = self.link.take().map(|link| link.dial.server);
                if let Some(hold) = self.hold.as_mut() {
                    hold.older_protocol = true;
                }
                self.step.at_once = Some(AtOnce {
                    need: Need::Must,
                    protocol: Some(Protocol::V311),
                    server,
                    done: false,
                });
            }
            Verdict::Elsewhere(server) => self.redirected(server),
        }
    }

    pub(crate) fn redirected(&mut self, server: Server) {
        let at = Span::at(self.now.boot);
        self.lost(at, false);
        let (least, most) = self.pace.hops_ended;
        self.link = None;
        if let Some(hold) = self.hold.as_mut() {
            hold.referred = (least < MAX_HOPS).then(|| server.clone());
            hold.redirected = true;
        }
        if least >= MAX_HOPS {
            return;
        }
        if self.network == Network::Unavailable {
            // Whether the redirect is kept until there is a network is the core's affair.
            self.pace.hops = (0, most + 1);
            return;
        }
        // Where it is not sure to be followed, it may count from nothing again.
        let (need, least) = if most < MAX_HOPS {
            (Need::Must, least)
        } else {
            (Need::May, 0)
        };
        self.pace.hops = (least, most);
        self.pace.redirect_pending(need == Need::Must);
        self.step.at_once = Some(AtOnce {
            need,
            protocol: None,
            server: Some(server),
            done: false,
        });
    }
}
