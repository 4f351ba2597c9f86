//! One dataset as it stands on both sides of a sync.

use md5::{Digest, Md5};
use milestream_core::names;

use crate::postgres::catalog::Table;
use crate::postgres::copy::Format;

/// What a secondary keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Holding {
    /// The rows live at the watermark.
    LiveOnly,
    /// Every version up to the watermark, with the primary's batch ids.
    Mirror,
}

/// DataSurface's column for the hash of all columns.
pub(crate) const ALL_HASH: &str = "ds_surf_all_hash";
/// DataSurface's column for the hash of the key columns.
pub(crate) const KEY_HASH: &str = "ds_surf_key_hash";
/// DataSurface's column for the local batch that last wrote a row.
pub(crate) const BATCH_ID: &str = "ds_surf_batch_id";
/// DataSurface's column for the first batch in which a version was live.
pub(crate) const BATCH_IN: &str = "ds_surf_batch_in";
/// DataSurface's column for the last batch in which a version was live.
pub(crate) const BATCH_OUT: &str = "ds_surf_batch_out";
/// DataSurface's column for what is to be done with a staged row: I, U or D.
pub(crate) const IUD: &str = "ds_surf_iud";
/// DataSurface's columns for the primary's milestones of a staged version.
pub(crate) const REMOTE_IN: &str = "remote_ds_surf_batch_in";
/// See [`REMOTE_IN`].
pub(crate) const REMOTE_OUT: &str = "remote_ds_surf_batch_out";

/// A column that is carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CarriedColumn {
    /// Physical name, the same on both sides.
    pub(crate) name: String,
    /// The primary's type, as SQL writes it there.
    pub(crate) source_type: String,
    /// The secondary's type, as SQL writes it there.
    pub(crate) target_type: String,
    /// What the primary casts to before it sends; none where values travel as they are.
    pub(crate) cast: Option<String>,
    /// What the types are, and which column of that name it is; the same text means the same column.
    pub(crate) shape: String,
    pub(crate) collatable: bool,
    /// Whether binary COPY can carry it.
    pub(crate) binary: bool,
    /// Whether equal values have equal digests on both servers, without going through text.
    pub(crate) hashes: bool,
    /// Whether values of a key stand in the same order on both servers, `collate "C"` given.
    pub(crate) ordered_alike: bool,
}

/// A dataset's tables on both sides and the columns that are carried.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Pair {
    pub(crate) dataset: String,
    pub(crate) holding: Holding,
    /// Qualified and quoted.
    pub(crate) primary_table: String,
    /// The model's columns, in its order.
    pub(crate) columns: Vec<CarriedColumn>,
    /// Physical names of the key columns, in order.
    pub(crate) key: Vec<String>,
    /// Whether an index of the primary's table leads from a key to its versions, as DataSurface's primary key does.
    pub(crate) leads_to_versions: bool,
    /// Unquoted names on the secondary.
    pub(crate) names: SecondaryNames,
    /// The merge table of the secondary, where there is one already.
    pub(crate) existing: Option<Table>,
    /// Whether a table we create is unique on the key hash, for taking turns with DataSurface's Python.
    pub(crate) interchange: bool,
}

/// Unquoted names of a dataset's tables on the secondary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecondaryNames {
    pub(crate) merge: String,
    pub(crate) staging: String,
    /// A seed's chunks land here.
    pub(crate) landing: String,
    /// A seed's sweep lands here, until the landing table has its key.
    pub(crate) sweep: String,
}

impl SecondaryNames {
    pub(crate) fn of(platform: &str, store: &str, dataset: &str) -> SecondaryNames {
        let merge = names::merge_table(platform, store, dataset);
        SecondaryNames {
            staging: names::staging_table(platform, store, dataset),
            landing: beside(&merge, "landing"),
            sweep: beside(&merge, "sweep"),
            merge,
        }
    }
}

/// The name of something of ours that belongs to a table: `{table}_{suffix}`, at most 63 bytes long.
///
/// DataSurface's rule cuts the suffix off a long name and leaves three hex digits to tell it apart, one chance in
/// 4 096 that an index is taken for another. Here the suffix stays, and what is cut is the table's name.
pub(crate) fn beside(table: &str, suffix: &str) -> String {
    let plain = format!("{table}_{suffix}");
    if plain.len() <= names::POSTGRES_IDENTIFIER_MAX {
        return plain;
    }
    let digest = Md5::digest(table.as_bytes());
    let told_apart: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let tail = format!("_{told_apart}_{suffix}");
    let mut kept = names::POSTGRES_IDENTIFIER_MAX - tail.len();
    while !table.is_char_boundary(kept) {
        kept -= 1;
    }
    format!("{}{tail}", &table[..kept])
}

impl Pair {
    /// Columns with their types on both sides, and the key; a plan holds for one shape only.
    pub(crate) fn shape(&self) -> String {
        let column = |column: &CarriedColumn| format!("{} {}", column.name, column.shape);
        let columns: Vec<_> = self.columns.iter().map(column).collect();
        format!("{}; key {}", columns.join(", "), self.key.join(", "))
    }

    /// Binary unless a column forbids it.
    pub(crate) fn format(&self) -> Format {
        if self.columns.iter().all(|column| column.binary) { Format::Binary } else { Format::Text }
    }

    pub(crate) fn column_names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    pub(crate) fn key_names(&self) -> impl Iterator<Item = &str> {
        self.key.iter().map(String::as_str)
    }

    pub(crate) fn value_columns(&self) -> impl Iterator<Item = &CarriedColumn> {
        self.columns.iter().filter(|column| !self.key.contains(&column.name))
    }

    pub(crate) fn key_columns(&self) -> impl Iterator<Item = &CarriedColumn> {
        self.key.iter().filter_map(|key| self.columns.iter().find(|column| column.name == *key))
    }

    /// The key that identifies a row of the secondary: a mirror has one a version.
    pub(crate) fn row_key(&self) -> Vec<&str> {
        let mut key: Vec<_> = self.key_names().collect();
        if self.holding == Holding::Mirror {
            key.push(BATCH_IN);
        }
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_their_suffix_and_stay_apart() {
        let one = "x".repeat(62);
        let other = format!("{}y", "x".repeat(61));
        let names = [beside(&one, "landing"), beside(&one, "sweep"), beside(&other, "landing")];
        assert!(names.iter().all(|name| name.len() <= 63), "{names:?}");
        assert!(names[0].ends_with("_landing") && names[1].ends_with("_sweep"));
        assert_ne!(names[0], names[2]);
        assert_eq!(beside("edge_people_merge", "pkey"), "edge_people_merge_pkey");
        assert!(beside(&"ü".repeat(31), "landing").len() <= 63);
    }
}
