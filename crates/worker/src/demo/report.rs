//! What the demo says.

use std::sync::Arc;
use std::time::Duration;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::calendar::Changes;
use super::stage::Stage;
use crate::comparison::compare_rows;
use crate::error::{Error, Result};
use crate::ingest::IngestOutcome;
use crate::observer::{Answer, Event, Happening, Notice, Observer, Step, Verdict};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::assembled;
use crate::sync::Job;
use crate::tables::streams;

/// Tells what a secondary does, a line at a time.
pub(super) struct Narrator {
    platform: &'static str,
}

impl Narrator {
    pub(super) fn of(platform: &'static str) -> Arc<Narrator> {
        Arc::new(Narrator { platform })
    }

    fn tell(&self, event: &Event) -> Option<String> {
        match (&event.happening, event.step) {
            (Happening::Plan { from: None, to, chunks, rows_estimated, .. }, _) => {
                Some(format!("seed as of batch {to}: {chunks} chunks, about {rows_estimated} rows"))
            }
            (Happening::Plan { from: Some(from), to, .. }, _) => {
                Some(format!("increment over ({from}, {to}]"))
            }
            (Happening::Chunk { dataset, chunk, rows, .. }, Step::ChunkCommitted) if *rows > 0 => {
                Some(format!("chunk {chunk} of {dataset}: {rows} rows"))
            }
            (Happening::Commit { watermark, inserted, updated, deleted }, Step::AfterCommit) => {
                Some(format!("holds batch {watermark} now: +{inserted} ~{updated} -{deleted}"))
            }
            _ => None,
        }
    }
}

impl Observer for Narrator {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        if let Some(text) = self.tell(event) {
            println!("  {:<8} {text}", self.platform);
        }
        Box::pin(std::future::ready(Verdict::GoOn))
    }

    fn notice(&self, notice: &Notice) {
        println!("  {:<8} {}", self.platform, notice.text);
    }
}

/// One line a month: what happened to the source, and what the primary made of it.
pub(super) fn month(month: u32, changes: Changes, batch: &IngestOutcome) {
    println!(
        "month {month:>2}: source +{} ~{} -{}; primary committed batch {}: {} versions opened, {} closed",
        changes.inserted,
        changes.updated,
        changes.deleted,
        batch.batch,
        batch.inserted,
        batch.updated + batch.deleted
    );
}

/// Compares every secondary with the primary row by row, and shows where each stands.
///
/// # Errors
/// `Diverged` when a secondary does not hold what it must.
pub(super) async fn outcome(jobs: &[Arc<Job>], newest: u32, took: Duration) -> Result<()> {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["platform", "phase", "watermark", "lag batches", "lag s", "syncs", "rows", "rows/s"]);
    for job in jobs {
        let equal = compare_rows(job).await?;
        let standing = Standing::of(job).await?;
        let lag = i64::from(newest) - i64::from(equal.watermark.0);
        let lag_seconds = if lag == 0 { 0.0 } else { standing.age_seconds };
        table.add_row([
            job.platform.clone(),
            standing.phase,
            equal.watermark.to_string(),
            lag.to_string(),
            format!("{lag_seconds:.1}"),
            standing.syncs.to_string(),
            equal.rows.to_string(),
            format!("{:.0}", standing.rows_per_second),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(6) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}\n");
    println!(
        "Every row of both secondaries was compared with the primary's and is equal. All of it took {:.1} s.",
        took.as_secs_f64()
    );
    Ok(())
}

/// What a secondary's own tables say of it.
struct Standing {
    phase: String,
    syncs: i64,
    rows_per_second: f64,
    age_seconds: f64,
}

impl Standing {
    async fn of(job: &Job) -> Result<Standing> {
        let mut session =
            Session::connect_reader(&job.secondary, "report", job.tuning.reading_patience()).await?;
        let tables = job.tables();
        let row = streams::load(&mut session, &tables, &job.stream_key()).await?;
        let question = format!(
            "select count(*), (coalesce(sum(rows_staged), 0) * 1000 \
                / greatest(sum(copy_ms + landing_ms + merge_ms + commit_ms), 1))::float8, \
             extract(epoch from clock_timestamp() - max(committed_at))::float8 from {} where stream_key = $1",
            tables.sync_history
        );
        let query = sqlx::query(assembled(question)).bind(job.stream_key());
        let figures = session.row("reading the history", query).await?;
        session.close().await;
        let figures = figures.ok_or_else(|| Error::invariant(&tables.sync_history, "a count gave no row"))?;
        Ok(Standing {
            phase: row.flight.map_or("idle", |flight| flight.phase()).to_owned(),
            syncs: figures.field(0)?,
            rows_per_second: figures.field(1)?,
            age_seconds: figures.field(2)?,
        })
    }
}

/// What to look at while the servers are there.
pub(super) fn invitation(stage: &Stage, exits: bool) {
    println!("\nDatabases:");
    for (name, url) in stage.connection_strings() {
        println!("  {name:<8} psql {url}");
    }
    if exits {
        return;
    }
    println!("\nLook around:");
    println!("  milestream status --config {}", stage.configuration().display());
    println!(
        "  milestream plan --config {} --platform Edge --store Flights",
        stage.configuration().display()
    );
    println!("\nCtrl-C ends the demo and removes all of it.");
}
