//! Compares a secondary with its primary row by row, as of the secondary's watermark.
//!
//! Both sides are read in key order as text, each in one snapshot, and walked side by side: memory holds one row
//! of each, whatever the tables' sizes are.

use std::sync::Arc;

use milestream_core::milestone::PrimaryBatch;

use crate::error::{Error, Result};
use crate::pair::{Holding, Pair};
use crate::postgres::copy::{Format, Rows, Source};
use crate::postgres::read::{Expectation, metrics_table};
use crate::postgres::sql::ident;
use crate::postgres::{Endpoint, Session};
use crate::statements::compare;
use crate::sync::datasets::{self, Roster};
use crate::sync::{Job, drafting, planning};
use crate::tables::streams;

/// A secondary that equals its primary.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Equal {
    /// The batch as of which both were read.
    pub watermark: PrimaryBatch,
    /// Rows compared, over all datasets.
    pub rows: u64,
}

/// Compares every dataset that a stream holds.
///
/// # Errors
/// `Diverged` with the first row that differs, on either side; `Setup` when the stream was never synced.
pub async fn compare_rows(job: &Arc<Job>) -> Result<Equal> {
    let mut secondary =
        Session::connect_reader(&job.secondary, "compare", job.tuning.reading_patience()).await?;
    let row = streams::load(&mut secondary, &job.tables(), &job.stream_key()).await?;
    let Some(watermark) = row.watermark else {
        let what = format!("stream {:?} of {} was never synced", job.stream_key(), job.platform);
        return Err(Error::setup(what, "sync it first"));
    };
    let upstream = planning::choose_upstream(job, &row).await?;
    let mut primary = reader(job, &upstream.endpoint).await?;
    let held = datasets::named(job, &Roster::of(job, &row).held);
    let (pairs, tables) = planning::pairs(job, upstream, &mut primary, &mut secondary, &held).await?;
    let identity = row.identity.ok_or_else(|| Error::invariant("a watermark", "it has no identity"))?;
    // Locked before the snapshot is taken, as on the primary: a reveal or a rewrite cannot come in between.
    let tables_of_ours: Vec<_> = pairs.iter().map(|pair| ident(&pair.names.merge)).collect();
    let begin = format!(
        "begin isolation level repeatable read read only; lock table {} in access share mode",
        tables_of_ours.join(", ")
    );
    secondary.execute("opening a snapshot", begin).await?;
    let held = streams::load(&mut secondary, &job.tables(), &job.stream_key()).await?.watermark;
    if held != Some(watermark) {
        return Err(Error::setup("the secondary moved on while it was compared", "compare again"));
    }
    let mut rows = 0;
    for (pair, table) in pairs.iter().zip(&tables) {
        let relation = drafting::relation(pair, table);
        let expectation = Expectation {
            system: identity.system.clone(),
            metrics_table: metrics_table(&upstream.platform),
            stream_key: job.stream_key(),
            batches: vec![identity.batch.clone()],
            relations: vec![relation],
            position: None,
        };
        expectation.open(&mut primary, "compare").await?;
        rows += compare_dataset(pair, watermark, &mut primary, &mut secondary).await?;
        primary.commit("ending a read").await?;
    }
    secondary.commit("ending a read").await?;
    primary.close().await;
    secondary.close().await;
    Ok(Equal { watermark, rows })
}

async fn reader(job: &Job, endpoint: &Arc<Endpoint>) -> Result<Session> {
    Session::connect_reader(endpoint, "compare", job.tuning.reading_patience()).await
}

async fn compare_dataset(
    pair: &Pair,
    watermark: PrimaryBatch,
    primary: &mut Session,
    secondary: &mut Session,
) -> Result<u64> {
    let mut expected = Side::open(primary, &compare::of_primary(pair, watermark)).await?;
    let mut actual = Side::open(secondary, &compare::of_secondary(pair)).await?;
    let mut rows = 0;
    loop {
        let (wanted, found) = (expected.next().await?, actual.next().await?);
        if wanted != found {
            return Err(difference(pair, watermark, wanted, found));
        }
        match wanted {
            Some(_) => rows += 1,
            None => return Ok(rows),
        }
    }
}

fn difference(
    pair: &Pair,
    watermark: PrimaryBatch,
    wanted: Option<Vec<u8>>,
    found: Option<Vec<u8>>,
) -> Error {
    let shown = |row: Option<Vec<u8>>| match row {
        None => "no row".to_owned(),
        Some(row) => String::from_utf8_lossy(&row).trim_end().replace('\t', " | "),
    };
    let versions = if pair.holding == Holding::Mirror { "versions" } else { "rows" };
    Error::Diverged {
        table: ident(&pair.names.merge),
        seen: format!(
            "in key order the first {versions} that differ as of batch {watermark} are, on the primary: {}; here: {}",
            shown(wanted),
            shown(found)
        ),
        hooks: Vec::new(),
    }
}

/// One side of the comparison.
struct Side<'a> {
    source: Source<'a>,
    rows: Rows,
}

impl<'a> Side<'a> {
    async fn open(session: &'a mut Session, statement: &str) -> Result<Side<'a>> {
        Ok(Side { source: Source::open(session, statement).await?, rows: Rows::new(Format::Text, 0) })
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>> {
        loop {
            if let Some(row) = self.rows.next()? {
                return Ok(Some(row.bytes.to_vec()));
            }
            match self.source.next().await? {
                Some(bytes) => self.rows.feed(&bytes),
                None => return Ok(None),
            }
        }
    }
}
