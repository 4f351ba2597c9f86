//! Writes that do not take place, and rows that other hands move: nothing is committed, and the error names the cause.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{STORE, Script, Table, Tape, World, control, deletes, inserts, updates};
use milestream_worker::observer::{NoticeKind, Step};
use milestream_worker::sync::{Job, Until};
use milestream_worker::{Error, Holding};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A secondary of ten people as of batch 1.
async fn synced(holding: Holding) -> (World, Job) {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..10)).await;
    let job = world.job("Edge", holding);
    world.sync(&job).await.unwrap();
    (world, job)
}

/// A trigger function's body for the secondary's table of people.
fn trigger(when: &str, body: &str) -> String {
    format!(
        "create function meddle() returns trigger language plpgsql as $$begin {body} return new; end$$; \
         create trigger meddling {when} on edge_store1_people_merge for each row execute function meddle();"
    )
}

/// Syncs into an error of diverged tables that says all of `words`; the watermark stays.
async fn assert_diverged(world: &World, job: &Job, words: &[&str]) -> Error {
    let before = world.watermark(job).await;
    let error = world.sync(job).await.unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} in {text}");
    }
    assert_eq!(world.watermark(job).await, before);
    error
}

#[tokio::test]
async fn a_trigger_that_keeps_a_row_away_is_named_and_once_dropped_the_rows_are_right() {
    for holding in BOTH {
        let (mut world, job) = synced(holding).await;
        let swallow = trigger("before insert", "if new.id = 11 then return null; end if;");
        world.execute("secondary", swallow).await;
        world.commit(inserts("people", 10..13)).await;
        let error = assert_diverged(
            &world,
            &job,
            &["1 row", "key (11)", "trigger meddling (before insert, meddle())"],
        )
        .await;
        assert!(error.advice().contains("meddling"), "{}", error.advice());
        world.execute("secondary", "drop trigger meddling on edge_store1_people_merge").await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
    }
}

#[tokio::test]
async fn a_trigger_that_changes_a_value_is_named_with_the_column() {
    for holding in BOTH {
        let (mut world, job) = synced(holding).await;
        world.execute("secondary", trigger("before insert or update", "new.name := upper(new.name);")).await;
        world.commit(inserts("people", 10..12)).await;
        assert_diverged(&world, &job, &["2 rows", "key (10) in name", "meddling"]).await;
    }
}

#[tokio::test]
async fn a_trigger_behind_the_merge_is_noticed_as_one_before_it() {
    let (mut world, job) = synced(Holding::LiveOnly).await;
    let later = "update edge_store1_people_merge set town = 'Bruges' where id = new.id and town <> 'Bruges';";
    let deferred = trigger("after insert", later)
        .replace("create trigger", "create constraint trigger")
        .replace("for each row", "deferrable initially deferred for each row");
    world.execute("secondary", deferred).await;
    world.commit(inserts("people", 10..11)).await;
    assert_diverged(&world, &job, &["key (10) in town", "trigger meddling (after insert, meddle())"]).await;
}

#[tokio::test]
async fn a_trigger_of_one_dataset_that_writes_to_another_is_noticed() {
    let mut world = World::new(vec![Table::people(), Table::named_people("staff")]).await;
    world.commit([inserts("people", 0..3), inserts("staff", 0..3)].concat()).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    let across = trigger("after insert", "delete from edge_store1_people_merge where id = new.id;")
        .replace("on edge_store1_people_merge for", "on edge_store1_staff_merge for");
    world.execute("secondary", across).await;
    world.commit([inserts("people", 3..4), inserts("staff", 3..4)].concat()).await;
    assert_diverged(&world, &job, &["edge_store1_people_merge", "key (3)"]).await;
}

#[tokio::test]
async fn a_rule_that_keeps_a_row_from_deletion_is_named() {
    for (holding, rule) in BOTH.into_iter().zip(["delete", "update"]) {
        let (mut world, job) = synced(holding).await;
        let rule = format!("create rule keep as on {rule} to edge_store1_people_merge do instead nothing");
        world.execute("secondary", rule).await;
        world.commit(deletes("people", 4..5)).await;
        assert_diverged(&world, &job, &["rule keep"]).await;
    }
}

#[tokio::test]
async fn a_seed_by_difference_proves_what_it_wrote() {
    for holding in BOTH {
        let (world, job) = synced(holding).await;
        let twice = "new.town := 'Bruges'; if new.id = 7 then return null; end if;";
        world.execute("secondary", trigger("before insert", twice)).await;
        let forget =
            format!("delete from {}; delete from edge_store1_people_merge", control(&job, "sync_stream"));
        world.execute("secondary", forget).await;
        assert_diverged(&world, &job, &["1 row of batch 1 did not arrive", "key (7)", "meddling"]).await;
        world.execute("secondary", "drop trigger meddling on edge_store1_people_merge").await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 1).await;
    }
}

#[tokio::test]
async fn rows_that_a_hand_deleted_are_missed_when_they_change() {
    let (mut world, job) = synced(Holding::LiveOnly).await;
    world.execute("secondary", "delete from edge_store1_people_merge where id > 6").await;
    world.commit(updates("people", 0..9, "changed")).await;
    assert_diverged(
        &world,
        &job,
        &["add 0 rows to the primary, but 2 to this table", "rows live at batch 1 were missing", "key (7)"],
    )
    .await;
}

#[tokio::test]
async fn rows_that_a_hand_inserted_are_noticed_when_they_come() {
    let (mut world, job) = synced(Holding::LiveOnly).await;
    let copy = "insert into edge_store1_people_merge select 10, name, town, ds_surf_all_hash, ds_surf_key_hash, 1 \
                from edge_store1_people_merge where id = 1";
    world.execute("secondary", copy).await;
    world.commit(inserts("people", 10..12)).await;
    assert_diverged(&world, &job, &["add 2 rows", "rows not live at batch 1 were in it", "key (10)"]).await;
}

#[tokio::test]
async fn deletions_of_rows_that_a_hand_deleted_are_missed() {
    let (mut world, job) = synced(Holding::LiveOnly).await;
    world.commit(deletes("people", 0..2)).await;
    world.execute("secondary", "delete from edge_store1_people_merge where id = 1").await;
    assert_diverged(&world, &job, &["1 row that it deletes were gone already", "key (1)"]).await;
}

#[tokio::test]
async fn closures_of_versions_that_a_hand_deleted_name_a_key() {
    let (mut world, job) = synced(Holding::Mirror).await;
    world.commit(updates("people", 0..3, "changed")).await;
    world.execute("secondary", "delete from edge_store1_people_merge where id = 1").await;
    let words = ["3 versions are to be closed, 2 of them are there and live", "key (1)"];
    assert_diverged(&world, &job, &words).await;
}

#[tokio::test]
async fn a_version_that_a_hand_changed_is_noticed_when_it_is_closed() {
    let (mut world, job) = synced(Holding::Mirror).await;
    world.execute("secondary", "update edge_store1_people_merge set name = null where id = 3").await;
    world.commit(deletes("people", 2..5)).await;
    assert_diverged(&world, &job, &["1 row", "key (3", "in name"]).await;
}

#[tokio::test]
async fn a_mirror_holds_a_key_live_twice_only_where_its_primary_does() {
    let (mut world, job) = synced(Holding::Mirror).await;
    // The primary's table was emptied by hand, and its next batch opens what is there anew.
    let table = world.primary_table("people");
    world.commit(vec![]).await;
    let anew = format!(
        "update {table} set ds_surf_batch_in = 2; update hub_batch_metrics set records_inserted = 10 where batch_id = 2"
    );
    world.execute("primary", anew).await;
    assert_diverged(&world, &job, &["10 rows", "live beside another version", "the primary has 0 such keys"])
        .await;
}

#[tokio::test]
async fn a_live_only_secondary_notices_records_that_were_opened_anew() {
    let (mut world, job) = synced(Holding::LiveOnly).await;
    let table = world.primary_table("people");
    world.commit(vec![]).await;
    let anew = format!(
        "update {table} set ds_surf_batch_in = 2; update hub_batch_metrics set records_inserted = 10 where batch_id = 2"
    );
    world.execute("primary", anew).await;
    assert_diverged(
        &world,
        &job,
        &["add 10 rows to the primary, but 0 to this table", "rows not live at batch 1"],
    )
    .await;
}

#[tokio::test]
async fn the_advice_leads_to_rows_that_are_right() {
    let (mut world, job) = synced(Holding::LiveOnly).await;
    world.execute("secondary", "delete from edge_store1_people_merge where id > 6").await;
    world.commit(updates("people", 0..9, "changed")).await;
    let error = assert_diverged(&world, &job, &[]).await;
    assert!(error.advice().contains("seed"), "{}", error.advice());
    let again = format!("delete from {} where stream_key = '{STORE}'", control(&job, "sync_stream"));
    world.execute("secondary", again).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn a_merge_table_that_was_emptied_or_made_again_is_noticed_also_by_an_idle_sync() {
    for holding in BOTH {
        for meanwhile in
            ["truncate T", "create table c (like T including all); drop table T; alter table c rename to T"]
        {
            let (mut world, job) = synced(holding).await;
            world.execute("secondary", meanwhile.replace("T", "edge_store1_people_merge")).await;
            let words = ["edge_store1_people_merge", "has 0 rows", "has 10 (10) as of batch 1"];
            assert_diverged(&world, &job, &words).await;
            world.commit(inserts("people", 10..12)).await;
            assert_diverged(&world, &job, &words).await;
            let again = format!("delete from {}", control(&job, "sync_stream"));
            world.execute("secondary", again).await;
            world.sync(&job).await.unwrap();
            world.assert_holds(&job, 2).await;
        }
    }
}

#[tokio::test]
async fn a_merge_table_that_was_dropped_is_noticed_also_by_an_idle_sync() {
    let (world, job) = synced(Holding::LiveOnly).await;
    world.execute("secondary", "drop table edge_store1_people_merge").await;
    assert_diverged(&world, &job, &["there is no such table, though the stream holds batch 1"]).await;
}

#[tokio::test]
async fn a_merge_table_that_was_truncated_while_its_increment_was_read_is_noticed() {
    let (mut world, job) = synced(Holding::LiveOnly).await;
    world.commit(inserts("people", 10..12)).await;
    let truncate = "truncate edge_store1_people_merge".to_owned();
    let script =
        Arc::new(Script::new(world.connect_options("secondary"), &[Step::ChunkCommitted], 1, [truncate]));
    let error = world.sync_with(&job, Until::CaughtUp, script).await.unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(
        error.to_string().contains("has 2 rows (2 of them live) where the primary has 12 (12)"),
        "{error}"
    );
}

#[tokio::test]
async fn vacuum_full_moves_the_file_and_the_stream_goes_on() {
    for holding in BOTH {
        let (mut world, job) = synced(holding).await;
        world.execute("secondary", "vacuum full edge_store1_people_merge").await;
        let counted = async || {
            let tape = Arc::new(Tape::default());
            world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
            tape.notices(NoticeKind::Warning).len()
        };
        assert_eq!((counted().await, counted().await), (1, 0), "it is counted once");
        world.commit(updates("people", 0..2, "changed")).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
    }
}

#[tokio::test]
async fn a_mirror_keeps_what_its_primary_has_pruned_also_where_its_file_moved() {
    let (mut world, job) = synced(Holding::Mirror).await;
    world.commit(updates("people", 0..5, "changed")).await;
    world.sync(&job).await.unwrap();
    let prune = format!("delete from {} where ds_surf_batch_out < 2", world.primary_table("people"));
    world.execute("primary", prune).await;
    world.execute("secondary", "vacuum full edge_store1_people_merge").await;
    world.sync(&job).await.unwrap();
    // A live one that is gone is missed all the same.
    world.execute("secondary", "delete from edge_store1_people_merge where id = 7").await;
    world.execute("secondary", "vacuum full edge_store1_people_merge").await;
    assert_diverged(&world, &job, &["14 rows (9 of them live) where the primary has 10 (10)"]).await;
}
