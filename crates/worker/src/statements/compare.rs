//! Both sides of a comparison row by row: the same columns, cast to the same types, in the same order.

use milestream_core::milestone::{LIVE, PrimaryBatch};

use super::{carried_list, carried_names, ordered_key};
use crate::pair::{BATCH_IN, BATCH_OUT, Holding, Pair};
use crate::postgres::sql::{ident, prefixed};

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

/// What the secondary holds.
pub(crate) fn of_secondary(pair: &Pair) -> String {
    let out = (pair.holding == Holding::Mirror).then(|| format!("v.{BATCH_OUT}"));
    let from = format!("{} v", ident(&pair.names.merge));
    ordered_rows(pair, &prefixed("v", carried_names(pair)), out, &from)
}

fn ordered_rows(pair: &Pair, columns: &str, batch_out: Option<String>, from: &str) -> String {
    let mut order = ordered_key(pair, "v");
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
