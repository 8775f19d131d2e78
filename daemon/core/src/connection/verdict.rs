//! What a server's answer means: one reading of the table of verdicts, for CONNACK and DISCONNECT.

use std::time::Duration;

use imd_proto::code::{Code, Kind};

use crate::io::{ConnectionStatus, FaultKind, ServerWords};

/// What to do about the server's words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The loop goes on.
    Retry { code: Code, after: Option<Duration> },
    /// The loop ends.
    Terminal { code: Code },
    /// The token was refused. `explicit`: in so many words (`im-code`), so that a server whose own user
    /// database is down cannot be meant.
    Token { code: Code, explicit: bool },
    /// Go to another server.
    Redirect { reference: Option<String> },
    /// The server does not speak this version of MQTT.
    OtherProtocol,
}

/// Which packet the words came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    ConnAck,
    Disconnect,
}

pub(crate) fn judge(words: &ServerWords, packet: Packet) -> Verdict {
    if let Some(code) = words.im_code {
        match code.row().map(|row| row.kind) {
            Some(Kind::Terminal) => return terminal(code),
            Some(Kind::Loop | Kind::Call) | None => {}
        }
    }
    // A number of the server's own passes through; what to do is told by the reason code beside it.
    match by_reason(words, packet) {
        Verdict::Retry { code, after } => Verdict::Retry {
            code: words.im_code.unwrap_or(code),
            after,
        },
        Verdict::Terminal { code } => Verdict::Terminal {
            code: words.im_code.unwrap_or(code),
        },
        Verdict::Token { code, explicit } => Verdict::Token {
            code: words.im_code.unwrap_or(code),
            explicit,
        },
        redirect @ Verdict::Redirect { .. } => redirect,
        Verdict::OtherProtocol => Verdict::OtherProtocol,
    }
}

/// The verdict of an `im-code` that stands in the table as terminal.
pub(crate) fn terminal(code: Code) -> Verdict {
    if is_token(code) {
        Verdict::Token { code, explicit: true }
    } else {
        Verdict::Terminal { code }
    }
}

fn by_reason(words: &ServerWords, packet: Packet) -> Verdict {
    let retry = |code| Verdict::Retry {
        code,
        // A hint of 0 says nothing, and taken by its word it would dial without end.
        after: words.retry_after.filter(|after| !after.is_zero()),
    };
    match (words.reason, packet) {
        (0x9C | 0x9D, _) => Verdict::Redirect {
            reference: words.server_reference.clone(),
        },
        (0x8E, Packet::Disconnect) => Verdict::Terminal {
            code: Code::RC_DISCONN_KICK,
        },
        (0x84, Packet::ConnAck) => Verdict::OtherProtocol,
        (0x85, Packet::ConnAck) => Verdict::Terminal {
            code: Code::RC_CONN_ID_REJECT,
        },
        (0x86 | 0x87 | 0x8C | 0x95, Packet::ConnAck) => Verdict::Token {
            code: Code::RC_CONN_TOKEN_INCORRECT,
            explicit: false,
        },
        (0x8A, Packet::ConnAck) => Verdict::Terminal {
            code: Code::RC_CONN_USER_BLOCKED,
        },
        (0x88, _) => retry(Code::RC_CONN_SERVER_UNAVAILABLE),
        (0x89 | 0x97 | 0x9F, _) => retry(Code::CONNECT_OVER_FREQUENCY),
        _ => retry(Code::UNKNOWN),
    }
}

/// Whether the code speaks of the token: it is then erased, and another caller's token may do better.
pub(crate) fn is_token(code: Code) -> bool {
    code == Code::RC_CONN_TOKEN_INCORRECT || code == Code::RC_CONN_TOKEN_EXPIRE
}

/// The status a connection has after it ended with this code.
pub(crate) fn ended_status(code: Code) -> ConnectionStatus {
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

/// The code a fault of the link shows under.
pub(crate) fn fault_code(kind: FaultKind, answered: bool) -> Code {
    match kind {
        FaultKind::NameNotResolved => Code::RC_DOMAIN_NOT_RESOLVE,
        FaultKind::ConnectionRefused => Code::CONNECTION_REFUSED,
        FaultKind::Unreachable => Code::RC_SOCKET_NOT_CREATED,
        FaultKind::BareEof | FaultKind::Io if answered => Code::RC_SOCKET_DISCONNECTED,
        FaultKind::BareEof | FaultKind::Io => Code::RC_TCP_DISCONNECTED_NO_RMTP,
        FaultKind::Protocol => Code::RC_MSG_DATA_INCOMPLETE,
        FaultKind::Proxy => Code::RC_CONN_PROXY_UNAVAILABLE,
        FaultKind::Certificate => Code::IMD_CERTIFICATE,
        FaultKind::Tls => Code::IMD_TLS,
        FaultKind::NavUnreachable => Code::RC_HTTP_SEND_FAIL,
        FaultKind::NavSilent => Code::RC_HTTP_REQ_TIMEOUT,
        FaultKind::NavRefused => Code::RC_NAVI_REQ_FAILED,
        FaultKind::NavMalformed => Code::RC_NODE_NOT_FOUND,
    }
}

/// The server's words for a person: the number, its meaning in MQTT, and what the server added.
pub(crate) fn words_text(words: &ServerWords) -> String {
    let mut text = format!("0x{:02X} {}", words.reason, reason_name(words.reason));
    if words.raw != words.reason {
        text.push_str(&format!(" ({} in MQTT 3.1.1)", words.raw));
    }
    if let Some(code) = words.im_code {
        text.push_str(&format!(", im-code {}", code.0));
    }
    if let Some(said) = &words.reason_string {
        text.push_str(&format!(", saying {said:?}"));
    }
    if let Some(server) = &words.server_reference {
        text.push_str(&format!(", naming the server {server:?}"));
    }
    for (name, value) in &words.user_properties {
        text.push_str(&format!(", {name}: {value:?}"));
    }
    text
}

fn reason_name(reason: u8) -> &'static str {
    match reason {
        0x00 => "normal disconnection",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8A => "banned",
        0x8B => "server shutting down",
        0x8C => "bad authentication method",
        0x8D => "keep alive timeout",
        0x8E => "session taken over",
        0x93 => "receive maximum exceeded",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9C => "use another server",
        0x9D => "server moved",
        0x9F => "connection rate exceeded",
        _ => "a reason code imd does not know",
    }
}
