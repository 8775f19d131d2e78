//! The settings for people: what `imd --check-config` prints.

use std::fmt;

use imd_core::io::LoginPolicy;

use super::{ServerList, Settings};
use crate::transport::TlsFiles;

impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = if self.config_found { "" } else { " (there is none)" };
        writeln!(f, "config file     {}{found}", self.config_file.display())?;
        match &self.default_servers {
            Some(list) => servers(f, "any other app", list)?,
            None if self.app_servers.is_empty() => {
                writeln!(f, "servers         none: {}", self.missing())?;
            }
            None => writeln!(f, "servers         none for any other app")?,
        }
        for (app_key, list) in &self.app_servers {
            servers(f, &format!("App Key {app_key}"), list)?;
        }
        match &self.proxy {
            None => writeln!(f, "proxy           what the environment says")?,
            Some(proxy) => writeln!(f, "proxy           {proxy}")?,
        }
        writeln!(f, "keep_alive      {} s", self.keep_alive.as_secs())?;
        writeln!(f, "session_expiry  {} s", self.session_expiry.as_secs())?;
        writeln!(f, "device_class    {}", self.device_class)?;
        let login = match self.login {
            LoginPolicy::One => "one",
            LoginPolicy::Many => "many",
        };
        writeln!(f, "login           {login}")?;
        writeln!(f, "remember        {}", self.remember)?;
        match &self.allow {
            None => write!(f, "allowed apps    all of this user's"),
            Some(list) => {
                let shown: Vec<_> = list.entries.iter().map(ToString::to_string).collect();
                write!(f, "allowed apps    {}", shown.join(", "))
            }
        }
    }
}

fn servers(f: &mut fmt::Formatter<'_>, of: &str, list: &ServerList) -> fmt::Result {
    let shown: Vec<_> = list.servers.iter().map(ToString::to_string).collect();
    writeln!(
        f,
        "servers         {of}: {} (from {})",
        shown.join(", "),
        list.file.display()
    )?;
    let TlsFiles {
        ca_file,
        client,
        alpn,
    } = &list.tls;
    if let Some(path) = ca_file {
        writeln!(f, "                trusted by {} alone", path.display())?;
    }
    if let Some(client) = client {
        writeln!(f, "                shown {}", client.certificate.display())?;
    }
    if let Some(alpn) = alpn {
        writeln!(f, "                offered {alpn:?} by ALPN")?;
    }
    Ok(())
}
