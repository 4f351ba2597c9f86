//! The oracle itself against something duller still: a whole copy of the table after every batch.

use std::collections::{BTreeMap, BTreeSet};

use milestream_oracle::{
    BatchCounts, Difference, Holding, KeyCounts, LIVE, Operation, Primary, Row, Secondary, Shape, Version,
    differences,
};
use proptest::prelude::*;

const KEYS: std::ops::Range<u8> = 0..6;

type Copy = BTreeMap<u8, Option<u8>>;
/// What a batch writes: columns with NULL among their values, or `None` to delete.
type Batch = Vec<(u8, Option<Option<u8>>)>;

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let columns = prop::option::weighted(0.7, prop::option::weighted(0.8, 0..3_u8));
    prop::collection::vec(prop::collection::vec((KEYS, columns), 0..7), 1..9)
}

fn row(key: u8, column: Option<u8>) -> Row {
    Row { key: vec![Some(key.to_string())], columns: vec![column.map(|column| column.to_string())] }
}

fn rows(copy: &Copy) -> Vec<Row> {
    copy.iter().map(|(&key, &column)| row(key, column)).collect()
}

/// The copies after each batch, the empty one first, and the primary that went through the same.
fn played(batches: &[Batch]) -> (Vec<Copy>, Primary) {
    let mut primary = Primary::new([Shape::new("t", &["k"], &["c"])]);
    let mut copies = vec![Copy::new()];
    for batch in batches {
        let mut copy = copies[copies.len() - 1].clone();
        let mut operations = Vec::new();
        for &(key, columns) in batch {
            let before = copy.contains_key(&key);
            match columns {
                Some(column) => {
                    copy.insert(key, column);
                    let row = row(key, column);
                    operations
                        .push(("t", if before { Operation::Update(row) } else { Operation::Insert(row) }));
                }
                None if copy.remove(&key).is_some() => {
                    operations.push(("t", Operation::Delete(row(key, None).key)))
                }
                None => {}
            }
        }
        primary.commit(operations).expect("the operations fit the copy");
        copies.push(copy);
    }
    (copies, primary)
}

fn id(batch: usize) -> i32 {
    i32::try_from(batch).expect("histories are short")
}

/// The versions through `at`, by walking the copies as SCD2 does: close what differs, open what is new.
fn versions(copies: &[Copy], at: usize) -> BTreeSet<Version> {
    let mut closed = BTreeSet::new();
    let mut open: BTreeMap<u8, Version> = BTreeMap::new();
    for batch in 1..=at {
        for key in KEYS {
            let now = copies[batch].get(&key);
            if now != copies[batch - 1].get(&key) {
                closed
                    .extend(open.remove(&key).map(|version| Version { batch_out: id(batch) - 1, ..version }));
                open.extend(now.map(|&column| {
                    (key, Version { row: row(key, column), batch_in: id(batch), batch_out: LIVE })
                }));
            }
        }
    }
    closed.extend(open.into_values());
    closed
}

fn key_counts(before: &Copy, after: &Copy) -> KeyCounts {
    let count = |keep: &dyn Fn(&u8) -> bool| KEYS.filter(|key| keep(key)).count() as u64;
    KeyCounts {
        new: count(&|key| !before.contains_key(key) && after.contains_key(key)),
        changed: count(&|key| {
            before.contains_key(key) && after.contains_key(key) && before[key] != after[key]
        }),
        gone: count(&|key| before.contains_key(key) && !after.contains_key(key)),
    }
}

proptest! {
    #[test]
    fn live_rows_are_those_of_the_copies(batches in batches()) {
        let (copies, primary) = played(&batches);
        for (batch, copy) in copies.iter().enumerate() {
            prop_assert_eq!(primary.table("t").live_at(id(batch)), rows(copy));
        }
    }

    #[test]
    fn versions_are_those_that_scd2_makes_of_the_copies(batches in batches()) {
        let (copies, primary) = played(&batches);
        for batch in 0..copies.len() {
            let held = primary.table("t").versions_at(id(batch));
            prop_assert!(held.is_sorted_by_key(|version| (&version.row.key, version.batch_in)));
            prop_assert_eq!(held.into_iter().collect::<BTreeSet<_>>(), versions(&copies, batch));
        }
    }

    #[test]
    fn counts_are_those_of_two_copies(batches in batches()) {
        let (copies, primary) = played(&batches);
        for (through, now) in copies.iter().enumerate() {
            for (after, before) in copies[..through].iter().enumerate() {
                prop_assert_eq!(primary.changes_between(id(after), id(through)), key_counts(before, now));
            }
        }
        for batch in 1..copies.len() {
            let KeyCounts { new, changed, gone } = key_counts(&copies[batch - 1], &copies[batch]);
            let expected = BatchCounts { opened: new + changed, closed_changed: changed, closed_gone: gone };
            prop_assert_eq!(primary.counts_of(id(batch)), expected);
        }
    }

    #[test]
    fn a_snapshot_and_the_operations_that_lead_to_it_are_the_same_batch(batches in batches()) {
        let (copies, primary) = played(&batches);
        let mut by_snapshot = Primary::new([Shape::new("t", &["k"], &["c"])]);
        for copy in &copies[1..] {
            by_snapshot.commit_snapshot([("t", rows(copy))]).expect("the rows fit");
        }
        let newest = primary.newest_batch();
        prop_assert_eq!(by_snapshot.table("t").versions_at(newest), primary.table("t").versions_at(newest));
    }

    #[test]
    fn a_conflating_secondary_synced_at_every_batch_has_the_history_of_its_mirror(batches in batches()) {
        let (_, primary) = played(&batches);
        let [mut conflate, mut mirror] =
            [Holding::Conflate, Holding::Mirror].map(|holding| Secondary::new(holding, &primary));
        for through in 1..=primary.newest_batch() {
            prop_assert_eq!(conflate.sync(&primary, through), mirror.sync(&primary, through));
            prop_assert_eq!(conflate.expected("t"), mirror.expected("t"));
        }
    }

    #[test]
    fn differences_mend_what_differs(batches in batches(), one in 0..8_usize, other in 0..8_usize) {
        let (copies, primary) = played(&batches);
        let [one, other] = [one, other].map(|batch| &copies[batch % copies.len()]);
        let found = differences(primary.table("t").shape(), &rows(one), &rows(other));
        let mut mended: BTreeMap<_, _> = rows(other).into_iter().map(|row| (row.key, row.columns)).collect();
        for difference in found.as_slice().iter().cloned() {
            match difference {
                Difference::Missing(row) => prop_assert_eq!(mended.insert(row.key, row.columns), None),
                Difference::Unexpected(row) => prop_assert_eq!(mended.remove(&row.key), Some(row.columns)),
                Difference::Different { key, columns } => {
                    let [column] = &columns[..] else { panic!("one column can differ: {columns:?}") };
                    let cell = vec![column.expected.clone()];
                    prop_assert_eq!(mended.insert(key, cell), Some(vec![column.actual.clone()]));
                }
            }
        }
        let expected = rows(one).into_iter().map(|row| (row.key, row.columns));
        prop_assert_eq!(mended, expected.collect::<BTreeMap<_, _>>());
        prop_assert_eq!(found.is_empty(), one == other);
    }
}
