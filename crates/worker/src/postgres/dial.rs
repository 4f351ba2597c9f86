//! How a connection is made, and what is said when it is not.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::{Connection, PgConnection};

use super::settings::Settings;
use super::wire::{Bypass, Checks, Startup, Tls, Wire};
use super::{Endpoint, Password};
use crate::config::Login;
use crate::error::{Error, Result, sqlstate};

/// How long a role may stay behind the file of a password that is changed, or the file behind the role. A guess: somebody runs
/// two commands.
const ROTATION: Duration = Duration::from_millis(500);

/// A connection that was made.
pub(super) struct Dialed {
    pub(super) connection: PgConnection,
    pub(super) bypass: Option<Bypass>,
}

/// What a connection is made for.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) endpoint: &'a Endpoint,
    /// Shown in `pg_stat_activity`.
    pub(super) name: &'a str,
    /// Asked for at start-up.
    pub(super) settings: Option<&'a Settings>,
    pub(super) patience: Duration,
}

impl Call<'_> {
    /// Connects. A login that is refused is looked up once more: it may just have been changed. Where it has not, the server
    /// may be about to: it is tried once more, a little later.
    ///
    /// # Errors
    /// `Unreachable`, `Refused`, `Tls`, `Pooler`, and `Setup` for what no other try would mend.
    pub(super) async fn dial(self) -> Result<Dialed> {
        let login = self.endpoint.login()?;
        match self.dial_as(&login).await {
            Err(refused @ Error::Refused { .. }) => {
                let now = self.endpoint.login()?;
                if !now.is_same(&login) {
                    return self.dial_as(&now).await;
                }
                if let Password::Given(_) = self.endpoint.password {
                    return Err(refused);
                }
                tokio::time::sleep(ROTATION).await;
                self.dial_as(&self.endpoint.login()?).await
            }
            dialed => dialed,
        }
    }

    async fn dial_as(self, login: &Login) -> Result<Dialed> {
        let checks = self.endpoint.checks();
        let roots = self.endpoint.tls_root_cert.as_deref();
        let tls = checks.map(|checks| Tls::new(&self.endpoint.host, checks, roots)).transpose()?;
        let began = Instant::now();
        let connected = match tokio::time::timeout(self.patience, self.connect(login, tls.as_ref())).await {
            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
            Ok(connected) => connected?,
        };
        connected.map_err(|error| self.failed(login, began, error))
    }

    /// Connects over a wire of our own, or lets the driver do it where there can be none.
    async fn connect(self, login: &Login, tls: Option<&Tls>) -> Result<Result<Dialed, sqlx::Error>> {
        let Endpoint { host, port, database, .. } = self.endpoint;
        let startup = Startup {
            user: login.user.clone(),
            database: database.clone(),
            application_name: self.name.to_owned(),
            settings: self.settings.cloned(),
        };
        let options = PgConnectOptions::new_without_pgpass()
            .host(host)
            .port(*port)
            .database(database)
            .username(&login.user)
            .password(login.password.expose_secret());
        let wire = match Wire::connect(host, *port, tls, startup).await {
            Ok(wire) => wire,
            Err(error) => return Ok(Err(sqlx::Error::Io(error))),
        };
        let options = match &wire {
            Some(wire) => options.socket(wire.directory()).ssl_mode(PgSslMode::Disable),
            None => self.for_the_driver(options)?,
        };
        let connected = PgConnection::connect_with(&options).await;
        Ok(connected.map(|connection| Dialed { connection, bypass: wire.and_then(Wire::bypass) }))
    }

    /// What the driver needs to connect by itself.
    ///
    /// # Errors
    /// `Setup` where the environment would tell it more.
    fn for_the_driver(self, options: PgConnectOptions) -> Result<PgConnectOptions> {
        if options.get_options().is_some() {
            return Err(Error::setup(
                "PGOPTIONS is set, and would change the sessions of the worker",
                "unset PGOPTIONS, or give the worker a directory for temporary files that it may write to (TMPDIR)",
            ));
        }
        let mode = match self.endpoint.checks() {
            None => PgSslMode::Disable,
            Some(Checks::Nothing) => PgSslMode::Require,
            Some(Checks::Chain) => PgSslMode::VerifyCa,
            Some(Checks::ChainAndName) => PgSslMode::VerifyFull,
        };
        let mut options = options.application_name(self.name).ssl_mode(mode);
        if let Some(roots) = &self.endpoint.tls_root_cert {
            options = options.ssl_root_cert(roots);
        }
        Ok(match self.settings {
            Some(settings) => options.options(settings.iter().map(|(name, value)| (name, value))),
            None => options,
        })
    }

    fn failed(self, login: &Login, began: Instant, error: sqlx::Error) -> Error {
        let endpoint = self.endpoint.to_string();
        match &error {
            sqlx::Error::Tls(source) => Error::Tls { endpoint, message: source.to_string() },
            sqlx::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidData => {
                Error::Tls { endpoint, message: source.to_string() }
            }
            sqlx::Error::Io(source) if source.kind() == std::io::ErrorKind::InvalidInput => Error::setup(
                format!("{endpoint} cannot be connected to: {source}"),
                "correct host, port, database and user",
            ),
            sqlx::Error::Database(source) => match sqlstate(&error).as_deref() {
                Some(code) if code.starts_with("28") || code == "3D000" => {
                    Error::Refused { endpoint, user: login.user.clone(), message: source.message().into() }
                }
                Some("42501") => Error::unconnectable(self.endpoint),
                _ if source.message().contains("startup parameter") => {
                    Error::Pooler { endpoint, seen: source.message().into() }
                }
                _ => Error::statement(&endpoint, "connecting", error),
            },
            _ => Error::Unreachable {
                endpoint,
                waited_ms: began.elapsed().as_millis(),
                source: Box::new(error),
            },
        }
    }
}
