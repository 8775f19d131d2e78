//! Back into the loop: what the server said or the link suffered, and the wait that follows.

use std::time::Duration;

use imd_proto::code::Code;

use super::Core;
use super::backoff::{LENIENCY, LONGEST, STABLE};
use super::link::{Link, Purpose, Wait, held};
use super::target::{Redirect, Standing, Want};
use super::verdict::{Packet, Verdict, fault_code, judge, words_text};
use crate::io::{Action, Fault, FaultKind, HangUp, Protocol, Refusal, ServerWords};
use crate::jwt::Claims;
use crate::server::Transport;
use crate::time::{Now, Words};

/// How often a Server Reference is followed with neither a wait nor a stable life between: two servers that
/// take every login and then point to each other are no place to stay.
const MOST_HOPS: u32 = 5;

/// A life this long shows that nobody else fights for the session.
const LONG_LIFE: Duration = Duration::from_secs(150);

/// The longest wait a server can ask for: beyond it a slip of its pen would keep the user away.
const LONGEST_HINT: Duration = Duration::from_secs(3600);

/// So many short lives in a row are a fight.
const SHORT_LIVES: u32 = 3;

/// So many closes in a row on the CONNECT, without a word, may be a server's way to say that it does not know
/// this version of MQTT.
const SILENT_CLOSES: u32 = 2;

/// What made an attempt or a link fail, on its way through the one door.
pub(super) struct Failure {
    code: Code,
    text: String,
    wait: FailureWait,
}

enum FailureWait {
    Table,
    Hint(Duration),
    Lenient(Duration),
}

impl Core {
    pub(super) fn server_said(&mut self, now: Now, words: &ServerWords, packet: Packet) {
        let what = match packet {
            Packet::ConnAck => "the server refused the login",
            Packet::Disconnect => "the server ended the connection",
        };
        let mut text = format!("{what}: {}", words_text(words));
        let verdict = judge(words, packet);
        let nameless = matches!(&self.want, Want::On(target) if target.user_id.is_none());
        if nameless && let Verdict::Token { explicit: false, .. } = verdict {
            // Many a server takes no login without a user name, whatever the token.
            text.push_str("; nobody has said whose token it is: name the user (userId)");
        }
        self.note_life(now, None);
        self.link = Link::Idle;
        if verdict != Verdict::OtherProtocol
            && let Want::On(target) = &mut self.want
        {
            target.spoken = true;
        }
        self.carry_out(now, verdict, text);
    }

    /// The link has ended; this is what its end means.
    pub(super) fn carry_out(&mut self, now: Now, verdict: Verdict, text: String) {
        match verdict {
            Verdict::Retry { code, after } => {
                let wait = after.map_or(FailureWait::Table, |after| {
                    FailureWait::Hint(after.min(LONGEST_HINT))
                });
                self.fail(now, Failure { code, text, wait });
            }
            Verdict::Terminal { code } => self.end(&Refusal { code, text }),
            Verdict::Token { code, explicit } => self.token_refused(now, code, text, explicit),
            Verdict::Redirect { reference } => self.redirect(now, reference.as_deref(), &text),
            Verdict::OtherProtocol => self.other_protocol(now, text),
        }
    }

    /// Whoever is sent elsewhere was told of the wrong servers.
    fn forget_servers(&mut self) {
        let Want::On(target) = &self.want else { return };
        let servers = self.config.servers.of(&target.app_key);
        if servers.iter().any(|server| server.transport == Transport::Nav) {
            let (app_key, user_id) = (target.app_key.clone(), target.user_id.clone());
            self.push(Action::ForgetServers { app_key, user_id });
        }
    }

    fn redirect(&mut self, now: Now, reference: Option<&str>, text: &str) {
        self.forget_servers();
        let Want::On(target) = &mut self.want else { return };
        let hops = target.redirect.as_ref().map_or(0, |redirect| redirect.hops);
        let next = reference
            .zip(self.server.as_ref())
            .and_then(|(reference, server)| server.referred(reference));
        match next {
            // What the configuration may not ask for, a server may not either.
            Some(server) if !self.config.servers.plaintext && !server.is_private() => self.fail(
                now,
                Failure {
                    code: Code::RC_CONN_REDIRECTED,
                    text: format!(
                        "{text}, and {server} would be sent the token unencrypted, which plaintext = true allows"
                    ),
                    wait: FailureWait::Table,
                },
            ),
            Some(server) if hops < MOST_HOPS => {
                target.redirect = Some(Redirect {
                    server,
                    hops: hops.saturating_add(1),
                });
                target.last_code = Some(Code::RC_CONN_REDIRECTED);
                self.dial(now);
            }
            Some(_) => self.fail(
                now,
                Failure {
                    code: Code::RC_CONN_REDIRECTED,
                    text: format!("{text}, and five references have been followed"),
                    wait: FailureWait::Table,
                },
            ),
            None => self.fail(
                now,
                Failure {
                    code: Code::RC_CONN_REDIRECTED,
                    text: format!("{text}, with no server reference that can be used"),
                    wait: FailureWait::Table,
                },
            ),
        }
    }

    fn other_protocol(&mut self, now: Now, text: String) {
        let Want::On(target) = &mut self.want else { return };
        let spoken = std::mem::replace(&mut target.spoken, true);
        match target.protocol {
            Protocol::V5 => {
                target.protocol = Protocol::V311;
                self.dial(now);
            }
            Protocol::V311 if !spoken => {
                // It was tried because the server had said nothing. It does speak, and 5 alone.
                target.protocol = Protocol::V5;
                let failure = Failure {
                    code: Code::RC_CONN_PROTO_VERSION_ERROR,
                    text,
                    wait: FailureWait::Table,
                };
                self.fail(now, failure);
            }
            Protocol::V311 => {
                self.end(&Refusal {
                    code: Code::RC_CONN_PROTO_VERSION_ERROR,
                    text,
                });
            }
        }
    }

    /// The token in use was refused. Another caller's may do better; one that was good before gets
    /// further tries, unless the server was explicit; else it is the end.
    pub(super) fn token_refused(&mut self, now: Now, code: Code, text: String, explicit: bool) {
        let callers = &self.callers;
        let Want::On(target) = &mut self.want else { return };
        let in_use = target.tokens.in_use();
        let refused = in_use.token.clone();
        let expired = code == Code::RC_CONN_TOKEN_INCORRECT
            && Claims::read(&refused).is_some_and(|claims| claims.has_expired(now.unix));
        let refusal = if expired && !explicit {
            Refusal {
                code: Code::RC_CONN_TOKEN_EXPIRE,
                text: format!("{text}; the token has expired"),
            }
        } else {
            Refusal { code, text }
        };
        let was_updated = in_use.standing == Standing::Updated;
        let lenient = !explicit
            && target.verified
            && in_use.standing.was_accepted()
            && target.lenient_tries < LENIENCY.len();
        if lenient && target.tokens.rotate_to_untried() {
            self.fail(
                now,
                Failure {
                    code: refusal.code,
                    text: refusal.text,
                    wait: FailureWait::Table,
                },
            );
            return;
        }
        if lenient && let Some(wait) = LENIENCY.get(target.lenient_tries) {
            target.lenient_tries = target.lenient_tries.saturating_add(1);
            target.tokens.doubt();
            self.fail(
                now,
                Failure {
                    code: refusal.code,
                    text: refusal.text,
                    wait: FailureWait::Lenient(*wait),
                },
            );
            return;
        }
        if !target.verified {
            // Before the first success only those who wait keep the loop, and their tokens.
            target.tokens.retain(|token| callers.waits_for(token));
        }
        if !target.tokens.discard() {
            self.end_of_token(&refusal);
            return;
        }
        // Who waits with the next token may know whose it is.
        let next = &target.tokens.in_use().token;
        let next_user = callers
            .waiters()
            .filter(|(_, waiter)| waiter.token == *next)
            .find_map(|(_, waiter)| waiter.user_id.clone());
        let unnamed = target.user_id.is_none();
        let doubted = target.tokens.in_use().standing == Standing::Doubted;
        let next_was_accepted = target.tokens.in_use().standing.was_accepted();
        let lenient_wait = LENIENCY.get(target.lenient_tries).copied();
        if doubted && lenient_wait.is_some() {
            target.lenient_tries = target.lenient_tries.saturating_add(1);
        }
        self.callers.token_refused(&refused);
        self.settle(&Err(refusal.clone()), |waiter| waiter.token == refused);
        let mut text = refusal.text;
        if was_updated {
            self.renewal.note = None;
            text.push_str(if next_was_accepted {
                "; the updated token is dropped for the one before"
            } else {
                "; the updated token is dropped for one that has not been tried"
            });
        }
        // A joiner's token may have been brought by UpdateToken as well: it is refused all the same.
        self.persist();
        if unnamed && let Some(user_id) = next_user {
            self.user_is(&user_id);
            self.open_ahead();
        }
        let wait = match lenient_wait {
            Some(wait) if doubted => FailureWait::Lenient(wait),
            Some(_) | None => FailureWait::Table,
        };
        self.fail(
            now,
            Failure {
                code: refusal.code,
                text,
                wait,
            },
        );
    }

    pub(super) fn link_failed(&mut self, now: Now, fault: Fault) {
        let answered = self.link.session().is_some();
        if let Link::Dialing {
            purpose: Purpose::Login,
            ..
        } = self.link
        {
            self.closed_on_connect(fault.kind);
        }
        self.note_life(now, Some(fault.kind));
        self.link = Link::Idle;
        let code = fault_code(fault.kind, answered);
        if fault.kind == FaultKind::ConnectionRefused
            && let Want::On(target) = &mut self.want
        {
            // The server itself was away: its restarts are no fight over the session.
            target.short_lives = 0;
        }
        let first = matches!(&self.want, Want::On(target) if !target.verified);
        if fault.kind == FaultKind::Proxy && first {
            self.end(&Refusal {
                code,
                text: fault.text,
            });
            return;
        }
        self.fail(
            now,
            Failure {
                code,
                text: fault.text,
                wait: FailureWait::Table,
            },
        );
    }

    /// A link has failed before the CONNACK. Some servers (RabbitMQ 3.10) close on the CONNECT of a version they do
    /// not know, where MQTT wants a refusal; so does a server that is starting, and neither says which it is. So the
    /// other version is tried in turn, until one is answered.
    fn closed_on_connect(&mut self, kind: FaultKind) {
        let Want::On(target) = &mut self.want else { return };
        if target.spoken {
            return;
        }
        target.silent_closes = match kind {
            FaultKind::BareEof => target.silent_closes.saturating_add(1),
            FaultKind::NameNotResolved
            | FaultKind::ConnectionRefused
            | FaultKind::Unreachable
            | FaultKind::Io
            | FaultKind::Protocol
            | FaultKind::Proxy
            | FaultKind::Certificate
            | FaultKind::Tls
            | FaultKind::NavUnreachable
            | FaultKind::NavSilent
            | FaultKind::NavRefused
            | FaultKind::NavMalformed => 0,
        };
        if target.silent_closes >= SILENT_CLOSES {
            target.silent_closes = 0;
            target.protocol = match target.protocol {
                Protocol::V5 => Protocol::V311,
                Protocol::V311 => Protocol::V5,
            };
        }
    }

    /// A deadline has passed: the link is dead.
    pub(super) fn overdue(&mut self, now: Now, code: Code, text: &str) {
        let text = match &self.server {
            Some(server) => format!("{server}: {text}"),
            None => text.to_owned(),
        };
        self.note_life(now, None);
        self.hang_up(HangUp::Abort);
        self.fail(
            now,
            Failure {
                code,
                text,
                wait: FailureWait::Table,
            },
        );
    }

    /// What the life of the session that ends says about the next wait.
    pub(super) fn note_life(&mut self, now: Now, fault: Option<FaultKind>) {
        let Some(session) = self.link.session() else {
            return;
        };
        let life = now.boot.since(session.since);
        let was_online = matches!(self.link, Link::Online { .. });
        let Want::On(target) = &mut self.want else { return };
        if life >= LONG_LIFE {
            target.short_lives = 0;
        } else if fault == Some(FaultKind::BareEof) {
            target.short_lives = target.short_lives.saturating_add(1);
        }
        if was_online && life >= STABLE {
            target.backoff.restart();
            if let Some(redirect) = &mut target.redirect {
                redirect.hops = 0;
            }
        }
    }

    /// The one door of all faults: the link has ended, and the loop goes on.
    fn fail(&mut self, now: Now, failure: Failure) {
        self.link = Link::Idle;
        let Failure { code, text, wait } = failure;
        if !self.is_wanted() {
            // A verdict on the way here has told the last caller.
            let refusal = Refusal { code, text };
            self.end(&refusal);
            return;
        }
        let Want::On(target) = &mut self.want else { return };
        target.last_code = Some(code);
        target.redirect = None;
        if !std::mem::take(&mut target.reached) {
            target.next_server = target.next_server.wrapping_add(1);
        }
        let (delay, why) = match wait {
            FailureWait::Hint(delay) => (delay, Wait::ServerHint),
            FailureWait::Lenient(delay) => (delay, Wait::Leniency),
            FailureWait::Table if target.short_lives >= SHORT_LIVES => (LONGEST, Wait::ShortLives),
            FailureWait::Table => (target.backoff.next(&mut self.random), Wait::Table),
        };
        let hint = match why {
            Wait::ShortLives => "; three short lives in a row: signed in elsewhere?",
            Wait::Leniency => "; the token was good before, so it gets another try",
            Wait::Table | Wait::ServerHint => "",
        };
        let until = now.boot + delay;
        if self.is_cut_off() {
            self.reason = format!("{text}{hint}; no network");
            self.link = Link::Paused {
                hold: held(until, why),
            };
        } else {
            self.reason = format!("{text}{hint}; trying again in {}", Words(delay));
            self.link = Link::Waiting { until, why };
        }
    }
}
