//! Snapshots of every statement, for a composite key, a cast column and a name that needs quoting.

use milestream_core::chunk::{BlockRange, DeltaPosition, KeyRange};
use milestream_core::milestone::{BatchRange, LocalBatch, PrimaryBatch};

use super::{block_delta, compare, delta, doubles, landing, merge, parts, proof, samples, seed};
use crate::pair::{Holding, Pair};

const X: PrimaryBatch = PrimaryBatch(4);
const LOCAL: LocalBatch = LocalBatch(9);

fn range() -> BatchRange {
    BatchRange::new(X, PrimaryBatch(7))
}

fn titled(statements: Vec<(&str, String)>) -> String {
    statements.into_iter().map(|(title, text)| format!("-- {title}\n{text}\n")).collect::<Vec<_>>().join("\n")
}

fn both(statements: impl Fn(&Pair) -> Vec<(&'static str, String)>) -> String {
    [Holding::LiveOnly, Holding::Mirror]
        .map(|holding| format!("==== {holding:?}\n{}", titled(statements(&samples::pair(holding)))))
        .join("\n")
}

#[test]
fn what_a_seed_reads() {
    let blocks = |from, to| BlockRange { leaf: "\"public\".\"leaf\"".into(), leaf_oid: 7, from, to };
    let bound = |id: &str| Some(vec![id.to_owned(), "2013-01-01".to_owned()]);
    insta::assert_snapshot!(both(|pair| vec![
        ("first blocks", seed::blocks(pair, X, &blocks(0, Some(128)))),
        ("last blocks", seed::blocks(pair, X, &blocks(128, None))),
        ("sweep", seed::sweep(pair, X)),
        ("first keys", seed::keys(pair, X, &KeyRange { after: None, through: bound("a'b") })),
        ("middle keys", seed::keys(pair, X, &KeyRange { after: bound("a'b"), through: bound("c") })),
        ("count", seed::count(pair, X)),
        ("sample by pages", seed::sample(pair, X, 100, 10_000, true)),
        ("sample of a view", seed::sample(pair, X, 100, 10_000, false)),
        ("copy in", seed::copy_in(pair, &pair.names.landing)),
    ]));
}

#[test]
fn what_is_counted_where_parts_came_or_went() {
    let parts = ["public.low".to_owned(), "\"O'H\".high".to_owned()];
    insta::assert_snapshot!(both(|pair| vec![
        ("parts came", parts::question(pair, X, &parts)),
        ("parts went", parts::question(pair, X, &[])),
        ("held", parts::held(pair)),
    ]));
}

#[test]
fn how_a_seed_lands() {
    insta::assert_snapshot!(both(|pair| {
        let mut statements: Vec<_> =
            landing::create(pair, LOCAL).into_iter().map(|text| ("create", text)).collect();
        statements.push(("key", landing::key_index(pair).statement));
        statements.extend(landing::plain_indexes(pair).into_iter().map(|build| ("index", build.statement)));
        statements.push(("keep sweep", landing::keep_sweep(pair)));
        statements.push(("colliding keys", landing::colliding_keys(pair)));
        statements.extend(landing::reveal(pair).into_iter().map(|text| ("reveal", text)));
        statements.extend(landing::create_staging(pair).into_iter().map(|text| ("staging", text)));
        let difference = landing::by_difference(pair, LOCAL);
        statements.push(("would delete", landing::would_delete(pair)));
        if pair.holding == Holding::Mirror {
            statements.push(("keys", landing::count_keys(pair)));
        }
        statements.push(("delete", difference.delete));
        statements.push(("update", difference.update));
        statements.push(("insert", difference.insert));
        statements
    }));
}

#[test]
fn what_an_increment_reads() {
    insta::assert_snapshot!(both(|pair| {
        let batch_in = (pair.holding == Holding::Mirror).then_some(PrimaryBatch(5));
        let after = DeltaPosition { key: vec!["k".into(), "2013-01-01".into()], batch_in };
        vec![
            ("from the start", delta::copy_out(pair, range(), LOCAL, None)),
            ("behind a key", delta::copy_out(pair, range(), LOCAL, Some(&after))),
            ("copy in", delta::copy_in(pair, &pair.names.staging)),
            ("ledger", delta::ledger(pair, range())),
        ]
    }));
}

#[test]
fn what_an_increment_reads_by_blocks() {
    let blocks = |from, to| BlockRange { leaf: "\"public\".\"leaf\"".into(), leaf_oid: 7, from, to };
    insta::assert_snapshot!(both(|pair| {
        let mut statements: Vec<_> =
            block_delta::create(pair).into_iter().map(|text| ("create", text)).collect();
        statements.extend([
            ("first blocks", block_delta::blocks(pair, range(), LOCAL, &blocks(0, Some(128)))),
            ("last blocks", block_delta::blocks(pair, range(), LOCAL, &blocks(128, None))),
            ("sweep", block_delta::sweep(pair, range(), LOCAL)),
            ("copy in", delta::copy_in(pair, &pair.names.landing)),
            ("ledger", block_delta::ledger(pair, range())),
            ("settle", block_delta::settle(pair)),
        ]);
        statements
    }));
}

#[test]
fn how_a_net_delta_is_merged() {
    let pair = samples::pair(Holding::LiveOnly);
    let statements = merge::net(&pair, LOCAL);
    let mut all = vec![
        ("staged", merge::staged(&pair, LOCAL)),
        ("deletes", merge::net_deletes(&pair, LOCAL)),
        ("rows", merge::rows_below(&pair, 20)),
        ("delete", statements.delete),
        ("update", statements.update),
        ("insert", statements.insert),
        ("clear", merge::clear_staged(&pair, LOCAL)),
        ("clear old", merge::clear_old(&pair, 5, LocalBatch(9))),
    ];
    all.extend(merge::colliding_keys(&pair, LOCAL).into_iter().map(|text| ("colliding keys", text)));
    insta::assert_snapshot!(titled(all));
}

#[test]
fn how_a_full_delta_is_merged() {
    let pair = samples::pair(Holding::Mirror);
    let statements = merge::full(&pair, LOCAL, X.0);
    insta::assert_snapshot!(titled(vec![
        ("keys", statements.count_keys),
        ("closures", statements.closures),
        ("close", statements.close),
        ("insert", statements.insert),
    ]));
}

#[test]
fn how_a_merge_is_proven() {
    let (keys, local) = ([vec!["k".to_owned(), "2013-01-01".to_owned()]], LOCAL);
    insta::assert_snapshot!(both(|pair| {
        let mut statements = match pair.holding {
            Holding::LiveOnly => vec![
                ("what was staged", proof::net(pair, local)),
                ("growth on the primary", proof::growth(pair, range())),
                ("deletions that were gone", proof::deletions_missing(pair, local)),
                ("upserts that were there", proof::upserts_known(pair, local, true)),
                ("upserts that were not", proof::upserts_known(pair, local, false)),
                ("one of them live at X", proof::key_live_at(pair, X, &keys, true)),
                ("one of them not live at X", proof::key_live_at(pair, X, &keys, false)),
            ],
            Holding::Mirror => vec![
                ("what was staged", proof::full(pair, local, X)),
                ("closures that were not live", proof::closures_missing(pair, local, X)),
                ("doubled here", proof::doubled_here(pair, local, X)),
                ("doubled there", proof::doubled_there(pair, range())),
            ],
        };
        statements.extend([("by difference", proof::difference(pair)), ("held", proof::held(pair))]);
        statements
    }));
}

#[test]
fn how_the_newest_of_many_live_versions_is_taken() {
    let pair = samples::pair(Holding::LiveOnly);
    let keys = [["k", "2013-01-01"], ["K", "2013-01-01"]].map(|key| key.map(str::to_owned));
    insta::assert_snapshot!(titled(vec![
        ("count", doubles::count(&pair, X)),
        ("for a person", doubles::list_all(&pair, X)),
        ("newest", doubles::copy_out(&pair, X)),
        ("create", doubles::create(&pair)),
        ("settle", doubles::settle(&pair)),
        ("landed twice", doubles::landed_twice(&pair)),
        ("are equal", doubles::are_equal(&pair, &keys[0], &keys[1])),
    ]));
}

#[test]
fn what_a_comparison_reads() {
    insta::assert_snapshot!(both(|pair| vec![
        ("primary", compare::of_primary(pair, X)),
        ("secondary", compare::of_secondary(pair)),
    ]));
}
