//! A source is left in peace: it is read within a rate, and not while it has enough to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use milestream_tests::Tape;
use milestream_worker::ingest::{self, Scd};
use milestream_worker::observer::{NoticeKind, Step};
use tokio_util::sync::CancellationToken;

use crate::mill::{Mill, PEOPLE, people};

#[tokio::test]
async fn a_source_is_read_within_its_rate_and_after_a_pause_while_it_is_busy() {
    let mut mill = Mill::new(Scd::LiveOnly, vec![people()], PEOPLE).await;
    mill.execute(
        "source",
        "insert into people select i, repeat('x', 40), repeat('y', 40) from generate_series(1, 10000) i",
    )
    .await;
    // Ten thousand times two texts and two hashes.
    mill.job.tuning.max_rate = Some(0.7);
    mill.job.tuning.pause_active_sessions = Some(0);
    let mut busy = mill.connect("source").await;
    let busy = tokio::spawn(async move {
        sqlx::raw_sql("select pg_sleep(3)").execute(&mut busy).await.expect("a nap");
        Instant::now()
    });
    let asleep =
        "select 1::text from pg_stat_activity where query = 'select pg_sleep(3)' and state = 'active'";
    while mill.value("source", asleep).await.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let tape = Arc::new(Tape::default());
    let job = Arc::new(mill.job.clone());
    ingest::run(job, tape.clone(), CancellationToken::new()).await.expect("a batch");
    let awake = busy.await.expect("an end");
    let read = awake.elapsed();
    assert!(read >= Duration::from_secs(2), "1.4 MB at 0.7 MB/s in {read:?}");
    assert_eq!(tape.notices(NoticeKind::Paused).len(), 1);
    assert_eq!(tape.notices(NoticeKind::GoesOn).len(), 1);
    assert_eq!(tape.rows(Step::ChunkCommitted), [10_000]);
}
