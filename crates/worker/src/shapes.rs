//! What the tables of a stream looked like when its watermark came to hold, and in what they differ since.
//!
//! An increment brings the rows of (X, Y]. All others are right only as long as their columns are still those that were
//! carried through X. The catalog's number of a column (`attnum`) tells: dropped and added again a column has another
//! one, renamed it has the same. Another server or another table of the same name numbers anew, so there names tell.

use std::collections::BTreeMap;

use milestream_core::milestone::PrimaryBatch;
use milestream_core::names::physical_column;
use milestream_core::stream::Stream;

use crate::pair::{ALL_HASH, BATCH_IN, BATCH_OUT, KEY_HASH, Pair};
use crate::postgres::catalog::{Column, Part, Table};

/// What `plan` and `status` say of columns of the primary that are not carried; their names follow.
pub(crate) const LACKING: &str = "the primary has columns that the model lacks";

/// The tables of each dataset.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Shapes(BTreeMap<String, Shape>);

/// A dataset's tables on both sides.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Shape {
    /// The model's columns on the primary, in the model's order.
    primary: TableShape,
    /// Columns of the primary that the model lacks.
    lacking: Vec<String>,
    /// `None` until a seed has made the table.
    secondary: Option<TableShape>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct TableShape {
    oid: u32,
    columns: Vec<ColumnShape>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct ColumnShape {
    name: String,
    number: i16,
    sql_type: String,
}

/// Parts of a primary's table that came and went since the watermark, or a table that took its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartsMoved {
    pub(crate) dataset: String,
    /// Parts that are there now, and were not.
    pub(crate) came: Vec<String>,
    /// Parts that were there, and are not.
    pub(crate) went: Vec<String>,
    /// Whether the table itself is another one.
    pub(crate) is_replaced: bool,
}

impl Shapes {
    /// The tables as they are now.
    pub(crate) fn of(pairs: &[Pair], primaries: &[Table]) -> Shapes {
        let shape = |(pair, table): (&Pair, &Table)| {
            let columns = pair.column_names().filter_map(|name| table.column(name)).map(ColumnShape::of);
            let carried = |column: &&Column| pair.column_names().any(|name| name == column.name);
            let own = [ALL_HASH, KEY_HASH, BATCH_IN, BATCH_OUT];
            let lacking = table.columns.iter().filter(|column| !carried(column));
            let lacking =
                lacking.map(|column| column.name.clone()).filter(|name| !own.contains(&name.as_str()));
            let shape = Shape {
                primary: TableShape {
                    oid: table.oid,
                    columns: columns.collect(),
                    parts: table.parts.clone(),
                },
                lacking: lacking.collect(),
                secondary: pair.existing.as_ref().map(TableShape::of),
            };
            (pair.dataset.clone(), shape)
        };
        Shapes(pairs.iter().zip(primaries).map(shape).collect())
    }

    /// The same once a seed has brought these tables of the secondary, one for each dataset.
    pub(crate) fn with_secondaries<'a>(
        mut self,
        tables: impl Iterator<Item = (&'a str, &'a Table)>,
    ) -> Shapes {
        for (dataset, table) in tables {
            if let Some(shape) = self.0.get_mut(dataset) {
                shape.secondary = Some(TableShape::of(table));
            }
        }
        self
    }

    /// Whether the model has a column that was not carried then.
    pub(crate) fn lack_columns_of(&self, stream: &Stream) -> bool {
        stream.datasets.iter().any(|dataset| {
            let carried = |name: &str| {
                let shape = self.0.get(&dataset.name);
                shape.is_none_or(|shape| shape.primary.columns.iter().any(|column| column.name == name))
            };
            !dataset.columns.iter().all(|column| carried(&physical_column(&column.name)))
        })
    }

    /// Columns of the primary that the model lacks, as `dataset.column`.
    pub(crate) fn lacking(&self) -> Vec<String> {
        let of_dataset = |(dataset, shape): (&String, &Shape)| {
            shape.lacking.iter().map(|column| format!("{dataset}.{column}")).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(of_dataset).collect()
    }

    /// In what the columns of these tables are not those of the watermark's batch `x`, one a line; empty where rows from
    /// before still hold what they held.
    pub(crate) fn columns_moved(&self, now: &Shapes, x: PrimaryBatch) -> Vec<String> {
        let mut moved = Vec::new();
        for (dataset, now) in &now.0 {
            let Some(was) = self.0.get(dataset) else { continue };
            for column in &now.primary.columns {
                if let Some(what) = moved_column(was, now, column) {
                    moved.push(format!("  {dataset}.{}: {what} since batch {x}", column.name));
                }
            }
        }
        moved
    }

    /// Tables of the primary whose parts, or which themselves, are others than at the watermark's batch.
    pub(crate) fn parts_moved(&self, now: &Shapes) -> Vec<PartsMoved> {
        let mut moved = Vec::new();
        for (dataset, now) in &now.0 {
            let Some(was) = self.0.get(dataset) else { continue };
            let is_replaced = was.primary.oid != now.primary.oid;
            // Another table may well be partitioned in another way: its rows are counted all the same.
            let (was, now) = (&was.primary.parts, &now.primary.parts);
            let same = |one: &Part, other: &Part| {
                if is_replaced { one.table == other.table } else { one.oid == other.oid }
            };
            let only = |these: &[Part], those: &[Part]| -> Vec<String> {
                let lacking = these.iter().filter(|part| !those.iter().any(|other| same(part, other)));
                lacking.map(|part| part.table.clone()).collect()
            };
            let (came, went) = (only(now, was), only(was, now));
            if is_replaced || !came.is_empty() || !went.is_empty() {
                moved.push(PartsMoved { dataset: dataset.clone(), came, went, is_replaced });
            }
        }
        moved
    }
}

impl TableShape {
    fn of(table: &Table) -> TableShape {
        let columns = table.columns.iter().map(ColumnShape::of).collect();
        TableShape { oid: table.oid, columns, parts: Vec::new() }
    }

    fn named(&self, name: &str) -> Option<&ColumnShape> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The column that a column of the present table was.
    fn former(&self, now: &TableShape, column: &ColumnShape) -> Option<&ColumnShape> {
        match self.oid == now.oid {
            true => self.columns.iter().find(|former| former.number == column.number),
            false => self.named(&column.name),
        }
    }
}

impl ColumnShape {
    fn of(column: &Column) -> ColumnShape {
        let (name, sql_type) = (column.name.clone(), column.sql_type().to_owned());
        ColumnShape { name, number: column.attnum, sql_type }
    }
}

/// What became of a column that is carried now, so that rows from before may hold other values than the primary's.
fn moved_column(was: &Shape, now: &Shape, column: &ColumnShape) -> Option<String> {
    let Some(former) = was.primary.former(&now.primary, column) else {
        return Some(match was.primary.named(&column.name) {
            Some(_) => "dropped and added again on the primary".to_owned(),
            None if was.lacking.contains(&column.name) => {
                "the primary had the column before the model had it, and it joined the model".to_owned()
            }
            None => "added to the primary and to the model".to_owned(),
        });
    };
    if !keeps_text(&former.sql_type, &column.sql_type) {
        return Some(format!(
            "its type on the primary was {} and became {}",
            former.sql_type, column.sql_type
        ));
    }
    let (Some(was), Some(now)) = (&was.secondary, &now.secondary) else { return None };
    let ours = now.named(&column.name)?;
    match was.former(now, ours) {
        Some(same) if same.name == former.name => None,
        // Renamed on one side only, or to the name of another column.
        Some(other) => Some(format!("the secondary's column was carried as {:?}", other.name)),
        None => Some(format!(
            "the secondary's column, which was carried as {:?}, was dropped and added again",
            former.name
        )),
    }
}

/// Whether values of a column whose type became another one without a conversion still have the text they had.
fn keeps_text(was: &str, now: &str) -> bool {
    const INTEGERS: [&str; 3] = ["smallint", "integer", "bigint"];
    let rank = |name: &str| INTEGERS.iter().position(|integer| *integer == name);
    let bound = |name: &str| match name {
        "text" | "character varying" => Some(u32::MAX),
        _ => name.strip_prefix("character varying(")?.strip_suffix(')')?.parse().ok(),
    };
    // Of another scale 1.25 is written as 1.2500; without one it stays as it was.
    let digits = |name: &str| -> Option<(i32, i32)> {
        let (precision, scale) = name.strip_prefix("numeric(")?.strip_suffix(')')?.split_once(',')?;
        Some((precision.parse().ok()?, scale.parse().ok()?))
    };
    let is_wider = match (digits(was), digits(now)) {
        (Some((precision, scale)), Some((wider, same))) => precision <= wider && scale == same,
        (Some(_), None) => now == "numeric",
        _ => false,
    };
    was == now
        || is_wider
        || rank(was).zip(rank(now)).is_some_and(|(was, now)| was <= now)
        || bound(was).zip(bound(now)).is_some_and(|(was, now)| was <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(oid: u32, columns: &[(&str, i16, &str)]) -> TableShape {
        let column = |(name, number, sql_type): &(&str, i16, &str)| ColumnShape {
            name: (*name).to_owned(),
            number: *number,
            sql_type: (*sql_type).to_owned(),
        };
        TableShape { oid, columns: columns.iter().map(column).collect(), parts: Vec::new() }
    }

    fn shapes(primary: TableShape, secondary: TableShape) -> Shapes {
        let shape = Shape { primary, lacking: vec!["email".into()], secondary: Some(secondary) };
        Shapes(BTreeMap::from([("people".to_owned(), shape)]))
    }

    const ID: (&str, i16, &str) = ("id", 1, "integer");

    fn moved(primary: &[(&str, i16, &str)], secondary: &[(&str, i16, &str)]) -> String {
        let was = shapes(
            table(7, &[ID, ("town", 2, "character varying(20)")]),
            table(9, &[ID, ("town", 3, "text")]),
        );
        was.columns_moved(&shapes(table(7, primary), table(9, secondary)), PrimaryBatch(4)).join("\n")
    }

    #[test]
    fn columns_that_hold_what_they_held_are_no_difference() {
        let ours = [ID, ("town", 3, "text")];
        assert_eq!(moved(&[ID, ("town", 2, "character varying(20)")], &ours), "");
        assert_eq!(moved(&[ID, ("town", 2, "character varying(40)")], &ours), "", "wider");
        assert_eq!(moved(&[("id", 1, "bigint"), ("town", 2, "text")], &ours), "", "wider");
        assert_eq!(
            moved(&[ID, ("city", 2, "text")], &[ID, ("city", 3, "text")]),
            "",
            "renamed on both sides"
        );
    }

    #[test]
    fn a_column_that_may_hold_other_values_says_why() {
        let ours = [ID, ("town", 3, "text")];
        let again = moved(&[ID, ("town", 5, "character varying(20)")], &ours);
        assert_eq!(again, "  people.town: dropped and added again on the primary since batch 4");
        let joined = moved(&[ID, ("email", 3, "text")], &[ID, ("email", 4, "text")]);
        assert!(joined.contains("before the model had it"), "{joined}");
        let added = moved(&[ID, ("zip", 3, "text")], &[ID, ("zip", 4, "text")]);
        assert!(added.contains("added to the primary and to the model"), "{added}");
        let ours_again = moved(&[ID, ("town", 2, "character varying(20)")], &[ID, ("town", 8, "text")]);
        assert!(ours_again.contains("carried as \"town\", was dropped and added again"), "{ours_again}");
        let renamed = moved(&[ID, ("city", 2, "character varying(20)")], &[ID, ("city", 8, "text")]);
        assert!(renamed.contains("carried as \"town\", was dropped and added again"), "{renamed}");
        let retyped = moved(&[ID, ("town", 2, "integer")], &ours);
        assert!(retyped.contains("was character varying(20) and became integer"), "{retyped}");
    }

    #[test]
    fn a_wider_type_keeps_the_text_of_values_unless_it_writes_them_otherwise() {
        assert!(keeps_text("integer", "bigint") && keeps_text("character varying(20)", "text"));
        assert!(keeps_text("numeric(10,2)", "numeric(12,2)") && keeps_text("numeric(10,2)", "numeric"));
        assert!(!keeps_text("numeric(10,2)", "numeric(12,4)") && !keeps_text("real", "double precision"));
        assert!(!keeps_text("bigint", "integer") && !keeps_text("text", "character varying(20)"));
    }

    #[test]
    fn on_another_server_columns_are_told_by_their_names() {
        let was = shapes(table(7, &[ID, ("town", 5, "text")]), table(9, &[ID, ("town", 3, "text")]));
        let now = shapes(table(8, &[ID, ("town", 2, "text")]), table(9, &[ID, ("town", 3, "text")]));
        assert_eq!(was.columns_moved(&now, PrimaryBatch(4)), [""; 0]);
        assert!(was.parts_moved(&now)[0].is_replaced);
    }
}
