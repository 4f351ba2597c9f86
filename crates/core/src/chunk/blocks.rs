//! Seed chunks by blocks: ranges of heap blocks, leaf table by leaf table.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::ChunkSize;

/// Rows of a block where nothing is known: a table that was never analysed. Rows of some 160 bytes, a merge
/// table's two hashes among them.
const ROWS_PER_BLOCK_ASSUMED: u64 = 50;

/// A table with a heap of its own: a plain table, or a leaf of a partitioned one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// The quoted, schema-qualified name.
    pub table: String,
    /// Its OID, which a resume compares.
    pub oid: u32,
    /// The size of its heap in blocks.
    pub blocks: u32,
    /// Rows estimated in these blocks (`reltuples / relpages * blocks`); `None` when the statistics do not
    /// say.
    pub rows_estimated: Option<u64>,
}

/// Blocks `from..to` of a leaf, half open.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockRange {
    /// The quoted, schema-qualified name of the leaf table.
    pub leaf: String,
    /// Its OID.
    pub leaf_oid: u32,
    /// The first block.
    pub from: u32,
    /// The block after the last one; `None` in the last range of a leaf, which takes in whatever is appended.
    pub to: Option<u32>,
}

impl BlockRange {
    /// This range and the one that begins where it ends; `None` where `next` does not.
    #[must_use]
    pub fn joined(&self, next: &BlockRange) -> Option<BlockRange> {
        let adjoins = self.leaf_oid == next.leaf_oid && self.leaf == next.leaf && self.to == Some(next.from);
        adjoins.then(|| BlockRange { to: next.to, ..self.clone() })
    }
}

/// Divides each leaf into ranges of about `rows_target` rows, in the order of the leaves and of their blocks.
///
/// Every leaf has at least one range, also an empty one: rows may arrive in it while the seed runs. If more
/// than `chunks_max` ranges would be needed, the ranges of large leaves grow; only more leaves than
/// `chunks_max` exceed it.
pub fn plan_blocks(leaves: &[Leaf], size: ChunkSize) -> Vec<BlockRange> {
    let wanted: Vec<u32> = leaves.iter().map(|leaf| leaf.ranges_wanted(size.rows_target)).collect();
    let granted = within_bound(&wanted, size.chunks_max);
    leaves.iter().zip(granted).flat_map(|(leaf, ranges)| leaf.divided(ranges)).collect()
}

impl Leaf {
    fn ranges_wanted(&self, rows_target: u64) -> u32 {
        let blocks = u64::from(self.blocks);
        let assumed = blocks.saturating_mul(ROWS_PER_BLOCK_ASSUMED);
        // An estimate far too low must not make one chunk of a large table, so a block counts as a row at
        // least.
        let rows = self.rows_estimated.unwrap_or(assumed).max(blocks);
        let ranges = rows.div_ceil(rows_target.max(1)).clamp(1, blocks.max(1));
        u32::try_from(ranges).unwrap_or(self.blocks)
    }

    /// At most `ranges_max` ranges of equal size, the last one open-ended.
    fn divided(&self, ranges_max: NonZeroU32) -> impl Iterator<Item = BlockRange> {
        let step = self.blocks.div_ceil(ranges_max.get()).max(1);
        let ranges = self.blocks.div_ceil(step).max(1);
        (0..ranges).map(move |index| BlockRange {
            leaf: self.table.clone(),
            leaf_oid: self.oid,
            from: index * step,
            to: (index + 1 < ranges).then(|| (index + 1) * step),
        })
    }
}

/// One range for every leaf, and of what the bound leaves each leaf's share of the others.
fn within_bound(wanted: &[u32], ranges_max: u32) -> impl Iterator<Item = NonZeroU32> {
    let extra_wanted: u64 = wanted.iter().map(|&ranges| u64::from(ranges) - 1).sum();
    let extra_max = u64::from(ranges_max).saturating_sub(wanted.len() as u64);
    wanted.iter().map(move |&ranges| {
        let extra = u128::from(ranges - 1);
        let share = if extra_wanted > extra_max {
            extra * u128::from(extra_max) / u128::from(extra_wanted)
        } else {
            extra
        };
        // The share is at most `extra`, which came from a u32.
        NonZeroU32::MIN.saturating_add(u32::try_from(share).unwrap_or(ranges - 1))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaf(oid: u32, blocks: u32, rows_estimated: Option<u64>) -> Leaf {
        Leaf { table: format!(r#""public"."leaf_{oid}""#), oid, blocks, rows_estimated }
    }

    fn size(rows_target: u64, chunks_max: u32) -> ChunkSize {
        ChunkSize { rows_target, chunks_max }
    }

    fn ranges(leaves: &[Leaf], size: ChunkSize) -> Vec<(u32, u32, Option<u32>)> {
        plan_blocks(leaves, size).into_iter().map(|range| (range.leaf_oid, range.from, range.to)).collect()
    }

    #[test]
    fn a_leaf_is_cut_by_its_rows_per_block_and_open_at_the_end() {
        let dense = leaf(1, 100, Some(4_000));
        assert_eq!(
            ranges(&[dense], size(1_000, 99)),
            [(1, 0, Some(25)), (1, 25, Some(50)), (1, 50, Some(75)), (1, 75, None)]
        );
        let names = plan_blocks(&[leaf(7, 1, Some(1))], ChunkSize::default());
        assert_eq!(
            names,
            [BlockRange { leaf: r#""public"."leaf_7""#.into(), leaf_oid: 7, from: 0, to: None }]
        );
    }

    #[test]
    fn a_remainder_makes_the_last_range_shorter_and_never_empty() {
        assert_eq!(
            ranges(&[leaf(1, 7, Some(7))], size(3, 99)),
            [(1, 0, Some(3)), (1, 3, Some(6)), (1, 6, None)]
        );
        assert_eq!(ranges(&[leaf(1, 6, Some(6))], size(3, 99)), [(1, 0, Some(3)), (1, 3, None)]);
        // Five ranges are allowed, but of two blocks each; four cover them all.
        assert_eq!(ranges(&[leaf(1, 8, Some(8))], size(1, 5)).len(), 4);
    }

    #[test]
    fn an_empty_leaf_has_a_range_for_what_may_still_come() {
        assert_eq!(
            ranges(&[leaf(1, 0, None), leaf(2, 0, Some(0))], ChunkSize::default()),
            [(1, 0, None), (2, 0, None)]
        );
        assert_eq!(ranges(&[], ChunkSize::default()), []);
    }

    #[test]
    fn missing_and_absurd_estimates_still_give_fitting_ranges() {
        assert_eq!(ranges(&[leaf(1, 4_000, None)], size(100_000, 99)).len(), 2, "50 rows a block");
        assert_eq!(ranges(&[leaf(1, 4_000, Some(3))], size(1_000, 99)).len(), 4, "a row a block at least");
        assert_eq!(ranges(&[leaf(1, 3, Some(u64::MAX))], size(0, 99)).len(), 3, "a block at least");
        assert_eq!(ranges(&[leaf(1, u32::MAX, Some(u64::MAX))], size(1, 3)).len(), 3);
    }

    #[test]
    fn beyond_the_bound_large_leaves_have_larger_ranges_and_small_ones_keep_theirs() {
        let leaves = [leaf(1, 0, None), leaf(2, 900_000, Some(900_000)), leaf(3, 300_000, Some(300_000))];
        let planned = ranges(&leaves, size(10, 403));
        let of = |oid| planned.iter().filter(|range| range.0 == oid).count();
        assert_eq!(
            [of(1), of(2), of(3)],
            [1, 301, 100],
            "what each wants beyond its first is shared out, rounded down"
        );
        let many: Vec<Leaf> = (0..5).map(|oid| leaf(oid, 100, Some(100))).collect();
        assert_eq!(ranges(&many, size(1, 3)).len(), 5, "each leaf has one all the same");
    }

    #[test]
    fn only_ranges_that_follow_one_another_are_joined() {
        let planned = plan_blocks(&[leaf(1, 3, Some(3)), leaf(2, 2, Some(2))], size(1, 99));
        let joined = |a: usize, b: usize| planned[a].joined(&planned[b]).map(|range| (range.from, range.to));
        assert_eq!(joined(0, 1), Some((0, Some(2))));
        assert_eq!(joined(1, 2), Some((1, None)), "with the open end");
        assert_eq!(joined(0, 2), None, "a block is left between them");
        assert_eq!(joined(1, 0), None);
        assert_eq!(joined(2, 3), None, "of another leaf");
        assert_eq!(joined(0, 0), None);
    }

    fn leaves() -> impl Strategy<Value = Vec<Leaf>> {
        let shape = (prop_oneof![0..40_u32, 0..1_000_000_u32], prop::option::of(0..100_000_000_u64));
        prop::collection::vec(shape, 0..6).prop_map(|shapes| {
            (0..)
                .zip(shapes)
                .map(|(oid, (blocks, rows_estimated))| leaf(oid, blocks, rows_estimated))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn every_block_of_every_leaf_lies_in_exactly_one_range(
            leaves in leaves(), rows_target in 0..1_000_000_u64, chunks_max in 1..2_000_u32,
        ) {
            let planned = plan_blocks(&leaves, size(rows_target, chunks_max));
            prop_assert!(planned.len() <= leaves.len().max(chunks_max as usize));
            let mut rest = planned.as_slice();
            for leaf in &leaves {
                let count = rest.iter().take_while(|range| range.leaf_oid == leaf.oid).count();
                let (own, others) = rest.split_at(count);
                rest = others;
                // Each range begins where the one before ended, from block 0 to no end: a partition, in
                // order.
                let mut next = Some(0);
                for range in own {
                    prop_assert_eq!(Some(range.from), next);
                    prop_assert!(range.to.is_none_or(|to| range.from < to && to < leaf.blocks));
                    prop_assert!(range.from == 0 || range.from < leaf.blocks);
                    next = range.to;
                }
                prop_assert_eq!(next, None);
                prop_assert!(!own.is_empty());
            }
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_range_is_planned_beyond_its_target_while_the_bound_allows(
            blocks in 1..100_000_u32, per_block in 1..300_u64, rows_target in 1..1_000_000_u64,
        ) {
            let rows = u64::from(blocks) * per_block;
            let planned = plan_blocks(&[leaf(1, blocks, Some(rows))], size(rows_target, u32::MAX));
            for range in planned {
                let held = u64::from(range.to.unwrap_or(blocks) - range.from);
                // Whole blocks: a range may be over its target by less than one block for each part of it.
                prop_assert!((held - 1) * per_block < rows_target.max(per_block));
            }
        }
    }
}
