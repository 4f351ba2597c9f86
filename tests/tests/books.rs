//! What a sync leaves in the control tables, and how the tables it makes are laid out.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_oracle::{Holding as Judged, Operation, Secondary};
use milestream_tests::{At, Dice, STORE, Table, World, control, inserts, person, texts, updates};
use milestream_worker::Holding;
use milestream_worker::observer::{Observer, Step};
use milestream_worker::sync::{Job, Until};

const BOTH: [(Holding, Judged); 2] =
    [(Holding::LiveOnly, Judged::LiveOnly), (Holding::Mirror, Judged::Mirror)];

async fn metrics(world: &World, job: &Job, batch: i32, expressions: &str) -> Vec<Option<String>> {
    let table = control(job, "batch_metrics");
    let question = format!("select {expressions} from {table} where key = '{STORE}' and batch_id = {batch}");
    world.ask("secondary", question).await.pop().unwrap_or_default()
}

#[tokio::test]
async fn counts_are_those_of_keys_new_changed_and_gone() {
    for (holding, judged) in BOTH {
        let mut world = World::new(vec![Table::people(), Table::named_people("staff")]).await;
        let mut expected = Secondary::new(judged, &world.oracle);
        let mut job = world.job("Edge", holding);
        job.tuning.max_delete_fraction = 1.0;
        let mut dice = Dice::new(5);
        for sync in 0..4 {
            for _ in 0..3 {
                let people = dice.batch("people", world.live("people"), 25, 12);
                let staff = dice.batch("staff", world.live("staff"), 25, 12);
                world.commit([people, staff].concat()).await;
            }
            let through = world.oracle.newest_batch();
            let before = expected.watermark();
            let synced = expected.sync(&world.oracle, through);
            world.sync(&job).await.unwrap();
            world.assert_holds(&job, through).await;
            let found = metrics(
                &world,
                &job,
                synced.local_batch,
                "records_inserted, records_updated, records_deleted",
            )
            .await;
            let found: Vec<u64> =
                found.iter().map(|count| count.as_ref().unwrap().parse().unwrap()).collect();
            // A mirror also counts keys as changed whose content changed and changed back: their version is another.
            let rewritten: u64 = match (holding, before) {
                (Holding::Mirror, Some(before)) => {
                    world.oracle.tables().map(|table| table.keys_rewritten(before, through)).sum()
                }
                _ => 0,
            };
            let keys = synced.keys;
            assert_eq!(found, [keys.new, keys.changed + rewritten, keys.gone], "{holding:?}, sync {sync}");
            let history =
                world.history(&job, "local_batch, rows_inserted, rows_updated, rows_deleted, to_batch").await;
            let numbers = [synced.local_batch.to_string(), through.to_string()];
            let last = history.last().unwrap().clone();
            assert_eq!([last[0].clone().unwrap(), last[4].clone().unwrap()], numbers);
            assert_eq!(
                last[1..4].iter().map(|count| count.as_ref().unwrap().parse().unwrap()).collect::<Vec<u64>>(),
                found
            );
            let counter = format!(r#"select "currentBatch" from {}"#, control(&job, "batch_counter"));
            assert_eq!(world.number(counter).await, i64::from(synced.local_batch));
        }
    }
}

#[tokio::test]
async fn a_batch_passes_through_started_and_ingested_to_committed() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    for (step, status) in
        [(Step::Planned, "started"), (Step::Landed, "started"), (Step::BeforeCommit, "ingested")]
    {
        let stop: Arc<dyn Observer> = Arc::new(At::stop(step, 1));
        world.sync_with(&job, Until::CaughtUp, stop).await.unwrap_err();
        let seen = metrics(&world, &job, 1, "batch_status, batch_end_time is null, records_inserted").await;
        assert_eq!(seen, texts(&[Some(status), Some("t"), None]), "at {step}");
        world.expire_lease(&job).await;
    }
    world.sync(&job).await.unwrap();
    let seen =
        metrics(&world, &job, 1, "batch_status, batch_end_time is null, records_inserted, total_records")
            .await;
    assert_eq!(seen, texts(&[Some("committed"), Some("f"), Some("10"), Some("10")]));
    let left = format!("select count(*) from {}", control(&job, "sync_chunk"));
    assert_eq!(world.number(left).await, 0, "chunk rows are gone with the commit");
}

#[tokio::test]
async fn the_state_of_a_batch_is_what_datasurface_and_its_users_read() {
    for (holding, _) in BOTH {
        let mut world = World::new(vec![Table::people()]).await;
        world.commit(vec![]).await;
        world.commit(inserts("people", 0..10)).await;
        let job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        world.commit(updates("people", 0..3, "changed")).await;
        world.sync(&job).await.unwrap();
        let [seed, increment] = if holding == Holding::Mirror { [2, 3] } else { [1, 2] };
        let state = async |batch: i32| {
            let text = metrics(&world, &job, batch, "state").await.pop().unwrap().unwrap();
            assert!(text.len() <= 2048);
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let (seed, increment) = (state(seed).await, state(increment).await);
        assert_eq!(seed["all_datasets"], serde_json::json!(["people"]));
        assert_eq!(seed["job_state"], serde_json::json!({"is_seed_batch": true, "remote_batch_id": 2}));
        assert_eq!(increment["job_state"], serde_json::json!({"is_seed_batch": false, "remote_batch_id": 3}));
        let of = |state: &serde_json::Value| {
            [
                &state["last_synced_primary_batch"],
                &state["is_seed_phase"],
                &state["seed_offset"],
                &state["seed_chunk_size"],
            ]
            .map(ToString::to_string)
        };
        assert_eq!(of(&seed), ["2", "true", "10", "100"]);
        assert_eq!(of(&increment), ["3", "false", "0", "100"]);
        let version = seed["schema_versions"]["people"].as_str().unwrap();
        assert!(version.len() == 32 && seed["schema_versions"] == increment["schema_versions"], "{version}");
        let held = world.stream_state(&job, "schema_versions").await.expect("the stream's own");
        let held: serde_json::Value = serde_json::from_str(&held).unwrap();
        assert_eq!(held, seed["schema_versions"]);
    }
}

#[tokio::test]
async fn a_state_too_long_for_its_column_loses_its_schema_versions_first() {
    let names: Vec<_> = (0..40).map(|at| format!("dataset_with_a_long_name_{at:02}")).collect();
    let mut world = World::new(names.iter().map(|name| Table::named_people(name)).collect()).await;
    world.commit(inserts(&names[7], 0..3)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
    let text = metrics(&world, &job, 1, "state").await.pop().unwrap().unwrap();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(state["all_datasets"].as_array().unwrap().len(), 40);
    assert!(text.len() <= 2048 && state.get("schema_versions").is_none(), "{text}");
}

#[tokio::test]
async fn staged_rows_are_kept_for_as_many_batches_as_asked_for() {
    for (holding, _) in BOTH {
        let mut world = World::new(vec![Table::people()]).await;
        world.commit(inserts("people", 0..10)).await;
        let mut job = world.job("Edge", holding);
        job.staging_batches_to_keep = Some(2);
        world.sync(&job).await.unwrap();
        for at in 0..4 {
            world.commit(updates("people", at..at + 2, "changed")).await;
            world.sync(&job).await.unwrap();
        }
        let batches =
            "select string_agg(distinct ds_surf_batch_id::text, ',') from edge_store1_people_staging";
        assert_eq!(world.value("secondary", batches).await.as_deref(), Some("4,5"));
    }
}

#[tokio::test]
async fn a_mirrors_staged_rows_are_kept_by_batches_however_far_its_ids_jump() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let mut job = world.job("Edge", Holding::Mirror);
    job.staging_batches_to_keep = Some(2);
    world.sync(&job).await.unwrap();
    for _ in 0..3 {
        for at in 0..3 {
            world.commit(updates("people", at..at + 2, &format!("changed {at}"))).await;
        }
        world.sync(&job).await.unwrap();
    }
    let batches = "select string_agg(distinct ds_surf_batch_id::text, ', ') from edge_store1_people_staging";
    assert_eq!(world.value("secondary", batches).await.as_deref(), Some("10, 7"));
}

#[tokio::test]
async fn tables_are_laid_out_as_datasurface_lays_them_out() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..3)).await;
    let mut laid_out = String::new();
    for (holding, _) in BOTH {
        let job = world.job(&format!("{holding:?}"), holding);
        world.sync(&job).await.unwrap();
        let like = format!("{}_store1_%", job.platform.to_lowercase());
        let columns = format!(
            "select c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) \
                || case when a.attcollation = 'pg_catalog.\"C\"'::regcollation then ' collate C' else '' end \
                || case when a.attnotnull then ' not null' else '' end || coalesce(' default ' || pg_get_expr(d.adbin, d.adrelid), '') \
             from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
             left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum \
             where c.relname like '{like}' and c.relkind = 'r' order by c.relname, a.attnum"
        );
        let indexes = format!("select indexdef from pg_indexes where tablename like '{like}' order by 1");
        for question in [columns, indexes] {
            for row in world.ask("secondary", question).await {
                laid_out.push_str(row[0].as_deref().unwrap());
                laid_out.push('\n');
            }
        }
    }
    insta::assert_snapshot!(laid_out);
}

#[tokio::test]
async fn a_reader_never_sees_data_and_watermark_apart() {
    let mut world = World::new(vec![Table::people(), Table::named_people("staff")]).await;
    world.commit([inserts("people", 0..30), inserts("staff", 0..1)].concat()).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    // Batch b holds b members of staff and 30 + b people, of whom b are renamed to "b".
    for batch in 2..8 {
        let mut operations = inserts("staff", batch..batch + 1);
        operations.extend(inserts("people", 100 + batch..101 + batch));
        let name = batch.to_string();
        operations.extend((0..batch).map(|id| ("people", Operation::Update(person(id, &name, None)))));
        world.commit(operations).await;
    }
    let question = "select last_synced_primary_batch || ':' || (select count(*) from edge_store1_staff_merge) || ':' \
         || (select count(*) from edge_store1_people_merge) || ':' \
         || (select count(*) from edge_store1_people_merge where name = last_synced_primary_batch::text) \
         from edge_sync_stream";
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (finished, options) = (Arc::clone(&done), world.connect_options("secondary"));
    let reader = tokio::spawn(async move {
        let mut session = <sqlx::PgConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
        let mut seen = Vec::new();
        while !finished.load(std::sync::atomic::Ordering::SeqCst) {
            let row = sqlx::raw_sql(question).fetch_one(&mut session).await.unwrap();
            seen.push(sqlx::Row::get::<String, _>(&row, 0));
            tokio::task::yield_now().await;
        }
        seen
    });
    let mut slow = job.clone();
    slow.tuning.max_rows_per_sync = 1;
    world.sync(&slow).await.unwrap();
    world.assert_holds(&job, 7).await;
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut seen = reader.await.unwrap();
    assert!(seen.len() > 20, "it looked {} times", seen.len());
    seen.dedup();
    let right = |batch: i32| format!("{batch}:{batch}:{}:{}", 29 + batch, if batch == 1 { 0 } else { batch });
    assert!(seen.iter().all(|seen| (1..8).any(|batch| *seen == right(batch))), "{seen:?}");
    assert!(seen.len() > 2, "and saw several states: {seen:?}");
}
