//! A primary that is not the one the watermark belongs to, or that lost its history, is not read.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{At, Table, Tape, World, deletes, inserts, updates};
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

/// The primary of a job in a copy of its database, as after a restore on another server.
async fn moved(world: &World, job: &Job, change: &str) -> Job {
    world.disconnect().await;
    world.server.create_database_from_template("restored", "primary").await.unwrap();
    world.execute("restored", change).await;
    let mut job = job.clone();
    job.upstreams[0].endpoint = Arc::new(world.endpoint("primary Hub", "restored"));
    job
}

#[tokio::test]
async fn the_same_history_in_another_database_is_adopted_and_said_once() {
    for holding in BOTH {
        let (world, job) = one_behind(holding).await;
        let job = moved(&world, &job, "select 1").await;
        for adopted in [1, 0] {
            let tape = Arc::new(Tape::default());
            world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
            let notices = tape.notices(NoticeKind::Warning);
            let told = notices.iter().filter(|text| text.contains("with the same history")).count();
            assert_eq!(told, adopted, "{notices:?}");
            world.assert_holds(&job, 3).await;
        }
    }
}

#[tokio::test]
async fn a_sync_in_flight_goes_on_when_its_primary_is_found_in_another_database() {
    for holding in BOTH {
        let (world, mut job) = one_behind(holding).await;
        job.tuning.seed_chunk_rows = 2;
        let stop = Arc::new(At::stop(Step::ChunkCommitted, 1));
        world.sync_with(&job, Until::CaughtUp, stop).await.unwrap_err();
        world.expire_lease(&job).await;
        let job = moved(&world, &job, "select 1").await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 3).await;
    }
}

#[tokio::test]
async fn another_history_before_the_same_watermark_is_another_primary() {
    let other = "update hub_batch_metrics set records_inserted = records_inserted + 1 where batch_id = 1";
    let (world, job) = one_behind(Holding::LiveOnly).await;
    let job = moved(&world, &job, other).await;
    let error = refused(&world, &job).await;
    assert!(error.to_string().contains("whose batches before 2 are others"), "{error}");
}

#[tokio::test]
async fn a_history_that_grew_by_increments_is_known_on_another_server() {
    let (mut world, job) = one_behind(Holding::LiveOnly).await;
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 3..9, "and again")).await;
    let other = "update hub_batch_metrics set records_inserted = records_inserted + 1 where batch_id = 2";
    let job = moved(&world, &job, "select 1").await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 4).await;
    world.disconnect().await;
    world.server.create_database_from_template("other", "restored").await.unwrap();
    world.execute("other", other).await;
    let mut job = job;
    job.upstreams[0].endpoint = Arc::new(world.endpoint("primary Hub", "other"));
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(error, Error::PrimaryReset { .. }), "{error}");
}

#[tokio::test]
async fn another_table_with_fewer_rows_halts() {
    let (world, job) = one_behind(Holding::LiveOnly).await;
    let job = moved(
        &world,
        &job,
        "create table again (like hub_store1_people_merge including all); \
         insert into again select * from hub_store1_people_merge where id <> 15; \
         drop table hub_store1_people_merge; alter table again rename to hub_store1_people_merge",
    )
    .await;
    let error = refused(&world, &job).await;
    assert!(error.to_string().contains("is another table since batch 2: 19 rows are live"), "{error}");
}

/// An increment from 2 to 3 of which one chunk has been copied.
async fn in_flight(holding: Holding) -> (World, Job) {
    let (world, mut job) = one_behind(holding).await;
    job.tuning.seed_chunk_rows = 2;
    let stop = Arc::new(At::stop(Step::ChunkCommitted, 1));
    world.sync_with(&job, Until::CaughtUp, stop).await.unwrap_err();
    world.expire_lease(&job).await;
    (world, job)
}

/// Statements that take batch 3 back, as a failover to a standby that had not got it.
fn lost(world: &World) -> String {
    let table = world.primary_table("people");
    format!(
        "delete from {table} where ds_surf_batch_in = 3; \
         update {table} set ds_surf_batch_out = 2147483647 where ds_surf_batch_out = 2; \
         delete from hub_batch_metrics where batch_id = 3"
    )
}

#[tokio::test]
async fn a_batch_in_flight_that_is_lost_is_given_up_since_the_watermark_is_what_it_was() {
    for holding in BOTH {
        let (world, job) = in_flight(holding).await;
        world.execute("primary", lost(&world)).await;
        let outcome = world.sync(&job).await.unwrap();
        assert!(outcome.caught_up && outcome.syncs == 0, "{outcome:?}");
        world.assert_holds(&job, 2).await;
        assert_eq!(world.flight(&job).await, None);
        let started = format!(
            "select count(*) from {} where batch_status <> 'committed'",
            milestream_tests::control(&job, "batch_metrics")
        );
        assert_eq!(world.number(started).await, 0);
    }
}

#[tokio::test]
async fn a_batch_in_flight_that_was_written_again_is_planned_anew() {
    for holding in BOTH {
        let (world, job) = in_flight(holding).await;
        let table = world.primary_table("people");
        let again = format!(
            "update {table} set name = 'otherwise' where ds_surf_batch_in = 3; \
             update hub_batch_metrics set batch_end_time = batch_end_time + interval '1 hour' where batch_id = 3"
        );
        world.execute("primary", again).await;
        world.sync(&job).await.unwrap();
        assert_eq!(world.watermark(&job).await, Some(3));
        let names =
            format!("select count(*) from {} where name = 'otherwise'", world.merge_table(&job, "people"));
        assert_eq!(world.number(names).await, 6);
    }
}

#[tokio::test]
async fn a_primary_that_was_emptied_and_filled_again_is_followed_past_the_empty_batch() {
    for holding in BOTH {
        let mut world = World::new(vec![Table::people()]).await;
        world.commit(inserts("people", 0..20)).await;
        let job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        world.commit(deletes("people", 0..20)).await;
        for _ in 0..2 {
            let error = world.sync(&job).await.unwrap_err();
            assert!(matches!(error, Error::TooManyDeletes { .. }), "{error}");
            world.assert_holds(&job, 1).await;
        }
        world.commit(inserts("people", 0..25)).await;
        let tape = Arc::new(Tape::default());
        world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
        assert!(tape.notices(NoticeKind::Replanned)[0].contains("max_delete_fraction"));
        world.assert_holds(&job, 3).await;
        assert_eq!(world.flight(&job).await, None);
    }
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
