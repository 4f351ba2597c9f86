//! Where a database is and how it is reached.

use std::fmt;
use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// How strictly the server's certificate is checked.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// `verify-full` for every host that is not loopback, no TLS for loopback.
    #[default]
    Auto,
    /// Never use TLS.
    Disable,
    /// Use TLS, check no certificate.
    Require,
    /// Check the certificate's chain.
    VerifyCa,
    /// Check the certificate's chain and the host's name.
    VerifyFull,
}

/// One database and the credential that opens it. `Debug` and `Display` never show the password.
#[derive(Clone)]
pub struct Endpoint {
    /// What the database is to the reader of an error: `primary Hub`, `secondary Edge`, `source of Flights`.
    pub role: String,
    /// Host name, address, or directory of a Unix socket.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Role to log in as.
    pub user: String,
    /// Its password.
    pub password: SecretString,
    /// How TLS is used.
    pub tls: TlsMode,
    /// Root certificates for `verify-*`, instead of the usual public ones.
    pub tls_root_cert: Option<PathBuf>,
}

impl Endpoint {
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .database(&self.database)
            .username(&self.user)
            .password(self.password.expose_secret())
            .ssl_mode(self.ssl_mode());
        match &self.tls_root_cert {
            Some(path) => options.ssl_root_cert(path),
            None => options,
        }
    }

    /// Whether the same login to the same database is meant, whatever its role.
    pub(crate) fn is_same_login(&self, other: &Endpoint) -> bool {
        let place = |endpoint: &'_ Endpoint| {
            (endpoint.host.clone(), endpoint.port, endpoint.database.clone(), endpoint.user.clone())
        };
        let checked = |endpoint: &Endpoint| (endpoint.tls, endpoint.tls_root_cert.clone());
        place(self) == place(other)
            && checked(self) == checked(other)
            && self.password.expose_secret() == other.password.expose_secret()
    }

    /// Whether connections are encrypted: no mode leaves that to the server.
    pub(crate) fn uses_tls(&self) -> bool {
        !matches!(self.ssl_mode(), PgSslMode::Disable)
    }

    fn ssl_mode(&self) -> PgSslMode {
        match self.tls {
            TlsMode::Disable => PgSslMode::Disable,
            TlsMode::Auto if self.is_loopback() => PgSslMode::Disable,
            TlsMode::Auto | TlsMode::VerifyFull => PgSslMode::VerifyFull,
            TlsMode::VerifyCa => PgSslMode::VerifyCa,
            TlsMode::Require => PgSslMode::Require,
        }
    }

    fn is_loopback(&self) -> bool {
        self.host.starts_with('/')
            || self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}:{}/{})", self.role, self.host, self.port, self.database)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self} as {})", self.user)
    }
}
