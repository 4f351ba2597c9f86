//! Seed chunks by keys: ranges of the model's key, for what has no blocks to divide.

use serde::{Deserialize, Serialize};

use super::ChunkSize;

/// The keys after one key, up to and including another, in the order of the key columns `collate "C"`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRange {
    /// The key before the range, itself outside of it; `None` in the first range.
    pub after: Option<Vec<String>>,
    /// The last key of the range; `None` in the last range.
    pub through: Option<Vec<String>>,
}

/// Divides all keys into ranges of about `rows_target` of `rows_estimated` rows.
///
/// `sample` is a fair sample of the rows' keys, each key's columns as text, in the order in which the primary
/// compares them: the texts of numbers and dates do not sort as their values do, so nothing here can check or
/// mend that order. A key that the sample has more than once (one with several versions) draws boundaries to
/// itself, and is a boundary once. There are at most as many ranges as the sample has keys, and one more;
/// without a sample one range has all.
pub fn plan_keys(sample: &[Vec<String>], rows_estimated: u64, size: ChunkSize) -> Vec<KeyRange> {
    let wanted = rows_estimated.div_ceil(size.rows_target.max(1)).clamp(1, u64::from(size.chunks_max.max(1)));
    let mut boundaries = boundaries(sample, usize::try_from(wanted).unwrap_or(usize::MAX));
    boundaries.dedup();
    let after = std::iter::once(None).chain(boundaries.iter().copied().map(Some));
    let through = boundaries.iter().copied().map(Some).chain([None]);
    after
        .zip(through)
        .map(|(after, through)| KeyRange { after: after.cloned(), through: through.cloned() })
        .collect()
}

/// The keys that end each of `parts` equal parts of the sample but the last.
fn boundaries(sample: &[Vec<String>], parts: usize) -> Vec<&Vec<String>> {
    let parts = parts.min(sample.len() + 1);
    // Part `p` of n ends before position p * (len + 1) / n, as n - 1 cuts leave n equal gaps around them.
    (1..parts).map(|part| &sample[part * (sample.len() + 1) / parts - 1]).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn size(rows_target: u64, chunks_max: u32) -> ChunkSize {
        ChunkSize { rows_target, chunks_max }
    }

    fn sample(keys: &[i64]) -> Vec<Vec<String>> {
        keys.iter().map(|key| vec![key.to_string()]).collect()
    }

    fn ranges(keys: &[i64], rows_estimated: u64, size: ChunkSize) -> Vec<(Option<i64>, Option<i64>)> {
        let number = |key: Option<Vec<String>>| key.map(|key| key[0].parse().unwrap());
        let planned = plan_keys(&sample(keys), rows_estimated, size);
        planned.into_iter().map(|range| (number(range.after), number(range.through))).collect()
    }

    #[test]
    fn boundaries_divide_the_sample_evenly() {
        let keys: Vec<i64> = (1..=99).collect();
        assert_eq!(
            ranges(&keys, 1_000, size(250, 99)),
            [(None, Some(25)), (Some(25), Some(50)), (Some(50), Some(75)), (Some(75), None)]
        );
        assert_eq!(
            ranges(&[-2, 9, 10], 4, size(1, 99)),
            [(None, Some(-2)), (Some(-2), Some(9)), (Some(9), Some(10)), (Some(10), None)]
        );
    }

    #[test]
    fn composite_keys_stay_whole() {
        let sample = vec![vec!["a".to_owned(), "".to_owned()], vec!["a".to_owned(), "x".to_owned()]];
        let planned = plan_keys(&sample, 2, size(1, 2));
        assert_eq!(planned[0], KeyRange { after: None, through: Some(sample[0].clone()) });
        assert_eq!(planned[1], KeyRange { after: Some(sample[0].clone()), through: None });
    }

    #[test]
    fn without_sample_or_need_one_range_has_all() {
        assert_eq!(ranges(&[], 1_000_000, size(1, 99)), [(None, None)]);
        assert_eq!(ranges(&[1, 2, 3], 100, size(100, 99)), [(None, None)]);
        assert_eq!(ranges(&[1, 2, 3], 0, size(100, 99)), [(None, None)]);
        assert_eq!(ranges(&[1, 2, 3], 100, size(1, 1)), [(None, None)]);
    }

    #[test]
    fn a_key_that_fills_several_parts_is_one_boundary() {
        assert_eq!(
            ranges(&[1, 5, 5, 5, 5, 5, 9], 8, size(1, 99)),
            [(None, Some(1)), (Some(1), Some(5)), (Some(5), Some(9)), (Some(9), None)]
        );
    }

    #[test]
    fn the_bound_on_chunks_holds() {
        let keys: Vec<i64> = (0..1_000).collect();
        assert_eq!(ranges(&keys, u64::MAX, size(0, 7)).len(), 7);
    }

    proptest! {
        #[test]
        fn every_key_lies_in_exactly_one_range(
            mut keys in prop::collection::vec(-50..50_i64, 0..60),
            rows in 0..1_000_u64, target in 0..100_u64, chunks_max in 0..50_u32,
        ) {
            keys.sort_unstable();
            let planned = ranges(&keys, rows, size(target, chunks_max));
            for key in -60..60 {
                let holds = |&&(after, through): &&(Option<i64>, Option<i64>)| {
                    after.is_none_or(|after| key > after) && through.is_none_or(|through| key <= through)
                };
                prop_assert_eq!(planned.iter().filter(holds).count(), 1, "key {}", key);
            }
            let is_empty = |&(after, through): &(Option<i64>, Option<i64>)| {
                after.zip(through).is_some_and(|(after, through)| after >= through)
            };
            prop_assert!(!planned.iter().any(is_empty));
            prop_assert!(planned.windows(2).all(|pair| pair[0].1 == pair[1].0));
            prop_assert!(planned.len() <= (chunks_max as usize).max(1));
        }
    }
}
