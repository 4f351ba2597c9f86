//! Merge tables that do not hold what the batches left, and sources that were emptied.

use std::sync::Arc;

use milestream_worker::Error;
use milestream_worker::ingest::Scd;
use milestream_worker::observer::Unobserved;

use crate::mill::{Mill, PEOPLE, people};

const BOTH: [Scd; 2] = [Scd::Forensic, Scd::LiveOnly];

/// A platform that has ingested two batches of people.
async fn ingested(strategy: Scd) -> Mill {
    let mut mill = Mill::new(strategy, vec![people()], PEOPLE).await;
    mill.execute("source", "insert into people select i, 'name', 'Ghent' from generate_series(1, 8) i").await;
    mill.ingest().await;
    mill.execute("source", "delete from people where id = 8; update people set town = 'Bruges' where id < 3")
        .await;
    mill.ingest().await;
    mill
}

/// Ingests into an error that says all of `words`, and leaves no batch behind.
async fn assert_halts(mill: &Mill, words: &[&str]) -> Error {
    let error = mill.run(Arc::new(Unobserved)).await.expect_err("a batch that is not committed");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} in {error}");
    }
    error
}

#[tokio::test]
async fn a_merge_table_that_was_emptied_is_not_filled_anew_and_the_advice_leads_to_right_rows() {
    for strategy in BOTH {
        let mill = ingested(strategy).await;
        mill.execute("store", "delete from hub_store1_people_merge").await;
        let error =
            assert_halts(&mill, &["through 2 leave 7 live rows", "there are 0", "hub_store1_people_merge"])
                .await;
        assert!(matches!(error, Error::LiveRowsMoved { .. }), "{error}");
        assert!(mill.metrics(3).await.is_empty(), "no batch was opened");
        let advice = error.advice();
        let anew = advice.split(['(', ')']).nth(1).unwrap();
        mill.execute("store", anew).await;
        let outcome = mill.run(Arc::new(Unobserved)).await.unwrap();
        assert_eq!((outcome.batch.0, outcome.inserted), (1, 7));
    }
}

#[tokio::test]
async fn a_row_that_a_hand_inserted_is_noticed_before_a_batch_is_opened() {
    let mill = ingested(Scd::LiveOnly).await;
    let copy = "insert into hub_store1_people_merge select 99, name, town, ds_surf_all_hash, 'x', 1 \
                from hub_store1_people_merge where id = 1";
    mill.execute("store", copy).await;
    assert_halts(&mill, &["leave 7 live rows", "there are 8"]).await;
}

#[tokio::test]
async fn a_store_whose_batches_do_not_reach_back_is_not_compared() {
    let mill = ingested(Scd::Forensic).await;
    mill.execute(
        "store",
        "delete from hub_batch_metrics where batch_id = 1; delete from hub_store1_people_merge where id = 3",
    )
    .await;
    mill.execute("source", "delete from people where id = 3").await;
    assert_eq!(mill.run(Arc::new(Unobserved)).await.unwrap().batch.0, 3);
    mill.execute("source", "insert into people values (20, 'new', null)").await;
    assert_eq!(mill.run(Arc::new(Unobserved)).await.unwrap().inserted, 1);
}

#[tokio::test]
async fn a_source_that_was_emptied_halts_unless_it_is_meant() {
    for strategy in BOTH {
        let mut mill = ingested(strategy).await;
        mill.job.tuning.max_delete_fraction = 0.5;
        mill.execute("source", "delete from people").await;
        let error = assert_halts(&mill, &["would delete 7 of 7 rows"]).await;
        assert!(matches!(error, Error::TooManyDeletes { .. }), "{error}");
        assert!(error.advice().contains("--max-delete-fraction 1"), "{}", error.advice());
        mill.job.tuning.max_delete_fraction = 1.0;
        let outcome = mill.ingest().await;
        assert_eq!((outcome.batch.0, outcome.deleted), (3, 7));
    }
}

#[tokio::test]
async fn a_trigger_that_meddles_with_a_merge_is_named() {
    for (strategy, body, seen) in [
        (Scd::Forensic, "return null;", "rows were to be"),
        (Scd::LiveOnly, "return null;", "rows were to be"),
        (Scd::Forensic, "new.town := 'Bruges'; return new;", "key (20) in town"),
        (Scd::LiveOnly, "new.town := 'Bruges'; return new;", "key (20) in town"),
    ] {
        let mut mill = ingested(strategy).await;
        let trigger = format!(
            "create function meddle() returns trigger language plpgsql as $$begin {body} end$$; \
             create trigger meddling before insert on hub_store1_people_merge for each row execute function meddle()"
        );
        mill.execute("store", &trigger).await;
        mill.execute("source", "insert into people values (20, 'new', 'Ghent')").await;
        let error = assert_halts(&mill, &[seen, "trigger meddling (before insert, meddle())"]).await;
        assert!(matches!(error, Error::Unwritten { .. }), "{error}");
        mill.execute("store", "drop trigger meddling on hub_store1_people_merge").await;
        assert_eq!(mill.ingest().await.inserted, 1);
    }
}
