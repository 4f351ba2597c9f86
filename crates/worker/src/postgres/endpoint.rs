//! Where a database is and how it is reached.

use std::fmt;
use std::path::PathBuf;

use std::sync::Arc;

use secrecy::SecretString;

use super::wire::Checks;
use crate::config::Login;
use crate::error::Result;

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
    pub password: Password,
    /// How TLS is used.
    pub tls: TlsMode,
    /// Root certificates for `verify-*`, instead of the usual public ones.
    pub tls_root_cert: Option<PathBuf>,
}

/// The password of a role.
#[derive(Clone)]
pub enum Password {
    /// One that stays.
    Given(SecretString),
    /// One that may be changed while the worker runs: it is looked up at each connect, and the role with it.
    LookedUp(Arc<dyn Fn() -> Result<Login> + Send + Sync>),
}

impl From<String> for Password {
    fn from(password: String) -> Password {
        Password::Given(password.into())
    }
}

impl Endpoint {
    /// The role and the password as they are now.
    ///
    /// # Errors
    /// `Setup` when they are not to be had any more.
    pub(super) fn login(&self) -> Result<Login> {
        match &self.password {
            Password::Given(password) => Ok(Login { user: self.user.clone(), password: password.clone() }),
            Password::LookedUp(look) => look(),
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
            && matches!((self.login(), other.login()), (Ok(login), Ok(others)) if login.is_same(&others))
    }

    /// How much of the server's certificate is checked; `None` for no TLS. No mode leaves that to the server.
    pub(super) fn checks(&self) -> Option<Checks> {
        match self.tls {
            TlsMode::Disable => None,
            _ if self.host.starts_with('/') => None,
            TlsMode::Auto if self.is_loopback() => None,
            TlsMode::Auto | TlsMode::VerifyFull => Some(Checks::ChainAndName),
            TlsMode::VerifyCa => Some(Checks::Chain),
            TlsMode::Require => Some(Checks::Nothing),
        }
    }

    fn is_loopback(&self) -> bool {
        self.host == "localhost"
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
