//! The columns that DataSurface keeps beside a record's own: its hashes, and in a live-only table the batch that wrote it.

use std::collections::BTreeMap;

use milestream_oracle::{Cell, Row};

use super::super::Failure;
use super::super::asker::{Asker, quoted};
use super::super::ledger::{Held, Ledger};
use super::super::secondary::{Follower, SecondaryState};
use crate::forensic::Table;
use crate::plan::Keeps;

/// The local batch that last wrote each row of a live-only table, by table and key.
pub(crate) type Written = BTreeMap<String, BTreeMap<Vec<Cell>, i32>>;

/// Rows that are shown of all that differ.
const SHOWN: usize = 3;

/// What stands beside a row.
#[derive(Clone, Debug, PartialEq)]
struct SystemColumns {
    all_hash: Cell,
    key_hash: Cell,
    /// `None` in a mirror.
    batch: Cell,
}

impl SecondaryState {
    /// The batches that wrote the rows of what a commit left, and the rows beside which something else stands than must.
    /// `local` is the commit's own batch. What a hand was at is taken as it is.
    pub(super) async fn system_columns(
        &self,
        follower: &Follower,
        ledger: &Ledger,
        now: &Held,
        local: i32,
        asker: &mut Asker,
    ) -> Result<(Written, String), Failure> {
        let (mut written, mut wrong) = (Written::new(), String::new());
        // A column that joins may write a row anew that is as it was in all others.
        let is_known = !follower.has_late_column();
        for table in follower.tables() {
            let name = table.name();
            // Of a dataset that was away, rows that are as they were keep the batch that nobody noted.
            let is_known = is_known && !ledger.returned.contains(name);
            let found = self.beside(follower, table, asker).await?;
            if now.by_hand.is_none() {
                let expected = now.rows[name].1.iter().map(|row| {
                    let batch = match self.plan.holding {
                        Keeps::Mirror => None,
                        Keeps::LiveOnly if is_known => {
                            Some(last_written(ledger, name, row).unwrap_or(local).to_string())
                        }
                        Keeps::LiveOnly => found.get(&row.key).and_then(|found| found.batch.clone()),
                    };
                    (row, self.columns_beside(table, row, batch))
                });
                wrong.push_str(&differences(name, expected, &found));
            }
            let batch = |columns: SystemColumns| columns.batch.and_then(|batch| batch.parse().ok());
            let batches = found.into_iter().filter_map(|(key, columns)| Some((key, batch(columns)?)));
            written.insert(name.to_owned(), batches.collect());
        }
        Ok((written, wrong))
    }

    async fn beside(
        &self,
        follower: &Follower,
        table: &Table,
        asker: &mut Asker,
    ) -> Result<BTreeMap<Vec<Cell>, SystemColumns>, Failure> {
        let merge = self.merge(follower, table);
        if asker.value(&format!("select to_regclass({})", quoted(&merge))).await?.is_none() {
            return Ok(BTreeMap::new());
        }
        let (mut names, _) = table.texts();
        let is_mirror = self.plan.holding == Keeps::Mirror;
        names.extend(is_mirror.then(|| "ds_surf_batch_in::text".to_owned()));
        let width = names.len();
        names.extend(["ds_surf_all_hash", "ds_surf_key_hash"].map(str::to_owned));
        names.extend((!is_mirror).then(|| "ds_surf_batch_id::text".to_owned()));
        let rows = asker.ask(&format!("select {} from {merge}", names.join(", "))).await?;
        let split = |mut key: Vec<Cell>| {
            let mut columns = key.split_off(width).into_iter();
            let mut next = || columns.next().flatten();
            let (all_hash, key_hash) = (next(), next());
            (key, SystemColumns { all_hash, key_hash, batch: columns.next().flatten() })
        };
        Ok(rows.into_iter().map(split).collect())
    }

    /// What must stand beside a row; one of a mirror has its milestones at the ends of its key and its columns.
    fn columns_beside(&self, table: &Table, row: &Row, batch: Cell) -> SystemColumns {
        let milestones = usize::from(self.plan.holding == Keeps::Mirror);
        let key = row.key[..row.key.len() - milestones].to_vec();
        let columns = row.columns[..row.columns.len() - milestones].to_vec();
        let [all_hash, key_hash] = self.formula.hashes(table, &Row { key, columns });
        SystemColumns { all_hash, key_hash, batch }
    }
}

/// The batch that wrote a row, where it is as it was before.
fn last_written(ledger: &Ledger, table: &str, row: &Row) -> Option<i32> {
    let held = ledger.held.as_ref()?;
    held.rows.get(table)?.1.contains(row).then(|| held.written.get(table)?.get(&row.key).copied())?
}

fn differences<'a>(
    table: &str,
    expected: impl Iterator<Item = (&'a Row, SystemColumns)>,
    found: &BTreeMap<Vec<Cell>, SystemColumns>,
) -> String {
    let told = |name: &str, expected: &Cell, found: &Cell| {
        (expected != found).then(|| format!(" {name} expected {expected:?}, found {found:?}"))
    };
    let wrong = expected.filter_map(|(row, expected)| {
        let found = found.get(&row.key).filter(|found| **found != expected)?;
        let told = [
            told("ds_surf_all_hash", &expected.all_hash, &found.all_hash),
            told("ds_surf_key_hash", &expected.key_hash, &found.key_hash),
            told("ds_surf_batch_id", &expected.batch, &found.batch),
        ];
        Some(format!("  {table} {:?}:{}\n", row.key, told.into_iter().flatten().collect::<String>()))
    });
    wrong.take(SHOWN).collect()
}
