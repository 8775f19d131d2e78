//! What must follow from the refusal of a token.

use imd_core::Code;
use imd_core::account::Token;

use crate::link::Link;
use crate::pace::Span;
use crate::reference::{ANY_END, Brought, Model, Need, Told};

impl Model {
    pub(crate) fn brought(&mut self, token: &Token) -> Option<&mut Brought> {
        let hold = self.hold.as_mut()?;
        hold.tokens.iter_mut().find(|brought| brought.token == *token)
    }

    /// The token in use is refused. `unclear`: the words were not about the token alone, so that other
    /// callers may be told too.
    pub(crate) fn token_refused(&mut self, code: Code, by_table: bool, unclear: bool) {
        let Some(token) = self.link.as_ref().map(|link| link.dial.token.clone()) else {
            return;
        };
        self.newest_may_change();
        let leniency = self.leniency(&token, by_table);
        let pending = self.pending();
        let Some(hold) = self.hold.as_ref() else { return };
        let usable = |other: &Token| {
            *other != token
                && hold
                    .tokens
                    .iter()
                    .any(|brought| brought.token == *other && !brought.refused)
        };
        let untried = |other: &Token| {
            let brought = hold.tokens.iter().find(|brought| brought.token == *other);
            brought.is_some_and(|brought| !brought.tried)
        };
        let others = hold.tokens.iter().any(|brought| usable(&brought.token));
        let mut waiting = false;
        let mut tells = Vec::new();
        for key in &pending {
            let Some(latest) = self.latest(key) else { continue };
            let nothing = vec![Told::Nothing];
            let either = vec![Told::Nothing, Told::Error(code)];
            let own = [Some(&latest.token), latest.updated.as_ref()];
            let goes_on = own.into_iter().flatten().any(|own| usable(own) && untried(own));
            let may_go_on = own.into_iter().flatten().any(usable);
            let allowed = if goes_on && latest.updated.is_some() {
                waiting = true;
                nothing
            } else if may_go_on && latest.updated.is_some() {
                either
            } else if latest.token == token {
                match leniency {
                    Need::No => vec![Told::Error(code)],
                    Need::Must if !others => nothing,
                    Need::Must | Need::May => either,
                }
            } else if unclear || !untried(&latest.token) {
                either
            } else {
                waiting = true;
                nothing
            };
            tells.push((key.clone(), allowed));
        }
        let end = match leniency {
            _ if waiting => Need::No,
            Need::Must if !unclear => Need::No,
            Need::No if !others => Need::Must,
            Need::No | Need::May | Need::Must => Need::May,
        };
        if end == Need::Must {
            self.end_with_token(code);
            return;
        }
        for (key, allowed) in tells {
            self.tell(&key, allowed);
        }
        if leniency == Need::No {
            self.give_up(&token);
        }
        if end == Need::May {
            self.step.off = Need::May;
            self.step.maybe_end = Some(vec![code]);
        }
        if let Some(brought) = self.brought(&token) {
            brought.refused = leniency == Need::No;
        }
        let Some(hold) = self.hold.as_mut() else { return };
        let mut refusals = hold.refusals;
        if leniency == Need::Must && !others {
            hold.refusals.0 += 1;
        }
        hold.refusals.1 += 1;
        let good_before = hold
            .tokens
            .iter()
            .any(|brought| !brought.refused && brought.taken);
        if hold.user.is_none() {
            self.step.adopt = true;
        }
        if others {
            refusals = (0, 2);
        }
        let at = Span::at(self.now.boot);
        self.lost(at, false);
        match leniency {
            Need::Must if !others => self.pace.lenient(at, refusals),
            Need::No if !good_before => {}
            Need::No | Need::Must | Need::May => self.pace.lenient_or_failed(at, refusals),
        }
    }

    /// Who waits with this token has the updated one left, if any.
    fn give_up(&mut self, token: &Token) {
        for latest in self
            .instances
            .values_mut()
            .filter_map(|entry| entry.latest.as_mut())
        {
            if latest.updated.as_ref() == Some(token) {
                latest.updated = None;
            } else if latest.token == *token
                && let Some(updated) = latest.updated.take()
            {
                latest.token = updated;
            }
        }
    }

    pub(crate) fn end_with_token(&mut self, code: Code) {
        let closing = self.step.closing.take();
        let connack = self.link.as_ref().map(Link::epoch);
        self.end(&[code], ANY_END.to_vec());
        // `end` asks for a hang-up; a link that the server closed needs none, and one that is still open
        // was asked for already.
        self.step.closing = closing.filter(|closing| Some(closing.epoch) == connack);
    }

    /// Whether this token gets a further try although the server refused it.
    pub(crate) fn leniency(&self, token: &Token, by_table: bool) -> Need {
        let (Some(hold), Some(account)) = (self.hold.as_ref(), self.account()) else {
            return Need::No;
        };
        let Some(brought) = hold.tokens.iter().find(|brought| brought.token == *token) else {
            return Need::No;
        };
        let ever = self
            .taken
            .iter()
            .any(|(taken, known)| *taken == account && known == token);
        let (least, most) = hold.refusals;
        if !by_table || !ever || least >= 3 {
            Need::No
        } else if hold.succeeded && brought.taken && most < 3 {
            Need::Must
        } else {
            Need::May
        }
    }
}
