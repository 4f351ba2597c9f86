//! What a copy is to hold, whoever makes it: the same rows, the same types, the same indexes.

use super::history::{People, TABLE, forensic_indexes};

/// A copy of a people table.
pub(crate) struct Copy {
    /// Its name on the target.
    pub(crate) table: String,
    /// Columns that are copied.
    pub(crate) columns: String,
    /// Which rows of the primary they are.
    pub(crate) condition: String,
    create: String,
    /// Statements that build keys and indexes, the dearest first.
    pub(crate) indexes: Vec<String>,
}

impl Copy {
    /// The rows live at the newest batch, with the three indexes of a live-only merge table.
    pub(crate) fn live(people: &People) -> Copy {
        Copy::live_as(people, "people_live")
    }

    /// The same under another name.
    pub(crate) fn live_as(people: &People, table: &str) -> Copy {
        let batch = people.newest();
        Copy {
            table: table.to_owned(),
            columns: format!("{}, ds_surf_all_hash, ds_surf_key_hash", people.columns()),
            condition: "ds_surf_batch_out = 2147483647".to_owned(),
            create: format!(
                "create table {table} ({}, {HASHES}, ds_surf_batch_id integer not null default {batch})",
                people.typed_columns()
            ),
            indexes: vec![
                format!("alter table {table} add primary key (id)"),
                format!("create index on {table} (ds_surf_key_hash)"),
                format!("create index on {table} (ds_surf_all_hash)"),
            ],
        }
    }

    /// Every version, with the six indexes of a forensic merge table.
    pub(crate) fn mirror(people: &People) -> Copy {
        let table = "people_mirror";
        Copy {
            table: table.to_owned(),
            columns: format!(
                "{}, ds_surf_all_hash, ds_surf_key_hash, ds_surf_batch_in, ds_surf_batch_out",
                people.columns()
            ),
            condition: "true".to_owned(),
            create: format!(
                "create table {table} ({}, {HASHES}, ds_surf_batch_in integer not null, ds_surf_batch_out integer not null)",
                people.typed_columns()
            ),
            indexes: forensic_indexes(table),
        }
    }

    /// The table without indexes.
    pub(crate) fn create(&self) -> String {
        self.create.clone()
    }

    /// The primary's rows, or those of a range of its blocks.
    pub(crate) fn select(&self, blocks: Option<(i64, i64)>) -> String {
        let range = blocks.map(|(from, to)| format!(" and ctid >= '({from},0)' and ctid < '({to},0)'"));
        let range = range.unwrap_or_default();
        format!("select {} from {TABLE} where {}{range}", self.columns, self.condition)
    }
}

const HASHES: &str = "ds_surf_all_hash varchar(32) collate \"C\" not null, ds_surf_key_hash varchar(32) collate \"C\" not null";
