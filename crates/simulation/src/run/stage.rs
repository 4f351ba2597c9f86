//! Where histories are played: servers that many share, or servers of one's own, each platform behind a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use milestream_cluster::{Backend, Server, ServerOptions};
use milestream_worker::{Endpoint, TlsMode};
use tokio::sync::Mutex;

use super::asker::{Asker, Pool, quoted};
use super::disk::SmallDisk;
use super::standby::Standby;
use super::{Failure, MOVER};
use crate::fault::FaultKind;
use crate::plan::premises::Premises;
use crate::plan::{Plan, Writer};
use crate::proxy::Proxy;

/// Histories after which shared servers are exchanged for new ones: databases are never dropped, which costs more.
const HISTORIES_PER_RING: u64 = 120;

/// Every server's settings. Deadlocks are found soon; nothing happens on its own.
const SETTINGS: [(&str, &str); 5] = [
    ("deadlock_timeout", "200ms"),
    ("autovacuum", "off"),
    ("max_connections", "300"),
    ("shared_buffers", "32MB"),
    ("max_worker_processes", "4"),
];

/// Starts servers and lends them to histories.
pub struct Hall {
    backends: Vec<Backend>,
    ring: Mutex<Option<Arc<Ring>>>,
    histories: AtomicU64,
}

/// Servers that histories share, one behind the other.
struct Ring {
    servers: Vec<Arc<Server>>,
}

/// The platforms of one history.
pub(crate) struct Stage {
    /// One a primary, in the plan's order.
    pub(crate) primaries: Vec<Arc<Place>>,
    /// One a primary that the worker writes: what it ingests.
    pub(crate) sources: Vec<Option<Arc<Place>>>,
    /// One a secondary, in the plan's order.
    pub(crate) secondaries: Vec<Arc<Place>>,
    /// Keeps shared servers alive.
    _ring: Option<Arc<Ring>>,
}

/// A platform's database, and the proxy before it.
pub(crate) struct Place {
    pub(crate) platform: String,
    pub(crate) server: Arc<Server>,
    pub(crate) database: String,
    pub(crate) proxy: Proxy,
    pub(crate) disk: Option<SmallDisk>,
    /// The other server behind the proxy, where there is one.
    standby: Option<Standby>,
    /// Sessions to be used again; not where the server goes down.
    pool: Option<Arc<Pool>>,
}

/// A row where databases can sort as ICU does.
const KNOWS_ICU: &str = "select 1 from pg_collation where collprovider = 'i' \
     and current_setting('server_version_num')::int >= 150000 limit 1";
/// Small letters stand before capitals, and accents beside them.
const AS_PEOPLE: &str = " template template0 encoding 'UTF8' locale 'C' locale_provider icu icu_locale 'und'";

impl Hall {
    /// A hall whose platforms are spread over these backends.
    ///
    /// # Panics
    /// Without a backend.
    pub fn new(backends: Vec<Backend>) -> Hall {
        assert!(!backends.is_empty(), "a hall needs a backend");
        Hall { backends, ring: Mutex::default(), histories: AtomicU64::new(0) }
    }

    /// What the servers are, for the report.
    pub fn describe(&self) -> String {
        let backends: Vec<_> = self.backends.iter().map(ToString::to_string).collect();
        backends.join(", ")
    }

    /// Sets the stage of a plan: a fresh database a platform.
    pub(crate) async fn stage(&self, plan: &Plan) -> Result<Stage, Failure> {
        let number = self.histories.fetch_add(1, Ordering::Relaxed);
        let ring = if plan.needs_own_servers() { None } else { Some(self.ring(number).await?) };
        let is_shared = ring.is_some();
        let mut stage = Stage {
            primaries: Vec::new(),
            sources: Vec::new(),
            secondaries: Vec::new(),
            _ring: ring.clone(),
        };
        for (at, primary) in plan.primaries.iter().enumerate() {
            let server = self.server(ring.as_ref(), at, &primary.name).await?;
            let place =
                Place::open(&primary.name, number, Arc::clone(&server), &primary.premises, None, is_shared)
                    .await?;
            let place = if primary.has_standby { place.with_standby().await? } else { place };
            stage.primaries.push(Arc::new(place));
            let name = format!("{} source", primary.name);
            stage.sources.push(match primary.writer {
                Writer::Tables => None,
                Writer::Worker => Some(Arc::new(
                    Place::open(&name, number, server, &primary.premises, None, is_shared).await?,
                )),
            });
        }
        for (at, secondary) in plan.secondaries.iter().enumerate() {
            let server = self.server(ring.as_ref(), at + 1, &secondary.name).await?;
            let disk = if plan.has(FaultKind::DiskFull) { Some(SmallDisk::mount()?) } else { None };
            let place =
                Place::open(&secondary.name, number, server, &secondary.premises, disk, is_shared).await?;
            stage.secondaries.push(Arc::new(place));
        }
        Ok(stage)
    }

    async fn server(&self, ring: Option<&Arc<Ring>>, at: usize, name: &str) -> Result<Arc<Server>, Failure> {
        match ring {
            Some(ring) => Ok(Arc::clone(&ring.servers[at % ring.servers.len()])),
            None => start(&self.backends[at % self.backends.len()], name).await,
        }
    }

    async fn ring(&self, number: u64) -> Result<Arc<Ring>, Failure> {
        let mut current = self.ring.lock().await;
        let is_due = number.is_multiple_of(HISTORIES_PER_RING);
        if let Some(ring) = current.as_ref()
            && !is_due
        {
            return Ok(Arc::clone(ring));
        }
        let mut servers = Vec::new();
        for at in 0..self.backends.len().max(2) {
            servers.push(start(&self.backends[at % self.backends.len()], &format!("shared {at}")).await?);
        }
        let ring = Arc::new(Ring { servers });
        *current = Some(Arc::clone(&ring));
        Ok(ring)
    }
}

fn options(name: &str) -> ServerOptions {
    SETTINGS
        .into_iter()
        .fold(ServerOptions::named(name), |options, (name, value)| options.with_setting(name, value))
}

async fn start(backend: &Backend, name: &str) -> Result<Arc<Server>, Failure> {
    let server = Server::start(backend, options(name)).await?;
    let mut asker = Asker::connect(&server, "postgres").await?;
    asker.execute(&format!("create role {MOVER} login")).await?;
    asker.close().await;
    Ok(Arc::new(server))
}

impl Place {
    async fn open(
        platform: &str,
        number: u64,
        server: Arc<Server>,
        premises: &Premises,
        disk: Option<SmallDisk>,
        is_shared: bool,
    ) -> Result<Place, Failure> {
        let database = format!("h{number} {}", platform.to_lowercase());
        let mut asker = Asker::connect(&server, "postgres").await?;
        let space = match &disk {
            Some(disk) => {
                let name = format!("\"{database}\"");
                let directory = disk.space();
                asker
                    .execute(&format!(
                        "copy (select 1) to program {}",
                        quoted(&format!("mkdir '{directory}' && cat > /dev/null"))
                    ))
                    .await?;
                asker.execute(&format!("create tablespace {name} location {}", quoted(&directory))).await?;
                format!(" tablespace {name}")
            }
            None => String::new(),
        };
        // The worker owns what it writes and nothing else; it is no superuser.
        let sorts_as_people = premises.sorts_as_people && asker.value(KNOWS_ICU).await?.is_some();
        let order = if sorts_as_people { AS_PEOPLE } else { "" };
        asker.execute(&format!("create database \"{database}\" owner {MOVER}{space}{order}")).await?;
        asker.close().await;
        let proxy = Proxy::start(server.host().to_owned(), server.port()).await?;
        let pool = is_shared.then(Arc::default);
        Ok(Place { platform: platform.to_owned(), server, database, proxy, disk, standby: None, pool })
    }

    /// The same with a standby of the server: the proxy stands before both, which take its connections in turn.
    async fn with_standby(self) -> Result<Place, Failure> {
        let standby = Standby::of(&self.server, options(&format!("{} standby", self.platform))).await?;
        let servers = [&self.server, &standby.server].map(|server| (server.host().to_owned(), server.port()));
        Ok(Place { proxy: Proxy::start_over(servers).await?, standby: Some(standby), ..self })
    }

    /// Halts the standby's replay; nothing without one.
    pub(crate) async fn halt(&self) -> Result<(), Failure> {
        match &self.standby {
            Some(standby) => standby.replay(false).await,
            None => Ok(()),
        }
    }

    /// Whether a standby stands still.
    pub(crate) fn is_behind(&self) -> bool {
        self.standby.as_ref().is_some_and(Standby::is_halted)
    }

    /// Lets the standby go on, and waits until it has what the server has.
    pub(crate) async fn catch_up(&self) -> Result<(), Failure> {
        match &self.standby {
            Some(standby) => standby.catch_up(&self.server).await,
            None => Ok(()),
        }
    }

    /// A session past the proxy, as superuser.
    pub(crate) async fn asker(&self) -> Result<Asker, Failure> {
        match &self.pool {
            Some(pool) => Asker::pooled(pool, &self.server, &self.database).await,
            None => Asker::connect(&self.server, &self.database).await,
        }
    }

    /// Runs statements past the proxy, as superuser.
    pub(crate) async fn execute(&self, statements: &str) -> Result<(), Failure> {
        let mut asker = self.asker().await?;
        asker.execute(statements).await?;
        asker.close().await;
        Ok(())
    }

    /// A session of its own, which ends when it is closed.
    pub(crate) async fn own_asker(&self) -> Result<Asker, Failure> {
        Asker::connect(&self.server, &self.database).await
    }

    /// Where the worker finds it: behind the proxy.
    pub(crate) fn endpoint(&self, role: &str) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            role: format!("{role} {}", self.platform),
            host: "127.0.0.1".to_owned(),
            port: self.proxy.port(),
            database: self.database.clone(),
            user: MOVER.to_owned(),
            password: String::new().into(),
            tls: TlsMode::Disable,
            tls_root_cert: None,
        })
    }
}
