//! Rows and random batches of tables shaped like [`Table::people`](crate::Table::people).

use std::collections::BTreeMap;
use std::ops::Range;

use milestream_oracle::{Cell, Operation, Row};

use crate::world::texts;

/// A person.
pub fn person(id: i32, name: &str, town: Option<&str>) -> Row {
    Row { key: texts(&[Some(&id.to_string())]), columns: texts(&[Some(name), town]) }
}

/// Inserts of people with these ids.
pub fn inserts(table: &str, ids: Range<i32>) -> Vec<(&str, Operation)> {
    ids.map(|id| (table, Operation::Insert(person(id, &format!("name {id}"), Some("Ghent"))))).collect()
}

/// Updates of people with these ids.
pub fn updates<'a>(table: &'a str, ids: Range<i32>, name: &str) -> Vec<(&'a str, Operation)> {
    ids.map(|id| (table, Operation::Update(person(id, name, None)))).collect()
}

/// Deletions of people with these ids.
pub fn deletes(table: &str, ids: Range<i32>) -> Vec<(&str, Operation)> {
    ids.map(|id| (table, Operation::Delete(texts(&[Some(&id.to_string())])))).collect()
}

/// Random numbers that are the same in every run of a seed.
pub struct Dice(u64);

impl Dice {
    /// Dice that roll the sequence of this seed.
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5851_F42D_4C95_7F2D)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % sides
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }

    /// Up to `most` operations on people with ids below `ids`: inserts, updates that change something or nothing,
    /// deletions, keys that come back in the same batch, and rows that swap their contents.
    pub fn batch<'a>(
        &mut self,
        table: &'a str,
        live: &BTreeMap<Vec<Cell>, Vec<Cell>>,
        ids: i32,
        most: usize,
    ) -> Vec<(&'a str, Operation)> {
        let mut live = live.clone();
        let mut operations = Vec::new();
        for _ in 0..self.roll(most + 1) {
            let row = self.person(ids);
            let there = live.contains_key(&row.key);
            let done = match (there, self.roll(10)) {
                (false, _) => vec![Operation::Insert(row)],
                (true, 0..=4) => vec![Operation::Update(row)],
                (true, 5) => vec![Operation::Update(Row { columns: live[&row.key].clone(), ..row })],
                (true, 6 | 7) => vec![Operation::Delete(row.key)],
                (true, 8) => vec![Operation::Delete(row.key.clone()), Operation::Insert(row)],
                (true, _) => self.swap(&live, &row.key),
            };
            for operation in &done {
                match operation {
                    Operation::Insert(row) | Operation::Update(row) => {
                        live.insert(row.key.clone(), row.columns.clone());
                    }
                    Operation::Delete(key) => {
                        live.remove(key);
                    }
                }
            }
            operations.extend(done.into_iter().map(|operation| (table, operation)));
        }
        operations
    }

    fn person(&mut self, ids: i32) -> Row {
        let id = i32::try_from(self.roll(usize::try_from(ids).expect("a count"))).expect("an id");
        let name = self.pick(&["Ada", "Bob", "", "Zoë"]);
        let town = self.pick(&[None, Some(""), Some("Ghent"), Some("Lyon")]);
        person(id, name, town)
    }

    fn swap(&mut self, live: &BTreeMap<Vec<Cell>, Vec<Cell>>, one: &[Cell]) -> Vec<Operation> {
        let (other, others) = live.iter().nth(self.roll(live.len())).expect("a live row");
        vec![
            Operation::Update(Row { key: one.to_vec(), columns: others.clone() }),
            Operation::Update(Row { key: other.clone(), columns: live[one].clone() }),
        ]
    }
}
