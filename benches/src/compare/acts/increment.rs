//! Increments: against the seed, and that they cost what changed and not what is there.

use crate::compare::acts::figure;
use crate::compare::acts::load::buffers_touched;
use crate::compare::acts::seed::ratio_mark;
use crate::compare::history::People;
use crate::compare::marks::Mark;
use crate::compare::report::{Report, Table};
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;

/// One of so many.
pub(super) const ONE_PERCENT: u64 = 100;

/// What rounds of seed and increment took on one table.
#[derive(Default)]
struct Taken {
    seed: Sample,
    increment: Sample,
    buffers_a_row: Sample,
}

pub(super) async fn against_seed(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let (large, small) = (stage.headline().await, stage.small().await);
    let rows = large.keys / ONE_PERCENT;
    let (mut of_large, mut of_small) = (Taken::default(), Taken::default());
    for _ in stage.rounds() {
        of_large.add(stage, &large, rows).await?;
        of_small.add(stage, &small, rows).await?;
    }
    let title = format!("An increment of {rows} rows");
    let mut table =
        Table::new(title, &["on rows", "seed, seconds", "increment, seconds", "primary's buffers a row"]);
    for (people, taken) in [(&large, &of_large), (&small, &of_small)] {
        let figures = [&taken.seed, &taken.increment, &taken.buffers_a_row].map(|sample| sample.text(3, ""));
        table.row(std::iter::once(people.keys.to_string()).chain(figures));
    }
    report.table(table);
    let what = format!("increment of 1 % on {} rows against the seed", large.keys);
    report.mark(ratio_mark(what, &of_large.increment.per_pair(&of_large.seed), 0.12));
    let of = format!("{rows} rows on {} against on {}", large.keys, small.keys);
    report.mark(ratio_mark(
        format!("increment of {of}"),
        &of_large.increment.per_pair(&of_small.increment),
        1.6,
    ));
    let buffers = of_large.buffers_a_row.per_pair(&of_small.buffers_a_row);
    let what = format!("buffers a row, increment of {of}");
    report.mark(Mark::measured(what, buffers.median(), buffers.text(2, " ×"), 1.2, " ×"));
    Ok(())
}

impl Taken {
    async fn add(&mut self, stage: &Stage, people: &People, rows: u64) -> Result<(), String> {
        let secondary = stage.live(people);
        self.seed.push(stage.seed(&secondary, people, &[]).await?.took.as_secs_f64());
        let changed = people.replace(&stage.ground.primary, rows).await;
        let before = buffers_touched(stage, people).await;
        let finished = secondary.sync(&[]).await?;
        let touched = buffers_touched(stage, people).await - before;
        self.increment.push(finished.took.as_secs_f64());
        self.buffers_a_row.push(figure(touched.unsigned_abs()) / figure(changed));
        let updated = u64::try_from(stage.told("rows_updated").await).unwrap_or(0);
        if updated == changed { Ok(()) } else { Err(format!("{updated} rows were updated, not {changed}")) }
    }
}
