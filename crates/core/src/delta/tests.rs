//! Small cases by hand; the laws over random histories are in `tests/laws`.

use super::*;
use crate::milestone::LIVE;

const X: i32 = 10;
const Y: i32 = 20;

type Row = (&'static str, i32, i32, &'static str);

fn range() -> BatchRange {
    BatchRange::new(PrimaryBatch(X), PrimaryBatch(Y))
}

fn versions(rows: &[Row]) -> Vec<Version<&'static str, &'static str>> {
    let version = |&(key, batch_in, batch_out, content): &Row| Version {
        key,
        interval: Interval::new(PrimaryBatch(batch_in), PrimaryBatch(batch_out)),
        content,
    };
    rows.iter().map(version).collect()
}

fn net(rows: &[Row]) -> (Vec<(&'static str, &'static str)>, Vec<&'static str>) {
    let delta = NetDelta::over(&versions(rows), range());
    (delta.upserts.into_iter().collect(), delta.deletes.into_iter().collect())
}

fn rows_of(state: MirrorState<&'static str, &'static str>) -> Vec<Row> {
    state
        .into_iter()
        .map(|((key, batch_in), held)| (key, batch_in.0, held.batch_out.0, held.content))
        .collect()
}

fn full(rows: &[Row]) -> (Vec<Row>, Vec<Row>) {
    let delta = FullDelta::over(&versions(rows), range());
    (rows_of(delta.opened), rows_of(delta.closures))
}

#[test]
fn a_net_delta_upserts_what_was_opened_after_x_and_is_live_at_y() {
    for (batch_in, upserted) in [(X, false), (X + 1, true), (Y, true), (Y + 1, false)] {
        let upserts = net(&[("k", batch_in, LIVE, "new")]).0;
        assert_eq!(!upserts.is_empty(), upserted, "batch_in {batch_in}");
    }
    for (batch_out, upserted) in [(Y - 1, false), (Y, true), (Y + 1, true)] {
        let upserts = net(&[("k", X + 1, batch_out, "new")]).0;
        assert_eq!(!upserts.is_empty(), upserted, "batch_out {batch_out}");
    }
}

#[test]
fn a_net_delta_deletes_what_was_live_at_x_and_closed_through_y() {
    for (batch_out, deleted) in
        [(X - 1, false), (X, true), (X + 1, true), (Y - 1, true), (Y, false), (Y + 1, false), (LIVE, false)]
    {
        let (upserts, deletes) = net(&[("k", 1, batch_out, "old")]);
        assert_eq!((upserts.len(), !deletes.is_empty()), (0, deleted), "batch_out {batch_out}");
    }
    assert_eq!(net(&[("k", X, X, "old")]).1, ["k"], "opened by X, closed by X + 1");
}

#[test]
fn a_key_inserted_and_deleted_inside_the_range_leaves_nothing_in_a_net_delta() {
    assert_eq!(net(&[("k", X + 1, Y - 1, "brief")]), (vec![], vec![]));
}

#[test]
fn a_key_deleted_and_inserted_again_is_one_upsert() {
    assert_eq!(net(&[("k", 1, X, "old"), ("k", X + 5, LIVE, "new")]), (vec![("k", "new")], vec![]));
    assert_eq!(
        net(&[("k", 1, X, "old"), ("k", X + 2, X + 3, "brief"), ("k", Y, Y, "new")]).0,
        [("k", "new")]
    );
}

#[test]
fn a_key_that_is_gone_again_at_y_is_one_delete() {
    assert_eq!(net(&[("k", 1, X, "old"), ("k", X + 2, Y - 1, "brief")]), (vec![], vec!["k"]));
    assert_eq!(net(&[("k", 1, X, "old"), ("k", Y + 1, LIVE, "after y")]), (vec![], vec!["k"]));
}

#[test]
fn a_full_delta_opens_by_batch_in_and_takes_back_later_closes() {
    for (batch_in, opened) in [(X, false), (X + 1, true), (Y, true), (Y + 1, false)] {
        assert_eq!(!full(&[("k", batch_in, LIVE, "v")]).0.is_empty(), opened, "batch_in {batch_in}");
    }
    for (batch_out, as_of_y) in [(Y - 1, Y - 1), (Y, LIVE), (Y + 1, LIVE), (LIVE, LIVE)] {
        assert_eq!(full(&[("k", X + 1, batch_out, "v")]), (vec![("k", X + 1, as_of_y, "v")], vec![]));
    }
}

#[test]
fn a_full_delta_closes_what_was_opened_through_x_and_closed_in_the_range() {
    for (batch_out, closed) in
        [(X - 1, false), (X, true), (X + 1, true), (Y - 1, true), (Y, false), (Y + 1, false), (LIVE, false)]
    {
        let (opened, closures) = full(&[("k", 1, batch_out, "v")]);
        assert_eq!((opened.len(), !closures.is_empty()), (0, closed), "batch_out {batch_out}");
    }
    assert_eq!(full(&[("k", X, X, "v")]).1, [("k", X, X, "v")]);
    assert_eq!(full(&[("k", X + 1, X + 1, "v")]).1, [], "opened by the range: it is among the opened ones");
}

#[test]
fn states_at_a_batch_include_both_ends() {
    let rows =
        versions(&[("a", 1, X - 1, "1"), ("a", X, X, "2"), ("a", X + 1, LIVE, "3"), ("b", X + 1, LIVE, "b")]);
    assert_eq!(live_state(&rows, PrimaryBatch(X)).into_iter().collect::<Vec<_>>(), [("a", "2")]);
    assert_eq!(rows_of(mirror_state(&rows, PrimaryBatch(X))), [("a", 1, X - 1, "1"), ("a", X, LIVE, "2")]);
}

#[test]
#[should_panic(expected = "two versions of one key are live at batch 10")]
fn two_live_versions_of_a_key_are_a_broken_table() {
    live_state(&versions(&[("k", 1, LIVE, "a"), ("k", 2, LIVE, "b")]), PrimaryBatch(X));
}
