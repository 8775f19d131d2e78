//! Values become settings, and what is wrong with them is collected.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use imd_core::account::DeviceClass;
use imd_core::io::LoginPolicy;
use imd_core::server::{Server, Transport};
use toml::Spanned;

use super::error::ConfigError;
use super::file::{AppsTable, LinkTable, Login, ProxyTable, Source};
use super::server_url::{self, Plaintext, without_user_info};
use super::{Settings, seconds};
use crate::access::Entry;

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
        ca_file: Option<&Spanned<String>>,
    ) -> Option<Vec<Server>> {
        if let Some(nav) = nav {
            let text = nav.get_ref();
            match url::Url::parse(text) {
                Ok(url) if url.scheme() == "https" => self.unsupported(nav, "nav"),
                Ok(_) | Err(_) => {
                    let shown = without_user_info(text);
                    self.fault(nav, format!("nav {shown:?} is not an https:// URL"));
                }
            }
            if urls.is_some() {
                self.fault(nav, "there are both urls and nav: write one of them");
            }
        }
        if let Some(ca_file) = ca_file {
            if Path::new(ca_file.get_ref()).is_absolute() {
                self.unsupported(ca_file, "ca_file");
            } else {
                self.fault(
                    ca_file,
                    format!("ca_file {:?} is not an absolute path", ca_file.get_ref()),
                );
            }
        }
        let urls = urls?;
        if urls.get_ref().is_empty() {
            self.fault(urls, "urls is empty: write at least one, or leave the key out");
        }
        Some(urls.get_ref().iter().filter_map(|url| self.server(url)).collect())
    }

    fn server(&mut self, url: &Spanned<String>) -> Option<Server> {
        match server_url::parse(url.get_ref(), self.plaintext) {
            Ok(server) if server.transport == Transport::Tcp => Some(server),
            Ok(server) => {
                let what = format!("{server}: {}://", server.transport.scheme());
                self.unsupported(url, &what);
                None
            }
            Err(text) => {
                self.fault(url, text);
                None
            }
        }
    }

    pub(super) fn proxy(&mut self, proxy: &ProxyTable) {
        let Some(url) = &proxy.url else { return };
        let legal = url::Url::parse(url.get_ref())
            .is_ok_and(|url| matches!(url.scheme(), "socks5" | "http") && url.host().is_some());
        if legal {
            self.unsupported(url, "[proxy] url");
        } else {
            let shown = without_user_info(url.get_ref());
            self.fault(
                url,
                format!("the proxy {shown:?} is not a socks5:// or http:// URL"),
            );
        }
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

    /// Better an error than an insecure silence.
    fn unsupported<T>(&mut self, at: &Spanned<T>, what: &str) {
        self.fault(
            at,
            format!(
                "{what} is not supported by this version of imd ({})",
                env!("CARGO_PKG_VERSION")
            ),
        );
    }

    pub(super) fn fault<T>(&mut self, at: &Spanned<T>, text: impl Into<String>) {
        self.errors.push(self.source.error(at, text));
    }
}
