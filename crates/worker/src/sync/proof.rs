//! The proof of a merge, in its transaction: what was staged is what is there, and the table has grown as the primary's
//! history says.
//!
//! Triggers, rules and other hands may keep rows away or change them, and say nothing. All datasets are merged and every
//! deferred constraint has been checked before the proof begins, since a trigger of one table may write to another.

use sqlx::Row;
use sqlx::postgres::PgRow;

use milestream_core::milestone::{BatchRange, PrimaryBatch};

use super::copying::{Plan, counted};
use super::ground::Ground;
use super::job::VerifySeed;
use super::{doubles, standing};
use crate::error::{Error, Result};
use crate::pair::{Holding, Pair};
use crate::postgres::fields::Fields;
use crate::postgres::sql::ident;
use crate::postgres::{Session, catalog};
use crate::statements::proof;
use crate::tables::batches::Counts;
use crate::tables::findings;

/// What a merge wrote of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// Keys new, changed and gone.
    pub(crate) counts: Counts,
    /// Rows by which the table has grown; versions that were opened, where it is a mirror.
    pub(crate) grown: i64,
}

/// Proves the merge of an increment, of which this was `written`, one a dataset.
///
/// # Errors
/// `Diverged`; the transaction has been rolled back then.
pub(crate) async fn of_increment(
    ground: &Ground,
    plan: &Plan,
    range: BatchRange,
    written: &[Written],
    secondary: &mut Session,
) -> Result<()> {
    end_deferral(secondary).await?;
    for pair in &plan.pairs {
        let question = match pair.holding {
            Holding::LiveOnly => proof::net(pair, plan.flight.local),
            Holding::Mirror => proof::full(pair, plan.flight.local, range.after()),
        };
        let faults = secondary.ask("proving what was merged", question).await?;
        if let Some(fault) = faults.first().map(Fault::of_row).transpose()? {
            fault.judge(ground, plan, pair, range, secondary).await?;
        }
    }
    let found = findings::by_dataset(secondary, &ground.tables, &plan.scope(ground)).await?;
    for (pair, written) in plan.pairs.iter().zip(written) {
        let Some((opened, closed)) = found.get(&pair.dataset) else {
            let what = format!("nothing was counted of dataset {:?}", pair.dataset);
            return Err(Error::invariant(&ground.tables.sync_chunk, what));
        };
        let (grown, recorded) = match pair.holding {
            Holding::LiveOnly => (written.grown, opened - closed),
            Holding::Mirror => (written.grown, *opened),
        };
        if grown != recorded {
            Growth { ground, plan, pair, range, grown, recorded }.explain(secondary).await?;
        }
    }
    of_blocks(ground, plan, secondary).await
}

/// Read by blocks, a closed version is a deletion where no other was opened, also of a key of which another version is
/// live still. Then there are fewer rows than there must be.
async fn of_blocks(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    if ground.job.tuning.verify_seed == VerifySeed::Off {
        return Ok(());
    }
    for pair in plan.pairs.iter().filter(|pair| plan.flight.is_by_blocks(&pair.dataset)) {
        if let Some(seen) = standing::differing(ground, plan, pair, secondary).await? {
            return Err(Error::Miscounted { table: ident(&pair.names.merge), seen });
        }
    }
    Ok(())
}

/// Proves that a merge table that existed before its seed holds what has landed, and nothing else.
///
/// # Errors
/// `Diverged`; the transaction has been rolled back then.
pub(crate) async fn of_difference(plan: &Plan, pair: &Pair, secondary: &mut Session) -> Result<()> {
    let faults = secondary.ask("proving what was landed", proof::difference(pair)).await?;
    match faults.first().map(Fault::of_row).transpose()? {
        None => Ok(()),
        Some(fault) => Err(unwritten(pair, fault.seen(plan.flight.to), secondary).await?),
    }
}

/// Lets deferred constraints and their triggers come before the proof instead of behind it. The rows that the proof looks
/// up have just been written, so an index that leads to them is cheap.
pub(crate) async fn end_deferral(secondary: &mut Session) -> Result<()> {
    let now = "set constraints all immediate; set local random_page_cost = 1";
    secondary.execute("checking deferred constraints", now.into()).await.map(|_| ())
}

/// The closures of a mirror's increment that found no live version.
///
/// # Errors
/// `Diverged`, always, unless the server fails.
pub(crate) async fn closures_unmet(
    plan: &Plan,
    pair: &Pair,
    x: PrimaryBatch,
    (closures, closed): (u64, u64),
    secondary: &mut Session,
) -> Result<Error> {
    let mut seen = format!("{closures} versions are to be closed, {closed} of them are there and live");
    secondary.rollback().await?;
    let question = proof::closures_missing(pair, plan.flight.local, x);
    match example(secondary, question).await? {
        (0, _) => unwritten(pair, seen, secondary).await,
        (_, key) => {
            seen = format!("{seen}; of key ({key}) there is none");
            Ok(Error::Diverged { table: ident(&pair.names.merge), seen, hooks: Vec::new() })
        }
    }
}

/// The error of a write that did not take place; ends its transaction to look what may have kept it away.
async fn unwritten(pair: &Pair, seen: String, secondary: &mut Session) -> Result<Error> {
    secondary.rollback().await?;
    let hooks = catalog::find(secondary, &pair.names.merge).await?.map(|table| table.hooks);
    Ok(Error::Diverged { table: ident(&pair.names.merge), seen, hooks: hooks.unwrap_or_default() })
}

/// A count and a key.
async fn example(session: &mut Session, question: String) -> Result<(i64, String)> {
    let rows = session.ask("looking for an example", question).await?;
    let row = rows.first().ok_or_else(|| Error::invariant("a staging table", "a count gave no row"))?;
    Ok((counted(row.field(0)?)?, row.field::<Option<String>>(1)?.unwrap_or_default()))
}

/// A kind of fault that a proof found.
pub(crate) struct Fault {
    kind: String,
    rows: i64,
    /// The key of one of them.
    key: String,
    /// The columns in which that one, or another, differs.
    columns: Option<String>,
}

impl Fault {
    pub(crate) fn of_row(row: &PgRow) -> Result<Fault> {
        Ok(Fault {
            kind: row.field(0)?,
            rows: counted(row.field(1)?)?,
            key: row.field::<Option<String>>(2)?.unwrap_or_default(),
            columns: row.field(3)?,
        })
    }

    /// What is wrong, for a person.
    pub(crate) fn seen(&self, batch: PrimaryBatch) -> String {
        let (rows, key) = (rows(self.rows), &self.key);
        match self.kind.as_str() {
            proof::MISSING => format!("{rows} of batch {batch} did not arrive, for example key ({key})"),
            proof::LEFT => format!("{rows} not of batch {batch} are there still, for example key ({key})"),
            proof::ALTERED => format!(
                "{rows} of batch {batch} have other values than were written, for example key ({key}) in {}",
                self.columns.as_deref().unwrap_or("its columns")
            ),
            _ => format!(
                "{rows} of batch {batch} are live beside another version of their key, for example ({key})"
            ),
        }
    }

    /// A mirror may hold a key live twice where the primary does; everything else is an error.
    async fn judge(
        &self,
        ground: &Ground,
        plan: &Plan,
        pair: &Pair,
        range: BatchRange,
        secondary: &mut Session,
    ) -> Result<()> {
        if self.kind != proof::DOUBLED {
            return Err(unwritten(pair, self.seen(range.through()), secondary).await?);
        }
        let here = secondary
            .ask(
                "looking for keys that are live twice",
                proof::doubled_here(pair, plan.flight.local, range.after()),
            )
            .await?;
        let there = ask_primary(ground, plan, pair, proof::doubled_there(pair, range)).await?;
        let texts = |row: &PgRow| (0..3).map(|at| row.field(at)).collect::<Result<Vec<Option<String>>>>();
        if here.first().map(texts).transpose()? == Some(texts(&there)?) {
            return Ok(());
        }
        let primary = there.field::<&str>(0)?;
        let seen = format!(
            "{}; the primary has {primary} such keys as of batch {}",
            self.seen(range.through()),
            range.through()
        );
        secondary.rollback().await?;
        Err(Error::Diverged { table: ident(&pair.names.merge), seen, hooks: Vec::new() })
    }
}

fn rows(count: i64) -> String {
    if count == 1 { "1 row".into() } else { format!("{count} rows") }
}

/// Asks the primary for one row, as it is read always.
async fn ask_primary(ground: &Ground, plan: &Plan, pair: &Pair, question: String) -> Result<PgRow> {
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "proof").await?;
    let expectation = plan.flight.expectation.for_dataset(&pair.dataset);
    let (name, doing) = (ground.session_name("proof"), "asking the primary for its history");
    let row = expectation.open_asking(&mut primary, &name, doing, &question).await?;
    primary.commit("ending a read").await?;
    plan.sessions.keep_reader(primary);
    Ok(row)
}

/// A table that has not grown as it must.
struct Growth<'a> {
    ground: &'a Ground,
    plan: &'a Plan,
    pair: &'a Pair,
    range: BatchRange,
    grown: i64,
    recorded: i64,
}

impl Growth<'_> {
    /// Versions do not count keys where the primary holds a key live more than once; otherwise the table did not hold
    /// the rows live at X.
    async fn explain(&self, secondary: &mut Session) -> Result<()> {
        let Growth { ground, plan, pair, range, grown, recorded } = *self;
        if plan.flight.is_by_blocks(&pair.dataset) {
            // Read in the order of keys it comes out which of the two it is.
            let seen = format!(
                "the primary's history adds {recorded} rows, and this table has grown by {grown}: something wrote to this table, \
                 or updates the primary's open versions in place or removes them"
            );
            return Err(Error::Miscounted { table: ident(&pair.names.merge), seen });
        }
        if pair.holding == Holding::Mirror {
            let seen = format!(
                "{} versions of ({}, {}] were opened, the primary has {}",
                grown,
                range.after(),
                range.through(),
                recorded
            );
            return Err(unwritten(pair, seen, secondary).await?);
        }
        let row = ask_primary(ground, plan, pair, proof::growth(pair, range)).await?;
        let (keys, doubled) = (counted(row.field(0)?)?, counted(row.field(1)?)?);
        if keys == grown {
            if let Some(example) = row.field::<Option<&str>>(2)? {
                doubles::warn(ground, pair, doubled, example, range.through());
            }
            return Ok(());
        }
        secondary.rollback().await?;
        let gone = example(secondary, proof::deletions_missing(pair, plan.flight.local)).await?;
        let detail = match gone {
            (0, _) => self.key_out_of_place(keys, secondary).await?,
            (gone, key) => {
                format!("{} that it deletes were gone already, for example key ({key})", rows(gone))
            }
        };
        let seen = format!(
            "batches ({}, {}] add {keys} rows to the primary, but {grown} to this table: {detail}",
            range.after(),
            range.through()
        );
        Err(Error::Diverged { table: ident(&pair.names.merge), seen, hooks: Vec::new() })
    }

    /// Names a key that the table did not have, or had, though it was live at X, or was not.
    async fn key_out_of_place(&self, keys: i64, secondary: &mut Session) -> Result<String> {
        let Growth { ground, plan, pair, range, grown, .. } = *self;
        let lacking = grown > keys;
        let question = proof::upserts_known(pair, plan.flight.local, !lacking);
        let found = secondary.ask("looking for an example", question).await?;
        let texts = |row: &PgRow| (0..row.len()).map(|at| row.field(at)).collect();
        let keys = found.iter().map(texts).collect::<Result<Vec<Vec<String>>>>()?;
        let what = if lacking { "rows live at batch" } else { "rows not live at batch" };
        let place = if lacking { "were missing" } else { "were in it" };
        let mut named = String::new();
        if !keys.is_empty() {
            let question = format!("select ({})", proof::key_live_at(pair, range.after(), &keys, lacking));
            let row = ask_primary(ground, plan, pair, question).await?;
            if let Some(key) = row.field::<Option<&str>>(0)? {
                named = format!(", for example key ({key})");
            }
        }
        Ok(format!("{what} {} {place}{named}", range.after()))
    }
}
