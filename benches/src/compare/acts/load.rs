//! What a seed asks of the primary: buffers and connections.

use std::time::Duration;

use crate::compare::acts::figure;
use crate::compare::history::{People, TABLE};
use crate::compare::link::Link;
use crate::compare::marks::Mark;
use crate::compare::report::Report;
use crate::compare::stage::Stage;

/// A session hands its counts in when it ends, a moment after its client has left.
const SETTLE: Duration = Duration::from_millis(500);
/// Streams of a sync unless something else is asked for.
const PARALLELISM: f64 = 2.0;

/// Buffers of the table, its indexes and long values that were touched since the server began, found in memory or not.
pub(super) async fn buffers_touched(stage: &Stage, people: &People) -> i64 {
    tokio::time::sleep(SETTLE).await;
    let question = format!(
        "select (heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0) \
           + coalesce(toast_blks_read + toast_blks_hit, 0))::int8 from pg_statio_user_tables where relname = '{TABLE}'"
    );
    people.ask(&stage.ground.primary, &question).await
}

/// A seed with the count and one without, against the blocks of the table.
pub(super) async fn on_primary(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let people = stage.headline().await;
    let link =
        Link::to(stage.ground.primary.port(), Duration::ZERO).await.map_err(|error| error.to_string())?;
    let secondary = stage.live(&people).through(link.port());
    let blocks =
        people.ask(&stage.ground.primary, &format!("select pg_relation_size('{TABLE}') / 8192")).await;
    for (verify, at_most) in [("count", 2.1), ("off", 1.05)] {
        let before = buffers_touched(stage, &people).await;
        stage.seed(&secondary, &people, &["--verify-seed", verify]).await?;
        let touched = buffers_touched(stage, &people).await - before;
        let scans = figure(touched.unsigned_abs()) / figure(blocks.unsigned_abs());
        let what = format!("buffers of the primary touched by a seed, verify_seed = {verify}");
        let shown = format!("{scans:.2} scans ({touched} of {blocks} blocks)");
        report.mark(Mark::measured(what, scans, shown, at_most, " scans"));
    }
    let seen = link.take();
    let shown = format!("{} at once, {} made in two seeds", seen.open_max, seen.connections);
    let what = format!("connections to the primary, parallelism {PARALLELISM}");
    report.mark(Mark::measured(what, figure(seen.open_max), shown, PARALLELISM + 2.0, ""));
    Ok(())
}
