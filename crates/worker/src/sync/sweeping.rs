//! The sweep: what was closed while its table was read by blocks, brought when every block is durable.

use std::sync::Arc;

use super::copying::Plan;
use super::ground::Ground;
use super::helpers::copy_with_helpers;
use crate::error::{Error, Result};
use crate::observer::{Happening, Step};
use crate::postgres::Session;
use crate::tables::chunks;

/// Sweeps every dataset that is read by blocks.
///
/// # Errors
/// `Invariant` when a chunk is not durable by then; those of the copy.
pub(crate) async fn sweep(ground: &Arc<Ground>, plan: &Arc<Plan>, secondary: &mut Session) -> Result<()> {
    ground.reach(Step::Sweeping, Happening::Reached).await?;
    chunks::open_sweeps(secondary, &ground.tables, &plan.scope(ground)).await?;
    let workers = ground.job.tuning.parallelism.min(plan.pairs.len());
    copy_with_helpers(ground, plan, workers, secondary).await?;
    require_all(ground, plan, secondary).await?;
    ground.reach(Step::Swept, Happening::Reached).await
}

/// That all chunks are done is counted: a claim that finds none may only mean that others hold the rest.
///
/// # Errors
/// `Invariant` when one is not.
pub(crate) async fn require_all(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    let progress = chunks::progress(secondary, &ground.tables, &ground.stream, plan.generation).await?;
    if progress.done == progress.chunks {
        return Ok(());
    }
    let what = format!("{} of {} chunks are done after the copy", progress.done, progress.chunks);
    Err(Error::invariant(&ground.tables.sync_chunk, what))
}
