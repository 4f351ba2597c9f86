//! Every statement over user tables, built from a [`Pair`] and nothing else; each is under a snapshot test.

pub(crate) mod block_delta;
pub(crate) mod compare;
pub(crate) mod delta;
pub(crate) mod doubles;
pub(crate) mod ingest;
pub(crate) mod landing;
pub(crate) mod merge;
pub(crate) mod parts;
pub(crate) mod proof;
pub(crate) mod reset;
pub(crate) mod seed;

use crate::pair::{CarriedColumn, Pair};
use crate::postgres::sql::{ident, literal};

/// `v."a"::type as "a"` where the values have to be cast: binary COPY would reinterpret the bytes without a word.
fn carried(alias: &str, column: &CarriedColumn) -> String {
    let name = ident(&column.name);
    match &column.cast {
        None => format!("{alias}.{name}"),
        Some(cast) => format!("{alias}.{name}::{cast} as {name}"),
    }
}

/// All carried columns in order, then both hashes.
fn carried_list(pair: &Pair, alias: &str) -> String {
    let hashes =
        [crate::pair::ALL_HASH, crate::pair::KEY_HASH].map(|hash| format!("{alias}.{}", ident(hash)));
    pair.columns.iter().map(|column| carried(alias, column)).chain(hashes).collect::<Vec<_>>().join(", ")
}

/// Names of what [`carried_list`] gives.
fn carried_names(pair: &Pair) -> Vec<&str> {
    pair.column_names().chain([crate::pair::ALL_HASH, crate::pair::KEY_HASH]).collect()
}

/// `v."a" collate "C"`, where a collation can be written at all: ranges and orders of keys must mean the same
/// rows on every server.
fn ordered(alias: &str, column: &CarriedColumn) -> String {
    let collation = if column.collatable { " collate \"C\"" } else { "" };
    format!("{alias}.{}{collation}", ident(&column.name))
}

/// The key as an expression that orders alike everywhere: `v."a" collate "C", v."b"`.
fn ordered_key(pair: &Pair, alias: &str) -> Vec<String> {
    pair.key_columns().map(|column| ordered(alias, column)).collect()
}

/// A key's values as literals; key columns have the same type on both sides.
fn key_literals(pair: &Pair, values: &[String]) -> Vec<String> {
    let typed =
        |(column, value): (&CarriedColumn, &String)| format!("{}::{}", literal(value), column.source_type);
    pair.key_columns().zip(values).map(typed).collect()
}

/// `(a, b) > (x, y)`, or without parentheses for one value.
fn compare(left: &[String], operator: &str, right: &[String]) -> String {
    match (left, right) {
        ([left], [right]) => format!("{left} {operator} {right}"),
        _ => format!("({}) {operator} ({})", left.join(", "), right.join(", ")),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) mod samples {
    //! Pairs that the snapshots are taken of.

    use crate::pair::{CarriedColumn, Holding, Pair, SecondaryNames};

    fn column(name: &str, source: &str, target: &str, collatable: bool) -> CarriedColumn {
        CarriedColumn {
            name: name.to_owned(),
            source_type: source.to_owned(),
            target_type: target.to_owned(),
            cast: (source != target).then(|| target.to_owned()),
            shape: source.to_owned(),
            collatable,
            binary: true,
            hashes: true,
            ordered_alike: true,
        }
    }

    /// A composite key, a type that is cast and a name that needs quoting.
    pub(crate) fn pair(holding: Holding) -> Pair {
        Pair {
            dataset: "people".into(),
            holding,
            primary_table: "\"public\".\"hub_store1_people_merge\"".into(),
            columns: vec![
                column("id", "character varying(20)", "character varying(20)", true),
                column("since", "date", "date", false),
                column("first\"Name", "character varying(50)", "character varying(100)", true),
            ],
            key: vec!["id".into(), "since".into()],
            leads_to_versions: true,
            names: SecondaryNames::of("Edge", "Store1", "people"),
            existing: None,
            interchange: false,
        }
    }
}
