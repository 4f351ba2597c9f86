//! A dataset with Postgres types, and the primary's merge table for it.

use milestream_core::model::ColumnType;
use milestream_core::names;
use milestream_core::stream::{Column, Dataset};
use milestream_oracle::Shape;

/// A dataset: key and other columns, each a name and an SQL type.
#[derive(Clone, Debug)]
pub struct Table {
    pub(super) name: String,
    pub(super) key: Vec<(String, String)>,
    pub(super) columns: Vec<(String, String)>,
    storage: String,
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
        Table { name: name.to_owned(), key, columns, storage: String::new() }
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
        let (key, columns) = (names(&self.key), names(&self.columns));
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
        Shape::new(&self.name, &key, &columns)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &(String, String)> {
        self.key.iter().chain(&self.columns)
    }

    /// The dataset as the model has it. The catalogs decide about types; the model only says that there are columns.
    pub fn dataset(&self) -> Dataset {
        let column = |nullable: bool| {
            move |(name, _): &(String, String)| Column {
                name: name.clone(),
                column_type: ColumnType::VarChar { max_size: None },
                nullable,
            }
        };
        let columns =
            self.key.iter().map(column(false)).chain(self.columns.iter().map(column(true))).collect();
        Dataset {
            name: self.name.clone(),
            columns,
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
        let columns: Vec<_> = self
            .all()
            .map(|(name, kind)| format!("{} {kind}", ident(&names::physical_column(name))))
            .collect();
        let key: Vec<_> = self.key.iter().map(|(name, _)| ident(&names::physical_column(name))).collect();
        format!(
            "create table {name} ({}, ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
             ds_surf_batch_in integer not null, ds_surf_batch_out integer not null, primary key ({}, ds_surf_batch_in)) {};
             create index on {name} (ds_surf_key_hash); create index on {name} (ds_surf_batch_out);
             create index on {name} (ds_surf_key_hash, ds_surf_batch_out); create index on {name} (ds_surf_batch_in);
             create index on {name} (ds_surf_batch_in, ds_surf_batch_out);\n",
            columns.join(", "),
            key.join(", "),
            self.storage
        )
    }
}

/// A quoted identifier.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
