//! The leader's side of `sync --join`: chunks that helpers have claimed are waited for, and given back where the helper
//! is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::copying::{Plan, copy_all};
use super::ground::Ground;
use crate::error::Result;
use crate::observer::NoticeKind;
use crate::postgres::Session;
use crate::tables::chunks::ChunkScope;
use crate::tables::helped_chunks::{self, Held, Left};
use crate::tables::lease::Lease;

/// Time between the first two looks at what helpers hold; most are at the end of a chunk then.
const LOOK_SOON: Duration = Duration::from_millis(25);
/// The same when that takes longer.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Copies all chunks of the plan: those that can be claimed here, and those that helpers have claimed and leave behind.
///
/// # Errors
/// Those of the copy; `Stopped`.
pub(crate) async fn copy_with_helpers(
    ground: &Arc<Ground>,
    plan: &Arc<Plan>,
    workers: usize,
    secondary: &mut Session,
) -> Result<()> {
    loop {
        copy_all(ground, plan, workers).await?;
        if !wait(ground, plan, secondary).await? {
            return Ok(());
        }
    }
}

/// Waits until nobody copies any more; whether there are chunks to be copied here after all.
async fn wait(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<bool> {
    let scope = plan.scope(ground);
    let mut watched = Watched::default();
    let mut is_told = false;
    let mut before_look = LOOK_SOON;
    loop {
        // Our own workers have ended: whatever is still being copied is a helper's.
        let Left { is_any_pending, held } = helped_chunks::left(secondary, &ground.tables, &scope).await?;
        if held.is_empty() {
            if is_any_pending {
                // A helper's claim had locked them when our workers looked.
                tokio::time::sleep(LOOK_SOON).await;
            }
            return Ok(is_any_pending);
        }
        if !is_told {
            let count = held.len();
            ground.notice(NoticeKind::Helped, format!("waiting for {count} chunks that helpers copy"));
            is_told = true;
        }
        let lost = watched.lost(&held, ground.job.tuning.silence_timeout);
        if !lost.is_empty() {
            give_back(ground, plan, secondary, &lost).await?;
            return Ok(true);
        }
        tokio::time::sleep(before_look).await;
        before_look = (before_look + LOOK_SOON / 5).min(LOOK_EVERY);
        ground.check_stop()?;
    }
}

/// Takes a plan away from helpers that another one is to take the place of: none of its chunks can be claimed any more,
/// and whoever copies one is ended, since its landing tables are made anew.
///
/// # Errors
/// Those of the secondary; `Fenced`.
pub(crate) async fn withdraw(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    secondary.begin().await?;
    helped_chunks::withdraw(secondary, &ground.tables, &plan.scope(ground)).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("withdrawing a plan").await?;
    dismiss(ground, plan, secondary).await
}

/// Ends whoever copies chunks of a plan.
///
/// # Errors
/// Those of the secondary.
pub(crate) async fn dismiss(ground: &Ground, plan: &Plan, secondary: &mut Session) -> Result<()> {
    dismiss_all(ground, plan.generation, &plan.lease, secondary).await
}

/// The same for the plan of a generation that the lease's stream has.
pub(crate) async fn dismiss_all<J>(
    ground: &Ground<J>,
    generation: i32,
    lease: &Lease,
    secondary: &mut Session,
) -> Result<()> {
    let (stream, worker) = (ground.stream.clone(), ground.worker.clone());
    let scope = ChunkScope { stream, generation, token: lease.token(), worker };
    let left = helped_chunks::left(secondary, &ground.tables, &scope).await?;
    end(&left.held.iter().collect::<Vec<_>>(), secondary).await
}

async fn end(held: &[&Held], secondary: &mut Session) -> Result<()> {
    // One session may hold many chunks.
    let backends: BTreeSet<_> = held.iter().filter_map(|held| held.backend.as_ref()).collect();
    for backend in backends {
        secondary.terminate(backend).await?;
    }
    Ok(())
}

/// Takes chunks from helpers that are gone or stand still: their sessions are ended first, so that nothing of theirs can
/// still be committed.
async fn give_back(ground: &Ground, plan: &Plan, secondary: &mut Session, lost: &[&Held]) -> Result<()> {
    end(lost, secondary).await?;
    let ordinals: Vec<i32> = lost.iter().map(|held| held.chunk).collect();
    secondary.begin().await?;
    let scope = plan.scope(ground);
    let given_back = helped_chunks::give_back(secondary, &ground.tables, &scope, &ordinals).await?;
    plan.lease.fence(secondary).await?;
    secondary.commit("giving back a helper's chunks").await?;
    ground.notice(
        NoticeKind::Helped,
        format!("a helper is gone or stands still; {given_back} of its chunks are copied here"),
    );
    Ok(())
}

/// How far helpers had come, and since when.
#[derive(Default)]
struct Watched(BTreeMap<i32, (Option<i64>, Instant)>);

impl Watched {
    /// Chunks whose session is gone, or has not moved a byte for as long as `silence`.
    fn lost<'h>(&mut self, held: &'h [Held], silence: Duration) -> Vec<&'h Held> {
        let now = Instant::now();
        let is_lost = |held: &&Held| {
            let (copied, since) = self.0.entry(held.chunk).or_insert((held.bytes_copied, now));
            if *copied != held.bytes_copied {
                (*copied, *since) = (held.bytes_copied, now);
            }
            held.is_gone || now.duration_since(*since) > silence
        };
        held.iter().filter(is_lost).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(chunk: i32, is_gone: bool, bytes_copied: Option<i64>) -> Held {
        Held { chunk, backend: None, is_gone, bytes_copied }
    }

    fn lost(watched: &mut Watched, held: &[Held], silence: Duration) -> Vec<i32> {
        watched.lost(held, silence).iter().map(|held| held.chunk).collect()
    }

    #[test]
    fn a_helper_that_moves_keeps_its_chunk_and_one_that_is_gone_does_not() {
        let (mut watched, patient) = (Watched::default(), Duration::from_secs(3600));
        assert_eq!(lost(&mut watched, &[held(1, false, None), held(2, true, Some(5))], patient), [2]);
        assert_eq!(lost(&mut watched, &[held(1, false, None)], patient), [0; 0], "claimed, not begun");
    }

    #[test]
    fn a_helper_that_stands_still_loses_its_chunk() {
        let mut watched = Watched::default();
        let pause = Duration::from_millis(5);
        assert_eq!(lost(&mut watched, &[held(1, false, Some(5))], pause), [0; 0]);
        std::thread::sleep(pause * 2);
        assert_eq!(lost(&mut watched, &[held(1, false, Some(6))], pause), [0; 0], "it moved meanwhile");
        std::thread::sleep(pause * 2);
        assert_eq!(lost(&mut watched, &[held(1, false, Some(6))], pause), [1]);
    }
}
