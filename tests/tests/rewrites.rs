//! What may happen to the primary's tables in the middle of a seed: rewrites, reloads, updates in place.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::Duration;

use milestream_tests::{At, Table, Tape, World, inserts, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step, Verdict};
use milestream_worker::sync::{SeedStrategy, Until, VerifySeed};
use milestream_worker::{Error, Holding};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];
const PEOPLE: i32 = 600;

/// A table of some thirteen full blocks, in chunks of two.
async fn primary() -> World {
    let world = World::new(vec![Table::people()]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 100;
        tuning.parallelism = 1;
    });
    world.commit(inserts("people", 0..PEOPLE)).await;
    // Seeds by keys are cut by what the statistics say.
    world.execute("primary", format!("analyze {}", world.primary_table("people"))).await;
    world
}

/// Seeds while statements run on the primary, one after each chunk from the second on; what was planned anew.
async fn seeded_through(
    world: &World,
    holding: Holding,
    statements: &[String],
) -> (Result<(), Error>, Vec<String>) {
    let job = world.job(&format!("Edge{holding:?}"), holding);
    let script = world.script_from(&[Step::ChunkCommitted], 2, statements.to_vec());
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(script.clone()).and(tape.clone());
    let ended = world.sync_with(&job, Until::OneSync, Arc::new(observer)).await;
    assert_eq!(script.left().await, 0, "all of it happened during the seed");
    (ended.map(|_| ()), tape.notices(NoticeKind::Replanned))
}

#[tokio::test]
async fn a_vacuum_full_between_chunks_makes_a_new_plan() {
    let world = primary().await;
    for holding in BOTH {
        let rewrite = format!("vacuum full {}", world.primary_table("people"));
        let (ended, replanned) = seeded_through(&world, holding, &[rewrite]).await;
        ended.unwrap();
        assert!(replanned.len() == 1 && replanned[0].contains("was rewritten"), "{replanned:?}");
        world.assert_holds(&world.job(&format!("Edge{holding:?}"), holding), 1).await;
    }
}

#[tokio::test]
async fn a_vacuum_full_does_not_matter_to_a_seed_by_keys() {
    let world = primary().await.with_tuning(|tuning| tuning.seed_strategy = SeedStrategy::Keys);
    for holding in BOTH {
        let rewrite = format!("vacuum full {}", world.primary_table("people"));
        let (ended, replanned) = seeded_through(&world, holding, &[rewrite]).await;
        ended.unwrap();
        assert_eq!(replanned, Vec::<String>::new());
        world.assert_holds(&world.job(&format!("Edge{holding:?}"), holding), 1).await;
    }
}

#[tokio::test]
async fn a_table_truncated_and_loaded_anew_is_seeded_as_of_its_new_batch() {
    for strategy in [SeedStrategy::Blocks, SeedStrategy::Keys] {
        let mut world = primary().await.with_tuning(|tuning| tuning.seed_strategy = strategy);
        let (batch, reload) = world.statements(updates("people", 0..PEOPLE, "loaded anew"));
        let truncate = format!("begin; truncate {};", world.primary_table("people"));
        let (ended, replanned) =
            seeded_through(&world, Holding::LiveOnly, &[reload.replacen("begin;", &truncate, 1)]).await;
        ended.unwrap();
        assert_eq!(replanned.len(), 1, "{strategy:?}: {replanned:?}");
        world.assert_holds(&world.job("EdgeLiveOnly", Holding::LiveOnly), batch).await;
    }
}

/// A transaction that holds the table's exclusive lock while a chunk waits for it, and commits then.
async fn while_a_chunk_waits(world: &World, holding: Holding, change: String) -> Vec<String> {
    let job = world.job(&format!("Edge{holding:?}"), holding);
    let options = world.connect_options("primary");
    let at = At::nth(Step::ChunkCommitted, 2, move || {
        let (options, change) = (options.clone(), change.clone());
        async move {
            let mut session = <sqlx::PgConnection as sqlx::Connection>::connect_with(&options).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(change)).execute(&mut session).await.unwrap();
            tokio::spawn(async move {
                let waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'";
                for _ in 0..500 {
                    let row = sqlx::raw_sql(waiting).fetch_one(&mut session).await.unwrap();
                    if sqlx::Row::get::<i64, _>(&row, 0) > 0 {
                        break;
                    }
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
                sqlx::raw_sql("commit").execute(&mut session).await.unwrap();
            });
            Verdict::GoOn
        }
    });
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(tape.clone()).and(Arc::new(at));
    world.sync_with(&job, Until::OneSync, Arc::new(observer)).await.unwrap();
    tape.notices(NoticeKind::Replanned)
}

#[tokio::test]
async fn a_truncate_and_reload_while_a_chunk_waits_for_the_lock_is_noticed() {
    let mut world = primary().await;
    let (batch, reload) = world.statements(updates("people", 0..PEOPLE, "loaded anew"));
    let truncate = format!("begin; truncate {};", world.primary_table("people"));
    let reload = reload.replacen("begin;", &truncate, 1).replace("commit;", "");
    let replanned = while_a_chunk_waits(&world, Holding::LiveOnly, reload).await;
    assert!(replanned.len() == 1 && replanned[0].contains("was rewritten"), "{replanned:?}");
    world.assert_holds(&world.job("EdgeLiveOnly", Holding::LiveOnly), batch).await;
}

#[tokio::test]
async fn a_rewriting_alter_while_a_chunk_waits_for_the_lock_is_noticed() {
    let world = primary().await;
    for (holding, kind) in [(Holding::LiveOnly, "varchar(60)"), (Holding::Mirror, "varchar(80)")] {
        let alter = format!(
            "begin; alter table {} alter column name type {kind} using name || ''",
            world.primary_table("people")
        );
        let replanned = while_a_chunk_waits(&world, holding, alter).await;
        assert!(replanned.len() == 1 && replanned[0].contains("was rewritten"), "{replanned:?}");
        world.assert_holds(&world.job(&format!("Edge{holding:?}"), holding), 1).await;
    }
}

/// Moves every other open version to the end of the table, without a trace in its milestones.
fn update_in_place(world: &World) -> String {
    format!("update {} set town = town where id % 2 = 0", world.primary_table("people"))
}

#[tokio::test]
async fn an_update_in_place_of_half_the_table_is_noticed() {
    for holding in BOTH {
        let world = primary().await;
        let (ended, replanned) = seeded_through(&world, holding, &[update_in_place(&world)]).await;
        ended.unwrap();
        assert!(replanned.len() == 1 && replanned[0].contains("landed twice"), "{replanned:?}");
        world.assert_holds(&world.job(&format!("Edge{holding:?}"), holding), 1).await;
    }
}

#[tokio::test]
async fn rows_that_move_to_where_the_seed_has_been_are_noticed() {
    let world = primary().await;
    // Room in the first blocks, which are read before the rows of the last ones move there.
    let table = world.primary_table("people");
    world
        .execute(
            "primary",
            format!("insert into {table} select id - 10000, name, town, '', '', 1, 2147483647 from {table}"),
        )
        .await;
    world.execute("primary", format!("vacuum full {table}")).await;
    world.execute("primary", format!("cluster {table} using {}", r#""hub_store1_people_merge_pkey""#)).await;
    world.execute("primary", format!("delete from {table} where id < 0")).await;
    world.execute("primary", format!("vacuum (truncate off) {table}")).await;
    let move_up = format!("update {table} set town = town where id >= 500");
    let (ended, replanned) = seeded_through(&world, Holding::LiveOnly, &[move_up]).await;
    ended.unwrap();
    assert!(replanned.len() == 1 && replanned[0].contains("the primary has 600 rows"), "{replanned:?}");
    world.assert_holds(&world.job("EdgeLiveOnly", Holding::LiveOnly), 1).await;
}

#[tokio::test]
async fn contents_changed_in_place_are_noticed_by_those_who_verify_contents() {
    let world = World::new(vec![Table::people().sparse()]).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 20;
        tuning.verify_seed = VerifySeed::Content;
    });
    world.commit(inserts("people", 0..40)).await;
    for holding in BOTH {
        let change = format!("update {} set town = town || '!' where id < 3", world.primary_table("people"));
        let (ended, replanned) = seeded_through(&world, holding, &[change]).await;
        ended.unwrap();
        assert!(replanned.len() == 1 && replanned[0].contains("\"town\" of the rows"), "{replanned:?}");
        let job = world.job(&format!("Edge{holding:?}"), holding);
        let content = |table: &str| format!("select id, name, town from {table} order by id");
        let expected = world.ask("primary", content(&world.primary_table("people"))).await;
        assert_eq!(world.ask("secondary", content(&world.merge_table(&job, "people"))).await, expected);
    }
}

#[tokio::test]
async fn a_seed_that_never_comes_out_right_halts_and_can_be_begun_again() {
    for holding in BOTH {
        let world = primary().await;
        let job = world.job("Edge", holding);
        let remove = |id: i32| format!("delete from {} where id = {id}", world.primary_table("people"));
        let script = world.script(Step::Sweeping, (0..3).map(remove));
        let tape = Arc::new(Tape::default());
        let observer = Observers::default().and(script).and(tape.clone());
        let error = world.sync_with(&job, Until::OneSync, Arc::new(observer)).await.unwrap_err();
        assert!(matches!(error, Error::SeedUnstable { plans: 3, .. }), "{error}");
        assert!(error.to_string().contains("the primary has 597 rows, 598 landed"), "{error}");
        assert_eq!(tape.notices(NoticeKind::Replanned).len(), 2);
        assert_eq!(world.watermark(&job).await, None);
        let exists = format!("select to_regclass('{}')", world.merge_table(&job, "people"));
        assert_eq!(world.value("secondary", exists).await, None, "nothing can be read yet");
        assert!(world.stream_state(&job, "halted_reason").await.unwrap().contains("never came out right"));
        // What was landed is what is there now; that it was more once is another matter.
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(error, Error::LiveRowsLost { found: 597, recorded: 600, .. }), "{error}");
        let mut job = job;
        job.tuning.verify_seed = VerifySeed::Off;
        world.sync(&job).await.unwrap();
        let rows = format!("select count(*) from {}", world.merge_table(&job, "people"));
        assert_eq!(world.number(rows).await, 597);
    }
}
