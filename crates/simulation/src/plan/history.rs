//! What random batches do: changes of every sort, to records that are there.

use proptest::prelude::*;

use super::generate::Author;
use super::values::Kind;
use super::{BatchPlan, Cell, Change, ColumnPlan, DatasetPlan};

impl Author<'_> {
    pub(super) fn history(
        &mut self,
        datasets: &[DatasetPlan],
        batches: usize,
        has_many: bool,
    ) -> Vec<BatchPlan> {
        let pools: Vec<u16> = datasets
            .iter()
            .map(|_| {
                self.weighted(if has_many {
                    &[(5, 40), (3, 90)]
                } else {
                    &[(1, 3), (3, 12), (5, 40), (2, 90)]
                })
            })
            .collect();
        // What is there, so that changes of every sort come about: key and columns of each dataset.
        let mut live: Vec<Vec<(Vec<Cell>, Vec<Cell>)>> = vec![Vec::new(); datasets.len()];
        let mut history = Vec::new();
        for number in 0..batches {
            let mut changes = Vec::new();
            for (dataset, plan) in datasets.iter().enumerate() {
                let most = if number == 0 { usize::from(pools[dataset]) } else { 12 };
                let least = if number == 0 && has_many { most / 2 } else { 0 };
                let count =
                    if least == 0 && self.chance(10) { 0 } else { least + self.below(most - least + 1) };
                for _ in 0..count {
                    let more = self.changes(dataset, plan, pools[dataset], &live[dataset], number == 0);
                    more.iter().for_each(|change| take_in(&mut live[dataset], change));
                    changes.extend(more);
                }
                if number > 0 && self.chance(4) {
                    let gone = live[dataset].drain(..).map(|(key, _)| Change::Remove { dataset, key });
                    changes.extend(gone);
                }
            }
            history.push(BatchPlan { changes });
        }
        history
    }

    fn changes(
        &mut self,
        dataset: usize,
        plan: &DatasetPlan,
        pool: u16,
        live: &[(Vec<Cell>, Vec<Cell>)],
        is_first: bool,
    ) -> Vec<Change> {
        let spelled = plan.key.iter().any(|column| column.kind.canonical().is_some());
        let (variants, rare) = ([0, 1, 2].map(|_| self.below(3)), self.chance(60));
        let put = |key: Vec<Cell>, columns: Vec<Cell>| {
            let spelling = if spelled && rare { spelling(plan, &key, &variants) } else { Vec::new() };
            Change::Put { dataset, key, columns, spelling, bytes: Vec::new() }
        };
        if live.is_empty() || is_first || self.chance(30) {
            let key = self.key(plan, pool);
            let columns = self.columns(plan);
            return vec![put(key, columns)];
        }
        let (key, columns) = live[self.below(live.len())].clone();
        let twins = twins(plan, &key);
        if !twins.is_empty() && self.chance(20) {
            let twin = put(twins[self.below(twins.len())].clone(), self.columns(plan));
            return match self.below(3) {
                0 => vec![twin],
                1 => vec![twin, put(key, self.touched(plan, columns))],
                _ => vec![twin, Change::Remove { dataset, key }],
            };
        }
        match self.weighted(&[(8, 0), (5, 1), (2, 2), (1, 3), (2, 4), (1, 5)]) {
            // One column changes, perhaps from NULL to '' or back.
            0 => vec![put(key, self.touched(plan, columns))],
            1 => vec![Change::Remove { dataset, key }],
            2 => {
                let columns = self.columns(plan);
                vec![Change::Remove { dataset, key: key.clone() }, put(key, columns)]
            }
            // A no-op.
            3 => vec![put(key, columns)],
            // Two records swap their values.
            4 => {
                let (other, others) = live[self.below(live.len())].clone();
                if other == key {
                    vec![put(key, columns)]
                } else {
                    vec![put(key, others), put(other, columns)]
                }
            }
            // A changed key: a deletion and an insertion.
            _ => {
                let new = self.key(plan, pool);
                vec![Change::Remove { dataset, key }, put(new, columns)]
            }
        }
    }

    fn key(&mut self, plan: &DatasetPlan, pool: u16) -> Vec<Cell> {
        // Each part from a small pool, so that parts of composite keys meet again in other keys.
        let width = u16::try_from(plan.key.len()).unwrap_or(1);
        let each = if width == 1 { pool } else { pool / width + 2 };
        plan.key.iter().map(|column| Some(column.kind.key(self.rng.random_range(0..each.max(1))))).collect()
    }

    fn columns(&mut self, plan: &DatasetPlan) -> Vec<Cell> {
        plan.columns.iter().map(|column| self.value(column.kind)).collect()
    }

    pub(super) fn value(&mut self, kind: Kind) -> Cell {
        if self.chance(20) {
            return None;
        }
        // Once in a while a text that fills blocks, so that chunks have something to be cut by.
        if kind == Kind::Text && self.chance(10) {
            return Some("long ".repeat(60 + self.below(200)).trim_end().to_owned());
        }
        Some(self.pick(kind.values()).to_owned())
    }

    fn touched(&mut self, plan: &DatasetPlan, mut columns: Vec<Cell>) -> Vec<Cell> {
        if columns.is_empty() {
            return columns;
        }
        let at = self.below(columns.len());
        columns[at] = match (&columns[at], plan.columns[at].kind) {
            (None, Kind::Text) => Some(String::new()),
            (Some(text), Kind::Text) if text.is_empty() => None,
            _ => self.value(plan.columns[at].kind),
        };
        columns
    }
}

/// A key as it is written in one of the ways in which it can be.
fn spelling(plan: &DatasetPlan, key: &[Cell], variants: &[usize]) -> Vec<Cell> {
    let cells = plan.key.iter().zip(key).zip(variants.iter().cycle());
    let cell = |((column, cell), variant): ((&ColumnPlan, &Cell), &usize)| {
        cell.as_ref().map(|text| column.kind.spelled(text, *variant))
    };
    cells.map(cell).collect()
}

/// Keys whose parts, written one after the other, are the same text: DataSurface's hash of unseparated text is one for all.
fn twins(plan: &DatasetPlan, key: &[Cell]) -> Vec<Vec<Cell>> {
    let mut twins = Vec::new();
    for (at, pair) in key.windows(2).enumerate() {
        let [Some(left), Some(right)] = pair else { continue };
        let text = format!("{left}{right}");
        for (cut, _) in text.char_indices().filter(|(cut, _)| *cut != left.len()) {
            let (left, right) = text.split_at(cut);
            if plan.key[at].kind.is_written(left) && plan.key[at + 1].kind.is_written(right) {
                let mut twin = key.to_vec();
                (twin[at], twin[at + 1]) = (Some(left.to_owned()), Some(right.to_owned()));
                twins.push(twin);
            }
        }
    }
    twins
}

fn take_in(live: &mut Vec<(Vec<Cell>, Vec<Cell>)>, change: &Change) {
    match change {
        Change::Put { key, columns, .. } => match live.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) => values.clone_from(columns),
            None => live.push((key.clone(), columns.clone())),
        },
        Change::Remove { key, .. } => live.retain(|(known, _)| known != key),
        Change::Fill { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twins_of_a_key_are_the_same_text_cut_elsewhere() {
        let of = |kinds: &[Kind], key: &[&str]| -> Vec<Vec<String>> {
            let column = |kind: &Kind| ColumnPlan { name: "part".to_owned(), kind: *kind };
            let plan = DatasetPlan {
                name: "people".to_owned(),
                key: kinds.iter().map(column).collect(),
                columns: Vec::new(),
                sparse: false,
                ..DatasetPlan::default()
            };
            let key: Vec<Cell> = key.iter().map(|part| Some((*part).to_owned())).collect();
            twins(&plan, &key).into_iter().map(|twin| twin.into_iter().flatten().collect()).collect()
        };
        assert_eq!(of(&[Kind::Integer, Kind::Integer], &["1", "11"]), [["11", "1"]]);
        assert_eq!(of(&[Kind::Integer, Kind::Integer], &["10", "2"]), [["1", "02"]; 0], "02 is no number");
        assert_eq!(of(&[Kind::Text, Kind::Integer], &["a", "12"]), [["a1", "2"]]);
        assert_eq!(of(&[Kind::Text, Kind::Text], &["ä", ""]), [["", "ä"]]);
        assert_eq!(of(&[Kind::Date, Kind::Text], &["2000-01-01", "b"]), [["", ""]; 0]);
        assert_eq!(of(&[Kind::Integer], &["11"]), [[""]; 0]);
    }
}
