//! What `imctl doctor` is told from inside: configuration, database, token, server, and at the broker what
//! it must refuse.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imd_core::account::Token;
use imd_core::io::Remembered;
use imd_core::jwt::Claims;
use imd_core::server::{Server, Transport};
use imd_core::time::{UnixTime, Words};
use tokio::sync::watch;

use super::examine;
use super::rows::StoreRows;
use crate::clock;
use crate::config::Settings;
use crate::link::Vault as _;
use crate::link::probe::{self, Answer, Outcome, Place};
use crate::nav::{Directory, Known};
use crate::network::View;
use crate::rpc::{Diagnose, Finding, Verdict};
use crate::store::{AccountCheck, AccountReport, QuickCheck};
use crate::transport::{EXPIRES_SOON, Transports, Validity, shown_time};

/// Two machines' clocks may differ by so many seconds.
const CLOCK_TOLERANCE: i64 = 300;

/// A disk with less than this is about to stop the store.
const LITTLE_DISK: u64 = 100 * 1024 * 1024;

/// With less than this nothing can be stored.
const NO_DISK: u64 = 1024 * 1024;

/// Knows the parts that rpc does not.
pub(super) struct Doctor {
    pub(super) settings: Arc<Settings>,
    pub(super) transports: Arc<Transports>,
    pub(super) directory: Arc<Directory>,
    pub(super) rows: StoreRows,
    pub(super) data_dir: PathBuf,
    pub(super) session_file: PathBuf,
    pub(super) network: watch::Receiver<View>,
    /// Whether a captive portal holds the network.
    pub(super) portal: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Diagnose for Doctor {
    async fn findings(&self, probe_broker: bool) -> Vec<Finding> {
        let mut findings = vec![self.config(), examine::directory(&self.data_dir)];
        findings.extend(examine::session_mode(&self.session_file));
        findings.extend(self.store().await);
        let remembered = self.rows.remembered();
        findings.push(token(remembered.as_ref()));
        findings.push(clock(remembered.as_ref(), &self.session_file));
        findings.push(network(&self.network.borrow(), *self.portal.borrow()));
        let (places, nav) = places(
            &self.transports,
            &self.directory,
            &self.settings,
            remembered.as_ref(),
        );
        findings.extend(nav);
        for place in &places {
            findings.extend(reach(place).await);
        }
        if probe_broker {
            findings.extend(broker(&places, remembered.as_ref()).await);
        }
        findings
    }
}

pub(super) fn finding(
    check: &'static str,
    verdict: Verdict,
    text: impl Into<String>,
    mend: impl Into<String>,
) -> Finding {
    Finding {
        check: check.into(),
        verdict,
        text: text.into(),
        mend: mend.into(),
    }
}

impl Doctor {
    fn config(&self) -> Finding {
        let settings = &self.settings;
        let file = settings.config_file.display();
        let apps = settings.app_servers.len();
        match (&settings.default_servers, apps) {
            (None, 0) => finding(
                "config.servers",
                Verdict::Failed,
                format!(
                    "no server is configured ({file} {})",
                    if settings.config_found {
                        "names none"
                    } else {
                        "is not there"
                    }
                ),
                format!(
                    "Write `[server]` and `urls = [\"mqtt://127.0.0.1:1883\"]`, with your server, into {file}."
                ),
            ),
            (None, apps) => finding(
                "config.servers",
                Verdict::Ok,
                format!("{apps} App Keys have servers of their own"),
                "",
            ),
            (Some(list), apps) => finding(
                "config.servers",
                Verdict::Ok,
                format!(
                    "servers: {} (from {}); App Keys with servers of their own: {apps}",
                    list.servers.len(),
                    list.file.display()
                ),
                "",
            ),
        }
    }

    async fn store(&self) -> Vec<Finding> {
        match self.rows.check().await {
            Err(error) => vec![finding(
                "database",
                Verdict::Failed,
                error,
                "See the daemon's log; restart the daemon if it hangs.",
            )],
            Ok(check) => {
                let full = self.rows.storage_full().borrow().clone();
                store_findings(&check, full)
            }
        }
    }
}

fn network(view: &View, portal: bool) -> Finding {
    let (verdict, mend) = if portal {
        (
            Verdict::Warning,
            "NetworkManager says that a captive portal holds it: sign in there with a browser.",
        )
    } else if view.is_connected() {
        (Verdict::Ok, "")
    } else {
        (
            Verdict::Warning,
            "Connect this machine to a network: only servers on it can be reached.",
        )
    };
    finding("network", verdict, view.to_string(), mend)
}

/// The servers that would be dialled, and where a nav names them what is known of that.
pub(super) fn places(
    transports: &Arc<Transports>,
    directory: &Directory,
    settings: &Settings,
    remembered: Option<&Remembered>,
) -> (Vec<Place>, Option<Finding>) {
    let app_key = remembered.map(|remembered| &remembered.app_key);
    let own = app_key.and_then(|app_key| settings.app_servers.get(app_key));
    let list = own.or(settings.default_servers.as_ref());
    let mut servers = list.map(|list| list.servers.clone()).unwrap_or_default();
    let mut found = None;
    if let [nav] = servers.as_slice()
        && nav.transport == Transport::Nav
    {
        let known = remembered
            .map(|remembered| directory.known(nav, &remembered.app_key, remembered.user_id.as_ref()));
        found = Some(named_by(nav, known.as_ref()));
        servers = known.map(|known| known.servers).unwrap_or_default();
    }
    let place = |server| Place {
        transports: Arc::clone(transports),
        app_key: app_key.cloned(),
        server,
    };
    (servers.into_iter().map(place).collect(), found)
}

fn shown(time: UnixTime) -> String {
    shown_time(time.as_millis() / 1000)
}

/// What a nav has said, and how long it holds.
fn named_by(nav: &Server, known: Option<&Known>) -> Finding {
    let name = "server.nav";
    let Some(known) = known else {
        let text = format!("{nav} names the servers of whoever signs in; nobody has");
        return finding(name, Verdict::Skipped, text, "");
    };
    let said = match known.span {
        None => format!("{nav} has not named this user's servers yet"),
        Some((fetched, expires)) => {
            let servers: Vec<_> = known.servers.iter().map(ToString::to_string).collect();
            let (fetched, expires) = (shown(fetched), shown(expires));
            let servers = servers.join(", ");
            if known.is_fresh {
                format!("{nav} said {servers} {fetched}, which holds until {expires}")
            } else {
                format!("{nav} said {servers} {fetched}; it is asked again before the next attempt")
            }
        }
    };
    match &known.failure {
        None => finding(name, Verdict::Ok, said, ""),
        Some(why) => {
            let verdict = if known.span.is_some() {
                Verdict::Warning
            } else {
                Verdict::Failed
            };
            let mend = "The loop goes on by itself; see docs/nav.md for what the nav has to answer.";
            finding(
                name,
                verdict,
                format!("{said}; when it was asked last: {why}"),
                mend,
            )
        }
    }
}

/// `full`: why what comes in cannot be stored.
pub(super) fn store_findings(check: &AccountCheck, full: Option<String>) -> Vec<Finding> {
    let mut findings = vec![disk(check, full), database(check)];
    findings.extend(check.account.as_ref().map(kept_aside));
    findings
}

/// `full`: why what comes in cannot be stored.
fn disk(check: &AccountCheck, full: Option<String>) -> Finding {
    const MEND: &str = "Make room: nothing is acknowledged that cannot be stored.";
    let dir = check.data_dir.display();
    if let Some(why) = full {
        let text = format!("messages that come in are not stored, and the server keeps them: {why}");
        return finding("disk", Verdict::Failed, text, MEND);
    }
    match check.free_disk {
        None => finding(
            "disk",
            Verdict::Skipped,
            format!("the file system of {dir} does not say how full it is"),
            "",
        ),
        Some(free) if free < NO_DISK => finding(
            "disk",
            Verdict::Failed,
            format!("the file system of {dir} is full: {free} bytes are free"),
            MEND,
        ),
        Some(free) if free < LITTLE_DISK => finding(
            "disk",
            Verdict::Warning,
            format!("{} MiB are free in {dir}", free / (1024 * 1024)),
            MEND,
        ),
        Some(free) => finding(
            "disk",
            Verdict::Ok,
            format!("{} MiB are free in {dir}", free / (1024 * 1024)),
            "",
        ),
    }
}

fn database(check: &AccountCheck) -> Finding {
    let Some(account) = &check.account else {
        return finding(
            "database",
            Verdict::Skipped,
            "no account is open",
            "An app has to connect first.",
        );
    };
    let path = account.path.display();
    match &account.quick_check {
        QuickCheck::Healthy => finding(
            "database",
            Verdict::Ok,
            format!("{path}: {} KiB, healthy", account.size / 1024),
            "",
        ),
        QuickCheck::Damaged(what) => finding(
            "database",
            Verdict::Failed,
            format!("{path} is damaged: {what}"),
            "Restart the daemon: it keeps the file aside and saves what can be read.",
        ),
        QuickCheck::NotRun(why) => finding("database", Verdict::Skipped, format!("{path}: {why}"), ""),
    }
}

/// What came in and could not be read, and databases that were damaged.
fn kept_aside(account: &AccountReport) -> Finding {
    let name = "kept_aside";
    let unreadable = account.unreadable;
    let shown: Vec<_> = account
        .kept_aside
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match (unreadable, shown.as_slice()) {
        (0, []) => finding(name, Verdict::Ok, "nothing was unreadable or damaged", ""),
        (0, files) => finding(
            name,
            Verdict::Warning,
            format!("damaged databases were kept aside: {}", files.join(", ")),
            "What could be saved is in the new one. Report it; once nothing is missed, remove these files.",
        ),
        (count, files) => finding(
            name,
            Verdict::Warning,
            format!(
                "{count} messages could not be read and are kept aside in {}; damaged databases beside it: {}",
                account.path.display(),
                files.len()
            ),
            "Somebody sends what is not of imd's format. To see from where: sqlite3 -readonly DATABASE 'SELECT topic, reason FROM unreadable'.",
        ),
    }
}

/// Whether this machine's clock can be right: there is no other clock to ask, but some times cannot lie in the
/// future.
pub(super) fn clock(remembered: Option<&Remembered>, session_file: &Path) -> Finding {
    let name = "clock";
    let now = clock::now().unix;
    let token = remembered.and_then(|remembered| remembered.token.as_ref());
    let issued = token
        .and_then(Claims::read)
        .and_then(|claims| claims.ahead_of(now));
    let mend = "Set the clock: timedatectl set-ntp true.";
    if let Some(seconds) = issued {
        return finding(
            name,
            Verdict::Failed,
            format!(
                "by this machine's clock the token is made {seconds} s from now: the clock is that much behind"
            ),
            mend,
        );
    }
    let program = std::env::current_exe().unwrap_or_default();
    for (what, path) in [
        ("the remembered session", session_file),
        ("imd itself", program.as_path()),
    ] {
        let ahead = seconds_ahead(path, now.as_millis());
        if let Some(seconds) = ahead.filter(|seconds| *seconds > CLOCK_TOLERANCE) {
            return finding(
                name,
                Verdict::Warning,
                format!(
                    "by this machine's clock {what} was written {seconds} s from now: the clock is, or was, wrong"
                ),
                mend,
            );
        }
    }
    finding(
        name,
        Verdict::Ok,
        "nothing there is of a later time than this machine's clock",
        "",
    )
}

/// By how much a file was written in the future.
fn seconds_ahead(path: &Path, now_ms: i64) -> Option<i64> {
    use std::os::unix::fs::MetadataExt as _;
    let written = std::fs::metadata(path).ok()?.mtime();
    written.checked_sub(now_ms.div_euclid(1000))
}

pub(super) fn token(remembered: Option<&Remembered>) -> Finding {
    let Some(remembered) = remembered else {
        return finding("token", Verdict::Skipped, "no app has connected yet", "");
    };
    let Some(token) = &remembered.token else {
        return finding(
            "token",
            Verdict::Warning,
            "there is no token: it was erased by a logout or refused by the server",
            "An app has to connect with a new one.",
        );
    };
    let Some(claims) = Claims::read(token) else {
        return finding(
            "token",
            Verdict::Ok,
            "the token is opaque: only the server can read it",
            "",
        );
    };
    if claims.has_expired(clock::now().unix) {
        return finding(
            "token",
            Verdict::Failed,
            "the token has expired, by this machine's clock",
            "Get a new token and connect with it; or set the clock right.",
        );
    }
    let now = clock::now().unix;
    let left = claims.expires().map(|end| {
        let millis = end.as_millis().saturating_sub(now.as_millis());
        Words(Duration::from_millis(u64::try_from(millis).unwrap_or_default()))
    });
    let end = left.map_or_else(String::new, |left| format!("; it ends in {left}"));
    if remembered.updated_token.is_some() {
        return finding(
            "token",
            Verdict::Ok,
            format!("a JWT, not expired{end}; a newer token waits for the next login"),
            "",
        );
    }
    if claims.renewal_due(now).is_some_and(|due| due <= now) {
        return finding(
            "token",
            Verdict::Warning,
            format!("80 % of the token's life are over, and no app has brought another one{end}"),
            "Start an app that brings tokens, or bring one with imctl update-token --token-file FILE.",
        );
    }
    // Whose it is stands in the status; a finding may be sent to somebody.
    let has = |claim: &Option<String>| if claim.is_some() { "with" } else { "without" };
    finding(
        "token",
        Verdict::Ok,
        format!(
            "a JWT {} a user id, {} an App Key, not expired{end}",
            has(&claims.sub),
            has(&claims.app)
        ),
        "",
    )
}

/// Whether a server can be reached, and how long its certificate is good.
pub(super) async fn reach(place: &Place) -> Vec<Finding> {
    let server = &place.server;
    match probe::reach(place).await {
        Ok(reached) => {
            let way = match &reached.proxy {
                Some(proxy) => format!(" through the proxy {proxy}"),
                None => String::new(),
            };
            let text = format!("{server} can be reached{way}");
            let mut findings = vec![finding("server", Verdict::Ok, text, "")];
            findings.extend(reached.validity.map(|validity| certificate(server, validity)));
            findings
        }
        Err(unreached) => {
            let mend = unreached.why.mend();
            vec![finding(
                "server",
                Verdict::Failed,
                unreached.to_string(),
                sentence(&mend),
            )]
        }
    }
}

fn certificate(server: &Server, validity: Validity) -> Finding {
    let name = "server.certificate";
    let days = EXPIRES_SOON.as_secs() / (24 * 60 * 60);
    match validity {
        Validity::Long => finding(
            name,
            Verdict::Ok,
            format!("{server} has a certificate that is good for {days} days at least"),
            "",
        ),
        Validity::Until(seconds) => finding(
            name,
            Verdict::Warning,
            format!("the certificate of {server} expires {}", shown_time(seconds)),
            "The server needs a new one by then: after it nobody connects.",
        ),
    }
}

/// A mend as a sentence of its own.
fn sentence(mend: &str) -> String {
    let mut chars = mend.chars();
    let first = chars.next().map(|first| first.to_uppercase());
    let end = if mend.ends_with('?') { "" } else { "." };
    first
        .into_iter()
        .flatten()
        .chain(chars)
        .chain(end.chars())
        .collect()
}

async fn broker(places: &[Place], remembered: Option<&Remembered>) -> Vec<Finding> {
    let skipped = |why: &str| {
        vec![
            finding("broker.client_id", Verdict::Skipped, why, "Connect first."),
            finding("broker.topics", Verdict::Skipped, why, "Connect first."),
        ]
    };
    let Some(place) = places.first() else {
        return skipped("no server is configured");
    };
    let account = remembered.and_then(Remembered::account);
    let token: Option<&Token> = remembered.and_then(|remembered| remembered.token.as_ref());
    let (Some(account), Some(token)) = (account, token) else {
        return skipped("there is no account and token to try with");
    };
    let server = &place.server;
    let mut findings = vec![match probe::foreign_client_id(place, &account, token).await {
        Ok(Answer::Refused(words)) => finding(
            "broker.client_id",
            Verdict::Ok,
            format!(
                "{server} refuses a client id of another user (0x{:02X})",
                words.reason
            ),
            "",
        ),
        Ok(Answer::Accepted) => finding(
            "broker.client_id",
            Verdict::Insecure,
            format!(
                "{server} lets {} in with the client id of another user",
                account.user_id
            ),
            "Bind client ids to user names at the broker: anyone can take over, or wipe, another's queue. The \
             README's section on the broker says how. Only a broker that keeps a session per account and client \
             id, as ejabberd does, is safe without: that cannot be seen with one account.",
        ),
        Err(fault) => finding("broker.client_id", Verdict::Skipped, fault.text, ""),
    }];
    match probe::forbidden_topics(place, &account, token).await {
        Err(fault) => findings.push(finding("broker.topics", Verdict::Skipped, fault.text, "")),
        Ok(attempts) => findings.extend(attempts.into_iter().map(|attempt| {
            let about = format!("{}, {}", attempt.what, attempt.topic);
            match attempt.outcome {
                Outcome::Held(how) => finding("broker.topics", Verdict::Ok, format!("{about}: {how}"), ""),
                Outcome::Unclear(why) => {
                    finding("broker.topics", Verdict::Skipped, format!("{about}: {why}"), "")
                }
                Outcome::LetThrough => finding(
                    "broker.topics",
                    Verdict::Insecure,
                    format!("{about}: let through"),
                    "Give the broker the access rules of the README's section on the broker.",
                ),
            }
        })),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_a_failure_and_one_with_little_a_warning() {
        for (free, verdict) in [
            (0, Verdict::Failed),
            (NO_DISK - 1, Verdict::Failed),
            (NO_DISK, Verdict::Warning),
            (LITTLE_DISK, Verdict::Ok),
        ] {
            let check = AccountCheck {
                data_dir: "/data".into(),
                free_disk: Some(free),
                account: None,
            };
            assert_eq!(disk(&check, None).verdict, verdict, "{free}");
        }
    }
}
