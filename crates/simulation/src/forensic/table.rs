//! A dataset with Postgres types, and the primary's merge table for it.

use milestream_core::model::ColumnType;
use milestream_core::names;
use milestream_core::stream::{Column, Dataset};
use milestream_oracle::{Cell, Row, Shape};
use serde::{Deserialize, Serialize};

/// A dataset: key and other columns, each a name and an SQL type.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) name: String,
    pub(super) key: Vec<(String, String)>,
    pub(super) columns: Vec<(String, String)>,
    /// Positions in key and other columns, in the order in which the table has them; empty where that is their own.
    order: Vec<usize>,
    /// SQL of the one text that all spellings of an equal value have, a key column each: `{}` is the column. `None` where
    /// equal values have one text.
    canonical: Vec<Option<&'static str>>,
    storage: String,
    partitions: Partitions,
    /// Whether it had another column before.
    worn: bool,
}

/// How a primary's merge table is partitioned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Partitions {
    /// Not at all.
    #[default]
    None,
    /// By the hash of the first key column.
    Hash,
    /// The same, and one of the partitions by the batch that opened a version.
    Nested,
}

impl Partitions {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn are_none(&self) -> bool {
        *self == Partitions::None
    }
}

impl Table {
    /// A table with these columns.
    pub fn new(name: &str, key: &[(&str, &str)], columns: &[(&str, &str)]) -> Table {
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, kind)| ((*name).to_owned(), (*kind).to_owned())).collect()
        };
        Table::of(name, owned(key), owned(columns))
    }

    /// The same, of names that are owned.
    pub fn of(name: &str, key: Vec<(String, String)>, columns: Vec<(String, String)>) -> Table {
        let canonical = vec![None; key.len()];
        Table {
            name: name.to_owned(),
            key,
            columns,
            order: Vec::new(),
            canonical,
            storage: String::new(),
            partitions: Partitions::None,
            worn: false,
        }
    }

    /// People as most tests need them: an integer key, a name, a town that may be NULL.
    pub fn people() -> Table {
        Table::named_people("people")
    }

    /// The same under another name.
    pub fn named_people(name: &str) -> Table {
        Table::new(name, &[("id", "integer")], &[("name", "varchar(40)"), ("town", "varchar(40)")])
    }

    /// The same table with few rows a block, so that little data makes many chunks.
    #[must_use]
    pub fn sparse(self) -> Table {
        self.stored("with (fillfactor = 10)")
    }

    /// The same table with a clause behind the column list of the primary's `create table`.
    #[must_use]
    pub fn stored(mut self, clause: &str) -> Table {
        clause.clone_into(&mut self.storage);
        self
    }

    /// The same table with its columns in another order: positions in key and other columns.
    #[must_use]
    pub fn ordered(mut self, order: &[usize]) -> Table {
        order.clone_into(&mut self.order);
        self
    }

    /// The same table with key columns whose equal values have several texts: for each the SQL of one of them. A record has
    /// that in its key, and the text that is written behind its other columns.
    #[must_use]
    pub fn spelled(mut self, canonical: Vec<Option<&'static str>>) -> Table {
        self.canonical = canonical;
        self
    }

    /// The same table in partitions.
    #[must_use]
    pub fn partitioned(mut self, partitions: Partitions) -> Table {
        self.partitions = partitions;
        self
    }

    /// The same table with a column that was dropped before its last one came.
    #[must_use]
    pub fn worn(mut self) -> Table {
        self.worn = true;
        self
    }

    /// The key columns, each a name and an SQL type.
    pub fn key(&self) -> &[(String, String)] {
        &self.key
    }

    /// All other columns, each a name and an SQL type.
    pub fn columns(&self) -> &[(String, String)] {
        &self.columns
    }

    /// The dataset's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its names, as the oracle knows them.
    pub fn shape(&self) -> Shape {
        let names =
            |pairs: &[(String, String)]| pairs.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        let (key, mut columns) = (names(&self.key), names(&self.columns));
        columns.extend(self.spelled_key().map(|(name, _)| format!("{name} as written")));
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        Shape::new(&self.name, &key, &columns)
    }

    /// All columns, in the table's order.
    pub fn all(&self) -> impl Iterator<Item = &(String, String)> {
        self.positions().map(|at| self.key.get(at).unwrap_or_else(|| &self.columns[at - self.key.len()]))
    }

    /// Positions in key and other columns, in the table's order.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        let count = self.key.len() + self.columns.len();
        (0..count).map(|at| self.order.get(at).copied().unwrap_or(at))
    }

    fn spelled_key(&self) -> impl Iterator<Item = &(String, String)> {
        self.key
            .iter()
            .zip(&self.canonical)
            .filter(|(_, canonical)| canonical.is_some())
            .map(|(column, _)| column)
    }

    /// The key of a record as it is written.
    pub fn written_key(&self, row: &Row) -> Vec<Cell> {
        let mut spelled = row.columns[self.columns.len()..].iter();
        let cell = |(cell, canonical): (&Cell, &Option<_>)| match canonical {
            Some(_) => spelled.next().cloned().flatten(),
            None => cell.clone(),
        };
        row.key.iter().zip(&self.canonical).map(cell).collect()
    }

    /// All cells of a record as they are written, in the table's order.
    pub fn written(&self, row: &Row) -> Vec<Cell> {
        let mut cells = self.written_key(row);
        cells.extend_from_slice(&row.columns[..self.columns.len()]);
        self.positions().map(|at| cells[at].clone()).collect()
    }

    /// SQL of a record's cells as texts: of the key, and of all others.
    pub fn texts(&self) -> (Vec<String>, Vec<String>) {
        let physical = |name: &str| ident(&names::physical_column(name));
        let text = |(name, _): &(String, String)| format!("{}::text", physical(name));
        let key = self.key.iter().zip(&self.canonical).map(|((name, _), canonical)| match canonical {
            Some(canonical) => format!("({})::text", canonical.replace("{}", &physical(name))),
            None => format!("{}::text", physical(name)),
        });
        (key.collect(), self.columns.iter().chain(self.spelled_key()).map(text).collect())
    }

    /// The dataset as the model has it. The catalogs decide about types; the model only says that there are columns.
    pub fn dataset(&self) -> Dataset {
        let column = |(name, _): &(String, String)| Column {
            name: name.clone(),
            column_type: ColumnType::VarChar { max_size: None },
            nullable: !self.key.iter().any(|(key, _)| key == name),
        };
        Dataset {
            name: self.name.clone(),
            columns: self.all().map(column).collect(),
            key: self.key.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The quoted name of its merge table on a platform.
    pub fn merge_table(&self, platform: &str, store: &str) -> String {
        ident(&names::merge_table(platform, store, &self.name))
    }

    /// The primary's merge table as DataSurface creates a forensic one.
    pub fn primary_ddl(&self, platform: &str, store: &str) -> String {
        let name = self.merge_table(platform, store);
        let mut columns: Vec<_> = self
            .all()
            .map(|(name, kind)| format!("{} {kind}", ident(&names::physical_column(name))))
            .collect();
        // One of the key has to be there before the key.
        let is_of_key = self.positions().last().is_some_and(|at| at < self.key.len());
        let last = if self.worn && !is_of_key { columns.pop() } else { None };
        columns.extend(last.is_some().then(|| "\"gone since\" text default 'there before'".to_owned()));
        let key: Vec<_> = self.key.iter().map(|(name, _)| ident(&names::physical_column(name))).collect();
        let is_whole = self.partitions == Partitions::None;
        format!(
            "create table {name} ({}, ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
             ds_surf_batch_in integer not null, ds_surf_batch_out integer not null) {};
             {}{}alter table {name} add primary key ({key}, ds_surf_batch_in);
             create index on {name} (ds_surf_key_hash); create index on {name} (ds_surf_batch_out);
             create index on {name} (ds_surf_key_hash, ds_surf_batch_out); create index on {name} (ds_surf_batch_in);
             create index on {name} (ds_surf_batch_in, ds_surf_batch_out);\n",
            columns.join(", "),
            if is_whole { self.storage.clone() } else { format!("partition by hash ({})", key[0]) },
            last.map_or(String::new(), |last| format!(
                "alter table {name} drop column \"gone since\"; alter table {name} add column {last}; "
            )),
            if is_whole { String::new() } else { self.partitions_ddl(&name) },
            key = key.join(", "),
        )
    }

    fn partitions_ddl(&self, of: &str) -> String {
        let part =
            |at: u8| ident(&format!("part {at} of {}", self.name.chars().take(12).collect::<String>()));
        let under = |at: u8| {
            format!("create table {} partition of {of} for values with (modulus 3, remainder {at})", part(at))
        };
        let (first, second, third) = (under(0), under(1), under(2));
        let storage = &self.storage;
        match self.partitions {
            Partitions::None => String::new(),
            Partitions::Hash => format!("{first} {storage}; {second} {storage}; {third} {storage}; "),
            Partitions::Nested => format!(
                "{first} {storage}; {second} partition by range (ds_surf_batch_in); {third} {storage}; \
                 create table {early} partition of {of} for values from (minvalue) to (3) {storage}; \
                 create table {late} partition of {of} default {storage}; ",
                early = part(3),
                late = part(4),
                of = part(1),
            ),
        }
    }
}

/// A quoted identifier.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
