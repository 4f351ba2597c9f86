//! The statements that this crate sends itself. The only module that builds SQL from text.

use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor};

use crate::server::Address;
use crate::{Error, SUPERUSER};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Sessions end some time after their client has closed them, and a template must be free of them.
const TEMPLATE_LIMIT: Duration = Duration::from_secs(10);
const TEMPLATE_PAUSE: Duration = Duration::from_millis(100);
const RELOAD_TRIES: u32 = 200;
const RELOAD_PAUSE: Duration = Duration::from_millis(25);

const OBJECT_IN_USE: &str = "55006";
const INVALID_PASSWORD: &str = "28P01";

/// The databases and roles of one server.
pub(crate) struct Databases<'a> {
    address: &'a Address,
}

impl<'a> Databases<'a> {
    pub(crate) fn of(address: &'a Address) -> Self {
        Databases { address }
    }

    pub(crate) async fn create(&self, name: &str, template: &str) -> Result<(), Error> {
        let statement = format!("create database {} template {}", identifier(name), identifier(template));
        let doing = format!("create database {name} from {template}");
        let mut connection = self.connect(&doing).await?;
        let deadline = Instant::now() + TEMPLATE_LIMIT;
        while let Err(error) = connection.execute(AssertSqlSafe(statement.clone())).await {
            if !has_code(&error, OBJECT_IN_USE) || Instant::now() >= deadline {
                return Err(self.failed(&doing)(error));
            }
            tokio::time::sleep(TEMPLATE_PAUSE).await;
        }
        connection.close().await.map_err(self.failed(&doing))
    }

    pub(crate) async fn drop(&self, name: &str) -> Result<(), Error> {
        let doing = format!("drop database {name}");
        let mut connection = self.connect(&doing).await?;
        let statement = format!("drop database if exists {} with (force)", identifier(name));
        connection.execute(AssertSqlSafe(statement)).await.map_err(self.failed(&doing))?;
        connection.close().await.map_err(self.failed(&doing))
    }

    /// Whether a session can be had; used to wait for servers that cannot be looked into.
    pub(crate) async fn answers(&self) -> Result<(), sqlx::Error> {
        let mut connection = open(self.address.connect_options("postgres")).await?;
        connection.execute("select 1").await?;
        connection.close().await
    }

    /// Gives the superuser a password and refuses everyone who has none. Works on any server that lets its
    /// superuser write files, in a container as well.
    pub(crate) async fn require_password(&self, password: &str) -> Result<(), Error> {
        let doing = "set the superuser's password";
        let mut connection = self.connect(doing).await?;
        let rule = "host all all all scram-sha-256";
        let file: String = sqlx::query_scalar("select setting from pg_settings where name = 'hba_file'")
            .fetch_one(&mut connection)
            .await
            .map_err(self.failed(doing))?;
        for statement in [
            format!("alter role {} password {}", identifier(SUPERUSER), literal(password)),
            format!("copy (values ({})) to {}", literal(rule), literal(&file)),
            "select pg_reload_conf()".to_owned(),
        ] {
            connection.execute(AssertSqlSafe(statement)).await.map_err(self.failed(doing))?;
        }
        connection.close().await.map_err(self.failed(doing))?;
        self.until_refused(&format!("{password} and not this")).await
    }

    /// Writes settings on top of those the server was started with; all of them must be reloadable.
    pub(crate) async fn alter_system(&self, settings: &[(&str, &str)]) -> Result<(), Error> {
        let doing = "alter settings";
        let mut connection = self.connect(doing).await?;
        for (name, value) in settings {
            let statement = format!("alter system set {} = {}", identifier(name), literal(value));
            connection.execute(AssertSqlSafe(statement)).await.map_err(self.failed(doing))?;
        }
        connection.execute("select pg_reload_conf()").await.map_err(self.failed(doing))?;
        connection.close().await.map_err(self.failed(doing))
    }

    /// One value of text, as superuser.
    pub(crate) async fn ask(&self, question: &'static str) -> Result<String, Error> {
        let mut connection = self.connect(question).await?;
        let answer = sqlx::query_scalar(question).fetch_one(&mut connection).await;
        let answer = answer.map_err(self.failed(question))?;
        connection.close().await.map_err(self.failed(question))?;
        Ok(answer)
    }

    /// A reload takes effect some time after it was asked for.
    async fn until_refused(&self, wrong_password: &str) -> Result<(), Error> {
        for _ in 0..RELOAD_TRIES {
            let options = self.address.connect_options("postgres").password(wrong_password);
            match open(options).await {
                Err(error) if has_code(&error, INVALID_PASSWORD) => return Ok(()),
                Err(error) => return Err(self.failed("see that passwords are asked for")(error)),
                Ok(connection) => {
                    connection.close().await.map_err(self.failed("close a session"))?;
                    tokio::time::sleep(RELOAD_PAUSE).await;
                }
            }
        }
        Err(self.failed("see that passwords are asked for")(sqlx::Error::PoolTimedOut))
    }

    async fn connect(&self, doing: &str) -> Result<PgConnection, Error> {
        open(self.address.connect_options("postgres")).await.map_err(self.failed(doing))
    }

    fn failed(&self, doing: &str) -> impl FnOnce(sqlx::Error) -> Error + use<> {
        let (server, doing) = (self.address.to_string(), doing.to_owned());
        move |source| Error::Sql { server, doing, source }
    }
}

async fn open(options: PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let connecting = tokio::time::timeout(CONNECT_LIMIT, options.connect());
    connecting.await.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
