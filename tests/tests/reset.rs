//! `milestream reset`: the way back is a command, and what it leads to is right data.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{
    At, Configuration, Ended, PRIMARY, Process, STORE, Table, World, control, deletes, inserts, updates,
};
use milestream_worker::observer::{Step, Unobserved};
use milestream_worker::reset::{self, Order, Reset};
use milestream_worker::sync::{Job, Until};
use milestream_worker::{Error, Holding, StreamName};

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");
const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];
const RESEED: Order = Order { reseed: true, dry_run: false };

async fn order(job: &Job, order: Order) -> Result<Reset, Error> {
    reset::of_secondary(Arc::new(job.clone()), order, Arc::new(Unobserved)).await
}

/// Everything of the secondary that a reset might touch, as text.
async fn everything(world: &World) -> String {
    let tables = "select string_agg(format('select %L || t::text from %I t', relname || ' ', relname), ' union all ' \
                  order by relname) from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace";
    let question = world.value("secondary", tables).await.unwrap();
    let mut rows: Vec<String> =
        world.ask("secondary", question).await.into_iter().map(|row| row[0].clone().unwrap()).collect();
    rows.sort();
    rows.join("\n")
}

/// A primary at batch 1, and a seed that stopped with some of its chunks done.
async fn stopped_seed(holding: Holding) -> (World, Job) {
    let mut world = World::new(vec![Table::people().sparse()]).await;
    world.commit(inserts("people", 0..300)).await;
    let job = world.job("Edge", holding);
    let stop = Arc::new(At::stop(Step::ChunkCommitted, 2));
    world.sync_with(&job, Until::OneSync, stop).await.unwrap_err();
    (world, job)
}

async fn exists(world: &World, table: &str) -> bool {
    world.value("secondary", format!("select to_regclass('{table}')")).await.is_some()
}

#[tokio::test]
async fn an_open_seed_is_thrown_away_with_all_that_it_left() {
    for holding in BOTH {
        let (mut world, job) = stopped_seed(holding).await;
        world.expire_lease(&job).await;
        let done = order(&job, Order::default()).await.unwrap();
        let open = done.open.unwrap();
        assert_eq!((open.kind.as_str(), open.status.as_str()), ("seed", "started"));
        assert_eq!(world.flight(&job).await, None);
        for table in ["edge_store1_people_merge_landing", "edge_store1_people_merge_sweep"] {
            assert!(!exists(&world, table).await, "{table}");
        }
        for suffix in ["sync_chunk", "batch_metrics", "batch_counter"] {
            assert_eq!(
                world.number(format!("select count(*) from {}", control(&job, suffix))).await,
                0,
                "{suffix}"
            );
        }
        // The next sync has nothing of it: it seeds as of what is newest by then.
        world.commit(updates("people", 0..9, "later")).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
        let batches =
            format!("select string_agg(batch_id::text, ',') from {}", control(&job, "batch_metrics"));
        let first = if holding == Holding::Mirror { "2" } else { "1" };
        assert_eq!(world.value("secondary", batches).await.as_deref(), Some(first));
    }
}

#[tokio::test]
async fn an_open_increment_is_thrown_away_and_the_committed_batches_stay() {
    for holding in BOTH {
        let mut world = World::new(vec![Table::people()]).await;
        world.commit(inserts("people", 0..300)).await;
        let job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        world.commit(updates("people", 0..150, "changed")).await;
        let stop = Arc::new(At::stop(Step::BeforeCommit, 1));
        world.sync_with(&job, Until::OneSync, stop).await.unwrap_err();
        world.expire_lease(&job).await;
        world.execute("secondary", "update edge_sync_stream set halted_reason = 'something'").await;
        let done = order(&job, Order::default()).await.unwrap();
        assert_eq!(done.open.unwrap().status, "ingested");
        assert_eq!(done.committed.map(|batch| batch.0), Some(1));
        world.assert_holds(&job, 1).await;
        assert_eq!(world.stream_state(&job, "halted_reason").await, None);
        let staged = "select count(*) from edge_store1_people_staging where ds_surf_batch_id = 2";
        assert_eq!(world.number(staged).await, 0);
        let counter = format!(r#"select "currentBatch" from {}"#, control(&job, "batch_counter"));
        assert_eq!(world.number(counter).await, 1);
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
        let batches = format!(
            "select count(*) from {} where batch_status = 'committed'",
            control(&job, "batch_metrics")
        );
        assert_eq!(world.number(batches).await, 2);
    }
}

#[tokio::test]
async fn a_committed_batch_is_not_undone() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let virgin = order(&job, Order::default()).await.unwrap();
    assert!(virgin.statements.is_empty() && virgin.committed.is_none());
    assert!(!exists(&world, "edge_sync_stream").await, "not even its control tables are made");
    world.sync(&job).await.unwrap();
    let before = everything(&world).await;
    let nothing = order(&job, Order::default()).await.unwrap();
    assert!(nothing.open.is_none() && nothing.statements.is_empty());
    assert_eq!(everything(&world).await, before);
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_stream_that_somebody_leads_is_left_alone() {
    let (world, job) = stopped_seed(Holding::LiveOnly).await;
    let before = everything(&world).await;
    let owner = world.stream_state(&job, "lease_owner").await.unwrap();
    for asked in [Order::default(), RESEED, Order { reseed: false, dry_run: true }] {
        let error = order(&job, asked).await.unwrap_err();
        assert!(matches!(&error, Error::Busy { owner: told, .. } if *told == owner), "{error}");
        assert_eq!(error.exit_code(), 3);
    }
    assert_eq!(everything(&world).await, before);
}

#[tokio::test]
async fn a_worker_that_was_reset_while_it_slept_writes_nothing_more() {
    let mut world = World::new(vec![Table::people().sparse()]).await;
    world.commit(inserts("people", 0..300)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let (expired, ordered) = (world.connect_options("secondary"), job.clone());
    // It wakes in the middle of a chunk's transaction, which holds the landing table.
    let asleep = At::nth(Step::ChunkCommitting, 2, move || {
        let (expired, ordered) = (expired.clone(), ordered.clone());
        async move {
            let expire = "update edge_sync_stream set lease_expires_at = clock_timestamp() - interval '1 s'";
            milestream_tests::execute(&expired, expire.into()).await;
            order(&ordered, Order::default()).await.unwrap();
            milestream_worker::observer::Verdict::GoOn
        }
    });
    let mut slow = job.clone();
    slow.tuning.lease = std::time::Duration::from_secs(60);
    slow.tuning.parallelism = 1;
    slow.tuning.retry_tries = 1;
    world.sync_with(&slow, Until::OneSync, Arc::new(asleep)).await.unwrap_err();
    assert_eq!(world.flight(&job).await, None);
    assert!(!exists(&world, "edge_store1_people_merge_landing").await);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_reseed_mends_what_readers_see_and_only_with_its_commit() {
    for holding in BOTH {
        let mut world = World::new(vec![Table::people()]).await;
        world.commit(inserts("people", 0..60)).await;
        world.commit(updates("people", 0..9, "changed")).await;
        let job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        let broken = "delete from edge_store1_people_merge where id < 5; \
                      update edge_store1_people_merge set town = 'x' where id = 9; \
                      create view readers as select * from edge_store1_people_merge";
        world.execute("secondary", broken).await;
        let seen = async || world.ask("secondary", "select r::text from readers r order by 1").await;
        let before = seen().await;
        let done = order(&job, RESEED).await.unwrap();
        assert_eq!(done.readers_batch.map(|batch| batch.0), Some(2));
        let reseeding = world.stream_state(&job, "reseeding ->> 'readers_batch'").await;
        assert_eq!(reseeding.as_deref(), Some("2"));
        let again = order(&job, RESEED).await.unwrap();
        assert!(again.statements.is_empty(), "it waits for its seed already: {again:?}");
        world.sync_with(&job, Until::OneSync, Arc::new(At::stop(Step::BeforeCommit, 1))).await.unwrap_err();
        assert_eq!(seen().await, before, "readers see the state of before");
        world.expire_lease(&job).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
        assert_ne!(seen().await, before, "their view follows");
        assert_eq!(world.stream_state(&job, "reseeding").await, None);
        let kept = "select string_agg(relname, ',') from pg_class where relname ~ '^edge_store1_people_merge_kept_[0-9]{8}_[0-9]{6}$'";
        let kept = world.value("secondary", kept).await;
        match holding {
            Holding::LiveOnly => assert_eq!(kept, None),
            Holding::Mirror => {
                let kept = kept.expect("the history is kept");
                assert_eq!(done.kept, std::slice::from_ref(&kept));
                let rows = world.ask("secondary", format!("select k::text from {kept} k order by 1")).await;
                assert_eq!(rows, before, "as it was");
                let comment = format!("select obj_description('{kept}'::regclass)");
                let comment = world.value("secondary", comment).await.unwrap();
                assert!(comment.contains("as of batch 2 of Hub"), "{comment}");
            }
        }
        // And it goes on by increments.
        world.commit(deletes("people", 30..33)).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 3).await;
    }
}

#[tokio::test]
async fn two_reseeds_in_a_second_keep_two_histories() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..9)).await;
    let job = world.job("Edge", Holding::Mirror);
    world.sync(&job).await.unwrap();
    // Whatever second it is by then, somebody has kept something under it.
    let taken = "do $$ begin for second in 0..20 loop execute format('create table edge_store1_people_merge_kept_%s ()', \
                 to_char(clock_timestamp() at time zone 'utc' + second * interval '1 s', 'YYYYMMDD_HH24MISS')); end loop; end $$";
    world.execute("secondary", taken).await;
    let done = order(&job, RESEED).await.unwrap();
    assert!(done.kept.iter().all(|kept| kept.ends_with("_2")), "{:?}", done.kept);
    assert_eq!(world.number(&format!("select count(*) from {}", done.kept[0])).await, 9);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_reseed_still_halts_before_most_of_a_table_is_deleted() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..60)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.commit(deletes("people", 5..60)).await;
    order(&job, RESEED).await.unwrap();
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(&error, Error::TooManyDeletes { deletes: 55, .. }), "{error}");
    assert_eq!(world.number("select count(*) from edge_store1_people_merge").await, 60);
    let mut meant = job.clone();
    meant.tuning.max_delete_fraction = 1.0;
    world.sync(&meant).await.unwrap();
    world.assert_holds(&job, 2).await;
}

/// The advice of an error is followed to the letter, by the real binary: what it leads to is right.
fn followed(world: &World, job: &Job, error: &Error) {
    let configuration = Configuration::of(world, "");
    let advice = error.advice_for(&StreamName::of(&job.platform, &job.stream));
    let command = advice.split('`').find(|part| part.starts_with("milestream reset")).expect("a command");
    assert_eq!(command, format!("milestream reset --reseed --platform {} --store {STORE}", job.platform));
    let words: Vec<_> = command.split(' ').skip(1).collect();
    let ended = Process::run(BINARY, configuration.path(), &words);
    assert!(ended.status.success(), "{ended:?}");
    let sync = ["sync", "--platform", &job.platform, "--store", STORE, "--until-caught-up"];
    let ended = Process::run(BINARY, configuration.path(), &sync);
    assert!(ended.status.success(), "{ended:?}");
}

const PLATFORMS: [(&str, Holding); 2] = [("Edge", Holding::LiveOnly), ("Archive", Holding::Mirror)];

#[tokio::test]
async fn the_advice_after_a_reset_primary_leads_to_right_data() {
    for (platform, holding) in PLATFORMS {
        let mut world = World::new(vec![Table::people()]).await;
        world.commit(inserts("people", 0..40)).await;
        world.commit(updates("people", 0..9, "changed")).await;
        let job = world.job(platform, holding);
        world.sync(&job).await.unwrap();
        world.commit(deletes("people", 1..3)).await;
        let again = "update hub_batch_metrics set batch_end_time = batch_end_time + interval '1 hour' where batch_id = 2";
        world.execute("primary", again).await;
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(error, Error::PrimaryReset { .. }), "{error}");
        followed(&world, &job, &error);
        world.assert_holds(&job, 3).await;
    }
}

#[tokio::test]
async fn the_advice_after_pruned_history_leads_to_right_data() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..40)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 0..9, "changed")).await;
    let prune = format!("delete from {} where ds_surf_batch_out < 2", world.primary_table("people"));
    world.execute("primary", prune).await;
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(error, Error::Pruned { .. }), "{error}");
    followed(&world, &job, &error);
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn the_advice_for_a_mirror_that_diverged_leads_to_right_data() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..40)).await;
    let job = world.job("Archive", Holding::Mirror);
    world.sync(&job).await.unwrap();
    world.commit(updates("people", 0..9, "changed")).await;
    world.execute("secondary", "delete from archive_store1_people_merge where id = 1").await;
    let error = world.sync(&job).await.unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    followed(&world, &job, &error);
    world.assert_holds(&job, 2).await;
}

fn run(configuration: &Configuration, arguments: &[&str]) -> Ended {
    Process::run(BINARY, configuration.path(), arguments)
}

#[tokio::test]
async fn a_dry_run_names_all_that_would_be_done_and_changes_nothing() {
    let (world, job) = stopped_seed(Holding::LiveOnly).await;
    world.expire_lease(&job).await;
    let configuration = Configuration::of(&world, "");
    let before = everything(&world).await;
    let landed = world.number("select count(*) from edge_store1_people_merge_landing").await;
    let arguments = ["reset", "--platform", "Edge", "--store", STORE, "--dry-run"];
    let ended = run(&configuration, &arguments);
    assert!(ended.status.success(), "{ended:?}");
    insta::assert_snapshot!(ended.stdout.replace(&format!("{landed} rows"), "LANDED rows"));
    assert_eq!(everything(&world).await, before);
    let ended = run(&configuration, &[&arguments[..5], &["--output", "json"]].concat());
    let told: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(told[0]["open"]["kind"], "seed");
    assert_eq!(told[0]["dry_run"], false);
    let ended = run(&configuration, &arguments[..5]);
    assert!(ended.status.success() && ended.stdout.contains("no batch is open"), "{ended:?}");
}

#[tokio::test]
async fn status_says_what_readers_see_while_a_stream_is_seeded_again() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let job = world.job("Archive", Holding::Mirror);
    world.sync(&job).await.unwrap();
    let configuration = Configuration::of(&world, "");
    let ended = run(&configuration, &["reset", "--reseed", "--platform", "Archive", "--store", STORE]);
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("readers go on seeing batch 1 until the seed is committed"), "{ended:?}");
    assert!(ended.stdout.contains("then: milestream sync --platform Archive --store Store1"), "{ended:?}");
    let ended = run(&configuration, &["status", "--platform", "Archive"]);
    assert!(ended.stdout.contains("readers still see batch 1"), "{ended:?}");
}

#[tokio::test]
async fn a_primary_has_no_seed_to_begin_again() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let configuration = Configuration::of(&world, "");
    let ended = run(&configuration, &["reset", "--reseed", "--platform", PRIMARY, "--store", STORE]);
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    assert!(ended.stderr.contains("has no seed to begin again"), "{ended:?}");
    let ended = run(&configuration, &["reset", "--platform", PRIMARY, "--store", STORE]);
    assert!(ended.status.success() && ended.stdout.contains("batch 1 is committed and stays"), "{ended:?}");
}

#[tokio::test]
async fn tables_of_an_older_version_are_read_as_they_are() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    let older = "alter table edge_sync_stream drop column reseeding; delete from edge_sync_migration where version > 3";
    world.execute("secondary", older).await;
    order(&job, Order { reseed: true, dry_run: true }).await.unwrap();
    let configuration = Configuration::of(&world, "");
    let ended = run(&configuration, &["status", "--platform", "Edge"]);
    assert!(ended.status.success() && !ended.stdout.contains('?'), "{ended:?}");
}
