//! From the staging tables into the merge tables, in the transaction that commits the batch.

use milestream_core::milestone::PrimaryBatch;

use super::attempt::Batch;
use super::job::IngestJob;
use crate::error::{Error, Result};
use crate::pair::{Holding, KEY_HASH, Pair};
use crate::postgres::fields::Fields;
use crate::postgres::sql::{ident, literal};
use crate::postgres::{Session, catalog};
use crate::statements::{ingest, landing, merge};
use crate::sync::copying::counted;
use crate::sync::ground::Ground;
use crate::sync::limits;
use crate::sync::proof::{self, Fault};
use crate::tables::batches::Counts;

/// Merges every dataset. The counts say how the batch differs from the one before, rows staged left out.
///
/// # Errors
/// `HashCollision` where a table is unique on the key hash; `Setup` when batches were numbered anew; `TooManyDeletes`;
/// `Unwritten`.
pub(crate) async fn merge(ground: &Ground<IngestJob>, batch: &Batch, store: &mut Session) -> Result<Counts> {
    let mut total = Counts::default();
    for pair in &batch.pairs {
        let merging = Merging { ground, batch, pair };
        merging.check_collisions(store).await?;
        let counts = match pair.existing {
            None => merging.create(store).await?,
            Some(_) => merging.by_difference(store).await?,
        };
        total.inserted += counts.inserted;
        total.updated += counts.updated;
        total.deleted += counts.deleted;
        if let Some(keep) = ground.job.staging_batches_to_keep {
            let oldest = batch.id.0.saturating_sub(i32::try_from(keep).unwrap_or(i32::MAX)).saturating_add(1);
            store.execute("clearing old staged rows", merge::clear_old(pair, oldest, batch.id)).await?;
        }
    }
    Ok(total)
}

/// One dataset being merged.
struct Merging<'a> {
    ground: &'a Ground<IngestJob>,
    batch: &'a Batch,
    pair: &'a Pair,
}

impl Merging<'_> {
    /// A merge table that is not there yet is loaded without indexes and revealed with them, as a seed's is.
    async fn create(&self, store: &mut Session) -> Result<Counts> {
        let (pair, batch) = (self.pair, self.batch.id);
        for statement in landing::create(pair, batch) {
            store.execute("creating the merge table", statement).await?;
        }
        let inserted = store.execute("loading the merge table", ingest::load(pair, batch)).await?;
        let memory = literal(&self.ground.job.tuning.maintenance_work_mem);
        let memory = format!("set local maintenance_work_mem = {memory}");
        store.execute("setting the memory of index builds", memory).await?;
        for build in [landing::key_index(pair)].into_iter().chain(landing::plain_indexes(pair)) {
            store.execute(&format!("building index {}", build.name), build.statement).await?;
        }
        let analyze = format!("analyze {}", ident(&pair.names.landing));
        store.execute("gathering statistics of the merge table", analyze).await?;
        for statement in landing::reveal(pair) {
            store.execute("making the merge table visible", statement).await?;
        }
        Ok(Counts { inserted, ..Counts::default() })
    }

    async fn by_difference(&self, store: &mut Session) -> Result<Counts> {
        let (pair, batch) = (self.pair, self.batch.id);
        if pair.holding == Holding::Mirror {
            self.check_numbering(store).await?;
        }
        for statement in ingest::find_difference(pair, batch) {
            store.execute("comparing staged and live rows", statement).await?;
        }
        let keys = self.count_keys(store).await?;
        self.check_deletes(keys.deleted, store).await?;
        match pair.holding {
            Holding::Mirror => {
                let closed = store.execute("closing versions", ingest::close(pair, batch)).await?;
                self.expect("closed", keys.updated + keys.deleted, closed, store).await?;
                let opened = store.execute("opening versions", ingest::open(pair, batch)).await?;
                self.expect("opened", keys.inserted + keys.updated, opened, store).await?;
            }
            // In this order: a hash that moves from one key to another is free again before it is inserted.
            Holding::LiveOnly => {
                let deleted = store.execute("deleting rows that are gone", ingest::delete(pair)).await?;
                self.expect("deleted", keys.deleted, deleted, store).await?;
                let updated =
                    store.execute("updating rows that changed", ingest::update(pair, batch)).await?;
                self.expect("updated", keys.updated, updated, store).await?;
                let inserted =
                    store.execute("inserting rows that are new", ingest::insert_new(pair, batch)).await?;
                self.expect("inserted", keys.inserted, inserted, store).await?;
            }
        }
        self.prove(store).await?;
        store.execute("forgetting the difference", ingest::forget_difference()).await?;
        Ok(match pair.holding {
            Holding::LiveOnly => keys,
            // A forensic platform counts versions: a record that changed has one closed and one opened.
            Holding::Mirror => Counts { inserted: keys.inserted + keys.updated, ..keys },
        })
    }

    /// Keys that are new, changed and gone.
    async fn count_keys(&self, store: &mut Session) -> Result<Counts> {
        let rows = store.ask("counting what differs", ingest::count_difference()).await?;
        let row = rows.first().ok_or_else(|| Error::invariant("a difference", "a count gave no row"))?;
        let count =
            |at: usize| row.field(at).and_then(counted).map(|count| u64::try_from(count).unwrap_or(0));
        Ok(Counts { inserted: count(0)?, updated: count(1)?, deleted: count(2)?, total: 0 })
    }

    /// A source emptied by mistake must not empty its platforms.
    async fn check_deletes(&self, deletes: u64, store: &mut Session) -> Result<()> {
        let deletes = i64::try_from(deletes).unwrap_or(i64::MAX);
        if deletes == 0 {
            return Ok(());
        }
        let limit = limits::rows_that_matter(deletes, self.ground.job.tuning.max_delete_fraction);
        let rows = store.ask("counting live rows", merge::rows_below(self.pair, limit)).await?;
        let rows = rows.first().map_or(Ok(0), |row| counted(row.field(0)?))?;
        let batch = PrimaryBatch(self.batch.id.0);
        limits::check_deletes(self.ground, &self.pair.names.merge, batch, deletes, rows)
    }

    /// Whether as many rows were written as differed; rolled back with everything else when not.
    async fn expect(&self, what: &str, expected: u64, found: u64, store: &mut Session) -> Result<()> {
        if expected == found {
            return Ok(());
        }
        Err(self.unwritten(format!("{expected} rows were to be {what} and {found} were"), store).await?)
    }

    /// Whether the rows that differed are what was staged, once every trigger has run.
    async fn prove(&self, store: &mut Session) -> Result<()> {
        proof::end_deferral(store).await?;
        let faults = store.ask("proving what was merged", ingest::proof(self.pair, self.batch.id)).await?;
        match faults.first().map(Fault::of_row).transpose()? {
            None => Ok(()),
            Some(fault) => Err(self.unwritten(fault.seen(PrimaryBatch(self.batch.id.0)), store).await?),
        }
    }

    /// The error of a write that did not take place; ends its transaction to look what may have kept it away.
    async fn unwritten(&self, seen: String, store: &mut Session) -> Result<Error> {
        store.rollback().await?;
        let hooks = catalog::find(store, &self.pair.names.merge).await?.map(|table| table.hooks);
        Ok(Error::Unwritten { table: ident(&self.pair.names.merge), seen, hooks: hooks.unwrap_or_default() })
    }

    /// Versions opened by this batch or a later one would be closed before they were opened.
    async fn check_numbering(&self, store: &mut Session) -> Result<()> {
        let rows = store.ask("looking for the newest version", ingest::newest_opened(self.pair)).await?;
        let newest: Option<&str> = rows.first().map_or(Ok(None), |row| row.field(0))?;
        let newest = newest.map(counted).transpose()?.unwrap_or(0);
        if newest < i64::from(self.batch.id.0) {
            return Ok(());
        }
        Err(Error::setup(
            format!(
                "{} holds versions of batch {newest}, but the next batch of stream {:?} is {}; nothing was written",
                ident(&self.pair.names.merge),
                self.ground.stream,
                self.batch.id
            ),
            format!(
                "batches were numbered anew: put \"currentBatch\" in {} back to the newest batch that is committed",
                self.ground.tables.batch_counter
            ),
        ))
    }

    /// Two keys with one hash are refused by name before the server refuses them by constraint.
    async fn check_collisions(&self, store: &mut Session) -> Result<()> {
        let unique_hash = match &self.pair.existing {
            None => self.pair.interchange && self.pair.holding == Holding::LiveOnly,
            Some(table) => table.indexes.iter().any(|index| index.unique && index.columns == [KEY_HASH]),
        };
        if !unique_hash {
            return Ok(());
        }
        let question = ingest::colliding_keys(self.pair, self.batch.id);
        let rows = store.ask("looking for keys that share a hash", question).await?;
        rows.first().map_or(Ok(()), |row| {
            let table = ident(&self.pair.names.merge);
            Err(Error::HashCollision { table, first: row.field(0)?, second: row.field(1)? })
        })
    }
}
