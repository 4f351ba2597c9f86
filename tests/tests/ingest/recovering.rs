//! Batches that fail, and what is found afterwards.

use std::sync::Arc;

use milestream_tests::{At, Tape};
use milestream_worker::Error;
use milestream_worker::ingest::{self, IngestOutcome, Scd};
use milestream_worker::observer::{NoticeKind, Observers, Step, Unobserved, Verdict};
use milestream_worker::reset::{self, Order};
use sqlx::ConnectOptions;
use tokio_util::sync::CancellationToken;

use crate::mill::{Mill, PEOPLE, PLATFORM, STORE, people};

async fn with_two_people(strategy: Scd) -> Mill {
    let mut mill = Mill::new(strategy, vec![people()], PEOPLE).await;
    mill.execute("source", "insert into people values (1, 'Ann', null), (2, 'Bob', '')").await;
    mill.ingest().await;
    mill.execute(
        "source",
        "update people set name = 'Anna' where id = 1; delete from people where id = 2; \
         insert into people values (3, 'Cid', 'Ghent')",
    )
    .await;
    mill
}

#[tokio::test]
async fn a_batch_that_dies_is_run_again_under_its_id() {
    for strategy in [Scd::Forensic, Scd::LiveOnly] {
        let mut mill = with_two_people(strategy).await;
        let everything =
            "select coalesce(string_agg(m::text, ' ' order by m::text), '') from hub_store1_people_merge m";
        let before = mill.value("store", everything).await;
        let steps = [
            (Step::Planned, "started"),
            (Step::MidChunk, "started"),
            (Step::ChunkCommitting, "started"),
            (Step::ChunkCommitted, "started"),
            (Step::Merging, "ingested"),
            (Step::BeforeCommit, "ingested"),
        ];
        for (step, status) in steps {
            let error = mill.run(Arc::new(At::stop(step, 1))).await.unwrap_err();
            assert!(matches!(error, Error::Abandoned { .. }), "{step}: {error}");
            assert_eq!(mill.metrics(2).await[0], status, "at {step}");
            assert_eq!(mill.value("store", everything).await, before, "nothing is merged at {step}");
            mill.expire_lease().await;
        }
        let outcome = mill.ingest().await;
        assert_eq!(outcome.batch.0, 2);
        let staged = mill.staged("people").await;
        assert_eq!(staged.len(), 4, "rows of both batches, each once: {staged:?}");
    }
}

#[tokio::test]
async fn a_batch_that_is_reset_leaves_nothing_and_its_id_is_free_again() {
    for (strategy, step) in [(Scd::Forensic, Step::ChunkCommitted), (Scd::LiveOnly, Step::BeforeCommit)] {
        let mut mill = with_two_people(strategy).await;
        mill.run(Arc::new(At::stop(step, 1))).await.unwrap_err();
        mill.expire_lease().await;
        let job = Arc::new(mill.job.clone());
        let done = reset::of_primary(job, Order::default(), Arc::new(Unobserved)).await.unwrap();
        assert_eq!(done.open.map(|open| (open.batch.0, open.kind)), Some((2, "ingestion".to_owned())));
        let left = "select (select count(*) from hub_batch_metrics) || ' ' || (select \"currentBatch\" from hub_batch_counter) \
                    || ' ' || (select count(*) from hub_store1_people_staging where ds_surf_batch_id = 2)";
        assert_eq!(mill.value("store", left).await.as_deref(), Some("1 1 0"), "{strategy:?}");
        assert_eq!(mill.ingest().await.batch.0, 2);
    }
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_at_once() {
    for step in [Step::Leased, Step::MidChunk, Step::Merging, Step::BeforeCommit] {
        let mut mill = with_two_people(Scd::Forensic).await;
        let tape = Arc::new(Tape::default());
        let observer = Observers::default().and(tape.clone()).and(Arc::new(At::fail(step, 1)));
        let outcome = mill.run(Arc::new(observer)).await.unwrap();
        assert_eq!(tape.notices(NoticeKind::Retry).len(), 1, "{step}");
        mill.judge(outcome).await;
    }
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_repeated() {
    let mut mill = with_two_people(Scd::Forensic).await;
    let outcome = mill.run(Arc::new(At::fail(Step::AfterCommit, 1))).await.unwrap();
    let expected = IngestOutcome { inserted: 2, updated: 1, deleted: 1, total: 2, ..outcome };
    assert_eq!((outcome, outcome.batch.0), (expected, 2));
    mill.judge(outcome).await;
    assert_eq!(
        mill.value("store", "select max(batch_id)::text from hub_batch_metrics").await.as_deref(),
        Some("2")
    );
}

#[tokio::test]
async fn a_failure_that_stays_spends_the_budget_and_writes_nothing() {
    let mut mill = with_two_people(Scd::Forensic).await;
    mill.job.tuning.retry_tries = 3;
    let always = At::every(Step::ChunkCommitted, || async { Verdict::FailHere("again".into()) });
    let error = mill.run(Arc::new(always)).await.unwrap_err();
    assert!(matches!(error, Error::BudgetSpent { tries: 3, .. }), "{error}");
    assert!(error.advice().ends_with("the batch is read anew from its source"), "{}", error.advice());
    assert_eq!(mill.ingest().await.batch.0, 2);
}

#[tokio::test]
async fn a_second_worker_is_told_who_is_at_it() {
    let mill = with_two_people(Scd::Forensic).await;
    mill.run(Arc::new(At::stop(Step::ChunkCommitted, 1))).await.unwrap_err();
    let error = mill.run(Arc::new(Unobserved)).await.unwrap_err();
    let Error::Busy { stream, .. } = &error else { panic!("{error}") };
    assert_eq!(stream, STORE);
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_leaves_the_batch_to_the_next() {
    let mut mill = with_two_people(Scd::LiveOnly).await;
    let stop = CancellationToken::new();
    stop.cancel();
    let error = ingest::run(Arc::new(mill.job.clone()), Arc::new(Unobserved), stop).await.unwrap_err();
    assert!(matches!(error, Error::Stopped), "{error}");
    assert_eq!(mill.ingest().await.batch.0, 2);
}

#[tokio::test]
async fn a_worker_that_was_overtaken_commits_nothing() {
    let mut mill = with_two_people(Scd::Forensic).await;
    let options = mill.server.connect_options("store");
    let overtake = At::nth(Step::BeforeCommit, 1, move || {
        let options = options.clone();
        async move {
            let mut connection = options.connect().await.unwrap();
            let bump = "update hub_sync_stream set lease_token = lease_token + 1, lease_owner = null";
            sqlx::raw_sql(bump).execute(&mut connection).await.unwrap();
            Verdict::GoOn
        }
    });
    let error = mill.run(Arc::new(overtake)).await.unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    assert_eq!(mill.metrics(2).await[0], "ingested");
    assert_eq!(mill.ingest().await.batch.0, 2);
}

#[tokio::test]
async fn a_platform_that_followed_a_primary_gives_its_watermark_up() {
    let mut mill = with_two_people(Scd::Forensic).await;
    let follow = format!(
        "update hub_sync_stream set primary_platform = 'Other', last_synced_primary_batch = 1, phase = 'seed', \
         flight = '{{}}' where stream_key = '{STORE}'"
    );
    mill.execute("store", &follow).await;
    let tape = Arc::new(Tape::default());
    let outcome = mill.run(tape.clone()).await.unwrap();
    mill.judge(outcome).await;
    assert_eq!(
        tape.notices(NoticeKind::Warning),
        [format!("{PLATFORM} followed primary Other and now ingests the source itself")]
    );
    let question =
        "select phase, flight::text, last_synced_primary_batch::text, primary_platform from hub_sync_stream";
    assert_eq!(mill.ask("store", question).await, [[Some("idle".to_owned()), None, None, None]]);
}
