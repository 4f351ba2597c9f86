//! The tables themselves: types, keys, indexes, and those that are there already.

use std::sync::Arc;

use milestream_tests::Tape;
use milestream_worker::ingest::Scd;
use milestream_worker::observer::NoticeKind;

use crate::mill::{Mill, PEOPLE, people};

/// Columns and indexes of a table, as the catalog writes them.
async fn described(mill: &Mill, table: &str) -> String {
    let columns = format!(
        "select a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || case when c.collname = 'C' then ' collate C' else '' end \
         || case when a.attnotnull then ' not null' else '' end || case when a.atthasdef then ' default' else '' end \
         from pg_attribute a left join pg_collation c on c.oid = a.attcollation \
         where a.attrelid = '{table}'::regclass and a.attnum > 0 order by a.attnum"
    );
    let indexes = format!("select indexdef from pg_indexes where tablename = '{table}' order by 1");
    let mut lines = vec![table.to_owned()];
    for question in [columns, indexes] {
        lines.extend(mill.ask("store", &question).await.into_iter().flatten().flatten());
    }
    lines.join("\n  ")
}

#[tokio::test]
async fn tables_are_laid_out_as_datasurface_lays_them_out() {
    let mut found = Vec::new();
    for strategy in [Scd::Forensic, Scd::LiveOnly] {
        let mut mill = Mill::new(strategy, vec![people()], PEOPLE).await;
        mill.ingest().await;
        for table in ["hub_store1_people_merge", "hub_store1_people_staging"] {
            found.push(described(&mill, table).await);
        }
        let left =
            "select count(*)::text from pg_class where relname like '%landing%' or relname like '%sweep%'";
        assert_eq!(mill.value("store", left).await.as_deref(), Some("0"));
    }
    insta::assert_snapshot!(found.join("\n"));
}

#[tokio::test]
async fn a_merge_table_that_exists_decides_types_and_keeps_what_hangs_on_it() {
    let mut mill = Mill::new(Scd::Forensic, vec![people()], PEOPLE).await;
    mill.execute(
        "store",
        "create table hub_store1_people_merge (id bigint not null, name text, town varchar(80), extra text, \
            ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
            ds_surf_batch_in integer not null, ds_surf_batch_out integer not null, primary key (id, ds_surf_batch_in)); \
         create view names as select name from hub_store1_people_merge",
    )
    .await;
    mill.execute("source", "insert into people values (1, 'Ann', null)").await;
    mill.ingest().await;
    mill.execute("source", "update people set town = ''").await;
    mill.ingest().await;
    assert_eq!(mill.value("store", "select count(*)::text from names").await.as_deref(), Some("2"));
    let staging = described(&mill, "hub_store1_people_staging").await;
    assert!(
        staging.contains("id bigint not null") && staging.contains("town character varying(80)"),
        "{staging}"
    );
}

#[tokio::test]
async fn a_staging_table_of_another_shape_is_made_anew() {
    let mut mill = Mill::new(Scd::Forensic, vec![people()], PEOPLE).await;
    mill.execute("source", "insert into people values (1, 'Ann', null)").await;
    mill.ingest().await;
    mill.execute(
        "store",
        "alter table hub_store1_people_staging add ds_surf_iud varchar(1) not null default 'I'",
    )
    .await;
    let tape = Arc::new(Tape::default());
    let outcome = mill.run(tape.clone()).await.unwrap();
    mill.judge(outcome).await;
    assert_eq!(
        tape.notices(NoticeKind::Warning),
        ["\"hub_store1_people_staging\" had another shape and is made anew"]
    );
    assert_eq!(mill.staged("people").await.len(), 1);
}

#[tokio::test]
async fn staged_rows_of_old_batches_go_when_they_are_kept_no_longer() {
    let mut mill = Mill::new(Scd::LiveOnly, vec![people()], PEOPLE).await;
    mill.job.staging_batches_to_keep = Some(2);
    mill.execute("source", "insert into people values (1, 'Ann', null)").await;
    for _ in 0..4 {
        mill.ingest().await;
    }
    let kept = "select string_agg(ds_surf_batch_id::text, ',' order by ds_surf_batch_id) from hub_store1_people_staging";
    assert_eq!(mill.value("store", kept).await.as_deref(), Some("3,4"));
}
