use super::*;
use crate::primary::Operation;
use crate::row::LIVE;

fn row(id: &str, name: &str) -> Row {
    Row::of_texts(&[id], &[name])
}

/// Four batches: Ann, then Bo joins, Ann becomes Anna, and Bo is gone.
fn primary() -> Primary {
    let mut primary = Primary::new([Shape::new("people", &["id"], &["name"])]);
    let batches = [
        Operation::Insert(row("1", "Ann")),
        Operation::Insert(row("2", "Bo")),
        Operation::Update(row("1", "Anna")),
        Operation::Delete(row("2", "").key),
    ];
    for operation in batches {
        primary.commit([("people", operation)]).unwrap();
    }
    primary
}

fn synced(holding: Holding) -> (Vec<Synced>, Shape, Vec<Row>) {
    let primary = primary();
    let mut secondary = Secondary::new(holding, &primary);
    let synced = [2, 4].map(|through| secondary.sync(&primary, through)).to_vec();
    assert_eq!(secondary.watermark(), Some(4));
    let (shape, rows) = secondary.expected("people");
    (synced, shape, rows)
}

fn version(id: &str, batch_in: i32, name: &str, batch_out: i32) -> Row {
    Row::of_texts(&[id, &batch_in.to_string()], &[name, &batch_out.to_string()])
}

#[test]
fn a_live_only_secondary_holds_the_rows_of_its_watermark() {
    let (synced, shape, rows) = synced(Holding::LiveOnly);
    assert_eq!(rows, [row("1", "Anna")]);
    assert_eq!(shape, Shape::new("people", &["id"], &["name"]));
    assert_eq!(synced[0], Synced { local_batch: 1, keys: KeyCounts { new: 2, changed: 0, gone: 0 } });
    assert_eq!(synced[1], Synced { local_batch: 2, keys: KeyCounts { new: 0, changed: 1, gone: 1 } });
}

#[test]
fn a_mirror_holds_every_version_under_the_primarys_ids() {
    let (synced, shape, rows) = synced(Holding::Mirror);
    assert_eq!(rows, [version("1", 1, "Ann", 2), version("1", 3, "Anna", LIVE), version("2", 2, "Bo", 3)]);
    assert_eq!(shape, Shape::new("people", &["id", "batch_in"], &["name", "batch_out"]));
    assert_eq!(synced.iter().map(|sync| sync.local_batch).collect::<Vec<_>>(), [2, 4]);
}

#[test]
fn a_conflating_secondary_holds_a_history_of_its_own_syncs() {
    let (synced, _, rows) = synced(Holding::Conflate);
    assert_eq!(rows, [version("1", 1, "Ann", 1), version("1", 2, "Anna", LIVE), version("2", 1, "Bo", 1)]);
    assert_eq!(synced.iter().map(|sync| sync.local_batch).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn before_the_seed_a_secondary_holds_nothing() {
    for holding in [Holding::LiveOnly, Holding::Mirror, Holding::Conflate] {
        let secondary = Secondary::new(holding, &primary());
        assert_eq!((secondary.watermark(), secondary.expected("people").1), (None, vec![]));
    }
}

#[test]
fn what_a_secondary_holds_does_not_move_with_the_primary() {
    let mut primary = primary();
    for holding in [Holding::LiveOnly, Holding::Mirror, Holding::Conflate] {
        let mut secondary = Secondary::new(holding, &primary);
        secondary.sync(&primary, primary.newest_batch());
        let before = secondary.expected("people");
        primary.commit_snapshot([("people", vec![])]).unwrap();
        assert_eq!(secondary.expected("people"), before, "{holding:?}");
        primary.commit([("people", Operation::Insert(row("1", "Anna")))]).unwrap();
    }
}
