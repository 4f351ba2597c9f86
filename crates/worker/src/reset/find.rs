//! Finds out what a reset has to do. Reads only.

use std::collections::{BTreeMap, BTreeSet};

use milestream_core::milestone::LocalBatch;

use super::Order;
use super::found::{Found, OpenBatch, Reset, Rows};
use crate::error::Result;
use crate::pair::{Holding, SecondaryNames, beside};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::ident;
use crate::statements::reset as statements;
use crate::sync::ground::{Charge, Ground};
use crate::tables::migrations;
use crate::tables::resets::{self, Books};
use crate::tables::streams::{self, Flight, Reseeding, StreamRow};

/// What there is to do for a stream.
///
/// # Errors
/// Those of the store.
pub(super) async fn find<J: Charge>(
    ground: &Ground<J>,
    order: Order,
    session: &mut Session,
) -> Result<Found> {
    let row = match migrations::are_there(session, &ground.tables).await? {
        true => streams::load(session, &ground.tables, &ground.stream).await?,
        false => StreamRow::default(),
    };
    let books = resets::books(session, &ground.tables, &ground.stream).await?;
    let leader = row.lease_owner.clone().filter(|owner| *owner != ground.worker);
    let until = row.lease_until.clone().unwrap_or_default();
    let mut finding = Finding {
        ground,
        found: Found {
            reset: Reset {
                open: open_batch(&row, &books),
                committed: books.committed,
                readers_batch: row.reseeding.as_ref().map(|reseeding| reseeding.readers_batch),
                kept: Vec::new(),
                statements: Vec::new(),
            },
            rows: Vec::new(),
            generation: row.flight.is_some().then_some(row.generation),
            leader: leader.map(|owner| (owner, until)),
        },
        row,
        books,
    };
    finding.open_batch(session).await?;
    if order.reseed {
        finding.seed_again(session).await?;
    }
    Ok(finding.found)
}

fn open_batch(row: &StreamRow, books: &Books) -> Option<OpenBatch> {
    let (open, status) = books.open.clone().unzip();
    let status = status.unwrap_or_else(|| "planned".into());
    match &row.flight {
        Some(flight) => Some(OpenBatch {
            batch: flight.local,
            status,
            kind: flight.phase().to_owned(),
            from: flight.from,
            to: Some(flight.to),
        }),
        None => open.map(|batch| OpenBatch { batch, status, kind: "ingestion".into(), from: None, to: None }),
    }
}

/// A reset that is being found out.
struct Finding<'a, J> {
    ground: &'a Ground<J>,
    found: Found,
    row: StreamRow,
    books: Books,
}

impl<J: Charge> Finding<'_, J> {
    /// What the open batch left behind.
    async fn open_batch(&mut self, session: &mut Session) -> Result<()> {
        let Some(open) = self.found.reset.open.clone() else { return Ok(()) };
        let Ground { tables, stream, .. } = self.ground;
        for (dataset, names) in self.datasets() {
            self.scratch(&dataset, &names, open.batch, session).await?;
        }
        let mut batches = BTreeSet::from([open.batch.0]);
        batches.extend(self.books.open.iter().map(|(batch, _)| batch.0));
        // A mirror that is seeded as of an earlier batch has taken that one over; beside a watermark it has none of its own.
        let takes_over = self.row.flight.as_ref().is_some_and(Flight::is_seed_of_all);
        let is_open = |batch: &LocalBatch| takes_over || Some(*batch) > self.books.committed;
        for batch in batches.into_iter().map(LocalBatch).filter(is_open) {
            let sql = resets::forget_batch(tables, stream, batch);
            self.found.add(format!("forgets batch {batch}"), sql, Rows::None);
        }
        if self.books.counter != self.books.committed {
            let what = match self.books.committed {
                Some(committed) => format!("steps the counter back to batch {committed}"),
                None => "forgets the counter, since no batch was committed yet".to_owned(),
            };
            self.found.add(what, resets::step_back(tables, stream, self.books.committed), Rows::None);
        }
        if self.row.flight.is_some() {
            let sql = resets::forget_chunks(tables, stream);
            self.found.add("forgets the chunks", sql, Rows::None);
        }
        if self.row != StreamRow::default() {
            let sql = resets::end_flight(tables, stream);
            self.found.add("ends the sync in flight, and what halted it", sql, Rows::None);
        }
        Ok(())
    }

    /// Landing, sweep and staged rows of a dataset.
    async fn scratch(
        &mut self,
        dataset: &str,
        names: &SecondaryNames,
        batch: LocalBatch,
        session: &mut Session,
    ) -> Result<()> {
        if is_there(session, &names.landing).await? || is_there(session, &names.sweep).await? {
            let (tables, stream) = (&self.ground.tables, &self.ground.stream);
            let landed = resets::landed(session, tables, stream, self.row.generation).await?;
            let landed: BTreeMap<_, _> = landed.into_iter().collect();
            let rows = landed.get(dataset).copied().unwrap_or(0);
            let what = format!("drops what has landed of {dataset}");
            self.found.add(what, statements::drop_landing(names), Rows::Recorded(rows));
        }
        // A seed stages nothing, and what is there under its batch is of another life.
        let stages = self.row.flight.as_ref().is_none_or(|flight| !flight.is_seed());
        if stages && is_there(session, &names.staging).await? {
            let rows = Rows::Counted(statements::count_staged(names, batch));
            let what = format!("clears what was staged of {dataset}");
            self.found.add(what, statements::clear_staged(names, batch), rows);
        }
        Ok(())
    }

    /// Takes the watermark away, a mirror's history being kept before. A stream that holds nothing is seeded by its next
    /// sync as it is; one that waits for its seed already has kept its history.
    async fn seed_again(&mut self, session: &mut Session) -> Result<()> {
        let Some(readers_batch) = self.row.watermark else { return Ok(()) };
        let mut reseeding = Reseeding { readers_batch, kept: Vec::new() };
        if self.ground.job.keeps() == Some(Holding::Mirror) {
            let suffix = self.free_suffix(session).await?;
            let about = format!(
                "as of batch {readers_batch} of {}, kept by milestream reset --reseed",
                self.row.primary.as_deref().unwrap_or("its primary")
            );
            for (dataset, names) in self.datasets() {
                if !is_there(session, &names.merge).await? {
                    continue;
                }
                let kept = beside(&names.merge, &suffix);
                let rows = Rows::Counted(statements::count_merged(&names));
                let what = format!("keeps the history of {dataset} as {kept}");
                self.found.add(what, statements::keep(&names, &kept), rows);
                let description = format!("History of {}, {about}", names.merge);
                let sql = statements::describe_kept(&kept, &description);
                self.found.add(format!("says what {kept} is"), sql, Rows::None);
                reseeding.kept.push(kept);
            }
        }
        let sql = resets::seed_anew(&self.ground.tables, &self.ground.stream, &reseeding)?;
        let what = format!(
            "takes the watermark away: readers see batch {readers_batch} until the seed is committed"
        );
        self.found.add(what, sql, Rows::None);
        self.found.reset.kept = reseeding.kept;
        self.found.reset.readers_batch = Some(readers_batch);
        Ok(())
    }

    /// What tells the tables that keep a history from others: the time, and a number where two resets come in a second.
    async fn free_suffix(&self, session: &mut Session) -> Result<String> {
        let moment = format!("kept_{}", now(session).await?);
        let (mut suffix, mut number) = (moment.clone(), 1);
        while self.is_any_there(session, &suffix).await? {
            number += 1;
            suffix = format!("{moment}_{number}");
        }
        Ok(suffix)
    }

    async fn is_any_there(&self, session: &mut Session, suffix: &str) -> Result<bool> {
        for names in self.datasets().values() {
            if is_there(session, &beside(&names.merge, suffix)).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Tables of the model's datasets, and of those in flight that the model has no more.
    fn datasets(&self) -> BTreeMap<String, SecondaryNames> {
        let stream = self.ground.job.stream();
        let model = stream.datasets.iter().map(|dataset| dataset.name.clone());
        let flying = self.row.flight.iter().flat_map(|flight| flight.shapes.keys().cloned());
        let names = |dataset: String| {
            let names = SecondaryNames::of(self.ground.job.platform(), &stream.store, &dataset);
            (dataset, names)
        };
        model.chain(flying).map(names).collect()
    }
}

async fn is_there(session: &mut Session, table: &str) -> Result<bool> {
    let question = sqlx::query("select to_regclass($1) is not null").bind(ident(table));
    session.row("looking for a table", question).await?.map_or(Ok(false), |row| row.field(0))
}

/// A moment as part of a name, by the store's clock.
async fn now(session: &mut Session) -> Result<String> {
    let question = "select to_char(clock_timestamp() at time zone 'utc', 'YYYYMMDD_HH24MISS')";
    let row = session.row("asking for the time", sqlx::query(question)).await?;
    row.map_or(Ok(String::new()), |row| row.field(0))
}
