//! Batches of the primary as SQL: versions closed and opened as DataSurface closes and opens them.

use std::collections::BTreeMap;

use milestream_oracle::{BatchCounts, Cell, LIVE, Operation, Row};

use super::table::{Table, ident};
use milestream_core::names;

/// The live rows of a table: key to other columns.
pub type Live = BTreeMap<Vec<Cell>, Vec<Cell>>;

/// Keys that a batch leaves otherwise than it found them, each with what it found and what it leaves.
pub type Changes = BTreeMap<Vec<Cell>, (Option<Vec<Cell>>, Option<Vec<Cell>>)>;

/// Carries operations out on the live rows; the net change of each key.
pub fn carry_out<'a>(live: &mut Live, operations: impl Iterator<Item = &'a Operation>) -> Changes {
    let mut changes = Changes::new();
    for operation in operations {
        let (key, after) = match operation {
            Operation::Insert(row) | Operation::Update(row) => (&row.key, Some(row.columns.clone())),
            Operation::Delete(key) => (key, None),
        };
        let before = match &after {
            Some(columns) => live.insert(key.clone(), columns.clone()),
            None => live.remove(key),
        };
        changes
            .entry(key.clone())
            .and_modify(|change| change.1.clone_from(&after))
            .or_insert((before, after));
    }
    changes.retain(|_, (before, after)| before != after);
    changes
}

/// Statements that do a table's part of a batch.
pub fn table_sql(table: &Table, merge: &str, changes: &Changes, batch: i32) -> String {
    let closed: Vec<_> =
        changes.iter().filter(|(_, (before, _))| before.is_some()).map(|(key, _)| key.clone()).collect();
    let opened = changes.iter().filter_map(|(key, (_, after))| {
        let row = Row { key: key.clone(), columns: after.clone()? };
        Some(table.written(&row))
    });
    close(table, merge, &closed, batch) + &open(table, merge, &opened.collect::<Vec<_>>(), batch)
}

fn close(table: &Table, merge: &str, keys: &[Vec<Cell>], batch: i32) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let same = table.key.iter().enumerate().map(|(at, (name, _))| format!("m.{} = k.c{at}", physical(name)));
    let same: Vec<_> = same.collect();
    format!(
        "update {merge} m set ds_surf_batch_out = {} from (values {}) k({}) where {} and m.ds_surf_batch_out = {LIVE};\n",
        batch - 1,
        values(&table.key, keys),
        aliases(table.key.len()),
        same.join(" and ")
    )
}

fn open(table: &Table, merge: &str, rows: &[Vec<Cell>], batch: i32) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let columns: Vec<_> = table.all().cloned().collect();
    let concatenated = |aliases: &[usize]| {
        aliases.iter().map(|at| format!("coalesce(k.c{at}::text, '')")).collect::<Vec<_>>().join(" || ")
    };
    let positions: Vec<_> = table.positions().collect();
    let alias_of = |key: usize| positions.iter().position(|at| *at == key).unwrap_or(key);
    let (all, key): (Vec<_>, Vec<_>) =
        ((0..columns.len()).collect(), (0..table.key.len()).map(alias_of).collect());
    let names: Vec<_> = columns.iter().map(|(name, _)| physical(name)).collect();
    format!(
        "insert into {merge} ({}, ds_surf_all_hash, ds_surf_key_hash, ds_surf_batch_in, ds_surf_batch_out) \
         select {}, md5({}), md5({}), {batch}, {LIVE} from (values {}) k({});\n",
        names.join(", "),
        aliases(columns.len()),
        concatenated(&all),
        concatenated(&key),
        values(&columns, rows),
        aliases(columns.len())
    )
}

fn physical(name: &str) -> String {
    ident(&names::physical_column(name))
}

fn aliases(count: usize) -> String {
    (0..count).map(|at| format!("c{at}")).collect::<Vec<_>>().join(", ")
}

fn values(columns: &[(String, String)], rows: &[Vec<Cell>]) -> String {
    let row = |row: &Vec<Cell>| {
        let cells: Vec<_> = columns.iter().zip(row).map(|((_, kind), cell)| literal(cell, kind)).collect();
        format!("({})", cells.join(", "))
    };
    rows.iter().map(row).collect::<Vec<_>>().join(",\n")
}

fn literal(cell: &Cell, kind: &str) -> String {
    // A cast to a bounded varchar cuts the text without a word; the table itself would refuse it.
    let kind = if kind.starts_with("varchar(") && !kind.ends_with("[]") { "varchar" } else { kind };
    match cell {
        None => format!("null::{kind}"),
        Some(text) => format!("E'{}'::{kind}", text.replace('\\', "\\\\").replace('\'', "''")),
    }
}

/// The quoted control tables of the primary.
#[derive(Clone, Debug)]
pub struct Control {
    counter: String,
    metrics: String,
    stream: String,
}

impl Control {
    /// Those of a platform, for one stream.
    pub fn of(platform: &str, stream: &str) -> Control {
        let table = |suffix| ident(&names::platform_table(platform, suffix));
        Control { counter: table("batch_counter"), metrics: table("batch_metrics"), stream: quoted(stream) }
    }

    /// Statements that create them.
    pub fn ddl(&self) -> String {
        format!(
            "create table {} (key varchar(255) primary key, \"currentBatch\" integer);
             create table {} (key varchar(255), batch_id integer, batch_start_time timestamp, batch_end_time timestamp, \
                batch_status varchar(32), records_inserted integer, records_updated integer, records_deleted integer, \
                total_records integer, state varchar(2048), primary key (key, batch_id));\n",
            self.counter, self.metrics
        )
    }

    /// Statements that start a batch, in place of an earlier try that was not committed.
    pub fn started(&self, batch: i32) -> String {
        self.left(batch, "started")
    }

    /// Statements that leave a batch in a status that does not count.
    pub fn left(&self, batch: i32, status: &str) -> String {
        format!(
            "insert into {} values ({stream}, {batch}) on conflict (key) do update set \"currentBatch\" = {batch};
             insert into {} (key, batch_id, batch_start_time, batch_status) \
             values ({stream}, {batch}, clock_timestamp(), '{status}') on conflict (key, batch_id) do update set \
             batch_start_time = excluded.batch_start_time, batch_status = excluded.batch_status;\n",
            self.counter,
            self.metrics,
            stream = self.stream
        )
    }

    /// Statements that forget the batches after one.
    pub fn restored(&self, batch: i32) -> String {
        let Control { counter, metrics, stream } = self;
        format!(
            "delete from {metrics} where key = {stream} and batch_id > {batch};
             update {counter} set \"currentBatch\" = {batch} where key = {stream};\n"
        )
    }

    /// Statements that commit a batch with its counts; part of the transaction that merges.
    pub fn committed(&self, batch: i32, counts: BatchCounts, datasets: &[&str]) -> String {
        let state =
            serde_json::json!({"all_datasets": datasets, "current_dataset_index": 0, "current_offset": 0});
        format!(
            "update {} set batch_status = 'committed', batch_end_time = clock_timestamp(), records_inserted = {}, \
             records_updated = {}, records_deleted = {}, state = {} where key = {} and batch_id = {batch};\n",
            self.metrics,
            counts.opened,
            counts.closed_changed,
            counts.closed_gone,
            quoted(&state.to_string()),
            self.stream
        )
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
