use std::sync::{Arc, Mutex, PoisonError};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::container::ContainerServer;
use crate::databases::Databases;
use crate::local::LocalServer;
use crate::{Backend, Error, SUPERUSER, ServerOptions};

/// A running Postgres server, gone with its data when it is dropped.
///
/// All methods take `&self`, so that a server can be shared and killed while others use it; those that change its
/// state take turns. A future of theirs that is dropped half-way does not leave a local server half-way: the
/// operation is finished on a thread of its own. Dropping the server blocks for some milliseconds.
#[derive(Debug)]
pub struct Server {
    engine: Engine,
    address: Address,
}

/// Where a server is and how to log in; fixed for its life.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) password: Option<String>,
    pub(crate) tls: bool,
}

#[derive(Debug)]
enum Engine {
    Local(Arc<Mutex<LocalServer>>),
    Container(Box<ContainerServer>),
}

impl Server {
    /// Starts a server and waits, up to a minute, until it accepts connections.
    ///
    /// # Errors
    /// [`Error::Start`] with the end of the server's log, or what kept it from being tried.
    pub async fn start(backend: &Backend, options: ServerOptions) -> Result<Server, Error> {
        let settings = options.effective_settings()?;
        let mut address = Address {
            name: options.name.clone(),
            host: "127.0.0.1".to_owned(),
            port: 0,
            password: None,
            tls: options.tls.is_some(),
        };
        let engine = match backend {
            Backend::Local(binaries) => {
                let (binaries, options) = (binaries.clone(), options.clone());
                let local =
                    blocking("start a server", move || LocalServer::start(&binaries, &options, &settings));
                let local = local.await?;
                address.port = local.port();
                Engine::Local(Arc::new(Mutex::new(local)))
            }
            Backend::Container(image) => {
                let container = Box::pin(ContainerServer::start(image, &options, &settings)).await?;
                address.host = container.host().to_owned();
                address.port = container.port();
                Engine::Container(Box::new(container))
            }
        };
        let mut server = Server { engine, address };
        if let Some(password) = options.password {
            server.databases().require_password(&password).await?;
            server.address.password = Some(password);
        }
        tracing::info!(server = %server.address, %backend, "Postgres server is ready");
        Ok(server)
    }

    /// Starts a hot standby of this server: a server of its own that begins as a copy and streams what is written
    /// from then on. It stays behind for as long as `recovery_min_apply_delay` among its settings says, or while
    /// `pg_wal_replay_pause()` holds it. Password and certificate are this server's.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::BaseBackup`], [`Error::Start`]; [`Error::NoStandby`] for a container.
    pub async fn standby(&self, options: ServerOptions) -> Result<Server, Error> {
        let settings = options.effective_settings()?;
        let Engine::Local(local) = &self.engine else {
            return Err(Error::NoStandby { server: self.address.to_string() });
        };
        let (name, password) = (options.name.clone(), self.address.password.clone());
        let standby = on_local(local, "start a standby", move |local| {
            local.standby(&options, &settings, password.as_deref())
        });
        let standby = standby.await?;
        let address = Address { name, port: standby.port(), ..self.address.clone() };
        tracing::info!(server = %address, of = %self.address, "Postgres standby is ready");
        Ok(Server { engine: Engine::Local(Arc::new(Mutex::new(standby))), address })
    }

    /// Stops it in order (a fast shutdown: sessions are ended, a checkpoint is written). Stopping a server that is
    /// down is nothing.
    ///
    /// # Errors
    /// [`Error::Unresponsive`] when it takes longer than 30 seconds.
    pub async fn stop(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Local(local) => on_local(local, "stop a server", LocalServer::stop).await,
            Engine::Container(container) => container.stop().await,
        }
    }

    /// Stops it without a checkpoint (an immediate shutdown): the next start recovers from the log.
    ///
    /// # Errors
    /// [`Error::Unresponsive`] when it takes longer than 30 seconds.
    pub async fn stop_immediate(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Local(local) => on_local(local, "stop a server", LocalServer::stop_immediate).await,
            Engine::Container(container) => container.stop_immediate().await,
        }
    }

    /// Kills every process of it with SIGKILL, paused ones too. Killing a server that is down is nothing.
    ///
    /// # Errors
    /// [`Error::Unresponsive`] when a process of it remains.
    pub async fn kill(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Local(local) => on_local(local, "kill a server", LocalServer::kill).await,
            Engine::Container(container) => container.kill().await,
        }
    }

    /// Starts it again on the same port with the same data, after stopping it if it runs.
    ///
    /// # Errors
    /// As [`Server::start`] and [`Server::stop`].
    pub async fn restart(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Local(local) => on_local(local, "restart a server", LocalServer::restart).await,
            Engine::Container(container) => container.restart().await,
        }
    }

    /// Halts every process of it where it stands; clients wait, they are not refused. The end of a pause is
    /// [`Server::resume`], or any of the stops, the kill and the restart.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it is down.
    pub async fn pause(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Local(local) => on_local(local, "pause a server", LocalServer::pause).await,
            Engine::Container(container) => container.pause().await,
        }
    }

    /// Lets a paused server go on. A server that is not paused is left alone.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when it is down.
    pub async fn resume(&self) -> Result<(), Error> {
        match &self.engine {
            Engine::Local(local) => on_local(local, "resume a server", LocalServer::resume).await,
            Engine::Container(container) => container.resume().await,
        }
    }

    /// Whether its main process lives; a paused server is running.
    ///
    /// # Errors
    /// When the system or Docker will not say.
    pub async fn is_running(&self) -> Result<bool, Error> {
        match &self.engine {
            Engine::Local(local) => on_local(local, "look at a server", LocalServer::is_running).await,
            Engine::Container(container) => container.is_running().await,
        }
    }

    /// The last 40 lines of its log, for a failed test to show.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn log_tail(&self) -> Result<String, Error> {
        match &self.engine {
            Engine::Local(local) => on_local(local, "read a log", |local| Ok(local.log_tail())).await,
            Engine::Container(container) => Ok(container.log_tail().await),
        }
    }

    /// The name it was given, for logs and errors.
    pub fn name(&self) -> &str {
        &self.address.name
    }

    /// The host it listens on.
    pub fn host(&self) -> &str {
        &self.address.host
    }

    /// The TCP port it listens on, the same over restarts.
    pub fn port(&self) -> u16 {
        self.address.port
    }

    /// The name of its superuser.
    pub fn superuser(&self) -> &str {
        SUPERUSER
    }

    /// The superuser's password, if one was asked for.
    pub fn password(&self) -> Option<&str> {
        self.address.password.as_deref()
    }

    /// How to connect to a database of it as superuser. Nothing is taken from `PG*` variables but what is not
    /// named here; TLS is preferred when the server has a certificate, and off otherwise.
    pub fn connect_options(&self, database: &str) -> PgConnectOptions {
        self.address.connect_options(database)
    }

    /// A connection string for a database of it, as superuser, with the password if there is one.
    pub fn url(&self, database: &str) -> String {
        let password = self.password().map(|password| format!(":{}", percent_encoded(password)));
        format!(
            "postgres://{SUPERUSER}{}@{}:{}/{}",
            password.unwrap_or_default(),
            self.host(),
            self.port(),
            percent_encoded(database)
        )
    }

    /// Creates an empty database.
    ///
    /// # Errors
    /// [`Error::Sql`], for one if it exists.
    pub async fn create_database(&self, name: &str) -> Result<(), Error> {
        self.databases().create(name, "template1").await
    }

    /// Creates a database that begins as a copy of `template`, which nobody may be connected to; sessions that are
    /// just ending are waited for, up to 10 seconds.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn create_database_from_template(&self, name: &str, template: &str) -> Result<(), Error> {
        self.databases().create(name, template).await
    }

    /// Drops a database and ends the sessions in it. A database that does not exist is nothing.
    ///
    /// # Errors
    /// [`Error::Sql`].
    pub async fn drop_database(&self, name: &str) -> Result<(), Error> {
        self.databases().drop(name).await
    }

    fn databases(&self) -> Databases<'_> {
        Databases::of(&self.address)
    }
}

impl Address {
    pub(crate) fn connect_options(&self, database: &str) -> PgConnectOptions {
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(SUPERUSER)
            .database(database)
            .ssl_mode(if self.tls { PgSslMode::Prefer } else { PgSslMode::Disable });
        match &self.password {
            Some(password) => options.password(password),
            None => options,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at {}:{}", self.name, self.host, self.port)
    }
}

/// Everything but the characters that stand for themselves in any part of a URL.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Process control is made of short waits; it runs where blocking is allowed and goes on when the caller is gone.
async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|failure| Err(Error::Task { doing, reason: failure.to_string() }))
}

async fn on_local<T: Send + 'static>(
    local: &Arc<Mutex<LocalServer>>,
    doing: &'static str,
    work: impl FnOnce(&mut LocalServer) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let local = Arc::clone(local);
    blocking(doing, move || work(&mut local.lock().unwrap_or_else(PoisonError::into_inner))).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_passwords_of_any_kind_fit_into_a_connection_string() {
        assert_eq!(percent_encoded("merge_1"), "merge_1");
        assert_eq!(percent_encoded("a b/ü@:"), "a%20b%2F%C3%BC%40%3A");
    }
}
