//! Increments: what happened over (X, Y] arrives, whatever it was and however it is cut.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_oracle::{Cell, Operation, Row};
use milestream_tests::{Dice, Table, Tape, World, control, deletes, inserts, person, texts, updates};
use milestream_worker::Holding;
use milestream_worker::observer::{Step, Unobserved};
use milestream_worker::sync::{IncrementStrategy, Job, Until};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// Both secondaries of a world, seeded.
async fn seeded(world: &World) -> Vec<Job> {
    let jobs: Vec<_> = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding)).into();
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, world.oracle.newest_batch()).await;
    }
    jobs
}

async fn follow(world: &World, jobs: &[Job]) {
    for job in jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, world.oracle.newest_batch()).await;
    }
}

/// Random batches; every secondary syncs at moments of its own, in steps and chunks of its own.
async fn random_histories(seeds: std::ops::Range<u64>) {
    let mut world = World::new(vec![Table::people()]).await;
    for seed in seeds {
        let mut dice = Dice::new(seed);
        let jobs: Vec<_> = BOTH
            .map(|holding| {
                let mut job = world.job(&format!("Edge{seed}{holding:?}"), holding);
                job.tuning.seed_chunk_rows = dice.pick(&[1, 2, 3, 7, 100]);
                job.tuning.max_rows_per_sync = dice.pick(&[0, 3, 10, 1000]);
                job.tuning.max_delete_fraction = 1.0;
                job.tuning.increment_strategy =
                    dice.pick(&[IncrementStrategy::Keys, IncrementStrategy::Blocks]);
                job
            })
            .into();
        for _ in 0..6 {
            let batch = dice.batch("people", world.live("people"), 30, 12);
            world.commit(batch).await;
            for job in &jobs {
                let until = dice.pick(&[None, None, Some(Until::OneSync), Some(Until::CaughtUp)]);
                if let Some(until) = until {
                    let outcome = world.sync_with(job, until, Arc::new(Unobserved)).await;
                    let outcome =
                        outcome.unwrap_or_else(|error| panic!("seed {seed}, {:?}: {error}", job.holding));
                    world.assert_holds(job, outcome.watermark.unwrap().0).await;
                }
            }
        }
        follow(&world, &jobs).await;
    }
}

#[tokio::test]
async fn random_histories_arrive_1_to_5() {
    random_histories(1..6).await;
}

#[tokio::test]
async fn random_histories_arrive_6_to_10() {
    random_histories(6..11).await;
}

#[tokio::test]
async fn a_record_that_is_gone_is_gone() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let jobs = seeded(&world).await;
    world.commit(deletes("people", 3..6)).await;
    follow(&world, &jobs).await;
}

#[tokio::test]
async fn a_record_that_comes_back_is_there_with_its_new_content_or_its_old() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let jobs = seeded(&world).await;
    world.commit(deletes("people", 0..4)).await;
    let mut back = inserts("people", 0..2);
    back.extend((2..4).map(|id| ("people", Operation::Insert(person(id, "another", None)))));
    world.commit(back.clone()).await;
    follow(&world, &jobs).await;
    world.commit(deletes("people", 0..4)).await;
    follow(&world, &jobs).await;
    world.commit(back).await;
    follow(&world, &jobs).await;
}

#[tokio::test]
async fn a_record_that_came_and_went_within_a_range_leaves_nothing_in_a_live_only_table() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..3)).await;
    let jobs = seeded(&world).await;
    world.commit(inserts("people", 50..53)).await;
    world.commit(deletes("people", 50..53)).await;
    follow(&world, &jobs).await;
    let staged = format!("select count(*) from {}", "edgeliveonly_store1_people_staging");
    assert_eq!(world.number(staged).await, 0, "nothing was even staged");
}

#[tokio::test]
async fn null_and_the_empty_text_are_two_contents() {
    let mut world = World::new(vec![Table::people()]).await;
    world
        .commit(vec![
            ("people", Operation::Insert(person(1, "to null", Some("")))),
            ("people", Operation::Insert(person(2, "to empty", None))),
        ])
        .await;
    let jobs = seeded(&world).await;
    world
        .commit(vec![
            ("people", Operation::Update(person(1, "to null", None))),
            ("people", Operation::Update(person(2, "to empty", Some("")))),
        ])
        .await;
    follow(&world, &jobs).await;
}

#[tokio::test]
async fn a_changed_key_value_is_a_deletion_and_an_insertion() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..3)).await;
    let jobs = seeded(&world).await;
    let mut moved = deletes("people", 1..2);
    moved.push(("people", Operation::Insert(person(11, "name 1", Some("Ghent")))));
    world.commit(moved).await;
    follow(&world, &jobs).await;
    let counts = world.history(&jobs[0], "rows_inserted, rows_updated, rows_deleted").await;
    assert_eq!(counts.last().unwrap(), &texts(&[Some("1"), Some("0"), Some("1")]));
}

#[tokio::test]
async fn keys_whose_texts_run_together_alike_are_two_keys() {
    let legs = Table::new("legs", &[("a", "integer"), ("b", "integer")], &[("note", "text")]);
    let mut world = World::new(vec![legs]).await;
    let leg =
        |a: &str, b: &str, note: &str| Row { key: texts(&[Some(a), Some(b)]), columns: texts(&[Some(note)]) };
    world.commit(vec![("legs", Operation::Insert(leg("1", "11", "x")))]).await;
    let jobs = seeded(&world).await;
    world.commit(vec![("legs", Operation::Insert(leg("11", "1", "x")))]).await;
    follow(&world, &jobs).await;
    world.commit(vec![("legs", Operation::Update(leg("1", "11", "y")))]).await;
    follow(&world, &jobs).await;
    world.commit(vec![("legs", Operation::Delete(texts(&[Some("11"), Some("1")])))]).await;
    follow(&world, &jobs).await;
}

#[tokio::test]
async fn empty_batches_move_the_watermark() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(vec![]).await;
    let jobs = seeded(&world).await;
    world.commit(vec![]).await;
    world.commit(vec![]).await;
    follow(&world, &jobs).await;
    assert!(world.sync(&jobs[0]).await.unwrap().why.unwrap().contains("batch 3 is the newest"));
}

#[tokio::test]
async fn the_primary_may_go_on_while_a_delta_is_read() {
    let world = World::new(vec![Table::people()]).await;
    let mut world = world.with_tuning(|tuning| tuning.seed_chunk_rows = 10);
    world.commit(inserts("people", 0..200)).await;
    let jobs = seeded(&world).await;
    for job in &jobs {
        world.commit(updates("people", 0..100, "changed")).await;
        world.commit(deletes("people", 90..110)).await;
        let y = world.oracle.newest_batch();
        let mut dice = Dice::new(3);
        let later: Vec<_> = (0..6)
            .map(|_| {
                let batch = dice.batch("people", world.live("people"), 210, 80);
                world.statements(batch).1
            })
            .collect();
        let script = world.script(Step::ChunkCommitted, later);
        world.sync_with(job, Until::OneSync, script.clone()).await.unwrap();
        world.assert_holds(job, y).await;
        assert!(script.left().await < 6);
        script.finish().await;
        follow(&world, std::slice::from_ref(job)).await;
        let back = inserts("people", 0..110).into_iter().filter(|(_, operation)| match operation {
            Operation::Insert(row) => !world.live("people").contains_key(&row.key),
            _ => false,
        });
        world.commit(back.collect()).await;
        follow(&world, std::slice::from_ref(job)).await;
    }
}

#[tokio::test]
async fn a_range_stays_within_the_rows_of_one_sync() {
    let world = World::new(vec![Table::people()]).await;
    let mut world = world.with_tuning(|tuning| tuning.max_rows_per_sync = 25);
    world.commit(inserts("people", 0..5)).await;
    let jobs = seeded(&world).await;
    for first in [10, 20, 30, 40] {
        world.commit(inserts("people", first..first + 10)).await;
    }
    world.commit(inserts("people", 100..160)).await;
    follow(&world, &jobs).await;
    let targets: Vec<Vec<Cell>> = world.history(&jobs[0], "to_batch").await;
    assert_eq!(targets.concat(), texts(&[Some("1"), Some("3"), Some("5"), Some("6")]));
}

#[tokio::test]
async fn batches_that_are_not_committed_are_not_read() {
    let mut world = World::new(vec![Table::people()]).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let unfinished = |batch: i32, status: &str| {
        format!(
            "insert into hub_batch_metrics (key, batch_id, batch_start_time, batch_status) \
             values ('Store1', {batch}, now(), '{status}');"
        )
    };
    world.execute("primary", unfinished(1, "started")).await;
    let outcome = world.sync(&job).await.unwrap();
    assert!(outcome.why.unwrap().contains("no committed batch"), "nothing to do before the first commit");
    assert_eq!(outcome.watermark, None);
    world.execute("primary", "delete from hub_batch_metrics").await;
    world.commit(inserts("people", 0..5)).await;
    for status in ["started", "ingested", "failed"] {
        world.execute("primary", unfinished(2, status)).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 1).await;
        world.execute("primary", "delete from hub_batch_metrics where batch_id = 2").await;
    }
    world.commit(inserts("people", 5..9)).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn a_delta_is_cut_into_chunks_of_the_size_asked_for() {
    let world = World::new(vec![Table::people()]).await;
    let mut world = world.with_tuning(|tuning| tuning.seed_chunk_rows = 7);
    world.commit(inserts("people", 0..5)).await;
    let jobs = seeded(&world).await;
    world.commit(inserts("people", 10..31)).await;
    for job in &jobs {
        let tape = Arc::new(Tape::default());
        world.sync_with(job, Until::CaughtUp, tape.clone()).await.unwrap();
        world.assert_holds(job, 2).await;
        let rows = tape.rows(Step::ChunkCommitted);
        assert_eq!((rows.iter().sum::<u64>(), rows.iter().max()), (21, Some(&7)), "{rows:?}");
        let left = format!("select count(*) from {}", control(job, "sync_chunk"));
        assert_eq!(world.number(left).await, 0, "chunk rows are gone with the commit");
    }
}

#[tokio::test]
async fn deltas_of_several_datasets_are_cut_side_by_side() {
    let names = ["people", "staff", "guests"];
    let world = World::new(names.map(Table::named_people).to_vec()).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 3;
        tuning.parallelism = 3;
    });
    world.commit(vec![]).await;
    let jobs = seeded(&world).await;
    world
        .commit(names.iter().zip([20, 5, 30]).flat_map(|(name, rows)| inserts(name, 0..rows)).collect())
        .await;
    follow(&world, &jobs).await;
}

#[tokio::test]
async fn random_histories_arrive_11_to_15() {
    random_histories(11..16).await;
}

#[tokio::test]
async fn random_histories_arrive_16_to_20() {
    random_histories(16..21).await;
}
