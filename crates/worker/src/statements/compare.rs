//! Both sides of a comparison row by row: the same columns, cast to the same types, in the same order.

use milestream_core::milestone::{LIVE, PrimaryBatch};

use super::{carried_list, ordered};
use crate::pair::{BATCH_IN, BATCH_OUT, CarriedColumn, Holding, Pair};
use crate::postgres::sql::ident;

/// What the secondary must hold as of `batch`.
pub(crate) fn of_primary(pair: &Pair, batch: PrimaryBatch) -> String {
    let (condition, out) = match pair.holding {
        Holding::LiveOnly => (format!("v.{BATCH_IN} <= {batch} and v.{BATCH_OUT} >= {batch}"), None),
        Holding::Mirror => (
            format!("v.{BATCH_IN} <= {batch}"),
            Some(format!("case when v.{BATCH_OUT} >= {batch} then {LIVE} else v.{BATCH_OUT} end")),
        ),
    };
    let from = format!("{} v where {condition}", pair.primary_table);
    ordered_rows(pair, &carried_list(pair, "v"), out, &from)
}

/// What the secondary holds. Cast like the primary's: xml shows its declaration only as text.
pub(crate) fn of_secondary(pair: &Pair) -> String {
    let out = (pair.holding == Holding::Mirror).then(|| format!("v.{BATCH_OUT}"));
    let from = format!("{} v", ident(&pair.names.merge));
    ordered_rows(pair, &carried_list(pair, "v"), out, &from)
}

fn ordered_rows(pair: &Pair, columns: &str, batch_out: Option<String>, from: &str) -> String {
    let mut order: Vec<_> = pair.key_columns().map(ordered_everywhere).collect();
    let milestones = match batch_out {
        None => String::new(),
        Some(out) => {
            order.push(format!("v.{BATCH_IN}"));
            format!(", v.{BATCH_IN}, {out}")
        }
    };
    format!(
        "copy (select {columns}{milestones} from {from} order by {}) to stdout (format text)",
        order.join(", ")
    )
}

/// A key column as it is ordered on both servers; what follows labels, OIDs or a collation within goes by its text.
fn ordered_everywhere(column: &CarriedColumn) -> String {
    match column.ordered_alike {
        true => ordered("v", column),
        false => format!("v.{}::text collate \"C\"", ident(&column.name)),
    }
}
