//! Physical names, cut exactly as DataSurface cuts them, so that both find each other's tables.
//!
//! ```
//! use milestream_core::names;
//! assert_eq!(names::merge_table("Edge", "Flights", "airlines"), "edge_flights_airlines_merge");
//! assert_eq!(names::stream_key("Flights", Some("airlines")), "Flights#airlines");
//! ```

use sha1::{Digest, Sha1};

/// The longest identifier of Postgres, in bytes. DataSurface counts the same number in characters.
pub const POSTGRES_IDENTIFIER_MAX: usize = 63;

/// Columns that every table of Postgres has; no other can be called so.
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];

/// How names begin that DataSurface and Milestream keep for columns of their own, in tables and within statements.
const HELPER_PREFIXES: [&str; 2] = ["ds_surf_", "remote_ds_surf_"];

/// The longest stream key, in characters: the width of the key columns of the control tables.
pub const STREAM_KEY_MAX: usize = 255;

/// A table of a platform: `{platform}_{suffix}`, lower-case, as in `edge_batch_counter`.
pub fn platform_table(platform: &str, suffix: &str) -> String {
    let name = format!("{platform}_{suffix}").to_lowercase();
    clip(&cut(&name, POSTGRES_IDENTIFIER_MAX)).to_owned()
}

/// The merge table of a dataset: `{platform}_{store}_{dataset}_merge`.
pub fn merge_table(platform: &str, store: &str, dataset: &str) -> String {
    platform_table(platform, &format!("{store}_{dataset}_merge"))
}

/// The staging table of a dataset: `{platform}_{store}_{dataset}_staging`.
pub fn staging_table(platform: &str, store: &str, dataset: &str) -> String {
    platform_table(platform, &format!("{store}_{dataset}_staging"))
}

/// The key of a stream in the control tables, in the model's spelling: `{store}`, or `{store}#{dataset}` for a
/// dataset that has batches of its own.
pub fn stream_key(store: &str, dataset: Option<&str>) -> String {
    match dataset {
        None => cut(store, STREAM_KEY_MAX),
        Some(dataset) => cut(&format!("{store}#{dataset}"), STREAM_KEY_MAX),
    }
}

/// The physical name of a column: the model's spelling, clipped as Postgres clips identifiers. It still
/// needs quotes in SQL.
pub fn physical_column(name: &str) -> String {
    clip(name).to_owned()
}

/// Why a column of a dataset cannot have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// It is the name of a column that Postgres gives to every table.
    System,
    /// It begins as the columns do that DataSurface and Milestream add.
    Helper,
}

impl Reserved {
    /// Why a column cannot have this physical name; `None` where it can.
    ///
    /// ```
    /// use milestream_core::names::Reserved;
    /// assert_eq!(Reserved::of("xmin"), Some(Reserved::System));
    /// assert_eq!(Reserved::of("ds_surf_held"), Some(Reserved::Helper));
    /// assert_eq!(Reserved::of("oid"), None);
    /// ```
    pub fn of(physical: &str) -> Option<Reserved> {
        if SYSTEM_COLUMNS.contains(&physical) {
            return Some(Reserved::System);
        }
        HELPER_PREFIXES.iter().any(|prefix| physical.starts_with(prefix)).then_some(Reserved::Helper)
    }

    /// What is wrong with such a name, as the end of a sentence that begins with the column.
    pub fn reason(self) -> &'static str {
        match self {
            Reserved::System => "has the name of a system column of Postgres, which every table has already",
            Reserved::Helper => {
                "has a name that is kept for columns of DataSurface and Milestream, which begin with ds_surf_ or \
                 remote_ds_surf_"
            }
        }
    }

    /// How a column is called otherwise.
    pub const REMEDY: &str =
        "rename it in the model, and read the source through a view that gives it the new name";
}

/// A name of more than `limit` characters becomes its first `limit - 4`, an underscore and the first three
/// hex digits of the SHA-1 of the whole name.
fn cut(name: &str, limit: usize) -> String {
    if name.chars().count() <= limit {
        return name.to_owned();
    }
    let head: String = name.chars().take(limit - 4).collect();
    let digest = Sha1::digest(name.as_bytes());
    format!("{head}_{:02x}{:x}", digest[0], digest[1] >> 4)
}

/// What Postgres makes of an identifier: at most 63 bytes, cut between characters.
fn clip(name: &str) -> &str {
    let mut end = name.len().min(POSTGRES_IDENTIFIER_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_platform_s_tables_begin_with_its_name_in_lower_case() {
        assert_eq!(merge_table("YellowLive", "Store1", "people"), "yellowlive_store1_people_merge");
        assert_eq!(staging_table("YellowLive", "Store1", "people"), "yellowlive_store1_people_staging");
        assert_eq!(platform_table("YellowLive", "batch_counter"), "yellowlive_batch_counter");
    }

    #[test]
    fn names_of_63_characters_stay_and_longer_ones_end_in_a_digest() {
        let fits = platform_table("p", &"a".repeat(61));
        assert_eq!(fits, format!("p_{}", "a".repeat(61)));
        // `sha1sum` of "p_" and 62 times "a" begins with 8a6.
        let cut = platform_table("P", &"A".repeat(62));
        assert_eq!(cut, format!("p_{}_8a6", "a".repeat(57)));
    }

    #[test]
    fn a_name_of_few_characters_and_many_bytes_is_clipped_between_characters() {
        let name = platform_table("p", &"é".repeat(40));
        assert_eq!(name, format!("p_{}", "é".repeat(30)));
        assert_eq!(physical_column(&"€".repeat(22)), "€".repeat(21));
    }

    #[test]
    fn stream_keys_keep_the_model_s_spelling() {
        assert_eq!(stream_key("Store1", None), "Store1");
        assert_eq!(stream_key("Store1", Some("People")), "Store1#People");
        assert_eq!(stream_key(&"s".repeat(300), None).chars().count(), 255);
    }

    proptest! {
        #[test]
        fn physical_names_fit_and_stay_as_they_are(platform in ".{0,40}", suffix in ".{0,80}") {
            let name = platform_table(&platform, &suffix);
            prop_assert!(name.len() <= POSTGRES_IDENTIFIER_MAX);
            prop_assert_eq!(clip(&name), &name);
            prop_assert!(stream_key(&platform, Some(&suffix)).chars().count() <= STREAM_KEY_MAX);
        }

        #[test]
        fn a_column_that_fits_is_spelled_as_in_the_model(name in "[a-zA-Zé \"]{0,31}") {
            prop_assert_eq!(physical_column(&name), name);
        }
    }
}
