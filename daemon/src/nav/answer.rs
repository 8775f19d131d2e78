//! The nav's answer: JSON, and how much of it is taken.

use std::time::Duration;

use imd_core::server::Server;
use serde::Deserialize;

use super::NavError;
use crate::config::{Plaintext, parse_server};

/// So many bytes at most.
pub(super) const LONGEST: usize = 64 * 1024;

/// So many servers at most.
pub(super) const MOST_SERVERS: usize = 32;

/// So many bytes of a URL at most.
const LONGEST_URL: usize = 1024;

/// The layout that this imd reads.
const VERSION: u64 = 1;

/// How long an answer holds that does not say it.
const TTL: Duration = Duration::from_hours(2);

/// Less would make every attempt a request.
const SHORTEST_TTL: Duration = Duration::from_mins(1);

/// More would keep users at servers that have gone.
const LONGEST_TTL: Duration = Duration::from_hours(24);

/// An answer within all bounds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) servers: Vec<(Server, u32)>,
    pub(super) ttl: Duration,
}

#[derive(Deserialize)]
struct Versioned {
    version: u64,
}

#[derive(Deserialize)]
struct Written {
    servers: Vec<WrittenServer>,
    ttl: Option<f64>,
}

#[derive(Deserialize)]
struct WrittenServer {
    url: String,
    weight: Option<u16>,
}

/// Reads an answer.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(body: &[u8], plaintext: Plaintext) -> Result<Answer, NavError> {
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        return Err(NavError::NotJson);
    }
    // The error's own text may show what a stranger wrote, at any length.
    let unfit = |error: serde_json::Error| NavError::Unfit {
        line: error.line(),
        column: error.column(),
    };
    let Versioned { version } = serde_json::from_slice(body).map_err(unfit)?;
    if version != VERSION {
        return Err(NavError::Version(version));
    }
    let Written { servers, ttl } = serde_json::from_slice(body).map_err(unfit)?;
    match servers.len() {
        0 => return Err(NavError::NoServers),
        1..=MOST_SERVERS => {}
        count => return Err(NavError::TooMany(count)),
    }
    let servers = servers.into_iter().enumerate().map(|(position, written)| {
        let number = position + 1;
        if written.url.len() > LONGEST_URL {
            let why = format!("its URL has more than {LONGEST_URL} bytes");
            return Err(NavError::Server { number, why });
        }
        let server = parse_server(&written.url, plaintext).map_err(|why| NavError::Server { number, why })?;
        Ok((server, u32::from(written.weight.unwrap_or(1))))
    });
    Ok(Answer {
        servers: servers.collect::<Result<_, _>>()?,
        ttl: ttl.map_or(TTL, |seconds| {
            // What is beyond a Duration is far beyond the bound as well.
            let longest = if seconds > 0.0 { LONGEST_TTL } else { SHORTEST_TTL };
            bounded(Duration::try_from_secs_f64(seconds).unwrap_or(longest))
        }),
    })
}

/// No answer holds for less or for more.
pub(super) fn bounded(ttl: Duration) -> Duration {
    ttl.clamp(SHORTEST_TTL, LONGEST_TTL)
}

/// The order of trying: drawn by weight, those of weight 0 last.
pub(super) fn by_weight(mut servers: Vec<(Server, u32)>, mut random: impl FnMut() -> u64) -> Vec<Server> {
    let mut ordered = Vec::with_capacity(servers.len());
    while !servers.is_empty() {
        let total: u64 = servers.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut drawn = random().checked_rem(total).unwrap_or_default();
        let position = servers
            .iter()
            .position(|(_, weight)| {
                let weight = u64::from(*weight);
                let hit = drawn < weight;
                drawn = drawn.saturating_sub(weight);
                hit
            })
            .unwrap_or_default();
        ordered.push(servers.remove(position).0);
    }
    // The same address twice would be dialled twice.
    let mut seen = std::collections::HashSet::new();
    ordered.retain(|server| seen.insert(server.clone()));
    ordered
}
