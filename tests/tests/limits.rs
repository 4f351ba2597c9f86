//! A primary that was emptied by mistake does not empty its secondaries.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::sync::Arc;

use milestream_tests::{Table, Tape, World, deletes, inserts};
use milestream_worker::observer::Step;
use milestream_worker::sync::Until;
use milestream_worker::{Error, Holding};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

#[tokio::test]
async fn an_emptied_primary_is_stopped_and_goes_on_from_there_when_it_is_meant() {
    for holding in BOTH {
        let mut world = World::new(vec![Table::people(), Table::named_people("staff")]).await;
        world.commit([inserts("people", 0..20), inserts("staff", 0..5)].concat()).await;
        let mut job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        world.commit([deletes("people", 0..20), inserts("staff", 5..9)].concat()).await;
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(error, Error::TooManyDeletes { deletes: 20, rows: 20, .. }), "{error}");
        assert!(error.advice().contains("--max-delete-fraction 1"), "{}", error.advice());
        world.assert_holds(&job, 1).await;
        let flight = world.flight(&job).await;
        assert_eq!(flight, Some((Some(1), 2)));
        assert!(
            world.stream_state(&job, "halted_reason").await.unwrap().contains("would delete 20 of 20 rows")
        );
        job.tuning.max_delete_fraction = 1.0;
        let tape = Arc::new(Tape::default());
        world.sync_with(&job, Until::CaughtUp, tape.clone()).await.unwrap();
        assert_eq!(tape.count(Step::ChunkOpened), 0, "what was staged is still there");
        world.assert_holds(&job, 2).await;
        assert_eq!(world.stream_state(&job, "halted_reason").await, None);
    }
}

#[tokio::test]
async fn the_bound_itself_is_within_the_bound() {
    for holding in BOTH {
        let mut world = World::new(vec![Table::people()]).await;
        world.commit(inserts("people", 0..10)).await;
        let job = world.job("Edge", holding);
        world.sync(&job).await.unwrap();
        world.commit(deletes("people", 0..5)).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 2).await;
        world.commit(deletes("people", 5..8)).await;
        let error = world.sync(&job).await.unwrap_err();
        assert!(matches!(error, Error::TooManyDeletes { deletes: 3, .. }), "{error}");
        world.assert_holds(&job, 2).await;
    }
}
