//! What an increment staged: the delta between two batches, as the model has it.

use milestream_core::names;
use milestream_oracle::{Cell, LIVE, Row, Shape, TableHistory, differences};

use super::super::Failure;
use super::super::asker::Asker;
use super::super::ledger::Capture;
use super::super::secondary::{Follower, SecondaryState};
use crate::forensic::{Table, ident};
use crate::plan::Keeps;

impl SecondaryState {
    /// The quoted name of a dataset's staging table.
    pub(super) fn staging(&self, follower: &Follower, table: &Table) -> String {
        ident(&names::staging_table(&self.plan.name, &follower.store(), table.name()))
    }

    /// Rows that a local batch staged in another way than the delta of its sync says, as text; and how many rows the delta
    /// has. Seeds stage nothing.
    pub(super) async fn wrongly_staged(
        &self,
        follower: &Follower,
        capture: &Capture,
        local: i32,
        asker: &mut Asker,
    ) -> Result<(String, usize), Failure> {
        let (mut wrong, mut count) = (String::new(), 0);
        let Some(from) = capture.from else { return Ok((wrong, 0)) };
        for table in follower.tables() {
            let history = capture.oracle.table(table.name());
            let beside = |row: &Row, last: &str| self.staged_row(table, row, last);
            let expected = match self.plan.holding {
                Keeps::LiveOnly => net(history, from, capture.to, beside),
                Keeps::Mirror => full(history, from, capture.to, beside),
            };
            count += expected.len();
            let staging = self.staging(follower, table);
            let shape = staged_shape(table, self.plan.holding);
            let rows = asker.ask(&question(table, &staging, self.plan.holding, local)).await?;
            let width = shape.key.len();
            let actual = rows.into_iter().map(|mut key| {
                let columns = key.split_off(width);
                Row { key, columns }
            });
            let found = differences(&shape, &expected, &actual.collect::<Vec<_>>());
            if !found.is_empty() {
                wrong.push_str(&format!("{staging}: {found}\n"));
            }
        }
        Ok((wrong, count))
    }

    /// A record as it is staged: with both hashes, and what comes last.
    fn staged_row(&self, table: &Table, row: &Row, last: &str) -> Row {
        let mut staged = row.clone();
        staged.columns.extend(self.formula.hashes(table, row));
        staged.columns.push(Some(last.to_owned()));
        staged
    }
}

fn staged_shape(table: &Table, holding: Keeps) -> Shape {
    let mut shape = table.shape();
    if holding == Keeps::Mirror {
        shape.key.push("remote_ds_surf_batch_in".to_owned());
    }
    shape.columns.extend(["ds_surf_all_hash", "ds_surf_key_hash"].map(str::to_owned));
    let last = if holding == Keeps::Mirror { "remote_ds_surf_batch_out" } else { "ds_surf_iud" };
    shape.columns.push(last.to_owned());
    shape
}

fn question(table: &Table, staging: &str, holding: Keeps, local: i32) -> String {
    let (mut names, columns) = table.texts();
    names.extend((holding == Keeps::Mirror).then(|| "remote_ds_surf_batch_in::text".to_owned()));
    names.extend(columns);
    let last = if holding == Keeps::Mirror { "remote_ds_surf_batch_out::text" } else { "ds_surf_iud" };
    names.extend(["ds_surf_all_hash", "ds_surf_key_hash", last].map(str::to_owned));
    format!("select {} from {staging} where ds_surf_batch_id = {local}", names.join(", "))
}

/// Keys that are live at `to` under a version that the range opened, and keys that are live at `from` and gone at `to`.
fn net(history: &TableHistory, from: i32, to: i32, beside: impl Fn(&Row, &str) -> Row) -> Vec<Row> {
    let versions = history.versions_at(to);
    let upserts = versions.iter().filter(|version| version.batch_in > from && version.batch_out == LIVE);
    let is_live =
        |key: &[Cell]| versions.iter().any(|version| version.row.key == *key && version.batch_out == LIVE);
    let deletes = versions
        .iter()
        .filter(|version| version.batch_in <= from && (from..to).contains(&version.batch_out))
        .filter(|version| !is_live(&version.row.key));
    let upserts = upserts.map(|version| beside(&version.row, "U"));
    upserts.chain(deletes.map(|version| beside(&version.row, "D"))).collect()
}

/// Versions that the range opened, and those that it closed.
fn full(history: &TableHistory, from: i32, to: i32, beside: impl Fn(&Row, &str) -> Row) -> Vec<Row> {
    let versions = history.versions_at(to).into_iter();
    let is_of_range = |batch_in: i32, batch_out: i32| batch_in > from || (from..to).contains(&batch_out);
    let versions = versions.filter(|version| is_of_range(version.batch_in, version.batch_out));
    let staged = versions.map(|version| {
        let mut row = beside(&version.row, &version.batch_out.to_string());
        row.key.push(Some(version.batch_in.to_string()));
        row
    });
    staged.collect()
}
