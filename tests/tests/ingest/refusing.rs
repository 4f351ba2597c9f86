//! What is refused, in which words, and that nothing is written then.

use std::sync::Arc;

use milestream_worker::Error;
use milestream_worker::ingest::Scd;
use milestream_worker::observer::Unobserved;

use crate::mill::{Mill, PEOPLE, people};

/// The error of a batch that must not begin.
async fn refused(mill: &Mill) -> Error {
    let error = mill.run(Arc::new(Unobserved)).await.expect_err("a refusal");
    let started =
        mill.value("store", "select count(*)::text from hub_batch_metrics where batch_status <> 'committed'");
    assert_eq!(started.await.as_deref(), Some("0"), "no batch was started");
    let halted = mill.value("store", "select halted_reason from hub_sync_stream").await.unwrap_or_default();
    assert!(halted.contains(&error.to_string()), "{halted}");
    error
}

#[tokio::test]
async fn a_source_table_that_is_missing_is_named_with_its_database() {
    let mut mill = Mill::new(Scd::Forensic, vec![people()], "select 1").await;
    mill.job.source_tables.insert("people".into(), "hr.person".into());
    let error = refused(&mill).await;
    let port = mill.server.port();
    assert_eq!(
        error.to_string(),
        format!("source of Store1 (127.0.0.1:{port}/source) has no table hr.person in its search path")
    );
}

#[tokio::test]
async fn columns_that_do_not_fit_are_listed_at_once() {
    let source = "create table people (id bigint, name text);";
    let mill = Mill::new(Scd::Forensic, vec![people()], source).await;
    let error = refused(&mill).await;
    insta::assert_snapshot!(error.to_string());
}

#[tokio::test]
async fn a_merge_table_of_the_other_strategy_is_refused() {
    let mut mill = Mill::new(Scd::LiveOnly, vec![people()], PEOPLE).await;
    mill.ingest().await;
    mill.job.strategy = Scd::Forensic;
    let error = refused(&mill).await;
    assert!(
        matches!(&error, Error::Schema { differences, .. } if differences.contains("ds_surf_batch_in")),
        "{error}"
    );
}

#[tokio::test]
async fn rows_of_a_view_without_the_models_key_are_refused() {
    let source = "create table hidden (id integer, name varchar(40), town varchar(40)); \
         create view people as select * from hidden; insert into hidden values (1, 'a', null), (1, 'b', null)";
    let mill = Mill::new(Scd::Forensic, vec![people()], source).await;
    let twice = mill.run(Arc::new(Unobserved)).await.unwrap_err();
    mill.execute("source", "delete from hidden; insert into hidden values (null, 'a', null)").await;
    let null = mill.run(Arc::new(Unobserved)).await.unwrap_err();
    insta::assert_snapshot!(format!("{twice}\n{null}"));
    assert_eq!(mill.value("store", "select to_regclass('hub_store1_people_merge')::text").await, None);
}

#[tokio::test]
async fn batches_that_were_numbered_anew_are_refused() {
    let mut mill = Mill::new(Scd::Forensic, vec![people()], PEOPLE).await;
    for id in 1..=3 {
        mill.execute("source", &format!("insert into people values ({id}, 'a', null)")).await;
        mill.ingest().await;
    }
    mill.execute("store", "delete from hub_batch_counter; delete from hub_batch_metrics where batch_id > 0")
        .await;
    let error = mill.run(Arc::new(Unobserved)).await.unwrap_err();
    let text = format!("{error}; {}", error.advice());
    assert!(
        text.contains("versions of batch 3") && text.contains("is 1") && text.contains("hub_batch_counter"),
        "{text}"
    );
    mill.execute("store", "update hub_batch_counter set \"currentBatch\" = 4").await;
    mill.execute("source", "insert into people values (4, 'a', null)").await;
    assert_eq!(mill.ingest().await.batch.0, 4);
}

#[tokio::test]
async fn a_missing_right_is_told_with_its_grant() {
    let mut mill = Mill::new(Scd::Forensic, vec![people()], PEOPLE).await;
    mill.execute("source", "create role reader login").await;
    mill.job.source =
        Arc::new(milestream_worker::Endpoint { user: "reader".into(), ..(*mill.job.source).clone() });
    let error = refused(&mill).await;
    assert!(
        error.advice().contains("GRANT SELECT ON \"public\".\"people\" TO \"reader\""),
        "{}",
        error.advice()
    );
    mill.execute("source", "grant select on people to reader").await;
    mill.ingest().await;
}

#[tokio::test]
async fn a_type_that_the_merge_store_lacks_or_has_otherwise_is_told_before_a_batch_begins() {
    use milestream_core::model::ColumnType;
    let columns = [("id", ColumnType::Integer), ("note", crate::mill::unknown())];
    let source =
        "create type mood as enum ('a', 'b'); create table people (id integer primary key, note mood)";
    let mill = Mill::new(Scd::Forensic, vec![crate::mill::dataset("people", 1, &columns)], source).await;
    let told = refused(&mill).await.to_string();
    assert!(told.contains("the merge store has no type like public.mood"), "{told}");
    assert!(told.contains("CREATE TYPE public.mood AS ENUM ('a', 'b');"), "{told}");
    mill.execute("store", "create type mood as enum ('a')").await;
    let told = refused(&mill).await.to_string();
    assert!(told.contains("the label \"b\" in the source is not in the merge table"), "{told}");
    mill.execute("store", "alter type mood add value 'b'").await;
    mill.run(Arc::new(Unobserved)).await.unwrap();
}
