//! A primary that is not the one the watermark belongs to, or that lost its history, is not read.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{At, Table, Tape, World, inserts, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step, Unobserved};
use milestream_worker::sync::{Job, Until};
use milestream_worker::{Class, Error, Holding};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A primary at batch 3 whose secondary is at batch 2.
async fn one_behind(holding: Holding) -> (World, Job) {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    world.commit(updates("people", 0..5, "changed")).await;
    let job = world.job("Edge", holding);
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 3..9, "changed again")).await;
    (world, job)
}

async fn refused(world: &World, job: &Job) -> Error {
    let error = world.sync(job).await.unwrap_err();
    world.assert_holds(job, 2).await;
    let reason = world.stream_state(job, "halted_reason").await.expect("a reason");
    assert!(reason.starts_with(&error.to_string()) && reason.contains("What to do: "), "{reason}");
    assert_eq!(error.class(), Class::Blocked);
    error
}

/// The primary's metrics change; the sync says so and writes nothing.
async fn metrics_changed(change: &str, seen: &str) {
    for holding in BOTH {
        let (world, job) = one_behind(holding).await;
        world.execute("primary", change).await;
        let error = refused(&world, &job).await;
        assert!(matches!(&error, Error::PrimaryReset { seen: told, .. } if told.contains(seen)), "{error}");
    }
}

#[tokio::test]
async fn a_watermarks_batch_that_was_written_again_is_noticed() {
    let again =
        "update hub_batch_metrics set batch_end_time = batch_end_time + interval '1 hour' where batch_id = 2";
    metrics_changed(again, "batch 2 was").await;
}

#[tokio::test]
async fn a_watermarks_batch_that_is_gone_is_noticed() {
    metrics_changed(
        "delete from hub_batch_metrics where batch_id = 2",
        "batch 2 is gone, its oldest after that is 3",
    )
    .await;
}

#[tokio::test]
async fn a_primary_restored_to_an_earlier_batch_is_noticed() {
    metrics_changed(
        "delete from hub_batch_metrics where batch_id > 1",
        "it has no committed batch from 2 on",
    )
    .await;
}

#[tokio::test]
async fn a_watermarks_batch_that_is_not_committed_any_more_is_noticed() {
    let failed = "update hub_batch_metrics set batch_status = 'failed' where batch_id >= 2";
    metrics_changed(failed, "it has no committed batch from 2 on").await;
}

#[tokio::test]
async fn another_database_with_the_same_batches_is_another_primary() {
    let (world, mut job) = one_behind(Holding::LiveOnly).await;
    world.disconnect().await;
    world.server.create_database_from_template("restored", "primary").await.unwrap();
    job.upstreams[0].endpoint = Arc::new(world.endpoint("primary Hub", "restored"));
    let error = refused(&world, &job).await;
    assert!(error.to_string().contains("it was database"), "{error}");
}

/// The primary's record of all its batches, written again.
const WRITTEN_AGAIN: &str =
    "update hub_batch_metrics set batch_start_time = batch_start_time - interval '1 hour'";

#[tokio::test]
async fn a_seed_whose_primary_is_reset_between_two_chunks_is_planned_anew() {
    let world = World::new(vec![Table::people().sparse()]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 10;
        tuning.parallelism = 1;
    });
    world.commit(inserts("people", 0..40)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let tape = Arc::new(Tape::default());
    let script = world.script(Step::ChunkCommitted, [WRITTEN_AGAIN.to_owned()]);
    let observer = Observers::default().and(tape.clone()).and(script);
    world.sync_with(&job, Until::CaughtUp, Arc::new(observer)).await.unwrap();
    let replanned = tape.notices(NoticeKind::Replanned);
    assert!(replanned.len() == 1 && replanned[0].contains("was reset or restored"), "{replanned:?}");
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn an_increment_whose_primary_is_reset_while_it_is_away_is_not_gone_on_with() {
    for holding in BOTH {
        let (world, mut job) = one_behind(holding).await;
        job.tuning.seed_chunk_rows = 2;
        let stop = Arc::new(At::stop(Step::ChunkCommitted, 1));
        world.sync_with(&job, Until::CaughtUp, stop).await.unwrap_err();
        world.expire_lease(&job).await;
        world.execute("primary", WRITTEN_AGAIN).await;
        let error = refused(&world, &job).await;
        assert!(matches!(error, Error::PrimaryReset { .. }), "{error}");
    }
}

/// Versions vanish from the primary's history; the ledger says which.
async fn pruned(which: &str, what: &str) {
    for holding in BOTH {
        let (world, job) = one_behind(holding).await;
        world
            .execute("primary", format!("delete from {} where {which}", world.primary_table("people")))
            .await;
        let error = refused(&world, &job).await;
        assert!(
            matches!(&error, Error::Pruned { what: told, found: 5, recorded: 6, .. } if *told == what),
            "{holding:?}: {error}"
        );
    }
}

#[tokio::test]
async fn history_pruned_past_the_watermark_is_noticed_by_its_closures() {
    pruned("id = 3 and ds_surf_batch_out = 2", "closed").await;
}

#[tokio::test]
async fn history_pruned_past_the_watermark_is_noticed_by_its_openings() {
    pruned("id = 8 and ds_surf_batch_in = 3", "opened").await;
}

#[tokio::test]
async fn history_pruned_before_the_watermark_does_not_matter_to_an_increment() {
    for holding in BOTH {
        let (world, job) = one_behind(holding).await;
        world
            .execute(
                "primary",
                format!("delete from {} where ds_surf_batch_out < 2", world.primary_table("people")),
            )
            .await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 3).await;
    }
}

#[tokio::test]
async fn counts_that_the_primary_does_not_record_are_not_compared() {
    let (world, job) = one_behind(Holding::LiveOnly).await;
    world.execute("primary", "update hub_batch_metrics set records_inserted = null where batch_id = 3").await;
    world.sync_with(&job, Until::CaughtUp, Arc::new(Unobserved)).await.unwrap();
    world.assert_holds(&job, 3).await;
}
