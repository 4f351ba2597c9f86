//! Histories of long values and full tables.

use super::generate::Author;
use super::values::Kind;
use super::{Change, ColumnPlan, Plan};

/// The number of the first of those records that fill a table: beyond those that histories have.
const FILLED_FROM: u16 = 5_000;

impl Author<'_> {
    /// Few values that are long, or a table that is, and seldom both: each takes its time.
    pub(super) fn give_sizes(&mut self, plan: &mut Plan) {
        let is_full = self.chance(40);
        if is_full {
            self.fill_a_table(plan);
        }
        if !is_full || self.chance(20) {
            self.lengthen_values(plan);
        }
    }

    /// Lengths at the edges of buffers and messages, and behind them.
    fn lengthen_values(&mut self, plan: &mut Plan) {
        let is_text = |column: &ColumnPlan| column.kind == Kind::Text;
        if !plan.datasets.iter().any(|dataset| dataset.columns.iter().any(is_text)) {
            self.add_column(plan, 0, Kind::Text);
        }
        let Plan { datasets, history, .. } = plan;
        let mut long: Vec<(&mut Vec<usize>, usize)> = Vec::new();
        for change in history.iter_mut().flat_map(|batch| &mut batch.changes) {
            let Change::Put { dataset, columns, bytes, .. } = change else { continue };
            let is_long = |at: &usize| {
                is_text(&datasets[*dataset].columns[*at])
                    && columns[*at].as_ref().is_some_and(|text| !text.is_empty())
            };
            if let Some(at) = (0..columns.len()).find(is_long) {
                bytes.resize(columns.len(), 0);
                long.push((bytes, at));
            }
        }
        for _ in 0..1 + self.small(4) {
            let around = self.weighted(&[(2, 8_192), (4, 65_536), (2, 131_072), (2, 1_048_576)]);
            let (length, nth) = (around - 32 + self.below(64), self.below(long.len()));
            if let Some((bytes, at)) = long.get_mut(nth) {
                bytes[*at] = length;
            }
        }
    }

    /// Thousands of records, some of which go again, and chunks that are not as small as elsewhere.
    fn fill_a_table(&mut self, plan: &mut Plan) {
        let dataset = self.below(plan.datasets.len());
        let count = u16::try_from(1_000 + self.below(3_000)).unwrap_or(1_000);
        let Some((first, later)) = plan.history.split_first_mut() else { return };
        first.changes.push(Change::Fill { dataset, first: FILLED_FROM, count });
        if !later.is_empty() {
            let batch = self.below(later.len());
            let more = Change::Fill { dataset, first: FILLED_FROM + count, count: count / 8 };
            let gone = (0..self.below(60)).map(|nth| {
                let number = FILLED_FROM + u16::try_from(nth * 13).unwrap_or(0) % count;
                Change::Remove { dataset, key: plan.datasets[dataset].key_of(number) }
            });
            later[batch].changes.extend([more].into_iter().chain(gone));
        }
        for secondary in &mut plan.secondaries {
            secondary.chunk_rows = self.pick(&[100, 400, 1_000]);
            secondary.chunks_together = self.chance(60);
        }
    }
}
