//! The hash columns: their formulas, and that they decide nothing.

use std::sync::Arc;

use milestream_core::model::ColumnType;
use milestream_worker::Error;
use milestream_worker::ingest::{HashFormula, Scd};
use milestream_worker::observer::Unobserved;

use crate::mill::{Mill, PEOPLE, dataset, people, unknown};

const HASHES: &str =
    "select ds_surf_all_hash, ds_surf_key_hash from hub_store1_people_merge order by id, name";

/// Both hashes of the one person (1, 'Ann', NULL).
async fn hashes_of_ann(hash: HashFormula) -> Vec<String> {
    let mut mill = Mill::new(Scd::Forensic, vec![people()], PEOPLE).await;
    mill.job.hash = hash;
    mill.execute("source", "insert into people values (1, 'Ann', null)").await;
    mill.ingest().await;
    mill.ask("store", HASHES).await.into_iter().flatten().flatten().collect()
}

#[tokio::test]
async fn datasurfaces_hashes_are_md5_of_texts_without_a_separator() {
    // printf 1Ann | md5sum; printf 1 | md5sum
    let expected = ["f2606cf023d7059cf9e848b0c606e7c7", "c4ca4238a0b923820dcc509a6f75849b"];
    assert_eq!(hashes_of_ann(HashFormula::DataSurface).await, expected);
}

#[tokio::test]
async fn strict_hashes_are_md5_of_texts_behind_their_lengths() {
    // printf '1:13:Ann-' | md5sum; printf 1:1 | md5sum
    let expected = ["593cd14b9b514412bc8ea9e80acefe99", "d0bd571dc19c083d82f023c9666c5574"];
    assert_eq!(hashes_of_ann(HashFormula::Strict).await, expected);
}

#[tokio::test]
async fn hashes_are_of_the_texts_that_the_merge_table_has() {
    let prices = dataset("prices", 1, &[("id", unknown()), ("price", unknown())]);
    let source = "create table prices (id integer primary key, price numeric(6,2)); \
         insert into prices values (1, 1.50)";
    let mill = Mill::new(Scd::LiveOnly, vec![prices], source).await;
    mill.execute(
        "store",
        "create table hub_store1_prices_merge (id integer primary key, price numeric(8,3), \
            ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
            ds_surf_batch_id integer not null)",
    )
    .await;
    mill.run(Arc::new(Unobserved)).await.unwrap();
    let question = "select ds_surf_all_hash, md5('11.500') from hub_store1_prices_merge";
    let hashes = mill.ask("store", question).await.remove(0);
    assert_eq!(hashes[0], hashes[1]);
}

#[tokio::test]
async fn another_formula_alone_changes_no_row() {
    for strategy in [Scd::Forensic, Scd::LiveOnly] {
        let mut mill = Mill::new(strategy, vec![people()], PEOPLE).await;
        mill.execute("source", "insert into people values (1, 'Ann', null), (2, 'Bob', '')").await;
        mill.ingest().await;
        let before = mill.ask("store", HASHES).await;
        mill.job.hash = HashFormula::Strict;
        let outcome = mill.ingest().await;
        assert_eq!((outcome.inserted, outcome.updated, outcome.deleted), (0, 0, 0), "{strategy:?}");
        assert_eq!(mill.ask("store", HASHES).await, before);
        mill.execute("source", "update people set town = null where id = 2").await;
        assert_eq!(mill.ingest().await.updated, 1, "{strategy:?}");
    }
}

const PAIRS: &str = "create table pairs (a integer, b integer, note text, primary key (a, b)); \
     insert into pairs values (1, 11, 'x'), (11, 1, 'y');";

#[tokio::test]
async fn keys_that_share_a_hash_are_two_records() {
    for strategy in [Scd::Forensic, Scd::LiveOnly] {
        let pairs = dataset(
            "pairs",
            2,
            &[("a", ColumnType::Integer), ("b", ColumnType::Integer), ("note", unknown())],
        );
        let mut mill = Mill::new(strategy, vec![pairs], PAIRS).await;
        assert_eq!(mill.ingest().await.inserted, 2);
        let distinct = "select count(distinct ds_surf_key_hash)::text from hub_store1_pairs_merge";
        assert_eq!(mill.value("store", distinct).await.as_deref(), Some("1"));
        mill.execute("source", "update pairs set note = 'z' where a = 1; delete from pairs where a = 11")
            .await;
        let outcome = mill.ingest().await;
        assert_eq!((outcome.updated, outcome.deleted), (1, 1));
    }
}

#[tokio::test]
async fn for_interchange_keys_that_share_a_hash_are_refused_by_name() {
    let pairs =
        dataset("pairs", 2, &[("a", ColumnType::Integer), ("b", ColumnType::Integer), ("note", unknown())]);
    let mut mill = Mill::new(Scd::LiveOnly, vec![pairs], PAIRS).await;
    mill.job.tuning.interchange = true;
    for _ in 0..2 {
        let error = mill.run(Arc::new(Unobserved)).await.unwrap_err();
        let Error::HashCollision { table, first, second } = &error else { panic!("{error}") };
        let mut keys = [first.as_str(), second.as_str()];
        keys.sort_unstable();
        assert_eq!((table.as_str(), keys), ("\"hub_store1_pairs_merge\"", ["1, 11", "11, 1"]));
        assert_eq!(mill.value("store", "select to_regclass('hub_store1_pairs_merge')::text").await, None);
    }
    mill.execute("source", "delete from pairs where a = 11").await;
    assert_eq!(mill.ingest().await.inserted, 1);
    mill.execute("source", "update pairs set a = 11, b = 1").await;
    let outcome = mill.ingest().await;
    assert_eq!((outcome.inserted, outcome.deleted), (1, 1), "a hash that moves to another key is free again");
}
