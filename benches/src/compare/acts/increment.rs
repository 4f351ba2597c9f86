//! Increments: against the seed, and that they cost what changed and not what is there.

use crate::compare::acts::figure;
use crate::compare::acts::load::buffers_touched;
use crate::compare::acts::seed::ratio_mark;
use crate::compare::history::People;
use crate::compare::report::{Report, Table};
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;

/// One of so many.
pub(super) const ONE_PERCENT: u64 = 100;

/// What rounds of increments took on one table.
#[derive(Default)]
struct Taken {
    seconds: Sample,
    /// Of them, the statements that change the merge table.
    merging: Sample,
    /// What the secondary wrote ahead meanwhile.
    wal_mib: Sample,
    buffers_a_row: Sample,
}

/// The same records on both tables; then one percent of the large table against its seed. In this order: where records
/// of the whole table were replaced before, the holes that they left are filled from then on, and what changed lies
/// scattered in the large table alone.
pub(super) async fn against_seed(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let (large, small) = (stage.headline().await, stage.small().await);
    let rows = large.keys / ONE_PERCENT;
    let mut seed = Sample::default();
    let [mut spread, mut on_large, mut on_small] = [0; 3].map(|_| Taken::default());
    for _ in stage.rounds() {
        for (people, taken) in [(&large, &mut on_large), (&small, &mut on_small)] {
            stage.seed(&stage.live(people), people, &[]).await?;
            taken.add(stage, people, rows, small.keys).await?;
        }
    }
    for _ in stage.rounds() {
        seed.push(stage.seed(&stage.live(&large), &large, &[]).await?.took.as_secs_f64());
        spread.add(stage, &large, rows, large.keys).await?;
    }
    let mut table = Table::new(
        format!("Increments of {rows} rows; the seed of {} took {seed} s", large.keys),
        &["where", "seconds", "of them merging", "secondary's WAL, MiB", "primary's buffers a row"],
    );
    for (place, taken) in [
        (format!("spread over {} rows", large.keys), &spread),
        (format!("among the first {} of {} rows", small.keys, large.keys), &on_large),
        (format!("on {} rows", small.keys), &on_small),
    ] {
        table.row([
            place,
            taken.seconds.text(3, ""),
            taken.merging.text(3, ""),
            taken.wal_mib.text(0, ""),
            taken.buffers_a_row.text(2, ""),
        ]);
    }
    report.table(table);
    let what = format!("increment of 1 % on {} rows against the seed", large.keys);
    report.mark(ratio_mark(what, &spread.seconds.per_pair(&seed), 0.12));
    let of = format!("the same {rows} rows on {} against on {}", large.keys, small.keys);
    report.mark(ratio_mark(format!("increment of {of}"), &on_large.seconds.per_pair(&on_small.seconds), 1.6));
    let buffers = on_large.buffers_a_row.per_pair(&on_small.buffers_a_row);
    report.mark(ratio_mark(format!("buffers a row, increment of {of}"), &buffers, 1.2));
    Ok(())
}

impl Taken {
    /// One batch that replaces `rows` of the first `keys` keys, and the increment that brings it.
    async fn add(&mut self, stage: &Stage, people: &People, rows: u64, keys: u64) -> Result<(), String> {
        let changed = people.replace_among(&stage.ground.primary, rows, keys).await;
        let (before, wal_before) = (buffers_touched(stage, people).await, wal_written(stage).await);
        let finished = stage.live(people).sync(&[]).await?;
        let touched = buffers_touched(stage, people).await - before;
        let written = wal_written(stage).await - wal_before;
        self.seconds.push(finished.took.as_secs_f64());
        self.merging.push(figure(stage.told("merge_ms").await.unsigned_abs()) / 1e3);
        self.wal_mib.push(figure(written.unsigned_abs()) / f64::from(1 << 20));
        self.buffers_a_row.push(figure(touched.unsigned_abs()) / figure(changed));
        let updated = u64::try_from(stage.told("rows_updated").await).unwrap_or(0);
        if updated == changed { Ok(()) } else { Err(format!("{updated} rows were updated, not {changed}")) }
    }
}

/// Bytes of WAL that the secondary has written since it was made.
async fn wal_written(stage: &Stage) -> i64 {
    stage.ground.ask_target("select (pg_current_wal_insert_lsn() - '0/0')::int8").await
}
