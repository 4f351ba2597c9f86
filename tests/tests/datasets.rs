//! Datasets that come to a stream and leave it, and platforms that go by another name.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{
    At, Configuration, PRIMARY, Process, STORE, Table, Tape, World, control, deletes, inserts, updates,
};
use milestream_worker::comparison::compare_rows;
use milestream_worker::observer::{NoticeKind, Observers, Step, Unobserved};
use milestream_worker::reset::{self, Order};
use milestream_worker::sync::{Job, Outcome, Until};
use milestream_worker::{Error, Holding};

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");
const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A primary of two datasets at batch 2.
async fn two_datasets() -> World {
    let mut world = World::new(vec![Table::people().sparse(), Table::named_people("staff").sparse()]).await;
    world.commit([inserts("people", 0..300), inserts("staff", 0..300)].concat()).await;
    world.commit([updates("people", 0..20, "changed"), updates("staff", 5..30, "changed")].concat()).await;
    world
}

/// The same stream before `staff` was in the model, or after it left.
fn without_staff(job: &Job) -> Job {
    let mut without = job.clone();
    without.stream.datasets.pop();
    without
}

async fn sync_told(world: &World, job: &Job, until: Until) -> (Outcome, Vec<String>) {
    let tape = Arc::new(Tape::default());
    let outcome = world.sync_with(job, until, tape.clone()).await.unwrap();
    (outcome, tape.notices(NoticeKind::Warning))
}

/// What the secondary holds of the stream's datasets equals the primary's as of its watermark.
async fn assert_equal(job: &Job, batch: i32) {
    let equal = compare_rows(&Arc::new(job.clone())).await.unwrap();
    assert_eq!(equal.watermark.0, batch);
}

fn rows(cells: &[Option<&str>]) -> Vec<Option<String>> {
    milestream_tests::texts(cells)
}

#[tokio::test]
async fn a_dataset_that_comes_is_seeded_by_itself_inside_the_next_sync() {
    for holding in BOTH {
        let mut world = two_datasets().await;
        let job = world.job("Edge", holding);
        world.sync(&without_staff(&job)).await.unwrap();
        world.commit([deletes("people", 0..7), updates("staff", 0..9, "again")].concat()).await;
        let (outcome, told) = sync_told(&world, &job, Until::OneSync).await;
        assert_eq!((outcome.watermark.map(|batch| batch.0), told), (Some(3), vec![]));
        world.assert_holds(&job, 3).await;
        let history = world.history(&job, "kind, from_batch, to_batch, rows_staged").await;
        let increment = if holding == Holding::LiveOnly { "16" } else { "25" };
        let seeded = |all: &str| rows(&[Some("seed"), None, Some("2"), Some(all)]);
        let all = if holding == Holding::LiveOnly { ["300", "300"] } else { ["320", "325"] };
        assert_eq!(
            history,
            [
                seeded(all[0]),
                seeded(all[1]),
                rows(&[Some("increment"), Some("2"), Some("3"), Some(increment)])
            ],
            "people were not seeded again"
        );
        let held = "select string_agg(name, ',' order by name) from edge_sync_stream, jsonb_object_keys(schema_versions) name";
        assert_eq!(world.value("secondary", held).await.as_deref(), Some("people,staff"));
    }
}

#[tokio::test]
async fn a_dataset_that_comes_without_a_new_batch_does_not_wait_for_one() {
    for holding in BOTH {
        let world = two_datasets().await;
        let job = world.job("Edge", holding);
        world.sync(&without_staff(&job)).await.unwrap();
        let recorded = format!(
            "select string_agg(concat_ws('|', batch_id, batch_start_time, batch_end_time, batch_status, records_inserted), ',') \
             from {} where batch_id <= 2 and state like '%\"people\"%'",
            control(&job, "batch_metrics")
        );
        let before = world.value("secondary", recorded.clone()).await;
        let (outcome, told) = sync_told(&world, &job, Until::OneSync).await;
        assert!(outcome.caught_up && told.is_empty(), "{told:?}");
        world.assert_holds(&job, 2).await;
        assert_eq!(world.value("secondary", recorded).await, before, "the batch of the others is as it was");
        let (outcome, _) = sync_told(&world, &job, Until::OneSync).await;
        assert_eq!(outcome.syncs, 0, "and nothing is left to do");
    }
}

#[tokio::test]
async fn a_dataset_that_goes_stays_as_it_is_and_comes_back_by_difference() {
    for holding in BOTH {
        let mut world = two_datasets().await;
        let job = world.job("Edge", holding);
        let without = without_staff(&job);
        world.sync(&job).await.unwrap();
        world.commit([updates("people", 0..9, "once"), updates("staff", 0..9, "once")].concat()).await;
        let (_, told) = sync_told(&world, &without, Until::CaughtUp).await;
        let expected = "dataset \"staff\" is not in the model any more: \"edge_store1_staff_merge\" stays as it is, as of batch 2";
        assert_eq!(told, [expected]);
        assert_equal(&without, 3).await;
        let touched = "select count(*) from edge_store1_staff_merge where name = 'once'";
        assert_eq!(world.number(touched).await, 0);
        let left = world.stream_state(&job, "datasets_left").await;
        assert_eq!(left.as_deref(), Some("{\"staff\": 2}"));
        // The primary goes on counting it, and that is no pruned history.
        world.commit([updates("people", 0..9, "twice"), deletes("staff", 0..9)].concat()).await;
        let (_, told) = sync_told(&world, &without, Until::CaughtUp).await;
        assert_eq!(told, [""; 0], "it was said once");
        assert_equal(&without, 4).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 4).await;
        assert_eq!(world.stream_state(&job, "datasets_left").await, None);
    }
}

#[tokio::test]
async fn history_that_is_pruned_is_noticed_whatever_datasets_went() {
    for pruned in ["people", "staff"] {
        let mut world = two_datasets().await;
        let job = world.job("Edge", Holding::LiveOnly);
        world.sync(&job).await.unwrap();
        world.commit([updates("people", 0..9, "once"), updates("staff", 0..9, "once")].concat()).await;
        let prune =
            format!("delete from {} where id = 3 and ds_surf_batch_in = 3", world.primary_table(pruned));
        world.execute("primary", prune).await;
        let error = world.sync(&without_staff(&job)).await.unwrap_err();
        assert!(matches!(error, Error::Pruned { found: 17, recorded: 18, .. }), "{error}");
    }
}

#[tokio::test]
async fn a_dataset_whose_table_is_gone_leaves_nothing_to_compare_and_that_is_said() {
    let mut world = two_datasets().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.commit([updates("people", 0..9, "once"), updates("staff", 0..9, "once")].concat()).await;
    world.execute("primary", format!("drop table {}", world.primary_table("staff"))).await;
    let without = without_staff(&job);
    let (_, told) = sync_told(&world, &without, Until::CaughtUp).await;
    assert!(
        told.iter()
            .any(|told| told.contains("Hub also counted datasets whose tables cannot be read (staff)")),
        "{told:?}"
    );
    assert_equal(&without, 3).await;
}

#[tokio::test]
async fn a_dataset_that_only_the_primary_has_does_not_disturb_the_others() {
    let mut world = two_datasets().await;
    let job = world.job("Edge", Holding::Mirror);
    let without = without_staff(&job);
    world.sync(&without).await.unwrap();
    world.commit([updates("people", 0..9, "once"), updates("staff", 0..9, "once")].concat()).await;
    let (_, told) = sync_told(&world, &without, Until::CaughtUp).await;
    assert_eq!(told, [""; 0]);
    assert_equal(&without, 3).await;
}

#[tokio::test]
async fn a_dataset_that_the_primary_does_not_have_yet_is_waited_for() {
    let mut world = two_datasets().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&without_staff(&job)).await.unwrap();
    let (table, aside) = (world.primary_table("staff"), "not_ingested_yet");
    world.commit(updates("people", 0..9, "once")).await;
    world.execute("primary", format!("alter table {table} rename to {aside}")).await;
    let state = "update hub_batch_metrics set state = '{\"all_datasets\": [\"people\"]}'";
    world.execute("primary", state).await;
    let (_, told) = sync_told(&world, &job, Until::CaughtUp).await;
    assert!(told[0].contains("\"staff\" is new in the model, and Hub has no table of it yet"), "{told:?}");
    assert_equal(&without_staff(&job), 3).await;
    world.execute("primary", format!("alter table {aside} rename to {table}")).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 3).await;
}

/// A seed of `staff` beside the watermark, stopped with a chunk done.
async fn stopped_beside(world: &World, job: &Job) {
    world.sync(&without_staff(job)).await.unwrap();
    let stop = Arc::new(At::stop(Step::ChunkCommitted, 1));
    world.sync_with(job, Until::OneSync, stop).await.unwrap_err();
    world.expire_lease(job).await;
    assert_eq!(world.watermark(job).await, Some(2));
}

#[tokio::test]
async fn a_dataset_that_comes_is_taken_up_where_a_dead_worker_left_it() {
    for holding in BOTH {
        let mut world = two_datasets().await;
        let job = world.job("Edge", holding);
        stopped_beside(&world, &job).await;
        world.commit([deletes("staff", 0..9), updates("people", 3..9, "later")].concat()).await;
        let tape = Arc::new(Tape::default());
        world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
        assert_eq!(tape.notices(NoticeKind::Resumed).len(), 1);
        world.assert_holds(&job, 3).await;
    }
}

#[tokio::test]
async fn a_dataset_that_goes_again_in_the_middle_of_its_seed_is_forgotten() {
    for holding in BOTH {
        for has_more in [false, true] {
            let mut world = two_datasets().await;
            let job = world.job("Edge", holding);
            stopped_beside(&world, &job).await;
            let newest = if has_more { world.commit(updates("people", 3..9, "later")).await } else { 2 };
            let without = without_staff(&job);
            world.sync(&without).await.unwrap();
            assert_equal(&without, newest).await;
            assert_eq!(world.flight(&job).await, None);
            world.sync(&job).await.unwrap();
            world.assert_holds(&job, newest).await;
        }
    }
}

#[tokio::test]
async fn a_reset_throws_the_seed_of_a_dataset_away_and_leaves_the_others() {
    for holding in BOTH {
        let world = two_datasets().await;
        let job = world.job("Edge", holding);
        stopped_beside(&world, &job).await;
        let job_of_all = Arc::new(job.clone());
        reset::of_secondary(job_of_all, Order::default(), Arc::new(Unobserved)).await.unwrap();
        assert_eq!(world.flight(&job).await, None);
        assert_equal(&without_staff(&job), 2).await;
        let committed = format!(
            "select count(*) from {} where batch_status = 'committed'",
            control(&job, "batch_metrics")
        );
        assert_eq!(world.number(committed).await, 1);
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
    }
}

#[tokio::test]
async fn an_increment_in_flight_goes_on_without_the_dataset_that_comes() {
    let mut world = two_datasets().await;
    let job = world.job("Edge", Holding::LiveOnly);
    let without = without_staff(&job);
    world.sync(&without).await.unwrap();
    world.commit(updates("people", 0..250, "once")).await;
    let stop = Arc::new(At::stop(Step::ChunkCommitted, 2));
    world.sync_with(&without, Until::OneSync, stop).await.unwrap_err();
    world.expire_lease(&job).await;
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(tape.clone());
    world.sync_with(&job, Until::CaughtUp, Arc::new(observer)).await.unwrap();
    assert_eq!((tape.notices(NoticeKind::Resumed).len(), tape.notices(NoticeKind::Replanned).len()), (1, 0));
    world.assert_holds(&job, 3).await;
}

#[tokio::test]
async fn plan_and_status_name_datasets_that_come_and_go() {
    let mut world = two_datasets().await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&without_staff(&job)).await.unwrap();
    let configuration = Configuration::of(&world, "");
    let run = |command: &str| {
        let ended =
            Process::run(BINARY, configuration.path(), &[command, "--platform", "Edge", "--store", STORE]);
        assert!(ended.status.success(), "{ended:?}");
        ended.stdout
    };
    let plan = run("plan");
    assert!(plan.contains("a seed of staff from Hub as of batch 2, which the others hold"), "{plan}");
    let status = run("status");
    assert!(status.contains("dataset staff is new in the model: the next sync seeds it"), "{status}");
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 0..3, "later")).await;
    let smaller = Configuration::of(&World::new(vec![Table::people()]).await, "");
    let store = std::fs::read_to_string(smaller.path().join("datastore.json")).unwrap();
    configuration.write("datastore.json", &store);
    let left =
        "\"staff\" is not in the model any more: \"edge_store1_staff_merge\" stays as it is, as of batch 2";
    let plan = run("plan");
    assert!(plan.contains("batch 2 to 3") && plan.contains(left), "{plan}");
    for _ in 0..2 {
        let status = run("status");
        let left = "dataset staff is not in the model any more: its table stays as of batch 2";
        assert!(status.contains(left), "{status}");
        run("sync");
    }
}

#[tokio::test]
async fn a_primary_that_is_renamed_with_its_tables_is_followed_on() {
    for in_flight in [false, true] {
        let mut world = two_datasets().await;
        let mut job = world.job("Edge", Holding::Mirror);
        world.sync(&job).await.unwrap();
        world.commit([updates("people", 0..250, "once"), deletes("staff", 0..9)].concat()).await;
        if in_flight {
            let stop = Arc::new(At::stop(Step::ChunkCommitted, 2));
            world.sync_with(&job, Until::OneSync, stop).await.unwrap_err();
            world.expire_lease(&job).await;
        }
        job.upstreams[0].platform = "Center".into();
        let error = world.sync(&job).await.unwrap_err();
        assert!(error.to_string().contains(&format!("follows primary \"{PRIMARY}\"")), "{error}");
        let advice = error.advice();
        assert!(advice.contains("give its tables the new name"), "{advice}");
        assert!(advice.contains("`milestream reset --reseed --platform Edge --store Store1`"), "{advice}");
        for table in ["batch_metrics", "batch_counter", "store1_people_merge", "store1_staff_merge"] {
            let rename = format!("alter table if exists hub_{table} rename to center_{table}");
            world.execute("primary", rename).await;
        }
        let (_, told) = sync_told(&world, &job, Until::CaughtUp).await;
        assert_eq!(
            told,
            [
                "primary Hub is called Center now: it is the same database with the same batches, and the stream goes on"
            ]
        );
        world.assert_holds(&job, 3).await;
        assert_eq!(world.stream_state(&job, "primary_platform").await.as_deref(), Some("Center"));
        let kinds = world.history(&job, "kind").await;
        assert_eq!(kinds, [rows(&[Some("seed")]), rows(&[Some("increment")])]);
    }
}

#[tokio::test]
async fn another_primary_is_not_taken_for_a_renamed_one() {
    let mut world = two_datasets().await;
    let mut job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 0..9, "once")).await;
    for table in ["batch_metrics", "store1_people_merge", "store1_staff_merge"] {
        world.execute("primary", format!("create table center_{table} as table hub_{table}")).await;
    }
    let other = "update center_batch_metrics set batch_start_time = batch_start_time - interval '1 s'";
    world.execute("primary", other).await;
    job.upstreams[0].platform = "Center".into();
    let error = world.sync(&job).await.unwrap_err();
    assert!(error.to_string().contains("follows primary \"Hub\""), "{error}");
    world.assert_holds(&job, 2).await;
}

/// A secondary that was called `Old` when it was synced, and is called `Edge` in the model now.
async fn renamed_secondary() -> (World, Job, Configuration) {
    let mut world = two_datasets().await;
    world.sync(&world.job("Old", Holding::LiveOnly)).await.unwrap();
    // Another platform of the model, with the same stream in the same database.
    world.sync(&world.job("Archive", Holding::Mirror)).await.unwrap();
    world.commit([updates("people", 0..9, "once"), deletes("staff", 0..9)].concat()).await;
    let configuration = Configuration::of(&world, "");
    let job = world.job("Edge", Holding::LiveOnly);
    (world, job, configuration)
}

const SYNC: [&str; 6] = ["sync", "--platform", "Edge", "--store", STORE, "--until-caught-up"];

#[tokio::test]
async fn a_secondary_that_is_renamed_goes_on_without_a_seed_once_its_tables_are() {
    let (world, job, configuration) = renamed_secondary().await;
    let plan = Process::run(BINARY, configuration.path(), &["plan", "--platform", "Edge", "--store", STORE]);
    assert!(plan.stdout.contains("holds stream \"Store1\" as of batch 2"), "{plan:?}");
    let ended = Process::run(BINARY, configuration.path(), &SYNC);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert_eq!(world.stream_state(&job, "phase").await, None, "nothing was made yet");
    let advice = ended.stderr.split_once("without a seed: ").expect("statements").1;
    let statements = advice.split_once("; to seed it").expect("statements").0;
    assert!(
        !statements.contains("archive_") && statements.contains("\"edge_store1_staff_merge\""),
        "{statements}"
    );
    world.execute("secondary", statements).await;
    let ended = Process::run(BINARY, configuration.path(), &SYNC);
    assert!(ended.status.success(), "{ended:?}");
    world.assert_holds(&job, 3).await;
    let kinds = world.history(&job, "kind").await;
    assert_eq!(kinds, [rows(&[Some("seed")]), rows(&[Some("increment")])]);
}

#[tokio::test]
async fn a_secondary_beside_tables_of_a_former_name_is_seeded_when_that_is_asked_for() {
    let (world, job, configuration) = renamed_secondary().await;
    let ended = Process::run(BINARY, configuration.path(), &SYNC);
    let command =
        ended.stderr.split('`').find(|part| part.starts_with("milestream reset")).expect("a command");
    let words: Vec<_> = command.split(' ').skip(1).collect();
    let reset = Process::run(BINARY, configuration.path(), &words);
    assert!(reset.status.success(), "{reset:?}");
    let ended = Process::run(BINARY, configuration.path(), &SYNC);
    assert!(ended.status.success(), "{ended:?}");
    world.assert_holds(&job, 3).await;
}
