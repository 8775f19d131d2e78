//! What the person wrote: settings, parsed and validated. What is not supported is refused, never ignored:
//! a key that silently does nothing would be a lie about safety.

mod error;
mod file;
mod reader;
mod report;
mod server_url;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use imd_core::account::{AppKey, DeviceClass, InstallationId};
use imd_core::io::{Config, LoginPolicy, ServerDirectory};
use imd_core::server::Server;

pub use error::{ConfigError, ConfigErrors};
use file::{AppFile, MainFile, Source};
use reader::Reader;
pub use server_url::Plaintext;
pub(crate) use server_url::parse as parse_server;

use crate::access::AllowList;
use crate::nav::Directory;
use crate::paths::ConfigPath;
use crate::transport::{Environment, Proxy, TlsFiles, Transports};

const DEFAULT_KEEP_ALIVE: i64 = 30;
const DEFAULT_SESSION_EXPIRY: i64 = 7 * 24 * 60 * 60;

/// The files settings come from.
#[derive(Clone, Debug)]
pub struct Sources {
    pub config: ConfigPath,
    /// Directories of `*.toml` files, each with one app's server. Later ones win.
    pub app_directories: Vec<PathBuf>,
}

/// The servers of one App Key, or of those that have none of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerList {
    pub servers: Vec<Server>,
    /// How they are trusted.
    pub tls: TlsFiles,
    /// Where they are written.
    pub file: PathBuf,
}

/// All settings, legal.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The config file, whether it is there or not.
    pub config_file: PathBuf,
    pub config_found: bool,
    pub default_servers: Option<ServerList>,
    pub app_servers: BTreeMap<AppKey, ServerList>,
    /// What leads to every server; `None`: what the environment says.
    pub proxy: Option<Proxy>,
    pub keep_alive: Duration,
    pub session_expiry: Duration,
    pub device_class: DeviceClass,
    pub login: LoginPolicy,
    /// Whether the session outlives the daemon.
    pub remember: bool,
    /// Whether a server elsewhere may be reached without encryption.
    pub plaintext: bool,
    /// The apps that may use the daemon; `None`: all of the user's.
    pub allow: Option<AllowList>,
}

impl Settings {
    /// Reads all files. Of a file that cannot be parsed the first fault is told; of the others all.
    ///
    /// # Errors
    /// Every fault, with file and line.
    pub fn load(sources: &Sources) -> Result<Self, ConfigErrors> {
        let mut errors = Vec::new();
        let settings = read_main(&sources.config, &mut errors);
        let plaintext = settings.plaintext;
        let mut settings = settings.settings;
        for directory in &sources.app_directories {
            for file in toml_files(directory, &mut errors) {
                if let Some((app_key, list)) = read_app(&file, plaintext, &mut errors) {
                    settings.app_servers.insert(app_key, list);
                }
            }
        }
        if errors.is_empty() {
            Ok(settings)
        } else {
            Err(ConfigErrors(errors))
        }
    }

    /// The core's share of the settings.
    #[must_use]
    pub fn core_config(&self, installation: InstallationId, seed: u64) -> Config {
        let default = self.default_servers.as_ref();
        Config {
            servers: ServerDirectory {
                default: default.map(|list| list.servers.clone()).unwrap_or_default(),
                by_app: self
                    .app_servers
                    .iter()
                    .map(|(app_key, list)| (app_key.clone(), list.servers.clone()))
                    .collect(),
                missing: self.missing(),
                plaintext: self.plaintext,
            },
            device_class: self.device_class.clone(),
            login: self.login,
            installation,
            keep_alive: self.keep_alive,
            session_expiry: self.session_expiry,
            seed,
        }
    }

    /// The ways to the servers. `variable` reads the environment.
    #[must_use]
    pub fn transports(&self, variable: impl Fn(&str) -> Option<String>) -> Transports {
        let default = self.default_servers.as_ref();
        let by_app = self.app_servers.iter();
        Transports::new(
            default.map(|list| list.tls.clone()).unwrap_or_default(),
            by_app.map(|(app_key, list)| (app_key.clone(), list.tls.clone())),
            self.proxy.clone(),
            Environment::read(variable),
        )
    }

    /// The ways to the servers, and the navs that name them. `state_directory`: where what navs say is kept, if
    /// anything may outlive the daemon.
    #[must_use]
    pub fn directory(&self, transports: Arc<Transports>, state_directory: Option<&Path>) -> Directory {
        let plaintext = if self.plaintext {
            Plaintext::Anywhere
        } else {
            Plaintext::LoopbackOnly
        };
        let file = state_directory.filter(|_| self.remember);
        Directory::new(
            transports,
            file.map(|directory| directory.join(NAV_FILE)),
            plaintext,
        )
    }

    /// What to do where no server is configured.
    fn missing(&self) -> String {
        let file = self.config_file.display();
        if self.config_found {
            format!("add this line under [server] in {file} and start imd again: urls = {EXAMPLE}")
        } else {
            format!("write this line into {file} and start imd again: server.urls = {EXAMPLE}")
        }
    }
}

/// What navs have said, beside the remembered session.
const NAV_FILE: &str = "nav.json";

const EXAMPLE: &str = "[\"mqtt://localhost:1883\"]";

struct MainSettings {
    settings: Settings,
    plaintext: Plaintext,
}

fn read_main(config: &ConfigPath, errors: &mut Vec<ConfigError>) -> MainSettings {
    let path = config.file();
    let mut found = MainSettings {
        settings: Settings {
            config_file: path.to_owned(),
            config_found: false,
            default_servers: None,
            app_servers: BTreeMap::new(),
            proxy: None,
            keep_alive: seconds(DEFAULT_KEEP_ALIVE),
            session_expiry: seconds(DEFAULT_SESSION_EXPIRY),
            device_class: DeviceClass::default(),
            login: LoginPolicy::default(),
            remember: true,
            plaintext: false,
            allow: None,
        },
        plaintext: Plaintext::LoopbackOnly,
    };
    let source = match (Source::read(path), config) {
        (Ok(Some(source)), _) => source,
        (Ok(None), ConfigPath::Usual(_)) => return found,
        (Ok(None), ConfigPath::Named(_)) => {
            errors.push(ConfigError::new(path, None, "there is no such file"));
            return found;
        }
        (Err(error), _) => {
            errors.push(error);
            return found;
        }
    };
    found.settings.config_found = true;
    let file: MainFile = match source.parse() {
        Ok(file) => file,
        Err(error) => {
            errors.push(error);
            return found;
        }
    };
    let MainFile {
        server,
        proxy,
        link,
        apps,
    } = file;
    found.settings.plaintext = server.plaintext;
    if server.plaintext {
        found.plaintext = Plaintext::Anywhere;
    }
    let mut reader = Reader {
        source: &source,
        plaintext: found.plaintext,
        errors,
    };
    let tls = reader.tls(&server);
    found.settings.default_servers =
        reader
            .servers(server.urls.as_ref(), server.nav.as_ref())
            .map(|servers| ServerList {
                servers,
                tls,
                file: path.to_owned(),
            });
    found.settings.proxy = reader.proxy(&proxy);
    reader.link(&link, &mut found.settings);
    let entries = reader.apps(&apps);
    found.settings.allow = (!entries.is_empty()).then(|| AllowList {
        entries,
        file: path.to_owned(),
    });
    found
}

fn read_app(
    path: &Path,
    plaintext: Plaintext,
    errors: &mut Vec<ConfigError>,
) -> Option<(AppKey, ServerList)> {
    let read = Source::read(path).and_then(|source| match source {
        Some(source) => Ok(Some((source.parse::<AppFile>()?, source))),
        // It went between the listing and the reading.
        None => Ok(None),
    });
    let (file, source) = read.map_err(|error| errors.push(error)).ok()??;
    let app_key = AppKey::parse(file.app_key.get_ref())
        .map_err(|invalid| errors.push(source.error(&file.app_key, invalid.text)))
        .ok()?;
    let mut reader = Reader {
        source: &source,
        plaintext,
        errors,
    };
    let ca_file = reader.ca_file(file.ca_file.as_ref());
    let servers = reader.servers(file.urls.as_ref(), file.nav.as_ref());
    if servers.is_none() && file.nav.is_none() {
        reader.fault(&file.app_key, "there are neither urls nor nav for this App Key");
    }
    let list = ServerList {
        servers: servers?,
        tls: TlsFiles {
            ca_file,
            ..TlsFiles::default()
        },
        file: path.to_owned(),
    };
    Some((app_key, list))
}

/// The `*.toml` files of a directory by name; a directory that is not there has none.
fn toml_files(directory: &Path, errors: &mut Vec<ConfigError>) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(directory).and_then(|entries| {
        entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<_>>>()
    });
    match listed {
        Ok(mut files) => {
            files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
            files.sort();
            files
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            errors.push(ConfigError::new(
                directory,
                None,
                format!("cannot be read: {error}"),
            ));
            Vec::new()
        }
    }
}

fn seconds(count: i64) -> Duration {
    Duration::from_secs(count.unsigned_abs())
}

#[cfg(test)]
mod tests;
