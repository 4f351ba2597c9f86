//! What the primary's batches recorded against what its tables hold: rows of a seed, and the datasets that count.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{At, Table, Tape, World, control, deletes, inserts, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step};
use milestream_worker::sync::{Job, Until, Upstream, VerifySeed};
use milestream_worker::{Class, Error, Holding};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A primary at batch 3 that holds one live row less than its batches left: 14 of 15.
async fn one_lost() -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    world.commit(deletes("people", 15..20)).await;
    world.commit(updates("people", 0..5, "changed")).await;
    world.execute("primary", format!("delete from {} where id = 7", world.primary_table("people"))).await;
    world
}

async fn rows(world: &World, job: &Job) -> i64 {
    let live = if job.holding == Holding::Mirror { "where ds_surf_batch_out = 2147483647" } else { "" };
    world.number(format!("select count(*) from {} {live}", world.merge_table(job, "people"))).await
}

#[tokio::test]
async fn a_primary_that_lost_live_rows_is_not_seeded_from_unless_that_is_meant() {
    let world = one_lost().await;
    for holding in BOTH {
        let mut job = world.job(&format!("Edge{holding:?}"), holding);
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(&error, Error::LiveRowsLost { found: 14, recorded: 15, .. }), "{error}");
        assert_eq!(error.class(), Class::Blocked);
        assert!(error.advice().contains("--verify-seed off"), "{}", error.advice());
        assert_eq!(world.watermark(&job).await, None);
        let landed = format!("select to_regclass('{}')", world.merge_table(&job, "people"));
        assert_eq!(world.value("secondary", landed).await, None, "nothing can be read yet");
        let reason = world.stream_state(&job, "halted_reason").await.unwrap();
        assert!(reason.contains("14 are live as of batch 3, batch_metrics recorded 15"), "{reason}");
        job.tuning.verify_seed = VerifySeed::Off;
        world.sync(&job).await.unwrap();
        assert_eq!(rows(&world, &job).await, 14);
    }
}

#[tokio::test]
async fn live_rows_that_are_restored_are_seeded() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    let table = world.primary_table("people");
    world
        .execute("primary", format!("create table kept as table {table}; delete from {table} where id = 7"))
        .await;
    let job = world.job("Edge", Holding::LiveOnly);
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(&error, Error::LiveRowsLost { .. }), "{error}");
    world.execute("primary", format!("insert into {table} select * from kept where id = 7")).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

/// Batches that do not add up to what is live say nothing about it.
async fn not_judged(metrics: &str) {
    let world = one_lost().await;
    world.execute("primary", metrics).await;
    for holding in BOTH {
        let job = world.job(&format!("Edge{holding:?}"), holding);
        world.sync(&job).await.unwrap();
        assert_eq!(rows(&world, &job).await, 14, "{metrics}");
    }
}

#[tokio::test]
async fn a_primary_whose_old_metrics_are_pruned_is_seeded_from() {
    not_judged("delete from hub_batch_metrics where batch_id = 2").await;
}

#[tokio::test]
async fn a_primary_whose_metrics_are_silent_is_seeded_from() {
    not_judged("update hub_batch_metrics set records_deleted = null where batch_id = 2").await;
}

#[tokio::test]
async fn a_primary_that_followed_another_platform_once_is_seeded_from() {
    let state = r#"{"all_datasets": ["people"], "last_synced_primary_batch": 9}"#;
    not_judged(&format!("update hub_batch_metrics set state = '{state}' where batch_id = 1")).await;
}

#[tokio::test]
async fn a_mirror_may_have_a_mirror() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    let near = world.job("Near", Holding::Mirror);
    world.sync(&near).await.unwrap();
    world.commit(updates("people", 0..5, "changed")).await;
    world.sync(&near).await.unwrap();
    // As other mirrors count: what is live is no sum of it.
    world.execute("secondary", "update near_batch_metrics set records_inserted = 1000").await;
    let endpoint = Arc::new(world.endpoint("primary Near", "secondary"));
    let far = Job {
        upstreams: vec![Upstream { platform: near.platform.clone(), endpoint }],
        ..world.job("Far", Holding::Mirror)
    };
    world.sync(&far).await.unwrap();
    world.assert_holds(&far, 2).await;
    world.commit(updates("people", 3..9, "changed again")).await;
    world.sync(&near).await.unwrap();
    world.sync(&far).await.unwrap();
    world.assert_holds(&far, 3).await;
}

#[tokio::test]
async fn batches_that_also_counted_a_dataset_the_model_lacks_are_not_compared_and_that_is_said() {
    let world = one_lost().await;
    let state = r#"{"all_datasets": ["people", "former"]}"#;
    world
        .execute("primary", format!("update hub_batch_metrics set state = '{state}' where batch_id = 1"))
        .await;
    let job = world.job("Edge", Holding::LiveOnly);
    let tape = Arc::new(Tape::default());
    world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
    let warnings = tape.notices(NoticeKind::Warning);
    assert!(warnings.len() == 1 && warnings[0].contains("does not have (former)"), "{warnings:?}");
}

/// A stream of two datasets at batch 1 whose primary is at batch 2.
async fn two_datasets() -> (World, Job) {
    let mut world = World::new(vec![Table::people(), Table::named_people("staff")]).await;
    world.commit([inserts("people", 0..20), inserts("staff", 0..5)].concat()).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.commit([updates("people", 0..5, "changed"), updates("staff", 0..2, "changed")].concat()).await;
    (world, job)
}

#[tokio::test]
async fn a_stream_that_is_seeded_again_has_the_datasets_of_its_model() {
    let (mut world, job) = two_datasets().await;
    let mut without = job.clone();
    without.stream.datasets.pop();
    world.execute("secondary", "delete from edge_sync_stream").await;
    world.sync(&without).await.unwrap();
    world.commit([updates("people", 0..2, "changed again"), updates("staff", 0..2, "again")].concat()).await;
    world.sync(&without).await.unwrap();
    assert_eq!(world.watermark(&without).await, Some(3));
    let held = "select string_agg(name, ',') from edge_sync_stream, jsonb_object_keys(schema_versions) name";
    assert_eq!(world.value("secondary", held).await.as_deref(), Some("people"));
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 3).await;
}

#[tokio::test]
async fn a_dataset_that_leaves_the_model_in_mid_seed_plans_the_seed_anew() {
    let (world, _) = two_datasets().await;
    let job = world.job("Late", Holding::LiveOnly);
    let stopped = world.sync_with(&job, Until::OneSync, Arc::new(At::stop(Step::Landed, 2))).await;
    assert!(matches!(stopped, Err(Error::Abandoned { .. })), "{stopped:?}");
    world.expire_lease(&job).await;
    let mut without = job.clone();
    without.stream.datasets.pop();
    let tape = Arc::new(Tape::default());
    let observer = Arc::new(Observers::default().and(tape.clone()));
    world.sync_with(&without, Until::OneSync, observer).await.unwrap();
    assert_eq!(tape.notices(NoticeKind::Replanned).len(), 1);
    let held = format!(
        "select string_agg(name, ',') from {}, jsonb_object_keys(schema_versions) name",
        control(&job, "sync_stream")
    );
    assert_eq!(world.value("secondary", held).await.as_deref(), Some("people"));
}
