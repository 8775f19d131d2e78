//! Values become settings, and what is wrong with them is collected.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use imd_core::account::DeviceClass;
use imd_core::io::LoginPolicy;
use imd_core::server::Server;
use toml::Spanned;

use super::error::ConfigError;
use super::file::{AppsTable, LinkTable, Login, ProxyTable, ServerTable, Source};
use super::server_url::{self, Plaintext, without_user_info};
use super::{Settings, seconds};
use crate::access::Entry;
use crate::transport::{ClientFiles, Proxy, TlsFiles};

/// Seconds until a dead server is noticed, about; below 5 s a busy link looks dead.
const KEEP_ALIVE: RangeInclusive<i64> = 5..=3600;

/// From a minute to a year. Messages for a user who is away longer are lost at the server.
const SESSION_EXPIRY: RangeInclusive<i64> = 60..=31_536_000;

/// Turns the values of one file into settings, and collects what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) source: &'a Source<'a>,
    pub(super) plaintext: Plaintext,
    pub(super) errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    pub(super) fn servers(
        &mut self,
        urls: Option<&Spanned<Vec<Spanned<String>>>>,
        nav: Option<&Spanned<String>>,
    ) -> Option<Vec<Server>> {
        if let (Some(nav), Some(_)) = (nav, urls) {
            self.fault(nav, "there are both urls and nav: write one of them");
        }
        if let Some(nav) = nav {
            return match server_url::parse_nav(nav.get_ref()) {
                Ok(server) => Some(vec![server]),
                Err(text) => {
                    self.fault(nav, text);
                    None
                }
            };
        }
        let urls = urls?;
        if urls.get_ref().is_empty() {
            self.fault(urls, "urls is empty: write at least one, or leave the key out");
        }
        Some(urls.get_ref().iter().filter_map(|url| self.server(url)).collect())
    }

    fn server(&mut self, url: &Spanned<String>) -> Option<Server> {
        server_url::parse(url.get_ref(), self.plaintext)
            .map_err(|text| self.fault(url, text))
            .ok()
    }

    /// Whom an app's servers are trusted by.
    pub(super) fn ca_file(&mut self, ca_file: Option<&Spanned<String>>) -> Option<PathBuf> {
        self.path("ca_file", ca_file?)
    }

    /// Whom the servers are trusted by, and who we are there.
    pub(super) fn tls(&mut self, server: &ServerTable) -> TlsFiles {
        let mut path = |key, value: &Option<Spanned<String>>| self.path(key, value.as_ref()?);
        let ca_file = path("ca_file", &server.ca_file);
        let certificate = path("client_cert", &server.client_cert);
        let key = path("client_key", &server.client_key);
        match (&server.client_cert, &server.client_key) {
            (Some(alone), None) => self.fault(alone, "there is client_cert without client_key"),
            (None, Some(alone)) => self.fault(alone, "there is client_key without client_cert"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let alpn = server.alpn.as_ref();
        if let Some(alpn) = alpn.filter(|alpn| !(1..=255).contains(&alpn.get_ref().len())) {
            self.fault(alpn, "alpn has between 1 and 255 bytes: leave it out for none");
        }
        TlsFiles {
            ca_file,
            client: certificate
                .zip(key)
                .map(|(certificate, key)| ClientFiles { certificate, key }),
            alpn: alpn.map(|alpn| alpn.get_ref().clone()),
        }
    }

    fn path(&mut self, key: &str, value: &Spanned<String>) -> Option<PathBuf> {
        let path = Path::new(value.get_ref());
        if path.is_absolute() {
            return Some(path.to_owned());
        }
        self.fault(
            value,
            format!("{key} {:?} is not an absolute path", value.get_ref()),
        );
        None
    }

    pub(super) fn proxy(&mut self, table: &ProxyTable) -> Option<Proxy> {
        let ProxyTable { url, password_file } = table;
        let Some(url) = url else {
            if let Some(file) = password_file {
                self.fault(file, "there is password_file without url");
            }
            return None;
        };
        let proxy = Proxy::parse(url.get_ref())
            .map_err(|error| {
                let shown = without_user_info(url.get_ref());
                self.fault(url, format!("the proxy {shown:?} cannot be used: {error}"));
            })
            .ok()?;
        let Some(file) = password_file else {
            return Some(proxy);
        };
        let path = self.path("password_file", file)?;
        match proxy.names() {
            (_, true) => self.fault(
                file,
                "there are both password_file and a password in url: take the one in url out",
            ),
            (false, false) => self.fault(
                file,
                "there is password_file, but url names no user: write it as socks5://USER@HOST",
            ),
            (true, false) => return Some(proxy.with_password_file(path)),
        }
        None
    }

    pub(super) fn link(&mut self, link: &LinkTable, settings: &mut Settings) {
        if let Some(value) = &link.keep_alive
            && let Some(value) = self.in_range("keep_alive", value, &KEEP_ALIVE)
        {
            settings.keep_alive = value;
        }
        if let Some(value) = &link.session_expiry
            && let Some(value) = self.in_range("session_expiry", value, &SESSION_EXPIRY)
        {
            settings.session_expiry = value;
        }
        if let Some(class) = &link.device_class {
            match DeviceClass::parse(class.get_ref()) {
                Ok(class) => settings.device_class = class,
                Err(invalid) => self.fault(class, invalid.text),
            }
        }
        match link.login {
            Some(Login::One) => settings.login = LoginPolicy::One,
            Some(Login::Many) => settings.login = LoginPolicy::Many,
            None => {}
        }
        settings.remember = link.remember.unwrap_or(settings.remember);
    }

    /// The entries of the list; none where there is no list, or a fault in it.
    pub(super) fn apps(&mut self, apps: &AppsTable) -> Vec<Entry> {
        let Some(allow) = &apps.allow else {
            return Vec::new();
        };
        if allow.get_ref().is_empty() {
            self.fault(
                allow,
                "allow is empty, which lets no app in: name at least one, or leave the key out to let in all",
            );
        }
        let mut entries = Vec::new();
        for written in allow.get_ref() {
            match Entry::parse(written.get_ref()) {
                Ok(entry) => entries.push(entry),
                Err(why) => self.fault(written, format!("allow has {:?}: {why}", written.get_ref())),
            }
        }
        entries
    }

    fn in_range(&mut self, key: &str, value: &Spanned<i64>, range: &RangeInclusive<i64>) -> Option<Duration> {
        if range.contains(value.get_ref()) {
            return Some(seconds(*value.get_ref()));
        }
        self.fault(
            value,
            format!(
                "{key} = {} is not between {} and {} (seconds)",
                value.get_ref(),
                range.start(),
                range.end()
            ),
        );
        None
    }

    pub(super) fn fault<T>(&mut self, at: &Spanned<T>, text: impl Into<String>) {
        self.errors.push(self.source.error(at, text));
    }
}
