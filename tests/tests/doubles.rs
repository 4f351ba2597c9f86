//! Primaries that hold one key live more than once: a live-only secondary takes the newest version, and says so once.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{Table, Tape, World, inserts};
use milestream_worker::Holding;
use milestream_worker::observer::{NoticeKind, Observer, Observers, Step};
use milestream_worker::sync::{IncrementStrategy, Job, SeedStrategy, Until, VerifySeed};

/// A world of twenty people as of batch 1.
async fn people() -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    world
}

/// A batch that opens versions beside those that are live, each a key and a name, or closes versions, each a key and the
/// batch that opened it.
async fn collide(world: &mut World, opened: &[(i32, &str)], closed: &[(i32, i32)]) -> i32 {
    let batch = world.commit(vec![]).await;
    let statements = collision(world, batch, opened, closed);
    world.execute("primary", statements).await;
    batch
}

fn collision(world: &World, batch: i32, opened: &[(i32, &str)], closed: &[(i32, i32)]) -> String {
    let table = world.primary_table("people");
    let mut statements = format!(
        "update hub_batch_metrics set records_inserted = {}, records_deleted = {} where batch_id = {batch};",
        opened.len(),
        closed.len()
    );
    for (id, name) in opened {
        statements.push_str(&format!(
            "insert into {table} (id, name, town, ds_surf_all_hash, ds_surf_key_hash, ds_surf_batch_in, ds_surf_batch_out) \
             values ({id}, '{name}', null, md5('{name}'), md5('{id}'), {batch}, 2147483647);"
        ));
    }
    for (id, opened) in closed {
        statements.push_str(&format!(
            "update {table} set ds_surf_batch_out = {} where id = {id} and ds_surf_batch_in = {opened};",
            batch - 1
        ));
    }
    statements
}

/// Syncs; the warnings that it gave, and that nothing was planned anew.
async fn sync(world: &World, job: &Job, until: Until) -> Vec<String> {
    let tape = Arc::new(Tape::default());
    world.sync_with(job, until, tape.clone()).await.unwrap();
    assert_eq!(tape.notices(NoticeKind::Replanned), Vec::<String>::new());
    tape.notices(NoticeKind::Warning)
}

/// The secondary holds the newest version of each key that is live as of `batch`, and nothing else.
async fn assert_newest(world: &World, job: &Job, batch: i32) {
    assert_eq!(world.watermark(job).await, Some(batch));
    let newest = format!(
        "select string_agg(id || ' ' || name || ' ' || coalesce(town, '-'), ', ' order by id) from (select distinct on (id) * \
         from {} where ds_surf_batch_in <= {batch} and ds_surf_batch_out >= {batch} order by id, ds_surf_batch_in desc) n",
        world.primary_table("people")
    );
    let held = format!(
        "select string_agg(id || ' ' || name || ' ' || coalesce(town, '-'), ', ' order by id) from {}",
        world.merge_table(job, "people")
    );
    assert_eq!(world.value("secondary", held).await, world.value("primary", newest).await);
}

#[tokio::test]
async fn a_seed_takes_the_newest_version_and_says_so_once() {
    for (strategy, verify) in [
        (SeedStrategy::Blocks, VerifySeed::Count),
        (SeedStrategy::Blocks, VerifySeed::Content),
        (SeedStrategy::Blocks, VerifySeed::Off),
        (SeedStrategy::Keys, VerifySeed::Content),
    ] {
        let mut world = people().await;
        collide(&mut world, &[(3, "second")], &[]).await;
        collide(&mut world, &[(3, "third"), (5, "other")], &[]).await;
        let mut job = world.job("Edge", Holding::LiveOnly);
        (job.tuning.seed_strategy, job.tuning.verify_seed) = (strategy, verify);
        let warnings = sync(&world, &job, Until::CaughtUp).await;
        assert_newest(&world, &job, 3).await;
        assert_eq!(warnings.len(), 1, "{verify:?}: {warnings:?}");
        let said = "key (3) has 3 live versions as of batch 3 on the primary: batch_in 1 and 2 and 3; of 2 such keys";
        assert!(warnings[0].contains(said) && warnings[0].contains("having count(*) > 1"), "{warnings:?}");
    }
}

#[tokio::test]
async fn a_seed_takes_the_newest_version_also_where_it_was_closed_meanwhile() {
    let mut world = people().await;
    collide(&mut world, &[(3, "second")], &[]).await;
    let (batch, empty) = world.statements(vec![]);
    let closing = format!("{empty}; {}", collision(&world, batch, &[], &[(3, 2)]));
    let script = world.script(Step::Planned, [closing]);
    let job = world.job("Edge", Holding::LiveOnly);
    let observer: Arc<dyn Observer> = Arc::new(Observers::default().and(script));
    world.sync_with(&job, Until::OneSync, observer).await.unwrap();
    assert_newest(&world, &job, 2).await;
    sync(&world, &job, Until::CaughtUp).await;
    assert_newest(&world, &job, 3).await;
}

#[tokio::test]
async fn a_seed_by_difference_takes_the_newest_version() {
    let mut world = people().await;
    let job = world.job("Edge", Holding::LiveOnly);
    sync(&world, &job, Until::CaughtUp).await;
    collide(&mut world, &[(3, "second")], &[]).await;
    world.execute("secondary", "delete from edge_sync_stream").await;
    sync(&world, &job, Until::CaughtUp).await;
    assert_newest(&world, &job, 2).await;
}

#[tokio::test]
async fn an_increment_takes_the_newest_version_and_goes_back_to_an_older_that_stays() {
    for strategy in [IncrementStrategy::Keys, IncrementStrategy::Blocks] {
        let mut world = people().await;
        let mut job = world.job("Edge", Holding::LiveOnly);
        job.tuning.increment_strategy = strategy;
        world.sync(&job).await.unwrap();
        let warnings = async |world: &World, job: &Job| {
            let tape = Arc::new(Tape::default());
            world.sync_with(job, Until::CaughtUp, tape.clone()).await.unwrap();
            tape.notices(NoticeKind::Warning).into_iter().filter(|text| text.contains("such keys")).count()
        };
        collide(&mut world, &[(3, "second"), (5, "x")], &[]).await;
        let batch = collide(&mut world, &[(5, "y")], &[]).await;
        assert_eq!(warnings(&world, &job).await, 1, "{strategy:?}");
        assert_newest(&world, &job, batch).await;
        for closed in [[(5, 3)], [(3, 1)], [(5, 2)], [(3, 2)], [(5, 1)]] {
            let batch = collide(&mut world, &[], &closed).await;
            world.sync(&job).await.unwrap();
            assert_newest(&world, &job, batch).await;
        }
        let batch = collide(&mut world, &[(7, "second"), (8, "second")], &[(7, 1), (9, 1)]).await;
        world.sync(&job).await.unwrap();
        assert_newest(&world, &job, batch).await;
    }
}

#[tokio::test]
async fn versions_that_overlap_and_versions_of_no_length_are_followed() {
    let mut world = people().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    let table = world.primary_table("people");
    let versions =
        [(30, "a", 2, 4), (30, "b", 3, 5), (30, "c", 6, i32::MAX), (31, "z", 3, 2), (31, "y", 4, i32::MAX)];
    for (id, name, opened, closed) in versions {
        let insert = format!(
            "insert into {table} (id, name, town, ds_surf_all_hash, ds_surf_key_hash, ds_surf_batch_in, ds_surf_batch_out) \
             values ({id}, '{name}', null, md5('{name}'), md5('{id}'), {opened}, {closed})"
        );
        world.execute("primary", insert).await;
    }
    for _ in 2..7 {
        let batch = world.commit(vec![]).await;
        world.sync(&job).await.unwrap();
        assert_newest(&world, &job, batch).await;
    }
    let twin = world.job("Twin", Holding::LiveOnly);
    world.sync(&twin).await.unwrap();
    assert_newest(&world, &twin, 6).await;
}

#[tokio::test]
async fn a_mirror_holds_every_version_that_is_live() {
    let mut world = people().await;
    let job = world.job("Edge", Holding::Mirror);
    world.sync(&job).await.unwrap();
    collide(&mut world, &[(3, "second")], &[]).await;
    world.sync(&job).await.unwrap();
    let live =
        "select count(*) from edge_store1_people_merge where id = 3 and ds_surf_batch_out = 2147483647";
    assert_eq!(world.number(live).await, 2);
}
