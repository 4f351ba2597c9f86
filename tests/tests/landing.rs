//! How a seed becomes visible beside others who use the secondary's database.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use milestream_tests::{At, Table, Tape, World, inserts};
use milestream_worker::Holding;
use milestream_worker::observer::{NoticeKind, Observers, Step, Verdict};
use milestream_worker::sync::Until;
use sqlx::{Connection, PgConnection, Row};

/// Reads the table until somebody has waited for its lock and given up.
async fn read_until_given_up(mut session: PgConnection) {
    let waiting = "select count(*) from pg_locks where not granted";
    for wanted in [true, false] {
        for _ in 0..3000 {
            let row = sqlx::raw_sql(waiting).fetch_one(&mut session).await.unwrap();
            if (row.get::<i64, _>(0) > 0) == wanted {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    sqlx::raw_sql("commit").execute(&mut session).await.unwrap();
}

#[tokio::test]
async fn the_commit_of_a_seed_waits_only_briefly_for_a_reader_and_is_tried_again() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let options = world.connect_options("secondary");
    let at = At::nth(Step::Merging, 1, move || {
        let options = options.clone();
        async move {
            let mut session = PgConnection::connect_with(&options).await.unwrap();
            let read = "begin; lock table edge_store1_people_merge_landing in access share mode";
            sqlx::raw_sql(read).execute(&mut session).await.unwrap();
            tokio::spawn(read_until_given_up(session));
            Verdict::GoOn
        }
    });
    let tape = Arc::new(Tape::default());
    let observer = Observers::default().and(tape.clone()).and(Arc::new(at));
    let began = Instant::now();
    world.sync_with(&job, Until::CaughtUp, Arc::new(observer)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20), "it took {:?}", began.elapsed());
    let retries = tape.notices(NoticeKind::Retry);
    assert!(retries.len() == 1 && retries[0].contains("lock timeout"), "{retries:?}");
    world.assert_holds(&job, 1).await;
}
