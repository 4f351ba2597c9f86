//! From the source into the staging tables, one dataset after the other and all from one snapshot.

use sqlx::postgres::PgDatabaseError;

use super::attempt::Batch;
use super::fitting::{self, Difference};
use super::job::IngestJob;
use crate::error::{Error, Result};
use crate::observer::{Happening, NoticeKind, Step};
use crate::pair::Pair;
use crate::postgres::Session;
use crate::postgres::catalog;
use crate::postgres::copy::{Piped, Sink, pipe};
use crate::postgres::sql::ident;
use crate::staging::fits;
use crate::statements::{ingest, merge};
use crate::sync::ground::Ground;

/// Makes a dataset's staging table ready for the batch; part of the transaction that starts it.
pub(crate) async fn prepare(
    ground: &Ground<IngestJob>,
    batch: &Batch,
    pair: &Pair,
    store: &mut Session,
) -> Result<()> {
    let existing = catalog::find(store, &pair.names.staging).await?;
    if existing
        .as_ref()
        .is_some_and(|table| fits(pair, table, &ingest::STAGED_COLUMNS, &ingest::staging_key(pair)))
    {
        let clear = merge::clear_staged(pair, batch.id);
        return store.execute("clearing what an earlier try staged", clear).await.map(|_| ());
    }
    if existing.is_some() {
        let text = format!("{} had another shape and is made anew", ident(&pair.names.staging));
        ground.notice(NoticeKind::Warning, text);
        store.execute("dropping a staging table of another shape", ingest::drop_staging(pair)).await?;
    }
    for statement in ingest::create_staging(pair) {
        store.execute("creating the staging table", statement).await?;
    }
    Ok(())
}

/// Stages every dataset; each is durable before the next begins.
///
/// # Errors
/// `Schema` when the source's rows do not have the model's key; `Stopped`; those of both servers.
pub(crate) async fn copy_all(
    ground: &Ground<IngestJob>,
    batch: &Batch,
    source: &mut Session,
    store: &mut Session,
) -> Result<u64> {
    let mut rows = 0;
    for (chunk, pair) in (0..).zip(&batch.pairs) {
        ground.check_stop()?;
        rows += Staging { ground, batch, pair, chunk }.copy(source, store).await?.rows;
    }
    Ok(rows)
}

/// One dataset on its way.
struct Staging<'a> {
    ground: &'a Ground<IngestJob>,
    batch: &'a Batch,
    pair: &'a Pair,
    chunk: i32,
}

impl Staging<'_> {
    async fn copy(&self, source: &mut Session, store: &mut Session) -> Result<Piped> {
        self.reach(Step::ChunkOpened, Piped::default()).await?;
        store.begin().await?;
        let piped = self.pipe(source, store).await.map_err(|error| self.explain(error))?;
        self.reach(Step::ChunkCommitting, piped).await?;
        self.batch.lease.fence(store).await?;
        store.commit("committing the staged rows").await?;
        self.reach(Step::ChunkCommitted, piped).await?;
        let analyze = format!("analyze {}", ident(&self.pair.names.staging));
        store.execute("gathering statistics of staged rows", analyze).await?;
        Ok(piped)
    }

    async fn pipe(&self, source: &mut Session, store: &mut Session) -> Result<Piped> {
        let copy_out = ingest::copy_out(self.pair, self.ground.job.hash, self.batch.id);
        let source = self.ground.kindness.read(source, &copy_out).await?;
        let sink = Sink::open(store, &ingest::copy_in(self.pair)).await?;
        let mut midway_reached = false;
        pipe(source, sink, |bytes| {
            let first = !std::mem::replace(&mut midway_reached, true);
            async move {
                if first { self.reach(Step::MidChunk, Piped { rows: 0, bytes }).await } else { Ok(()) }
            }
        })
        .await
    }

    async fn reach(&self, step: Step, piped: Piped) -> Result<()> {
        let (dataset, chunk) = (self.pair.dataset.clone(), self.chunk);
        self.ground
            .reach(step, Happening::Chunk { dataset, chunk, count: 1, rows: piped.rows, bytes: piped.bytes })
            .await
    }

    /// Rows that the staging table's key refuses tell that the model's key is none in the source.
    fn explain(&self, error: Error) -> Error {
        let Error::Statement { source, .. } = &error else { return error };
        let refusal =
            source.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
        let Some(refusal) = refusal else { return error };
        let (column, problem) = match refusal.code() {
            "23502" => (refusal.column(), "a row of the source has a NULL in its key".to_owned()),
            "23505" => {
                let detail = refusal.detail().unwrap_or_else(|| refusal.message());
                (None, format!("two rows of the source have one key: {detail}"))
            }
            _ => return error,
        };
        let difference = Difference {
            dataset: self.pair.dataset.clone(),
            column: column.unwrap_or("primary key").to_owned(),
            model: format!("key ({})", self.pair.key.join(", ")),
            source: self.pair.primary_table.clone(),
            merge: self.pair.names.merge.clone(),
            problem,
        };
        Error::Schema { stream: self.ground.stream.clone(), differences: fitting::table_of(&[difference]) }
    }
}
