//! Sessions that stand in the worker's way: locks that are held, deadlocks, and rewrites that others queue behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Failure;
use super::asker::{Asker, quoted};
use super::stage::Place;

/// How long the step waits for a session to have what it wants; if the worker is in its way, it gets it later.
const HEAD_START: Duration = Duration::from_millis(40);
/// How long a session looks out for the worker.
const LOOKOUT: Duration = Duration::from_millis(2_000);
const PAUSE: Duration = Duration::from_millis(3);

/// A session that does something until it is released.
pub(crate) struct Hold {
    release: CancellationToken,
    task: JoinHandle<Result<(), Failure>>,
}

impl Hold {
    /// Holds tables in access exclusive mode, as soon as the worker's own reads let it.
    pub(crate) async fn lock(place: &Place, tables: &[String]) -> Result<Hold, Failure> {
        let mut asker = place.own_asker().await?;
        let lock = lock_statement(tables, "5s");
        Ok(Hold::start(move |release, ready| async move {
            asker.execute(&lock).await?;
            ready.cancel();
            release.cancelled().await;
            asker.execute("rollback").await?;
            asker.close().await;
            Ok(())
        })
        .await)
    }

    /// Holds a table in access exclusive mode; `None` where the worker has it and so has all it needs.
    pub(crate) async fn lock_at_once(place: &Place, table: &str) -> Result<Option<Hold>, Failure> {
        let mut asker = place.own_asker().await?;
        if asker.execute(&lock_statement(&[table.to_owned()], "20ms")).await.is_err() {
            return Ok(None);
        }
        let hold = Hold::start(move |release, ready| async move {
            ready.cancel();
            release.cancelled().await;
            asker.execute("rollback").await?;
            asker.close().await;
            Ok(())
        });
        Ok(Some(hold.await))
    }

    /// Holds a table that the worker needs next and, once the worker waits for it, wants one that the worker holds.
    pub(crate) async fn deadlock(place: &Place, table: String) -> Result<Hold, Failure> {
        let (mut asker, mut lookout) = (place.own_asker().await?, place.own_asker().await?);
        Ok(Hold::start(move |release, ready| async move {
            asker.execute(&lock_statement(std::slice::from_ref(&table), "5s")).await?;
            ready.cancel();
            if let Some(wanted) = wanted_from(&mut lookout, &table, &release).await? {
                // The worker is told of the deadlock, since this session would only find it after a minute.
                asker.execute(&format!("lock table {wanted} in access exclusive mode")).await?;
            }
            release.cancelled().await;
            asker.execute("rollback").await?;
            asker.close().await;
            lookout.close().await;
            Ok(())
        })
        .await)
    }

    /// VACUUM FULL and ANALYZE, one table after the other.
    pub(crate) async fn vacuum(
        place: &Place,
        tables: &[String],
        disturbances: Arc<AtomicU64>,
    ) -> Result<Hold, Failure> {
        let mut asker = place.own_asker().await?;
        let statements: Vec<_> =
            tables.iter().map(|table| format!("vacuum (full, analyze) {table}")).collect();
        Ok(Hold::start(move |_, ready| async move {
            // A batch may queue behind it while the worker, in whose way it stands, waits for that batch.
            asker.execute("set lock_timeout = '5s'").await?;
            for statement in statements {
                asker.execute(&statement).await?;
            }
            disturbances.fetch_add(1, Ordering::SeqCst);
            ready.cancel();
            asker.close().await;
            Ok(())
        })
        .await)
    }

    /// An ALTER that rewrites the tables, in a transaction that ends only when the worker waits for one of them.
    pub(crate) async fn rewrite(
        place: &Place,
        tables: &[String],
        disturbances: Arc<AtomicU64>,
    ) -> Result<Hold, Failure> {
        let (mut asker, mut lookout) = (place.own_asker().await?, place.own_asker().await?);
        let tables = tables.to_vec();
        Ok(Hold::start(move |release, ready| async move {
            let mut statements = vec!["begin; set local lock_timeout = '5s'".to_owned()];
            for table in &tables {
                // Rows move up into the room of dead ones, so that some are never met by chunks that follow, and older
                // snapshots see none of them; the type stays.
                statements.push(format!(
                    "alter table {table} alter column ds_surf_all_hash type varchar(32) using ds_surf_all_hash || ''"
                ));
            }
            asker.execute(&statements.join("; ")).await?;
            ready.cancel();
            until_waited_for(&mut lookout, &tables, &release).await?;
            asker.execute("commit").await?;
            disturbances.fetch_add(1, Ordering::SeqCst);
            asker.close().await;
            lookout.close().await;
            Ok(())
        })
        .await)
    }

    async fn start<F, T>(work: F) -> Hold
    where
        F: FnOnce(CancellationToken, CancellationToken) -> T,
        T: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (release, ready) = (CancellationToken::new(), CancellationToken::new());
        let task = tokio::spawn(work(release.clone(), ready.clone()));
        // The worker may be what it waits for, so the step goes on all the same.
        let _ = tokio::time::timeout(HEAD_START, ready.cancelled()).await;
        Hold { release, task }
    }

    /// Lets go, and waits until the session has.
    pub(crate) async fn release(self) -> Result<(), Failure> {
        self.release.cancel();
        let ended = self.task.await.map_err(|panic| Failure::Set { what: format!("a session: {panic}") })?;
        // Its server may have gone down, or it never got what it wanted.
        if let Err(error) = ended {
            tracing::debug!(%error, "a session that stood in the way ended badly");
        }
        Ok(())
    }
}

fn lock_statement(tables: &[String], lock_timeout: &str) -> String {
    format!(
        "begin; set local lock_timeout = '{lock_timeout}'; lock table {} in access exclusive mode",
        tables.join(", ")
    )
}

/// Waits a little for something that may be in the worker's queue; it goes on by itself.
pub(crate) async fn until_awaited(task: JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
    match tokio::time::timeout(HEAD_START, task).await {
        Ok(done) => done.map_err(|panic| Failure::Set { what: format!("a session: {panic}") })?,
        Err(_) => Ok(()),
    }
}

/// A table that a backend holds which waits for `table`; `None` when none comes.
async fn wanted_from(
    lookout: &mut Asker,
    table: &str,
    release: &CancellationToken,
) -> Result<Option<String>, Failure> {
    let question = format!(
        "select held.relation::regclass::text from pg_locks waiting join pg_locks held using (pid) \
         join pg_class on pg_class.oid = held.relation \
         where waiting.relation = {table}::regclass and not waiting.granted and held.granted and relkind = 'r' \
         and relnamespace = 'public'::regnamespace and held.relation <> waiting.relation limit 1",
        table = quoted(table)
    );
    let began = Instant::now();
    while began.elapsed() < LOOKOUT && !release.is_cancelled() {
        if let Some(held) = lookout.value(&question).await? {
            return Ok(Some(held));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

async fn until_waited_for(
    lookout: &mut Asker,
    tables: &[String],
    release: &CancellationToken,
) -> Result<(), Failure> {
    const PATIENCE: Duration = Duration::from_millis(250);
    let names: Vec<_> = tables.iter().map(|table| format!("{}::regclass", quoted(table))).collect();
    let question =
        format!("select count(*) from pg_locks where relation in ({}) and not granted", names.join(", "));
    let began = Instant::now();
    while began.elapsed() < PATIENCE && !release.is_cancelled() {
        if lookout.number(&question).await? > 0 {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
