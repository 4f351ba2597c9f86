//! A column that joins late: on the primary, in the model, on the secondary, in this order or with the first two at once.

use milestream_core::model::ColumnType;
use milestream_core::stream::Column;

use super::asker::Asker;
use super::hold::until_awaited;
use super::primary::PrimaryState;
use super::secondary::{Follower, SecondaryState};
use super::stage::Place;
use super::{Failure, World};
use crate::forensic::ident;

/// The column that models and tables get.
const COLUMN: &str = "added later";
/// Whatever was there before has it, where there is a default.
const DEFAULT: i32 = 7;

impl Follower {
    /// Whether its model has the column.
    pub(crate) fn has_late_column(&self) -> bool {
        let job = self.job.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        job.stream.datasets[0].columns.iter().any(|column| column.name == COLUMN)
    }

    /// Adds it to the model; `false` when it is there.
    fn add_late_column(&self) -> bool {
        if self.has_late_column() {
            return false;
        }
        let mut job = self.job.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let name = COLUMN.to_owned();
        job.stream.datasets[0].columns.push(Column {
            name,
            column_type: ColumnType::Integer,
            nullable: true,
        });
        true
    }
}

fn statement(table: &str, has_default: bool) -> String {
    let default = if has_default { format!(" default {DEFAULT}") } else { String::new() };
    format!("alter table if exists {table} add column if not exists {} integer{default}", ident(COLUMN))
}

/// The primary's table and this secondary's model get the column; false when they have it already.
pub(super) async fn add(
    primary: &Place,
    table: &str,
    stream: &str,
    secondary: &SecondaryState,
) -> Result<bool, Failure> {
    if !secondary.follower(stream).add_late_column() {
        return Ok(false);
    }
    let add = statement(table, secondary.late_column_has_default);
    let mut asker = primary.asker().await?;
    // A read of the worker may hold the table; then it is added behind it.
    let adding = tokio::spawn(async move {
        let added = asker.execute(&add).await;
        asker.close().await;
        added
    });
    until_awaited(adding).await?;
    Ok(true)
}

/// The primary's tables get the column before any model has it.
pub(super) async fn add_ahead(primary: &PrimaryState, has_default: bool) -> Result<(), Failure> {
    let tables =
        primary.streams.iter().filter_map(|stream| primary.merge_tables(&stream.key).into_iter().next());
    let statements: Vec<_> = tables.map(|table| statement(&table, has_default)).collect();
    primary.place.execute(&statements.join("; ")).await
}

impl World {
    /// Does what a halt over the column advises: the secondary's table gets it, and where it has it, the stream begins
    /// anew, so that rows that were there before get the primary's values.
    pub(super) async fn take_late_column(
        &self,
        secondary: &SecondaryState,
        follower: &Follower,
    ) -> Result<(), Failure> {
        let merge = secondary.merge(follower, &follower.tables()[0]);
        let mut asker = secondary.place.asker().await?;
        let is_there = asker.value(&has_column(&merge)).await?.is_some();
        if !is_there {
            asker.execute(&statement(&merge, false)).await?;
            follower.forget_structures().await;
        }
        asker.close().await;
        if is_there {
            return self
                .reseed(secondary, follower, "the stream begins anew, for a column that joined")
                .await;
        }
        self.operated(secondary, "the column was added to the secondary's table, as advised");
        Ok(())
    }
}

impl SecondaryState {
    /// How many rows of a stream hold something else in the column than the primary's; none where its model lacks it.
    pub(super) async fn wrong_in_late_column(
        &self,
        follower: &Follower,
        asker: &mut Asker,
    ) -> Result<i64, Failure> {
        if !follower.has_late_column() {
            return Ok(0);
        }
        let merge = self.merge(follower, &follower.tables()[0]);
        if asker.value(&has_column(&merge)).await?.is_none() {
            return Ok(0);
        }
        let expected = if self.late_column_has_default { DEFAULT.to_string() } else { "null".to_owned() };
        let wrong =
            format!("select count(*) from {merge} where {} is distinct from {expected}", ident(COLUMN));
        asker.number(&wrong).await
    }
}

fn has_column(merge: &str) -> String {
    format!(
        "select 1 from pg_attribute where attrelid = to_regclass({}) and attname = '{COLUMN}' and not attisdropped",
        super::asker::quoted(merge)
    )
}
