//! The verdict table of the design, once more and on its own: what the server's words mean.

use std::time::Duration;

use imd_core::Code;
use imd_core::io::{ConnectionStatus, Dial, Identity, Protocol, ServerWords};
use imd_core::jwt::Claims;
use imd_core::server::Server;
use imd_core::time::UnixTime;

/// What follows from the server's words.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// This token is refused. `by_table`: by its row, which a broker with a broken auth backend also says.
    Token { code: Code, by_table: bool },
    /// The connection is over. Where an `im-code` of no terminal row stands beside a terminal reason, either
    /// number may be told.
    End { codes: Vec<Code> },
    /// The loop goes on.
    Loop { hint: Option<Duration> },
    /// 3.1.1 only, which cannot name the user: 31004 to all who cannot either.
    Nameless,
    /// Try 3.1.1, at once.
    OlderProtocol,
    /// 3.1.1 was tried because the server had said nothing; it speaks 5 alone.
    NewerProtocol,
    /// Go there, at once.
    Elsewhere(Server),
}

/// `spoken`: a CONNECT had been answered before.
pub(crate) fn of_connack(words: &ServerWords, dial: &Dial, now: UnixTime, spoken: bool) -> Verdict {
    if let Some(verdict) = words.im_code.and_then(of_im_code) {
        return verdict;
    }
    let also = |code: Code| std::iter::once(code).chain(words.im_code).collect::<Vec<_>>();
    match words.reason {
        0x84 => match dial.protocol {
            Protocol::V5 if dial.identity == Identity::Discover => Verdict::Nameless,
            Protocol::V5 => Verdict::OlderProtocol,
            Protocol::V311 if !spoken => Verdict::NewerProtocol,
            Protocol::V311 => Verdict::End {
                codes: also(Code::RC_CONN_PROTO_VERSION_ERROR),
            },
        },
        0x85 => Verdict::End {
            codes: also(Code::RC_CONN_ID_REJECT),
        },
        0x86 | 0x87 | 0x8c | 0x95 => Verdict::Token {
            code: if Claims::read(&dial.token).is_some_and(|claims| claims.has_expired(now)) {
                Code::RC_CONN_TOKEN_EXPIRE
            } else {
                Code::RC_CONN_TOKEN_INCORRECT
            },
            by_table: true,
        },
        0x8a => Verdict::End {
            codes: also(Code::RC_CONN_USER_BLOCKED),
        },
        0x9c | 0x9d => elsewhere(words, dial),
        _ => Verdict::Loop { hint: hint(words) },
    }
}

pub(crate) fn of_disconnect(words: &ServerWords, dial: &Dial) -> Verdict {
    if let Some(verdict) = words.im_code.and_then(of_im_code) {
        return verdict;
    }
    match words.reason {
        0x8e => Verdict::End {
            codes: std::iter::once(Code::RC_DISCONN_KICK)
                .chain(words.im_code)
                .collect(),
        },
        0x9c | 0x9d => elsewhere(words, dial),
        _ => Verdict::Loop { hint: hint(words) },
    }
}

/// An `im-code` of a terminal row outranks the table.
pub(crate) fn of_im_code(code: Code) -> Option<Verdict> {
    if !code.is_terminal() {
        return None;
    }
    let token = [Code::RC_CONN_TOKEN_INCORRECT, Code::RC_CONN_TOKEN_EXPIRE].contains(&code);
    Some(if token {
        Verdict::Token {
            code,
            by_table: false,
        }
    } else {
        Verdict::End { codes: vec![code] }
    })
}

fn elsewhere(words: &ServerWords, dial: &Dial) -> Verdict {
    let named = words.server_reference.as_deref();
    match named.and_then(|reference| dial.server.referred(reference)) {
        Some(server) => Verdict::Elsewhere(server),
        None => Verdict::Loop { hint: hint(words) },
    }
}

/// The status a code leaves behind.
pub(crate) fn status_of(code: Code) -> ConnectionStatus {
    match code {
        Code::RC_CONN_TOKEN_INCORRECT | Code::RC_CONN_TOKEN_EXPIRE | Code::RC_OTP_USED => {
            ConnectionStatus::TokenIncorrect
        }
        Code::RC_CONN_APP_BLOCKED_OR_DELETED
        | Code::RC_CONN_USER_BLOCKED
        | Code::RC_DISCONN_EXCEPTION
        | Code::RC_ACCOUNT_CANCELLATION => ConnectionStatus::ConnUserBlocked,
        Code::RC_DISCONN_KICK | Code::RC_DISCONN_SAME_CLIENT_ON_LINE => {
            ConnectionStatus::KickedOfflineByOtherClient
        }
        Code::RC_CONNECT_TIMEOUT => ConnectionStatus::Timeout,
        Code::RC_CONN_PROXY_UNAVAILABLE => ConnectionStatus::ProxyUnavailable,
        _ => ConnectionStatus::Unconnected,
    }
}

/// When the server wants us back; 0 is no hint, for taken by its word it would dial without end.
fn hint(words: &ServerWords) -> Option<Duration> {
    words.retry_after.filter(|hint| !hint.is_zero())
}
