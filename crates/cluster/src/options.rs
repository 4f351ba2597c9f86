use std::fmt;

use crate::Error;

/// How one server is to be.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// What the server is called in logs and errors. Default `postgres`.
    pub name: String,
    /// Settings as in `postgresql.conf`, in addition to the defaults and stronger than they.
    /// `synchronous_commit = off` and settings that would move the server are refused.
    pub settings: Vec<(String, String)>,
    /// `true`: `fsync` is on and the data lies on disk, for benches. Default `false`: `fsync` is off and the
    /// data lies in shared memory when it has room.
    pub durable: bool,
    /// The superuser's password. With one, every role must log in by password (SCRAM). Default none: loopback
    /// connections are trusted.
    pub password: Option<String>,
    /// A certificate and its key. With them the server accepts TLS beside plain connections.
    pub tls: Option<Tls>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        ServerOptions {
            name: "postgres".to_owned(),
            settings: Vec::new(),
            durable: false,
            password: None,
            tls: None,
        }
    }
}

impl ServerOptions {
    /// The defaults, with a name.
    pub fn named(name: impl Into<String>) -> Self {
        ServerOptions { name: name.into(), ..ServerOptions::default() }
    }

    /// Adds one setting.
    #[must_use]
    pub fn with_setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// The defaults that every backend shares, followed by the caller's settings; the last of a name counts.
    ///
    /// # Errors
    /// [`Error::RefusedSetting`] for a setting that would break what disposable servers promise.
    pub(crate) fn effective_settings(&self) -> Result<Vec<(String, String)>, Error> {
        for (name, value) in &self.settings {
            check(name, value)?;
        }
        let fsync = if self.durable { "on" } else { "off" };
        let defaults = [
            ("fsync", fsync),
            // A process killed inside write() can leave half a page, so page images stay on even without fsync.
            ("full_page_writes", "on"),
            ("synchronous_commit", "on"),
            // initdb derives 64 MB from the small segments it is given, which would checkpoint all the time.
            ("max_wal_size", "1GB"),
            ("timezone", "UTC"),
            ("log_timezone", "UTC"),
            ("log_line_prefix", "%m [%p] %a "),
        ];
        let defaults = defaults.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(defaults.chain(self.settings.iter().cloned()).collect())
    }
}

/// A server certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Tls {
    /// The certificate, followed by intermediate ones if there are any.
    pub certificate_pem: String,
    /// The private key, without a passphrase.
    pub key_pem: String,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Settings that say where the server is; [`crate::Server`] answers for these.
const OWNED: [&str; 8] = [
    "port",
    "listen_addresses",
    "data_directory",
    "unix_socket_directories",
    "hba_file",
    "config_file",
    "external_pid_file",
    "logging_collector",
];

fn check(name: &str, value: &str) -> Result<(), Error> {
    let refuse = |reason| Err(Error::RefusedSetting { setting: format!("{name} = {value}"), reason });
    let lower = name.to_ascii_lowercase();
    if lower.is_empty() || !lower.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.') {
        return refuse("a setting's name is made of letters, digits, `_` and `.`");
    }
    if value.contains(['\n', '\r', '\0']) {
        return refuse("a setting's value is a single line");
    }
    if OWNED.contains(&lower.as_str()) {
        return refuse(
            "the server's place is chosen here; ask `Server::host` and `Server::port` where it is",
        );
    }
    if lower == "synchronous_commit" && is_off(value) {
        return refuse(
            "a crash would lose commits that were acknowledged; `fsync = off`, the default, is as fast",
        );
    }
    Ok(())
}

/// Postgres takes any prefix of these words, in any case, for false.
fn is_off(value: &str) -> bool {
    let lower = value.trim().to_ascii_lowercase();
    let prefix_of = |word: &str, least: usize| lower.len() >= least && word.starts_with(&lower);
    lower == "0" || prefix_of("off", 2) || prefix_of("false", 1) || prefix_of("no", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(name: &str, value: &str) -> Option<String> {
        ServerOptions::default().with_setting(name, value).effective_settings().err().map(|e| e.to_string())
    }

    #[test]
    fn acknowledged_commits_cannot_be_given_up() {
        for off in ["off", "OFF", "of", "false", "f", "no", "0"] {
            assert!(
                refusal("Synchronous_Commit", off).is_some_and(|text| text.contains("acknowledged")),
                "{off}"
            );
        }
        assert_eq!(refusal("synchronous_commit", "remote_apply"), None);
        assert_eq!(refusal("synchronous_commit", "on"), None);
    }

    #[test]
    fn settings_that_would_move_the_server_or_break_its_file_are_refused() {
        assert!(refusal("port", "5432").is_some());
        assert!(refusal("work mem", "1MB").is_some());
        assert!(refusal("", "1").is_some());
        assert!(refusal("work_mem", "1MB\nport = 1").is_some());
        assert_eq!(refusal("pg_stat_statements.max", "100"), None);
    }

    #[test]
    fn durable_turns_fsync_on_and_a_callers_setting_comes_last() {
        let options = ServerOptions { durable: true, ..ServerOptions::default() };
        let settings = options.with_setting("max_wal_size", "2GB").effective_settings().unwrap();
        assert!(settings.contains(&("fsync".to_owned(), "on".to_owned())));
        assert_eq!(settings.last(), Some(&("max_wal_size".to_owned(), "2GB".to_owned())));
    }

    #[test]
    fn a_private_key_is_not_printed() {
        let tls = Tls { certificate_pem: "CERT".to_owned(), key_pem: "SECRET".to_owned() };
        assert!(!format!("{tls:?}").contains("SECRET"));
    }
}
